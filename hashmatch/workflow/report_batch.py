"""Which reports are filed together in a batch: those of many uploaders of one viral thing. Pure.

A batch tells of each uploader the platform's id and nothing else, and of no urgency (Reporting API, appendix E). So it
is for confirmed cases, which change no more, about nothing but copies of one entry that lists or reviewers called viral
or a meme. Whatever is urgent, or has labels that a batch could not tell, is filed by itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from hashmatch.delivery.cybertip.files import BATCH_ANNOTATIONS
from hashmatch.delivery.cybertip.terms import Environment, FileAnnotation
from hashmatch.errors import BadConfig, Refused
from hashmatch.v1.cases_pb2 import TIER_T0, Case, CaseItem
from hashmatch.v1.reports_pb2 import ReportRow
from hashmatch.workflow.case_facts import cleared, this_round
from hashmatch.workflow.report_content import uploader
from hashmatch.workflow.report_labels import FILE_ANNOTATIONS, INCIDENTS, REPORT_ANNOTATIONS, plain
from hashmatch.workflow.report_record import OVER, UNOPENED, ReportRecord, Retraction, State
from hashmatch.workflow.report_rows import calling, environment_of, is_batch, record_of

FEWEST: Final = 2  # of a batch that is begun again without some; one suspect is told of in full
MOST: Final = 500  # ours: all of a batch is filed in one transaction, while verdicts wait
LONGEST: Final = timedelta(hours=24)  # ours: what is known is due as soon as reasonably possible, 18 USC 2258A(a)(1)
SHORTEST: Final = timedelta(minutes=1)
AHEAD: Final = timedelta(minutes=30)  # of a case's clock to report, so that what is filed by itself is filed in time


@dataclass(frozen=True, slots=True, kw_only=True)
class Batching:
    """When reports are batched.

    Raises:
        BadConfig: names what cannot be.
    """

    at_least: int = 10  # reports; fewer, once the window is over, are filed each by itself
    window: timedelta = LONGEST  # how long the first of them waits for others, where its case's clocks allow
    at_most: int = 100  # reports; a full batch is filed at once

    def __post_init__(self) -> None:
        if not FEWEST <= self.at_most <= MOST:
            raise BadConfig(f"batch: at_most: want {FEWEST}..{MOST}")
        if not FEWEST <= self.at_least <= self.at_most:
            raise BadConfig(f"batch: at_least: want {FEWEST}..at_most")
        if not SHORTEST <= self.window <= LONGEST:
            raise BadConfig("batch: window: want 1m..24h")


@dataclass(frozen=True, slots=True)
class Together:
    """What is the same of all reports in one batch."""

    authority: str
    environment: Environment
    entry: str  # LIST/ENTRY

    @property
    def prefix(self) -> str:
        """How the ids of its batches begin: of one length, and without the entry."""
        said = "\0".join((self.authority, self.environment.value, self.entry))
        return f"b_{hashlib.blake2b(said.encode(), digest_size=16).hexdigest()}."


@dataclass(frozen=True, slots=True)
class Apart:
    """It is filed by itself."""

    why: str


def together(row: ReportRow, others: Collection[ReportRow], case: Case, items: Sequence[CaseItem]) -> Together | Apart:
    """What a report is batched by.

    Args:
        row: the report; `others`: all of the same case.
        items: all of the case.
    """
    entries = {item.entries[0] if item.entries else "" for item in items}
    why = (
        _begun(row, others)
        or _undecided(case)
        or ("it is urgent" if case.tier == TIER_T0 else "")
        or ("somebody told of it" if case.told_by else "")
        or ("" if uploader(case, items) else "nobody is named as its uploader")
        or _other_content(row, items, entries)
        or _more_to_say(case, items)
    )
    return Apart(why) if why else Together(row.authority, environment_of(row), entries.pop())


def of_batch(batch: ReportRow) -> Together:
    """What a batch is of."""
    return Together(batch.authority, environment_of(batch), batch.entry)


def marks(case: Case, item: CaseItem) -> frozenset[FileAnnotation]:
    """Whether it is viral, or a meme: what lists say of it, and reviewers of the case in this round."""
    said = plain(item.labels) | plain([code for review in this_round(case) for code in review.reason_codes])
    return frozenset(FILE_ANNOTATIONS[one] for one in said if one in FILE_ANNOTATIONS) & BATCH_ANNOTATIONS


def _begun(row: ReportRow, others: Collection[ReportRow]) -> str:
    record = record_of(row)
    if record.state is not State.QUEUED or calling(row) is not None or _tried(record):
        return "it was begun by itself"
    if is_batch(row) or row.alone:
        return "a batch of it was given up"
    if any(other.id != row.id and record_of(other).state is not State.RETRACTED for other in others):
        return "there is another report of the case"  # and a case is told of once
    return ""


def _tried(record: ReportRecord) -> bool:
    return bool(record.attempts or record.restarts) or record.resumed_at is not None


def _undecided(case: Case) -> str:
    """What may grow, or become urgent, while it waited for others."""
    return "" if case.HasField("decided_at") and not cleared(case) else "nobody has confirmed it"


def _other_content(row: ReportRow, items: Sequence[CaseItem], entries: Collection[str]) -> str:
    if {file.verdict_id for file in row.files} != {item.verdict_id for item in items}:
        return "it is not about all of its case"
    if len(entries) != 1 or "" in entries or len({item.cluster for item in items}) != 1:
        return "it is not about copies of one entry alone"
    return ""


def _more_to_say(case: Case, items: Sequence[CaseItem]) -> str:
    if not all(marks(case, item) for item in items):
        return "not all of it is called viral or a meme"
    others = {label for label, said in FILE_ANNOTATIONS.items() if said not in BATCH_ANNOTATIONS}
    labels = frozenset[str]().union(*(plain(item.labels) for item in items))
    if labels & (others | set(INCIDENTS) | set(REPORT_ANNOTATIONS)):
        return "its labels say more than a batch may"
    return ""


# ── the batch ───────────────────────────────────────────────────────────────────────────────────────────────────────


def waits_until(case: Case, batching: Batching, now: datetime) -> datetime:
    """How long the report of a case may wait for others: the window, but not past the case's own clock to report."""
    until = now + batching.window
    return min(until, case.report_by.ToDatetime(UTC) - AHEAD) if case.HasField("report_by") else until


def takes_in(batch: ReportRow, batching: Batching, now: datetime) -> bool:
    """Whether a batch still waits for others, and has room."""
    record = record_of(batch)
    waits = record.state is State.QUEUED and calling(batch) is None and not _tried(record)
    return waits and now < record.next_attempt_at and len(batch.files) < batching.at_most


def enough(batch: ReportRow, count: int, batching: Batching | None) -> bool:
    """Whether so many of its reports are filed as a batch, once it has waited; None: no batch is begun any more."""
    if _tried(record_of(batch)):
        return count >= FEWEST
    return batching is not None and count >= batching.at_least


def without(batch: ReportRecord, now: datetime) -> ReportRecord:
    """The record of an open batch that holds what is not to be filed: retracted, and begun again.

    Raises:
        Refused: none is open.
    """
    if batch.stage in UNOPENED | OVER:
        raise Refused(f"a batch that is {batch.stage.value} is not open")
    return replace(
        batch, state=batch.stage, failed_in=None, retraction=batch.retraction or Retraction.RESTART, attempts=0,
        next_attempt_at=now, resumed_at=now,
    )  # fmt: skip


def filed_in(batch: ReportRecord, record: ReportRecord) -> ReportRecord:
    """The record of a report, once the batch that holds it is filed: it has that one's number and receipt.

    Raises:
        Refused: the batch is not filed, the report was begun by itself, or they are for different environments.
    """
    if batch.state is not State.FINISHED or record.state is not State.QUEUED:
        raise Refused(f"a report that is {record.state.value} is not filed with a batch that is {batch.state.value}")
    if batch.environment is not record.environment:
        raise Refused(f"a report of the {record.environment.value} environment")
    return replace(
        record, state=State.FINISHED, report_id=batch.report_id, opened_at=batch.opened_at, receipt=batch.receipt,
        last_request_id=batch.last_request_id,
    )  # fmt: skip
