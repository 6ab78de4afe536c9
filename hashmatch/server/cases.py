"""CaseService: wire in, wire out. Every step is one transaction of the ledger, on a thread, so that verdicts go on."""

from __future__ import annotations

from datetime import timedelta

from hashmatch import convert
from hashmatch.access.callers import CALLER
from hashmatch.audit.leaves import Appending
from hashmatch.errors import Forbidden, Malformed
from hashmatch.server.case_calls import Context, limit, person
from hashmatch.server.evidence import EvidenceCalls
from hashmatch.server.evidence_lists import EvidenceListCalls
from hashmatch.server.inquiries import InquiryCalls
from hashmatch.server.kpis import KpiCalls
from hashmatch.server.pages import PageCalls
from hashmatch.server.policies import PolicyCalls
from hashmatch.server.reports import ReportCalls
from hashmatch.v1 import cases_pb2, cases_pb2_grpc
from hashmatch.v1.cases_pb2 import DECISION_CLEAR, DECISION_CONFIRM, Case, DispatchRecord, HoldRecord
from hashmatch.workflow.blind import undecided
from hashmatch.workflow.casework import LEASE, Casework
from hashmatch.workflow.containment import tell_containment

MAX_ITEMS = 1000


class CaseServicer(
    EvidenceCalls,
    EvidenceListCalls,
    InquiryCalls,
    KpiCalls,
    PageCalls,
    PolicyCalls,
    ReportCalls,
    cases_pb2_grpc.CaseServiceServicer,
):
    """The cases of one service."""

    async def ListCases(self, request: cases_pb2.ListCasesRequest, context: Context) -> cases_pb2.ListCasesResponse:
        convert.refuse_unknown_fields(request)
        wanted = limit(request.page_size)
        try:
            after = bytes.fromhex(request.page_token)
        except ValueError as e:
            raise Malformed("want the next_page_token of the answer before", field="page_token") from e

        caller = CALLER.get().name

        def read() -> cases_pb2.ListCasesResponse:
            with self._ledger.env.read() as txn:
                found, following = self._cases.store.page(
                    txn, states=set(request.states), tiers=set(request.tiers), assignee=request.assignee, after=after,
                    limit=wanted,
                )  # fmt: skip
                asked = {case.id for case in found if self._blind(txn, case.id, caller)}
            if request.states:  # which it is in would tell what was decided
                found = [case for case in found if case.id not in asked]
            found = [undecided(case) if case.id in asked else case for case in found]
            for case in found:
                case.ClearField("cluster_of")  # up to a thousand entries of each; GetCase has them
            return cases_pb2.ListCasesResponse(cases=found, next_page_token=following.hex())

        return await self._threads.run(read)

    async def GetCase(self, request: cases_pb2.GetCaseRequest, context: Context) -> cases_pb2.GetCaseResponse:
        convert.refuse_unknown_fields(request)

        caller = CALLER.get().name

        def read() -> cases_pb2.GetCaseResponse:
            with self._ledger.env.read() as txn:
                case = self._cases.store.get(txn, request.case_id)
                if self._blind(txn, case.id, caller):
                    items = list(self._cases.store.items(txn, case.id, MAX_ITEMS))
                    for item in items:
                        item.ClearField("deferred")  # of what is confirmed nothing waits any more
                    return cases_pb2.GetCaseResponse(case=undecided(case), items=items)
                items = list(self._cases.store.items(txn, case.id, MAX_ITEMS))
                sent = list(self._cases.outbox.of_case(txn, case.id))
                tell_containment(items, sent)
                return cases_pb2.GetCaseResponse(
                    case=case, items=items, dispatches=sent[:MAX_ITEMS], holds=self._cases.store.holds(txn, case.id)
                )

        return await self._threads.run(read)

    async def ClaimCase(self, request: cases_pb2.ClaimCaseRequest, context: Context) -> cases_pb2.ClaimCaseResponse:
        convert.refuse_unknown_fields(request)
        lease = timedelta(seconds=request.lease_seconds) if request.lease_seconds else LEASE
        by = person()
        case = await self._step(lambda log, cases: cases.claim(log, request.case_id, by=by, lease=lease))
        return cases_pb2.ClaimCaseResponse(case=case)

    async def UnclaimCase(
        self, request: cases_pb2.UnclaimCaseRequest, context: Context
    ) -> cases_pb2.UnclaimCaseResponse:
        convert.refuse_unknown_fields(request)
        by = person()
        case = await self._step(lambda log, cases: cases.unclaim(log, request.case_id, by=by))
        return cases_pb2.UnclaimCaseResponse(case=case)

    async def DecideCase(self, request: cases_pb2.DecideCaseRequest, context: Context) -> cases_pb2.DecideCaseResponse:
        convert.refuse_unknown_fields(request)
        if request.decision not in (DECISION_CONFIRM, DECISION_CLEAR):
            raise Malformed("want DECISION_CONFIRM or DECISION_CLEAR", field="decision")
        by, roles = person(), CALLER.get().roles

        def step(log: Appending, cases: Casework) -> Case:
            return cases.decide(
                log, request.case_id, confirm=request.decision == DECISION_CONFIRM, by=by, roles=roles,
                reason_codes=request.reason_codes, note=request.note, items_seen=request.items_seen,
            )  # fmt: skip

        return cases_pb2.DecideCaseResponse(case=await self._step(step))

    async def EscalateCase(
        self, request: cases_pb2.EscalateCaseRequest, context: Context
    ) -> cases_pb2.EscalateCaseResponse:
        convert.refuse_unknown_fields(request)
        by = person()
        if request.tier not in range(5):
            raise Malformed("want TIER_T0 to TIER_T3", field="tier")

        def step(log: Appending, cases: Casework) -> Case:
            return cases.escalate(
                log, request.case_id, by=by, reason_codes=request.reason_codes, note=request.note,
                tier=request.tier - 1 if request.tier else None,
            )  # fmt: skip

        return cases_pb2.EscalateCaseResponse(case=await self._step(step))

    async def ReopenCase(self, request: cases_pb2.ReopenCaseRequest, context: Context) -> cases_pb2.ReopenCaseResponse:
        convert.refuse_unknown_fields(request)
        by, roles = person(), CALLER.get().roles

        def step(log: Appending, cases: Casework) -> Case:
            return cases.reopen(
                log, request.case_id, by=by, roles=roles, reason_codes=request.reason_codes, note=request.note,
                clear=request.clear,
            )  # fmt: skip

        return cases_pb2.ReopenCaseResponse(case=await self._step(step))

    async def RecordReport(
        self, request: cases_pb2.RecordReportRequest, context: Context
    ) -> cases_pb2.RecordReportResponse:
        convert.refuse_unknown_fields(request)
        by = person()

        def step(log: Appending, cases: Casework) -> Case:
            return cases.record_report(
                log, request.case_id, authority=request.authority, receipt=request.receipt, by=by, duty=request.duty
            )

        return cases_pb2.RecordReportResponse(case=await self._step(step))

    async def HoldCase(self, request: cases_pb2.HoldCaseRequest, context: Context) -> cases_pb2.HoldCaseResponse:
        convert.refuse_unknown_fields(request)
        by = person()
        until = convert.moment_in(request, "until")

        def step(log: Appending, cases: Casework) -> HoldRecord:
            return cases.holding.place(
                log, request.case_id, kind=request.kind, ground=request.ground, by=by,
                reference=request.authority_reference, until=until, jurisdiction=request.jurisdiction,
            )  # fmt: skip

        return cases_pb2.HoldCaseResponse(hold=await self._step(step))

    async def ReleaseHold(
        self, request: cases_pb2.ReleaseHoldRequest, context: Context
    ) -> cases_pb2.ReleaseHoldResponse:
        convert.refuse_unknown_fields(request)
        by = person()

        def step(log: Appending, cases: Casework) -> HoldRecord:
            return cases.holding.release(log, request.case_id, request.hold_id, by=by, reason=request.reason)

        return cases_pb2.ReleaseHoldResponse(hold=await self._step(step))

    async def ListDispatches(
        self, request: cases_pb2.ListDispatchesRequest, context: Context
    ) -> cases_pb2.ListDispatchesResponse:
        convert.refuse_unknown_fields(request)
        wanted = limit(request.page_size)

        caller = CALLER.get().name

        def read() -> cases_pb2.ListDispatchesResponse:
            with self._ledger.env.read() as txn:
                found, following = self._cases.outbox.page(
                    txn, case_id=request.case_id, states=set(request.states), after=request.page_token, limit=wanted
                )
                found = [one for one in found if not self._blind(txn, one.case_id, caller)]
            return cases_pb2.ListDispatchesResponse(dispatches=found, next_page_token=following)

        return await self._threads.run(read)

    async def ConfirmDispatch(
        self, request: cases_pb2.ConfirmDispatchRequest, context: Context
    ) -> cases_pb2.ConfirmDispatchResponse:
        convert.refuse_unknown_fields(request)
        one, failed, problem = request.dispatch_id, request.failed, request.problem
        caller, routes = CALLER.get().name, self._office.wanted.routes

        def step(log: Appending, cases: Casework) -> DispatchRecord:
            if not routes.may_confirm(cases.outbox.get(log.txn, one).destination, caller):
                raise Forbidden("another key confirms what was sent there")
            return cases.confirm(log, one, failed=failed, problem=problem)

        done = await self._step(step)
        return cases_pb2.ConfirmDispatchResponse(dispatch=done)

    async def RetryDispatch(
        self, request: cases_pb2.RetryDispatchRequest, context: Context
    ) -> cases_pb2.RetryDispatchResponse:
        convert.refuse_unknown_fields(request)
        one = request.dispatch_id
        person()
        done = await self._step(lambda log, cases: cases.retry(log, one))
        return cases_pb2.RetryDispatchResponse(dispatch=done)

    async def AcceptDispatch(
        self, request: cases_pb2.AcceptDispatchRequest, context: Context
    ) -> cases_pb2.AcceptDispatchResponse:
        convert.refuse_unknown_fields(request)
        one, why, by = request.dispatch_id, request.why, person()
        done = await self._step(lambda log, cases: cases.accept(log, one, by=by, why=why))
        return cases_pb2.AcceptDispatchResponse(dispatch=done)
