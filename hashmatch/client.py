"""A small typed client: `Client` for threads, `AsyncClient` for asyncio. Both speak the generated messages.

    with Client("127.0.0.1:50051") as client:
        answer = client.match(media=upload, subject=Subject(content_id="photo-17"))
        if answer.finding != Finding.FINDING_NO_MATCH:
            hold(upload)

Every request carries a request id (made here where none is given), so a retry after a lost answer gets the same
verdict. Retries follow the channel's service config; a call is never hedged.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
from google.protobuf.message import Message
from google.rpc import status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from hashmatch import clock, convert, errors
from hashmatch.types import Fingerprint, Subject
from hashmatch.v1 import common_pb2, match_pb2, match_pb2_grpc
from hashmatch.v1.common_pb2 import Disposition, Finding

__all__ = ["AsyncClient", "Client", "Disposition", "Finding", "Fingerprint", "Subject"]

R = TypeVar("R")

TIMEOUT = 10.0  # seconds for a whole call, retries included; the server answers within 5
MAX_MESSAGE_BYTES = 256 << 20  # ours; the server's own limit decides

SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": [{"service": "hashmatch.v1.MatchService"}],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.1s",
                "maxBackoff": "2s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
            },
        }
    ]
}
OPTIONS = (
    ("grpc.service_config", json.dumps(SERVICE_CONFIG)),
    ("grpc.enable_retries", 1),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
)


def match_request(
    media: bytes | None = None,
    fingerprints: Iterable[Fingerprint] = (),
    *,
    request_id: str = "",
    subject: Subject | None = None,
    lists: Iterable[str] = (),
    min_revision: int = 0,
) -> match_pb2.MatchRequest:
    """The request to judge `media`, or `fingerprints` made elsewhere."""
    request = match_pb2.MatchRequest(request_id=request_id or clock.new_id("r"), lists=lists, min_revision=min_revision)
    if subject is not None:
        request.subject.CopyFrom(convert.subject_to_wire(subject))
    if media is not None:
        request.media = media
    else:
        request.fingerprints.fingerprints.extend(
            common_pb2.Fingerprint(hash_type=f.hash_type, value=f.value) for f in fingerprints
        )
    return request


class Client:
    """Calls a hashmatch server from any thread. Errors are those of `hashmatch.errors`."""

    def __init__(self, address: str, *, timeout: float = TIMEOUT) -> None:
        """Connects when first used.

        Args:
            timeout: seconds for each call, retries included.
        """
        self._channel = grpc.insecure_channel(address, options=OPTIONS)
        self._stub = match_pb2_grpc.MatchServiceStub(self._channel)
        self._health = health_pb2_grpc.HealthStub(self._channel)
        self._timeout = timeout

    def match(
        self, media: bytes | None = None, fingerprints: Iterable[Fingerprint] = (), **question: Any
    ) -> match_pb2.MatchResponse:
        """The verdict on one item; keyword arguments are those of `match_request`."""
        return self.ask(match_request(media, fingerprints, **question))

    def ask(self, request: match_pb2.MatchRequest) -> match_pb2.MatchResponse:
        """The verdict on a request made by hand."""
        return self._call(self._stub.Match, request)

    def hash(
        self, media: bytes, hash_types: Iterable[str] = (), variants: Iterable[str] = ()
    ) -> match_pb2.HashResponse:
        """Fingerprints only."""
        return self._call(self._stub.Hash, match_pb2.HashRequest(media=media, hash_types=hash_types, variants=variants))

    def capabilities(self) -> match_pb2.GetCapabilitiesResponse:
        """Formats, hash types, limits, versions."""
        return self._call(self._stub.GetCapabilities, match_pb2.GetCapabilitiesRequest())

    def serving(self) -> bool:
        """Whether the server may give verdicts now."""
        status = self._call(self._health.Check, health_pb2.HealthCheckRequest()).status
        return bool(status == health_pb2.HealthCheckResponse.SERVING)

    def _call(self, method: Callable[..., R], request: Message) -> R:
        with translated():
            return method(request, timeout=self._timeout)

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class AsyncClient:
    """Calls a hashmatch server from one event loop. Errors are those of `hashmatch.errors`."""

    def __init__(self, address: str, *, timeout: float = TIMEOUT) -> None:
        """Connects when first used.

        Args:
            timeout: seconds for each call, retries included.
        """
        self._channel = grpc.aio.insecure_channel(address, options=OPTIONS)
        self._stub: match_pb2_grpc.MatchServiceAsyncStub = match_pb2_grpc.MatchServiceStub(self._channel)
        self._timeout = timeout

    async def match(
        self, media: bytes | None = None, fingerprints: Iterable[Fingerprint] = (), **question: Any
    ) -> match_pb2.MatchResponse:
        """The verdict on one item; keyword arguments are those of `match_request`."""
        return await self.ask(match_request(media, fingerprints, **question))

    async def ask(self, request: match_pb2.MatchRequest) -> match_pb2.MatchResponse:
        """The verdict on a request made by hand."""
        return await self._call(self._stub.Match, request)

    async def hash(
        self, media: bytes, hash_types: Iterable[str] = (), variants: Iterable[str] = ()
    ) -> match_pb2.HashResponse:
        """Fingerprints only."""
        request = match_pb2.HashRequest(media=media, hash_types=hash_types, variants=variants)
        return await self._call(self._stub.Hash, request)

    async def capabilities(self) -> match_pb2.GetCapabilitiesResponse:
        """Formats, hash types, limits, versions."""
        return await self._call(self._stub.GetCapabilities, match_pb2.GetCapabilitiesRequest())

    async def _call(self, method: Callable[..., Awaitable[R]], request: Message) -> R:
        with translated():
            return await method(request, timeout=self._timeout)

    async def close(self) -> None:
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()


_BY_STATUS: dict[str, type[errors.HashmatchError]] = {
    "INVALID_ARGUMENT": errors.Malformed,
    "NOT_FOUND": errors.NotFound,
    "ALREADY_EXISTS": errors.Conflict,
    "FAILED_PRECONDITION": errors.Refused,
    "RESOURCE_EXHAUSTED": errors.Overloaded,
    "UNAVAILABLE": errors.Unavailable,
    "DEADLINE_EXCEEDED": errors.DeadlinePassed,
    "DATA_LOSS": errors.Corrupt,
}


@contextmanager
def translated() -> Iterator[None]:
    """Raises our errors for gRPC's, the server's words kept."""
    try:
        yield
    except grpc.RpcError as e:
        kind = _BY_STATUS.get(e.code().name, errors.HashmatchError)
        raise kind(_message(e)) from e


def _message(error: Any) -> str:
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            return str(status_pb2.Status.FromString(value).message)
    return str(error.details())
