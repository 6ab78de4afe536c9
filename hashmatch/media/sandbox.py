"""Decode workers, seen from the server: whatever media does to a worker, it costs that one submission an UNKNOWN.

Invariants. A worker has at most one submission. Everything a worker says is parsed strictly and bounded; nonsense ends
it. A worker that is late is killed, never waited for. `workers` submissions run at once; one more worker stands warm,
so that a dead one is replaced at once while its successor starts (0.3 s and more) behind it.

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
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType, TracebackType
from typing import Self, TypeVar

from hashmatch.errors import BadConfig, DeadlinePassed, HashmatchError, Malformed, Overloaded, Unavailable
from hashmatch.media import worker as protocol
from hashmatch.types import Examination, Fingerprint, Hashed, Reason, Unhashable, Wanted

START_SECONDS = 30.0  # for a worker to get ready; ten times what a loaded machine needs
STARTS_AT_ONCE = 2  # so that replacing workers leaves the processor to those that work
START_ATTEMPTS = 3  # that fail in a row with no worker left, before callers are told
RETRY_SECONDS = 0.2, 5.0  # pause after a failed start: the first, doubled up to the last
LEAVING_SECONDS = 0.05  # for a submission whose caller has left: most end by then, which is cheaper than a new worker
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


@dataclass(frozen=True, slots=True)
class Stats:
    """Counts since the start, and how things stand now."""

    restarts: int = 0  # workers started to replace others
    crashes: int = 0  # submissions that ended their worker, raised an error in it, or were answered with nonsense
    timeouts: int = 0  # submissions killed on the deadline, on the CPU limit, or because their caller had left
    busy: int = 0  # submissions at work
    waiting: int = 0  # submissions in the queue
    idle: int = 0  # workers ready for the next submission, the spare among them


class _Ended(Exception):
    """The worker is gone, or has been sent away for talking nonsense."""


class _Worker:
    """One process and the socket to it. Belongs to one event loop."""

    def __init__(self, settings: protocol.Settings, on_end: Callable[[_Worker], None]) -> None:
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
        self.killed_for: Reason | None = None  # why we killed it, where we did
        self.digests: tuple[Hashed, ...] = ()  # of the submission at work, once they have come
        self.submissions = 0
        self._on_end = on_end
        self._loop.add_reader(self._socket, self._read)

    def _read(self) -> None:
        try:
            data = self._socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data and self._asked and len(self._received) <= 2 * protocol.MAX_ANSWER_BYTES:
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

    async def ready(self) -> tuple[list[str], list[str]]:
        """The walls that stand and those that are missing.

        Raises:
            Unavailable: the worker could not start; the text says why.
        """
        timer = self._loop.call_later(START_SECONDS, self.kill)
        try:
            kind, body = await self._frame()
            said = json.loads(body)
        except (_Ended, Malformed, ValueError) as e:
            raise Unavailable(f"a decode worker did not start: {self.diagnostics()[-300:] or e!r}") from e
        finally:
            timer.cancel()
            self._asked = False
        if kind == protocol.READY:
            return said[0], said[1]  # nothing hostile has been read yet, so these are its own words
        raise Unavailable(f"a decode worker did not start: {said}")

    async def examine(self, media: memoryview, wanted: Wanted, value_bytes: Mapping[str, int]) -> Examination | Reason:
        """The worker's answer, or the reason that the worker gives for having none; it goes on all the same.

        Raises:
            _Ended: it died, was killed, or talked nonsense.
        """
        self.digests = ()
        self.submissions += 1
        self._asked = True
        self.diagnostics()  # makes room for what this one will write
        asked = protocol.wanted_to_json(wanted)
        try:
            await self._loop.sock_sendall(self._socket, protocol.REQUEST.pack(len(asked), media.nbytes) + asked)
            await self._loop.sock_sendall(self._socket, media)
            self.digests = protocol.digests_from_json((await self._frame_of(protocol.DIGESTS))[1])
            kind, body = await self._frame_of(protocol.EXAMINED, protocol.RAISED)
            found: Examination | Reason
            if kind == protocol.EXAMINED:
                found = protocol.examination_from_json(body, wanted, value_bytes)
                found = replace(found, hashed=(*self.digests, *found.hashed))
            else:
                found = protocol.reason_from_json(body)
            if self._received:
                raise Malformed("a worker said more than was asked")
        except Malformed as e:
            self.kill(Reason.UNDECODABLE)
            raise _Ended from e
        except OSError as e:
            raise _Ended from e
        self._asked = False
        return found

    async def _frame_of(self, *kinds: int) -> tuple[int, bytes]:
        kind, body = await self._frame()
        if kind not in kinds:
            raise Malformed("a worker's answer is of the wrong kind")
        return kind, body

    async def _frame(self) -> tuple[int, bytes]:
        while True:
            if len(self._received) >= protocol.FRAME.size:
                kind, length = protocol.FRAME.unpack_from(self._received)
                if length > protocol.MAX_ANSWER_BYTES:
                    raise Malformed("a worker's answer is too long")
                end = protocol.FRAME.size + length
                if len(self._received) >= end:
                    body = bytes(self._received[protocol.FRAME.size : end])
                    del self._received[:end]
                    return kind, body
            if self.ended:
                raise _Ended
            self._news.clear()
            await self._news.wait()

    def kill(self, reason: Reason | None = None) -> None:
        """Ends the process; `reason` is what its submission gets for an answer."""
        if not self.ended:
            self.killed_for = self.killed_for or reason
            self.process.kill()

    def diagnostics(self) -> str:
        """The end of what the process wrote to stderr so far. Bounded work, whatever it wrote."""
        if not self._stderr.closed:
            self._told = (self._told + (self._stderr.read(READ_BYTES) or b""))[-DIAGNOSTIC_BYTES:]
        return self._told.decode("ascii", "backslashreplace")

    async def reap(self) -> int:
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
        await self.reap()
        self._loop.remove_reader(self._socket)
        self._socket.close()
        self.diagnostics()
        self._stderr.close()


class Sandbox:
    """A pool of decode workers. Belongs to the event loop that starts it, whose thread must outlive it."""

    def __init__(
        self,
        *,
        workers: int,
        job: str = "hashmatch.examine",
        hash_types: Mapping[str, int] = MappingProxyType({"pdq": 32}),
        memory_bytes: int = 480 << 20,
        deadline: float = 4.0,
        cpu_seconds: int = 5,
        require_walls: bool = True,
        queue_limit: int = 64,
        submissions_per_worker: int = 10_000,
    ) -> None:
        """Sets the bounds; `start` starts.

        Args:
            workers: submissions at work at once; one more process stands by.
            job: the module that a worker runs, as `worker.Job` says.
            hash_types: those that can be wanted, and the bytes of their values. A worker can load no more once it runs.
            memory_bytes: resident memory of one worker; a submission that needs more is TOO_LARGE.
            deadline: seconds of wall time for one submission; then it is TIMED_OUT.
            cpu_seconds: of one submission, kept by the kernel: it holds where this process cannot keep the deadline.
            require_walls: refuse to start where a wall is missing.
            queue_limit: submissions that wait for a worker; one more is refused.
            submissions_per_worker: after which it is replaced, so that a decoder that was taken over loses its seat, at
                about 1 % of the time of small pictures.
        """
        self.workers = workers
        self._settings = protocol.Settings(
            socket=-1, parent=os.getpid(), job=job, hash_types=tuple(hash_types), memory_bytes=memory_bytes,
            cpu_seconds=cpu_seconds, require_walls=require_walls,
        )  # fmt: skip
        self._value_bytes = dict(hash_types)
        self._deadline = deadline
        self._queue_limit = queue_limit
        self._submissions_per_worker = submissions_per_worker
        self._walls: tuple[str, ...] = ()
        self._all: set[_Worker] = set()  # those that have been ready and have not been removed
        self._idle: list[_Worker] = []  # the last one back is the next one out: its caches are warm
        self._waiting: deque[asyncio.Future[_Worker]] = deque()
        self._busy = 0
        self._restarts = self._crashes = self._timeouts = 0
        self._failures = 0  # starts that failed in a row
        self._mean_seconds = 0.01  # of a submission, a moving average
        self._starts: set[asyncio.Task[None]] = set()
        self._tasks: set[asyncio.Task[object]] = set()  # the loop itself holds tasks weakly
        self._open = False

    async def start(self) -> None:
        """Returns when all workers and the spare are ready.

        Raises:
            BadConfig: a wall is missing, or the job does not work; the text says which and why.
        """
        gate = asyncio.Semaphore(STARTS_AT_ONCE)

        async def one() -> None:
            async with gate:
                await self._start_one()

        starts = [asyncio.create_task(one()) for _ in range(self.workers + 1)]
        self._starts.update(starts)
        try:
            await asyncio.gather(*starts)
            self._starts.clear()
        except BaseException as e:
            await self.close()
            if isinstance(e, HashmatchError | OSError):
                raise BadConfig(str(e)) from e
            raise
        self._open = True
        self._refill()  # one may have died since it was ready

    async def close(self) -> None:
        """Ends every worker and waits until nothing of them is left. Submissions at work get Unavailable."""
        self._open = False
        self._dismiss()
        for start in self._starts:
            start.cancel()
        await asyncio.gather(*self._starts, return_exceptions=True)
        self._starts.clear()
        for worker in self._all:
            worker.kill(Reason.TIMED_OUT)
        await self._settle()  # before sockets are closed: a sender waits on its socket's end
        self._idle.clear()
        for worker in list(self._all):
            self._lose(worker)
        await self._settle()

    async def _settle(self) -> None:
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, e: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def walls(self) -> tuple[str, ...]:
        """The walls that stand round every worker, as the last one to start reported them."""
        return self._walls

    @property
    def healthy(self) -> bool:
        """Whether submissions are being answered: a worker lives, or its successor has not yet failed to start."""
        return self._open and (bool(self._all) or self._failures < START_ATTEMPTS)

    @property
    def stats(self) -> Stats:
        """A snapshot."""
        return Stats(self._restarts, self._crashes, self._timeouts, self._busy, len(self._waiting), len(self._idle))

    async def examine(self, media: bytes | memoryview, wanted: Wanted, *, timeout: float | None = None) -> Examination:
        """What the media is and hashes to. Its exact digests are in it, whatever happened to the worker.

        `timeout` is how many seconds the caller has left, the wait for a worker included. A caller that leaves, by its
        timeout or by cancellation, frees its place in the queue at once, and its worker within LEAVING_SECONDS; so
        `media` must stay as it is for that long.

        Raises:
            Overloaded: too many wait already.
            DeadlinePassed: the caller's time is over.
            Unavailable: there are no workers, and new ones do not start.
        """
        try:
            async with asyncio.timeout(timeout):
                worker = await self._claim()
                work = self._spawn(self._examine(worker, memoryview(media).cast("B"), wanted))
                try:
                    return await asyncio.shield(work)
                except asyncio.CancelledError:
                    asyncio.get_running_loop().call_later(LEAVING_SECONDS, _leave, worker, work)
                    raise
        except TimeoutError as e:
            raise DeadlinePassed from e

    async def _examine(self, worker: _Worker, media: memoryview, wanted: Wanted) -> Examination:
        loop = asyncio.get_running_loop()
        began = loop.time()
        timer = loop.call_later(self._deadline, worker.kill, Reason.TIMED_OUT)
        found: Examination | Reason | None = None
        try:
            found = await worker.examine(media, wanted, self._value_bytes)
        except _Ended as e:
            trace.warning("decode worker %d is gone: %s", worker.process.pid, e.__cause__ or "it hung up")
        finally:
            timer.cancel()
            self._mean_seconds += (loop.time() - began - self._mean_seconds) / 16
            self._release(worker, keep=found is not None)
        if isinstance(found, Examination):
            return found
        reason = found or worker.killed_for or _reason(await worker.reap())
        if not self._open:
            raise Unavailable("the decode workers are being stopped")
        if reason is Reason.TIMED_OUT:
            self._timeouts += 1
        elif found is not Reason.TOO_LARGE:
            self._crashes += 1
            # At a level of its own: it is the worker's words, and those may quote the media.
            trace.debug("decode worker %d wrote: %r", worker.process.pid, worker.diagnostics())
        return Examination(
            hashed=worker.digests or await asyncio.to_thread(_digests, media),
            unhashable=tuple(Unhashable(hash_type, reason) for hash_type in protocol.perceptual(wanted)),
        )

    async def _claim(self) -> _Worker:
        """A worker, counted as busy: give it back with `_release`."""
        if not self.healthy:
            raise Unavailable("there are no decode workers")
        if not self._waiting and (worker := self._take()):
            return worker
        if len(self._waiting) >= self._queue_limit:
            raise Overloaded(retry_after=max(0.1, len(self._waiting) * self._mean_seconds / self.workers))
        place: asyncio.Future[_Worker] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            return await place
        except asyncio.CancelledError:
            if place in self._waiting:
                self._waiting.remove(place)
            if not place.cancelled() and not place.exception():  # it left in the moment that a worker came free for it
                self._release(place.result(), keep=True)
            raise

    def _take(self) -> _Worker | None:
        while self._idle and self._busy < self.workers:
            worker = self._idle.pop()
            if worker.fit():
                self._busy += 1
                return worker
            self._lose(worker)
        return None

    def _release(self, worker: _Worker, *, keep: bool) -> None:
        self._busy -= 1
        another = bool(self._idle)  # can take over at once
        worn = worker.submissions >= self._submissions_per_worker and another
        if keep and not worn and not worker.ended:
            self._idle.append(worker)
        else:
            self._lose(worker)
        self._serve_waiting()

    def _serve_waiting(self) -> None:
        while self._waiting:
            if self._waiting[0].done():  # its caller has left, and has not yet run to take its place away
                self._waiting.popleft()
            elif worker := self._take():
                self._waiting.popleft().set_result(worker)
            else:
                return

    def _dismiss(self) -> None:
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_exception(Unavailable("there are no decode workers"))

    def _hung_up(self, worker: _Worker) -> None:
        if worker in self._idle:  # one at work is seen by who waits for its answer
            self._idle.remove(worker)
            self._lose(worker)

    def _lose(self, worker: _Worker) -> None:
        self._all.discard(worker)
        self._spawn(worker.remove())
        self._refill()

    def _refill(self) -> None:
        while self._open and len(self._starts) < STARTS_AT_ONCE and self._missing() > 0:
            start = asyncio.create_task(self._replace())
            self._starts.add(start)
            start.add_done_callback(self._starts.discard)

    def _missing(self) -> int:
        return self.workers + 1 - len(self._all) - len(self._starts)

    async def _replace(self) -> None:
        """Starts workers until none is missing, however long that takes."""
        pause, longest = RETRY_SECONDS
        while self._open and self._missing() >= 0:  # this start is itself counted as on its way
            try:
                await self._start_one()
            except (HashmatchError, OSError) as e:
                self._failures += 1
                trace.error("no new decode worker: %s", e)
                if not self.healthy:
                    self._dismiss()
                await asyncio.sleep(pause)
                pause = min(2 * pause, longest)
            else:
                self._failures = 0
                self._restarts += 1
                self._serve_waiting()

    async def _start_one(self) -> None:
        worker = _Worker(self._settings, self._hung_up)
        try:
            standing, missing = await worker.ready()
            if worker.ended:
                raise Unavailable("a decode worker ended as soon as it was ready")
        except BaseException:
            self._spawn(worker.remove())  # apart from this task, which may be cancelled meanwhile
            raise
        if missing:
            trace.warning("decode workers lack walls: %s", ", ".join(missing))
        self._walls = tuple(standing)
        self._all.add(worker)
        self._idle.append(worker)

    def _spawn(self, work: Coroutine[object, object, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[object]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # its caller may have left; asyncio would complain that nobody looked


def _leave(worker: _Worker, work: asyncio.Task[Examination]) -> None:
    if not work.done():
        worker.kill(Reason.TIMED_OUT)


def _reason(status: int) -> Reason:
    if status == -signal.SIGXCPU:
        return Reason.TIMED_OUT
    if status in (-signal.SIGKILL, protocol.OUT_OF_MEMORY):  # not killed by us, so by the kernel, short of memory
        return Reason.TOO_LARGE
    return Reason.UNDECODABLE


def _digests(media: memoryview) -> tuple[Hashed, ...]:
    """The exact digests, for a worker that ended before it could send them."""
    return tuple(
        Hashed(Fingerprint(name, hashlib.new(name, media, usedforsecurity=False).digest()))
        for name in protocol.DIGEST_BYTES
    )
