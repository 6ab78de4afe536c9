"""CaseService, of evidence: grants, looks and destruction. A look is in the log before its picture is answered."""

from __future__ import annotations

from hashmatch import clock, convert
from hashmatch.audit.leaves import Appending
from hashmatch.errors import Malformed, NotFound, Refused
from hashmatch.media.levels import Level, NoFrame, Unviewable
from hashmatch.server.case_calls import CaseCalls, Context, person
from hashmatch.v1 import cases_pb2
from hashmatch.v1.cases_pb2 import Case, GrantRecord
from hashmatch.workflow.casework import Casework
from hashmatch.workflow.viewing import MAX_SECONDS


class EvidenceCalls(CaseCalls):
    """Calls about evidence."""

    async def AskGrant(self, request: cases_pb2.AskGrantRequest, context: Context) -> cases_pb2.AskGrantResponse:
        convert.refuse_unknown_fields(request)
        by = person()

        def step(log: Appending, _cases: Casework) -> GrantRecord:
            return self._office.viewing.ask(
                log, request.case_id, level=request.level, purpose=request.purpose, by=by, minutes=request.minutes
            )

        return cases_pb2.AskGrantResponse(grant=await self._step(step))

    async def ApproveGrant(
        self, request: cases_pb2.ApproveGrantRequest, context: Context
    ) -> cases_pb2.ApproveGrantResponse:
        convert.refuse_unknown_fields(request)
        by = person()

        def step(log: Appending, _cases: Casework) -> GrantRecord:
            return self._office.viewing.approve(log, request.case_id, request.grant_id, by=by)

        return cases_pb2.ApproveGrantResponse(grant=await self._step(step))

    async def ViewEvidence(
        self, request: cases_pb2.ViewEvidenceRequest, context: Context
    ) -> cases_pb2.ViewEvidenceResponse:
        convert.refuse_unknown_fields(request)
        by, case_id, verdict_id = person(), request.case_id, request.verdict_id
        if request.level not in ("", *Level):
            raise Malformed(f"want {', '.join(Level)}", field="level")
        level = Level(request.level or Level.BLURRED)
        if request.seconds > MAX_SECONDS:
            raise Malformed(f"want at most {MAX_SECONDS}", field="seconds")

        def fetch() -> bytes:
            with self._ledger.env.read() as txn:
                item = self._office.viewing.may(txn, case_id, verdict_id, level=level, by=by, now=clock.now())
            if self._office.evidence is None:
                raise Refused("no evidence is kept here, and no platform is named that gives it")
            found = self._office.evidence.open(item)
            if found is None:
                raise NotFound("nothing is kept of that item")
            with found[0] as file:
                return file.read()

        media = await self._fetching.run(fetch)
        shown = await self._sandbox.view(media, level, frame=request.frame, share=by)
        if isinstance(shown, NoFrame):
            raise Malformed(f"there are {shown.frames} frames", field="frame")
        if isinstance(shown, Unviewable):
            raise Refused(f"there is no picture of it: {shown.reason.name}")

        def look(log: Appending, _cases: Casework) -> GrantRecord:
            return self._office.viewing.look(
                log, case_id, verdict_id, level=level, by=by, seconds=request.seconds, frame=request.frame,
                frames=shown.frames, all_frames=shown.all_frames,
            )  # fmt: skip

        await self._step(look)
        return cases_pb2.ViewEvidenceResponse(
            picture=shown.png, media_type="image/png", width=shown.width, height=shown.height, frames=shown.frames,
            level=level,
        )  # fmt: skip

    async def DestroyEvidence(
        self, request: cases_pb2.DestroyEvidenceRequest, context: Context
    ) -> cases_pb2.DestroyEvidenceResponse:
        convert.refuse_unknown_fields(request)
        by = person()

        def step(log: Appending, _cases: Casework) -> tuple[Case, int]:
            return self._office.destroying.destroy(
                log, request.case_id, by=by, ground=request.ground, inquiry_id=request.inquiry_id
            )

        case, destroyed = await self._step(step)
        return cases_pb2.DestroyEvidenceResponse(case=case, destroyed=destroyed)
