"""The reports that the imitated CyberTipline holds, and what may be done to each of them when.

A report is opened by /submit and is then finished, retracted, or deleted at the later of its opening + 24 h and its
last upload or file details + 1 h. What is over stays over. Bytes of files are never held: an MD5 and a length are.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum

from hashmatch import clock
from hashmatch.simulate.answers import Code, Declined

OPEN_FOR = timedelta(hours=24)  # since the report was opened
IDLE_FOR = timedelta(hours=1)  # since its last upload or file details

FIRST_REPORT_ID = (1 << 32) + 1  # fits no 32 bits, signed or not: real ids have outgrown a column of somebody's before
MAX_REPORTS = 100_000  # some hundred MB at the usual few kB; above it nothing more is opened


class Stage(Enum):
    """Where a report stands."""

    OPEN = "open"
    FINISHED = "finished"
    RETRACTED = "retracted"
    EXPIRED = "expired"


class Step(Enum):
    """What can be done to a report, by the endpoint that does it; EXPIRE is done by time."""

    UPLOAD = "upload"
    FILEINFO = "fileinfo"
    FINISH = "finish"
    RETRACT = "retract"
    EXPIRE = "expire"


NEXT = {
    (Stage.OPEN, Step.UPLOAD): Stage.OPEN,
    (Stage.OPEN, Step.FILEINFO): Stage.OPEN,
    (Stage.OPEN, Step.FINISH): Stage.FINISHED,
    (Stage.OPEN, Step.RETRACT): Stage.RETRACTED,
    (Stage.OPEN, Step.EXPIRE): Stage.EXPIRED,
}
"""What is not here is declined."""

DECLINED = {
    Stage.FINISHED: (Code.ALREADY_FINISHED, "The report is already finished"),
    Stage.RETRACTED: (Code.ALREADY_RETRACTED, "The report is already retracted"),
    # An abandoned report is deleted, so the service no longer knows that there was one.
    Stage.EXPIRED: (Code.REPORT_UNKNOWN, "The report does not exist"),
}


class Clock:
    """The service's time. It runs like the real one, and can be set forward."""

    def __init__(self, now: Callable[[], datetime] = clock.now) -> None:
        """`now`: aware UTC."""
        self._now, self._ahead = now, timedelta()

    def now(self) -> datetime:
        """The service's present, aware UTC."""
        return self._now() + self._ahead

    def advance(self, by: timedelta) -> None:
        """Set the clock forward."""
        self._ahead += by


@dataclass(frozen=True, slots=True)
class HeldFile:
    """One uploaded file, without its bytes."""

    file_id: str  # 32 hex digits; opaque to clients
    md5: str = field(repr=False)  # hex, lower case
    size: int  # bytes
    details: tuple[bytes, ...] = field(default=(), repr=False)  # every <fileDetails> accepted for it, as it came
    viral: bool = field(default=False, repr=False)  # annotated as batched reports want it


@dataclass(frozen=True, slots=True)
class HeldReport:
    """One report as the service holds it."""

    report_id: int
    stage: Stage
    opened_at: datetime
    touched_at: datetime | None  # last upload or file details
    batched: bool
    xml: bytes = field(repr=False)
    files: tuple[HeldFile, ...] = ()
    requests: Mapping[str, int] = field(default_factory=dict)  # by endpoint, those declined in this state included

    @property
    def expires_at(self) -> datetime:
        """The later of both deadlines. Only an open report expires."""
        opened = self.opened_at + OPEN_FOR
        return opened if self.touched_at is None else max(opened, self.touched_at + IDLE_FOR)

    def file(self, file_id: str) -> HeldFile | None:
        """The file of that id in this report, or None."""
        return next((file for file in self.files if file.file_id == file_id), None)


class Reports:
    """All reports. For any thread; every step is done whole or not at all."""

    def __init__(self, time: Clock, *, known: frozenset[int], second_fileinfo: int) -> None:
        """
        Args:
            known: ids of earlier reports that later ones may refer to, though they are not held here.
            second_fileinfo: the code that a file's second details are declined with; 0 accepts them.
        """
        self._clock, self._known, self._second_fileinfo = time, known, second_fileinfo
        self._lock = threading.Lock()
        self._held: dict[int, HeldReport] = {}  # guarded by _lock
        self._next = FIRST_REPORT_ID  # guarded by _lock

    def held(self) -> dict[int, HeldReport]:
        """What is held now, by report id, those that are over included."""
        with self._lock:
            for report_id in list(self._held):
                self._aged(report_id)
            return dict(self._held)

    def knows(self, report_id: int) -> bool:
        """Whether a later report may refer to this one: it is in this environment and was not deleted."""
        with self._lock:
            report = self._aged(report_id)
        if report is None:
            return report_id in self._known
        return report.stage in (Stage.OPEN, Stage.FINISHED)

    def batched(self, report_id: int) -> bool:
        """Whether that is a batched report; False for one that is unknown."""
        with self._lock:
            report = self._held.get(report_id)
        return report is not None and report.batched

    def open(self, xml: bytes, *, batched: bool) -> int:
        """Open a report and return its id."""
        with self._lock:
            if len(self._held) >= MAX_REPORTS:
                raise Declined(Code.SAVE_FAILED, "There is no room for another report")
            report_id, self._next = self._next, self._next + 1
            self._held[report_id] = HeldReport(
                report_id, Stage.OPEN, self._clock.now(), None, batched, xml, requests={"submit": 1}
            )
        return report_id

    def upload(self, report_id: int, *, md5: str, size: int) -> HeldFile:
        """Add a file to an open report. The same bytes twice are two files."""
        file = HeldFile(secrets.token_hex(16), md5, size)
        with self._lock:
            report = self._step(report_id, Step.UPLOAD)
            self._held[report_id] = replace(report, files=(*report.files, file), touched_at=self._clock.now())
        return file

    def detail(self, report_id: int, file_id: str, xml: bytes, *, viral: bool) -> None:
        """Add the details of one file."""
        with self._lock:
            report = self._step(report_id, Step.FILEINFO)
            file = report.file(file_id)
            if file is None:
                raise Declined(Code.FILE_UNKNOWN, "The report has no such file")
            if file.details and self._second_fileinfo:
                raise Declined(self._second_fileinfo, "The file has details already")
            detailed = replace(file, details=(*file.details, xml), viral=viral)
            files = tuple(detailed if other is file else other for other in report.files)
            self._held[report_id] = replace(report, files=files, touched_at=self._clock.now())

    def finish(self, report_id: int) -> tuple[str, ...]:
        """Finish a report and return the ids of its files, in the order of their upload."""
        with self._lock:
            report = self._step(report_id, Step.FINISH, check=_batch_is_whole)
        return tuple(file.file_id for file in report.files)

    def retract(self, report_id: int) -> None:
        """Cancel an open report."""
        with self._lock:
            self._step(report_id, Step.RETRACT)

    def _step(
        self, report_id: int, step: Step, *, check: Callable[[HeldReport], None] = lambda report: None
    ) -> HeldReport:
        """The report after the step; the caller holds the lock."""
        report = self._aged(report_id)
        if report is None:
            raise Declined(*DECLINED[Stage.EXPIRED])
        requests = {**report.requests, step.value: report.requests.get(step.value, 0) + 1}
        self._held[report_id] = report = replace(report, requests=requests)
        stage = NEXT.get((report.stage, step))
        if stage is None:
            raise Declined(*DECLINED[report.stage])
        check(report)
        self._held[report_id] = report = replace(report, stage=stage)
        return report

    def _aged(self, report_id: int) -> HeldReport | None:
        """The report, expired where its time is over; the caller holds the lock."""
        report = self._held.get(report_id)
        if report is None:
            return None
        expired = NEXT.get((report.stage, Step.EXPIRE))
        if expired is not None and self._clock.now() >= report.expires_at:
            self._held[report_id] = report = replace(report, stage=expired)
        return report


def _batch_is_whole(report: HeldReport) -> None:
    """A batched report has at most one file, annotated as viral or as a potential meme.

    HTTP 400 with 4100 is the one pair of status and code that is documented.
    """
    if report.batched and len(report.files) > 1:
        raise Declined(Code.VALIDATION_FAILED, "A batched report may have one file only", status=400)
    if report.batched and not all(file.viral for file in report.files):
        raise Declined(Code.VALIDATION_FAILED, "The file of a batched report must be annotated", status=400)
