"""CaseService, of evidence as a whole: grants to see it, and what nothing keeps any more."""

from __future__ import annotations

from hashmatch import clock, convert
from hashmatch.access.callers import CALLER
from hashmatch.audit.leaves import Appending
from hashmatch.errors import Malformed
from hashmatch.evidence.record import Sealed
from hashmatch.server.case_calls import CaseCalls, Context, limit, person
from hashmatch.v1 import cases_pb2
from hashmatch.workflow import granting
from hashmatch.workflow.casework import Casework
from hashmatch.workflow.destruction import MAX_KEYS
from hashmatch.workflow.orphans import swept


class EvidenceListCalls(CaseCalls):
    """Calls that list what is about evidence."""

    async def ListGrants(self, request: cases_pb2.ListGrantsRequest, context: Context) -> cases_pb2.ListGrantsResponse:
        convert.refuse_unknown_fields(request)
        wanted, caller = limit(request.page_size), CALLER.get().name

        def read() -> cases_pb2.ListGrantsResponse:
            with self._ledger.env.read() as txn:
                if request.case_id:
                    self._cases.store.get(txn, request.case_id)
                found, following = granting.page(
                    self._ledger.env, txn, clock.now(), case_id=request.case_id, to=request.to, every=request.all,
                    after=request.page_token, limit=wanted,
                )  # fmt: skip
                found = [one for one in found if not self._blind(txn, one.case_id, caller)]
            return cases_pb2.ListGrantsResponse(grants=found, next_page_token=following)

        return await self._threads.run(read)

    async def ListDueEvidence(
        self, request: cases_pb2.ListDueEvidenceRequest, context: Context
    ) -> cases_pb2.ListDueEvidenceResponse:
        convert.refuse_unknown_fields(request)
        wanted = limit(request.page_size)
        try:
            after = bytes.fromhex(request.page_token)
        except ValueError as e:
            raise Malformed("want the next_page_token of the answer before", field="page_token") from e

        def read() -> cases_pb2.ListDueEvidenceResponse:
            with self._ledger.env.read() as txn:
                found, following = self._office.destroying.due(txn, clock.now(), after=after, limit=wanted)
            for one in found:
                one.case.ClearField("cluster_of")  # up to a thousand entries of each
            return cases_pb2.ListDueEvidenceResponse(due=found, next_page_token=following.hex())

        return await self._threads.run(read)

    async def ListOrphans(
        self, request: cases_pb2.ListOrphansRequest, context: Context
    ) -> cases_pb2.ListOrphansResponse:
        convert.refuse_unknown_fields(request)
        found = await self._fetching.run(self._orphans)
        return cases_pb2.ListOrphansResponse(
            orphans=[
                cases_pb2.Orphan(item_id=one.item_id, sealed_at=convert.timestamp(one.sealed_at), bytes=one.size)
                for one in found[:MAX_KEYS]
            ]
        )

    async def DestroyOrphans(
        self, request: cases_pb2.DestroyOrphansRequest, context: Context
    ) -> cases_pb2.DestroyOrphansResponse:
        convert.refuse_unknown_fields(request)
        by, found = person(), await self._fetching.run(self._orphans)

        def step(log: Appending, _cases: Casework) -> tuple[int, int]:
            return self._office.destroying.destroy_orphans(log, found, by=by, ground=request.ground)

        destroyed, waiting = await self._step(step)
        return cases_pb2.DestroyOrphansResponse(destroyed=destroyed, waiting=waiting)

    def _orphans(self) -> tuple[Sealed, ...]:
        return swept(self._office.vault, self._office.destroying, clock.now()).orphans
