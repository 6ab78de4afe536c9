"""What is kept of a hold. Valid once made; the times are UTC."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from hashmatch.errors import Malformed
from hashmatch.workflow.hold_table import RULES, Basis, Kind, Part, Rule

MAX_RENEWALS: Final = 200  # of one letter: half a century of them


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewal:
    """An authority asked for more time."""

    at: datetime
    by: str  # who of ours took it in
    reference: str
    until: datetime

    def __repr__(self) -> str:
        return f"<renewed until {self.until.isoformat()}>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """One reason why something of a case is not to be destroyed."""

    id: str
    case_id: str
    kind: Kind
    ground: str  # why, in a person's words
    placed_by: str
    placed_at: datetime
    until: datetime | None  # it holds up to and including this moment; None: until it is released
    jurisdiction: str
    reference: str  # the authority's or the court's; "" where there is none
    covers: frozenset[Part]
    renewals: tuple[Renewal, ...] = ()
    released_at: datetime | None = None
    released_by: tuple[str, ...] = ()
    release_reason: str = ""
    superseded_by: str = ""  # the id of the hold that took its place

    def __post_init__(self) -> None:
        if not self.covers:
            raise Malformed("a hold covers at least one part", field="covers")
        if self.until is None and RULES[self.kind].period is not None:
            raise Malformed(f"{self.kind} runs for a time", field="until")
        if self.until is not None and not (RULES[self.kind].period or RULES[self.kind].takes_until):
            raise Malformed(f"{self.kind} has no timer: it is released, or it stays", field="until")

    @property
    def rule(self) -> Rule:
        """What its kind says."""
        return RULES[self.kind]

    @property
    def released(self) -> bool:
        """Whether somebody ended it, or another took its place."""
        return self.released_at is not None

    def holds(self, now: datetime) -> bool:
        """Whether it keeps what it covers: not released, and its time, if it has one, is not over."""
        return not self.released and (self.until is None or now <= self.until)

    def __repr__(self) -> str:
        until = self.until.isoformat() if self.until else "released"
        return f"<{self.kind} {self.id} until {until}{', ended' * self.released}>"


def by_law(hold: Hold) -> bool:
    """Whether nobody may end it before its time."""
    return hold.rule.basis is Basis.LAW
