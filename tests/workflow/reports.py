"""Reports on their way, to test with."""

from datetime import UTC, datetime, timedelta

from hashmatch.delivery.cybertip.outcomes import Detailed, Failed, Failure, Finished, Opened, Retracted, Uploaded
from hashmatch.delivery.cybertip.terms import Environment, ReportId
from hashmatch.workflow.report import (
    Call,
    ReportRecord,
    State,
    Step,
    after,
    next_step,
)

T0 = datetime(2026, 10, 15, 8, tzinfo=UTC)
TEST = Environment.TEST
SUBMIT, FINISH, RETRACT = Step(Call.SUBMIT), Step(Call.FINISH), Step(Call.RETRACT)
RETRY, LOST, REFUSED, GONE = (Failed(one, 1000, None, "r") for one in list(Failure)[:4])
FINISHED_BEFORE, RETRACTED_BEFORE = Failed(Failure.ALREADY_FINISHED, 5102), Failed(Failure.ALREADY_RETRACTED, 5101)
FAILURES = [RETRY, LOST, REFUSED, GONE, FINISHED_BEFORE, RETRACTED_BEFORE]


def hours(count):
    return timedelta(hours=count)


def upload(number):
    return Step(Call.UPLOAD, file=number)


def detail(number):
    return Step(Call.DETAIL, file=number)


def queued(files=2):
    return ReportRecord.queued("rep_1", environment=TEST, files=files, decided_at=T0)


def success(step, number=1):
    """What a call comes to that does what it is for."""
    return {
        Call.SUBMIT: Opened(ReportId(number, TEST), "r-1"),
        Call.UPLOAD: Uploaded(f"file-{step.file}", b"\x01" * 16, "r-1"),
        Call.DETAIL: Detailed("r-1"),
        Call.FINISH: Finished(b"<receipt/>", ("file-0", "file-1"), "r-1"),
        Call.RETRACT: Retracted("r-1"),
    }[step.call]


def went(record, *outcomes, now=T0, jitter=1.0):
    """The record after its next steps came to these."""
    for outcome in outcomes:
        now = max(now, record.next_attempt_at)
        step = next_step(record, now)
        record = after(record, step, success(step) if outcome == "done" else outcome, now, jitter=jitter)
    return record


def to(state, files=2):
    steps = {State.QUEUED: 0, State.OPENED: 1, State.UPLOADED: 1 + files, State.DETAILED: 1 + 2 * files}
    if state is State.FINISHED:
        return went(queued(files), *["done"] * (2 + 2 * files))
    return went(queued(files), *["done"] * steps[state])
