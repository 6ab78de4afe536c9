"""A report survives kill -9 at every boundary of its way: none is lost, none is filed twice."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from hashmatch import clock
from hashmatch.delivery.cybertip.terms import Environment
from hashmatch.simulate.cybertipline import serving
from hashmatch.simulate.state import Stage
from hashmatch.workflow.report import State
from hashmatch.workflow.report_batch import Batching

from .dying_reporting import KEPT, Ahead
from .reporting import Office, client_of, state_of

TESTS = Path(__file__).parents[1]
CALLS = 6  # submit, two uploads, two details, finish
BOUNDARIES = CALLS * 8  # of each: two around the call, and two around each of three commits
BATCHED = 2  # cases in a batch
GATHERED = BATCHED * 4  # each is taken, and joins it: two commits
BATCH_BOUNDARIES = GATHERED + 4 * 8  # submit, an upload, details, finish


@pytest.fixture(scope="module")
def tipline():
    with serving() as found:
        yield found


@pytest.fixture(scope="module")
def queued(tmp_path_factory, tipline):
    """A state directory with one report of two files, queued and not begun."""
    state = tmp_path_factory.mktemp("queued") / "state"
    with closing(Office(state, clock.now, tipline.url)) as one:
        case_id = one.match("u1", "a")
        one.match("u1", "b")
        one.confirm(case_id)
    return state


@pytest.fixture(scope="module")
def driver():
    """Files in processes that die: told where, says what became of it."""
    with subprocess.Popen(
        [sys.executable, "-m", "workflow.dying_reporting"], cwd=TESTS, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip

        def run(state, url, *words):
            print(state, url, *words, file=process.stdin, flush=True)
            return process.stdout.readline().split()

        yield run
        process.stdin.close()


@pytest.fixture(scope="module")
def viral(tmp_path_factory, tipline):
    """A state directory with reports of several cases of one viral thing, queued and not begun."""
    state = tmp_path_factory.mktemp("viral") / "state"
    with closing(Office(state, clock.now, tipline.url)) as one:
        for number in range(BATCHED):
            one.confirm(one.match(f"u{number}", "a", labels=["viral"]))
    return state


def copied(queued, to):
    shutil.copytree(queued, to, ignore=shutil.ignore_patterns("lock.mdb"))
    return to


def check(state, tipline, before):
    """All that must be so once a report was filed, whoever died on the way; how many were orphaned."""
    new = [held for number, held in tipline.reports.items() if number not in before]
    finished = [held for held in new if held.stage is Stage.FINISHED]
    with closing(Office(state, clock.now, tipline.url)) as one:
        with one.ledger.env.read() as txn:
            (row,) = one.store.page(txn, limit=10)[0]
        assert state_of(row) is State.FINISHED
        assert [held.report_id for held in finished] == [row.number]
        assert [file.file_id for file in finished[0].files] == [file.file_id for file in row.files]
        assert all(len(file.details) == 1 for file in finished[0].files)
        assert row.HasField("receipt")
        events = one.events(row.id)
        assert [event.state for event in events].count("FINISHED") == 1
        assert [event.receipt for event in events if event.receipt] == [f"{row.number} (test)"]
        assert one.case(row.case_id).HasField("reported_at")
        assert len(one.holds(row.case_id)) == 1
        assert not row.HasField("due_at")
    assert {held.stage for held in new} <= {Stage.FINISHED, Stage.RETRACTED, Stage.OPEN}
    return sum(held.stage is Stage.OPEN for held in new)


def test_undisturbed_it_has_so_many_boundaries_as_are_enumerated(tmp_path, queued, driver, tipline):
    before = set(tipline.reports)
    state = copied(queued, tmp_path / "state")
    assert driver(state, tipline.url, 0) == ["done", str(BOUNDARIES)]
    assert check(state, tipline, before) == 0


@pytest.mark.parametrize("boundary", range(1, BOUNDARIES + 1))
def test_killed_at_a_boundary_it_is_filed_once(tmp_path, queued, driver, tipline, boundary):
    before = set(tipline.reports)
    state = copied(queued, tmp_path / "state")
    assert driver(state, tipline.url, boundary) == ["killed"]
    assert driver(state, tipline.url, 0)[0] == "done"
    orphans = check(state, tipline, before)
    # Only what was opened while the one who opened it died is left open, and expires.
    assert orphans == (1 if boundary in (6, 7) else 0)


@pytest.mark.parametrize("seed", range(8))
def test_killed_again_and_again_it_is_filed_once(tmp_path, queued, driver, tipline, seed):
    draw, before = random.Random(seed), set(tipline.reports)
    state = copied(queued, tmp_path / "state")
    for _ in range(5):
        if driver(state, tipline.url, draw.randint(3, 30))[0] == "done":
            break
    assert driver(state, tipline.url, 0)[0] == "done"
    check(state, tipline, before)


@pytest.mark.parametrize("boundary", range(9, 25))
def test_killed_while_it_is_retracted_to_begin_again_it_is_filed_once(tmp_path, queued, driver, tipline, boundary):
    before = set(tipline.reports)
    state = copied(queued, tmp_path / "state")
    tipline.faults.add("upload:lost-reply@1")  # the second call, 9 to 16; the retraction is 17 to 24
    try:
        assert driver(state, tipline.url, boundary) == ["killed"]
        assert driver(state, tipline.url, 0)[0] == "done"
    finally:
        tipline.faults.clear()
    assert check(state, tipline, before) == 0


# ── a batch ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def survivor(tipline):
    """Opens an office that files what others left, at a time when their leases are over."""
    time = Ahead()
    clients = client_of(tipline.url, time.now)

    @contextmanager
    def opened(state):
        batch = Batching(at_least=BATCHED, at_most=BATCHED)
        with closing(Office(state, time.now, "", kept=KEPT, client_of=clients, batch=batch)) as one:
            one.drain(time.advance)
            yield one

    yield opened
    clients(Environment.TEST).close()


def filed_batch(survivor, state, tipline, before):
    """Files what is left, and looks for all that must be so then, whoever died on the way; how many were orphaned."""
    with survivor(state) as one:
        new = [held for number, held in tipline.reports.items() if number not in before]
        (finished,) = [held for held in new if held.stage is Stage.FINISHED]
        assert [len(file.details) for file in finished.files] == [1]
        with one.ledger.env.read() as txn:
            batch, *rows = one.store.page(txn, limit=10)[0]
        assert {file.report_id for file in batch.files} == {row.id for row in rows}
        assert len(batch.files) == len(rows) == BATCHED
        events = [(event.report_id, event.state) for event in one.events()]
        assert events.count((batch.id, "FINISHED")) == 1
        for row in rows:
            assert (state_of(row), row.number, row.batch_id) == (State.FINISHED, finished.report_id, batch.id)
            assert [state for report_id, state in events if report_id == row.id] == ["QUEUED", "FINISHED_IN_BATCH"]
            assert one.case(row.case_id).HasField("reported_at")
            assert len(one.holds(row.case_id)) == 1
        assert one.wait() is None
    assert {held.stage for held in new} <= {Stage.FINISHED, Stage.RETRACTED, Stage.OPEN}
    return sum(held.stage is Stage.OPEN for held in new)


def test_undisturbed_a_batch_has_so_many_boundaries_as_are_enumerated(tmp_path, viral, driver, tipline, survivor):
    before = set(tipline.reports)
    state = copied(viral, tmp_path / "state")
    assert driver(state, tipline.url, 0, BATCHED) == ["done", str(BATCH_BOUNDARIES)]
    assert filed_batch(survivor, state, tipline, before) == 0


@pytest.mark.parametrize("boundary", range(1, BATCH_BOUNDARIES + 1))
def test_killed_at_a_boundary_a_batch_is_filed_once(tmp_path, viral, driver, tipline, survivor, boundary):
    before = set(tipline.reports)
    state = copied(viral, tmp_path / "state")
    assert driver(state, tipline.url, boundary, BATCHED) == ["killed"]
    orphans = filed_batch(survivor, state, tipline, before)
    assert orphans == (1 if boundary in (GATHERED + 6, GATHERED + 7) else 0)
