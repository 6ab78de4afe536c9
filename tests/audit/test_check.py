"""Every kind of damage that a check is there to find, done by hand to rows that stay well-formed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from hashmatch.audit import tables
from hashmatch.audit.check import check_state
from hashmatch.errors import BadConfig
from hashmatch.store import codec
from hashmatch.store.env import Env
from hashmatch.v1.audit_pb2 import CountRecord, Event
from hashmatch.v1.store_pb2 import EntryCountRecord, RequestRecord

RECORDS = 6


@pytest.fixture
def state(tmp_path: Path, tasks) -> Path:
    ledger = tasks.opened(tmp_path)
    for n in range(RECORDS):
        tasks.append(ledger, n).result(10)
    ledger.count("avatars", 2, tasks.START)
    ledger.count("avatars", 2, tasks.START + timedelta(minutes=5))
    ledger.close()
    return tmp_path


@pytest.fixture
def env(state: Path) -> Iterator[Env]:
    env = Env(state / "ledger", tables.NAMES, format=tables.FORMAT)
    yield env
    env.close()


def found(state: Path, env: Env) -> list[tuple[str, str, str]]:
    env.close()
    return [(p.environment, p.table, p.what) for p in check_state(state).problems]


def put(env: Env, table: str, key: bytes, payload: bytes) -> None:
    with env.write() as txn:
        txn.put(key, codec.seal(key, payload), db=env.table(table))


def drop(env: Env, table: str, key: bytes) -> None:
    with env.write() as txn:
        assert txn.delete(key, db=env.table(table))


def test_sound_state_has_no_problems(state: Path) -> None:
    report = check_state(state)
    assert report.problems == []
    assert report.checked == {
        "keys": 4, "events": RECORDS + 1, "nodes": 4, "checkpoints": 1, "log": 3, "subjects": RECORDS,
        "subject_keys": RECORDS, "verdict_ids": RECORDS, "requests": RECORDS, "request_times": RECORDS,
        "counts": 2, "entry_counts": 1 + RECORDS, "guard": 1,
    }  # fmt: skip


def test_no_state(tmp_path: Path) -> None:
    with pytest.raises(BadConfig):
        check_state(tmp_path)


def test_missing_event(state: Path, env: Env, record) -> None:
    drop(env, "events", tables.sequence_key(3))
    assert found(state, env) == [
        ("ledger", "events", "events 3 to 3 are missing"),
        ("ledger", "verdict_ids", "event 3 of the log is missing; restore the state directory from a backup"),
    ]


def test_event_under_another_sequence(state: Path, env: Env, record) -> None:
    put(env, "events", tables.sequence_key(RECORDS + 1), Event(sequence=2, verdict=record(99)).SerializeToString())
    assert found(state, env) == [
        ("ledger", "events", "event 7 calls itself 2"),
        ("ledger", "checkpoints", "the checkpoint of size 7 was signed of another tree"),
    ]


def test_damaged_event(state: Path, env: Env) -> None:
    with env.write() as txn:
        key = tables.sequence_key(2)
        row = txn.get(key, db=env.table("events"))
        txn.put(key, row[:-1] + bytes([row[-1] ^ 4]), db=env.table("events"))
    problems = found(state, env)
    assert {table for _, table, _ in problems} == {"events", "verdict_ids"}
    assert all("is damaged" in what for _, _, what in problems)


def test_missing_verdict_id(state: Path, env: Env, record) -> None:
    drop(env, "verdict_ids", record(4).verdict_id.encode())
    assert found(state, env) == [("ledger", "events", "event 5 is not found by its verdict id")]


def test_verdict_id_of_another(state: Path, env: Env, record) -> None:
    put(env, "verdict_ids", record(4).verdict_id.encode(), tables.sequence_key(1))
    assert {table for _, table, _ in found(state, env)} == {"events", "verdict_ids"}


def test_missing_answer(state: Path, env: Env) -> None:
    drop(env, "requests", tables.request_key("request-2"))
    assert found(state, env) == [("ledger", "request_times", "the answer to a request id is missing")]


def test_answer_that_would_never_be_forgotten(state: Path, env: Env, record) -> None:
    answer = RequestRecord(verdict=record(50), at=record(50).at)
    put(env, "requests", tables.request_key("request-50"), answer.SerializeToString())
    [(_, table, what)] = found(state, env)
    assert (table, "never be forgotten" in what) == ("requests", True)


def test_answer_under_another_request_id(state: Path, env: Env, record) -> None:
    answer = RequestRecord(verdict=record(3), at=record(3).at)
    put(env, "requests", tables.request_key("request-2"), answer.SerializeToString())
    assert found(state, env) == [("ledger", "requests", "an answer is kept under another request id")]


def test_count_under_another_minute(state: Path, env: Env) -> None:
    row = CountRecord(surface="avatars", count=1)
    put(env, "counts", tables.count_key(7, 2, "avatars"), row.SerializeToString())
    assert found(state, env) == [("ledger", "counts", "a count is kept under another minute, finding or surface")]


def counted(number: int) -> bytes:
    row = EntryCountRecord(matches=number)
    row.first_at.FromJsonString("2026-01-01T00:00:00Z")
    return row.SerializeToString()


DRAWN = tables.entry_key("drawn", "abcd")


def test_entry_that_counts_otherwise_than_the_events(state: Path, env: Env) -> None:
    put(env, "entry_counts", DRAWN, counted(RECORDS + 1))
    assert found(state, env) == [
        ("ledger", "entry_counts", f"an entry counts {RECORDS + 1} matches, and the events have {RECORDS}")
    ]


def test_entry_that_is_not_counted(state: Path, env: Env) -> None:
    drop(env, "entry_counts", DRAWN)
    assert found(state, env) == [("ledger", "entry_counts", "the matches of an entry are not counted")]


def test_entry_that_no_event_names(state: Path, env: Env) -> None:
    put(env, "entry_counts", tables.entry_key("drawn", "other"), counted(1))
    assert found(state, env) == [("ledger", "entry_counts", "an entry counts 1 matches, and the events have 0")]


def test_row_of_no_entry(state: Path, env: Env) -> None:
    put(env, "entry_counts", b"drawn", counted(1))
    [(_, table, what)] = found(state, env)
    assert (table, "names no entry" in what) == ("entry_counts", True)


def test_held_in_one_table_only(state: Path, env: Env) -> None:
    put(env, "guard", tables.HELD, DRAWN)
    assert found(state, env) == [
        ("ledger", "entry_counts", "an entry is held in one of 'entry_counts' and 'guard', and not in the other")
    ]


def test_held_that_never_matched(state: Path, env: Env) -> None:
    put(env, "guard", tables.HELD, tables.entry_key("drawn", "other"))
    assert found(state, env) == [("ledger", "guard", "an entry is held that never matched")]


def test_lost_beginning_of_the_counts(state: Path, env: Env) -> None:
    drop(env, "guard", tables.FROM)
    assert {(table, "the events have 0" in what) for _, table, what in found(state, env)} == {("entry_counts", True)}


def test_strange_rows_of_the_guard(state: Path, env: Env) -> None:
    put(env, "guard", tables.FROM, tables.sequence_key(RECORDS + 2))
    put(env, "guard", b"other", b"")
    problems = [what for _, table, what in found(state, env) if table == "guard"]
    assert problems == [
        "the first event whose matches are counted is not there", "a row of 'guard' has a key that nothing reads",
    ]  # fmt: skip


def test_ledger_of_before_entries_were_counted(state: Path, env: Env, tasks) -> None:
    for table in tables.ENTRIES:
        with env.write() as txn, txn.cursor(db=env.table(table)) as cursor:
            while cursor.first():
                cursor.delete()
    env.close()
    assert check_state(state).problems == []
    ledger = tasks.opened(state)
    tasks.append(ledger, 40).result(10)
    assert ledger.entry_count("drawn", "abcd").matches == 1
    ledger.close()
    assert check_state(state).problems == []


def test_unparsable_row(state: Path, env: Env) -> None:
    put(env, "counts", tables.count_key(7, 2, "avatars"), b"\xff\xff\xff")
    assert found(state, env) == [("ledger", "counts", "a row of table 'counts' does not parse as CountRecord")]


def test_file_cut_short(state: Path) -> None:
    data = state / "ledger" / "data.mdb"
    data.write_bytes(data.read_bytes()[: 5 * 4096])
    assert {(p.environment, p.table) for p in check_state(state).problems} == {("ledger", "data.mdb")}


def test_file_that_is_none(state: Path) -> None:
    (state / "ledger" / "data.mdb").write_bytes(b"not an environment" * 1000)
    assert [(p.environment, p.table) for p in check_state(state).problems] == [("ledger", "data.mdb")]


def test_older_file_put_back(state: Path, tasks) -> None:
    data = state / "ledger" / "data.mdb"
    older = data.read_bytes()
    ledger = tasks.opened(state)
    tasks.append(ledger, 40).result(10)
    ledger.close()
    data.write_bytes(older)
    [problem] = check_state(state).problems
    assert "rolled back" in problem.what


def test_key_that_others_may_read(state: Path) -> None:
    key = state / "keys" / "some.key"
    key.write_bytes(bytes(32))
    key.chmod(0o640)
    assert [(p.environment, p.table) for p in check_state(state).problems] == [("keys", "some.key")]


def test_beside_a_writer(tmp_path: Path, nursery) -> None:
    child = nursery.start("write", str(tmp_path), [], 0, 16)
    child.read_until(lambda found: found.count(b"\n") > 20)
    for _ in range(5):
        assert check_state(tmp_path).problems == []
    child.kill()
    child.wait()
