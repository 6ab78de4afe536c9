"""CaseService, of what goes to authorities: reports, holds that they ask for, packages for agencies."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Iterator

from hashmatch import convert
from hashmatch.access.callers import CALLER
from hashmatch.audit.leaves import Appending
from hashmatch.errors import Malformed
from hashmatch.server.case_calls import CaseCalls, Context, limit, person
from hashmatch.v1 import cases_pb2
from hashmatch.v1.cases_pb2 import HoldRecord
from hashmatch.v1.reports_pb2 import ReportRow, ReportState
from hashmatch.workflow.bundling import Bundled, authority_named, hand, sender_of
from hashmatch.workflow.casework import Casework
from hashmatch.workflow.disclosing import Disclosed, disclose
from hashmatch.workflow.report_attributes import ATTRIBUTES
from hashmatch.workflow.report_record import State
from hashmatch.workflow.report_store import ReportStore

MAX_DISCLOSED = 64 << 20  # bytes of evidence: a package is made in memory; the verb makes larger ones
CHUNK = 1 << 20


class ReportCalls(CaseCalls):
    """Calls about reports, holds and packages."""

    async def ListReports(
        self, request: cases_pb2.ListReportsRequest, context: Context
    ) -> cases_pb2.ListReportsResponse:
        convert.refuse_unknown_fields(request)
        wanted = limit(request.page_size)
        names = ReportState.DESCRIPTOR.values_by_number
        if not all(state in names and state for state in request.states):
            raise Malformed("want REPORT_STATE_QUEUED and the others", field="states")
        states = {State[names[state].name.removeprefix("REPORT_STATE_")] for state in request.states}

        caller = CALLER.get().name

        def read() -> cases_pb2.ListReportsResponse:
            with self._ledger.env.read() as txn:
                found, following = ReportStore(self._ledger.env).page(
                    txn, case_id=request.case_id, states=states, after=request.page_token, limit=wanted
                )
                found = [row for row in found if not self._blind(txn, row.case_id, caller)]
            return cases_pb2.ListReportsResponse(reports=found, next_page_token=following)

        return await self._threads.run(read)

    async def ResumeReport(
        self, request: cases_pb2.ResumeReportRequest, context: Context
    ) -> cases_pb2.ResumeReportResponse:
        convert.refuse_unknown_fields(request)
        by = person()
        for name in request.omit:
            if name not in ATTRIBUTES:
                raise Malformed(f"'{name[:64]}' is no attribute that is ever told", field="omit")

        def step(log: Appending, _cases: Casework) -> ReportRow:
            return ReportStore(self._ledger.env).resume(log, request.report_id, by=by, omit=request.omit)

        return cases_pb2.ResumeReportResponse(report=await self._step(step))

    async def WithdrawReport(
        self, request: cases_pb2.WithdrawReportRequest, context: Context
    ) -> cases_pb2.WithdrawReportResponse:
        convert.refuse_unknown_fields(request)
        by = person()

        def step(log: Appending, cases: Casework) -> ReportRow:
            row = ReportStore(self._ledger.env).withdraw(log, request.report_id, by=by)
            if row.case_id:
                cases.report_over(log, row.case_id)
            return row

        return cases_pb2.WithdrawReportResponse(report=await self._step(step))

    async def RenewHold(self, request: cases_pb2.RenewHoldRequest, context: Context) -> cases_pb2.RenewHoldResponse:
        convert.refuse_unknown_fields(request)
        by, until = person(), convert.moment_in(request, "until")

        def step(log: Appending, cases: Casework) -> HoldRecord:
            return cases.holding.renew(
                log, request.case_id, request.hold_id, by=by, reference=request.reference, until=until
            )

        return cases_pb2.RenewHoldResponse(hold=await self._step(step))

    async def DiscloseInquiry(
        self, request: cases_pb2.DiscloseInquiryRequest, context: Context
    ) -> AsyncIterator[cases_pb2.DiscloseInquiryResponse]:
        convert.refuse_unknown_fields(request)
        by, sealed = person(), io.BytesIO()

        def make() -> Disclosed:
            return disclose(
                self._ledger, self._cases, self._office.inquiries, self._office.evidence, request.inquiry_id,
                target=sealed, recipient=request.recipient, by=by, most=MAX_DISCLOSED, number=request.package or 1,
            )  # fmt: skip

        told = await self._fetching.run(make)  # media may have to be fetched from the platform
        for piece in _pieces(sealed):
            yield cases_pb2.DiscloseInquiryResponse(chunk=piece)
        yield cases_pb2.DiscloseInquiryResponse(
            files=told.files, manifest_digest=told.manifest_sha256, missing=told.missing, packages=told.packages
        )

    async def BundleReport(
        self, request: cases_pb2.BundleReportRequest, context: Context
    ) -> AsyncIterator[cases_pb2.BundleReportResponse]:
        convert.refuse_unknown_fields(request)
        by, archive, authority = person(), io.BytesIO(), authority_named(request.authority)
        sender = sender_of(
            self._office.wanted.reporting, declared_by=request.declared_by, company=request.company, email=request.email
        )

        def make() -> Bundled:
            return hand(
                self._ledger, self._cases, self._office.evidence, request.case_id, authority, sender=sender,
                target=archive, by=by, most=MAX_DISCLOSED,
            )  # fmt: skip

        # Media may have to be fetched from the platform.
        told = await self._fetching.run(make)
        for piece in _pieces(archive):
            yield cases_pb2.BundleReportResponse(chunk=piece)
        yield cases_pb2.BundleReportResponse(
            files=told.files, manifest_digest=told.manifest_sha256, missing=told.missing,
            without_media=told.without_media,
        )  # fmt: skip


def _pieces(made: io.BytesIO) -> Iterator[bytes]:
    """What was made, in pieces that a message may hold."""
    whole = made.getbuffer()
    for start in range(0, len(whole), CHUNK):
        yield bytes(whole[start : start + CHUNK])
