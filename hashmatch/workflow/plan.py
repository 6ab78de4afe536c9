"""What is to follow from a match, as policy wants it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

UNDO: Final[Mapping[str, str]] = {
    "restrict": "restore", "block": "restore", "remove": "restore", "remove_copies": "restore", "suspend": "reinstate",
}  # fmt: skip
"""What undoes an instruction to the platform, where it can be undone."""

OF_SUBJECT: Final = frozenset({"suspend", "reinstate", "page"})
"""Verbs about a whole case or its subject: once for a case, not once for each item."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """One thing that the platform is to do."""

    verb: str
    reason: str  # the rule, in its own words
    deferred: bool = False  # not before a person confirms


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


FALLBACK: Final = Plan(
    tier=1, instructions=(), acknowledge=timedelta(hours=1), decide=timedelta(hours=4), rules=("the policy failed",),
)  # fmt: skip
"""Where rules fail that should not: nothing is done by itself, and a person looks soon."""


@dataclass(frozen=True, slots=True)
class Clocks:
    """By when, from detection."""

    acknowledge: timedelta
    decide: timedelta
