"""How a call to the CyberTipline went, as values: what a report's state machine takes in."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum

from hashmatch.delivery.cybertip.terms import ReportId


@dataclass(frozen=True, slots=True)
class Opened:
    """A report was opened. Unfinished it is deleted: after a day, or an hour after its last file."""

    report_id: ReportId
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Uploaded:
    """A file arrived whole: the service's MD5 of it is ours."""

    file_id: str  # opaque
    md5: bytes = field(repr=False)  # 16 bytes
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Detailed:
    """What is to be told of a file was taken."""

    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Finished:
    """A report was filed. `receipt` is the answer as it came, to be kept."""

    receipt: bytes = field(repr=False)
    file_ids: tuple[str, ...] | None  # that the service filed; None: it was finished before, and does not say
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Retracted:
    """An unfinished report was withdrawn, now or before."""

    request_id: str = ""


class Failure(Enum):
    """Why a call did not do what it was for: what may be done next."""

    RETRY = "turned away for now"  # again later
    LOST = "sent, and how it went is not known"  # what comes next depends on the call
    REFUSED = "refused for good"  # a person looks
    GONE = "the report or the file is not known"  # begin again
    ALREADY_FINISHED = "finished before"
    ALREADY_RETRACTED = "retracted before"


@dataclass(frozen=True, slots=True)
class Failed:
    """A call that did not do what it was for."""

    failure: Failure
    code: int | None = None  # the service's; None: it said none
    retry_after: timedelta | None = None  # as the service asks
    request_id: str = ""


Outcome = Opened | Uploaded | Detailed | Finished | Retracted | Failed
