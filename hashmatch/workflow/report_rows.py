"""A report as it is kept, and as the state machine knows it: one row, and the record in it. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from hashmatch.delivery.cybertip.terms import Environment, ReportId
from hashmatch.errors import Corrupt, Malformed
from hashmatch.v1.reports_pb2 import (
    REPORT_STATE_UNSPECIFIED,
    ReportEnvironment,
    ReportFile,
    ReportReceipt,
    ReportRetraction,
    ReportRow,
    ReportState,
)
from hashmatch.workflow.report import FURTHEST, Alert, Call, ReportRecord, State, Step, expires_at, next_step
from hashmatch.workflow.report_record import OVER, FileProgress, Receipt, Retraction

ALERTS: Final = tuple(sorted(Alert, key=lambda one: one.value))


def state_of(row: ReportRow) -> State:
    """How far a report is."""
    return State[ReportState.Name(row.state).removeprefix("REPORT_STATE_")]


def environment_of(row: ReportRow) -> Environment:
    """Which of the authority's services it goes to."""
    return Environment[ReportEnvironment.Name(row.environment).removeprefix("REPORT_ENVIRONMENT_")]


def copied(row: ReportRow) -> ReportRow:
    """A row of its own, to be changed."""
    other = ReportRow()
    other.CopyFrom(row)
    return other


def is_batch(row: ReportRow) -> bool:
    """Whether the reports of many cases are filed in it as one."""
    return bool(row.entry)


def with_file(row: ReportRow) -> list[ReportFile]:
    """Those items of which a file goes with the report, in the order of the record's files."""
    return [one for one in row.files if not one.without_file]


def authority_of(row: ReportRow) -> str:
    """The authority as the log names it: a test is never taken for a report."""
    return row.authority if environment_of(row) is Environment.PRODUCTION else f"{row.authority} (test)"


def receipt_of(row: ReportRow) -> str:
    """The authority's own number once it was filed, marked where that was a test; "" before."""
    if not row.HasField("receipt"):
        return ""
    return str(row.number) if environment_of(row) is Environment.PRODUCTION else f"{row.number} (test)"


def record_of(row: ReportRow) -> ReportRecord:
    """The record in a row.

    Raises:
        Corrupt: it holds what no report can be.
    """
    environment = environment_of(row)
    try:
        return ReportRecord(
            id=row.id,
            environment=environment,
            state=state_of(row),
            files=tuple(FileProgress(one.file_id or None, one.md5 or None, one.detailed) for one in with_file(row)),
            decided_at=row.decided_at.ToDatetime(UTC),
            next_attempt_at=row.next_attempt_at.ToDatetime(UTC),
            report_id=ReportId(row.number, environment) if row.number else None,
            opened_at=_moment(row, "opened_at"),
            last_touch_at=_moment(row, "last_touch_at"),
            attempts=row.attempts,
            restarts=row.restarts,
            retraction=_retraction(row),
            failed_in=_failed_in(row),
            resumed_at=_moment(row, "resumed_at"),
            last_code=row.last_code if row.HasField("last_code") else None,
            last_request_id=row.last_request_id,
            receipt=_receipt(row),
        )
    except (Malformed, KeyError) as e:
        raise Corrupt("a report's row holds what no report can be; restore the state directory from a backup") from e


def keep(row: ReportRow, record: ReportRecord) -> None:
    """Puts a record into its row. What was told of an open report's time is forgotten with that report."""
    number = record.report_id.number if record.report_id is not None else 0
    if number != row.number:
        row.alerts_told[:] = []
    row.number = number
    row.state = ReportState.Value(f"REPORT_STATE_{record.state.name}")
    for one, file in zip(with_file(row), record.files, strict=True):
        one.file_id, one.md5, one.detailed = file.file_id or "", file.md5 or b"", file.detailed
        if not file.detailed:
            one.viewed = one.exif_viewed = False
    row.next_attempt_at.CopyFrom(stamp(record.next_attempt_at))
    for name in ("opened_at", "last_touch_at", "resumed_at"):
        at = getattr(record, name)
        row.ClearField(name)
        if at is not None:
            getattr(row, name).CopyFrom(stamp(at))
    row.attempts, row.restarts = record.attempts, record.restarts
    row.retraction = ReportRetraction.REPORT_RETRACTION_UNSPECIFIED
    if record.retraction is not None:
        row.retraction = ReportRetraction.Value(f"REPORT_RETRACTION_{record.retraction.name}")
    row.failed_in = REPORT_STATE_UNSPECIFIED
    if record.failed_in is not None:
        row.failed_in = ReportState.Value(f"REPORT_STATE_{record.failed_in.name}")
    row.ClearField("last_code")
    if record.last_code is not None:
        row.last_code = record.last_code
    row.last_request_id = record.last_request_id
    row.ClearField("receipt")
    if record.receipt is not None:
        filed = record.receipt
        row.receipt.CopyFrom(ReportReceipt(at=stamp(filed.at), body=filed.body, file_ids=filed.file_ids or ()))
        row.receipt.file_ids_told = filed.file_ids is not None


def calling(row: ReportRow) -> Step | None:
    """The call that had begun when the row was last written, and whose end nobody wrote; None: there is none."""
    if not row.HasField("calling"):
        return None
    return Step(Call[row.calling.call], row.calling.file if row.calling.HasField("file") else None)


def begin(row: ReportRow, step: Step, now: datetime) -> None:
    """Notes that a call begins."""
    row.ClearField("calling")
    row.calling.call = step.call.name
    row.calling.began_at.CopyFrom(stamp(now))
    if step.file is not None:
        row.calling.file = step.file


def alerts_at(record: ReportRecord) -> list[tuple[Alert, datetime]]:
    """When which part of an open report's time is over; nothing where none is open."""
    expires = expires_at(record)
    if expires is None or record.opened_at is None:
        return []
    return [(one, record.opened_at + one.value * (expires - record.opened_at)) for one in ALERTS]


def percent(alert: Alert) -> int:
    return round(alert.value * 100)


def look_again(row: ReportRow, now: datetime) -> datetime | None:
    """When there is something to do for a report, or to tell of it; None: not before a person acts, or never. For one
    that is filed in a batch there is not: there is for the batch. Never further ahead than FURTHEST, so that what
    is was written before the clock was set back."""
    record = record_of(row)
    if record.state in OVER or row.batch_id:
        return None
    step = next_step(record, now)
    times = [at for one, at in alerts_at(record) if percent(one) not in row.alerts_told]
    if step.call is Call.WAIT and step.until is not None:
        times.append(step.until)
    elif step.call is not Call.ASK_A_PERSON:
        times.append(now)
    return min(*times, now + FURTHEST) if times else None


def stamp(at: datetime) -> Timestamp:
    made = Timestamp()
    made.FromDatetime(at)
    return made


def _moment(row: ReportRow, name: str) -> datetime | None:
    at: Timestamp = getattr(row, name)
    return at.ToDatetime(UTC) if row.HasField(name) else None  # type: ignore[arg-type]  # any name of a time


def _retraction(row: ReportRow) -> Retraction | None:
    if not row.retraction:
        return None
    return Retraction[ReportRetraction.Name(row.retraction).removeprefix("REPORT_RETRACTION_")]


def _failed_in(row: ReportRow) -> State | None:
    return State[ReportState.Name(row.failed_in).removeprefix("REPORT_STATE_")] if row.failed_in else None


def _receipt(row: ReportRow) -> Receipt | None:
    if not row.HasField("receipt"):
        return None
    kept = row.receipt
    return Receipt(kept.at.ToDatetime(UTC), kept.body, tuple(kept.file_ids) if kept.file_ids_told else None)
