"""What every step of a case does: checked against the table, written in the caller's transaction, told in the log."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime
from typing import Protocol

from hashmatch import convert
from hashmatch.audit.leaves import Appending
from hashmatch.audit.sealing import Sealing
from hashmatch.store.env import Env, Txn
from hashmatch.v1.audit_pb2 import Event, VerdictRecord
from hashmatch.v1.cases_pb2 import Case, CaseState
from hashmatch.v1.common_pb2 import Subject
from hashmatch.workflow import case as life
from hashmatch.workflow.blind import Blind
from hashmatch.workflow.case import State, Step
from hashmatch.workflow.case_facts import cleared, state_of
from hashmatch.workflow.case_store import CaseStore
from hashmatch.workflow.hold_table import DUTIES, Kind
from hashmatch.workflow.holding import Holding
from hashmatch.workflow.outbox import Outbox
from hashmatch.workflow.plan import Clocks, Jurisdiction, Plan

SERVICE = "hashmatch"  # who makes the service's own steps, in the log
MAX_NOTE = 4000  # characters of what a person wrote

Watch = Callable[[Step, Case, datetime, Sequence[str]], None]
"""Told of a step before it is written, with its reason codes; it may yet be undone with its transaction."""

Route = Callable[[str], Iterable[str]]
"""The destinations that want a verb."""


class Planning(Protocol):
    """What policy wants."""

    def __call__(self, record: VerdictRecord, now: datetime, *, first: Collection[tuple[str, str]] = ()) -> Plan | None:
        """Of a verdict, at that time; None: nothing. `first`: list and entry of those that never made a case before."""


class Kept(Protocol):
    """What is kept sealed of one submission."""

    @property
    def key_id(self) -> bytes:
        """Which key it is sealed by."""

    @property
    def sha256(self) -> bytes:
        """Of what was uploaded."""

    @property
    def size(self) -> int:
        """Bytes."""


class Filing(Protocol):
    """Files reports, in the transaction of what asks for them."""

    def queue(self, log: Appending, case: Case) -> bool:
        """What a case is about is to be reported to its `authority`, each item once for each round of decision; whether
        something is yet to be filed."""

    def call_off(self, log: Appending, case: Case, by: str) -> None:
        """What was not filed yet is not to be."""

    def waits(self, txn: Txn, case_id: str) -> bool:
        """Whether something is yet to be filed."""

    def finished(self, log: Appending, case_id: str) -> str | None:
        """The receipt, once nothing of a case is left to be filed; None before, or where nothing was filed."""


class Steps:
    """Steps of cases, inside transactions of the ledger. For any thread."""

    def __init__(
        self,
        env: Env,
        sealing: Sealing,
        plan: Planning,
        route: Route = lambda _verb: (),
        filing: Filing | None = None,
        clocks: Sequence[Clocks] = (),
        evidence: Callable[[str], Kept | None] = lambda _verdict_id: None,
        reports_to: Callable[[str], tuple[str, Jurisdiction | None]] = lambda _region: ("", None),
        blind: Blind | None = None,
    ) -> None:
        """
        Args:
            plan: what policy wants of a verdict; None: nothing, then there is no case.
            filing: files what a case is about; None: a person does that elsewhere.
            clocks: of T0..T3, that begin when a case is made more urgent.
            evidence: what is kept sealed of a submission, by its verdict's id; None: nothing is.
            reports_to: whom a confirmed case is reported to that no match opened, by its region, "" for nobody; and
                the row of the policy's jurisdictions that says so.
            blind: asks others for second looks; None: nobody is asked.
        """
        self.watch: Watch = lambda _step, _case, _at, _codes: None  # told of every step; set before there is one
        self.store, self.outbox = CaseStore(env, sealing), Outbox(env, sealing)
        self.holding = Holding(self.store)
        self._sealing, self._plan, self._route, self._filing = sealing, plan, route, filing
        self._clocks, self._evidence, self._reports_to, self.blind = clocks, evidence, reports_to, blind

    def _send(self, log: Appending, case: Case, verb: str, verdict_id: str, subject: Subject, reason: str) -> None:
        destinations = list(self._route(verb))
        if not destinations and verb not in case.unrouted:
            case.unrouted.append(verb)
        if destinations and verb in case.unrouted:
            case.unrouted.remove(verb)
        for destination in destinations:
            self.outbox.request(
                log, case, verb=verb, destination=destination, verdict_id=verdict_id, about=subject, reason=reason
            )

    def _file(self, log: Appending, case: Case) -> None:
        if case.authority and self._filing is not None and self._filing.queue(log, case):
            case.ClearField("reported_at")

    def report_waits(self, txn: Txn, case_id: str) -> bool:
        """Whether something of a case is yet to be filed, or may still be."""
        return self._filing is not None and self._filing.waits(txn, case_id)

    def _call_off(self, log: Appending, case: Case, by: str) -> None:
        """What was not filed yet is not to be; what was filed is noted, where it waited for the rest."""
        if self._filing is None:
            return
        self._filing.call_off(log, case, by)
        if (receipt := self._filing.finished(log, case.id)) is not None:
            self._note_report(log, case, receipt)

    def _note_report(self, log: Appending, case: Case, receipt: str, duty: str = "") -> None:
        """The report that was due is finished: the duty to keep begins, once."""
        if case.HasField("reported_at"):
            return
        case.reported_at.CopyFrom(convert.timestamp(log.at))
        self._begin_duty(log, case, duty or case.duty or Kind.US_REPORT, receipt)
        if state_of(case) is not State.CONFIRMED:
            self._step(log, case, Step.REPORT, SERVICE)

    def _begin_duty(self, log: Appending, case: Case, duty: str, receipt: str) -> None:
        for kind in DUTIES[Kind(duty)]:
            self.holding.place(
                log, case.id, kind=kind, ground="the finished report", by=SERVICE, since=log.latest,
                reference=receipt or case.id,
            )  # fmt: skip

    def _open(self, log: Appending, case_id: str) -> tuple[Case, Case]:
        before, case = self.store.get(log.txn, case_id), Case()
        case.CopyFrom(before)
        return before, case

    def _step(self, log: Appending, case: Case, step: Step, by: str, codes: Iterable[str] = (), note: str = "") -> None:
        case.state = CaseState.Value(f"CASE_STATE_{life.after(state_of(case), step)}")
        self._log(log, case, step, by, (), codes, note)

    def _log(
        self, log: Appending, case: Case, step: Step, by: str, verdict_ids: Iterable[str], codes: Iterable[str] = (),
        note: str = "",
    ) -> None:  # fmt: skip
        codes = list(codes)
        self.watch(step, case, log.at, codes)
        event = Event()
        said = event.case_step
        said.case_id, said.step, said.state, said.by = case.id, step.value, state_of(case).value, by
        said.verdict_ids.extend(verdict_ids)
        said.reason_codes.extend(codes)
        if note:
            self._sealing.seal_text(log.txn, event, case.subject, note[:MAX_NOTE], log.at)
        log.append(event)

    def _settle(self, log: Appending, case: Case) -> None:
        """Makes the service's own steps that are due."""
        while True:
            contained = not case.uncontained
            step = life.due(
                state_of(case), contained=contained, report_due=bool(case.authority),
                reported=case.HasField("reported_at"), unsettled=case.unsettled,
            )  # fmt: skip
            if contained and not case.HasField("contained_at") and not cleared(case):
                case.contained_at.CopyFrom(convert.timestamp(log.at))
            if step is None:
                return
            self._step(log, case, step, SERVICE)
            if step is Step.CLOSE:
                case.closed_at.CopyFrom(convert.timestamp(log.latest))
