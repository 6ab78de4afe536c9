"""Cases, worked: every step checked against the table, and written in one transaction with all that follows from it."""

from __future__ import annotations

import logging
from collections.abc import Collection
from datetime import UTC, timedelta

from hashmatch import convert
from hashmatch.audit.leaves import Appending
from hashmatch.errors import Forbidden, Malformed, NotFound, Refused
from hashmatch.roles import Role
from hashmatch.store.env import Txn
from hashmatch.v1.cases_pb2 import (
    DECISION_CLEAR,
    DECISION_CONFIRM,
    BlindReview,
    Case,
    Decision,
)
from hashmatch.workflow import case as life
from hashmatch.workflow.case import Opinion, State, Step
from hashmatch.workflow.case_facts import (
    cleared,
    hasten,
    holder,
    let_go,
    state_of,
    this_round,
    tier_of,
)
from hashmatch.workflow.case_facts import reason_codes as kept_codes
from hashmatch.workflow.case_steps import SERVICE, Filing, Route
from hashmatch.workflow.drills import Drills
from hashmatch.workflow.inputs import spelling

trace = logging.getLogger(__name__)

LEASE = timedelta(minutes=30)
MAX_LEASE = timedelta(hours=12)  # a shift
DIFFERED = "a second look differed"  # why two persons must agree
MAX_ITEMS = 500  # of one case: what is done to it whole is done while verdicts wait; more are the next case's

__all__ = ["LEASE", "SERVICE", "Casework", "Filing", "Route"]


class Casework(Drills):
    """The steps of cases, inside transactions of the ledger. For any thread."""

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

    def is_blind(self, txn: Txn, case_id: str, name: str) -> bool:
        """Whether somebody is asked for a second look at a case, and must not learn what the first decided."""
        return self.blind is not None and self.blind.is_asked(txn, case_id, name)

    def _not_asked(self, log: Appending, case_id: str, by: str) -> None:
        if self.is_blind(log.txn, case_id, by):
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
