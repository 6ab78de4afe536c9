"""How fast the work is: time to each milestone, clocks met, and the age of what is left.

Pure, over plain rows; times are seconds. A case that is still open counts in every figure that it could spoil.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from hashmatch.audit.statistics import wilson
from hashmatch.errors import Malformed
from hashmatch.workflow.inputs import moment
from hashmatch.workflow.survival import Quantile, Spell, quantiles

SHARES: Final = (0.5, 0.9, 0.95, 1.0)


class Milestone(StrEnum):
    """What a case is timed to, from its detection."""

    CONTAINED = "contained"
    ACKNOWLEDGED = "acknowledged"
    DECIDED = "decided"
    REPORTED = "reported"


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseTimes:
    """When a case got where; None: not yet."""

    tier: int  # 0..3
    detected: datetime
    contained: datetime | None = None
    acknowledged: datetime | None = None
    decided: datetime | None = None
    reported: datetime | None = None
    closed: datetime | None = None  # what had not happened by then never will
    wanted: frozenset[Milestone] = frozenset(Milestone)  # a cleared case is not reported, a near miss not contained
    due: Mapping[Milestone, datetime] = field(default_factory=dict)  # its own deadlines; else the clock of its tier
    exposure_seconds: float = 0.0  # that its media were shown to anybody, blurred or not

    def __post_init__(self) -> None:
        for name in ("detected", "contained", "acknowledged", "decided", "reported", "closed"):
            if (given := getattr(self, name)) is not None:
                moment(given, name)
        if not 0 <= self.exposure_seconds < float("inf"):
            raise Malformed("want seconds from 0", field="exposure_seconds")

    def at(self, milestone: Milestone) -> datetime | None:
        """When it got there."""
        found: datetime | None = getattr(self, milestone.value)
        return found

    def spell(self, milestone: Milestone, now: datetime) -> Spell:
        """How long it took, or has been taking. A time before the detection counts as none at all."""
        reached = self.at(milestone)
        end = reached if reached is not None else min(now, self.closed) if self.closed is not None else now
        return Spell(max(0.0, (end - self.detected).total_seconds()), reached is not None)


@dataclass(frozen=True, slots=True)
class Times:
    """How long cases of a tier took; open ones count for as long as they have been open."""

    cases: int
    still: int  # of them, those that have not got there
    p50: Quantile
    p90: Quantile
    p95: Quantile
    longest: Quantile


@dataclass(frozen=True, slots=True)
class Share:
    """So many of so many, with the 95 % interval by Wilson's score."""

    hits: int
    of: int

    @property
    def value(self) -> float | None:
        """None of nothing."""
        return self.hits / self.of if self.of else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """None of nothing."""
        return wilson(self.hits, self.of)


def times(cases: Iterable[CaseTimes], milestone: Milestone, now: datetime) -> dict[int, Times]:
    """By tier, how long it takes to get there."""
    at = moment(now, "now")
    spells: defaultdict[int, list[Spell]] = defaultdict(list)
    for case in cases:
        if milestone in case.wanted:
            spells[case.tier].append(case.spell(milestone, at))
    return {
        tier: Times(len(found), sum(not one.over for one in found), *quantiles(found, SHARES))
        for tier, found in sorted(spells.items())
    }


def attainment(
    cases: Iterable[CaseTimes], milestone: Milestone, clocks: Mapping[int, timedelta], now: datetime
) -> dict[int, Share]:
    """By tier, those that got there within the clock, inclusive, of all that did or should have by now.

    A case that was closed without getting there counts as one that should have, once its clock has passed.
    """
    at = moment(now, "now")
    hits: Counter[int] = Counter()
    of: Counter[int] = Counter()
    for case in cases:
        if milestone not in case.wanted or case.tier not in clocks:
            continue
        due, reached = case.due.get(milestone, case.detected + clocks[case.tier]), case.at(milestone)
        of[case.tier] += reached is not None or at > due
        hits[case.tier] += reached is not None and reached <= due
    return {tier: Share(hits[tier], of[tier]) for tier in sorted(of)}


@dataclass(frozen=True, slots=True)
class Backlog:
    """Cases of a tier that nobody has decided, and how old they are."""

    cases: int
    p50: float
    p95: float
    oldest: float


def backlog(cases: Iterable[CaseTimes], now: datetime) -> dict[int, Backlog]:
    """By tier, what is open and undecided."""
    at = moment(now, "now")
    ages: defaultdict[int, list[float]] = defaultdict(list)
    for case in cases:
        if case.decided is None and case.closed is None:
            ages[case.tier].append(case.spell(Milestone.DECIDED, at).seconds)
    return {tier: Backlog(len(a), _rank(a, 50), _rank(a, 95), max(a)) for tier, a in sorted(ages.items())}


def _rank(values: Collection[float], percent: int) -> float:
    """The least of the values that so many are not above."""
    return sorted(values)[-(-len(values) * percent // 100) - 1]
