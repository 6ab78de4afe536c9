"""What every call passes: who it is, whether they may, how much they have used; and what it came to.

One interceptor for all of it, in this order: identity, permission (from `roles.RPCS`; what is not there is refused),
budget, the handler, errors as statuses, metrics and span. Every handler may simply raise.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import logging
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import grpc

from hashmatch.access.callers import CALLER, Caller, Callers
from hashmatch.errors import Forbidden, HashmatchError, Malformed, OverBudget, Overloaded, Unauthenticated
from hashmatch.roles import RPCS, Open, permits
from hashmatch.server import logs
from hashmatch.server.errors import abort
from hashmatch.server.metrics import Metrics
from hashmatch.server.tracing import Tracing

STREAMS = frozenset({"/hashmatch.v1.MatchService/MatchStream"})  # whose items are counted one by one instead

# Whose one message may be long, and is read late.
HEAVY = frozenset({"/hashmatch.v1.MatchService/Match", "/hashmatch.v1.MatchService/Hash"})
MAX_LONG_CALLS = 64  # streams, uploads and watches of one caller that are open at once, whoever they are
LONG_RETRY_SECONDS = 1.0

# What is one submission each; of those a caller may not make, nothing was to be scanned.
SUBMISSIONS = frozenset({"/hashmatch.v1.MatchService/Match", "/hashmatch.v1.MatchService/MatchUpload"})
UNCOUNTED = frozenset({"OK", "UNAUTHENTICATED", "PERMISSION_DENIED"})
MEDIA_BYTES = "hashmatch-media-bytes"  # metadata in which a caller may say how much media a call carries

Reader = Callable[[int | None, AsyncIterator[Any]], Awaitable[Any]]
trace = logging.getLogger(__name__)
trace.addFilter(logs.Sparing())

Context = grpc.aio.ServicerContext[Any, Any]
_calls = itertools.count(1)


class Gate(grpc.aio.ServerInterceptor):
    """Wraps every handler of a server."""

    def __init__(
        self,
        callers: Callers,
        metrics: Metrics,
        tracing: Tracing,
        read: Reader | None = None,
        missed: Callable[[str], None] = lambda _status: None,
    ) -> None:
        """`read` reads the one message of a call that carries media, or refuses to; `missed` is told the status of a
        submission that was not scanned."""
        self._read, self._missed = read, missed
        self._callers, self._metrics, self._tracing = callers, metrics, tracing
        self._wrapped: dict[str, Any] = {}  # by method; handlers do not change while a server runs
        self._open: Counter[str] = Counter()  # calls of several messages, by caller

    async def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]], call: grpc.HandlerCallDetails
    ) -> Any:
        wrapped = self._wrapped.get(call.method)
        if wrapped is None:
            handler = await continuation(call)
            if handler is None:
                return handler  # gRPC answers UNIMPLEMENTED
            wrapped = self._wrapped[call.method] = self._wrap(call.method, handler)
        return wrapped

    def _wrap(self, method: str, handler: Any) -> Any:
        if method in HEAVY and self._read is not None:
            return grpc.stream_unary_rpc_method_handler(
                self._answering(method, _late(handler.unary_unary, self._read)),
                request_deserializer=handler.request_deserializer,
                response_serializer=handler.response_serializer,
            )
        streams_in, streams_out = bool(handler.request_streaming), bool(handler.response_streaming)
        make, behaviour = {
            (False, False): (grpc.unary_unary_rpc_method_handler, handler.unary_unary),
            (True, False): (grpc.stream_unary_rpc_method_handler, handler.stream_unary),
            (False, True): (grpc.unary_stream_rpc_method_handler, handler.unary_stream),
            (True, True): (grpc.stream_stream_rpc_method_handler, handler.stream_stream),
        }[streams_in, streams_out]
        # A stream that is answered by a coroutine writes its parts by itself, as the health service's does.
        yields = streams_out and not inspect.iscoroutinefunction(behaviour)
        guard = self._streaming if yields else self._answering
        if streams_in or streams_out:
            behaviour = self._few(behaviour, yields)
        return make(
            guard(method, behaviour),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    def _few(self, behaviour: Any, yields: bool) -> Any:
        """A call of several messages, of which nobody holds more than a few: gRPC's own bound is on all together."""

        async def stream(request: Any, context: Context) -> AsyncIterator[Any]:
            with self._holding(context):
                async for part in behaviour(request, context):
                    yield part

        async def answer(request: Any, context: Context) -> Any:
            with self._holding(context):
                return await behaviour(request, context)

        return stream if yields else answer

    @contextmanager
    def _holding(self, context: Context) -> Iterator[None]:
        who = CALLER.get().share or _host(context)
        if self._open[who] >= MAX_LONG_CALLS:
            self._metrics.refused("streams")
            raise Overloaded(
                f"{self._open[who]} streams of this caller are open already", retry_after=LONG_RETRY_SECONDS
            )
        self._open[who] += 1
        try:
            yield
        finally:
            self._open[who] -= 1
            if not self._open[who]:
                del self._open[who]

    def _answering(self, method: str, behaviour: Any) -> Any:
        async def answer(request: Any, context: Context) -> Any:
            metadata = _metadata(context)
            with self.call(method, metadata) as told:
                try:
                    self.enter(method, metadata.get("authorization", ""), _names(context), _host(context))
                    return await behaviour(request, context)
                except (asyncio.CancelledError, grpc.aio.AbortError):
                    told["code"] = _left(context)
                    raise
                except Exception as e:
                    told["code"] = self.refusal(e)
                    await abort(context, e)

        return answer

    def _streaming(self, method: str, behaviour: Any) -> Any:
        async def stream(request: Any, context: Context) -> AsyncIterator[Any]:
            metadata = _metadata(context)
            with self.call(method, metadata) as told:
                try:
                    self.enter(method, metadata.get("authorization", ""), _names(context), _host(context))
                    async for part in behaviour(request, context):
                        yield part
                except (asyncio.CancelledError, grpc.aio.AbortError, GeneratorExit):
                    told["code"] = _left(context)
                    raise
                except Exception as e:
                    told["code"] = self.refusal(e)
                    await abort(context, e)

        return stream

    @contextmanager
    def call(self, method: str, metadata: Mapping[str, str]) -> Iterator[dict[str, str]]:
        """Round a call, over gRPC or HTTP: names it in the trace, times and counts it under the "code" it yields."""
        began = time.perf_counter()
        logs.CALL.set(logs.plain_id(metadata.get("x-request-id", "")) or f"{os.getpid():x}-{next(_calls):x}")
        with self._tracing.call(method, metadata) as told:
            try:
                yield told
            finally:
                code = told.get("code", "OK")
                self._metrics.answered(method, code, time.perf_counter() - began)
                if method in SUBMISSIONS and code not in UNCOUNTED:
                    self._missed(code)

    def enter(self, method: str, authorization: str, names: list[str], peer: str) -> Caller:
        """Who calls, if they may: from here on they are `CALLER`.

        Raises:
            Unauthenticated, Forbidden: they may not.
            OverBudget: not so much.
        """
        permission = RPCS.get(method)
        if permission is Open.ANYONE:
            return CALLER.get()
        caller = self._callers.identify(authorization, names, peer)
        if not permits(permission, caller.roles, known=caller.known):
            trace.warning("caller '%s' may not call %s", caller.name, method)
            raise Forbidden(f"this needs the permission '{permission}'" if permission else None)
        if method not in STREAMS:
            self._callers.spend(caller)
        CALLER.set(caller)
        return caller

    def refusal(self, error: Exception) -> str:
        """The name of the status that an error becomes; counts and traces what is worth it."""
        if isinstance(error, Unauthenticated):
            self._metrics.denied(error.why or "unknown")
            trace.warning("a caller was not let in: %s", error.why or "unknown")
        elif isinstance(error, Forbidden):
            self._metrics.denied("permission")
        elif isinstance(error, OverBudget):
            self._metrics.refused("budget")
        return error.status if isinstance(error, HashmatchError) else "INTERNAL"


def _left(context: Context) -> str:
    """Why a caller is gone: gRPC cancels a call at its deadline as it does when its caller hangs up."""
    left = context.time_remaining()
    return "CANCELLED" if left is None or left > 0 else "DEADLINE_EXCEEDED"


def _late(behaviour: Any, read: Reader) -> Any:
    """A call of one message that reads it itself: not before its caller may call, and there may be room for it."""

    async def answer(requests: AsyncIterator[Any], context: Context) -> Any:
        said = _metadata(context).get(MEDIA_BYTES, "")
        request = await read(int(said[:12]) if said.isascii() and said.isdigit() else None, requests)
        if request is None:
            raise Malformed("a call carries one message", field="request")
        return await behaviour(request, context)

    return answer


def _metadata(context: Context) -> dict[str, str]:
    return {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}


def _host(context: Context) -> str:
    """Where the caller is, without the port: connections by the hundred are still one caller."""
    peer = str(context.peer())
    return peer.rpartition(":")[0] if peer.startswith("ip") else peer


def _names(context: Context) -> list[str]:
    """The names in the caller's certificate."""
    auth = context.auth_context() or {}
    proven = auth.get("x509_subject_alternative_name") or auth.get("x509_common_name") or ()
    return [bytes(name).decode(errors="replace") for name in proven]
