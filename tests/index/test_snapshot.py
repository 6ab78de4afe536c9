"""Snapshots: whole or not there, and nothing in them believed."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from hashmatch.errors import Corrupt, Refused
from hashmatch.index import plan, snapshot
from hashmatch.index.snapshot import Identity, load, path_of, publish, sweep

COUNT = 24_000  # enough to have postings
KILLS = 100


def values(count: int, seed: int = 1, width: int = 32) -> NDArray[np.uint8]:
    rows = np.random.default_rng(seed).integers(0, 256, (count, width), dtype=np.uint8)
    return np.ascontiguousarray(np.unique(rows, axis=0))


def identity(count: int, version: int = 1) -> Identity:
    return Identity(3, version, "pdq", "aa" * 32, "bb" * 32, count)


def published(directory: Path, rows: NDArray[np.uint8], version: int = 1) -> Identity:
    of = identity(len(rows), version)
    parts = [rows[at : at + 500].tobytes() for at in range(0, len(rows), 500)]
    publish(directory, of, rows.shape[1], 48, parts, revision=7)
    return of


@pytest.mark.parametrize("count", [0, 1, 100, COUNT])
@pytest.mark.parametrize("width", [32, 16])
def test_what_is_loaded_is_what_was_published(tmp_path: Path, count: int, width: int) -> None:
    rows = values(count, width=width)
    of = published(tmp_path, rows)
    found = load(tmp_path, of)
    assert found is not None
    assert (found.rows == rows).all()
    assert bool(found.chunks) == (count == COUNT and width == 32)
    for i in range(0, len(rows), 997):
        query, row, distance = found.within(np.ascontiguousarray(rows[i : i + 1]), 31)
        assert (0, i, 0) in set(zip(query.tolist(), row.tolist(), distance.tolist(), strict=True))
    assert load(tmp_path, replace(of, version=2)) is None


def test_postings_take_no_more_than_their_budget(tmp_path: Path) -> None:
    rows = values(200_000)
    of = published(tmp_path, rows)
    size = sum(file.stat().st_size for file in path_of(tmp_path, of).iterdir())
    assert size <= (32 + plan.EXTRA_BYTES) * len(rows)


@pytest.mark.parametrize("parts", [[b"b", b"a"], [b"a", b"a"], [b"ba"], [b"aa"], [b"ab", b"ba"]])
def test_values_out_of_order_are_refused(tmp_path: Path, parts: list[bytes]) -> None:
    with pytest.raises(Refused, match="ascending"):
        publish(tmp_path, identity(sum(map(len, parts))), 1, 0, parts, revision=1)
    assert list(tmp_path.iterdir()) == []


def test_another_number_of_values_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="1 values, want 2"):
        publish(tmp_path, identity(2), 1, 0, [b"a"], revision=1)
    assert list(tmp_path.iterdir()) == []


def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    of = published(tmp_path, values(COUNT))
    chance = random.Random(2)
    files = sorted(path_of(tmp_path, of).iterdir())
    assert len(files) == 4
    for _ in range(200):
        file = chance.choice(files)
        at, bit = chance.randrange(file.stat().st_size), 1 << chance.randrange(8)
        content = bytearray(file.read_bytes())
        content[at] ^= bit
        whole = file.read_bytes()
        file.write_bytes(content)
        with pytest.raises(Corrupt):
            load(tmp_path, of)
        file.write_bytes(whole)
    assert load(tmp_path, of) is not None


@pytest.mark.parametrize("name", [snapshot.ROWS, snapshot.OFFSETS, snapshot.IDS, snapshot.MANIFEST])
@pytest.mark.parametrize("how", ["cut", "longer", "gone", "empty"])
def test_files_of_another_length_are_found(tmp_path: Path, name: str, how: str) -> None:
    of = published(tmp_path, values(COUNT))
    file = path_of(tmp_path, of) / name
    content = file.read_bytes()
    if how == "gone":
        file.unlink()
    else:
        file.write_bytes({"cut": content[:-1], "longer": content + b"\0", "empty": b""}[how])
    with pytest.raises(Corrupt):
        load(tmp_path, of)


@pytest.mark.parametrize("field", ["list_number", "version", "hash_type", "root_digest", "recipe_digest", "count"])
def test_a_snapshot_of_something_else_is_found(tmp_path: Path, field: str) -> None:
    of = published(tmp_path, values(100))
    value = getattr(of, field)
    other = replace(of, **{field: value + 1 if isinstance(value, int) else "cc"})
    shutil.copytree(path_of(tmp_path, of), path_of(tmp_path, other))
    with pytest.raises(Corrupt, match=field.replace("_", " ")):
        load(tmp_path, other)


def test_who_has_mapped_it_keeps_it(tmp_path: Path) -> None:
    rows = values(COUNT)
    of, newer = published(tmp_path, rows), published(tmp_path, rows[:-1], version=2)
    found = load(tmp_path, of)
    (tmp_path / f"{snapshot._DRAFT}left").mkdir()
    assert sweep(tmp_path, [newer]) == 2
    assert [path.name for path in tmp_path.iterdir()] == [path_of(tmp_path, newer).name]
    assert found is not None
    assert (found.rows == rows).all()
    assert len(found.within(np.ascontiguousarray(rows[:1]), 0)[1]) == 1


_PUBLISH = """
import sys, numpy as np
from pathlib import Path
from hashmatch.index.snapshot import Identity, publish
rows = np.unique(np.random.default_rng(1).integers(0, 256, (int(sys.argv[2]), 32), dtype=np.uint8), axis=0)
print("begun", flush=True)
version = 0
while True:
    version = version % 5 + 1
    of = Identity(3, version, "pdq", "aa" * 32, "bb" * 32, len(rows))
    publish(Path(sys.argv[1]), of, 32, 48, (rows[i : i + 500].tobytes() for i in range(0, len(rows), 500)), revision=1)
"""


def test_a_kill_leaves_a_snapshot_whole_or_not_there(tmp_path: Path) -> None:
    chance = random.Random(7)
    rows = values(COUNT)
    seen = 0
    for _ in range(KILLS // 10):
        process = subprocess.Popen(
            [sys.executable, "-c", _PUBLISH, str(tmp_path), str(COUNT)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        process.stdout.readline()
        for _ in range(10):  # stopped at ten random moments each, as a crash there would leave it
            time.sleep(chance.uniform(0, 0.02))
            process.send_signal(signal.SIGSTOP)
            for version in range(1, 6):
                of = identity(len(rows), version)
                if path_of(tmp_path, of).exists():
                    found = load(tmp_path, of)
                    if found is not None:
                        assert (found.rows == rows).all()
                        seen += 1
            process.send_signal(signal.SIGCONT)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
    assert seen
    sweep(tmp_path, [])
    assert list(tmp_path.iterdir()) == []
