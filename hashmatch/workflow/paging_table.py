"""The states of a page and what leads from one to another, and how pages of each tier go out, as tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final

from hashmatch.errors import Malformed
from hashmatch.workflow.rota import Seat


class State(StrEnum):
    """Where a page stands; the docs print these lines."""

    RAISED = "RAISED", "nobody has been told"
    TOLD = "TOLD", "not everybody has been told who is to be, and nobody has acknowledged it"
    ALL_TOLD = "ALL_TOLD", "everybody has been told, and nobody has acknowledged it"
    ACKNOWLEDGED = "ACKNOWLEDGED", "somebody has it; the case is undecided"
    OVER = "OVER", "the case is decided"

    meaning: str

    def __new__(cls, value: str, meaning: str = "") -> State:
        state = str.__new__(cls, value)
        state._value_, state.meaning = value, meaning
        return state


class Step(StrEnum):
    """What may happen to a page."""

    TELL = "TELL"
    TELL_LAST = "TELL_LAST"
    REPEAT = "REPEAT"
    ACKNOWLEDGE = "ACKNOWLEDGE"
    HAND_OVER = "HAND_OVER"
    DECIDE = "DECIDE"


NEXT: Final[Mapping[tuple[State, Step], State]] = {
    (State.RAISED, Step.TELL): State.TOLD,
    (State.RAISED, Step.TELL_LAST): State.ALL_TOLD,
    (State.TOLD, Step.TELL): State.TOLD,
    (State.TOLD, Step.TELL_LAST): State.ALL_TOLD,
    (State.ALL_TOLD, Step.REPEAT): State.ALL_TOLD,
    (State.TOLD, Step.ACKNOWLEDGE): State.ACKNOWLEDGED,
    (State.ALL_TOLD, Step.ACKNOWLEDGE): State.ACKNOWLEDGED,
    (State.ACKNOWLEDGED, Step.ACKNOWLEDGE): State.ACKNOWLEDGED,  # a second person answers the same page
    (State.ACKNOWLEDGED, Step.REPEAT): State.ACKNOWLEDGED,
    (State.ACKNOWLEDGED, Step.HAND_OVER): State.ACKNOWLEDGED,
    **{(state, Step.DECIDE): State.OVER for state in State if state is not State.OVER},
}
"""What is not in it is illegal; the docs are printed from it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TierRule:
    """How pages of one tier go out."""

    chain: tuple[Seat, ...]  # who is told, in turn
    acknowledge: timedelta  # that each has before the next is told too
    again: timedelta | None  # after the last, unacknowledged; None: not again
    repeat: timedelta | None  # acknowledged and undecided; None: not again
    heeds_quiet: bool  # whether it waits for quiet hours to end

    def __post_init__(self) -> None:
        times = [self.acknowledge, self.again, self.repeat]
        if not self.chain or len(set(self.chain)) < len(self.chain) or self.chain[0] is not Seat.PRIMARY:
            raise Malformed("want different seats, the primary first", field="chain")
        if any(one is not None and one <= timedelta(0) for one in times):
            raise Malformed("want times above zero", field="acknowledge")


_ALL: Final = tuple(Seat)

TIERS: Final[Mapping[int, TierRule]] = {
    # Five minutes to acknowledge, a quarter of an hour to decide: unanswered, it goes out anew that often.
    0: TierRule(
        chain=_ALL, acknowledge=timedelta(minutes=5), again=timedelta(minutes=15), repeat=timedelta(hours=4),
        heeds_quiet=False,
    ),
    1: TierRule(
        chain=_ALL, acknowledge=timedelta(hours=1), again=timedelta(hours=4), repeat=timedelta(hours=4),
        heeds_quiet=False,
    ),
    2: TierRule(
        chain=(Seat.PRIMARY, Seat.SECONDARY), acknowledge=timedelta(hours=8), again=None, repeat=None, heeds_quiet=True
    ),
    3: TierRule(chain=(Seat.PRIMARY,), acknowledge=timedelta(hours=24), again=None, repeat=None, heeds_quiet=True),
}  # fmt: skip
"""By tier, 0 the most urgent. Urgent ones come again every four hours until they are decided."""


def table() -> list[tuple[str, str, str]]:
    """Every legal step: state, step, next state. For the docs."""
    return [(state.value, step.value, to.value) for (state, step), to in NEXT.items()]


def tier_table() -> list[tuple[str, str, str, str, str, str]]:
    """Of each tier: who is told, how long each has, how often it comes again, and whether it heeds quiet hours."""
    return [
        (
            f"T{tier}",
            ", ".join(rule.chain),
            str(rule.acknowledge),
            str(rule.again or "never"),
            str(rule.repeat or "never"),
            "yes" if rule.heeds_quiet else "no",
        )
        for tier, rule in TIERS.items()
    ]
