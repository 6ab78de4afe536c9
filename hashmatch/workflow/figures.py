"""The figures of a ledger: its cases, decisions and instructions, read in short transactions and handed to `kpi`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from hashmatch.audit.ledger import Ledger
from hashmatch.errors import Malformed, NotFound
from hashmatch.v1.audit_pb2 import NO_CASE_FAILED, NO_CASE_UNSPECIFIED, Revealed, VerdictRecord
from hashmatch.v1.cases_pb2 import DECISION_CONFIRM, Case, CaseItem, CaseState
from hashmatch.v1.common_pb2 import FINDING_MATCH
from hashmatch.workflow import blind, kpi
from hashmatch.workflow import outbox as sending
from hashmatch.workflow.agreement import Agreement, agreement
from hashmatch.workflow.case_store import CaseStore
from hashmatch.workflow.figure_rows import CLOCKS, LateLook, decisions_of, late_of, outcome_of, pairs_of, times_of
from hashmatch.workflow.inputs import moment
from hashmatch.workflow.kpi import ActionOutcome, Decision, Milestone
from hashmatch.workflow.kpi_times import Backlog, Share, Times
from hashmatch.workflow.policy import Policy
from hashmatch.workflow.report import State as Report
from hashmatch.workflow.report_rows import state_of as state_of_report
from hashmatch.workflow.report_store import ReportStore
from hashmatch.workflow.survival import NotReached

_WAITING: Final = (sending.State.REQUESTED.value, sending.State.DELIVERED.value)
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
    agreement: Agreement | None  # of two who must both decide: the second knows what the first said
    blind: Agreement | None  # of second looks by people who do not know
    reported: kpi.Completeness
    looks: Mapping[str, int]  # at evidence, by level
    instructions: Mapping[str, int]  # by what became of them
    waiting: int  # of them, those that nobody has said are done, and that are not given up
    given_up: int  # those that wait for a person
    exposure_minutes: float
    unsaid: int  # second looks that nobody has said yet
    late: tuple[LateLook, ...]  # of them, those that were not said when they were first due


def refuse_no_period(since: datetime | None, until: datetime | None) -> None:
    """Returns where there can be a case between the two.

    Raises:
        Malformed: names the one that is wrong.
    """
    begin = moment(since, "since") if since is not None else None
    if until is not None and begin is not None and moment(until, "until") <= begin:
        raise Malformed("not after `since`", field="until")


def figures(
    ledger: Ledger, policy: Policy, now: datetime, *, since: datetime | None = None, until: datetime | None = None
) -> Figures:
    """The figures as they are now.

    Args:
        since: times and clocks are told of the cases detected from then on, and of all that are open; None: of all.
        until: and of none that was detected from then on.
    Raises:
        Malformed: no case can be of that time.
        Corrupt: a row is damaged.
    """
    refuse_no_period(since, until)
    last = ledger.last_sequence()  # what comes during the reading is the next time's
    store, outbox = CaseStore(ledger.env, ledger.sealing), sending.Outbox(ledger.env, ledger.sealing)
    cases = list({case.id: case for case in _cases(ledger, store) if not case.drill}.values())
    rows = [times_of(case) for case in cases]
    lately = [
        row
        for row in rows
        if (since is None or row.closed is None or row.detected >= since) and (until is None or row.detected < until)
    ]
    decisions: list[Decision] = []
    outcomes: list[ActionOutcome] = []
    clusters: list[tuple[str, int]] = []
    instructions: Counter[str] = Counter()
    given_up = 0
    facts: list[kpi.ReportFacts] = []
    for case in cases:
        with ledger.env.read() as txn:
            items = list(store.items(txn, case.id))
            sent = list(outbox.of_case(txn, case.id))
        instructions.update(sending.state_of(one).value for one in sent)
        given_up += sum(sending.state_of(one) in sending.GIVEN_UP and not one.accepted_by for one in sent)
        clusters += [(case.id, item.cluster) for item in items]
        decided = case.reviews[-1].decision if case.HasField("decided_at") and case.reviews else None
        asked = {one.verdict_id for one in sent}
        for item in items:
            record = _verdict(ledger, item)
            if decided is not None and record is not None:
                decisions += decisions_of(record, decided == DECISION_CONFIRM, case.reviews[-1].by)
            if record is not None:  # else a person told of it
                outcomes.append(outcome_of(item, item.verdict_id in asked, decided))
        facts += _report_facts(ledger, case, items)
    matches = []
    shown: list[Revealed] = []
    for event in _events(ledger, last):
        if event.HasField("revealed"):
            shown.append(event.revealed)
        if not event.HasField("verdict") or event.verdict.finding != FINDING_MATCH:
            continue
        record = event.verdict
        matches.append(record.verdict_id)
        if not record.case_id:
            justified = record.no_case not in (NO_CASE_UNSPECIFIED, NO_CASE_FAILED)
            why = f"no case: {record.no_case}" if justified else ""
            outcomes.append(ActionOutcome(match=record.verdict_id, acted=False, why_not=why))
    clocks = {
        milestone: {tier: getattr(one, clock) for tier, one in enumerate(policy.clocks)}
        for milestone, clock in CLOCKS.items()
    }
    with ledger.env.read() as txn:
        looked_twice, unsaid = list(blind.pairs(ledger.env, txn)), list(blind.unsaid(ledger.env, txn))
    return Figures(
        cases=len(cases), times={one: kpi.times(lately, one, now) for one in Milestone},
        attained={one: kpi.attainment(lately, one, found, now) for one, found in clocks.items()},
        backlog=kpi.backlog(rows, now), precision=kpi.precision(decisions), reversed_=kpi.reversals(outcomes),
        copies=kpi.duplicates(clusters), reconciled=kpi.reconcile(matches, outcomes),
        agreement=agreement(pairs_of(cases)), blind=agreement(looked_twice), reported=kpi.completeness(facts),
        instructions=dict(sorted(instructions.items())), waiting=sum(instructions[one] for one in _WAITING),
        given_up=given_up, looks=dict(Counter(one.level for one in shown)),
        exposure_minutes=sum(one.seconds for one in shown) / 60, unsaid=len(unsaid),
        late=tuple(sorted(late_of(unsaid, now), key=lambda one: (-one.seconds, one.review_id))),
    )  # fmt: skip


def _cases(ledger: Ledger, store: CaseStore) -> Iterator[Case]:
    every, after = set(CaseState.values()), b""
    while True:
        with ledger.env.read() as txn:
            page, after = store.page(txn, states=every, after=after, limit=PAGE)
        yield from page
        if not after:
            return


def _verdict(ledger: Ledger, item: CaseItem) -> VerdictRecord | None:
    try:
        return ledger.verdict(item.verdict_id).verdict
    except NotFound:
        return None


def _report_facts(ledger: Ledger, case: Case, items: Iterable[CaseItem]) -> Iterator[kpi.ReportFacts]:
    """Of each report of a case that was filed: whether it had what its receivers work with."""
    with ledger.env.read() as txn:
        filed = [
            row for row in ReportStore(ledger.env).of_case(txn, case.id) if state_of_report(row) is Report.FINISHED
        ]
    told = {item.verdict_id: item.subject.attributes for item in items}
    for row in filed:
        known = [told[file.verdict_id] for file in row.files if file.verdict_id in told]
        sent = [file for file in row.files if file.file_id]
        yield kpi.ReportFacts(
            address_port_time=any(one.get("ip") and one.get("ip_port") for one in known),
            email=any(one.get("email") for one in known), viewed_flag=bool(sent) and all(one.detailed for one in sent),
        )  # fmt: skip


def _events(ledger: Ledger, last: int) -> Iterator[Any]:
    """Up to that sequence: what comes during the reading is the next time's."""
    after = 0
    while page := ledger.events(after=after, limit=PAGE, opened=False):
        for event in page:
            if event.sequence > last:
                return
            yield event
        after = page[-1].sequence


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
        "agreement": _agreed(found.agreement),
        "blind_agreement": _agreed(found.blind),
        "report_completeness": {
            name: _share(getattr(found.reported, name))
            for name in ("whole", "address_port_time", "email", "viewed_flag")
        },
        "looks": dict(found.looks),
        "instructions": dict(found.instructions),
        "outbox": {"waiting": found.waiting, "given_up": found.given_up},
        "exposure_minutes": found.exposure_minutes,
        "second_looks": {
            "waiting": found.unsaid, "overdue": len(found.late), "late": [asdict(one) for one in found.late],
        },
    }  # fmt: skip


def _agreed(found: Agreement | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {"pairs": found.pairs, "raw": found.raw, "kappa": found.kappa, "interval": found.kappa_95}


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
