"""What a case's record says, and how it takes over what a match wants of it. Pure: the time is an argument."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from hashmatch import convert
from hashmatch.errors import Malformed
from hashmatch.v1.audit_pb2 import VerdictRecord
from hashmatch.v1.cases_pb2 import DECISION_CLEAR, Case, CaseState, Review, Tier
from hashmatch.v1.common_pb2 import Subject
from hashmatch.workflow.case import State
from hashmatch.workflow.plan import Clocks, Instruction, Jurisdiction, Plan

MAX_ENTRIES: Final = 1000  # of one case, by which copies are known; those beyond are each a cluster of their own
MAX_CODES: Final = 16
CLOCKS: Final = ("contain", "acknowledge", "decide", "report")


def met(case: Case, clock: str) -> bool:
    """Whether a clock need not run any more."""
    match clock:
        case "contain":
            return case.HasField("contained_at") or cleared(case)
        case "acknowledge":
            return case.HasField("acknowledged_at")
        case "decide":
            return case.HasField("decided_at")
        case _:  # nothing is due to an authority, or it has it; or the case was cleared
            return not case.authority or case.HasField("reported_at") or cleared(case)


def state_of(case: Case) -> State:
    """Where a case stands."""
    return State(CaseState.Name(case.state).removeprefix("CASE_STATE_"))


def about(subject: Subject) -> Subject:
    """Whose case it is: the uploader, or where none is named the content."""
    if subject.uploader_id:
        return Subject(uploader_id=subject.uploader_id, region=subject.region)
    return Subject(content_id=subject.content_id, region=subject.region)


def this_round(case: Case) -> Sequence[Review]:
    """The reviews since it was opened, or opened again."""
    return case.reviews[case.reviews_before :]


def cleared(case: Case) -> bool:
    """Whether the last decision was that it is not what it was taken for."""
    return bool(case.reviews) and case.reviews[-1].decision == DECISION_CLEAR and case.HasField("decided_at")


def holder(case: Case, now: datetime) -> str:
    """Who has it now; "": nobody."""
    return case.assignee if case.assignee and now < case.lease_until.ToDatetime(UTC) else ""


def let_go(case: Case) -> None:
    """Ends the claim."""
    case.ClearField("assignee")
    case.ClearField("lease_until")


def tier_of(number: int) -> Tier.ValueType:
    """The wire's tier of 0..3."""
    return Tier.ValueType(number + 1)  # the wire keeps 0 for "not said"


def urge(case: Case, plan: Plan, now: datetime) -> None:
    """Takes over what a plan wants, where it is more than what the case has."""
    tier = tier_of(plan.tier)
    if case.tier and tier < case.tier:
        _begin_again(case)
    case.tier = min(case.tier, tier) if case.tier else tier
    _sooner(case, plan, now)
    case.second_review.extend(why for why in plan.second_review if why not in case.second_review)
    case.rules.extend(rule for rule in plan.rules if rule not in case.rules)
    if plan.authority and not case.authority:
        case.authority, case.duty = plan.authority, plan.duty or ""
    case.policy_version = plan.version


def told_plan(clocks: Clocks, tier: int, authority: str, row: Jurisdiction | None = None) -> Plan:
    """What follows where a person told of something: nothing by itself; once somebody confirms it, it is removed, what
    is there of it is kept, and it is reported, as the `row` of jurisdictions has it where there is one."""
    waits = tuple(Instruction(verb, "somebody told of it", deferred=True) for verb in ("remove", "preserve"))
    page = (Instruction("page", "somebody told of imminent harm"),) if tier == 0 else ()
    deadline = row.deadlines[tier] if row is not None else None
    return Plan(
        tier=tier, instructions=(*waits, *page), acknowledge=clocks.acknowledge, decide=clocks.decide,
        contain=clocks.contain, report=clocks.report if deadline is None else min(clocks.report, deadline),
        authority=authority, rules=("somebody told of it",), jurisdiction=row.name if row is not None else "",
        duty=row.duty if row is not None else None,
    )  # fmt: skip


def hasten(case: Case, clocks: Clocks, now: datetime) -> None:
    """Lets the clocks of a more urgent tier begin: a person must take it again, sooner than before."""
    _begin_again(case)
    _sooner(case, clocks, now)


def _sooner(case: Case, wanted: Plan | Clocks, now: datetime) -> None:
    """Lets each clock end by what is wanted from now, where that is sooner than it would."""
    for clock in CLOCKS:
        at, by = getattr(case, f"{clock}_by"), now + getattr(wanted, clock)
        if not at.seconds or by < at.ToDatetime(UTC):
            at.CopyFrom(convert.timestamp(by))


def restart(case: Case, clocks: Clocks, now: datetime) -> None:
    """Lets the clocks of a case that is worked again begin again."""
    _begin_again(case)
    for clock in CLOCKS:
        getattr(case, f"{clock}_by").CopyFrom(convert.timestamp(now + getattr(clocks, clock)))


def _begin_again(case: Case) -> None:
    """Somebody must take it anew, and be paged anew."""
    case.ClearField("acknowledged_at")
    del case.breached[:]
    let_go(case)
    case.subject_verbs[:] = [verb for verb in case.subject_verbs if verb != "page"]


def bits_within(record: VerdictRecord) -> int | None:
    """Bits between the nearest match that counts and its threshold; None where it was found by equality."""
    within = [m.threshold - m.distance for m in record.matches if not m.shadow and m.threshold]
    return max(within, default=None)


def cluster(case: Case, entries: list[str]) -> tuple[int, Mapping[int, int]]:
    """The cluster of an item that matched these entries: that of earlier copies, or a new one. And what the clusters of
    items before are called now, where what is a copy of several has made them one."""
    known = sorted({case.cluster_of[entry] for entry in entries if entry in case.cluster_of})
    if not known:
        case.clusters += 1
    number = known[0] if known else case.clusters
    called = _merged(case.clusters, known) if len(known) > 1 else {}
    if called:
        case.clusters -= len(known) - 1
        for entry, before in list(case.cluster_of.items()):
            case.cluster_of[entry] = called.get(before, before)
    for entry in entries:
        if len(case.cluster_of) < MAX_ENTRIES:
            case.cluster_of[entry] = number
    return number, called


def _merged(clusters: int, one: Sequence[int]) -> dict[int, int]:
    """What each of so many clusters is called, once some of them are one and the numbers are without a gap: those that
    change. `one`: in order."""
    called = {n: one[0] if n in one else n - sum(other < n for other in one[1:]) for n in range(1, clusters + 1)}
    return {before: now for before, now in called.items() if before != now}


def reason_codes(given: Collection[str]) -> list[str]:
    """Reason codes as they are kept.

    Raises:
        Malformed: none, too many, or not of the form.
    """
    found = [code.strip().upper() for code in given if code.strip()]
    if not found or len(found) > MAX_CODES:
        raise Malformed(f"want 1 to {MAX_CODES}, such as KNOWN_MATERIAL", field="reason_codes")
    if any(len(code) > 64 or not code.replace("_", "").isalnum() for code in found):
        raise Malformed("want letters, digits and underscores, at most 64", field="reason_codes")
    return found
