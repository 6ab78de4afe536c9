"""CaseService, of pages and second looks: what people are asked for themselves."""

from __future__ import annotations

from hashmatch import convert
from hashmatch.access.callers import CALLER
from hashmatch.audit.leaves import Appending
from hashmatch.errors import Malformed, Refused
from hashmatch.server.case_calls import CaseCalls, Context, person
from hashmatch.v1 import cases_pb2
from hashmatch.v1.cases_pb2 import BlindReview, PageRecord
from hashmatch.workflow.casework import Casework
from hashmatch.workflow.page_record import page_to_come, page_to_record
from hashmatch.workflow.rota import Rota


class PageCalls(CaseCalls):
    """Calls about pages and second looks."""

    async def ListPages(self, request: cases_pb2.ListPagesRequest, context: Context) -> cases_pb2.ListPagesResponse:
        convert.refuse_unknown_fields(request)
        caller = CALLER.get().name

        def read() -> cases_pb2.ListPagesResponse:
            pages = self._office.pages
            with self._ledger.env.read() as txn:
                found = list(pages.all(txn) if request.all else reversed(pages.open(txn)))
                found = [row for row in found if not (row.after_decision and self._blind(txn, row.case_id, caller))]
                return cases_pb2.ListPagesResponse(pages=found)

        return await self._threads.run(read)

    async def AcknowledgePage(
        self, request: cases_pb2.AcknowledgePageRequest, context: Context
    ) -> cases_pb2.AcknowledgePageResponse:
        convert.refuse_unknown_fields(request)
        by = person()

        def step(log: Appending, _cases: Casework) -> PageRecord:
            return self._office.pages.acknowledge(log, request.page_id, by=by)

        return cases_pb2.AcknowledgePageResponse(page=await self._step(step))

    async def RaiseDrill(self, request: cases_pb2.RaiseDrillRequest, context: Context) -> cases_pb2.RaiseDrillResponse:
        convert.refuse_unknown_fields(request)
        by = person()
        if request.tier not in range(5):
            raise Malformed("want TIER_T0 to TIER_T3", field="tier")
        self._rota()

        def step(log: Appending, cases: Casework) -> PageRecord:
            return page_to_come(cases.open_drill(log, tier=max(0, request.tier - 1), by=by)[1])

        return cases_pb2.RaiseDrillResponse(page=await self._step(step))

    async def HandOver(self, request: cases_pb2.HandOverRequest, context: Context) -> cases_pb2.HandOverResponse:
        convert.refuse_unknown_fields(request)
        by, rota = person(), self._rota()

        def step(log: Appending, _cases: Casework) -> list[PageRecord]:
            given = self._office.pages.hand_over(log, rota, giver=by, taker=request.taker, note=request.note)
            return [page_to_record(page) for page in given.open]

        return cases_pb2.HandOverResponse(pages=await self._step(step))

    def _rota(self) -> Rota:
        if self._office.rota is None:
            raise Refused("nobody is on call here: the workflow's file has no table [paging]")
        return self._office.rota

    async def ListBlindReviews(
        self, request: cases_pb2.ListBlindReviewsRequest, context: Context
    ) -> cases_pb2.ListBlindReviewsResponse:
        convert.refuse_unknown_fields(request)
        by = person()

        def read() -> cases_pb2.ListBlindReviewsResponse:
            blind = self._cases.blind
            with self._ledger.env.read() as txn:
                return cases_pb2.ListBlindReviewsResponse(reviews=blind.waiting(txn, by) if blind is not None else ())

        return await self._threads.run(read)

    async def ReviewBlind(
        self, request: cases_pb2.ReviewBlindRequest, context: Context
    ) -> cases_pb2.ReviewBlindResponse:
        convert.refuse_unknown_fields(request)
        by = person()

        def step(log: Appending, cases: Casework) -> BlindReview:
            return cases.review_blind(log, request.review_id, by=by, decision=request.decision)

        return cases_pb2.ReviewBlindResponse(review=await self._step(step))
