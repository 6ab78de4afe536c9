"""What each case, match and second look adds to the figures. Pure, over rows of the ledger."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp

from hashmatch.v1.audit_pb2 import VerdictRecord
from hashmatch.v1.cases_pb2 import DECISION_CLEAR, BlindReview, Case, CaseItem
from hashmatch.v1.cases_pb2 import Decision as Decided
from hashmatch.workflow import kpi
from hashmatch.workflow.case import State
from hashmatch.workflow.case_facts import state_of
from hashmatch.workflow.kpi import ActionOutcome, CaseTimes, Decision, Milestone, Outcome

EDGES: Final = (0, 10, 20, 31)  # bits, of the bands that precision is told by
CLOCKS: Final = {
    Milestone.CONTAINED: "contain", Milestone.ACKNOWLEDGED: "acknowledge", Milestone.DECIDED: "decide",
    Milestone.REPORTED: "report",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class LateLook:
    """A second look that was not said in time."""

    review_id: str
    asked_of: str = field(repr=False)  # now
    seconds: float  # since it was first due


def times_of(case: Case) -> CaseTimes:
    """When a case got where, and by when it should have."""
    cleared = bool(case.reviews) and case.reviews[-1].decision == DECISION_CLEAR
    unwanted = {Milestone.REPORTED} if not case.authority or cleared else set()
    unwanted |= {Milestone.CONTAINED} if cleared and not case.HasField("contained_at") else set()  # undone before
    return CaseTimes(
        tier=case.tier - 1, detected=case.detected_at.ToDatetime(UTC),
        contained=_moment(case, "contained_at", case.contained_at),
        acknowledged=_moment(case, "acknowledged_at", case.acknowledged_at),
        decided=_moment(case, "decided_at", case.decided_at), reported=_moment(case, "reported_at", case.reported_at),
        closed=_moment(case, "closed_at", case.closed_at) if state_of(case) is State.CLOSED else None,
        wanted=frozenset(Milestone) - unwanted,
        due={
            milestone: getattr(case, f"{clock}_by").ToDatetime(UTC)
            for milestone, clock in CLOCKS.items()
            if getattr(case, f"{clock}_by").seconds
        },
    )  # fmt: skip


def _moment(case: Case, name: Any, at: Timestamp) -> datetime | None:
    return at.ToDatetime(UTC) if case.HasField(name) else None


def outcome_of(item: CaseItem, asked: bool, decided: Decided.ValueType | None) -> ActionOutcome:
    """What came of an item: something was asked of the platform, or a person decided, or will."""
    if asked:
        return ActionOutcome(match=item.verdict_id, acted=True, reversed=decided == DECISION_CLEAR)
    why = "a person decided that nothing was to be done" if decided is not None else "waits for a person"
    return ActionOutcome(match=item.verdict_id, acted=False, why_not=why)


def decisions_of(record: VerdictRecord, confirmed: bool, by: str) -> Iterator[Decision]:
    """What a person decided of each match of a verdict."""
    outcome = Outcome.CONFIRMED if confirmed else Outcome.CLEARED
    for match in record.matches:
        if not match.shadow:
            yield Decision(
                list=match.list, hash_type=match.hash_type, band=kpi.band(match.distance, EDGES), outcome=outcome,
                reviewer=by,
            )  # fmt: skip


def late_of(unsaid: Iterable[BlindReview], now: datetime) -> Iterator[LateLook]:
    """Of second looks that nobody has said yet: those that were not said when they were first due."""
    for row in unsaid:
        due = row.overdue_since if row.HasField("overdue_since") else row.due_by
        seconds = (now - due.ToDatetime(UTC)).total_seconds()
        if seconds >= 0:
            yield LateLook(review_id=row.id, asked_of=row.assigned_to, seconds=seconds)


def pairs_of(cases: list[Case]) -> Iterator[tuple[str, str]]:
    """The first and the second decision of every round that had two."""
    for case in cases:
        reviews = case.reviews[case.reviews_before :]
        if case.second_review and len(reviews) >= 2:
            yield str(reviews[0].decision), str(reviews[1].decision)
