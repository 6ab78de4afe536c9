"""Lists in a fresh state directory, fingerprints that could be of real pictures, and files that hold them."""

from __future__ import annotations

import io
import random
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest

from hashmatch.index.recipe import Recipe, load_recipes
from hashmatch.lists.keeper import ListKeeper
from hashmatch.store.lists import ListStore
from hashmatch.types import Fingerprint
from hashmatch.v1 import lists_pb2

FORMATS = {"hex": lists_pb2.IMPORT_FORMAT_HEX, "csv": lists_pb2.IMPORT_FORMAT_CSV}


@pytest.fixture(scope="session")
def recipes() -> Mapping[str, Recipe]:
    return load_recipes()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ListStore]:
    store = ListStore(tmp_path / "state")
    yield store
    store.close()


@pytest.fixture
def keeper(store: ListStore, recipes: Mapping[str, Recipe]) -> ListKeeper:
    return ListKeeper(store, recipes)


def _fingerprint(number: int, hash_type: str = "pdq") -> Fingerprint:
    """A number's fingerprint: always the same, and balanced as a real one is."""
    size = {"pdq": 32, "md5": 16, "sha1": 20, "sha256": 32}[hash_type]
    bits = [0, 1] * (size * 4)
    random.Random(f"{hash_type} {number}").shuffle(bits)
    return Fingerprint(hash_type, int("".join(map(str, bits)), 2).to_bytes(size, "big"))


@pytest.fixture(scope="session")
def fingerprint() -> Callable[..., Fingerprint]:
    return _fingerprint


@pytest.fixture(scope="session")
def hex_file() -> Callable[[Iterable[Fingerprint]], bytes]:
    """Fingerprints as a hex file."""
    return lambda fingerprints: "".join(f"{f.hash_type} {f.value.hex()}\n" for f in fingerprints).encode()


@pytest.fixture
def stage(keeper: ListKeeper) -> Callable[..., lists_pb2.ImportListResponse]:
    """Imports `text` into list "ours" unless said otherwise."""

    def stage(text: bytes | str, *, form: str = "hex", name: str = "ours", allow_rejects: bool = False, **header):
        asked = lists_pb2.ImportHeader(name=name, format=FORMATS[form], **header)
        file = io.BytesIO(text.encode() if isinstance(text, str) else text)
        return keeper.stage(asked, file, by="tests", allow_rejects=allow_rejects)

    return stage


@pytest.fixture
def ours(keeper: ListKeeper) -> lists_pb2.HashList:
    """An empty list named "ours"."""
    return keeper.create("ours", by="tests")


@pytest.fixture
def held(keeper: ListKeeper) -> Callable[..., dict[Fingerprint, tuple[str, str]]]:
    """What a version of a list holds: label and source id by fingerprint."""

    def held(name: str = "ours", version: int = 0) -> dict[Fingerprint, tuple[str, str]]:
        return {
            Fingerprint(e.fingerprint.hash_type, e.fingerprint.value): (e.label, e.source_id)
            for e in keeper.export(name, version)
        }

    return held


@pytest.fixture(scope="session")
def processes() -> SimpleNamespace:
    """Runs a task of processes.py in a process of its own; returns its exit code and its lines."""

    def run(task: str, *arguments: object) -> tuple[int, list[str]]:
        command = [sys.executable, str(Path(__file__).with_name("processes.py")), task, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert not done.stderr, done.stderr
        return done.returncode, done.stdout.splitlines()

    return SimpleNamespace(run=run)
