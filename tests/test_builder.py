"""Snapshots built by a process of its own, which may be killed, raced and starved."""

from __future__ import annotations

import io
import random
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from hashmatch import builder
from hashmatch.index import snapshot
from hashmatch.index.recipe import load_recipes
from hashmatch.index.wanted import Wanted, identity
from hashmatch.lists.keeper import ListKeeper
from hashmatch.store.lists import ListStore
from hashmatch.v1 import lists_pb2

COUNT = 30_000
KILLS = 20


@pytest.fixture
def state(tmp_path: Path) -> Path:
    state = tmp_path / "state"
    store = ListStore(state)
    keeper = ListKeeper(store, load_recipes())
    keeper.create("ours", by="t")
    rows = np.random.default_rng(1).integers(0, 256, (COUNT, 32), dtype=np.uint8)
    text = "".join(f"{row.tobytes().hex()}\n" for row in rows)
    header = lists_pb2.ImportHeader(name="ours", format=lists_pb2.IMPORT_FORMAT_HEX, activate=True)
    assert keeper.stage(header, io.BytesIO(text.encode()), by="t").activated
    store.close()
    return state


def start(state: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(builder.command(state, None, Wanted(1, 1, "ours", COUNT, "")), stderr=subprocess.PIPE)


def ended(process: subprocess.Popen[bytes]) -> int:
    process.communicate(timeout=60)
    return process.returncode


def whole(state: Path) -> bool:
    """Whether there is a snapshot of all that the version has; what is there must be whole."""
    recipes = load_recipes()
    store = ListStore(state, readonly=True)
    with store.view() as view:
        record, version = view.list("ours"), view.version(1, 1)
        keys = {"pdq": [record.canary_fingerprints["pdq"], *(key for key, _ in view.rows(1, version, "pdq"))]}
    store.close()
    there = 0
    for hash_type in record.canary_fingerprints:
        found = snapshot.load(state / builder.DIRECTORY, identity(record, version, recipes[hash_type]))
        there += found is not None
        if found is not None and hash_type == "pdq":
            assert found.rows.tobytes() == b"".join(sorted(keys["pdq"]))
    return there == len(record.canary_fingerprints)


def test_a_killed_builder_leaves_nothing_half_done(state: Path) -> None:
    chance = random.Random(3)
    (state / builder.DIRECTORY).mkdir()
    for _ in range(KILLS):
        process = start(state)
        time.sleep(chance.uniform(0.25, 0.8))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        whole(state)
        for made in (state / builder.DIRECTORY).glob("[0-9]*"):
            if chance.random() < 0.5:  # so that the next one has something to do
                for file in made.iterdir():
                    file.unlink()
                made.rmdir()
    process = start(state)
    assert ended(process) == 0
    assert whole(state)
    assert not list((state / builder.DIRECTORY).glob(".*"))


def test_two_at_once_do_not_disturb_each_other(state: Path) -> None:
    both = [start(state), start(state)]
    assert [ended(process) for process in both] == [0, 0]
    assert whole(state)


def test_what_is_not_there_is_said(state: Path) -> None:
    process = subprocess.run(
        builder.command(state, None, Wanted(7, 1, "", 0, "")), capture_output=True, text=True, check=False
    )
    assert process.returncode == 65
    assert "there is no list number 7" in process.stderr
