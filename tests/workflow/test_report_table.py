"""What a report may not do, and the table that says so."""

from dataclasses import replace

import pytest
from workflow.reports import (
    FAILURES,
    FINISH,
    GONE,
    REFUSED,
    RETRACT,
    SUBMIT,
    T0,
    TEST,
    detail,
    hours,
    queued,
    success,
    to,
    upload,
    went,
)

from hashmatch.delivery.cybertip.outcomes import Failed, Opened
from hashmatch.delivery.cybertip.terms import Environment, ReportId
from hashmatch.errors import Malformed, Refused
from hashmatch.workflow.report import (
    Call,
    Result,
    State,
    Step,
    after,
    next_step,
    table,
    withdraw,
)
from hashmatch.workflow.report_record import OPEN, OVER, FileProgress, Retraction

RECORDS = [queued(), *map(to, (State.OPENED, State.UPLOADED, State.DETAILED, State.FINISHED)),
           went(to(State.OPENED), GONE), went(queued(), REFUSED), withdraw(queued(), T0)]  # fmt: skip
STEPS = [SUBMIT, upload(0), upload(1), upload(None), detail(0), detail(1), FINISH, RETRACT,
         Step(Call.NOTHING), Step(Call.WAIT, until=T0), Step(Call.ASK_A_PERSON)]  # fmt: skip


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.state.value)
@pytest.mark.parametrize("step", STEPS, ids=lambda step: f"{step.call.value} {step.file}")
def test_a_step_that_is_not_next_raises(record, step):
    calls = [success(one) for one in STEPS[:8]]
    for outcome in [*calls, *FAILURES]:
        if step == next_step(record, T0 + hours(1)) and step in STEPS[:8]:
            if not isinstance(outcome, Failed) and type(outcome) is not type(success(step)):
                with pytest.raises(Refused):
                    after(record, step, outcome, T0, jitter=0)
            continue
        with pytest.raises(Refused):
            after(record, step, outcome, T0, jitter=0)


@pytest.mark.parametrize(
    ("record", "changes", "field"),
    [
        (queued(), {"state": State.OPENED}, "report_id"),
        (queued(), {"state": State.FINISHED}, "receipt"),
        (queued(), {"state": State.FAILED}, "failed_in"),
        (queued(), {"state": State.FAILED, "failed_in": State.FINISHED}, "failed_in"),
        (queued(), {"failed_in": State.QUEUED}, "failed_in"),
        (queued(), {"report_id": ReportId(1, TEST)}, "report_id"),
        (queued(), {"retraction": Retraction.RESTART}, "retraction"),
        (queued(), {"files": (FileProgress("f"),)}, "files"),
        (to(State.OPENED), {"report_id": ReportId(1, Environment.PRODUCTION)}, "report_id"),
        (to(State.OPENED), {"opened_at": None}, "report_id"),
        (to(State.OPENED), {"state": State.UPLOADED}, "files"),
        (to(State.UPLOADED), {"state": State.DETAILED}, "files"),
        (to(State.DETAILED), {"state": State.OPENED}, "files"),
        (to(State.FINISHED), {"receipt": None}, "receipt"),
        (to(State.FINISHED), {"state": State.RETRACTED}, "receipt"),
    ],
)
def test_a_record_that_cannot_be_is_not_made(record, changes, field):
    with pytest.raises(Malformed) as raised:
        replace(record, **changes)
    assert raised.value.field == field


def test_a_report_opened_in_the_other_environment_is_not_ours():
    with pytest.raises(Malformed):
        after(queued(), SUBMIT, Opened(ReportId(1, Environment.PRODUCTION)), T0, jitter=0)


def test_the_table_renders():
    rows = list(table())
    assert len({(row.state, row.call, row.result) for row in rows}) == len(rows)
    assert {row.state for row in rows} == set(State) - OVER - {State.FAILED}
    assert {row.to for row in rows} == set(State)
    lines = [f"{row.state.value} | {row.call.value} | {row.result.value} | {row.to.value} | {row.note}" for row in rows]
    assert "detailed | finish | already finished | finished | a success whose reply was lost" in lines
    for row in rows:  # whatever an open report meets, it is told what becomes of it
        if row.state in OPEN and row.call is not Call.RETRACT:
            results = {one.result for one in rows if (one.state, one.call) == (row.state, row.call)}
            assert results >= set(Result) - {Result.DONE}
