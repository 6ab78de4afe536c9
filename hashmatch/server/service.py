"""MatchService: wire in, wire out. No decisions here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack
from functools import partial
from typing import Any, TypeVar

import grpc

from hashmatch import convert
from hashmatch.access.callers import CALLER
from hashmatch.app import Service
from hashmatch.errors import HashmatchError, Malformed, OverBudget, Overloaded
from hashmatch.hashing.registry import REGISTRY
from hashmatch.hashing.variants import QUERY_VARIANTS
from hashmatch.media import limits
from hashmatch.media.sniff import DECODED
from hashmatch.server.errors import status_of
from hashmatch.server.judge import Judge
from hashmatch.server.upload import in_time
from hashmatch.types import Wanted
from hashmatch.v1 import match_pb2, match_pb2_grpc

STREAM_WINDOW = 16  # items of one stream judged at once; more wait unread, so that flow control holds the sender back
STREAM_WAIT = 10.0  # seconds that an item of a stream without a deadline waits for room, before it is refused

T = TypeVar("T")
Context = grpc.aio.ServicerContext[Any, Any]


class MatchServicer(match_pb2_grpc.MatchServiceServicer):
    def __init__(self, service: Service, judge: Judge) -> None:
        self._service, self._judge = service, judge

    async def Match(self, request: match_pb2.MatchRequest, context: Context) -> match_pb2.MatchResponse:
        return await self._judge.one(request, context.time_remaining())

    async def MatchStream(
        self, requests: AsyncIterator[match_pb2.MatchRequest], context: Context
    ) -> AsyncIterator[match_pb2.MatchStreamResponse]:
        answers: asyncio.Queue[match_pb2.MatchStreamResponse | None] = asyncio.Queue(STREAM_WINDOW)
        places = asyncio.Semaphore(STREAM_WINDOW)

        async def answer(request: match_pb2.MatchRequest, place: Callable[[], ExitStack]) -> None:
            try:
                with place():
                    response = await self._patiently(partial(self._admitted, request, context), context)
                reply = match_pb2.MatchStreamResponse(request_id=response.request_id, response=response)
            except Exception as e:
                # One bad item never ends the stream: its error is its answer.
                self._judge.failed(e)
                reply = match_pb2.MatchStreamResponse(request_id=request.request_id[:128], error=status_of(e))
            await answers.put(reply)
            places.release()

        async def read() -> None:
            try:
                async with asyncio.TaskGroup() as judging:
                    async for request in requests:
                        await places.acquire()
                        # Before the next one is read: so all but one item of a stream are admitted, bytes and all.
                        judging.create_task(answer(request, await self._place(request, context)))
                        del request  # up to a window of them is enough
            except asyncio.CancelledError:
                raise  # nobody reads answers any more, and there may be no room for one
            except BaseException:
                await answers.put(None)  # a message did not parse, which ends the stream
                raise
            await answers.put(None)

        reading = asyncio.create_task(read())
        try:
            while (reply := await answers.get()) is not None:
                yield reply
            await reading
        finally:
            reading.cancel()

    async def _place(self, request: match_pb2.MatchRequest, context: Context) -> Callable[[], ExitStack]:
        """A place that is held for an item of a stream; or what raises why it has none.

        Raises, when it is called:
            Unauthenticated: the caller's key was revoked meanwhile; so is every item that follows.
            OverBudget: the caller's own limit holds for items as for calls.
            Malformed, Overloaded: it is too long, or there was no room for too long.
        """
        held = ExitStack()

        async def enter() -> None:
            held.enter_context(self._judge.place(request))

        try:
            self._judge.spend()
            await self._patiently(enter, context)
        except HashmatchError as e:
            failure = e

            def refuse() -> ExitStack:
                raise failure

            return refuse
        return lambda: held

    async def _admitted(self, request: match_pb2.MatchRequest, context: Context) -> match_pb2.MatchResponse:
        return await self._judge.admitted(request, context.time_remaining())

    @staticmethod
    async def _patiently(attempt: Callable[[], Awaitable[T]], context: Context) -> T:
        """What comes of it once there is room: an item of a stream waits instead of being refused, so its sender is
        slowed.

        Raises:
            Overloaded: there was none for too long.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + STREAM_WAIT
        while True:
            left = context.time_remaining()
            try:
                return await attempt()
            except OverBudget:
                raise
            except Overloaded as e:
                pause = min(e.retry_after, 1.0)
                if loop.time() + pause >= until or (left is not None and pause >= left):
                    raise
                await asyncio.sleep(pause)

    async def MatchUpload(
        self, requests: AsyncIterator[match_pb2.MatchUploadRequest], context: Context
    ) -> match_pb2.MatchResponse:
        header: match_pb2.MatchRequest | None = None
        with self._judge.upload() as upload:
            async for part in in_time(requests, "chunk"):
                convert.refuse_unknown_fields(part)
                if part.WhichOneof("part") == "header":
                    if header is not None:
                        raise Malformed("the header comes once, and first", field="header")
                    header = part.header
                elif header is None:
                    raise Malformed("the header comes first", field="chunk")
                else:
                    await upload.receive(part.chunk, "chunk")
            if header is None:
                raise Malformed("the upload is empty", field="header")
            return await self._judge.uploaded(header, context.time_remaining(), upload)

    async def Hash(self, request: match_pb2.HashRequest, context: Context) -> match_pb2.HashResponse:
        convert.refuse_unknown_fields(request)
        self._judge.bound(len(request.media), "media")
        wanted = self._wanted(request)
        with self._judge.admit(len(request.media)):
            examination = await self._service.pipeline.hash(
                request.media, wanted, timeout=context.time_remaining(), share=CALLER.get().share
            )
        rows = convert.examination_to_wire(examination, every_variant=bool(request.variants))
        asked = set(request.hash_types)
        return match_pb2.HashResponse(
            hashed=[row for row in rows if not asked or row.hash_type in asked],
            media_type=examination.media_type,
            width=examination.width,
            height=examination.height,
            frames=examination.frames,
        )

    async def GetCapabilities(
        self, request: match_pb2.GetCapabilitiesRequest, context: Context
    ) -> match_pb2.GetCapabilitiesResponse:
        convert.refuse_unknown_fields(request)
        return capabilities(self._service)

    def _wanted(self, request: match_pb2.HashRequest) -> Wanted:
        for i, hash_type in enumerate(request.hash_types):
            if hash_type not in self._service.widths:
                known = ", ".join(sorted(self._service.widths))
                raise Malformed(f"unknown hash type; this server knows {known}", field=f"hash_types[{i}]")
        for i, variant in enumerate(request.variants):
            if variant not in QUERY_VARIANTS:
                raise Malformed(f"unknown variant; known: {', '.join(QUERY_VARIANTS)}", field=f"variants[{i}]")
        enabled = self._service.pipeline.wanted(()).hash_types
        wanted = tuple(t for t in enabled if not request.hash_types or t in request.hash_types)
        return Wanted(wanted, frozenset(request.variants))


def capabilities(service: Service) -> match_pb2.GetCapabilitiesResponse:
    """Formats, hash types, limits, versions."""
    settings = service.settings
    return match_pb2.GetCapabilitiesResponse(
        media_types=sorted(DECODED),
        hash_types=[
            match_pb2.HashTypeCapability(
                hash_type=hash_type,
                value_bytes=recipe.value_bytes,
                ceiling=recipe.ceiling,
                default_threshold=recipe.default_threshold,
                min_quality=recipe.min_quality,
                computed=hash_type in REGISTRY,
            )
            for hash_type, recipe in sorted(service.recipes.items())
            if recipe.enabled
        ],
        limits=match_pb2.Limits(
            max_media_bytes=settings.max_media_bytes,
            max_pixels=dict(limits.MAX_PIXELS),
            max_frames_hashed=limits.MAX_FRAMES_HASHED,
            max_request_id_chars=convert.MAX_REQUEST_ID_CHARS,
            max_fingerprints=convert.MAX_FINGERPRINTS,
            deadline_ms=round(settings.decode_seconds * 1000),
            stream_window=STREAM_WINDOW,
        ),
        versions=service.versions,
        variants=QUERY_VARIANTS,
    )
