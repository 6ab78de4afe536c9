"""Whether what a match is about is out of reach, as the instructions about it have it. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from hashmatch.v1.cases_pb2 import (
    CONTAINMENT_ASKED,
    CONTAINMENT_BY_ANSWER,
    CONTAINMENT_CONFIRMED,
    CONTAINMENT_FAILED,
    CONTAINMENT_UNDONE,
    CaseItem,
    Containment,
    DispatchRecord,
)
from hashmatch.workflow.outbox_table import CONTAINING, GIVEN_UP, State, state_of
from hashmatch.workflow.plan import UNDO


def tell_containment(items: Iterable[CaseItem], sent: Iterable[DispatchRecord]) -> None:
    """Says of each item how far it is contained.

    Args:
        items: of one case.
        sent: every instruction of that case.
    """
    about: dict[str, dict[str, DispatchRecord]] = {}  # by verdict or content, then by id
    for one in sent:
        for which in (one.verdict_id, one.subject.content_id):
            about.setdefault(which, {})[one.id] = one
    for item in items:
        of_it = about.get(item.verdict_id, {}) | about.get(item.subject.content_id or item.verdict_id, {})
        item.containment = _containment(of_it[id_] for id_ in sorted(of_it))


def _containment(of_it: Iterable[DispatchRecord]) -> Containment.ValueType:
    """By the instructions about one item, in the order in which they were asked for."""
    standing: dict[tuple[str, str], DispatchRecord] = {}
    undone = False
    for one in of_it:
        if one.verb in CONTAINING:
            standing[(one.destination, one.verb)] = one
        elif one.verb in UNDO.values():
            over = [which for which in standing if which[0] == one.destination and UNDO.get(which[1]) == one.verb]
            undone = undone or bool(over)
            for which in over:
                del standing[which]
    if not standing:
        return CONTAINMENT_UNDONE if undone else CONTAINMENT_BY_ANSWER
    states = {state_of(one) for one in standing.values()}
    if states & {*GIVEN_UP}:
        return CONTAINMENT_FAILED
    return CONTAINMENT_CONFIRMED if states == {State.CONFIRMED} else CONTAINMENT_ASKED


def word(found: Containment.ValueType) -> str:
    """As people read it."""
    return Containment.Name(found).removeprefix("CONTAINMENT_").lower().replace("_", " ")
