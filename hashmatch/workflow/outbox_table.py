"""The states of an instruction to the platform, as a table, and which instruction undoes which. Pure.

What is not in the table is illegal. What was undone since is sent no more, whether it was ever sent or not: it ends
BURIED or TIMED_OUT, accepted by the service, and what undoes it goes out all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final

from hashmatch.v1.cases_pb2 import DispatchRecord, DispatchState
from hashmatch.workflow.plan import UNDO


class State(StrEnum):
    """What became of an instruction; the docs print these lines."""

    REQUESTED = "REQUESTED", "waits to be sent, or to be sent again"
    DELIVERED = "DELIVERED", "the platform has it"
    CONFIRMED = "CONFIRMED", "the platform says that it is done"
    FAILED = "FAILED", "the platform says that it cannot be done"
    TIMED_OUT = "TIMED_OUT", "it was delivered, and nobody said in time what became of it"
    BURIED = "BURIED", "given up; a person must look"

    meaning: str

    def __new__(cls, value: str, meaning: str = "") -> State:
        state = str.__new__(cls, value)
        state._value_, state.meaning = value, meaning
        return state


NEXT: Final[Mapping[State, frozenset[State]]] = {
    # The confirmation may be here before the answer to the sending.
    State.REQUESTED: frozenset({State.DELIVERED, State.CONFIRMED, State.FAILED, State.BURIED}),
    State.DELIVERED: frozenset({State.REQUESTED, State.CONFIRMED, State.FAILED, State.TIMED_OUT}),
    State.TIMED_OUT: frozenset({State.REQUESTED, State.CONFIRMED, State.FAILED}),
    State.FAILED: frozenset({State.REQUESTED, State.CONFIRMED}),
    State.BURIED: frozenset({State.REQUESTED, State.CONFIRMED, State.FAILED}),
    State.CONFIRMED: frozenset(),
}

GIVEN_UP: Final = (State.FAILED, State.TIMED_OUT, State.BURIED)
"""States in which a person must look."""

CONTAINING: Final = frozenset({"restrict", "block", "remove", "remove_copies"})
"""Verbs after which others can no longer see the content."""

_PAIRS: Final = (*UNDO.items(), ("suppress", "unsuppress"))
OPPOSITES: Final[Mapping[str, frozenset[str]]] = {
    verb: frozenset(other for pair in _PAIRS if verb in pair for other in pair if other != verb)
    for verb in {verb for pair in _PAIRS for verb in pair}
}
"""Which verbs undo a verb."""


def undone(sent: Iterable[DispatchRecord]) -> dict[str, str]:
    """Of the instructions of one case those that were undone since: by id, the id of the next that undoes it."""
    found: dict[str, str] = {}
    later: dict[tuple[str, str, str, str], str] = {}
    for one in sorted(sent, key=lambda one: one.id, reverse=True):
        about = (one.destination, one.entry, one.subject.content_id or one.verdict_id)
        undoing = [later[verb, *about] for verb in OPPOSITES.get(one.verb, ()) if (verb, *about) in later]
        if undoing:
            found[one.id] = min(undoing)
        later[one.verb, *about] = one.id
    return found


def state_of(one: DispatchRecord) -> State:
    """What became of an instruction."""
    return State(DispatchState.Name(one.state).removeprefix("DISPATCH_STATE_"))


def table() -> list[tuple[str, str]]:
    """From which state to which, for the docs."""
    return [(state.value, ", ".join(sorted(NEXT[state])) or "none") for state in State]
