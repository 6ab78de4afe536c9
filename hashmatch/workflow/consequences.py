"""What a decision on a case brings with it: what is asked of the platform, undone, reported, and told elsewhere."""

from __future__ import annotations

from hashmatch import convert
from hashmatch.audit.leaves import Appending
from hashmatch.v1.cases_pb2 import DECISION_CLEAR, Case, DispatchRecord
from hashmatch.v1.common_pb2 import Subject
from hashmatch.workflow import case as life
from hashmatch.workflow import outbox as sending
from hashmatch.workflow.case import Step
from hashmatch.workflow.case_facts import (
    cleared,
    restart,
    state_of,
    tier_of,
)
from hashmatch.workflow.case_steps import SERVICE, Steps
from hashmatch.workflow.plan import UNDO

CLEARED = "cleared"  # reason of what is asked for since it was
NOT_DONE = "its case was cleared: there is nothing to undo"  # of what the platform could not do
MAX_SIBLINGS = 200  # cases that are worked again in one transaction since an entry of theirs was cleared


class Consequences(Steps):
    """Steps of cases, and what follows from them."""

    def _after_decision(self, log: Appending, case: Case, step: Step) -> None:
        if step not in (Step.CONFIRM, Step.CLEAR):
            return
        case.decided_at.CopyFrom(convert.timestamp(log.at))
        self.store.put_feedback(log.txn, case, right=step is Step.CONFIRM)
        if step is Step.CONFIRM:
            self._file(log, case)
            self._redo(log, case)
            for verb in case.deferred:
                self._send(log, case, verb, "", case.subject, "confirmed")
            case.deferred[:] = []
            self._send_deferred(log, case)
            return
        by = case.reviews[-1].by
        self._call_off(log, case, by)
        self.holding.lift(log, case.id, by=by, report_open=self.report_waits(log.txn, case.id))
        self._undo(log, case)
        self._tell_lists(log, case, "suppress")
        self._work_siblings_again(log, case)

    def _send_deferred(self, log: Appending, case: Case) -> None:
        """Asks for what waited for a person, of each item by its own rules."""
        sent = {}
        for item in list(self.store.items(log.txn, case.id)):
            for verb in item.deferred:
                self._send(log, case, verb, item.verdict_id, item.subject, "confirmed")
            if item.deferred:
                item.deferred[:] = []
                sent[item.verdict_id] = item
        self.store.put_items(log.txn, case.id, sent)

    def _redo(self, log: Appending, case: Case) -> None:
        """Asks again for what was undone when the case was cleared before, or needed no undoing then."""
        asked: dict[tuple[str, str, str], DispatchRecord] = {}
        undone: dict[tuple[str, str, str], DispatchRecord] = {}
        suppressed = False
        for one in self.outbox.of_case(log.txn, case.id):
            suppressed = one.verb == "suppress" if one.verb in ("suppress", "unsuppress") else suppressed
            which = (one.destination, one.subject.content_id or one.verdict_id)
            if one.verb in UNDO:
                asked.setdefault((one.verb, *which), one)
                undone.pop((one.verb, *which), None)
                if sending.state_of(one) is sending.State.FAILED and one.accepted_by == SERVICE:
                    undone[(one.verb, *which)] = one
            for verb in (verb for verb, undoing in UNDO.items() if undoing == one.verb):
                if (verb, *which) in asked:
                    undone[(verb, *which)] = asked[(verb, *which)]
        for (verb, destination, _), one in undone.items():
            self.outbox.request(
                log, case, verb=verb, destination=destination, verdict_id=one.verdict_id, about=one.subject,
                reason="confirmed after all",
            )  # fmt: skip
        if suppressed:
            self._tell_lists(log, case, "unsuppress")
        self._end_undone(log, case)
        if case.uncontained:
            case.ClearField("contained_at")  # until what is asked for anew is done, too

    def _tell_lists(self, log: Appending, case: Case, verb: str) -> None:
        """Has the entries that matched set aside for a while, or no longer, each where its list is kept."""
        for destination in self._route(verb):
            for entry in sorted(case.cluster_of):
                self.outbox.request(
                    log, case, verb=verb, destination=destination, verdict_id="", about=Subject(), reason=CLEARED,
                    entry=entry,
                )  # fmt: skip

    def _undo(self, log: Appending, case: Case) -> None:
        """Asks for the undoing of everything that was asked for and not undone since, the latest first."""
        standing: dict[tuple[str, str, str], DispatchRecord] = {}
        sent = list(self.outbox.of_case(log.txn, case.id))
        over = sending.undone(sent)
        for one in sent:
            which, state = (one.destination, one.subject.content_id or one.verdict_id), sending.state_of(one)
            if one.verb in UNDO and state is not sending.State.FAILED:
                standing[(UNDO[one.verb], *which)] = one
            elif one.verb in UNDO.values():
                # What was not undone, since it was asked for anew, stands even where asking anew came to nothing.
                if state is sending.State.CONFIRMED or one.id not in over:
                    standing.pop((one.verb, *which), None)
            elif one.verb == "notify":  # who was told of it is told that it was cleared
                standing[(one.verb, *which)] = one
                if one.reason == CLEARED:
                    del standing[(one.verb, *which)]
        for (verb, destination, _), one in reversed(standing.items()):
            self.outbox.request(
                log, case, verb=verb, destination=destination, verdict_id=one.verdict_id, about=one.subject,
                reason=CLEARED,
            )  # fmt: skip
        self._end_undone(log, case)

    def _end_undone(self, log: Appending, case: Case) -> None:
        """Nobody need look at what was given up and undone since, or cannot be done and is not to be any more; and what
        undoes something waits no longer than a lease."""
        sent = {one.id: one for one in self.outbox.of_case(log.txn, case.id)}
        over = sending.undone(sent.values())
        for one in sent.values():
            why = needless(case, one, over.get(one.id))
            if sending.state_of(one) not in sending.GIVEN_UP:
                if one.id in over:
                    self.outbox.make_way(log.txn, one.id, over[one.id], log.at)
            elif why and one.accepted_by != SERVICE:
                case.unsettled -= not one.accepted_by
                case.uncontained -= one.verb in sending.CONTAINING
                self.outbox.supersede(log, one.id, by=SERVICE, why=why)

    def _work_siblings_again(self, log: Appending, case: Case) -> None:
        """What an entry that was wrong here made elsewhere is to be looked at again, in transactions of their own."""
        for entry in sorted(case.cluster_of):
            self.store.put_chore(log.txn, entry, case.id)

    def work_siblings_again(self, log: Appending, limit: int = MAX_SIBLINGS) -> int:
        """Works again at most so many of the cases that wait for it since an entry of theirs was cleared elsewhere; how
        many were looked at."""
        chore = self.store.first_chore(log.txn)
        if chore is None:
            return 0
        entry, cleared_id, done = chore
        siblings = self.store.made_by(log.txn, entry, limit, after=done)
        for sibling_id in siblings:
            before, sibling = self._open(log, sibling_id)
            wanted = (state_of(sibling), Step.REOPEN) in life.NEXT and not cleared(sibling)
            if sibling_id != cleared_id and wanted:
                self._reopen(log, sibling, Step.REOPEN, SERVICE, ["SIBLING_CLEARED"])
                self.store.put(log.txn, sibling, before)
        self.store.put_chore(log.txn, entry, cleared_id, siblings[-1] if len(siblings) == limit else None)
        return len(siblings) or 1

    def _reopen(self, log: Appending, case: Case, step: Step, by: str, codes: list[str], note: str = "") -> None:
        self._step(log, case, step, by, codes, note)
        if self.blind is not None:
            self.blind.end(log.txn, case)
        case.reviews_before = len(case.reviews)
        for name in ("closed_at", "destroy_asked_by", "destroy_ground", "destroy_inquiry_id"):
            case.ClearField(name)
        self._call_off(log, case, by)
        if step is Step.REVERSE:
            review = case.reviews.add(by=by, decision=DECISION_CLEAR, reason_codes=codes)
            review.at.CopyFrom(convert.timestamp(log.at))
            self._after_decision(log, case, Step.CLEAR)
        else:
            case.ClearField("decided_at")
            if self._clocks:
                restart(case, self._clocks[case.tier - 1], log.at)
            if case.tier == tier_of(0):
                self._send(log, case, "page", "", case.subject, "worked again")
        self._settle(log, case)


def needless(case: Case, one: DispatchRecord, instead: str | None) -> str:
    """Why nobody need look at an instruction that is not done; "": somebody must. `instead` undoes it."""
    if instead is not None:
        return f"undone since by {instead}"
    failed = sending.state_of(one) is sending.State.FAILED
    return NOT_DONE if failed and one.verb in UNDO and cleared(case) else ""


def ever_cleared(case: Case) -> bool:
    """Whether anything of it can have been undone, whatever was decided since."""
    return any(review.decision == DECISION_CLEAR for review in case.reviews)
