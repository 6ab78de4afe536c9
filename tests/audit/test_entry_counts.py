"""What is counted of entries, and when the collision guard holds one: against a model that remembers everything."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashmatch.audit import entry_counts, writer
from hashmatch.audit.check import check_state
from hashmatch.audit.entry_counts import MAX_COUNTED, WINDOW_MINUTES
from hashmatch.audit.export import follow
from hashmatch.audit.ledger import Ledger
from hashmatch.errors import Corrupt, NotFound, Refused
from hashmatch.types import COLLISION_UPLOADERS
from hashmatch.v1 import common_pb2
from hashmatch.v1.audit_pb2 import VerdictRecord

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECONDS = 10  # that a test waits for a future before it fails
ONE = ("ours", "e1")


def verdict(
    number: int,
    *,
    uploader: str = "",
    content: str = "",
    at: datetime = NOON,
    entries: tuple[str, ...] = ("e1",),
    limit: int | None = None,
    retro: bool = False,
) -> VerdictRecord:
    made = VerdictRecord(verdict_id=f"v_{number}", request_id=f"r_{number}", finding=common_pb2.FINDING_MATCH)
    made.at.FromDatetime(at)
    made.subject.uploader_id, made.subject.content_id = uploader, content
    for entry_id in entries:
        made.matches.add(list="ours", entry_id=entry_id, hash_type="pdq", disposition=4)
    made.policies["ours"].disposition = common_pb2.DISPOSITION_BLOCK
    if limit is not None:
        made.policies["ours"].collision_uploaders = limit
    if retro:
        made.retro.list = "ours"
    return made


def log(ledger: Ledger, *records: VerdictRecord) -> None:
    for future in [ledger.append(record, log=True, remember=True) for record in records]:
        future.result(SECONDS)


def matches(ledger: Ledger, entry_id: str = "e1") -> int:
    counted = ledger.entry_count("ours", entry_id)
    return counted.matches if counted else 0


@pytest.mark.parametrize("limit", [1, 2, 7, None])
def test_the_guard_trips_at_the_nth_uploader_and_says_so_once(
    ledger: Ledger, limit: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    number = COLLISION_UPLOADERS if limit is None else limit
    for n in range(number - 1):
        log(ledger, verdict(2 * n, uploader=f"u{n}", limit=limit), verdict(2 * n + 1, uploader=f"u{n}", limit=limit))
        assert ledger.held() == frozenset()
    log(ledger, verdict(1000, uploader="the last", limit=limit))
    assert ledger.held() == {ONE}
    log(ledger, *[verdict(2000 + n, uploader=f"w{n}", limit=limit) for n in range(3)])
    assert matches(ledger) == 2 * (number - 1) + 4
    [alarm] = [r for r in caplog.records if r.name == entry_counts.__name__]
    assert alarm.levelno == logging.ERROR
    assert alarm.args == ("e1", "ours", number)


def test_a_limit_of_none_never_trips(ledger: Ledger) -> None:
    log(ledger, *[verdict(n, uploader=f"u{n}", limit=0) for n in range(3 * COLLISION_UPLOADERS)])
    assert ledger.held() == frozenset()
    counted = ledger.entry_count(*ONE)
    assert counted is not None
    assert (counted.matches, len(counted.uploaders)) == (3 * COLLISION_UPLOADERS, 0)


def test_uploaders_of_another_hour_do_not_add_up(ledger: Ledger) -> None:
    log(ledger, verdict(1, uploader="a", limit=3))
    log(ledger, verdict(2, uploader="b", limit=3, at=NOON + timedelta(minutes=WINDOW_MINUTES - 1)))
    log(ledger, verdict(3, uploader="c", limit=3, at=NOON + timedelta(minutes=WINDOW_MINUTES)))
    assert ledger.held() == frozenset()
    log(ledger, verdict(4, uploader="a", limit=3, at=NOON + timedelta(minutes=WINDOW_MINUTES + 1)))
    assert ledger.held() == {ONE}


def test_an_uploader_who_comes_again_counts_from_then_on(ledger: Ledger) -> None:
    for n, (uploader, minute) in enumerate([("a", 0), ("a", 59), ("b", 61), ("c", 62)]):
        assert ledger.held() == frozenset()
        log(ledger, verdict(n, uploader=uploader, limit=3, at=NOON + timedelta(minutes=minute)))
    assert ledger.held() == {ONE}


def test_after_a_release_uploaders_are_counted_anew(ledger: Ledger) -> None:
    log(ledger, *[verdict(n, uploader=f"u{n}", limit=3) for n in range(2)])
    ledger.release(*ONE, NOON, by="tests")
    log(ledger, *[verdict(10 + n, uploader=f"w{n}", limit=3) for n in range(2)])
    assert ledger.held() == frozenset()
    log(ledger, verdict(20, uploader="w2", limit=3))
    assert ledger.held() == {ONE}


def test_who_is_not_named_is_told_apart_by_content_and_else_not_at_all(ledger: Ledger) -> None:
    log(ledger, *[verdict(n, content="c", limit=4) for n in range(9)])
    log(ledger, verdict(10, content="d", limit=4), verdict(11, uploader="c", limit=4))
    assert ledger.held() == frozenset()
    log(ledger, verdict(12, limit=4))
    assert ledger.held() == {ONE}


def test_an_answer_given_again_is_not_counted_again(ledger: Ledger) -> None:
    log(ledger, verdict(1, uploader="a"))
    with pytest.raises(Exception, match="verdict id"):
        log(ledger, verdict(1, uploader="b"))
    ledger.append(verdict(2, uploader="c"), log=False, remember=True).result(SECONDS)
    assert matches(ledger) == 1


def test_what_was_set_aside_is_not_counted(ledger: Ledger) -> None:
    aside = verdict(1, entries=())
    aside.set_aside.add().match.CopyFrom(verdict(2).matches[0])
    log(ledger, aside)
    assert ledger.entry_count(*ONE) is None


def test_the_nearest_entries_of_a_verdict_are_counted(ledger: Ledger) -> None:
    log(ledger, verdict(1, entries=("e0", "e0", *[f"e{n}" for n in range(100)])))
    assert [matches(ledger, f"e{n}") for n in range(100)] == [1] * MAX_COUNTED + [0] * (100 - MAX_COUNTED)


def test_what_is_judged_again_is_counted_and_trips_nothing(ledger: Ledger) -> None:
    log(ledger, *[verdict(n, uploader=f"u{n}", limit=2, retro=True) for n in range(5)])
    assert (matches(ledger), ledger.held()) == (5, frozenset())


def test_no_uploader_is_told(tmp_path: Path) -> None:
    for state in (tmp_path / "one", tmp_path / "other"):
        ledger = Ledger(state)
        log(ledger, verdict(1, uploader="somebody-7", entries=("e1", "e2")), verdict(2, uploader="somebody-8"))
        ledger.close()
    seen: set[str] = set()
    for state in (tmp_path / "one", tmp_path / "other"):
        reader = Ledger(state, readonly=True)
        for entry_id in ("e1", "e2"):
            counted = reader.entry_count("ours", entry_id)
            assert counted is not None
            assert b"somebody" not in counted.SerializeToString()
            assert not seen & counted.uploaders.keys()
            seen |= counted.uploaders.keys()
        reader.close()
    assert len(seen) == 6


def test_a_released_entry_acts_and_is_exempt(ledger: Ledger, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        ledger.release(*ONE, NOON, by="tests")
    log(ledger, *[verdict(n, uploader=f"u{n}", limit=3) for n in range(3)])
    until = NOON + timedelta(hours=24)
    released = ledger.release(*ONE, until, by="tests")
    assert (released.matches, released.HasField("held_since"), ledger.held()) == (3, False, frozenset())
    log(ledger, *[verdict(10 + n, uploader=f"w{n}", limit=3, at=until - timedelta(seconds=1)) for n in range(9)])
    assert ledger.held() == frozenset()
    log(ledger, *[verdict(30 + n, uploader=f"x{n}", limit=3, at=until) for n in range(3)])
    assert ledger.held() == {ONE}
    ledger.close()
    with pytest.raises(Exception, match=r"closed|Closed|invalid"):
        ledger.release(*ONE, until, by="tests")
    assert check_state(tmp_path).problems == []


def test_a_ledger_that_is_opened_again_holds_what_it_held(tmp_path: Path) -> None:
    for n in range(5):
        ledger = Ledger(tmp_path)
        assert ledger.held() == frozenset()
        log(ledger, verdict(n, uploader=f"u{n}", limit=5, entries=("e1", "e2")))
        ledger.close()
    reader = Ledger(tmp_path, readonly=True)
    assert reader.held() == {ONE, ("ours", "e2")}
    with pytest.raises(Refused):
        reader.release(*ONE, NOON, by="tests")
    reader.close()


def test_many_threads_trip_it_once(ledger: Ledger, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def work(thread: int) -> None:
        for n in range(30):
            log(ledger, verdict(100 * thread + n, uploader=f"u{(thread + n) % 40}", limit=40))
            ledger.held()

    threads = [threading.Thread(target=work, args=(t,)) for t in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ledger.held() == frozenset()  # thirty-seven uploaders
    log(ledger, *[verdict(9000 + n, uploader=f"u{37 + n}", limit=40) for n in range(3)])
    assert (ledger.held(), matches(ledger)) == ({ONE}, 243)
    assert len([r for r in caplog.records if r.name == entry_counts.__name__]) == 1
    ledger.close()
    assert check_state(tmp_path).problems == []


def test_another_process_is_followed(tmp_path: Path, nursery) -> None:
    state = tmp_path / "shared"
    child = nursery.start("write", str(state), [], 0, 4)
    child.read_until(lambda found: b"open\n" in found)
    ledger = Ledger(state)
    drawn = ("drawn", "abcd")
    deadline = time.monotonic() + SECONDS
    while drawn not in ledger.held() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert drawn in ledger.held()
    ledger.release(*drawn, NOON + timedelta(days=365), by="tests")
    child.read_until(lambda found: found.count(b"\n") > 100)
    assert drawn not in ledger.held()
    child.kill()
    child.wait()
    ledger.close()
    assert check_state(state).problems == []


def test_after_a_kill_the_counts_are_what_the_events_say(tmp_path: Path, nursery) -> None:
    for kill in range(5):
        child = nursery.start("write", str(tmp_path), [], kill * 100_000, 16)
        child.read_until(lambda found: found.count(b"\n") > 30)
        child.kill()
        child.wait()
    reader = Ledger(tmp_path, readonly=True)
    logged = Counter((m.list, m.entry_id) for event in follow(reader) for m in event.verdict.matches)
    assert len(logged) > 1
    for (name, entry_id), number in logged.items():
        counted = reader.entry_count(name, entry_id)
        assert counted is not None
        assert counted.matches == number
    reader.close()


class Model:
    """The plainest guard: every match of an entry since it was last held or released."""

    def __init__(self) -> None:
        self.matches: Counter[str] = Counter()
        self.seen: dict[str, list[tuple[int, str]]] = {}
        self.held: set[str] = set()
        self.released: dict[str, datetime] = {}

    def verdict(self, entry_id: str, uploader: str, at: datetime, limit: int) -> None:
        self.matches[entry_id] += 1
        if limit == 0 or entry_id in self.held or at < self.released.get(entry_id, at):
            return
        minute = int(at.timestamp()) // 60
        seen = self.seen.setdefault(entry_id, [])
        seen.append((minute, uploader))
        if len({who for when, who in seen if minute - when < WINDOW_MINUTES}) >= limit:
            self.held.add(entry_id)
            seen.clear()

    def release(self, entry_id: str, until: datetime) -> None:
        self.held.discard(entry_id)
        self.seen.pop(entry_id, None)
        self.released[entry_id] = until


entry_ids = st.sampled_from(["e1", "e2"])
steps = st.lists(
    st.tuples(
        st.just("verdict"),
        st.lists(entry_ids, min_size=1, max_size=2, unique=True),
        st.sampled_from("abcd"),
        st.sampled_from([0, 0, 1, 20, 59, 60, 61, 200]),  # minutes later
        st.sampled_from([0, 2, 3, 3]),
    )
    | st.tuples(st.just("release"), entry_ids, st.sampled_from([0, 60, 1440]))
    | st.just(("restart",)),
    max_size=25,
)


@settings(max_examples=40, deadline=None)
@given(steps)
def test_the_guard_is_what_a_memory_of_everything_says(tmp_path_factory: pytest.TempPathFactory, steps) -> None:
    state = tmp_path_factory.mktemp("guard")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "LINGER_SECONDS", 0.001)
        follow_model(state, steps)
    assert check_state(state).problems == []


def follow_model(state: Path, steps) -> None:
    ledger, model, now = Ledger(state), Model(), NOON
    for number, (what, *rest) in enumerate(steps):
        if what == "verdict":
            entries, uploader, later, limit = rest
            now += timedelta(minutes=later)
            log(ledger, verdict(number, uploader=uploader, at=now, entries=tuple(entries), limit=limit))
            for entry_id in entries:
                model.verdict(entry_id, uploader, now, limit)
        elif what == "release" and model.matches[rest[0]]:
            until = now + timedelta(minutes=rest[1])
            ledger.release("ours", rest[0], until, by="tests")
            model.release(rest[0], until)
        elif what == "restart":
            ledger.close()
            ledger = Ledger(state)
        assert ledger.held() == {("ours", entry_id) for entry_id in model.held}
        assert {entry_id: matches(ledger, entry_id) for entry_id in ("e1", "e2")} == {
            entry_id: model.matches[entry_id] for entry_id in ("e1", "e2")
        }
    ledger.close()


def test_a_damaged_guard_is_told(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    log(ledger, verdict(1, limit=1))
    with ledger._env.write() as txn:
        txn.put(b"held", b"damaged", db=ledger._env.table("guard"))
    with pytest.raises(Corrupt):
        ledger.held()
    ledger.close()
