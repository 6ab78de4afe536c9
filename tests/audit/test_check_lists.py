"""What a check finds in the hash lists: rows that nobody accounts for, and whatever reading a list whole finds."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hashmatch.audit.check import check_state
from hashmatch.index.recipe import load_recipes
from hashmatch.lists.keeper import ListKeeper
from hashmatch.store import codec
from hashmatch.store.backup import back_up
from hashmatch.store.env import Env
from hashmatch.store.list_tables import CODE, REVISION, TABLES, VERSION
from hashmatch.store.lists import FORMAT, ListStore
from hashmatch.v1 import lists_pb2


def lines(count: int, seed: int) -> bytes:
    """A hex file of balanced PDQ values."""
    bits = np.tile(np.repeat(np.array([0, 1], np.uint8), 128), (count, 1))
    values = np.packbits(np.random.default_rng(seed).permuted(bits, axis=1), axis=1)
    return "\n".join(row.tobytes().hex() for row in values).encode()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    state = tmp_path / "state"
    store = ListStore(state)
    keeper = ListKeeper(store, load_recipes())
    for name in ("drawn", "other"):
        keeper.create(name, by="test")
        for seed in range(2):
            header = lists_pb2.ImportHeader(
                name=name, format=lists_pb2.IMPORT_FORMAT_HEX, hash_type="pdq", activate=True
            )
            answer = keeper.stage(header, io.BytesIO(lines(50, seed)), by="test")
            assert answer.activated
    store.close()
    return state


@pytest.fixture
def env(state: Path) -> Iterator[Env]:
    env = Env(state / "lists", TABLES, format=FORMAT)
    yield env
    env.close()


def found(state: Path, env: Env) -> list[tuple[str, str]]:
    env.close()
    return [(p.table, p.what) for p in check_state(state).problems]


def put(env: Env, table: str, key: bytes, payload: bytes) -> None:
    with env.write() as txn:
        txn.put(key, codec.seal(key, payload), db=env.table(table))


def test_sound_lists(state: Path) -> None:
    report = check_state(state)
    assert report.problems == []
    assert report.checked["lists"] == 2
    assert report.checked["versions"] == 4
    assert report.checked["entries"] == 100
    assert report.checked["edits"] == 200  # the second file replaces all of the first, and is short


def test_backup_of_lists(state: Path, tmp_path: Path) -> None:
    manifest = back_up(state, tmp_path / "copy")
    assert sorted(manifest["blake2b-256"]) == ["keys/entry-id.key", "lists/data.mdb"]
    assert check_state(tmp_path / "copy").problems == []


def test_rows_of_a_version_that_is_not_there(state: Path, env: Env) -> None:
    put(env, "entries", VERSION.pack(1, 7) + CODE.pack(1) + bytes(32), b"")
    put(env, "versions", VERSION.pack(9, 1), b"")
    assert found(state, env) == [
        ("entries", "rows of base 7 of list number 1, which is not there"),
        ("versions", "rows of version 1 of list number 9, which is not there"),
    ]


def test_row_too_many(state: Path, env: Env) -> None:
    put(env, "entries", VERSION.pack(2, 1) + CODE.pack(1) + bytes(32), b"")
    problems = found(state, env)
    assert [table for table, _ in problems] == ["versions"]
    assert "root digest" in problems[0][1]


def test_missing_change(state: Path, env: Env) -> None:
    with env.write() as txn:
        txn.delete(REVISION.pack(2), db=env.table("changes"))
    assert [table for table, _ in found(state, env)] == ["changes"]


def test_missing_version(state: Path, env: Env) -> None:
    with env.write() as txn:
        txn.delete(VERSION.pack(1, 1), db=env.table("versions"))
    # Its rows are then nobody's, which is told of as well.
    assert {table for table, _ in found(state, env)} == {"entries", "versions"}


def test_ledger_that_is_ahead_of_the_lists(state: Path, tasks) -> None:
    ledger = tasks.opened(state)
    for number in (3, 60, 5):
        tasks.append(ledger, number).result(10)
    ledger.close()
    assert [(p.environment, p.table, p.what) for p in check_state(state).problems] == [
        ("lists", "changes", "the ledger names revision 60, and the lists end at 6: they are older than the ledger")
    ]


def test_missing_list(state: Path, env: Env) -> None:
    with env.write() as txn:
        txn.delete(b"other", db=env.table("lists"))
    assert [table for table, _ in found(state, env)] == ["lists"]
