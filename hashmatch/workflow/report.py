"""A report's way to the CyberTipline: what to do next, and what became of it. Pure: time and chance are arguments.

    QUEUED → OPENED → UPLOADED → DETAILED → FINISHED
    an open one may also come to be RETRACTED, EXPIRED (and is opened anew) or FAILED (and waits for a person)

The service knows no key by which a repeated call is recognised. So what follows a lost reply depends on the call:

    submit            again; the report that may have been opened expires by itself, unfinished and unseen
    upload, details   retract and begin again: nobody knows what the report holds, and it must hold each file once
    finish, retract   again: "already finished" and "already retracted" are then what was wanted

Calls go out one at a time, under a lease of the caller's; `after()` takes in what each came to. Illegal steps raise.
What is kept is in report_record.py, the machine itself in report_table.py; all of it can be had from here.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from hashmatch.delivery.cybertip.outcomes import (
    Detailed,
    Failed,
    Failure,
    Finished,
    Opened,
    Outcome,
    Retracted,
    Uploaded,
)
from hashmatch.delivery.schedule import is_time
from hashmatch.errors import Malformed, Refused
from hashmatch.workflow.report_record import (
    OVER,
    UNOPENED,
    Alert,
    Difference,
    FileProgress,
    Receipt,
    ReportRecord,
    Retraction,
    State,
    alert,
    difference,
    expires_at,
)
from hashmatch.workflow.report_table import NEXT, Call, Result, Row, Step, table

__all__ = [
    "Alert",
    "Call",
    "Difference",
    "ReportRecord",
    "Result",
    "Row",
    "State",
    "Step",
    "after",
    "alert",
    "difference",
    "expires_at",
    "next_step",
    "resume",
    "table",
    "withdraw",
]

MAX_RETRIES = 10  # of one step, after its first try; as other clients have it
MAX_RESTARTS = 10  # ours: a report that could not be brought through so often wants a person
GIVE_UP_AFTER = timedelta(days=30)  # from the decision, or from when a person last set it going
FIRST_WAIT, LONGEST_WAIT = timedelta(minutes=1), timedelta(hours=6)  # ten retries take about 15 hours
FURTHEST = timedelta(hours=24)  # that a report is ever put off: where the service asks for it, or its batch waits

# ── what to do ──────────────────────────────────────────────────────────────────────────────────────────────────────


def next_step(record: ReportRecord, now: datetime) -> Step:
    """What to do with a report now."""
    due = _due(record)
    if due.call in (Call.NOTHING, Call.ASK_A_PERSON):
        return due
    given_up = _given_up(record)
    # A clock that jumped gives nobody a chance: for its age alone nothing is given up, but for being turned away so
    # late that the next attempt would come after that.
    turned_away = bool(record.attempts) and record.next_attempt_at >= given_up
    if turned_away and now >= given_up:
        return Step(Call.ASK_A_PERSON)
    if not is_time(record.next_attempt_at, now, FURTHEST):
        return Step(Call.WAIT, until=given_up if turned_away else record.next_attempt_at)
    return due


def _given_up(record: ReportRecord) -> datetime:
    """After which it is not tried for longer."""
    return max(record.decided_at, record.resumed_at or record.decided_at) + GIVE_UP_AFTER


def _due(record: ReportRecord) -> Step:
    if record.state in OVER:
        return Step(Call.NOTHING)
    if record.state is State.FAILED:
        return Step(Call.ASK_A_PERSON)
    if record.retraction is not None:
        return Step(Call.RETRACT)
    if record.state is State.OPENED:
        return Step(Call.UPLOAD, file=record.not_uploaded)
    if record.state is State.UPLOADED:
        return Step(Call.DETAIL, file=record.not_detailed)
    return Step(Call.FINISH if record.state is State.DETAILED else Call.SUBMIT)


# ── what became of it ───────────────────────────────────────────────────────────────────────────────────────────────

_SUCCESS = {
    Call.SUBMIT: Opened,
    Call.UPLOAD: Uploaded,
    Call.DETAIL: Detailed,
    Call.FINISH: Finished,
    Call.RETRACT: Retracted,
}


def after(record: ReportRecord, step: Step, outcome: Outcome, now: datetime, *, jitter: float) -> ReportRecord:
    """The record after a step was taken.

    Where the report was to be withdrawn while a call was under way, what the call came to still counts.

    Args:
        jitter: 0..1, drawn by the caller; spreads retries over the half of each wait.

    Raises:
        Refused: the step is not one that the record is at, or the outcome not one of that step.
        Malformed: a jitter outside its range.
    """
    if not 0 <= jitter <= 1:
        raise Malformed("want 0..1", field="jitter")
    result = _result(record, step, outcome)
    to = NEXT.get((record.state, step.call, result))
    if to is None:
        raise Refused(f"a report that is {record.state.value} is not at this step: {step.call.value}, {result.value}")
    record = replace(record, last_request_id=outcome.request_id or record.last_request_id)
    if isinstance(outcome, Failed):
        record = replace(record, last_code=outcome.code)
        if result in (Result.RETRY, Result.LOST):
            return _again(record, step.call, outcome, now, jitter)
    if to is State.FAILED:
        return replace(record, state=State.FAILED, failed_in=record.state)
    if to in UNOPENED:
        return _anew(record, to, now, jitter)
    record = replace(record, attempts=0, next_attempt_at=now)
    if to in OVER:
        receipt = _receipt(outcome, now) if to is State.FINISHED else None
        return replace(record, state=to, retraction=None, receipt=receipt)
    return _forward(record, step, outcome, to, now)


def _result(record: ReportRecord, step: Step, outcome: Outcome) -> Result:
    expected = {Call.UPLOAD: record.not_uploaded, Call.DETAIL: record.not_detailed}.get(step.call)
    if step.file != expected or (step.call is Call.RETRACT and record.retraction is None):
        raise Refused(f"a report that is {record.state.value} is not at this step: {step.call.value}")
    if isinstance(outcome, Failed):
        wanted = step.call is Call.RETRACT and outcome.failure in (Failure.GONE, Failure.ALREADY_RETRACTED)
        if not wanted:
            return Result[outcome.failure.name]
    elif not isinstance(outcome, _SUCCESS.get(step.call, ())):
        raise Refused(f"not an outcome of this step: {step.call.value}")
    last = {
        Call.SUBMIT: not record.files,
        Call.UPLOAD: sum(file.file_id is None for file in record.files) == 1,
        Call.DETAIL: sum(not file.detailed for file in record.files) == 1,
        Call.RETRACT: record.retraction is Retraction.WITHDRAW,
    }
    return Result.LAST if last.get(step.call, True) else Result.DONE


def _forward(record: ReportRecord, step: Step, outcome: Outcome, to: State, now: datetime) -> ReportRecord:
    if isinstance(outcome, Opened):
        return replace(record, state=to, report_id=outcome.report_id, opened_at=now)
    number = step.file or 0
    if isinstance(outcome, Uploaded):
        file = FileProgress(outcome.file_id, outcome.md5)
    else:
        file = replace(record.files[number], detailed=True)
    return replace(record, state=to, files=record.files_with(number, file), last_touch_at=now)


def _again(record: ReportRecord, call: Call, failed: Failed, now: datetime, jitter: float) -> ReportRecord:
    if failed.failure is Failure.LOST and call in (Call.UPLOAD, Call.DETAIL):
        wanted = record.retraction or Retraction.RESTART
        return replace(record, retraction=wanted, attempts=0, next_attempt_at=now)
    attempts = record.attempts + 1
    wait = min(max(_wait(attempts, jitter), failed.retry_after or timedelta()), FURTHEST)
    record = replace(record, attempts=attempts, next_attempt_at=now + wait)
    over = attempts > MAX_RETRIES or now >= _given_up(record)
    return replace(record, state=State.FAILED, failed_in=record.state) if over else record


def _anew(record: ReportRecord, to: State, now: datetime, jitter: float) -> ReportRecord:
    """Nothing is open any more: begin again, or leave it at that where that was wanted."""
    if record.retraction is Retraction.WITHDRAW:
        return replace(record, state=State.RETRACTED, retraction=None, attempts=0)
    restarts = record.restarts + 1
    tired = restarts > MAX_RESTARTS
    return replace(
        record,
        state=State.FAILED if tired else to,
        failed_in=to if tired else None,
        files=(FileProgress(),) * len(record.files),
        report_id=None,
        opened_at=None,
        last_touch_at=None,
        retraction=None,
        attempts=0,
        restarts=restarts,
        next_attempt_at=now + _wait(restarts, jitter),
    )


def _receipt(outcome: Outcome, now: datetime) -> Receipt:
    if isinstance(outcome, Finished):
        return Receipt(now, outcome.receipt, outcome.file_ids)
    return Receipt(now, b"", None)


def _wait(times: int, jitter: float) -> timedelta:
    """Doubling, up to LONGEST_WAIT; of that, between half and all."""
    longest = min(FIRST_WAIT * (1 << min(times - 1, 20)), LONGEST_WAIT)
    return longest * (0.5 + jitter / 2)


# ── what a person does ──────────────────────────────────────────────────────────────────────────────────────────────


def resume(record: ReportRecord, now: datetime) -> ReportRecord:
    """Set one going again that waits for a person, where it stopped: a finish whose reply was lost is not filed twice.

    Raises:
        Refused: it does not wait for a person.
    """
    if next_step(record, now).call is not Call.ASK_A_PERSON:
        raise Refused(f"a report that is {record.state.value} does not wait for a person")
    return replace(
        record, state=record.stage, failed_in=None, attempts=0, restarts=0, next_attempt_at=now, resumed_at=now
    )


def withdraw(record: ReportRecord, now: datetime) -> ReportRecord:
    """Have it retracted, and not filed: at once where nothing is open, else by a call.

    Raises:
        Refused: it is over. What was filed cannot be taken back.
    """
    if record.state in OVER:
        raise Refused(f"a report that is {record.state.value} cannot be withdrawn")
    if record.stage in UNOPENED:
        return replace(record, state=State.RETRACTED, failed_in=None)
    wanted = replace(record, state=record.stage, failed_in=None, retraction=Retraction.WITHDRAW)
    return replace(wanted, attempts=0, next_attempt_at=now, resumed_at=now)
