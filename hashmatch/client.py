"""A small typed client: `Client` for threads, `AsyncClient` for asyncio. Both speak the generated messages.

    with Client("127.0.0.1:50051") as client:
        answer = client.match(media=upload, subject=Subject(content_id="photo-17"))
        if answer.finding != Finding.FINDING_NO_MATCH:
            hold(upload)

Every request carries a request id (made here where none is given), so a retry after a lost answer gets the same
verdict. Retries follow the channel's service config; a call is never hedged.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, BinaryIO, Self, TypeVar

import grpc
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from hashmatch import clock, convert, errors
from hashmatch.types import Fingerprint, Subject
from hashmatch.v1 import common_pb2, match_pb2, match_pb2_grpc
from hashmatch.v1.common_pb2 import Disposition, Finding

__all__ = ["AsyncClient", "Client", "Disposition", "Finding", "Fingerprint", "Subject", "match_request", "outcome_of"]

R = TypeVar("R")
Metadata = tuple[tuple[str, str], ...]

TIMEOUT = 10.0  # seconds for a whole call, retries included; the server answers within 5
WINDOW = 16  # items of a stream under way; what the server judges of one stream at once
CHUNK_BYTES = 256 << 10  # of an upload: large enough to cost little, small enough to be taken as it comes
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

    def __init__(
        self,
        address: str,
        *,
        timeout: float = TIMEOUT,
        key: str = "",
        ca: bytes = b"",
        certificate: bytes = b"",
        certificate_key: bytes = b"",
    ) -> None:
        """Connects when first used.

        Args:
            timeout: seconds for each call, retries included.
            key: the bearer key, where the server wants one.
            ca: PEM of the authority of the server's certificate; without it the channel is in clear.
            certificate, certificate_key: PEM of our own, where the server wants one.
        """
        tls = tls_credentials(ca, certificate, certificate_key)
        self._channel = (
            grpc.secure_channel(address, tls, options=OPTIONS) if tls else grpc.insecure_channel(address, OPTIONS)
        )
        self._metadata = metadata(key)
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
        return self._call(self._stub.Match, request, media_bytes(request))

    def stream(
        self, requests: Iterable[match_pb2.MatchRequest], *, window: int = WINDOW, timeout: float | None = None
    ) -> Iterator[match_pb2.MatchStreamResponse]:
        """The answers to many requests over one stream, as they are ready: at most `window` are under way.

        Every request needs a request id, since that is how an answer names it; `outcome_of` raises its error.

        Args:
            timeout: seconds for the whole stream; None: no limit.
        Raises:
            HashmatchError: the stream broke; ask again under the same ids for those that were not answered.
        """
        places = threading.Semaphore(window)
        ended = threading.Event()

        def sending() -> Iterator[match_pb2.MatchRequest]:
            for request in requests:
                while not places.acquire(timeout=0.5):
                    if ended.is_set():
                        return
                if ended.is_set():
                    return
                yield request

        with translated():
            call = self._stub.MatchStream(sending(), timeout=timeout, metadata=self._metadata)
            try:
                for answer in call:
                    places.release()
                    yield answer
            finally:
                ended.set()
                call.cancel()

    def upload(self, file: BinaryIO, **question: Any) -> match_pb2.MatchResponse:
        """The verdict on what a file object holds, sent in chunks; keyword arguments are those of `match_request`.

        It is not retried: a file object is read once. Ask again under the same request id.
        """
        header = match_request(None, **question)
        header.ClearField("fingerprints")
        with translated():
            return self._stub.MatchUpload(upload_parts(header, file), timeout=self._timeout, metadata=self._metadata)

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

    def _call(self, method: Callable[..., R], request: Message, more: Metadata = ()) -> R:
        with translated():
            return method(request, timeout=self._timeout, metadata=(*self._metadata, *more))

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class AsyncClient:
    """Calls a hashmatch server from one event loop. Errors are those of `hashmatch.errors`."""

    def __init__(
        self,
        address: str,
        *,
        timeout: float = TIMEOUT,
        key: str = "",
        ca: bytes = b"",
        certificate: bytes = b"",
        certificate_key: bytes = b"",
    ) -> None:
        """Connects when first used; as `Client`."""
        tls = tls_credentials(ca, certificate, certificate_key)
        self._channel = (
            grpc.aio.secure_channel(address, tls, options=OPTIONS)
            if tls
            else grpc.aio.insecure_channel(address, options=OPTIONS)
        )
        self._metadata = metadata(key)
        self._stub: match_pb2_grpc.MatchServiceAsyncStub = match_pb2_grpc.MatchServiceStub(self._channel)
        self._timeout = timeout

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
        header = match_request(None, **question)
        header.ClearField("fingerprints")
        with translated():
            return await self._stub.MatchUpload(
                upload_parts(header, file), timeout=self._timeout, metadata=self._metadata
            )

    async def hash(
        self, media: bytes, hash_types: Iterable[str] = (), variants: Iterable[str] = ()
    ) -> match_pb2.HashResponse:
        """Fingerprints only."""
        request = match_pb2.HashRequest(media=media, hash_types=hash_types, variants=variants)
        return await self._call(self._stub.Hash, request)

    async def capabilities(self) -> match_pb2.GetCapabilitiesResponse:
        """Formats, hash types, limits, versions."""
        return await self._call(self._stub.GetCapabilities, match_pb2.GetCapabilitiesRequest())

    async def _call(self, method: Callable[..., Awaitable[R]], request: Message, more: Metadata = ()) -> R:
        with translated():
            return await method(request, timeout=self._timeout, metadata=(*self._metadata, *more))

    async def close(self) -> None:
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()


def tls_credentials(ca: bytes, certificate: bytes, certificate_key: bytes) -> grpc.ChannelCredentials | None:
    """What a channel is secured with; None: it is not."""
    if not (ca or certificate):
        return None
    return grpc.ssl_channel_credentials(ca or None, certificate_key or None, certificate or None)


def media_bytes(request: match_pb2.MatchRequest) -> Metadata:
    """Tells the server how much media a call carries, so that it can refuse it before it is sent."""
    return (("hashmatch-media-bytes", str(len(request.media))),)


def metadata(key: str) -> Metadata:
    """What every call carries."""
    return (("authorization", f"Bearer {key}"),) if key else ()


def upload_parts(header: match_pb2.MatchRequest, file: BinaryIO) -> Iterator[match_pb2.MatchUploadRequest]:
    """What MatchUpload is sent: the header, then the file in chunks."""
    yield match_pb2.MatchUploadRequest(header=header)
    while chunk := file.read(CHUNK_BYTES):
        yield match_pb2.MatchUploadRequest(chunk=chunk)


def outcome_of(answer: match_pb2.MatchStreamResponse) -> match_pb2.MatchResponse:
    """The verdict in an answer of a stream.

    Raises:
        HashmatchError: the item was answered with an error.
    """
    if answer.WhichOneof("outcome") == "error":
        raise _error(grpc_code(answer.error.code), answer.error)
    return answer.response


_BY_STATUS: dict[str, type[errors.HashmatchError]] = {
    "INVALID_ARGUMENT": errors.Malformed,
    "NOT_FOUND": errors.NotFound,
    "ALREADY_EXISTS": errors.Conflict,
    "FAILED_PRECONDITION": errors.Refused,
    "UNAUTHENTICATED": errors.Unauthenticated,
    "PERMISSION_DENIED": errors.Forbidden,
    "RESOURCE_EXHAUSTED": errors.Overloaded,
    "UNAVAILABLE": errors.Unavailable,
    "CANCELLED": errors.Unavailable,  # not by us: gRPC sheds calls so while it works a flood off
    "DEADLINE_EXCEEDED": errors.DeadlinePassed,
    "DATA_LOSS": errors.Corrupt,
}


@contextmanager
def translated() -> Iterator[None]:
    """Raises our errors for gRPC's, the server's words kept: Overloaded with its delay, Malformed with its field."""
    try:
        yield
    except grpc.RpcError as e:
        raise _error(e.code().name, _status(e)) from e


def grpc_code(number: int) -> str:
    """The name of a status."""
    return str(code_pb2.Code.Name(code_pb2.Code.ValueType(number)))


def _status(error: Any) -> status_pb2.Status:
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            return status_pb2.Status.FromString(value)
    return status_pb2.Status(message=str(error.details()))


def _error(code: str, status: status_pb2.Status) -> errors.HashmatchError:
    kind = _BY_STATUS.get(code, errors.HashmatchError)
    retry, bad = error_details_pb2.RetryInfo(), error_details_pb2.BadRequest()
    info = error_details_pb2.ErrorInfo()
    for detail in status.details:
        for message in (retry, bad, info):
            detail.Unpack(message)
    if kind is errors.Overloaded:
        delay = retry.retry_delay.ToTimedelta().total_seconds() or 0.1
        over_budget = info.reason == errors.OverBudget.reason
        return (errors.OverBudget if over_budget else errors.Overloaded)(status.message, retry_after=delay)
    if kind is errors.Malformed and bad.field_violations:
        violation = bad.field_violations[0]
        return errors.Malformed(violation.description, field=violation.field)
    return kind(status.message)
