"""Which cases a second person decides without knowing what the first did, and who that is.

Drawn by a keyed digest of the case, so that a retry draws the same and nobody without the key can tell beforehand which
decisions will be looked at. Some are drawn more often: those of new reviewers and new lists, of matches near their
threshold, and those that did most to somebody. Raising a share keeps every case that was drawn before. Pure.
"""

from __future__ import annotations

import hmac
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from hashmatch.errors import Malformed, Refused
from hashmatch.types import WHOLE
from hashmatch.workflow.inputs import MAX_NAME, spelling, text

MIN_KEY: Final = 16  # bytes
SHARES: Final = (
    "base", "confirmed", "cleared", "t0", "t1", "t2", "t3", "new_reviewer", "new_list", "near_threshold", "high_impact",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How many decisions are reviewed twice, in permille; shares add up, to all of them at most."""

    key: bytes = field(repr=False)
    base: int = 20
    confirmed: int = 0  # of decisions that confirm, besides; whoever is asked can then guess a little of the decision
    cleared: int = 0
    t0: int = 0  # of cases of a tier, besides
    t1: int = 0
    t2: int = 0
    t3: int = 0
    new_reviewer: int = 200
    new_list: int = 100
    near_threshold: int = 100
    high_impact: int = 500
    new_reviewer_decisions: int = 200  # below it a reviewer is new
    new_list_age: timedelta = timedelta(days=30)  # below it a list is
    near_bits: int = 4  # up to so many bits within the threshold

    def __post_init__(self) -> None:
        if len(self.key) < MIN_KEY:
            raise Malformed(f"want {MIN_KEY} bytes or more", field="key")
        for name in SHARES:
            if not 0 <= getattr(self, name) <= WHOLE:
                raise Malformed(f"want permille, 0 to {WHOLE}", field=name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """What is known of a decision when it is drawn, or not. What was decided counts where it has a share of its own."""

    digest: bytes = field(repr=False)  # of the case, and of the round of review
    reviewer_decisions: int  # that its reviewer had made before
    list_age: timedelta | None  # of the youngest list that matched; None: no list did
    bits_within: int | None  # the threshold less the distance of the nearest match; None: exact, or no match
    high_impact: bool  # an account was suspended, a report filed, much was removed
    confirmed: bool | None = None  # else cleared; None: not said
    tier: int | None = None  # 0..3


@dataclass(frozen=True, slots=True)
class Draw:
    """Whether a case is reviewed twice."""

    second: bool
    permille: int  # the chance that it had: what it stands for is WHOLE / permille
    why: tuple[str, ...]  # what made that chance


def draw(decided: Decided, sampling: Sampling) -> Draw:
    """Whether a case is drawn; the same answer for the same case, whatever came before.

    Raises:
        Malformed: no digest.
    """
    if not decided.digest:
        raise Malformed("want the digest of the case", field="digest")
    age, within = decided.list_age, decided.bits_within
    shares = [
        ("drawn from all", sampling.base, True),
        ("new reviewer", sampling.new_reviewer, decided.reviewer_decisions < sampling.new_reviewer_decisions),
        ("new list", sampling.new_list, age is not None and age < sampling.new_list_age),
        ("near the threshold", sampling.near_threshold, within is not None and within <= sampling.near_bits),
        ("high impact", sampling.high_impact, decided.high_impact),
        ("confirmed", sampling.confirmed, decided.confirmed is True),
        ("cleared", sampling.cleared, decided.confirmed is False),
    ]
    if decided.tier is not None:
        shares.append((f"T{decided.tier}", getattr(sampling, f"t{decided.tier}"), True))
    counted = [(why, share) for why, share, applies in shares if applies and share]
    permille = min(WHOLE, sum(share for _, share in counted))
    second = _number(sampling.key, b"draw", decided.digest) * WHOLE >> 64 < permille
    return Draw(second, permille, tuple(why for why, _ in counted))


def second_reviewer(digest: bytes, sampling: Sampling, candidates: Collection[str], seen_by: Collection[str]) -> str:
    """Who reviews it the second time: any candidate who has not seen the case, each as often as the others.

    Who that is hangs on the case alone, and stays where other candidates come or go.

    Args:
        digest: of the case, and of the round of review.
        candidates: who may, and is there.
        seen_by: the first reviewer, and whoever else has decided or opened it: they would not be blind.

    Raises:
        Refused: there is nobody else. Malformed: a name is none, or the first reviewer is not said.
    """
    seen = {spelling(text(name, "seen_by", MAX_NAME)) for name in seen_by}
    if not seen:
        raise Malformed("want the first reviewer", field="seen_by")
    able = {spelling(text(name, "candidates", MAX_NAME)): name for name in sorted(candidates)}
    able = {key: name for key, name in able.items() if key not in seen}
    if not able:
        raise Refused("nobody is there who has not seen the case")
    # The highest of a digest of each name: without those who left, the rest keep their order.
    return max(able.items(), key=lambda one: (_number(sampling.key, b"who", digest, one[0].encode()), one[0]))[1]


def _number(key: bytes, *parts: bytes) -> int:
    """64 bits that only the key tells."""
    framed = b"".join(b"%d:%s" % (len(part), part) for part in parts)
    return int.from_bytes(hmac.digest(key, framed, "sha256")[:8])
