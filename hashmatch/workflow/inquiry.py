"""What users and agencies ask for or tell, as a table: how soon it is answered, what must have been checked. Pure.

An inquiry is believed late and obeyed early: whatever keeps something from being lost is done the moment it arrives,
before anybody has verified who asks; whatever gives something away, or destroys it, waits for its checks. Not legal
advice: counsel decides what binds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final

from hashmatch.errors import Malformed, Refused
from hashmatch.workflow import hold_table
from hashmatch.workflow.inputs import MAX_NAME, spelling, text


class State(StrEnum):
    """Where an inquiry stands; the docs print these lines."""

    RECEIVED = "RECEIVED", "it is here; what must not be lost is held"
    VERIFIED = "VERIFIED", "somebody called the agency back, at a number that it did not give itself"
    APPROVED = "APPROVED", "another person agrees that it is to be answered"
    FULFILLED = "FULFILLED", "it is answered"
    REFUSED = "REFUSED", "it is not answered, and why stands with it"

    meaning: str

    def __new__(cls, value: str, meaning: str = "") -> State:
        state = str.__new__(cls, value)
        state._value_, state.meaning = value, meaning
        return state


class Step(StrEnum):
    """What may happen to an inquiry; the names are those of the log's InquiryStep."""

    RECEIVE = "RECEIVE"
    VERIFY = "VERIFY"
    APPROVE = "APPROVE"
    FULFIL = "FULFIL"
    REFUSE = "REFUSE"
    BREACH = "BREACH"


OPEN: Final = (State.RECEIVED, State.VERIFIED, State.APPROVED)

NEXT: Final[Mapping[tuple[State, Step], State]] = {
    (State.RECEIVED, Step.VERIFY): State.VERIFIED,
    (State.VERIFIED, Step.APPROVE): State.APPROVED,
    **{(state, Step.FULFIL): State.FULFILLED for state in OPEN},  # each kind says from where on
    **{(state, Step.REFUSE): State.REFUSED for state in OPEN},
    **{(state, Step.BREACH): state for state in OPEN},
}


class Kind(StrEnum):
    """Who asks for what; the docs print these lines."""

    USER = "USER", "a person tells of content, or of somebody in danger"
    LE_EMERGENCY = "LE_EMERGENCY", "an agency asks for data since somebody is in danger of death or serious injury"
    LE_PRESERVATION = "LE_PRESERVATION", "an agency asks that data be kept until its papers come"
    LE_PROCESS = "LE_PROCESS", "a subpoena, warrant or production order"
    LE_TAKEDOWN = "LE_TAKEDOWN", "an agency asks that content be removed"
    LE_DESTROY = "LE_DESTROY", "an agency asks that media be destroyed for good"

    meaning: str

    def __new__(cls, value: str, meaning: str = "") -> Kind:
        kind = str.__new__(cls, value)
        kind._value_, kind.meaning = value, meaning
        return kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What inquiries of one kind have in common."""

    within: timedelta  # by when it is answered, unless the agency names an earlier time
    source: str  # whose rule that is
    needs: State  # from where on it may be fulfilled
    tier: int | None = None  # of the case that is opened, or made as urgent; None: no case is
    hold: hold_table.Kind | None = None  # placed the moment it arrives
    wants: tuple[str, ...] = ()  # fields that must be given


_AGENCY: Final = ("agency", "contact", "jurisdiction")

RULES: Final[Mapping[Kind, Rule]] = {
    Kind.USER: Rule(within=timedelta(hours=24), source="house rule: T2", needs=State.RECEIVED, tier=2),
    Kind.LE_EMERGENCY: Rule(
        within=timedelta(hours=1), source="18 USC 2702(b)(8), (c)(4); the hour is a house rule", needs=State.VERIFIED,
        tier=0, hold=hold_table.Kind.LE_REQUEST, wants=_AGENCY,
    ),
    Kind.LE_PRESERVATION: Rule(
        within=timedelta(hours=24), source="18 USC 2703(f); the day is a house rule", needs=State.VERIFIED,
        hold=hold_table.Kind.LE_PRESERVATION, wants=(*_AGENCY, "reference"),
    ),
    Kind.LE_PROCESS: Rule(
        within=timedelta(days=10), source="the order's own time goes before", needs=State.APPROVED,
        hold=hold_table.Kind.LE_REQUEST, wants=(*_AGENCY, "reference", "legal_basis", "scope"),
    ),
    Kind.LE_TAKEDOWN: Rule(
        within=timedelta(hours=24), source="house rule: T1", needs=State.VERIFIED, tier=1,
        wants=(*_AGENCY, "reference"),
    ),
    # 18 USC 2258B(c)(2): "ensure that any such visual depiction is permanently destroyed, upon a request from a law
    # enforcement agency to destroy the visual depiction". It holds nothing: destruction is what it asks for.
    Kind.LE_DESTROY: Rule(
        within=timedelta(days=10), source="18 USC 2258B(c)(2); the time is a house rule", needs=State.APPROVED,
        wants=(*_AGENCY, "reference", "legal_basis"),
    ),
}  # fmt: skip

DISCLOSES: Final = frozenset({Kind.LE_EMERGENCY, Kind.LE_PROCESS})
"""Kinds that may be answered with evidence."""


def kind_of(name: str) -> Kind:
    """A kind by its name.

    Raises:
        Malformed: there is none of that name.
    """
    if name not in [*Kind]:
        raise Malformed(f"want one of {', '.join(Kind)}", field="kind")
    return Kind(name)


def after(kind: Kind, state: State, step: Step) -> State:
    """Where a step leads.

    Raises:
        Refused: it is not legal there, or what must come before has not.
    """
    found = NEXT.get((state, step))
    if found is None:
        possible = ", ".join(sorted(s for at, s in NEXT if at is state and s is not Step.BREACH))
        raise Refused(f"{step} is not possible while the inquiry is {state}; possible: {possible or 'nothing'}")
    needs = RULES[kind].needs
    if step is Step.FULFIL and OPEN.index(state) < OPEN.index(needs):
        raise Refused(f"an inquiry of kind {kind} is fulfilled once it is {needs}, and this one is {state}")
    return found


def another(by: str, *others: str) -> None:
    """Does nothing where `by` is none of the others.

    Raises:
        Refused: the same person would check what they did themselves.
    """
    if spelling(text(by, "by", MAX_NAME)) in {spelling(other) for other in others if other}:
        raise Refused(f"{by} took the step before: another person must")


def table() -> list[tuple[str, str, str, str, str, str]]:
    """Of every kind: name, meaning, deadline and whose, from where on it is fulfilled, what happens at once. For the
    docs."""
    rows = []
    for kind, rule in RULES.items():
        at_once = [f"hold {rule.hold}"] if rule.hold else []
        at_once += [f"case T{rule.tier}"] if rule.tier is not None else []
        within = f"{rule.within.days} days" if rule.within.days else f"{rule.within.seconds // 3600} h"
        rows.append((kind.value, kind.meaning, within, rule.source, rule.needs.value, ", ".join(at_once) or "nothing"))
    return rows
