"""Reports as rows: what is kept is what was put in, and the queue says what is due."""

from __future__ import annotations

from datetime import UTC, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashmatch import clock
from hashmatch.errors import Corrupt, NotFound
from hashmatch.v1.cases_pb2 import Case, CaseItem
from hashmatch.v1.reports_pb2 import REPORT_STATE_FINISHED, ReportFile, ReportRow
from hashmatch.workflow.report import Call, State, next_step
from hashmatch.workflow.report_record import OVER
from hashmatch.workflow.report_rows import alerts_at, keep, look_again, record_of, state_of
from hashmatch.workflow.report_store import ReportStore

from .conftest import START, Work
from .reports import FAILURES, T0, queued, went

FILES = 2
OUTCOMES = st.lists(st.sampled_from(["done", "done", "done", *FAILURES]), max_size=14)


def row_of(record):
    row = ReportRow(id=record.id, environment=1, files=[ReportFile(verdict_id=f"v{n}") for n in range(FILES)])
    row.decided_at.FromDatetime(record.decided_at)
    keep(row, record)
    return row


def walked(outcomes):
    record = queued(FILES)
    for outcome in outcomes:
        if next_step(record, max(T0, record.next_attempt_at)).call in (Call.NOTHING, Call.ASK_A_PERSON):
            break
        try:
            record = went(record, outcome)
        except Exception:  # noqa: S112  # an outcome that is not one of that step
            continue
    return record


@given(OUTCOMES)
def test_a_record_comes_out_of_its_row_as_it_went_in(outcomes):
    record = walked(outcomes)
    assert record_of(ReportRow.FromString(row_of(record).SerializeToString())) == record


@given(OUTCOMES, st.timedeltas(timedelta(), timedelta(days=40)))
def test_it_is_looked_at_whenever_there_is_something_to_do(outcomes, later):
    record, now = walked(outcomes), T0 + later
    due, step = look_again(row_of(record), now), next_step(record, now)
    if record.state in OVER:
        assert due is None
    elif step.call is Call.WAIT:
        assert due <= step.until
    elif step.call is Call.ASK_A_PERSON:
        assert due == min((at for _, at in alerts_at(record)), default=None)
    else:
        assert due <= now


def test_a_row_that_no_report_can_be_is_corrupt():
    row = row_of(queued(FILES))
    row.state = REPORT_STATE_FINISHED
    with pytest.raises(Corrupt):
        record_of(row)


@pytest.fixture
def work(tmp_path):
    made = Work(tmp_path)
    yield made
    made.ledger.close()


def queue(work, store, case_id, items=("v1",)):
    with work.ledger.changing() as log:
        return store.queue(log, Case(id=case_id), [CaseItem(verdict_id=one) for one in items])


def test_what_is_queued_is_taken_in_order_once(work):
    store = ReportStore(work.ledger.env)
    ids = []
    for number in range(4):
        work.now += timedelta(seconds=1)
        ids.append(queue(work, store, f"c_{9 - number}").id)
    with work.ledger.changing() as log:
        assert store.take(log.txn, START, 9, timedelta(minutes=1)) == []
        first = store.take(log.txn, work.now, 3, timedelta(minutes=1))
        rest = store.take(log.txn, work.now, 3, timedelta(minutes=1))
        assert store.next_due(log.txn) == work.now + timedelta(minutes=1)
    assert [row.id for row in first] == ids[:3]
    assert [row.id for row in rest] == ids[3:]
    assert all(row.claim == 1 for row in first)


def test_pages_and_cases(work):
    store = ReportStore(work.ledger.env)
    ids = sorted(queue(work, store, f"c_{number}").id for number in range(5))
    with work.ledger.env.read() as txn:
        found, after = store.page(txn, limit=3)
        more, end = store.page(txn, after=after, limit=3)
        assert [row.id for row in found + more] == ids
        assert end == ""
        assert [row.id for row in store.page(txn, case_id="c_3", limit=9)[0]] == ["r_3.0"]
        assert store.page(txn, states=[State.FINISHED], limit=9) == ([], "")
        assert [row.id for row in store.of_case(txn, "c_4")] == ["r_4.0"]
        with pytest.raises(NotFound):
            store.get(txn, "r_9.0")


def test_files_are_in_the_order_of_their_uploads_and_nothing_joins_what_was_begun(work):
    store = ReportStore(work.ledger.env)
    items = [CaseItem(verdict_id=f"v{n}") for n in range(3)]
    for number, one in enumerate(items):
        one.at.FromDatetime(START - timedelta(minutes=number))
    with work.ledger.changing() as log:
        row = store.queue(log, Case(id="c_1"), items)
    assert [file.verdict_id for file in row.files] == ["v2", "v1", "v0"]
    assert row.decided_at.ToDatetime(UTC) == work.now
    with work.ledger.changing() as log:
        before = store.get(log.txn, row.id)
        row.calling.call = "SUBMIT"
        store.put(log, row, before)
    later = queue(work, store, "c_1", ("v0", "v9"))
    assert (later.id, [file.verdict_id for file in later.files]) == ("r_1.0-2", ["v9"])
    assert queue(work, store, "c_1", ("v1", "v9")) == later
    with work.ledger.env.read() as txn:
        assert [row.id for row in store.of_case(txn, "c_1")] == ["r_1.0", "r_1.0-2"]


def test_nothing_is_kept_of_a_transaction_that_fails(work):
    store = ReportStore(work.ledger.env)
    with pytest.raises(RuntimeError), work.ledger.changing() as log:
        store.queue(log, Case(id="c_1"), [])
        raise RuntimeError
    with work.ledger.env.read() as txn:
        assert store.next_due(txn) is None
        assert not store.any_due(txn, clock.now())
    assert not [event for event in work.ledger.events(limit=99) if event.HasField("reported")]


def test_states_have_the_machines_names():
    row = ReportRow()
    for number, state in enumerate(State, start=1):
        row.state = number
        assert state_of(row) is state
