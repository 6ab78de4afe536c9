"""What others make of a case: the platform confirms, an authority files, a clock passes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC
from functools import partial

from hashmatch import clock
from hashmatch.audit.leaves import Appending
from hashmatch.errors import Malformed, Refused
from hashmatch.store.env import Txn
from hashmatch.v1.audit_pb2 import Event
from hashmatch.v1.cases_pb2 import Case, DispatchRecord
from hashmatch.workflow import case as life
from hashmatch.workflow import outbox as sending
from hashmatch.workflow.case import State, Step
from hashmatch.workflow.case_facts import cleared, met, state_of, tier_of
from hashmatch.workflow.case_steps import SERVICE
from hashmatch.workflow.consequences import Consequences, ever_cleared, needless
from hashmatch.workflow.hold_table import DUTIES
from hashmatch.workflow.inputs import text
from hashmatch.workflow.outbox import CONTAINING, Outbox
from hashmatch.workflow.plan import UNDO

MAX_WHY = 200

trace = logging.getLogger(__name__)


class Outcomes(Consequences):
    """Steps of cases that no reviewer takes."""

    def dispatched(
        self, log: Appending, change: Callable[[Outbox], DispatchRecord], dispatch_id: str
    ) -> DispatchRecord:
        """An instruction, after `change`; its case knows of it."""
        earlier = self.outbox.get(log.txn, dispatch_id)
        was, was_settled, was_over = sending.state_of(earlier), _settled(earlier), _over(earlier)
        one = change(self.outbox)
        became = sending.state_of(one)
        if became is sending.State.FAILED and became is not was:
            one = self._unless_needless(log, one)
        late = was is sending.State.FAILED and became is sending.State.CONFIRMED
        over = int(_over(one)) - int(was_over)
        settled = int(_settled(one)) - int(was_settled)
        if over or settled or late:
            before, case = self._open(log, one.case_id)
            case.unsettled -= settled
            case.uncontained -= over * (one.verb in CONTAINING)
            if late and cleared(case):
                self._undo(log, case)  # it was thought not to have been done, so nobody asked for its undoing
            self._settle(log, case)
            self.store.put(log.txn, case, before)
        return one

    def _unless_needless(self, log: Appending, one: DispatchRecord) -> DispatchRecord:
        """What cannot be done, accepted by the service where it is not to be done any more."""
        instead = self.undone(log.txn, one.case_id).get(one.id)
        why = needless(self.store.get(log.txn, one.case_id), one, instead)
        return self.outbox.supersede(log, one.id, by=SERVICE, why=why) if why else one

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
            Refused: it is on its way, or done, or was undone since, or its case was cleared.
        """
        one = self.outbox.get(log.txn, dispatch_id)
        if instead := sending.undone(self.outbox.of_case(log.txn, one.case_id)).get(one.id):
            raise Refused(f"it was undone since by {instead}: it is not sent any more")
        if one.verb in UNDO and cleared(self.store.get(log.txn, one.case_id)):
            raise Refused("its case was cleared since: it is not sent any more")
        return self.dispatched(log, lambda box: box.retry(log, dispatch_id), dispatch_id)

    def undone(self, txn: Txn, case_id: str) -> Mapping[str, str]:
        """The instructions of a case that were undone since, each with what undoes it."""
        if not ever_cleared(self.store.get(txn, case_id)):
            return {}  # as nearly every case: its instructions need not be looked at
        return sending.undone(self.outbox.of_case(txn, case_id))

    def still_wanted(self, log: Appending, taken: Iterable[DispatchRecord]) -> list[DispatchRecord]:
        """Those of what was taken that are to be sent; what was undone since ends instead."""
        by_case: dict[str, Mapping[str, str]] = {}
        wanted = []
        for one in taken:
            if one.case_id not in by_case:
                by_case[one.case_id] = self.undone(log.txn, one.case_id)
            instead = by_case[one.case_id].get(one.id)
            if instead is None:
                wanted.append(one)
            else:
                why = f"undone since by {instead}"
                change = partial(Outbox.supersede, log=log, dispatch_id=one.id, by=SERVICE, why=why)
                self.dispatched(log, change, one.id)
        return wanted

    def accept(self, log: Appending, dispatch_id: str, *, by: str, why: str) -> DispatchRecord:
        """Says that what was given up stays undone: its case need not wait for it to be closed. What contains is not
        contained by that.

        Raises:
            NotFound: there is none of that id.
            Malformed: no reason, or too long a one.
            Refused: it was not given up, or somebody has said so.
        """
        why = text(why, "why", MAX_WHY)
        return self.dispatched(log, lambda box: box.accept(log, dispatch_id, by=by, why=why), dispatch_id)

    def reported(self, log: Appending, case_id: str, *, duty: str = "", receipt: str = "") -> Case:
        """The case, once the report that was due is finished; the clock of `duty`, a kind of hold, begins."""
        before, case = self._open(log, case_id)
        self._note_report(log, case, receipt, duty)
        self._settle(log, case)
        self.store.put(log.txn, case, before)
        return case

    def report_over(self, log: Appending, case_id: str) -> None:
        """A report of the case is filed or withdrawn: where it was the last that waited, what was filed is noted."""
        receipt = self._filing.finished(log, case_id) if self._filing is not None else None
        if receipt is not None:
            self.reported(log, case_id, receipt=receipt)

    def record_report(
        self, log: Appending, case_id: str, *, authority: str, receipt: str, by: str, duty: str = ""
    ) -> Case:
        """The case, whose report was filed elsewhere by a person.

        Raises:
            NotFound: there is none of that id.
            Malformed: no authority, no receipt, or no such duty.
            Refused: it is reported already, or was not confirmed.
        """
        for name, given in (("authority", authority), ("receipt", receipt)):
            if not given.strip() or len(given) > 100:
                raise Malformed("want 1 to 100 characters", field=name)
        if duty and duty not in DUTIES:
            raise Malformed(f"want one of {', '.join(DUTIES)}: what a finished report begins", field="duty")
        before, _ = self._open(log, case_id)
        again, name = before.HasField("reported_at"), authority.strip()
        filed = self._filing is not None and self._filing.finished(log, case_id) is not None
        known = [*before.told, *([before.authority] if filed or (again and not before.told) else [])]
        if name.casefold() in {one.casefold() for one in known}:
            raise Refused(f"it is reported to {name} already")
        if self.report_waits(log.txn, case_id):
            raise Refused("a report of it is on its way: withdraw that first")
        if state_of(before) is not State.CONFIRMED and not (again and not cleared(before)):
            raise Refused(f"the case is {state_of(before)}: what is not confirmed is not reported")
        event = Event()
        said = event.reported
        said.report_id, said.case_id, said.authority = clock.new_id("r"), case_id, authority.strip()
        said.state, said.receipt = "FINISHED", receipt.strip()
        log.append(event)
        trace.info("a report of case %s was recorded by %s", case_id, by)
        case = Case()
        case.CopyFrom(before)
        case.told.append(name)
        self.store.put(log.txn, case, before)
        if again:  # to another authority: its own duty, and nothing else changes
            if duty:
                self._begin_duty(log, case, duty, receipt.strip())
            return case
        return self.reported(log, case_id, duty=duty, receipt=receipt.strip())

    def page(self, log: Appending, case_id: str, reason: str, *, urgent: bool = False, any_tier: bool = False) -> None:
        """Pages about a case of T0 or T1, or of `any_tier`; `urgent`: about any, which is T0 from then on."""
        before, case = self._open(log, case_id)
        if urgent:
            case.tier = tier_of(0)
        if any_tier or case.tier <= tier_of(1):
            self._send(log, case, "page", "", case.subject, reason)
            self.store.put(log.txn, case, before)

    def breach(self, log: Appending, case_id: str, clock: str) -> Case:
        """The case, whose clock has passed unmet."""
        before, case = self._open(log, case_id)
        by = getattr(case, f"{clock}_by").ToDatetime(UTC)
        if clock not in case.breached and not met(case, clock) and by <= log.at:
            case.breached.append(clock)
            if (state_of(case), Step.BREACH) in life.NEXT:
                self._step(log, case, Step.BREACH, SERVICE, [clock.upper()])
                if case.tier <= tier_of(1):
                    self._send(log, case, "page", "", case.subject, f"nobody has met the clock '{clock}'")
        self.store.put(log.txn, case, before)
        return case


def _over(one: DispatchRecord) -> bool:
    """Whether what it contains is contained, or is not to be any more: it is done, or was undone since."""
    return sending.state_of(one) is sending.State.CONFIRMED or one.accepted_by == SERVICE


def _settled(one: DispatchRecord) -> bool:
    """Whether nobody need wait for it any more: it is done, or somebody has accepted that it is not."""
    return sending.state_of(one) is sending.State.CONFIRMED or bool(one.accepted_by)
