"""Cases, worked: every step checked against the table, and written in one transaction with all that follows from it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from datetime import UTC, timedelta

from hashmatch import clock, convert
from hashmatch.audit.leaves import Appending
from hashmatch.errors import Forbidden, Malformed, Refused
from hashmatch.roles import Role
from hashmatch.v1.audit_pb2 import NO_CASE_POLICY, NO_CASE_SHADOW, NO_CASE_UNSPECIFIED, Event, VerdictRecord
from hashmatch.v1.cases_pb2 import DECISION_CLEAR, DECISION_CONFIRM, Case, CaseItem, CaseState, DispatchRecord
from hashmatch.workflow import case as life
from hashmatch.workflow import outbox as sending
from hashmatch.workflow.case import Opinion, State, Step
from hashmatch.workflow.case_facts import (
    about,
    cleared,
    cluster,
    hasten,
    holder,
    let_go,
    state_of,
    this_round,
    tier_of,
    urge,
)
from hashmatch.workflow.case_facts import reason_codes as kept_codes
from hashmatch.workflow.case_steps import SERVICE, Filing, Route
from hashmatch.workflow.consequences import Consequences
from hashmatch.workflow.hold_table import Kind
from hashmatch.workflow.outbox import CONTAINING, Outbox
from hashmatch.workflow.plan import FALLBACK, OF_SUBJECT, UNDO, Plan

trace = logging.getLogger(__name__)

LEASE = timedelta(minutes=30)
MAX_LEASE = timedelta(hours=12)  # a shift
MAX_ITEMS = 500  # of one case: what is done to it whole is done while verdicts wait; more are the next case's

__all__ = ["LEASE", "SERVICE", "Casework", "Filing", "Route"]


class Casework(Consequences):
    """The steps of cases, inside transactions of the ledger. For any thread."""

    # ── from a verdict ──────────────────────────────────────────────────────────────────────────────────────────────

    def __call__(self, log: Appending, record: VerdictRecord) -> Callable[[], None]:
        """Opens a case for a MATCH, or joins it to the open one of its subject: as `audit.ledger.Consequences`."""
        entries = [f"{match.list}/{match.entry_id}" for match in record.matches if not match.shadow]
        if not entries:
            record.no_case = NO_CASE_SHADOW
            return lambda: None
        try:
            plan = self._plan(record, log.at)
        except Exception:  # whatever is wrong with the rules, a match must be written down, and a person must see it
            trace.exception("the policy failed on verdict %s; its case waits for a person", record.verdict_id)
            plan = FALLBACK
        if plan is None:
            record.no_case = NO_CASE_POLICY
            return lambda: None
        latest = self.store.latest_of(log.txn, record.subject)
        joined = latest is not None and state_of(latest) in life.UNDECIDED and latest.items < MAX_ITEMS
        before, case = None, Case()
        if latest is not None and joined:
            before = latest
            case.CopyFrom(latest)
        else:
            case.id = clock.new_id("c")
            case.prior_case_id = latest.id if latest is not None else ""
            case.subject.CopyFrom(about(record.subject))
            case.detected_at.CopyFrom(convert.timestamp(log.at))
            case.state = CaseState.CASE_STATE_NEW
        record.case_id, record.no_case = case.id, NO_CASE_UNSPECIFIED
        item = CaseItem(
            verdict_id=record.verdict_id, at=record.at, subject=record.subject, disposition=record.disposition,
            entries=entries, labels=sorted({m.label for m in record.matches if m.label}), media_type=record.media_type,
            report_unreviewed=plan.report_unreviewed,
        )  # fmt: skip

        def follow() -> None:
            urge(case, plan, log.at)
            item.cluster = cluster(case, entries)
            self._instruct(log, case, plan, item)
            self.store.add_item(log.txn, case, item)
            if joined:
                case.state = CaseState.Value(f"CASE_STATE_{life.after(state_of(case), Step.JOIN)}")
                if case.uncontained:
                    case.ClearField("contained_at")
            self._log(log, case, Step.JOIN if joined else Step.OPEN, SERVICE, [record.verdict_id], plan.rules)
            if plan.report_unreviewed:
                self._file(log, case)
            self._settle(log, case)
            self.store.put(log.txn, case, before)

        return follow

    def _instruct(self, log: Appending, case: Case, plan: Plan, item: CaseItem) -> None:
        for wanted in plan.instructions:
            if wanted.verb in OF_SUBJECT and wanted.verb in case.subject_verbs:
                continue
            if wanted.deferred:
                waiting = case.deferred if wanted.verb in OF_SUBJECT else item.deferred
                if wanted.verb not in waiting:
                    waiting.append(wanted.verb)
            else:
                self._send(log, case, wanted.verb, item.verdict_id, item.subject, wanted.reason)
                if wanted.verb in OF_SUBJECT:
                    case.subject_verbs.append(wanted.verb)

    # ── by people ───────────────────────────────────────────────────────────────────────────────────────────────────

    def claim(self, log: Appending, case_id: str, *, by: str, lease: timedelta = LEASE) -> Case:
        """The case, for `by` alone until the lease ends.

        Raises:
            NotFound: there is none of that id.
            Malformed: too long a lease.
            Refused: somebody else has it, or has decided already and must not decide twice.
        """
        if not timedelta() < lease <= MAX_LEASE:
            raise Malformed(f"want 1 to {MAX_LEASE.total_seconds():.0f}", field="lease_seconds")
        before, case = self._open(log, case_id)
        if (other := holder(case, log.at)) not in ("", by):
            raise Refused(f"{other} has it until {case.lease_until.ToDatetime(UTC):%H:%M} UTC")
        if by in {review.by for review in this_round(case)}:
            raise Refused(f"{by} has decided already: another person must")
        self._step(log, case, Step.CLAIM, by)
        case.assignee = by
        case.lease_until.CopyFrom(convert.timestamp(log.at + lease))
        if not case.HasField("acknowledged_at"):
            case.acknowledged_at.CopyFrom(convert.timestamp(log.at))
        self.store.put(log.txn, case, before)
        return case

    def unclaim(self, log: Appending, case_id: str, *, by: str) -> Case:
        """The case, for anybody again.

        Raises:
            NotFound: there is none of that id.
            Refused: `by` does not have it.
        """
        before, case = self._open(log, case_id)
        self._held_by(log, case, by)
        self._step(log, case, Step.UNCLAIM, by)
        let_go(case)
        self.store.put(log.txn, case, before)
        return case

    def decide(
        self, log: Appending, case_id: str, *, confirm: bool, by: str, roles: Collection[Role],
        reason_codes: Collection[str], note: str = "", items_seen: int = 0,
    ) -> Case:  # fmt: skip
        """The case, decided; or waiting for a second person, where policy wants two.

        Raises:
            NotFound: there is none of that id.
            Malformed: no reason code.
            Refused: nothing is to be decided, `by` has not claimed it or may not decide twice, or items came since
                those that were seen.
            Forbidden: only a lead may.
        """
        codes = kept_codes(reason_codes)
        before, case = self._open(log, case_id)
        self._held_by(log, case, by)
        if items_seen and items_seen < case.items:
            raise Refused(f"{case.items - items_seen} items came since you looked: look at them first")
        if state_of(case) is State.ESCALATED and case.second_review and by == case.escalated_by:
            raise Refused(f"{by} escalated it: another person must decide")
        opinions = [Opinion(review.by, review.decision == DECISION_CONFIRM) for review in this_round(case)]
        step = life.decision(state_of(case), opinions, Opinion(by, confirm), second=bool(case.second_review))
        self._may(case, step, roles)
        review = case.reviews.add(by=by, decision=DECISION_CONFIRM if confirm else DECISION_CLEAR, reason_codes=codes)
        review.at.CopyFrom(convert.timestamp(log.at))
        let_go(case)
        self._step(log, case, step, by, codes, note)
        self._after_decision(log, case, step)
        self._settle(log, case)
        self.store.put(log.txn, case, before)
        return case

    def escalate(
        self, log: Appending, case_id: str, *, by: str, reason_codes: Collection[str], note: str = "",
        tier: int | None = None,
    ) -> Case:  # fmt: skip
        """The case, for a lead, and more urgent where a tier (0..3) says so.

        Raises:
            NotFound: there is none of that id.
            Malformed: no reason code.
            Refused: it is decided, or somebody else has it; or it would be less urgent.
        """
        codes = kept_codes(reason_codes)
        before, case = self._open(log, case_id)
        if (other := holder(case, log.at)) not in ("", by):
            raise Refused(f"{other} has it until {case.lease_until.ToDatetime(UTC):%H:%M} UTC")
        if tier is not None and tier + 1 > case.tier:
            raise Refused(f"it is T{case.tier - 1} already: an escalation makes nothing less urgent")
        if tier is not None and tier_of(tier) != case.tier:
            case.tier = tier_of(tier)
            if self._clocks:
                hasten(case, self._clocks[tier], log.at)
        let_go(case)
        case.escalated_by = by
        self._step(log, case, Step.ESCALATE, by, codes, note)
        if case.tier == tier_of(0):
            self._send(log, case, "page", "", case.subject, "escalated")
        self._settle(log, case)
        self.store.put(log.txn, case, before)
        return case

    def reopen(
        self, log: Appending, case_id: str, *, by: str, roles: Collection[Role], reason_codes: Collection[str],
        note: str = "", clear: bool = False,
    ) -> Case:  # fmt: skip
        """The case, to be decided anew; or, `clear`, cleared with everything that followed from its confirmation.

        Raises:
            NotFound: there is none of that id.
            Malformed: no reason code.
            Refused: it is not decided, or was cleared already.
            Forbidden: only a lead may; and not who decided it.
        """
        codes = kept_codes(reason_codes)
        before, case = self._open(log, case_id)
        if by in {review.by for review in this_round(case)}:
            raise Refused(f"{by} decided it: another person must undo that")
        step = Step.REVERSE if clear else Step.REOPEN
        if clear and cleared(case):
            raise Refused("it is cleared already")
        self._may(case, step, roles)
        self._reopen(log, case, step, by, codes, note)
        self.store.put(log.txn, case, before)
        return case

    # ── by the platform, and by time ────────────────────────────────────────────────────────────────────────────────

    def dispatched(
        self, log: Appending, change: Callable[[Outbox], DispatchRecord], dispatch_id: str
    ) -> DispatchRecord:
        """An instruction, after `change`; its case knows of it."""
        was = sending.state_of(self.outbox.get(log.txn, dispatch_id))
        one = change(self.outbox)
        now = sending.state_of(one)
        done = int(now is sending.State.CONFIRMED) - int(was is sending.State.CONFIRMED)
        if done:
            before, case = self._open(log, one.case_id)
            case.unsettled -= done
            case.uncontained -= done * (one.verb in CONTAINING)
            if was is sending.State.FAILED and cleared(case):
                self._undo(log, case)  # it was thought not to have been done, so nobody asked for its undoing
            self._settle(log, case)
            self.store.put(log.txn, case, before)
        return one

    def confirm(self, log: Appending, dispatch_id: str, *, failed: bool, problem: str = "") -> DispatchRecord:
        """What the platform says of an instruction.

        Raises:
            NotFound: there is none of that id.
            Refused: it said otherwise before; or it is not the platform's to say.
        """
        one = self.outbox.get(log.txn, dispatch_id)
        if one.entry or one.verb == "page":
            raise Refused("this was not asked of the platform")
        return self.dispatched(
            log, lambda box: box.confirm(log, dispatch_id, failed=failed, problem=problem), dispatch_id
        )

    def retry(self, log: Appending, dispatch_id: str) -> DispatchRecord:
        """Sends again what was given up.

        Raises:
            NotFound: there is none of that id.
            Refused: it is on its way, or done, or was undone since.
        """
        one = self.outbox.get(log.txn, dispatch_id)
        for other in self.outbox.of_case(log.txn, one.case_id):
            same = (other.destination, other.subject.content_id) == (one.destination, one.subject.content_id)
            if same and other.id > one.id and other.verb == UNDO.get(one.verb):
                raise Refused(f"it was undone since by {other.id}; say that it failed instead")
        return self.dispatched(log, lambda box: box.retry(log, dispatch_id), dispatch_id)

    def reported(self, log: Appending, case_id: str, *, duty: str = "US_REPORT", receipt: str = "") -> Case:
        """The case, once the report that was due is finished; the clock of `duty`, a kind of hold, begins."""
        before, case = self._open(log, case_id)
        if not case.HasField("reported_at"):
            case.reported_at.CopyFrom(convert.timestamp(log.at))
            self.holding.place(
                log, case_id, kind=duty, ground="the finished report", by=SERVICE, since=log.at,
                reference=receipt or case_id,
            )  # fmt: skip
            if state_of(case) is not State.CONFIRMED:
                self._step(log, case, Step.REPORT, SERVICE)
        self._settle(log, case)
        self.store.put(log.txn, case, before)
        return case

    def record_report(
        self, log: Appending, case_id: str, *, authority: str, receipt: str, by: str, duty: str = ""
    ) -> Case:
        """The case, whose report was filed elsewhere by a person.

        Raises:
            NotFound: there is none of that id.
            Malformed: no authority, no receipt, or no such duty.
            Refused: it is reported already, or was not confirmed.
        """
        for name, text in (("authority", authority), ("receipt", receipt)):
            if not text.strip() or len(text) > 100:
                raise Malformed("want 1 to 100 characters", field=name)
        if duty and duty not in [*Kind]:
            raise Malformed(f"want one of {', '.join(Kind)}", field="duty")
        before, _ = self._open(log, case_id)
        if before.HasField("reported_at"):
            raise Refused("it is reported already")
        if self._filing is not None and self._filing.waits(log, case_id):
            raise Refused("a report of it is on its way: withdraw that first")
        if state_of(before) is not State.CONFIRMED:
            raise Refused(f"the case is {state_of(before)}: what is not confirmed is not reported")
        event = Event()
        said = event.reported
        said.report_id, said.case_id, said.authority = clock.new_id("r"), case_id, authority.strip()
        said.state, said.receipt = "FINISHED", receipt.strip()
        log.append(event)
        trace.info("a report of case %s was recorded by %s", case_id, by)
        return self.reported(log, case_id, duty=duty or Kind.US_REPORT, receipt=receipt.strip())

    def page(self, log: Appending, case_id: str, reason: str) -> None:
        """Pages about a case of T0 or T1."""
        before, case = self._open(log, case_id)
        if case.tier <= tier_of(1):
            self._send(log, case, "page", "", case.subject, reason)
            self.store.put(log.txn, case, before)

    def breach(self, log: Appending, case_id: str, clock: str) -> Case:
        """The case, whose clock has passed unmet."""
        before, case = self._open(log, case_id)
        met, by = (
            (case.HasField("acknowledged_at"), case.acknowledge_by)
            if clock == "acknowledge"
            else (case.HasField("decided_at"), case.decide_by)
        )
        if clock not in case.breached and not met and by.ToDatetime(UTC) <= log.at:
            case.breached.append(clock)
            if (state_of(case), Step.BREACH) in life.NEXT:
                self._step(log, case, Step.BREACH, SERVICE, [clock.upper()])
                if case.tier <= tier_of(1):
                    self._send(log, case, "page", "", case.subject, f"nobody has met the clock '{clock}'")
        self.store.put(log.txn, case, before)
        return case

    def _held_by(self, log: Appending, case: Case, by: str) -> None:
        other = holder(case, log.at)
        if other != by:
            lapsed = case.assignee == by
            raise Refused(
                "the claim has lapsed: claim it again" if lapsed else f"claim it first: {other or 'nobody'} has it"
            )

    def _may(self, case: Case, step: Step, roles: Collection[Role]) -> None:
        role = life.role_for(state_of(case), step)
        if role is not None and role not in roles:
            raise Forbidden(f"this needs the permission '{role}'")
