"""A case's life, as a table: which step is legal in which state, where it leads, and whose step it is.

Pure: nothing here reads a clock or a store. What is not in the table is illegal; docs/cases.md is printed from it. The
states are those of triage practice: contain first, decide with people, report once, and leave nothing half-undone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from hashmatch.errors import Refused
from hashmatch.roles import Role
from hashmatch.workflow.inputs import spelling


class State(StrEnum):
    """Where a case stands; the docs print these lines."""

    NEW = "NEW", "nobody has decided; not all that was to be contained is"
    CONTAINED = "CONTAINED", "nobody has decided; everything that was to be contained is"
    SECOND_REVIEW = "SECOND_REVIEW", "one person has decided, another is asked"
    ESCALATED = "ESCALATED", "a lead is asked"
    CONFIRMED = "CONFIRMED", "it is what it was taken for"
    REPORTED = "REPORTED", "confirmed, and the report that was due is finished"
    CLEARED = "CLEARED", "it is not; what was done is being undone"
    CLOSED = "CLOSED", "nothing is left to do"

    meaning: str

    def __new__(cls, value: str, meaning: str = "") -> State:
        state = str.__new__(cls, value)
        state._value_, state.meaning = value, meaning
        return state


class Step(StrEnum):
    """What may happen to a case; the names are those of the log's CaseStep."""

    OPEN = "OPEN", "a match opens it"
    JOIN = "JOIN", "another match of the same subject joins it"
    CONTAIN = "CONTAIN", "the platform has confirmed that everything is contained"
    CLAIM = "CLAIM", "somebody takes it for a while"
    UNCLAIM = "UNCLAIM", "the claim is given back"
    REVIEW = "REVIEW", "the first of two decides"
    DISAGREE = "DISAGREE", "the second of two decides otherwise"
    VOID = "VOID", "what the first decided is void: something else joined since"
    CONFIRM = "CONFIRM", "it is what it was taken for"
    CLEAR = "CLEAR", "it is not"
    ESCALATE = "ESCALATE", "a lead is asked, or it is made more urgent"
    REPORT = "REPORT", "the report that was due is finished"
    CLOSE = "CLOSE", "nothing is left to do"
    REOPEN = "REOPEN", "it is worked again"
    REVERSE = "REVERSE", "what was confirmed is cleared after all"
    BREACH = "BREACH", "a clock passed unmet"

    meaning: str

    def __new__(cls, value: str, meaning: str = "") -> Step:
        step = str.__new__(cls, value)
        step._value_, step.meaning = value, meaning
        return step


UNDECIDED: Final = (State.NEW, State.CONTAINED, State.SECOND_REVIEW, State.ESCALATED)
"""States in which a case takes more matches of its subject in, so that one decision covers them."""

NEXT: Final[Mapping[tuple[State, Step], State]] = {
    **{(state, step): state for state in UNDECIDED for step in (Step.JOIN, Step.CLAIM, Step.UNCLAIM, Step.BREACH)},
    (State.CONTAINED, Step.JOIN): State.NEW,  # until the newcomer is contained, too
    **{(state, Step.ESCALATE): State.ESCALATED for state in UNDECIDED},
    # The clocks to contain and to report run on after the decision.
    **{(state, Step.BREACH): state for state in (State.CONFIRMED, State.REPORTED, State.CLEARED)},
    (State.NEW, Step.CONTAIN): State.CONTAINED,
    # A second reviewer or a lead is asked whether or not containment has been confirmed by then.
    (State.SECOND_REVIEW, Step.CONTAIN): State.SECOND_REVIEW,
    (State.ESCALATED, Step.CONTAIN): State.ESCALATED,
    (State.NEW, Step.REVIEW): State.SECOND_REVIEW,
    (State.CONTAINED, Step.REVIEW): State.SECOND_REVIEW,
    (State.SECOND_REVIEW, Step.DISAGREE): State.ESCALATED,
    (State.SECOND_REVIEW, Step.VOID): State.NEW,
    # Where the service escalated it, nobody has looked: two must, the second of them a lead.
    (State.ESCALATED, Step.REVIEW): State.ESCALATED,
    (State.ESCALATED, Step.DISAGREE): State.ESCALATED,
    (State.ESCALATED, Step.VOID): State.ESCALATED,
    **{(state, Step.CONFIRM): State.CONFIRMED for state in UNDECIDED},
    **{(state, Step.CLEAR): State.CLEARED for state in UNDECIDED},
    # A report that policy files without waiting for a person may be finished before one decides.
    **{(state, Step.REPORT): state for state in UNDECIDED},
    (State.CONFIRMED, Step.CONTAIN): State.CONFIRMED,
    (State.CONFIRMED, Step.REPORT): State.REPORTED,
    (State.CONFIRMED, Step.CLOSE): State.CLOSED,
    (State.REPORTED, Step.CONTAIN): State.REPORTED,
    (State.REPORTED, Step.CLOSE): State.CLOSED,
    (State.CLEARED, Step.CLOSE): State.CLOSED,
    # It was on its way, and could not be called back: what was filed is noted whatever became of the case.
    **{(state, Step.REPORT): state for state in (State.CLEARED, State.REPORTED, State.CLOSED)},
    **{(state, Step.REOPEN): State.NEW for state in (State.CONFIRMED, State.REPORTED, State.CLEARED, State.CLOSED)},
    (State.CONFIRMED, Step.REVERSE): State.CLEARED,
    (State.REPORTED, Step.REVERSE): State.CLEARED,
    (State.CLOSED, Step.REVERSE): State.CLEARED,
}

WHO: Final[Mapping[Step, Role | None]] = {
    Step.OPEN: None, Step.JOIN: None, Step.CONTAIN: None, Step.REPORT: None, Step.CLOSE: None, Step.BREACH: None,
    Step.VOID: None,
    Step.CLAIM: Role.REVIEWER, Step.UNCLAIM: Role.REVIEWER, Step.REVIEW: Role.REVIEWER, Step.DISAGREE: Role.REVIEWER,
    Step.CONFIRM: Role.REVIEWER, Step.CLEAR: Role.REVIEWER, Step.ESCALATE: Role.REVIEWER,
    Step.REOPEN: Role.LEAD, Step.REVERSE: Role.LEAD,
}  # fmt: skip
"""Whose step it is; None: the service's own. Deciding in ESCALATED is a lead's."""


@dataclass(frozen=True, slots=True)
class Opinion:
    """One person's decision on a case."""

    by: str
    confirm: bool  # else: clear


def after(state: State, step: Step) -> State:
    """Where a step leads.

    Raises:
        Refused: it is not legal in that state.
    """
    found = NEXT.get((state, step))
    if found is None:
        legal = ", ".join(sorted(s for at, s in NEXT if at is state and WHO[s]))
        raise Refused(f"{step} is not possible while the case is {state}; possible: {legal or 'nothing'}")
    return found


def role_for(state: State, step: Step) -> Role | None:
    """The role that a step takes in a state; None: it is the service's own."""
    if state is State.ESCALATED and step in (Step.CONFIRM, Step.CLEAR, Step.DISAGREE):
        return Role.LEAD
    return WHO[step]


def decision(
    state: State, before: Iterable[Opinion], opinion: Opinion, *, second: bool, escalated_by: str = ""
) -> Step:
    """The step that an opinion amounts to. `before` are those of this round, `second`: policy wants two persons,
    `escalated_by`: who looked at it and asked a lead; "": nobody, the service did.

    Raises:
        Refused: whoever decided already may not be the other person; or nothing is to be decided.
    """
    if state not in UNDECIDED:
        raise Refused(f"the case is {state}: there is nothing to decide; a lead can reopen it")
    earlier = list(before)
    if any(spelling(one.by) == spelling(opinion.by) for one in earlier):
        raise Refused(f"{opinion.by} has decided already: another person must")
    wanted = Step.CONFIRM if opinion.confirm else Step.CLEAR
    if state in (State.NEW, State.CONTAINED):
        return Step.REVIEW if second else wanted
    if state is State.ESCALATED and (not second or escalated_by):
        return wanted
    if state is State.ESCALATED and not earlier:
        return Step.REVIEW
    one_differs = len(earlier) == 1 and earlier[-1].confirm != opinion.confirm
    return Step.DISAGREE if one_differs else wanted


def due(state: State, *, contained: bool, report_due: bool, reported: bool, unsettled: int) -> Step | None:
    """The service's own step that is due now, if any.

    Args:
        contained: everything that was to be contained is.
        report_due: policy wants a report; `reported`: it is finished.
        unsettled: instructions that nobody has confirmed or given up.
    """
    if state is State.NEW and contained:
        return Step.CONTAIN
    if state is State.CONFIRMED and report_due and reported:
        return Step.REPORT
    done = (state is State.CONFIRMED and not report_due) or state in (State.REPORTED, State.CLEARED)
    return Step.CLOSE if done and not unsettled else None


def table() -> list[tuple[str, str, str, str]]:
    """Every legal step: state, step, next state, whose it is. For the docs."""
    rows = [("", Step.OPEN.value, State.NEW.value, "the service")]
    for (state, step), to in sorted(NEXT.items(), key=lambda row: (list(State).index(row[0][0]), row[0][1])):
        role = role_for(state, step)
        rows.append((state.value, step.value, to.value, role.value if role else "the service"))
    return rows
