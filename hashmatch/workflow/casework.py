"""Cases, worked: every step checked against the table, and written in one transaction with all that follows from it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from datetime import UTC, timedelta

from hashmatch import clock, convert
from hashmatch.audit.leaves import Appending
from hashmatch.errors import Forbidden, HashmatchError, Malformed, NotFound, Refused
from hashmatch.roles import Role
from hashmatch.v1.audit_pb2 import NO_CASE_POLICY, NO_CASE_SHADOW, NO_CASE_UNSPECIFIED, Event, VerdictRecord
from hashmatch.v1.cases_pb2 import (
    DECISION_CLEAR,
    DECISION_CONFIRM,
    BlindReview,
    Case,
    CaseItem,
    CaseState,
    Decision,
)
from hashmatch.v1.common_pb2 import Disposition, Subject
from hashmatch.workflow import case as life
from hashmatch.workflow.case import Opinion, State, Step
from hashmatch.workflow.case_facts import (
    about,
    bits_within,
    cleared,
    cluster,
    hasten,
    holder,
    let_go,
    state_of,
    this_round,
    tier_of,
    told_plan,
    urge,
)
from hashmatch.workflow.case_facts import reason_codes as kept_codes
from hashmatch.workflow.case_steps import SERVICE, Filing, Route
from hashmatch.workflow.drills import Drills
from hashmatch.workflow.inputs import spelling
from hashmatch.workflow.plan import FALLBACK, OF_SUBJECT, Clocks, Plan

trace = logging.getLogger(__name__)

LEASE = timedelta(minutes=30)
MAX_LEASE = timedelta(hours=12)  # a shift
DIFFERED = "a second look differed"  # why two persons must agree
MAX_ITEMS = 500  # of one case: what is done to it whole is done while verdicts wait; more are the next case's

__all__ = ["LEASE", "SERVICE", "Casework", "Filing", "Route"]


class Casework(Drills):
    """The steps of cases, inside transactions of the ledger. For any thread."""

    # ── from a verdict ──────────────────────────────────────────────────────────────────────────────────────────────

    def __call__(self, log: Appending, record: VerdictRecord) -> Callable[[], None]:
        """Opens a case for a MATCH, or joins it to the open one of its subject: as `audit.ledger.Consequences`."""
        entries = [f"{match.list}/{match.entry_id}" for match in record.matches if not match.shadow]
        if not entries:
            record.no_case = NO_CASE_SHADOW
            return lambda: None
        try:
            plan = self._plan(record, log.at, first=self._first(log, record))
        except Exception:  # whatever is wrong with the rules, a match must be written down, and a person must see it
            trace.exception("the policy failed on verdict %s; its case waits for a person", record.verdict_id)
            plan = FALLBACK
        if plan is None:
            record.no_case = NO_CASE_POLICY
            return lambda: None
        if plan.disposition is not None:
            record.floor = Disposition.Value(f"DISPOSITION_{plan.disposition.name}")
            record.disposition = max(record.disposition, record.floor)
        before, case = self._open_or_join(log, record.subject)
        record.case_id, record.no_case = case.id, NO_CASE_UNSPECIFIED
        item = CaseItem(
            verdict_id=record.verdict_id, at=record.at, subject=record.subject, disposition=record.disposition,
            entries=entries, labels=sorted({m.label for m in record.matches if m.label}), media_type=record.media_type,
            report_unreviewed=plan.report_unreviewed,
        )  # fmt: skip
        if (within := bits_within(record)) is not None:
            item.bits_within = within

        return lambda: self._take_in(log, case, before, plan, item)

    def _first(self, log: Appending, record: VerdictRecord) -> list[tuple[str, str]]:
        """The entries that never made a case before."""
        pairs = [(match.list, match.entry_id) for match in record.matches if not match.shadow]
        return [pair for pair in pairs if not self.store.made_by(log.txn, "/".join(pair), 1)]

    def tell(self, log: Appending, subject: Subject, *, told_by: str, tier: int) -> Case:
        """The case of what a person told of: opened, or joined, as after a match; nothing is done before a person
        confirms it."""
        before, case = self._open_or_join(log, subject)
        case.told_by = told_by
        item = CaseItem(verdict_id=told_by, at=convert.timestamp(log.at), subject=subject)
        clocks = self._clocks[tier] if self._clocks else Clocks(FALLBACK.acknowledge, FALLBACK.decide)
        plan = told_plan(clocks, tier, *self._reports_to(subject.region))
        self._take_in(log, case, before, plan, item)
        return case

    def _open_or_join(self, log: Appending, subject: Subject) -> tuple[Case | None, Case]:
        """A subject's case before, None where it is new, and to be changed."""
        latest, case = self.store.latest_of(log.txn, subject), Case()
        if latest is not None and state_of(latest) in life.UNDECIDED and latest.items < MAX_ITEMS:
            case.CopyFrom(latest)
            return latest, case
        case.id = clock.new_id("c")
        case.prior_case_id = latest.id if latest is not None else ""
        case.subject.CopyFrom(about(subject))
        case.detected_at.CopyFrom(convert.timestamp(log.at))
        case.state = CaseState.CASE_STATE_NEW
        return None, case

    def _take_in(self, log: Appending, case: Case, before: Case | None, plan: Plan, item: CaseItem) -> None:
        joined = before is not None
        urge(case, plan, log.at)
        known = case.clusters
        item.cluster, renumbered = cluster(case, list(item.entries))
        if renumbered:
            moved = [one for one in self.store.items(log.txn, case.id) if one.cluster in renumbered]
            for one in moved:
                one.cluster = renumbered[one.cluster]
            self.store.put_items(log.txn, case.id, {one.verdict_id: one for one in moved})
        self._instruct(log, case, plan, item)
        self._keep_evidence(log, case, item)
        self.store.add_item(log.txn, case, item)
        if joined:
            case.state = CaseState.Value(f"CASE_STATE_{life.after(state_of(case), Step.JOIN)}")
            if case.uncontained:
                case.ClearField("contained_at")
        self._log(log, case, Step.JOIN if joined else Step.OPEN, SERVICE, [item.verdict_id], plan.rules)
        if state_of(case) is State.SECOND_REVIEW and item.cluster > known:
            # No copy of what the first person saw: two are to decide the same.
            self._step(log, case, Step.VOID, SERVICE, ["SOMETHING_ELSE_JOINED"])
            case.reviews_before = len(case.reviews)
        if plan.report_unreviewed:
            self._file(log, case)
        self._settle(log, case)
        self.store.put(log.txn, case, before)

    def _keep_evidence(self, log: Appending, case: Case, item: CaseItem) -> None:
        """Notes what is kept sealed of an item: it was sealed before the verdict was written."""
        try:
            kept = self._evidence(item.verdict_id)
        except HashmatchError as e:  # a vault that fails costs the evidence, and never the match
            trace.error("evidence of verdict %s is not known: %s", item.verdict_id, e)
            kept = None
        if kept is None:
            return
        item.evidence, item.evidence_bytes = kept.sha256, kept.size
        event = Event()
        said = event.evidence_kept
        said.case_id, said.verdict_id, said.key_id = case.id, item.verdict_id, kept.key_id
        said.content_digest = self._sealing.fingerprint_digest("sha256", kept.sha256)
        said.size = kept.size
        log.append(event)

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
        self._not_asked(log, case_id, by)
        if (other := holder(case, log.at)) not in ("", by):
            raise Refused(f"{other} has it until {case.lease_until.ToDatetime(UTC):%H:%M} UTC")
        if spelling(by) in {spelling(review.by) for review in this_round(case)}:
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
        if state_of(case) is State.ESCALATED and case.second_review and spelling(by) == spelling(case.escalated_by):
            raise Refused(f"{by} escalated it: another person must decide")
        before_look = DIFFERED in case.second_review and state_of(case) is State.ESCALATED
        if before_look and spelling(by) in {spelling(review.by) for review in case.reviews}:
            raise Refused(f"{by} decided it before the second look: another person must")
        opinions = [Opinion(review.by, review.decision == DECISION_CONFIRM) for review in this_round(case)]
        step = life.decision(
            state_of(case), opinions, Opinion(by, confirm), second=bool(case.second_review),
            escalated_by=case.escalated_by,
        )  # fmt: skip
        self._may(case, step, roles)
        review = case.reviews.add(by=by, decision=DECISION_CONFIRM if confirm else DECISION_CLEAR, reason_codes=codes)
        review.at.CopyFrom(convert.timestamp(log.at))
        let_go(case)
        self._step(log, case, step, by, codes, note)
        self._after_decision(log, case, step)
        if self.blind is not None and step in (Step.CONFIRM, Step.CLEAR) and not case.second_review:
            self.blind.decided(log, case, list(self.outbox.of_case(log.txn, case.id)))
        self._settle(log, case)
        self.store.put(log.txn, case, before)
        return case

    def review_blind(self, log: Appending, review_id: str, *, by: str, decision: Decision.ValueType) -> BlindReview:
        """A second look, said. Where the two differ a lead is asked.

        Raises:
            NotFound, Malformed, Forbidden, Refused: as `Blind.review`.
        """
        if self.blind is None:
            raise NotFound("there is no second look of that id")
        row, differs = self.blind.review(log, review_id, by=by, decision=decision)
        before, case = self._open(log, row.case_id)
        if differs and (state_of(case), Step.REOPEN) in life.NEXT and case.reviews_before == row.round:
            self._reopen(log, case, Step.REOPEN, SERVICE, ["SECOND_LOOK_DIFFERS"])
            self._step(log, case, Step.ESCALATE, SERVICE, ["SECOND_LOOK_DIFFERS"])
            case.escalated_by = row.first_by  # who decided it the first time does not decide it the second
            if DIFFERED not in case.second_review:
                case.second_review.append(DIFFERED)
            self.store.put(log.txn, case, before)
        return row

    def escalate(
        self, log: Appending, case_id: str, *, by: str, reason_codes: Collection[str], note: str = "",
        tier: int | None = None, claimed: bool = False,
    ) -> Case:  # fmt: skip
        """The case, for a lead, and more urgent where a tier (0..3) says so; `claimed`: whoever has it.

        Raises:
            NotFound: there is none of that id.
            Malformed: no reason code.
            Refused: it is decided, or somebody else has it; or it would be less urgent.
        """
        codes = kept_codes(reason_codes)
        before, case = self._open(log, case_id)
        self._not_asked(log, case_id, by)
        if (other := holder(case, log.at)) not in ("", by) and not claimed:
            raise Refused(f"{other} has it until {case.lease_until.ToDatetime(UTC):%H:%M} UTC")
        if tier is not None and tier + 1 > case.tier:
            raise Refused(f"it is T{case.tier - 1} already: an escalation makes nothing less urgent")
        if tier is not None and tier_of(tier) != case.tier:
            case.tier = tier_of(tier)
            if self._clocks:
                hasten(case, self._clocks[tier], log.at)
        let_go(case)
        if by != SERVICE:  # else whoever escalated before could decide alone what wants two
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
        self._not_asked(log, case_id, by)
        if spelling(by) in {spelling(review.by) for review in this_round(case)}:
            raise Refused(f"{by} decided it: another person must undo that")
        step = Step.REVERSE if clear else Step.REOPEN
        if clear and cleared(case):
            raise Refused("it is cleared already")
        self._may(case, step, roles)
        self._reopen(log, case, step, by, codes, note)
        self.store.put(log.txn, case, before)
        return case

    def _not_asked(self, log: Appending, case_id: str, by: str) -> None:
        if self.blind is not None and self.blind.is_asked(log.txn, case_id, by):
            raise Refused("you are asked for a second look at this case: say that first")

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
