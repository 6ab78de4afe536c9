"""Several server processes over one state directory and one address.

    hashmatch serve --processes N ── supervisor: holds the lock and the port, serves metrics and probes
          └── N server processes: each its own gRPC server, follower, ledger writer and share of the decode workers

They share the address (SO_REUSEPORT: the kernel spreads connections), the mapped snapshots (one copy in memory), and
one ledger, whose LMDB lets one of them write at a time and gives every event its number inside the transaction. What
they do not share is what they count of a caller in one second.

The supervisor judges nothing and opens no store, so that nothing hostile and nothing slow is ever in it. A process that
ends is started again, at once and then at growing pauses; they all end with the supervisor.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from prometheus_client import generate_latest
from prometheus_client.multiprocess import mark_process_dead

from hashmatch.address import Address
from hashmatch.config import Settings
from hashmatch.errors import BadConfig, HashmatchError, Unavailable
from hashmatch.server import lifecycle, metrics
from hashmatch.server.measuring import Measuring
from hashmatch.server.monitor import Monitor
from hashmatch.server.sockets import bound

PAUSES = 0.1, 5.0  # seconds before a process that ended is started again: the first, doubled up to the last
STEADY_SECONDS = 30.0  # after which a process that ends begins with the first pause again
STOP_SLACK_SECONDS = 10.0  # beyond the drain, then a process that has not ended is killed
REPORT_SECONDS = 2.0  # between two reports of a process; without any for ten times as long it hangs

trace = logging.getLogger(__name__)


class Supervisor:
    """Runs the processes. One event loop owns it."""

    def __init__(self, settings: Settings, announce: Callable[[str], None], argv: dict[str, str | None]) -> None:
        """`argv` are the flags that the settings came from: processes read them anew for a reload."""
        self._settings, self._announce, self._argv = settings, announce, argv
        self._stopping = asyncio.Event()
        self._children: dict[int, _Child] = {}  # by place, 0 to processes - 1
        self._failure: HashmatchError | None = None
        self._announced = False
        self._measuring: Measuring | None = None

    async def run(self) -> None:
        """Runs until SIGTERM or SIGINT.

        Raises:
            BadConfig: the address cannot be used, or no process could start with these settings.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        with ExitStack() as closing:
            settings = self._settings
            listen = closing.enter_context(_held(settings.listen))
            http = closing.enter_context(_held(settings.http_listen)) if settings.http_listen else ""
            self._settings = dataclasses.replace(settings, listen=listen, http_listen=http)
            counts = _folder_of_counts()
            closing.callback(shutil.rmtree, counts, ignore_errors=True)
            os.environ[metrics.MULTIPROCESS_VARIABLE] = str(counts)
            self._monitor = None
            if settings.metrics_listen:
                measuring = self._measuring = Measuring(settings)
                closing.callback(measuring.close)
                self._monitor = Monitor(
                    settings.metrics_listen, live=self.not_live, ready=self.not_ready,
                    text=lambda: generate_latest(metrics.gathered()) + measuring.text(),
                )  # fmt: skip
                closing.callback(self._monitor.close)
            places = [asyncio.create_task(self._keep(place)) for place in range(settings.processes)]
            stopped = asyncio.create_task(self._stopping.wait())
            watching = asyncio.create_task(self._watch())
            await asyncio.wait((stopped, *places), return_when=asyncio.FIRST_COMPLETED)
            self._stopping.set()
            lifecycle.tell_manager("STOPPING=1")
            await self._stop()
            for task in (*places, stopped, watching):
                task.cancel()
            ended = await asyncio.gather(*places, stopped, watching, return_exceptions=True)
            for outcome in ended:
                if isinstance(outcome, Exception):
                    raise outcome
        if self._failure is not None:
            raise self._failure

    async def _keep(self, place: int) -> None:
        """Keeps one process running; ends where it cannot start at all."""
        pause, longest = PAUSES
        while not self._stopping.is_set():
            began = time.monotonic()
            child = self._children[place] = _Child(self._part(place), self._settings, self._argv)
            try:
                await child.start()
                status = await child.listen(self._said)
            except (OSError, ValueError) as e:  # no room for a process now, or one that says what nobody understands
                trace.error("a server process is given up: %s", e)
                child.signal(signal.SIGKILL)
                status = 1
            mark_process_dead(child.pid)  # type: ignore[no-untyped-call]  # its gauges are gone, its counts stay
            if self._stopping.is_set():
                return
            if status == BadConfig.exit_code and not self._announced:
                # What is wrong with the settings is wrong for every process, and for every attempt.
                self._failure = BadConfig(child.last_words or "a server process did not start; see the trace")
                return
            trace.error("server process %d ended (%d); starting another", child.pid, status)
            pause = PAUSES[0] if time.monotonic() - began > STEADY_SECONDS else pause
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)
            pause = min(2 * pause, longest)

    def _part(self, place: int) -> int:
        """Decode workers of one process: all of them are spread as evenly as can be."""
        every, more = divmod(self._settings.workers, self._settings.processes)
        return every + (place < more)

    def _said(self) -> None:
        """A process has reported; the first time that all are ready is when we are."""
        if self._announced or len(self._children) < self._settings.processes or self.not_ready():
            return
        if all(child.line for child in self._children.values()):
            self._announced = True
            line = next(iter(self._children.values())).line
            found = f", {self._settings.processes} processes"
            where = f", metrics on {self._monitor.address}" if self._monitor else ""
            self._announce(line + found + where)
            lifecycle.tell_manager("READY=1", f"STATUS={line}{found}")

    def not_ready(self) -> str:
        """Why no process may give verdicts; "" where one may: who is not ready has not taken its address yet."""
        reasons = [child.not_ready for child in list(self._children.values())]
        return "" if "" in reasons else next(iter(reasons), "starting")

    def not_live(self) -> str:
        """Why only a restart of all helps: never, since a process that needs one is restarted alone."""
        return ""

    async def _watch(self) -> None:
        watchdog = lifecycle.watchdog_seconds() / 2
        told_at = 0.0
        while True:
            now = time.monotonic()
            for child in self._children.values():
                if child.pid and now - child.heard_at > 10 * REPORT_SECONDS and child.line:
                    trace.error("server process %d hangs; killing it", child.pid)
                    child.kill()
                elif child.not_live:
                    trace.error("server process %d needs a restart: %s", child.pid, child.not_live)
                    child.kill()
            if watchdog and now - told_at >= watchdog:
                told_at = now
                lifecycle.tell_manager("WATCHDOG=1")
            self._reap_orphans()
            await asyncio.sleep(0.5)

    def _reap_orphans(self) -> None:
        """Where this is process 1 of a container, workers whose server was killed become its children."""
        own = {child.pid for child in self._children.values()} | {self._measuring.pid if self._measuring else 0}
        with suppress(ChildProcessError):
            while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
                if ended.si_pid in own:
                    return  # it is waited for
                os.waitpid(ended.si_pid, os.WNOHANG)

    def _reload(self) -> None:
        lifecycle.tell_manager(*lifecycle.reloading())
        for child in self._children.values():
            child.signal(signal.SIGHUP)
        lifecycle.tell_manager("READY=1")

    async def _stop(self) -> None:
        children = list(self._children.values())
        for child in children:
            child.signal(signal.SIGTERM)
        drain = max((child.drain_seconds for child in children), default=0.0)
        until = time.monotonic() + drain + STOP_SLACK_SECONDS
        while any(child.running for child in children) and time.monotonic() < until:
            await asyncio.sleep(0.02)
        for child in children:
            child.kill()


def _folder_of_counts() -> Path:
    """A directory for the processes' metrics, once those are gone that killed supervisors have left."""
    prefix = "hashmatch-metrics-"
    for left in Path(tempfile.gettempdir()).glob(f"{prefix}*-*"):
        pid = left.name.removeprefix(prefix).partition("-")[0]
        if pid.isdigit() and not Path("/proc", pid).exists() and sys.platform == "linux":
            shutil.rmtree(left, ignore_errors=True)  # others' cannot be removed, and stay
    return Path(tempfile.mkdtemp(prefix=f"{prefix}{os.getpid()}-"))


class _Child:
    """One server process, as its supervisor sees it: it reports on standard output, a JSON object per line."""

    def __init__(self, workers: int, settings: Settings, argv: dict[str, str | None]) -> None:
        self._order = {
            "workers": workers, "listen": settings.listen, "http_listen": settings.http_listen, "argv": argv,
            "supervisor": os.getpid(),
        }  # fmt: skip
        self._process: asyncio.subprocess.Process | None = None
        self.line = ""  # what it announced, once it serves
        self.not_ready = "starting"
        self.not_live = ""
        self.drain_seconds = settings.drain_seconds  # as it has them now
        self.last_words = ""
        self.heard_at = time.monotonic()

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "hashmatch.server.child", json.dumps(self._order), stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def listen(self, said: Callable[[], None]) -> int:
        """Follows its reports until it ends; its exit status."""
        if self._process is None or self._process.stdout is None:
            raise Unavailable("the process was not started")
        async for line in self._process.stdout:
            report: dict[str, Any] = json.loads(line)
            self.heard_at = time.monotonic()
            self.line = report.get("announced", self.line)
            self.last_words = report.get("failed", self.last_words)
            self.not_ready = report.get("not_ready", self.not_ready)
            self.not_live = report.get("not_live", self.not_live)
            self.drain_seconds = report.get("drain_seconds", self.drain_seconds)
            said()
        self.not_ready = "ended"
        return await self._process.wait()

    def signal(self, number: int) -> None:
        if self.running and self._process:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)


@contextmanager
def _held(listen: str) -> Iterator[str]:
    """Holds an address without listening on it, so that processes which come and go find it; its true port.

    Raises:
        BadConfig: the address cannot be used.
    """
    address = Address.parse(listen)
    with bound(address, socket.SO_REUSEPORT) as holding:
        yield str(address.at(holding.getsockname()[1]))
