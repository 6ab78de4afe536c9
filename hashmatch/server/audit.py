"""AuditService: reading the log, proofs, exports, replays. Every read is an event, but the next page of one's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import grpc

from hashmatch import app, convert
from hashmatch.access.callers import CALLER
from hashmatch.app import Service
from hashmatch.audit import proofs, query
from hashmatch.audit.export import Piece, pieces
from hashmatch.errors import Malformed
from hashmatch.server.threads import Threads
from hashmatch.v1 import log_pb2, log_pb2_grpc
from hashmatch.v1.audit_pb2 import Event

Context = grpc.aio.ServicerContext[Any, Any]
PAGE, MAX_PAGE = 100, 1000  # events of one answer
THREADS, MAX_CALLS, RETRY_SECONDS = 2, 16, 1.0  # reading is quick, and never in the way of verdicts


class AuditServicer(log_pb2_grpc.AuditServiceServicer):
    """The log of one service."""

    def __init__(self, service: Service) -> None:
        self._service, self._ledger = service, service.ledger
        self._threads = Threads("reads of the log", THREADS, MAX_CALLS, RETRY_SECONDS)

    def close(self, seconds: float) -> bool:
        """Waits for the calls that have begun; False where one takes longer."""
        return self._threads.close(seconds)

    async def ListEvents(self, request: log_pb2.ListEventsRequest, context: Context) -> log_pb2.ListEventsResponse:
        convert.refuse_unknown_fields(request)
        wanted, after = query.of_request(request), _token(request.page_token)
        if request.page_size > MAX_PAGE:
            raise Malformed(f"want at most {MAX_PAGE}", field="page_size")
        if not request.page_token:
            await self._note("ListEvents", wanted.described(), opened=wanted.opens)
        found, last = await self._threads.run(query.page, self._ledger, wanted, after, request.page_size or PAGE)
        return log_pb2.ListEventsResponse(events=found, next_page_token=str(last) if last else "")

    async def GetCheckpoint(
        self, request: log_pb2.GetCheckpointRequest, context: Context
    ) -> log_pb2.GetCheckpointResponse:
        convert.refuse_unknown_fields(request)
        await self._note("GetCheckpoint")
        if request.fresh:
            await self._threads.run(self._ledger.sign)
        with self._ledger.reading() as log:
            note = log.checkpoint(request.size)
            if request.size and not note:
                raise Malformed("no checkpoint of that size was signed", field="size")
            return log_pb2.GetCheckpointResponse(checkpoint=note, origin=log.origin, key=log.verifier_key)

    async def ProveInclusion(
        self, request: log_pb2.ProveInclusionRequest, context: Context
    ) -> log_pb2.ProveInclusionResponse:
        convert.refuse_unknown_fields(request)
        by_id = request.WhichOneof("what") == "verdict_id"
        sequence = self._ledger.verdict(request.verdict_id).sequence if by_id else request.sequence
        await self._note("ProveInclusion", f"event {sequence}")
        proof = await self._threads.run(proofs.prove, self._ledger, sequence, request.size)
        with self._ledger.reading() as log:
            root = log.root(proof.size)
        return log_pb2.ProveInclusionResponse(
            sequence=proof.sequence,
            size=proof.size,
            leaf=proof.leaf,
            proof=proof.hashes,
            root=root,
            checkpoint=proof.checkpoint,
        )

    async def ProveConsistency(
        self, request: log_pb2.ProveConsistencyRequest, context: Context
    ) -> log_pb2.ProveConsistencyResponse:
        convert.refuse_unknown_fields(request)
        await self._note("ProveConsistency")
        with self._ledger.reading() as log:
            new = request.new_size or log.signed_size
            return log_pb2.ProveConsistencyResponse(
                old_size=request.old_size,
                new_size=new,
                proof=log.consistency(request.old_size, new),
                old_root=log.root(request.old_size),
                new_root=log.root(new),
                checkpoint=log.checkpoint(new),
            )

    async def ExportLog(
        self, request: log_pb2.ExportLogRequest, context: Context
    ) -> AsyncIterator[log_pb2.ExportLogResponse]:
        convert.refuse_unknown_fields(request)
        first = request.first or 1
        await self._note("ExportLog", f"since {first}")
        read = pieces(self._ledger, first)
        nothing: Piece = ("", b"")
        while (piece := await self._threads.run(next, read, nothing)) is not nothing:
            yield log_pb2.ExportLogResponse(path=piece[0], piece=piece[1])

    async def ReplayVerdict(
        self, request: log_pb2.ReplayVerdictRequest, context: Context
    ) -> log_pb2.ReplayVerdictResponse:
        convert.refuse_unknown_fields(request)
        record = self._ledger.verdict(request.verdict_id).verdict
        await self._note("ReplayVerdict", f"verdict {request.verdict_id}", opened=True)
        replay = app.replay(self._service.store, self._service.recipes)
        if request.today:
            done = await self._threads.run(partial(replay.as_now, held=self._ledger.held()), record)
        else:
            done = await self._threads.run(replay.as_then, record)
        response = log_pb2.ReplayVerdictResponse(
            verdict_id=done.verdict_id,
            differences=done.differences,
            unreplayable=done.unreplayable,
            notes=done.notes,
        )
        if done.record is not None:
            response.finding, response.disposition = done.record.finding, done.record.disposition
        return response

    async def _note(self, how: str, filter: str = "", *, opened: bool = False) -> None:
        """Logs that the log is read; only then it is.

        Raises:
            StoreFull, StoreFailed: it cannot be noted, so it is not read.
        """
        event = Event()
        read = event.log_read
        read.by, read.how, read.filter, read.opened = CALLER.get().name, how, filter, opened
        read.first, read.last = 1, self._ledger.last_sequence()
        await asyncio.shield(asyncio.wrap_future(self._ledger.record(event)))


def _token(text: str) -> int:
    if text and not (text.isascii() and text.isdigit() and len(text) < 20):
        raise Malformed("want the next_page_token of the answer before", field="page_token")
    return int(text or 0)
