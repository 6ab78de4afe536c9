"""What is to follow from a match, as policy wants it: by when, who is told, and where there is a legal basis. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import product
from typing import Final

from hashmatch.types import Disposition
from hashmatch.workflow.hold_table import Kind

CONTAIN: Final = timedelta(minutes=15)
"""By when what was asked of the platform is to be done, where nobody says."""

REPORT: Final = timedelta(hours=24)
"""By when a report is to be filed, where nobody says; Australia's class 1A has as long."""

VERBS: Final = (
    "restrict", "block", "remove", "remove_copies", "suspend", "preserve", "restore", "reinstate", "notify", "page",
)  # fmt: skip
ON_ACCOUNTS: Final = frozenset({"suspend"})

UNDO: Final[Mapping[str, str]] = {
    "restrict": "restore", "block": "restore", "remove": "restore", "remove_copies": "restore", "suspend": "reinstate",
}  # fmt: skip
"""What undoes an instruction to the platform, where it can be undone."""

OF_SUBJECT: Final = frozenset({"suspend", "reinstate", "page"})
"""Verbs about a whole case or its subject: once for a case, not once for each item."""

BY_REGION: Final = "by region"
"""An authority that the table of jurisdictions names."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """One thing that the platform is to do."""

    verb: str
    reason: str  # the rule, in its own words
    deferred: bool = False  # not before a person confirms
    why_deferred: str = ""  # where a rule wants it at once and it waits all the same


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What policy wants of one verdict."""

    tier: int  # 0..3, 0 is the most urgent
    instructions: tuple[Instruction, ...]
    acknowledge: timedelta  # from detection, by when a person has taken it
    decide: timedelta  # and decided
    authority: str = ""  # who is to be told once it is confirmed; "": nobody
    report_unreviewed: bool = False  # or at once
    second_review: tuple[str, ...] = ()  # why two persons must agree; empty: one will do
    rules: tuple[str, ...] = ()  # that decided, by name
    version: str = ""  # of the policy
    contain: timedelta = CONTAIN  # from detection, by when the platform has done what was asked of it
    report: timedelta = REPORT  # from detection, by when a report is filed, where one is due
    disposition: Disposition | None = None  # the least that the answer asks for; None: what its lists ask for
    jurisdiction: str = ""  # whose row of the policy's table named the authority; "": a rule did
    duty: Kind | None = None  # to keep, once it is reported; None: the policy names none
    withheld: str = ""  # why nothing is done by itself; "": all is as the rules say


FALLBACK: Final = Plan(
    tier=1, instructions=(), acknowledge=timedelta(hours=1), decide=timedelta(hours=4), rules=("the policy failed",),
)  # fmt: skip
"""Where rules fail that should not: nothing is done by itself, and a person looks soon."""


@dataclass(frozen=True, slots=True)
class Clocks:
    """By when, from detection."""

    acknowledge: timedelta  # a person has taken it
    decide: timedelta  # and decided
    contain: timedelta = CONTAIN  # the platform has done what was asked of it at once
    report: timedelta = REPORT  # a report is filed, where one is due


@dataclass(frozen=True, slots=True, kw_only=True)
class Jurisdiction:
    """Who is told of what comes from some regions, and what duty that begins."""

    name: str
    regions: frozenset[str]
    authority: str
    duty: Kind | None = None  # to keep what was reported
    deadlines: tuple[timedelta | None, ...] = (None,) * 4  # of T0..T3, from detection; None: the clock's
    default: bool = False  # for regions that no row names, and where none is known


@dataclass(frozen=True, slots=True)
class Basis:
    """Where and when there is a legal basis for acting without a person."""

    name: str
    surfaces: frozenset[str]  # empty: every one
    regions: frozenset[str]
    since: datetime | None
    until: datetime | None  # exclusive

    def covers(self, surface: str, region: str) -> bool:
        return (not self.surfaces or surface in self.surfaces) and (not self.regions or region in self.regions)

    def in_force(self, now: datetime) -> bool:
        return (self.since is None or self.since <= now) and (self.until is None or now < self.until)


def without_basis(
    bases: Collection[Basis], places: Collection[tuple[str, str]], now: datetime
) -> tuple[list[str], list[str]]:
    """The bases that are wanted and not in force, by name: those that cover the place, and those that may cover it.

    A surface or region that is not known ("") may be any that a basis names, or another.

    Args:
        places: surface and region.
    """
    surfaces = {"", *(name for basis in bases for name in basis.surfaces)}
    regions = {"", *(name for basis in bases for name in basis.regions)}
    lapsed: set[str] = set()
    free = False
    for surface, region in places:
        for place in product([surface] if surface else surfaces, [region] if region else regions):
            covering = [basis for basis in bases if basis.covers(*place)]
            if covering and not any(basis.in_force(now) for basis in covering):
                lapsed.update(basis.name for basis in covering)
            else:
                free = True
    names = [basis.name for basis in bases if basis.name in lapsed]
    return ([], names) if free else (names, [])
