"""Quantiles of how long something takes, where some of it is still going on.

By Kaplan and Meier (J. Am. Stat. Assoc. 53, 1958): what is still open counts for as long as it has been watched, and no
longer. To leave it out would praise whoever lets the hard ones lie; to count its age as its time would as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from hashmatch.errors import Malformed

_ROUNDING: Final = 1e-9  # of a product of as many factors as there are times


@dataclass(frozen=True, slots=True)
class Spell:
    """How long something took, or has been taking."""

    seconds: float
    over: bool  # else it was still going on when it was last looked at

    def __post_init__(self) -> None:
        if not 0 <= self.seconds < float("inf"):
            raise Malformed("want seconds from 0", field="seconds")


@dataclass(frozen=True, slots=True)
class NotReached:
    """Too many are still going on to tell; it is more than the longest that was seen."""

    at_least: float  # seconds

    def __str__(self) -> str:
        return f"not reached, after {self.at_least:g} s"


Quantile = float | NotReached


def survival(spells: Iterable[Spell]) -> list[tuple[float, float]]:
    """The estimated share that takes longer, after each time at which something ended: (seconds, share), in order."""
    ended: Counter[float] = Counter()
    left: Counter[float] = Counter()  # ended, or watched no longer
    for spell in spells:
        left[spell.seconds] += 1
        ended[spell.seconds] += spell.over
    at_risk, share, curve = left.total(), 1.0, []
    for seconds in sorted(left):
        if ended[seconds]:  # of those watched until this very moment, all are at risk in it
            share *= 1 - ended[seconds] / at_risk
            curve.append((seconds, share))
        at_risk -= left[seconds]
    return curve


def quantiles(spells: Iterable[Spell], shares: Iterable[float]) -> list[Quantile]:
    """For each share, the least time by which at least so many are estimated to be over.

    Args:
        shares: above 0, up to 1. That of 1 is the longest there was, where nothing is still going on after it.

    Raises:
        Malformed: nothing to tell of, or a share that is none.
    """
    known = list(spells)
    if not known:
        raise Malformed("want one at least", field="spells")
    curve, longest = survival(known), max(spell.seconds for spell in known)
    found: list[Quantile] = []
    for share in shares:
        if not 0 < share <= 1:
            raise Malformed("want above 0, up to 1", field="shares")
        reached = (seconds for seconds, left in curve if left <= 1 - share + _ROUNDING)
        found.append(next(reached, NotReached(longest)))
    return found
