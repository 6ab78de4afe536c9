"""What a ledger promises to the threads that use it."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashmatch.audit import ledger as ledger_module
from hashmatch.audit import rows, tables, tally, writer
from hashmatch.audit.check import check_state
from hashmatch.audit.export import follow
from hashmatch.audit.ledger import Ledger
from hashmatch.audit.tally import OTHER_SURFACES
from hashmatch.convert import record_to_response
from hashmatch.errors import (
    AnsweredElsewhere,
    BadConfig,
    Conflict,
    Corrupt,
    Malformed,
    NotFound,
    Overloaded,
    Refused,
    Unavailable,
)
from hashmatch.store import codec
from hashmatch.store.env import Env
from hashmatch.v1 import common_pb2
from hashmatch.v1.audit_pb2 import VerdictRecord
from hashmatch.v1.common_pb2 import Finding
from hashmatch.v1.store_pb2 import RequestRecord

NOON = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)
SECONDS = 10  # that a test waits for a future before it fails


def append(ledger: Ledger, record, *, log: bool = True, remember: bool = True) -> int:
    return ledger.append(record, log=log, remember=remember).result(SECONDS)


def recalled(ledger: Ledger, request_id: str) -> RequestRecord | None:
    """What a request id was answered."""
    remembered = ledger.remembered(request_id)
    return remembered.record if remembered else None


def test_sequences_are_contiguous_from_one(ledger: Ledger, record) -> None:
    futures = [ledger.append(record(n), log=True, remember=False) for n in range(49)]  # the 50th would trip the guard
    assert [f.result(SECONDS) for f in futures] == list(range(1, 50))
    assert [e.sequence for e in ledger.events()] == list(range(1, 50))
    assert [e.sequence for e in ledger.events(after=47)] == [48, 49]
    assert [e.sequence for e in ledger.events(after=10, limit=2)] == [11, 12]
    assert ledger.events(after=49) == []
    assert ledger.events(limit=0) == []
    assert ledger.last_sequence() == 49


def test_record_comes_back_whole(ledger: Ledger, record) -> None:
    append(ledger, record(3))
    event = ledger.verdict(record(3).verdict_id)
    assert (event.sequence, event.verdict) == (1, record(3))
    answer = recalled(ledger, "request-3")
    assert answer is not None
    assert (answer.verdict, answer.question_digest, answer.at) == (record(3), record(3).question_digest, record(3).at)


def test_log_and_remember_are_independent(ledger: Ledger, record) -> None:
    assert append(ledger, record(1), log=False, remember=True) == 0
    assert append(ledger, record(2), log=True, remember=False) == 1
    assert append(ledger, record(3), log=False, remember=False) == 0
    assert recalled(ledger, "request-1") is not None
    assert recalled(ledger, "request-2") is None
    assert [e.verdict.verdict_id for e in ledger.events()] == [record(2).verdict_id]
    with pytest.raises(NotFound):
        ledger.verdict(record(1).verdict_id)


@pytest.mark.parametrize("unknown", ["", "v_0", "x" * 4000, "ü"])
def test_unknown_verdict_is_not_found(ledger: Ledger, unknown: str) -> None:
    with pytest.raises(NotFound):
        ledger.verdict(unknown)
    assert recalled(ledger, unknown) is None


def test_second_verdict_of_an_id_is_a_conflict_and_alone(ledger: Ledger, record) -> None:
    append(ledger, record(1))
    again, other = record(1), record(2)
    again.request_id = "another"
    first = ledger.append(again, log=True, remember=True)
    second = ledger.append(other, log=True, remember=True)
    with pytest.raises(Conflict):
        first.result(SECONDS)
    assert second.result(SECONDS) == 2
    assert recalled(ledger, "another") is None


@pytest.mark.parametrize("field", ["verdict_id", "request_id"])
def test_record_without_id_is_malformed(ledger: Ledger, record, field: str) -> None:
    nameless = record(1)
    nameless.ClearField(field)
    with pytest.raises(Malformed) as e:
        ledger.append(nameless, log=True, remember=True)
    assert e.value.field == field
    assert append(ledger, record(2)) == 1


@pytest.mark.parametrize(("first", "second"), [("MATCH", "MATCH"), ("MATCH", "NO_MATCH"), ("NO_MATCH", "NO_MATCH")])
def test_the_first_answer_to_a_request_stands(ledger: Ledger, record, tmp_path: Path, first: str, second: str) -> None:
    """As where two server processes are asked at once, and one of them commits first."""
    earlier, later = record(1), record(2)
    earlier.finding, later.finding = Finding.Value(f"FINDING_{first}"), Finding.Value(f"FINDING_{second}")
    later.request_id = "request-1"
    append(ledger, earlier)
    with pytest.raises(AnsweredElsewhere):
        append(ledger, later)
    answer = recalled(ledger, "request-1")
    assert answer is not None
    assert answer.verdict == earlier
    assert [event.verdict for event in ledger.events()] == [earlier]
    ledger.close()
    assert check_state(tmp_path).problems == []


def test_a_match_is_never_lost_to_an_earlier_answer(ledger: Ledger, record, tmp_path: Path) -> None:
    earlier, later = record(1), record(2)
    earlier.finding, later.finding = Finding.FINDING_NO_MATCH, Finding.FINDING_MATCH
    later.request_id = "request-1"
    append(ledger, earlier, log=False)
    append(ledger, later)
    answer = recalled(ledger, "request-1")
    assert answer is not None
    assert answer.verdict == later
    ledger.close()
    assert check_state(tmp_path).problems == []


def test_recall_sees_what_is_queued_and_tells_when_it_is_written(ledger: Ledger, record) -> None:
    with ledger._env.write():  # holds the writer up, as another process's transaction does
        future = ledger.append(record(1), log=True, remember=True)
        remembered = ledger.remembered("request-1")
        assert remembered is not None
        assert not remembered.written.done()
        assert remembered.record.verdict == record(1)
        assert recalled(ledger, "request-1") == remembered.record
        assert ledger.last_sequence() == 0
    assert future.result(SECONDS) == 1
    assert remembered.written.done()
    settled = ledger.remembered("request-1")
    assert settled is not None
    assert settled.written.done()
    assert settled.record == remembered.record


def test_abandoned_future_is_written_all_the_same(ledger: Ledger, record) -> None:
    with ledger._env.write():
        future = ledger.append(record(1), log=True, remember=True)
        assert not future.cancel()
        del future
    assert append(ledger, record(2)) == 2
    assert ledger.verdict(record(1).verdict_id).sequence == 1


def unlogged(made: VerdictRecord) -> VerdictRecord:
    """What is kept of a verdict that is remembered and not logged."""
    kept = VerdictRecord()
    kept.CopyFrom(made)
    kept.ClearField("subject")
    for at in reversed([i for i, row in enumerate(kept.hashed) if row.variant]):
        del kept.hashed[at]
    return kept


def test_what_is_not_logged_is_remembered_without_its_subject_and_variants(tmp_path: Path, record, tasks) -> None:
    ledger = tasks.opened(tmp_path)
    made = record(1)
    made.subject.uploader_id, made.subject.region = "uploader-4711", "region-4711"
    made.subject.attributes["case"] = "attribute-4711"
    made.hashed.add(hash_type="pdq").fingerprint.value = b"plain-4711"
    made.hashed.add(hash_type="pdq", variant="flip").fingerprint.value = b"variant-4711"
    answer = record_to_response(made)
    with ledger._env.write():
        ledger.append(made, log=False, remember=True)
        pending = recalled(ledger, "request-1")
    ledger.close()
    reader = Ledger(tmp_path, readonly=True)
    kept = recalled(reader, "request-1")
    reader.close()
    assert kept is not None
    assert pending == kept
    assert (kept.verdict, kept.question_digest) == (unlogged(made), made.question_digest)
    assert record_to_response(kept.verdict) == answer
    data = (tmp_path / "ledger" / "data.mdb").read_bytes()
    assert b"plain-4711" in data
    for secret in (b"uploader-4711", b"region-4711", b"attribute-4711", b"content-1", b"variant-4711"):
        assert secret not in data
    assert check_state(tmp_path).problems == []


def test_what_is_logged_is_remembered_whole(ledger: Ledger, record) -> None:
    made = record(1)
    made.hashed.add(hash_type="pdq", variant="flip").fingerprint.value = b"variant"
    append(ledger, made)
    kept = recalled(ledger, "request-1")
    assert kept is not None
    assert kept.verdict == ledger.verdict(made.verdict_id).verdict == made


def test_every_old_request_id_is_forgotten(tmp_path: Path, record, tasks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "MAX_SWEPT", 7)
    monkeypatch.setattr(ledger_module, "TIDY_SECONDS", 0.2)
    now = [tasks.START]
    ledger = Ledger(tmp_path, idempotency_hours=2, now=lambda: now[0])
    for n in range(100):
        ledger.append(record(n), log=n % 2 == 0, remember=True)
    append(ledger, record(100))
    now[0] += timedelta(hours=3)
    late = record(101)
    late.at.FromDatetime(now[0])
    append(ledger, late)
    deadline = time.monotonic() + SECONDS
    while any(recalled(ledger, f"request-{n}") for n in range(101)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert [n for n in range(102) if recalled(ledger, f"request-{n}")] == [101]
    assert append(ledger, record(102)) == 55  # with what was held meanwhile, and that the clock was set
    ledger.close()
    assert check_state(tmp_path).problems == []


def test_full_queue_is_refused_at_once(ledger: Ledger, record, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "MAX_QUEUED", 3)
    held: list[Future[int]] = []
    with ledger._env.write():
        with suppress(Overloaded):
            for n in range(20):
                held.append(ledger.append(record(n), log=True, remember=True))
        assert 3 <= len(held) <= 4  # one group may be waiting for the transaction already
        assert recalled(ledger, f"request-{len(held)}") is None
    assert [f.result(SECONDS) for f in held] == list(range(1, len(held) + 1))
    assert append(ledger, record(len(held))) == len(held) + 1


def test_queue_is_bounded_in_bytes(ledger: Ledger, record, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "MAX_QUEUED_BYTES", record(1).ByteSize())
    held = []
    with ledger._env.write(), suppress(Overloaded):
        for n in range(20):
            held.append(ledger.append(record(n), log=True, remember=False))
    assert 1 <= len(held) <= 2


def test_close_writes_what_waits(tmp_path: Path, record, tasks) -> None:
    ledger = tasks.opened(tmp_path)
    futures = [ledger.append(record(n), log=True, remember=True) for n in range(3000)]
    ledger.count("avatars", common_pb2.FINDING_NO_MATCH, NOON)
    ledger.close()
    found = [f.result(0) for f in futures]
    assert found == sorted(set(found))  # among them stand the entries that were held meanwhile
    with pytest.raises(Unavailable):
        ledger.append(record(1), log=True, remember=True)
    again = Ledger(tmp_path, readonly=True)
    held = [event.sequence for event in follow(again) if event.HasField("entry_held")]
    counted = [event.sequence for event in follow(again) if event.HasField("counted")]
    assert sorted([*found, *held, *counted]) == list(range(1, again.last_sequence() + 1))
    assert [c.count for c in again.counts(NOON, NOON + timedelta(minutes=1))] == [1]
    again.close()


def test_many_threads(ledger: Ledger, record, tmp_path: Path) -> None:
    found: list[int] = []

    def work(first: int) -> None:
        found.extend(append(ledger, record(first + n)) for n in range(25))

    threads = [threading.Thread(target=work, args=(1000 * t,)) for t in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 200
    ledger.close()
    assert check_state(tmp_path).problems == []


def test_readonly_writes_nothing(tmp_path: Path, record, tasks) -> None:
    ledger = tasks.opened(tmp_path)
    append(ledger, record(1))
    ledger.close()
    reader = Ledger(tmp_path, readonly=True)
    with pytest.raises(Refused):
        reader.append(record(2), log=True, remember=True)
    assert (reader.last_sequence(), reader.healthy, reader.failure()) == (1, True, "")
    reader.close()


def test_readonly_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="there is no store"):
        Ledger(tmp_path, readonly=True)
    assert list(tmp_path.iterdir()) == []


def test_counts_add_up_over_flushes_and_restarts(tmp_path: Path) -> None:
    for _ in range(3):
        ledger = Ledger(tmp_path)
        for minute in range(2):
            for _ in range(4):
                ledger.count("avatars", common_pb2.FINDING_NO_MATCH, NOON + timedelta(minutes=minute))
        ledger.count("", common_pb2.FINDING_UNKNOWN, NOON)
        ledger.close()
    reader = Ledger(tmp_path, readonly=True)
    rows = reader.counts(NOON, NOON + timedelta(minutes=1))
    assert [(c.surface, c.finding, c.count) for c in rows] == [
        ("avatars", common_pb2.FINDING_NO_MATCH, 12),
        ("", common_pb2.FINDING_UNKNOWN, 3),
    ]
    assert rows[0].minute.ToDatetime(UTC) == NOON.replace(second=0)
    assert len(reader.counts(NOON, NOON + timedelta(minutes=2))) == 3
    assert reader.counts(NOON + timedelta(hours=1), NOON + timedelta(hours=2)) == []
    reader.close()


def test_surfaces_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tally, "MAX_SURFACES", 2)
    ledger = Ledger(tmp_path)
    for surface in ("a", "b", "c", "x" * 500, "a", "d"):
        ledger.count(surface, common_pb2.FINDING_NO_MATCH, NOON)
    ledger.close()
    reader = Ledger(tmp_path, readonly=True)
    rows = reader.counts(NOON, NOON + timedelta(minutes=1))
    assert {c.surface: c.count for c in rows} == {"a": 2, "b": 1, OTHER_SURFACES: 3}
    reader.close()


@pytest.mark.parametrize("jump", [-86_400, -3_600, 0, 3_600, 86_400])
def test_clock_decides_what_is_forgotten_and_never_the_order(tmp_path: Path, record, jump: int) -> None:
    now = [NOON]
    ledger = Ledger(tmp_path, idempotency_hours=2, now=lambda: now[0])
    for n, age in enumerate((30, 3, 1)):  # hours
        made = record(n)
        made.at.FromDatetime(NOON - timedelta(hours=age))
        append(ledger, made)
    now[0] = NOON + timedelta(seconds=jump)
    append(ledger, record(9), remember=False)
    ledger.close()
    reader = Ledger(tmp_path, readonly=True)
    events = reader.events()
    assert [e.sequence for e in events] == list(range(1, len(events) + 1))
    assert [e.WhichOneof("fact") for e in events] == ["verdict"] * 3 + ["gap"] * (jump != 0) + ["verdict"]
    kept = [recalled(reader, f"request-{n}") is not None for n in range(3)]
    assert kept == [age * 3600 + jump <= 2 * 3600 for age in (30, 3, 1)]
    reader.close()
    assert check_state(tmp_path).problems == []


def test_two_processes_share_one_sequence(tmp_path: Path, record, nursery) -> None:
    state = tmp_path / "shared"
    child = nursery.start("write", str(state), [], 1_000_000, 4)
    printed = child.read_until(lambda found: b"\n" in found)
    ledger = Ledger(state)
    mine = [append(ledger, record(n)) for n in range(100)]
    printed += child.read_until(lambda found: found.count(b"\n") > 100)
    child.kill()
    printed += child.output.readall()
    child.wait()
    theirs = [int(line.split()[1]) for line in printed.decode().split("\n")[1:-1]]
    assert not set(mine) & set(theirs)
    ledger.close()
    assert check_state(state).problems == []


def damage(state: Path, table: str, key: bytes, change) -> None:
    """Replaces a sealed row by what `change` makes of it; None removes it."""
    env = Env(state / "ledger", tables.NAMES, format=tables.FORMAT)
    with env.write() as txn:
        stored = change(txn.get(key, db=env.table(table)))
        if stored is None:
            txn.delete(key, db=env.table(table))
        else:
            txn.put(key, stored, db=env.table(table))
    env.close()


@pytest.mark.parametrize(
    ("table", "key", "change"),
    [
        ("events", tables.sequence_key(5), lambda row: row[:-1] + bytes([row[-1] ^ 1])),
        ("events", tables.sequence_key(5), lambda row: None),
        ("events", tables.sequence_key(10), lambda row: None),
        ("verdict_ids", None, lambda row: None),
        ("verdict_ids", None, lambda row: codec.seal(b"", tables.sequence_key(5))),
    ],
)
def test_damaged_tail_refuses_to_open(tmp_path: Path, record, tasks, table: str, key: bytes | None, change) -> None:
    ledger = tasks.opened(tmp_path)
    for n in range(10):
        append(ledger, record(n))
    ledger.close()
    damage(tmp_path, table, key or record(5).verdict_id.encode(), change)
    with pytest.raises(Corrupt):
        Ledger(tmp_path)
    assert check_state(tmp_path).problems != []


steps = st.lists(
    st.tuples(st.integers(0, 12), st.integers(0, 6), st.booleans(), st.booleans(), st.booleans()), max_size=25
)


@settings(max_examples=30, deadline=None)
@given(steps)
def test_ledger_is_a_list_and_a_dictionary(tmp_path_factory: pytest.TempPathFactory, record, tasks, steps) -> None:
    """Against the plainest model: a list of events, and the last answer of each request id."""
    state = tmp_path_factory.mktemp("model")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "LINGER_SECONDS", 0.001)  # each step waits for its own transaction
        follow_model(state, record, tasks, steps)
    assert check_state(state).problems == []


def stands(earlier, later) -> bool:
    return later.finding != Finding.FINDING_MATCH or earlier.finding == Finding.FINDING_MATCH


def follow_model(state: Path, record, tasks, steps) -> None:
    ledger, events, answers = tasks.opened(state), [], {}
    for verdict, request, log, remember, restart in steps:
        made = record(verdict)
        made.request_id = f"request-{request}"
        future = ledger.append(made, log=log, remember=remember)
        earlier = answers.get(made.request_id)
        if remember and earlier is not None and earlier.verdict_id != made.verdict_id and stands(earlier, made):
            with pytest.raises(AnsweredElsewhere):
                future.result(SECONDS)
        elif log and any(e.verdict_id == made.verdict_id for e in events):
            with pytest.raises(Conflict):
                future.result(SECONDS)
        else:
            if log:
                events.append(made)
            if remember:
                answers[made.request_id] = made if log else unlogged(made)
            assert future.result(SECONDS) == (len(events) if log else 0)
        if restart:
            ledger.close()
            ledger = tasks.opened(state)
        assert [e.verdict for e in ledger.events()] == events
    for request in range(7):
        answer = recalled(ledger, f"request-{request}")
        assert (answer.verdict if answer else None) == answers.get(f"request-{request}")
    ledger.close()
