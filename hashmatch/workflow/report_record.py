"""What is kept of one report on its way to the CyberTipline. A record that cannot be is not made, nor loaded.

`report.py` says what is done with it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum

from hashmatch.delivery.cybertip.terms import Environment, ReportId
from hashmatch.errors import Malformed, Refused

OPEN_FOR = timedelta(hours=24)  # Reporting API: an unfinished report is deleted at the LATER of both
IDLE_FOR = timedelta(hours=1)


class State(Enum):
    """How far a report is, as the service holds it."""

    QUEUED = "queued"  # nothing was sent, or nothing that counts any more
    OPENED = "opened"  # it has an id; files are to be uploaded
    UPLOADED = "uploaded"  # every file; they are to be told of
    DETAILED = "detailed"  # every file was told of; it is to be finished
    FINISHED = "finished"  # filed: there is a receipt
    RETRACTED = "retracted"  # withdrawn, and not to be sent again
    EXPIRED = "expired"  # the service deleted it unfinished; it is opened anew
    FAILED = "failed"  # not without a person


OPEN = frozenset({State.OPENED, State.UPLOADED, State.DETAILED})
UNOPENED = frozenset({State.QUEUED, State.EXPIRED})
OVER = frozenset({State.FINISHED, State.RETRACTED})


class Retraction(Enum):
    """Why an open report is to be retracted."""

    RESTART = "restart"  # nobody knows what it holds; another will be opened
    WITHDRAW = "withdraw"  # it is not to be filed


@dataclass(frozen=True, slots=True)
class FileProgress:
    """How far one file is."""

    file_id: str | None = None  # the service's, opaque; None: not uploaded
    md5: bytes | None = field(default=None, repr=False)  # of what arrived, 16 bytes
    detailed: bool = False


@dataclass(frozen=True, slots=True)
class Receipt:
    """The service's word that a report was filed: also the request to preserve, 18 USC 2258A(h)(1)."""

    at: datetime  # when it came, aware
    body: bytes = field(repr=False)  # as it came
    file_ids: tuple[str, ...] | None  # that were filed; None: a repeated finish, which does not say


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRecord:
    """One report. Times are aware.

    Raises:
        Malformed: names a field that does not go with the state.
    """

    id: str  # ours
    environment: Environment
    state: State
    files: tuple[FileProgress, ...]
    decided_at: datetime  # when it was decided that a report is due
    next_attempt_at: datetime
    report_id: ReportId | None = None
    opened_at: datetime | None = None
    last_touch_at: datetime | None = None  # last upload or details that the service took
    attempts: int = 0  # of the present step that failed, in a row
    restarts: int = 0  # reports that expired or were retracted to begin again
    retraction: Retraction | None = None  # wanted
    failed_in: State | None = None  # where a failed one goes on
    resumed_at: datetime | None = None  # when a person last set it going
    last_code: int | None = None  # the service's, of the last failure
    last_request_id: str = ""  # what NCMEC's support asks for
    receipt: Receipt | None = None

    def __post_init__(self) -> None:
        if wrong := self._wrong():
            raise Malformed(f"does not go with {self.state.value}", field=wrong)

    @classmethod
    def queued(cls, id_: str, *, environment: Environment, files: int, decided_at: datetime) -> ReportRecord:
        """A new one, of that many files."""
        return cls(
            id=id_,
            environment=environment,
            state=State.QUEUED,
            files=(FileProgress(),) * files,
            decided_at=decided_at,
            next_attempt_at=decided_at,
        )

    @property
    def stage(self) -> State:
        """The state, or where a failed one goes on."""
        return self.state if self.failed_in is None else self.failed_in

    @property
    def not_uploaded(self) -> int | None:
        """The first file that is not, counted from 0."""
        return next((n for n, file in enumerate(self.files) if file.file_id is None), None)

    @property
    def not_detailed(self) -> int | None:
        """The first file that was not told of, counted from 0."""
        return next((n for n, file in enumerate(self.files) if not file.detailed), None)

    def files_with(self, number: int, file: FileProgress) -> tuple[FileProgress, ...]:
        """All files, one of them changed."""
        return (*self.files[:number], file, *self.files[number + 1 :])

    def _wrong(self) -> str:
        """The first field that cannot be; "" where there is none."""
        stage = self.stage
        if (self.failed_in is not None) != (self.state is State.FAILED) or (self.failed_in in OVER | {State.FAILED}):
            return "failed_in"
        if (self.receipt is not None) != (stage is State.FINISHED):
            return "receipt"
        if stage in OPEN and (self.report_id is None or self.opened_at is None):
            return "report_id"
        if stage in UNOPENED and (self.report_id is not None or self.opened_at is not None):
            return "report_id"
        if self.report_id is not None and self.report_id.environment is not self.environment:
            return "report_id"
        if self.retraction is not None and stage not in OPEN:
            return "retraction"
        none_yet = all(file == FileProgress() for file in self.files)
        fits = {
            State.QUEUED: none_yet,
            State.EXPIRED: none_yet,
            State.OPENED: self.not_uploaded is not None and not any(file.detailed for file in self.files),
            State.UPLOADED: self.not_uploaded is None and self.not_detailed is not None,
            State.DETAILED: self.not_uploaded is None and self.not_detailed is None,
        }
        return "" if fits.get(stage, True) else "files"


# ── what to look out for ────────────────────────────────────────────────────────────────────────────────────────────


class Alert(Enum):
    """How much of an open report's time is over."""

    SOON = 0.75
    NOW = 0.9
    OVER = 1.0


def expires_at(record: ReportRecord) -> datetime | None:
    """When the service deletes an open report; None where none is open. By our clock, at most a call's length late."""
    if record.stage not in OPEN or record.opened_at is None:
        return None
    touched = record.last_touch_at or record.opened_at
    return max(record.opened_at + OPEN_FOR, touched + IDLE_FOR)


def alert(record: ReportRecord, now: datetime) -> Alert | None:
    """The latest one that is due, counted from when the report was opened to when it expires."""
    expires = expires_at(record)
    if expires is None or record.opened_at is None:
        return None
    share = (now - record.opened_at) / (expires - record.opened_at)
    return max((one for one in Alert if share >= one.value), key=lambda one: one.value, default=None)


@dataclass(frozen=True, slots=True)
class Difference:
    """Files that we uploaded and the service did not file, and the other way round."""

    compared: bool  # False: there is no list of what was filed
    missing: tuple[str, ...] = ()  # file ids
    unknown: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether a person is to be told."""
        return not self.compared or bool(self.missing or self.unknown)


def difference(record: ReportRecord) -> Difference:
    """How what was filed differs from what was uploaded. A repeated file counts as unknown.

    Raises:
        Refused: it is not filed.
    """
    if record.receipt is None:
        raise Refused(f"a report that is {record.state.value} is not filed")
    if record.receipt.file_ids is None:
        return Difference(compared=False)
    ours = Counter(file.file_id for file in record.files if file.file_id is not None)
    theirs = Counter(record.receipt.file_ids)
    return Difference(True, tuple((ours - theirs).elements()), tuple((theirs - ours).elements()))
