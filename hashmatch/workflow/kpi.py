"""The figures by which the work is judged: how right, how complete, and at what cost to people.

Pure, over plain rows. What nothing is known of is None, and what cannot be told yet says so: no figure is made up.
Names of people are in no repr. How fast it is comes from kpi_times.py, how far reviewers agree from agreement.py; all
of it can be had from here.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import median
from typing import Final, NamedTuple

from hashmatch.errors import Malformed
from hashmatch.workflow.agreement import Agreement, agreement
from hashmatch.workflow.kpi_times import (
    Backlog,
    CaseTimes,
    Milestone,
    Share,
    Times,
    attainment,
    backlog,
    times,
)
from hashmatch.workflow.survival import NotReached, Quantile

__all__ = [
    "ActionOutcome",
    "Aggregate",
    "Agreement",
    "Backlog",
    "CaseTimes",
    "Completeness",
    "Decision",
    "Key",
    "Milestone",
    "NotReached",
    "Outcome",
    "Quantile",
    "Reconciliation",
    "ReportFacts",
    "Share",
    "Times",
    "View",
    "aggregate",
    "agreement",
    "attainment",
    "backlog",
    "band",
    "completeness",
    "duplicates",
    "exposure",
    "exposure_by_tier",
    "precision",
    "reconcile",
    "reversals",
    "times",
]

MIN_PEOPLE: Final = 3
"""Of fewer no sum is told: each could work out the other's."""


# ── how right ───────────────────────────────────────────────────────────────────────────────────────────────────────


class Outcome(StrEnum):
    """What a person decided of a match."""

    CONFIRMED = "CONFIRMED"
    CLEARED = "CLEARED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One decision of a match. One that several lists had is a row of each."""

    list: str
    hash_type: str
    band: str  # of distances, as `band` names it
    outcome: Outcome
    reviewer: str = field(repr=False)


class Key(NamedTuple):
    """What precision is told apart by."""

    list: str
    hash_type: str
    band: str


def band(distance: int, edges: Iterable[int]) -> str:
    """The band of a distance in bits, such as "9-16": up to and including the first edge that is not below it."""
    low = 0
    for edge in sorted(set(edges)):
        if distance <= edge:
            return f"{low}-{edge}" if low < edge else str(edge)
        low = edge + 1
    return f"{low}-"


def precision(decisions: Iterable[Decision]) -> dict[Key, Share]:
    """By list, hash type and distance band: those confirmed, of all that were decided."""
    counts: defaultdict[Key, Counter[Outcome]] = defaultdict(Counter)
    for one in decisions:
        counts[Key(one.list, one.hash_type, one.band)][one.outcome] += 1
    return {key: Share(found[Outcome.CONFIRMED], found.total()) for key, found in sorted(counts.items())}


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionOutcome:
    """What came of a match: something was done, or there is a reason why nothing was."""

    match: str  # the verdict's id
    acted: bool
    why_not: str = ""  # the justification, where nothing was done
    reversed: bool = False  # it was undone, because it should not have been done

    def __post_init__(self) -> None:
        if self.reversed and not self.acted:
            raise Malformed("nothing was done that could be reversed", field="reversed")


def reversals(outcomes: Iterable[ActionOutcome]) -> Share:
    """Actions that were reversed, of all."""
    acted = [one for one in outcomes if one.acted]
    return Share(sum(one.reversed for one in acted), len(acted))


# ── how complete ────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciliation:
    """Whether every match came to something."""

    matches: int
    acted: int  # matches, not actions: two on one do not make up for none on another
    justified: int  # nothing was done, for a reason that is given
    missing: tuple[str, ...] = field(repr=False)  # matches of which nothing is known, by id
    strays: tuple[str, ...] = field(repr=False)  # outcomes of no match that is known

    @property
    def gap(self) -> int:
        """Matches less those acted on and those justified; must be 0."""
        return self.matches - (self.acted + self.justified)


def reconcile(matches: Iterable[str], outcomes: Iterable[ActionOutcome]) -> Reconciliation:
    """The matches, by id, held against what came of them."""
    known = set(matches)
    acted, justified = set(), set()
    for one in outcomes:
        if one.acted:
            acted.add(one.match)
        elif one.why_not.strip():
            justified.add(one.match)
    strays = (acted | justified) - known
    acted, justified = acted & known, (justified & known) - acted
    return Reconciliation(
        matches=len(known), acted=len(acted), justified=len(justified),
        missing=tuple(sorted(known - acted - justified)), strays=tuple(sorted(strays)),
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFacts:
    """Whether a report has what its receivers work with."""

    address_port_time: (
        bool  # an address of the network, with its port and the time: one without the others finds nobody
    )
    email: bool
    viewed_flag: bool  # whether the provider looked at each file: it decides whether police may without a warrant


@dataclass(frozen=True, slots=True)
class Completeness:
    """Reports that have it all, and each thing."""

    whole: Share
    address_port_time: Share
    email: Share
    viewed_flag: Share


def completeness(reports: Iterable[ReportFacts]) -> Completeness:
    """How many reports have what their receivers work with."""
    rows = [(one.address_port_time, one.email, one.viewed_flag) for one in reports]
    each = [Share(sum(row[number] for row in rows), len(rows)) for number in range(3)]
    return Completeness(Share(sum(map(all, rows)), len(rows)), *each)


def duplicates(clusters: Iterable[Hashable]) -> Share:
    """Items that are copies of one before, of all; given the cluster of each item."""
    found = Counter(clusters)
    return Share(found.total() - len(found), found.total())


# ── at what cost ────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Somebody was shown media."""

    person: str = field(repr=False)
    seconds: float

    def __post_init__(self) -> None:
        if not 0 <= self.seconds < float("inf"):
            raise Malformed("want seconds from 0", field="seconds")


@dataclass(frozen=True, slots=True)
class Aggregate:
    """Exposure of a team, in minutes."""

    people: int
    total: float
    mean: float
    median: float


def exposure(views: Iterable[View]) -> dict[str, float]:
    """Minutes by person: for that person and for wellness, not for managers."""
    found: defaultdict[str, float] = defaultdict(float)
    for view in views:
        found[view.person] += view.seconds / 60
    return dict(sorted(found.items()))


def aggregate(minutes: Mapping[str, float]) -> Aggregate | None:
    """What managers see of it; None where the people are too few for a sum to hide each."""
    if len(minutes) < MIN_PEOPLE:
        return None
    total = sum(minutes.values())
    return Aggregate(len(minutes), total, total / len(minutes), median(minutes.values()))


def exposure_by_tier(cases: Collection[CaseTimes]) -> dict[int, float]:
    """Minutes that media of the cases were shown, by tier."""
    found: defaultdict[int, float] = defaultdict(float)
    for case in cases:
        found[case.tier] += case.exposure_seconds / 60
    return dict(sorted(found.items()))
