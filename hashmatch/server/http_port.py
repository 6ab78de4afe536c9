"""The gateway's port: what a peer may do to it before a request is anybody's, and how it ends in good order."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import h11
import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from hashmatch.address import Address
from hashmatch.config import Settings
from hashmatch.server import port
from hashmatch.server.sockets import bound

HEAD_SECONDS = 10.0  # for a request's headers to come whole, from the connection or the answer before on
HEAD_BYTES = 32 << 10  # of those headers


@dataclass(frozen=True, slots=True)
class Front:
    """A gateway that is served."""

    address: str
    reload: Callable[[], None]  # reads a changed certificate
    stop: Callable[[float], Awaitable[None]]  # finishes what is in flight, for so many seconds at most


class _Protocol(H11Protocol):
    """One connection: closed where there are too many, and where it is silent or slow between requests.

    Uvicorn starts its clock only after the first answer, and stops it at the first byte of the next request.
    """

    most = 0  # connections at once; set per server

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head: asyncio.TimerHandle | None = None
        if len(self.connections) > self.most:
            transport.abort()
            return
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._wait_for_head()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait_for_head(self) -> None:
        """Lets the clock run while no request is being answered or received."""
        if self.conn.their_state is not h11.IDLE or (self.cycle is not None and not self.cycle.response_complete):
            self._stop_waiting()
        elif self._head is None:
            self._head = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None


class _Uvicorn(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """None: the process has handlers of its own."""
        yield


@asynccontextmanager
async def serving(app: Starlette, settings: Settings, *, shared_port: bool) -> AsyncIterator[Front]:
    """Serves the gateway until it is left or stopped.

    Raises:
        BadConfig: the address cannot be used.
    """
    address = Address.parse(settings.http_listen)
    listening = bound(address, socket.SO_REUSEADDR, *((socket.SO_REUSEPORT,) if shared_port else ()))
    secure: dict[str, Any] = {}
    if settings.tls_certificate:
        secure = {"ssl_certfile": settings.tls_certificate, "ssl_keyfile": settings.tls_key}
    if settings.tls_client_ca:  # as over gRPC: every caller must then have one
        secure |= {"ssl_ca_certs": settings.tls_client_ca, "ssl_cert_reqs": ssl.CERT_REQUIRED}
    protocol = type("Protocol", (_Protocol,), {"most": port.connections(settings).http})
    config = uvicorn.Config(
        app, http=protocol, log_config=None, access_log=False, lifespan="off", server_header=False, date_header=False,
        timeout_keep_alive=round(HEAD_SECONDS), h11_max_incomplete_event_size=HEAD_BYTES, **secure,
    )  # fmt: skip
    server = _Uvicorn(config)
    config.load()

    def reload() -> None:
        if config.ssl and settings.tls_certificate:
            config.ssl.load_cert_chain(settings.tls_certificate, settings.tls_key)

    running = asyncio.create_task(server.serve([listening]))

    async def stop(drain_seconds: float) -> None:
        config.timeout_graceful_shutdown = max(1, round(drain_seconds))
        server.should_exit = True
        await running

    try:
        while not server.started and not running.done():
            await asyncio.sleep(0.01)
        if running.done():
            running.result()
        yield Front(str(address.at(listening.getsockname()[1])), reload, stop)
    finally:
        await stop(0)
        listening.close()
