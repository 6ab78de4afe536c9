"""CaseService, of inquiries: what users and agencies ask for or tell."""

from __future__ import annotations

from hashmatch import convert
from hashmatch.access.callers import CALLER
from hashmatch.audit.leaves import Appending
from hashmatch.errors import Forbidden, Malformed
from hashmatch.roles import Role
from hashmatch.server.case_calls import CaseCalls, Context, limit, person
from hashmatch.v1 import cases_pb2
from hashmatch.v1.cases_pb2 import InquiryRecord
from hashmatch.workflow.casework import Casework
from hashmatch.workflow.inquiries import Asked, take
from hashmatch.workflow.inquiry import Kind, kind_of

TELLERS = frozenset({Role.UPLOADER, Role.REVIEWER, Role.LE_LIAISON})  # who may bring what a user tells


class InquiryCalls(CaseCalls):
    """Calls about inquiries."""

    async def OpenInquiry(
        self, request: cases_pb2.OpenInquiryRequest, context: Context
    ) -> cases_pb2.OpenInquiryResponse:
        convert.refuse_unknown_fields(request)
        by, kind = person(), kind_of(request.kind)
        needed = TELLERS if kind is Kind.USER else {Role.LE_LIAISON}
        if not needed & CALLER.get().roles:
            raise Forbidden(f"an inquiry of kind {kind} needs the permission {' or '.join(sorted(needed))}")
        subject = None
        if request.HasField("subject"):  # as long as a submission's may be
            subject = convert.subject_to_wire(convert.subject_from_wire(request.subject))
        asked = Asked(
            kind=kind, agency=request.agency, contact=request.contact, reference=request.reference,
            legal_basis=request.legal_basis, jurisdiction=request.jurisdiction, scope=request.scope,
            non_disclosure=request.non_disclosure, imminent=request.imminent,
            due_by=convert.moment_in(request, "due_by"), case_ids=list(request.case_ids),
            subject=subject,
        )  # fmt: skip

        def step(log: Appending, _cases: Casework) -> InquiryRecord:
            return self._office.inquiries.receive(log, asked, by=by)

        return cases_pb2.OpenInquiryResponse(inquiry=await self._step(step))

    async def ListInquiries(
        self, request: cases_pb2.ListInquiriesRequest, context: Context
    ) -> cases_pb2.ListInquiriesResponse:
        convert.refuse_unknown_fields(request)
        wanted = limit(request.page_size)
        if not request.all:
            try:
                bytes.fromhex(request.page_token)
            except ValueError as e:
                raise Malformed("want the next_page_token of the answer before", field="page_token") from e

        def read() -> cases_pb2.ListInquiriesResponse:
            with self._ledger.env.read() as txn:
                found, following = self._office.inquiries.page(
                    txn, every=request.all, after=request.page_token, limit=wanted
                )
            return cases_pb2.ListInquiriesResponse(inquiries=found, next_page_token=following)

        return await self._threads.run(read)

    async def StepInquiry(
        self, request: cases_pb2.StepInquiryRequest, context: Context
    ) -> cases_pb2.StepInquiryResponse:
        convert.refuse_unknown_fields(request)
        by = person()

        def step(log: Appending, _cases: Casework) -> InquiryRecord:
            return take(
                self._office.inquiries, log, request.inquiry_id, request.step, by=by, said=request.text,
                counsel=request.counsel,
            )  # fmt: skip

        return cases_pb2.StepInquiryResponse(inquiry=await self._step(step))
