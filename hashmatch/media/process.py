"""One decode worker as its parent sees it: a process, the socket to it, and why it ended.

Workers are fresh interpreters, joined by a socket pair: never forks of the server, whose gRPC threads would not
survive one, and whose memory holds lists that no worker should inherit. The media goes from the caller's buffer into
the socket, and from the socket into the worker's buffer. Measured against it: shared memory is no faster below
megabytes, a memfd per submission costs 0.4 ms.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from hashmatch.errors import Malformed, Unavailable
from hashmatch.media import protocol, viewed
from hashmatch.media.levels import Level, Viewed
from hashmatch.types import Examination, Fingerprint, Hashed, Reason, Wanted

START_SECONDS = 30.0  # for a worker to get ready; ten times what a loaded machine needs
READ_BYTES = 1 << 16
DIAGNOSTIC_BYTES = 4 << 10  # kept of the end of what a worker wrote to stderr

trace = logging.getLogger(__name__)
T = TypeVar("T")

_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[2]); "
    "from hashmatch.media.worker import main; main(sys.argv[1])"
)
# The whole environment of a worker. One thread per library: walls bind one thread, and cores belong to workers.
_ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "1",
    # glibc's: pixels come from the heap, which keeps some for the next picture. Without it every big picture faults its
    # pages in anew: a 1920×1080 WebP takes 57 ms of CPU time instead of 36, JPEG and PNG the same. 32 MiB is the most
    # that glibc takes; setting either alone makes things worse, since it ends glibc's own adapting.
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(64 << 20),
}


class Ended(Exception):
    """The worker is gone, or has been sent away for talking nonsense."""


class Worker:
    """One process and the socket to it. Belongs to one event loop."""

    def __init__(self, settings: protocol.Settings, on_end: Callable[[Worker], None]) -> None:
        """Starts the process; it is of use once `ready` returns. `on_end` is called when it has hung up.

        The process dies with the *thread* that calls this (PR_SET_PDEATHSIG), so it must be the event loop's own.

        Raises:
            OSError: no process, memory or file descriptor is left.
        """
        self._loop = asyncio.get_running_loop()
        self._socket, theirs = socket.socketpair()
        ours, stderr = os.pipe()
        os.set_blocking(ours, False)
        os.set_blocking(stderr, False)  # a full pipe must not hold the worker up
        self._stderr = os.fdopen(ours, "rb", buffering=0)
        self._told = b""
        path = [entry for entry in sys.path if os.path.isabs(entry)]
        with theirs, contextlib.closing(os.fdopen(stderr, "wb")):
            try:
                self.process = subprocess.Popen(
                    [sys.executable, "-I", *(["-B"] if sys.dont_write_bytecode else []), "-c", _BOOT,
                     replace(settings, socket=theirs.fileno()).to_json(), json.dumps(path)],
                    env=_ENVIRONMENT, cwd="/", pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr,
                )  # fmt: skip
            except OSError:
                self._socket.close()
                self._stderr.close()
                raise
        self._socket.setblocking(False)
        self._received = bytearray()
        self._news = asyncio.Event()
        self._asked = True  # to start with: whether it is ready
        self.ended = False
        self.digests: tuple[Hashed, ...] = ()  # of the submission at work, once they have come
        self.submissions = 0
        self._killed_for: Reason | None = None  # where we killed it, what its submission is told
        self._memory_kills = memory_kills()
        self._on_end = on_end
        self._loop.add_reader(self._socket, self._read)

    def _read(self) -> None:
        try:
            data = self._socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data and self._asked and len(self._received) <= protocol.MAX_UNREAD_BYTES:
            self._received += data
        else:
            if data:  # it speaks unasked, or without end
                self.kill(Reason.UNDECODABLE)
            self._loop.remove_reader(self._socket)
            self.ended = True
            self._on_end(self)
        self._news.set()

    def fit(self) -> bool:
        """Whether the next submission can go to it: it lives, and has not spoken since the last."""
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return not self.ended
        except OSError:
            pass
        return False

    async def ready(self) -> tuple[str, ...]:
        """The walls that stand; those that are missing are told in the trace.

        Raises:
            Unavailable: the worker could not start; the text says why.
        """
        timer = self._loop.call_later(START_SECONDS, self.kill)
        try:
            kind, body = await self._message()
            said = json.loads(body)  # its own words: nothing hostile has been read yet
        except (Ended, Malformed, ValueError) as e:
            raise Unavailable(f"a decode worker did not start: {self.diagnostics()[-300:] or e!r}") from e
        finally:
            timer.cancel()
            self._asked = False
        if kind != protocol.READY:
            raise Unavailable(f"a decode worker did not start: {said}")
        if self.ended:
            raise Unavailable("a decode worker ended as soon as it was ready")
        standing, missing = said
        if missing:
            trace.warning("a decode worker lacks walls: %s", ", ".join(missing))
        return tuple(standing)

    async def examine(
        self,
        media: memoryview,
        wanted: Wanted,
        value_bytes: Mapping[str, int],
        deadline: float,
        digests: tuple[Hashed, ...] = (),
    ) -> Examination | Reason:
        """The worker's answer, or the reason that the worker gives for having none; it goes on all the same.

        After `deadline` seconds it is killed. `digests` are the exact ones where they are known; else it makes them.

        Raises:
            Ended: it died, was killed, or talked nonsense; `reason` says what that means for the submission.
        """
        self.digests = digests
        return await self._within(deadline, self._examine(media, wanted, value_bytes))

    async def view(self, media: memoryview, level: Level, frame: int, deadline: float) -> Viewed | Reason:
        """As `examine`, a frame of the media for a person to look at."""
        return await self._within(deadline, self._view(media, level, frame))

    async def _within(self, deadline: float, conversation: Coroutine[object, object, T]) -> T:
        self.submissions += 1
        self._asked = True
        self.diagnostics()  # makes room for what this one will write
        timer = self._loop.call_later(deadline, self.kill, Reason.TIMED_OUT)
        try:
            found = await conversation
        except Malformed as e:
            self.kill(Reason.UNDECODABLE)
            raise Ended from e
        except OSError as e:
            raise Ended from e
        finally:
            timer.cancel()
        self._asked = False
        return found

    async def _examine(self, media: memoryview, wanted: Wanted, value_bytes: Mapping[str, int]) -> Examination | Reason:
        await self._ask(protocol.EXAMINE, protocol.wanted_to_json(wanted, digests=not self.digests), media)
        if not self.digests:
            self.digests = protocol.digests_from_json((await self._message_of(protocol.DIGESTS))[1])
        kind, body = await self._last_of(protocol.EXAMINED, protocol.RAISED)
        if kind == protocol.RAISED:
            return protocol.reason_from_json(body)
        found = protocol.examination_from_json(body, wanted, value_bytes)
        return replace(found, hashed=(*self.digests, *found.hashed))

    async def _view(self, media: memoryview, level: Level, frame: int) -> Viewed | Reason:
        await self._ask(protocol.VIEW, protocol.view_to_json(level, frame), media)
        kind, body = await self._last_of(protocol.VIEWED, protocol.UNVIEWED, protocol.RAISED)
        if kind == protocol.RAISED:
            return protocol.reason_from_json(body)
        if kind == protocol.VIEWED:
            return viewed.view_from(body, level, frame)
        return viewed.absence_from(body, frame)

    async def _ask(self, what: int, said: bytes, media: memoryview) -> None:
        await self._loop.sock_sendall(self._socket, protocol.REQUEST.pack(what, len(said), media.nbytes) + said)
        await self._loop.sock_sendall(self._socket, media)

    async def _last_of(self, *kinds: int) -> tuple[int, bytes]:
        message = await self._message_of(*kinds)
        if self._received:
            raise Malformed("a worker said more than was asked")
        return message

    async def _message_of(self, *kinds: int) -> tuple[int, bytes]:
        kind, body = await self._message()
        if kind not in kinds:
            raise Malformed("a worker's answer is of the wrong kind")
        return kind, body

    async def _message(self) -> tuple[int, bytes]:
        while (message := protocol.take_message(self._received)) is None:
            if self.ended:
                raise Ended
            self._news.clear()
            await self._news.wait()
        return message

    def kill(self, reason: Reason | None = None) -> None:
        """Ends the process; `reason` is what its submission gets for an answer."""
        if not self.ended:
            self._killed_for = self._killed_for or reason
            self.process.kill()

    def diagnostics(self) -> str:
        """The end of what the process wrote to stderr so far. Bounded work, whatever it wrote."""
        if not self._stderr.closed:
            self._told = (self._told + (self._stderr.read(READ_BYTES) or b""))[-DIAGNOSTIC_BYTES:]
        return self._told.decode("ascii", "backslashreplace")

    async def reason(self) -> Reason:
        """What its submission is told, now that it has ended."""
        if self._killed_for:
            return self._killed_for
        return reason_of(await self._reap(), starved=memory_kills() > self._memory_kills)

    async def _reap(self) -> int:
        """The exit status, once nothing of the process is left; negative: the signal that ended it."""
        pause = 0.0005
        while self.process.poll() is None:
            if pause > 0.01:  # it hung up 10 ms ago and lives: not the kernel's way of dying
                self.process.kill()
            await asyncio.sleep(pause)
            pause = min(2 * pause, 0.05)
        return self.process.returncode

    async def remove(self) -> None:
        """Ends the process where it lives, and frees all that belongs to it."""
        self.process.kill()
        await self._reap()
        self._loop.remove_reader(self._socket)
        self._socket.close()
        self.diagnostics()
        self._stderr.close()


def reason_of(status: int, *, starved: bool) -> Reason:
    """What a worker's submission is told where we did not kill it. `starved`: the kernel has been short of memory.

    SIGKILL alone is no evidence of that: an operator's hand looks the same.
    """
    if status == -signal.SIGXCPU:
        return Reason.TIMED_OUT
    if status == protocol.OUT_OF_MEMORY or (status == -signal.SIGKILL and starved):
        return Reason.TOO_LARGE
    return Reason.UNDECODABLE


def memory_kills() -> int:
    """How many processes this kernel has ended for want of memory; 0 where it does not say (proc(5), since 4.13)."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


def digests(media: memoryview) -> tuple[Hashed, ...]:
    """The exact digests, for a worker that ended before it could send them."""
    return tuple(
        Hashed(Fingerprint(name, hashlib.new(name, media, usedforsecurity=False).digest()))
        for name in protocol.DIGEST_BYTES
    )
