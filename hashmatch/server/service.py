"""MatchService: wire in, wire out. No decisions here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc

from hashmatch import clock, convert
from hashmatch.app import Service
from hashmatch.errors import Malformed
from hashmatch.hashing.registry import REGISTRY
from hashmatch.hashing.variants import QUERY_VARIANTS
from hashmatch.media import limits
from hashmatch.media.sniff import DECODED
from hashmatch.server.admission import Admission
from hashmatch.server.errors import status_of
from hashmatch.types import Wanted
from hashmatch.v1 import match_pb2, match_pb2_grpc

STREAM_WINDOW = 16  # items of one stream judged at once; more wait unread, so that flow control holds the sender back

Context = grpc.aio.ServicerContext[Any, Any]


class MatchServicer(match_pb2_grpc.MatchServiceServicer):
    def __init__(self, service: Service) -> None:
        self._service = service
        self._admission = Admission(service.settings.in_flight_bytes, service.settings.in_flight)

    async def Match(self, request: match_pb2.MatchRequest, context: Context) -> match_pb2.MatchResponse:
        return await self._judge(request, context.time_remaining())

    async def MatchStream(
        self, requests: AsyncIterator[match_pb2.MatchRequest], context: Context
    ) -> AsyncIterator[match_pb2.MatchStreamResponse]:
        answers: asyncio.Queue[match_pb2.MatchStreamResponse | None] = asyncio.Queue(STREAM_WINDOW)
        places = asyncio.Semaphore(STREAM_WINDOW)

        async def answer(request: match_pb2.MatchRequest) -> None:
            try:
                response = await self._judge(request, context.time_remaining())
                reply = match_pb2.MatchStreamResponse(request_id=response.request_id, response=response)
            except Exception as e:
                # One bad item never ends the stream: its error is its answer.
                reply = match_pb2.MatchStreamResponse(request_id=request.request_id[:128], error=status_of(e))
            await answers.put(reply)
            places.release()

        async def read() -> None:
            try:
                async with asyncio.TaskGroup() as judging:
                    async for request in requests:
                        await places.acquire()
                        judging.create_task(answer(request))
            finally:
                await answers.put(None)  # also where a message did not parse, which ends the stream

        reading = asyncio.create_task(read())
        try:
            while (reply := await answers.get()) is not None:
                yield reply
            await reading
        finally:
            reading.cancel()

    async def MatchUpload(
        self, requests: AsyncIterator[match_pb2.MatchUploadRequest], context: Context
    ) -> match_pb2.MatchResponse:
        header: match_pb2.MatchRequest | None = None
        media = bytearray()
        with self._admission.admit() as grow:
            async for part in requests:
                convert.refuse_unknown_fields(part)
                if part.WhichOneof("part") == "header":
                    if header is not None:
                        raise Malformed("the header comes once, and first", field="header")
                    header = part.header
                elif header is None:
                    raise Malformed("the header comes first", field="chunk")
                else:
                    grow(len(part.chunk))
                    media += part.chunk
                    self._bound(len(media), "chunk")
            if header is None:
                raise Malformed("the upload is empty", field="header")
            return await self._admitted(header, context.time_remaining(), bytes(media))

    async def Hash(self, request: match_pb2.HashRequest, context: Context) -> match_pb2.HashResponse:
        convert.refuse_unknown_fields(request)
        self._bound(len(request.media), "media")
        wanted = self._wanted(request)
        with self._admission.admit(len(request.media)):
            examination = await self._service.pipeline.hash(request.media, wanted, timeout=context.time_remaining())
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
        settings = self._service.settings
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
                for hash_type, recipe in sorted(self._service.recipes.items())
                if recipe.enabled
            ],
            limits=match_pb2.Limits(
                max_media_bytes=settings.max_media_bytes,
                max_pixels=dict(limits.MAX_PIXELS),
                max_frames_hashed=limits.MAX_FRAMES_HASHED,
                max_request_id_chars=convert.MAX_REQUEST_ID_CHARS,
                max_fingerprints=convert.MAX_FINGERPRINTS,
                deadline_ms=round(settings.decode_seconds * 1000),
            ),
            versions=self._service.versions,
            variants=QUERY_VARIANTS,
        )

    async def _judge(self, request: match_pb2.MatchRequest, timeout: float | None) -> match_pb2.MatchResponse:
        self._bound(len(request.media), "media")
        with self._admission.admit(len(request.media)):
            return await self._admitted(request, timeout)

    async def _admitted(
        self, request: match_pb2.MatchRequest, timeout: float | None, media: bytes | None = None
    ) -> match_pb2.MatchResponse:
        submission = convert.submission_from_wire(
            request, request_id=clock.new_id("r"), widths=self._service.widths, media=media
        )
        return convert.record_to_response(await self._service.pipeline.judge(submission, timeout=timeout))

    def _bound(self, size: int, field: str) -> None:
        most = self._service.settings.max_media_bytes
        if size > most:
            raise Malformed(f"{size} bytes of media, at most {most}", field=field)

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
