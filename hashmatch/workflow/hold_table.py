"""The kinds of holds, as a table: whose duty each is, how long it runs, what it keeps, and who may end it.

Not legal advice: the rows are defaults that keep more rather than less, and counsel decides. docs print `table()`.

    LAW        runs its time, whatever anyone says; only a longer duty by law takes its place
    AUTHORITY  an outside authority asked; two persons of ours end it, once they have the authority's word
    COURT      a legal hold: no timer, two persons end it
    OURS       we wait for something of our own: a report to be finished, a case to be closed
"""

from __future__ import annotations

from calendar import isleap
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, StrEnum
from typing import Final

LAST_DAY: Final = timedelta(days=2)
"""Added to every duration: laws count whole days, the last one included; it ends later in some time zones, and where it
is the 1 March there already, a leap day may lie between."""


class Basis(Enum):
    """Whose duty a hold is."""

    LAW = "a duty by law"
    AUTHORITY = "an authority's request"
    COURT = "a legal hold"
    OURS = "our own"


class Part(StrEnum):
    """What of a case can be kept and destroyed apart from the rest; the docs print these lines."""

    MEDIA = "MEDIA", "media and what else was sent with a report"
    REPORT_REFERENCE = "REPORT_REFERENCE", "an authority's reference for a report, and its receipt"
    ACCOUNT_DATA = "ACCOUNT_DATA", "data of the account, and the context of the media"

    meaning: str

    def __new__(cls, value: str, meaning: str = "") -> Part:
        part = str.__new__(cls, value)
        part._value_, part.meaning = value, meaning
        return part


ALL_PARTS: Final = frozenset(Part)


class Kind(StrEnum):
    """Why something is kept; the docs print these lines."""

    US_REPORT = "US_REPORT", "a report to NCMEC is finished"
    UK_REPORT = "UK_REPORT", "a report to the NCA is finished: what was reported"
    UK_REFERENCE = "UK_REFERENCE", "a report to the NCA is finished: its reference"
    LE_PRESERVATION = "LE_PRESERVATION", "a preservation letter"
    LE_REQUEST = "LE_REQUEST", "an emergency or another request of law enforcement is being answered"
    LITIGATION = "LITIGATION", "a dispute or an inquiry wants it: a legal hold"
    UNFINISHED_REPORT = "UNFINISHED_REPORT", "a report was begun and is not finished, so its clock has not started"
    OPEN_CASE = "OPEN_CASE", "nobody has closed the case"

    meaning: str

    def __new__(cls, value: str, meaning: str = "") -> Kind:
        kind = str.__new__(cls, value)
        kind._value_, kind.meaning = value, meaning
        return kind


@dataclass(frozen=True, slots=True)
class Period:
    """How long a hold runs: calendar years, or days."""

    years: int = 0
    days: int = 0

    def after(self, start: datetime) -> datetime:
        """The last moment that is still within the period."""
        return years_after(start, self.years) + timedelta(days=self.days) + LAST_DAY

    def __str__(self) -> str:
        return f"{self.years} year{'s' * (self.years > 1)}" if self.years else f"{self.days} days"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What holds of one kind have in common."""

    basis: Basis
    source: str  # whose rule it is
    starts: str  # what starts the clock, in words; "": there is none
    period: Period | None = None  # None: until it is released, or until a time that is given
    takes_until: bool = False  # whether a request may name a later end, or one at all
    covers: frozenset[Part] = ALL_PARTS  # where nothing else is said
    jurisdiction: str = ""  # "": to be given
    wants_reference: bool = True  # the authority's or the court's
    renewable: bool = False
    cleared: bool = False  # whether clearing the case may end it

    @property
    def persons(self) -> int:
        """How many different persons must agree to end one."""
        return 2 if self.basis in (Basis.AUTHORITY, Basis.COURT) else 1


_WITHOUT_REFERENCE = ALL_PARTS - {Part.REPORT_REFERENCE}

RULES: Final[Mapping[Kind, Rule]] = {
    # "… a request to preserve the contents provided in the report for 1 year after the submission"; (h)(2) adds
    # context that is reasonably accessible. Until Pub. L. 118-59 it was 90 days.
    Kind.US_REPORT: Rule(
        basis=Basis.LAW, source="18 USC 2258A(h)(1)-(2)", starts="the report is finished", period=Period(years=1),
        jurisdiction="US",
    ),
    Kind.UK_REPORT: Rule(
        basis=Basis.LAW, source="SI 2026/268 reg. 8", starts="the report is finished", period=Period(years=1),
        covers=_WITHOUT_REFERENCE, jurisdiction="GB",
    ),
    Kind.UK_REFERENCE: Rule(
        basis=Basis.LAW, source="SI 2026/268 reg. 8", starts="the report is finished", period=Period(years=5),
        covers=frozenset({Part.REPORT_REFERENCE}), jurisdiction="GB",
    ),
    # "… shall be retained for a period of 90 days, which shall be extended for an additional 90-day period upon a
    # renewed request". How often it may be renewed the law does not say; to keep on is safe.
    Kind.LE_PRESERVATION: Rule(
        basis=Basis.AUTHORITY, source="18 USC 2703(f)", starts="the letter arrives", period=Period(days=90),
        takes_until=True, jurisdiction="US", renewable=True,
    ),
    # An emergency comes by telephone, its papers later (18 USC 2702(b)(8)): no reference is asked for.
    Kind.LE_REQUEST: Rule(
        basis=Basis.AUTHORITY, source="the request", starts="", takes_until=True, wants_reference=False, renewable=True,
    ),
    Kind.LITIGATION: Rule(basis=Basis.COURT, source="the order, or counsel", starts=""),
    Kind.UNFINISHED_REPORT: Rule(
        basis=Basis.OURS, source="18 USC 2258A(h)(1): no clock before the finish", starts="", jurisdiction="-",
        wants_reference=False, cleared=True,
    ),
    Kind.OPEN_CASE: Rule(
        basis=Basis.OURS, source="house rule", starts="", jurisdiction="-", wants_reference=False, cleared=True,
    ),
}  # fmt: skip

DUTIES: Final[Mapping[Kind, tuple[Kind, ...]]] = {
    Kind.US_REPORT: (Kind.US_REPORT,),
    Kind.UK_REPORT: (Kind.UK_REPORT, Kind.UK_REFERENCE),
}
"""The duties that a finished report may begin, as a policy or a person names them, and the holds that each places."""


def years_after(start: datetime, years: int) -> datetime:
    """The same day of a later year; 1 March after 29 February, where that year has none."""
    year = start.year + years
    if start.month == 2 and start.day == 29 and not isleap(year):
        return start.replace(year=year, month=3, day=1)
    return start.replace(year=year)


def table() -> list[tuple[str, str, str, str, str, str, str]]:
    """Of every kind: its name, when it is placed, whose rule, how long, what it keeps, who ends it, and whether
    clearing the case may. For the docs."""
    return [
        (
            kind.value,
            kind.meaning,
            f"{rule.basis.value}: {rule.source}",
            _clock(rule),
            ", ".join(part.value for part in Part if part in rule.covers),
            _ended_by(kind, rule),
            _cleared(kind, rule),
        )
        for kind, rule in RULES.items()
    ]


def _clock(rule: Rule) -> str:
    if rule.period is not None:
        return f"{rule.period} after {rule.starts}{', renewable' if rule.renewable else ''}"
    return "until it is released, or a time that is given" if rule.takes_until else "until it is released"


def _ended_by(kind: Kind, rule: Rule) -> str:
    if rule.basis is Basis.LAW:
        return "nobody before its time; a longer duty by law takes its place"
    if kind is Kind.UNFINISHED_REPORT:
        return "the finished report, whose clock takes its place; else one person"
    return "two persons" if rule.persons == 2 else "one person"


def _cleared(kind: Kind, rule: Rule) -> str:
    if not rule.cleared:
        return "no"
    return "yes, once the report is retracted" if kind is Kind.UNFINISHED_REPORT else "yes"
