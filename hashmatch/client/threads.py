"""The client for threads; `aio.py` is its twin."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
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


class Client(Connected):
    """Calls a hashmatch server from any thread. Errors are those of `hashmatch.errors`."""

    def _open(self, address: str, tls: grpc.ChannelCredentials | None) -> None:
        self._channel = (
            grpc.secure_channel(address, tls, options=OPTIONS) if tls else grpc.insecure_channel(address, OPTIONS)
        )
        self._stub = match_pb2_grpc.MatchServiceStub(self._channel)
        self._health = health_pb2_grpc.HealthStub(self._channel)

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
        return self._call(self._stub.MatchUpload, upload_parts(file, **question))

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

    def _call(self, method: Callable[..., R], sent: object, more: Metadata = ()) -> R:
        with translated():
            return method(sent, timeout=self._timeout, metadata=(*self._metadata, *more))

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
