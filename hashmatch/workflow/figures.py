"""The figures of a ledger: its cases, decisions and instructions, read in short transactions and handed to `kpi`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp

from hashmatch.audit.ledger import Ledger
from hashmatch.errors import NotFound
from hashmatch.v1.audit_pb2 import NO_CASE_FAILED, NO_CASE_UNSPECIFIED, VerdictRecord
from hashmatch.v1.cases_pb2 import DECISION_CLEAR, DECISION_CONFIRM, Case, CaseItem, CaseState
from hashmatch.v1.common_pb2 import FINDING_MATCH
from hashmatch.workflow import kpi
from hashmatch.workflow import outbox as sending
from hashmatch.workflow.agreement import Agreement, agreement
from hashmatch.workflow.case import State
from hashmatch.workflow.case_facts import state_of
from hashmatch.workflow.casework import Casework
from hashmatch.workflow.kpi import ActionOutcome, CaseTimes, Decision, Milestone, Outcome
from hashmatch.workflow.kpi_times import Backlog, Share, Times
from hashmatch.workflow.policy import Policy
from hashmatch.workflow.survival import NotReached

EDGES: Final = (0, 10, 20, 31)  # bits, of the bands that precision is told by
PAGE: Final = 500  # cases, events read in one transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What is told of a ledger at one time."""

    cases: int
    times: Mapping[Milestone, Mapping[int, Times]]
    attained: Mapping[Milestone, Mapping[int, Share]]
    backlog: Mapping[int, Backlog]
    precision: Mapping[kpi.Key, Share]
    reversed_: Share
    copies: Share
    reconciled: kpi.Reconciliation
    agreement: Agreement | None
    instructions: Mapping[str, int]  # by what became of them
    exposure_minutes: float


def figures(ledger: Ledger, work: Casework, policy: Policy, now: datetime) -> Figures:
    """The figures as they are now.

    Raises:
        Corrupt: a row is damaged.
    """
    last = ledger.last_sequence()  # what comes during the reading is the next time's
    cases = list({case.id: case for case in _cases(ledger, work)}.values())
    rows = [_times(case) for case in cases]
    decisions: list[Decision] = []
    outcomes: list[ActionOutcome] = []
    clusters: list[tuple[str, int]] = []
    instructions: dict[str, int] = {}
    for case in cases:
        with ledger.env.read() as txn:
            items = list(work.store.items(txn, case.id))
            sent = list(work.outbox.of_case(txn, case.id))
        for one in sent:
            instructions[sending.state_of(one).value] = instructions.get(sending.state_of(one).value, 0) + 1
        clusters += [(case.id, item.cluster) for item in items]
        decided = case.reviews[-1].decision if case.HasField("decided_at") and case.reviews else None
        for item in items:
            record = _verdict(ledger, item)
            if decided is not None and record is not None:
                decisions += _decisions(record, decided == DECISION_CONFIRM, case.reviews[-1].by)
            outcomes.append(ActionOutcome(match=item.verdict_id, acted=True, reversed=decided == DECISION_CLEAR))
    matches = []
    for record in _matches(ledger, last):
        matches.append(record.verdict_id)
        if not record.case_id:
            justified = record.no_case not in (NO_CASE_UNSPECIFIED, NO_CASE_FAILED)
            why = f"no case: {record.no_case}" if justified else ""
            outcomes.append(ActionOutcome(match=record.verdict_id, acted=False, why_not=why))
    clocks = {
        Milestone.ACKNOWLEDGED: {tier: one.acknowledge for tier, one in enumerate(policy.clocks)},
        Milestone.DECIDED: {tier: one.decide for tier, one in enumerate(policy.clocks)},
    }
    return Figures(
        cases=len(cases), times={one: kpi.times(rows, one, now) for one in Milestone},
        attained={one: kpi.attainment(rows, one, found, now) for one, found in clocks.items()},
        backlog=kpi.backlog(rows, now), precision=kpi.precision(decisions), reversed_=kpi.reversals(outcomes),
        copies=kpi.duplicates(clusters), reconciled=kpi.reconcile(matches, outcomes),
        agreement=agreement(_pairs(cases)), instructions=dict(sorted(instructions.items())),
        exposure_minutes=sum(_shown(ledger)) / 60,
    )  # fmt: skip


def _cases(ledger: Ledger, work: Casework) -> Iterator[Case]:
    every, after = set(CaseState.values()), b""
    while True:
        with ledger.env.read() as txn:
            page, after = work.store.page(txn, states=every, after=after, limit=PAGE)
        yield from page
        if not after:
            return


def _times(case: Case) -> CaseTimes:
    cleared = bool(case.reviews) and case.reviews[-1].decision == DECISION_CLEAR
    unwanted = {Milestone.REPORTED} if not case.authority or cleared else set()
    return CaseTimes(
        tier=case.tier - 1, detected=case.detected_at.ToDatetime(UTC),
        contained=_moment(case, "contained_at", case.contained_at),
        acknowledged=_moment(case, "acknowledged_at", case.acknowledged_at),
        decided=_moment(case, "decided_at", case.decided_at), reported=_moment(case, "reported_at", case.reported_at),
        closed=_moment(case, "closed_at", case.closed_at) if state_of(case) is State.CLOSED else None,
        wanted=frozenset(Milestone) - unwanted,
    )  # fmt: skip


def _moment(case: Case, name: Any, at: Timestamp) -> datetime | None:
    return at.ToDatetime(UTC) if case.HasField(name) else None


def _verdict(ledger: Ledger, item: CaseItem) -> VerdictRecord | None:
    try:
        return ledger.verdict(item.verdict_id).verdict
    except NotFound:
        return None


def _decisions(record: VerdictRecord, confirmed: bool, by: str) -> Iterator[Decision]:
    outcome = Outcome.CONFIRMED if confirmed else Outcome.CLEARED
    for match in record.matches:
        if not match.shadow:
            yield Decision(
                list=match.list, hash_type=match.hash_type, band=kpi.band(match.distance, EDGES), outcome=outcome,
                reviewer=by,
            )  # fmt: skip


def _pairs(cases: list[Case]) -> Iterator[tuple[str, str]]:
    """The first and the second decision of every round that had two."""
    for case in cases:
        reviews = case.reviews[case.reviews_before :]
        if case.second_review and len(reviews) >= 2:
            yield str(reviews[0].decision), str(reviews[1].decision)


def _events(ledger: Ledger) -> Iterator[Any]:
    after = 0
    while page := ledger.events(after=after, limit=PAGE, opened=False):
        yield from page
        after = page[-1].sequence


def _matches(ledger: Ledger, last: int) -> Iterator[VerdictRecord]:
    for event in _events(ledger):
        if event.sequence > last:
            return
        if event.HasField("verdict") and event.verdict.finding == FINDING_MATCH:
            yield event.verdict


def _shown(ledger: Ledger) -> Iterator[int]:
    return (event.revealed.seconds for event in _events(ledger) if event.HasField("revealed"))


def told(found: Figures) -> dict[str, Any]:
    """The figures as plain JSON: times in seconds, shares with their 95 % interval."""
    return {
        "cases": found.cases,
        "time_to": {
            one.value: {f"T{tier}": _times_told(row) for tier, row in rows.items()} for one, rows in found.times.items()
        },
        "within_clock": {
            one.value: {f"T{tier}": _share(row) for tier, row in rows.items()} for one, rows in found.attained.items()
        },
        "backlog": {
            f"T{tier}": {"cases": row.cases, "p50": row.p50, "p95": row.p95, "oldest": row.oldest}
            for tier, row in found.backlog.items()
        },
        "precision": [{**key._asdict(), **_share(row)} for key, row in found.precision.items()],
        "reversal_rate": _share(found.reversed_),
        "copies": _share(found.copies),
        "reconciliation": {
            "matches": found.reconciled.matches, "acted": found.reconciled.acted,
            "justified": found.reconciled.justified, "gap": found.reconciled.gap,
        },
        "agreement": {"pairs": found.agreement.pairs, "kappa": found.agreement.kappa} if found.agreement else None,
        "instructions": dict(found.instructions),
        "exposure_minutes": found.exposure_minutes,
    }  # fmt: skip


def _times_told(row: Times) -> dict[str, Any]:
    names = ("p50", "p90", "p95", "longest")
    return {"cases": row.cases, "still": row.still} | {
        name: None if isinstance(getattr(row, name), NotReached) else getattr(row, name) for name in names
    }


def _share(row: Share) -> dict[str, Any]:
    return {"hits": row.hits, "of": row.of, "share": row.value, "interval": row.interval}


def words(seconds: object) -> str:
    """A length of time for people; what is not reached says so."""
    if isinstance(seconds, NotReached):
        return "> " + words(seconds.at_least)
    if not isinstance(seconds, float | int):
        return "-"
    return str(timedelta(seconds=round(seconds)))
