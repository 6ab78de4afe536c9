"""One server process: starts, says when it is serving, follows its settings, stops in good order."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2_grpc

from hashmatch import app
from hashmatch.access.callers import Callers
from hashmatch.config import Settings
from hashmatch.errors import HashmatchError
from hashmatch.server import lifecycle, logs, port
from hashmatch.server.admission import Admission
from hashmatch.server.audit import AuditServicer
from hashmatch.server.cases import CaseServicer
from hashmatch.server.gate import Gate
from hashmatch.server.health import Health
from hashmatch.server.judge import Judge
from hashmatch.server.lists import ListServicer
from hashmatch.server.measuring import Measuring
from hashmatch.server.metrics import Metrics
from hashmatch.server.monitor import Monitor
from hashmatch.server.reload import LOOK_SECONDS, Reloader
from hashmatch.server.service import MatchServicer
from hashmatch.server.tls import Certificate
from hashmatch.server.tracing import Tracing
from hashmatch.v1 import cases_pb2_grpc, lists_pb2_grpc, log_pb2_grpc, match_pb2_grpc

HEALTH_SECONDS = 0.1  # how often health is brought to what is true
GAUGE_SECONDS = 1.0  # how often the gauges are
END_SECONDS = 3.0  # beyond the drain, for calls on threads, which cannot be cancelled
STUCK_SECONDS = 20.0  # without a turn of the event loop: only a restart cures that

trace = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Part:
    """What one of several server processes does otherwise than the only one."""

    metrics: bool = True  # serves metrics and probes itself
    shared_port: bool = False  # takes its address together with others


async def serve(
    settings: Settings,
    *,
    announce: Callable[[str], None],
    load: Callable[[], Settings] | None = None,
    file: Path | None = None,
) -> None:
    """Serves until SIGTERM or SIGINT, then finishes what is in flight.

    Args:
        announce: called with one line once verdicts may be given.
        load: reads the settings anew, for a reload; `file` is theirs, and is looked at for changes.
    Raises:
        BadConfig: the address, the state directory, a certificate, a recipe or a wall is not as it must be.
    """
    server = Server(settings, Reloader(settings, load or (lambda: settings), file), Part())
    async with server.running():
        await server.until_stopped(announce)


class Server:
    """One server process. One event loop owns it."""

    def __init__(self, settings: Settings, reloader: Reloader, part: Part) -> None:
        self._settings, self._part = settings, part
        self._certificate = Certificate(settings) if settings.tls_certificate else None
        self._metrics = Metrics()
        self._tracing = Tracing(settings)
        self._health = Health()
        self._reloader = reloader
        self._admission = Admission(
            settings.in_flight_bytes, settings.in_flight, settings.spooled_bytes, refused=self._metrics.refused
        )
        self._stopping = asyncio.Event()
        self._flushing: asyncio.Task[None] | None = None  # what keys were used for, on its way to the disk
        self._turned = time.monotonic()  # when the event loop last came by
        self._address = ""
        self._monitor: Monitor | None = None
        self._reload_gateway: Callable[[], None] = lambda: None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Everything started; on leaving, everything finished that was in flight."""
        _keep_big_buffers()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        await self._health.report(False)
        watch = app.Watch(stage=self._stage, committed=self._metrics.committed, stepped=self._metrics.stepped)
        async with AsyncExitStack() as closing:
            closing.callback(self._tracing.close)
            self._service = await closing.enter_async_context(app.running(self._settings, watch=watch, serving=True))
            self._callers = Callers(self._service.credentials, auth=self._settings.auth, alarm=self._metrics.alarm)
            self._judge = Judge(self._service, self._admission, self._callers, self._metrics)
            self._lists = ListServicer(
                self._service.keeper, self._service.trials, self._service.proposals, state=self._settings.state,
                recipes=self._settings.recipes,
            )  # fmt: skip
            self._audit, self._cases = AuditServicer(self._service), CaseServicer(self._service)
            self._gate = Gate(self._callers, self._metrics, self._tracing, self._judge.read, self._judge.missed)
            self._grpc = self._listening()
            if self._part.metrics and self._settings.metrics_listen:
                measuring = Measuring(self._settings)
                closing.callback(measuring.close)
                self._monitor = Monitor(
                    self._settings.metrics_listen, text=lambda: self._metrics.text() + measuring.text(),
                    live=self.not_live, ready=self.not_ready,
                )  # fmt: skip
                closing.callback(self._monitor.close)
            await self._grpc.start()
            try:
                async with self._gateway() as stop_gateway:
                    yield
                    trace.info("stopping")
                    lifecycle.tell_manager("STOPPING=1", "STATUS=finishing what is in flight")
                    await self._health.report(False)
                    await asyncio.gather(self._grpc.stop(self.drain_seconds), stop_gateway(self.drain_seconds))
            finally:
                await self._grpc.stop(0)
                ended = await asyncio.gather(
                    self._lists.close(END_SECONDS),
                    *(asyncio.to_thread(one.close, END_SECONDS) for one in (self._audit, self._cases)),
                )
                await asyncio.to_thread(self._callers.flush, force=True)
                if not all(ended):
                    self._leave_at_once()

    def _leave_at_once(self) -> None:
        """Ends this process beside calls that are still at work: a thread cannot be ended, and the store must not be
        closed under it. Nothing of theirs was acknowledged; what they have not committed never was."""
        trace.error("calls were still at work %.0f s after the drain; ending without them", END_SECONDS)
        self._service.ledger.close()
        logging.shutdown()
        os._exit(0)

    def _listening(self) -> grpc.aio.Server:
        credentials = self._certificate.credentials() if self._certificate else None
        server, self._address = port.listening(
            self._settings, self._gate, credentials, shared=self._part.shared_port, loaded={
                match_pb2_grpc.add_MatchServiceServicer_to_server: MatchServicer(self._service, self._judge),
                lists_pb2_grpc.add_ListServiceServicer_to_server: self._lists,
                log_pb2_grpc.add_AuditServiceServicer_to_server: self._audit,
                cases_pb2_grpc.add_CaseServiceServicer_to_server: self._cases,
                health_pb2_grpc.add_HealthServicer_to_server: self._health.servicer,
            },
        )  # fmt: skip
        return server

    @property
    def drain_seconds(self) -> float:
        """What a stop gives those in flight, as the settings say now."""
        return self._reloader.settings.drain_seconds

    @asynccontextmanager
    async def _gateway(self) -> AsyncIterator[Callable[[float], Awaitable[None]]]:
        """The gateway, where it is wanted; yields what stops it."""
        if not self._settings.http_listen:
            yield _nothing
            return
        from hashmatch.server import gateway, http_port  # their packages are an extra

        application = gateway.application(self._service, self._judge, self._gate)
        async with http_port.serving(application, self._settings, shared_port=self._part.shared_port) as front:
            trace.info("the HTTP gateway listens on %s", front.address)
            self._reload_gateway = front.reload
            yield front.stop

    async def until_stopped(self, announce: Callable[[str], None]) -> None:
        """Serves until a signal says stop.

        Raises:
            HashmatchError: why verdicts may not be given from the start.
        """
        telling = asyncio.create_task(self._tell(announce))
        stopped = asyncio.create_task(self._stopping.wait())
        await asyncio.wait((telling, stopped), return_when=asyncio.FIRST_COMPLETED)
        for task in (telling, stopped):
            task.cancel()
        if telling.done() and not telling.cancelled():
            telling.result()

    async def _tell(self, announce: Callable[[str], None]) -> None:
        """Announces that verdicts may be given, and from then on keeps health and gauges at what is true."""
        watching = asyncio.create_task(self._watch())
        try:
            await self._service.follower.ready()
            await self._health.report(True)  # before it is announced: who reads the line may ask at once
            announce(self._announcement())
            lifecycle.tell_manager("READY=1", f"STATUS={self._announcement()}")
            await watching
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching

    async def _watch(self) -> None:
        gauges_at = files_at = watchdog_at = 0.0
        watchdog = lifecycle.watchdog_seconds() / 2
        while True:
            now = self._turned = time.monotonic()
            await self._health.report(not self.not_ready(), not self.not_live())
            if now - gauges_at >= GAUGE_SECONDS:
                gauges_at = now
                try:
                    self._look()
                except Exception:  # what cannot be measured now must not stop the server
                    trace.exception("unforeseen error while measuring")
            if now - files_at >= LOOK_SECONDS:
                files_at = now
                self._look_at_files()
            if watchdog and now - watchdog_at >= watchdog and not self.not_live():
                watchdog_at = now
                lifecycle.tell_manager("WATCHDOG=1")
            await asyncio.sleep(HEALTH_SECONDS)

    def _look(self) -> None:
        expiry = self._certificate.expires_at if self._certificate else None
        serving = not self.not_ready()
        self._metrics.look(self._service, self._admission, serving=serving, certificate_expiry=expiry)
        # Not awaited: a disk that stalls is no reason to restart, and who watches must go on watching.
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush())

    async def _flush(self) -> None:
        try:
            await asyncio.to_thread(self._callers.flush)
        except Exception:
            trace.exception("unforeseen error while writing down what keys were used for")

    def not_ready(self) -> str:
        """Why verdicts may not be given now; "" where they may."""
        if self._stopping.is_set():
            return "stopping"
        try:
            self._service.follower.generation()
        except HashmatchError as e:
            return str(e)
        if failure := self._service.ledger.failure():
            return failure
        return "" if self._service.sandbox.healthy else "there are no decode workers"

    def not_live(self) -> str:
        """Why only a restart helps; "" where it would cure nothing."""
        if time.monotonic() - self._turned > STUCK_SECONDS:
            return "the event loop hangs"
        return self._service.ledger.failure() if self._service.ledger.stopped else ""

    def _look_at_files(self) -> None:
        if self._reloader.changed():
            self._reload()
        elif self._certificate and (outcome := self._reload_certificate(self._certificate)) != "unchanged":
            self._metrics.reloaded(outcome)

    def _reload(self) -> None:
        lifecycle.tell_manager(*lifecycle.reloading())
        outcomes = {self._reloader.reload(self._apply)}
        if self._certificate:
            outcomes.add(self._reload_certificate(self._certificate))
        for outcome in outcomes - {"unchanged"} or {"unchanged"}:
            self._metrics.reloaded(outcome)
        lifecycle.tell_manager("READY=1")

    def _reload_certificate(self, certificate: Certificate) -> str:
        outcome = certificate.reload()
        if outcome == "reloaded":
            self._reload_gateway()
        return outcome

    def _apply(self, settings: Settings) -> None:
        logs.start(settings.log_format, settings.log_level)
        self._admission.most_requests = settings.in_flight
        self._admission.held.most, self._admission.spooled.most = settings.in_flight_bytes, settings.spooled_bytes
        line = self._service.sandbox.line
        line.limit, line.seconds = settings.queue, settings.queue_ms / 1000
        self._judge.settings = settings

    def _stage(self, name: str, seconds: float) -> None:
        self._metrics.stage(name, seconds)
        self._tracing.stage(name, seconds)

    def _announcement(self) -> str:
        generation = self._service.follower.generation()
        entries = sum(sum(s.state.entries.values()) for s in generation.segments.values())
        walls = ", ".join(self._service.sandbox.walls) or "no walls"
        metrics = f", metrics on {self._monitor.address}" if self._monitor else ""
        return (
            f"SERVING on {self._address}: {len(generation.segments)} active lists, {entries} entries, revision "
            f"{generation.revision}, {self._settings.workers} workers behind {walls}{metrics}"
        )


async def _nothing(_drain_seconds: float) -> None:
    """Stops what was not started."""


def _keep_big_buffers() -> None:
    """Lets glibc keep freed media buffers instead of returning and re-faulting their pages.

    Half of the server's cost per half-megabyte request was that page traffic.
    """
    if sys.platform != "linux":
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # musl has none, and does not need it
        return
    m_trim_threshold, m_mmap_threshold = -1, -3  # <malloc.h>
    mallopt(m_mmap_threshold, 32 << 20)  # its maximum on 64 bits
    mallopt(m_trim_threshold, 256 << 20)
