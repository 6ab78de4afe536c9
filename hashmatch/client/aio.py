"""The client for asyncio; `threads.py` is its twin, and says what each call does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from types import TracebackType
from typing import Any, BinaryIO, Self, TypeVar

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from hashmatch.client.channel import OPTIONS, Connected, Metadata
from hashmatch.client.errors import translated
from hashmatch.client.requests import WINDOW, match_request, media_bytes, upload_parts
from hashmatch.types import Fingerprint
from hashmatch.v1 import match_pb2, match_pb2_grpc

R = TypeVar("R")


class AsyncClient(Connected):
    """Calls a hashmatch server from one event loop. Errors are those of `hashmatch.errors`."""

    def _open(self, address: str, tls: grpc.ChannelCredentials | None) -> None:
        self._channel = (
            grpc.aio.secure_channel(address, tls, options=OPTIONS)
            if tls
            else grpc.aio.insecure_channel(address, options=OPTIONS)
        )
        self._stub: match_pb2_grpc.MatchServiceAsyncStub = match_pb2_grpc.MatchServiceStub(self._channel)
        self._health = health_pb2_grpc.HealthStub(self._channel)

    async def match(
        self, media: bytes | None = None, fingerprints: Iterable[Fingerprint] = (), **question: Any
    ) -> match_pb2.MatchResponse:
        """The verdict on one item; keyword arguments are those of `match_request`."""
        return await self.ask(match_request(media, fingerprints, **question))

    async def ask(self, request: match_pb2.MatchRequest) -> match_pb2.MatchResponse:
        """The verdict on a request made by hand."""
        return await self._call(self._stub.Match, request, media_bytes(request))

    async def stream(
        self, requests: AsyncIterable[match_pb2.MatchRequest], *, window: int = WINDOW, timeout: float | None = None
    ) -> AsyncIterator[match_pb2.MatchStreamResponse]:
        """The answers to many requests over one stream, as they are ready: as `Client.stream`."""
        places = asyncio.Semaphore(window)

        async def sending() -> AsyncIterator[match_pb2.MatchRequest]:
            async for request in requests:
                await places.acquire()
                yield request

        with translated():
            call = self._stub.MatchStream(sending(), timeout=timeout, metadata=self._metadata)
            try:
                async for answer in call:
                    places.release()
                    yield answer
            finally:
                call.cancel()

    async def upload(self, file: BinaryIO, **question: Any) -> match_pb2.MatchResponse:
        """The verdict on what a file object holds, sent in chunks: as `Client.upload`."""
        return await self._call(self._stub.MatchUpload, upload_parts(file, **question))

    async def hash(
        self, media: bytes, hash_types: Iterable[str] = (), variants: Iterable[str] = ()
    ) -> match_pb2.HashResponse:
        """Fingerprints only."""
        request = match_pb2.HashRequest(media=media, hash_types=hash_types, variants=variants)
        return await self._call(self._stub.Hash, request)

    async def capabilities(self) -> match_pb2.GetCapabilitiesResponse:
        """Formats, hash types, limits, versions."""
        return await self._call(self._stub.GetCapabilities, match_pb2.GetCapabilitiesRequest())

    async def serving(self) -> bool:
        """Whether the server may give verdicts now."""
        status = (await self._call(self._health.Check, health_pb2.HealthCheckRequest())).status
        return bool(status == health_pb2.HealthCheckResponse.SERVING)

    async def _call(self, method: Callable[..., Awaitable[R]], sent: object, more: Metadata = ()) -> R:
        with translated():
            return await method(sent, timeout=self._timeout, metadata=(*self._metadata, *more))

    async def close(self) -> None:
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()
