"""Decode workers, seen from the server: whatever media does to a worker, it costs that one submission an UNKNOWN.

A worker has at most one submission. Nonsense from it ends it, and where it is late it is killed, never waited for.
`workers` submissions run at once; `spares` more stand warm, so that a dead one is replaced at once while its successor
starts (0.3 s and more) behind it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Self, TypeVar

from hashmatch.errors import BadConfig, DeadlinePassed, HashmatchError, Unavailable
from hashmatch.media import process, protocol
from hashmatch.media.process import Worker
from hashmatch.media.waiting import Line
from hashmatch.types import Examination, Hashed, Reason, Unhashable, Wanted

STARTS_AT_ONCE = 2  # so that replacing workers leaves the processor to those that work
START_ATTEMPTS = 3  # that fail in a row with no worker left, before callers are told
RETRY_SECONDS = 0.2, 5.0  # pause after a failed start: the first, doubled up to the last
LEAVING_SECONDS = 0.05  # for a submission whose caller has left: most end by then, which is cheaper than a new worker

trace = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Stats:
    """Counts since the start, and how things stand now."""

    restarts: int = 0  # workers started to replace others
    crashes: int = 0  # submissions that ended their worker, raised an error in it, or were answered with nonsense
    timeouts: int = 0  # submissions killed on the deadline, on the CPU limit, or because their caller had left
    busy: int = 0  # submissions at work
    waiting: int = 0  # submissions in the queue
    idle: int = 0  # workers ready for the next submission, the spare among them


@dataclass(eq=False, repr=False, kw_only=True)
class Sandbox:
    """A pool of decode workers. Belongs to the event loop that starts it, whose thread must outlive it.

    `memory_bytes` is resident memory of a whole worker, the interpreter and the loaded job included (63 MiB with PDQ
    alone, 78 with every hash type). It is kept as a limit on address space, so what is reserved and untouched counts:
    beyond what is mapped as the walls go up, a worker gets `memory_bytes` less what is resident then.
    """

    workers: int  # submissions at work at once
    spares: int = 1  # more workers that stand warm: with none, the next answer after a crash waits for a new one
    job: str = "hashmatch.examine"  # the module that a worker runs, as `worker.Job` says
    hash_types: Mapping[str, int] = field(default_factory=lambda: {"pdq": 32})  # all that can be wanted → value's bytes
    memory_bytes: int = 480 << 20  # resident, as above; a submission that needs more is TOO_LARGE
    deadline: float = 4.0  # seconds of wall time for one submission; then it is TIMED_OUT
    cpu_seconds: int = 5  # of one submission, kept by the kernel: holds where this process cannot keep the deadline
    require_walls: bool = True  # refuse to start where a wall is missing
    queue_limit: int = 64  # submissions that wait for a worker; one more is refused
    queue_seconds: float = 60.0  # that the last of them may have to wait, as far as can be foreseen; more is refused
    waited: Callable[[float], None] = lambda _: None  # told the seconds that each submission waited for its worker
    # Then it is replaced, so that a decoder that was taken over loses its seat, at 1 % of the time of small pictures.
    submissions_per_worker: int = 10_000

    def __post_init__(self) -> None:
        self.walls: tuple[str, ...] = ()  # those round every worker, as the last one to start reported them
        self._settings = protocol.Settings(
            socket=-1, parent=os.getpid(), job=self.job, hash_types=tuple(self.hash_types),
            memory_bytes=self.memory_bytes, cpu_seconds=self.cpu_seconds, require_walls=self.require_walls,
        )  # fmt: skip
        self._all: set[Worker] = set()  # those that have been ready and have not been removed
        self._idle: list[Worker] = []  # the last one back is the next one out: its caches are warm
        self.line: Line[Worker] = Line(
            self.workers, self.queue_limit, self.queue_seconds, lambda worker: self._release(worker, keep=True)
        )
        self._busy = self._restarts = self._crashes = self._timeouts = 0
        self._failures = 0  # starts that failed in a row
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

        self._starts.update(asyncio.create_task(one()) for _ in range(self.workers + self.spares))
        try:
            await asyncio.gather(*self._starts)
        except BaseException as e:
            await self.close()
            if isinstance(e, HashmatchError | OSError):
                raise BadConfig(str(e)) from e
            raise
        self._starts.clear()
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

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def healthy(self) -> bool:
        """Whether submissions are being answered: a worker lives, or its successor has not yet failed to start."""
        return self._open and (bool(self._all) or self._failures < START_ATTEMPTS)

    @property
    def stats(self) -> Stats:
        """A snapshot."""
        return Stats(self._restarts, self._crashes, self._timeouts, self._busy, len(self.line), len(self._idle))

    async def examine(
        self,
        media: bytes | memoryview,
        wanted: Wanted,
        *,
        timeout: float | None = None,
        first: bool = False,
        share: str = "",
        digests: tuple[Hashed, ...] = (),
    ) -> Examination:
        """What the media is and hashes to. Its exact digests are in it, whatever happened to the worker.

        `timeout` is the seconds that the caller has left, waiting included. A caller that leaves, by timeout or by
        cancellation, frees its place at once and its worker within LEAVING_SECONDS; so long must `media` stay as it is.
        `first` goes before all who wait, however many: for what the service itself must know. Those who wait are
        served in turn by `share`, and where there is no more room it is made at the cost of who has most waiting.
        `digests` are the media's exact ones, where they are known already.

        Raises:
            Overloaded: too many wait already, or it would not be begun within `timeout`.
            DeadlinePassed: the caller's time is over.
            Unavailable: there are no workers, and new ones do not start.
        """
        try:
            async with asyncio.timeout(timeout):
                began = time.monotonic()
                worker = await self._claim(first, share, timeout)
                self.waited(time.monotonic() - began)
                work = self._spawn(self._examine(worker, memoryview(media).cast("B"), wanted, digests))
                try:
                    return await asyncio.shield(work)
                except asyncio.CancelledError:
                    asyncio.get_running_loop().call_later(LEAVING_SECONDS, _leave, worker, work)
                    raise
        except TimeoutError as e:
            raise DeadlinePassed from e

    async def _examine(
        self, worker: Worker, media: memoryview, wanted: Wanted, digests: tuple[Hashed, ...]
    ) -> Examination:
        began = time.monotonic()
        found: Examination | Reason | None = None
        try:
            found = await worker.examine(media, wanted, self.hash_types, self.deadline, digests)
        except process.Ended as e:
            trace.warning("decode worker %d is gone: %s", worker.process.pid, e.__cause__ or "it hung up")
        finally:
            self.line.used(time.monotonic() - began)
            self._release(worker, keep=found is not None)
        if isinstance(found, Examination):
            return found
        reason = found or await worker.reason()
        if not self._open:
            raise Unavailable("the decode workers are being stopped")
        if reason is Reason.TIMED_OUT:
            self._timeouts += 1
        elif found is not Reason.TOO_LARGE:
            self._crashes += 1
            # At a level of its own: it is the worker's words, and those may quote the media.
            trace.debug("decode worker %d wrote: %r", worker.process.pid, worker.diagnostics())
        return Examination(
            hashed=worker.digests or await asyncio.to_thread(process.digests, media),
            unhashable=tuple(Unhashable(hash_type, reason) for hash_type in protocol.perceptual(wanted)),
        )

    async def _claim(self, first: bool, share: str, timeout: float | None) -> Worker:
        """A worker, counted as busy: give it back with `_release`."""
        if not self.healthy:
            raise Unavailable("there are no decode workers")
        if not len(self.line) and (worker := self._take()):
            return worker
        return await self.line.wait(share, timeout, first=first)

    def _take(self) -> Worker | None:
        while self._idle and self._busy < self.workers:
            worker = self._idle.pop()
            if worker.fit():
                self._busy += 1
                return worker
            self._lose(worker)
        return None

    def _release(self, worker: Worker, *, keep: bool) -> None:
        self._busy -= 1
        worn = self._idle and worker.submissions >= self.submissions_per_worker  # and another can take over at once
        if keep and not worn and not worker.ended:
            self._idle.append(worker)
        else:
            self._lose(worker)
        self._serve_waiting()

    def _serve_waiting(self) -> None:
        while len(self.line) and (worker := self._take()) is not None:
            if not self.line.serve(worker):
                self._busy -= 1
                self._idle.append(worker)

    def _dismiss(self) -> None:
        self.line.dismiss(lambda: Unavailable("there are no decode workers"))

    def _hung_up(self, worker: Worker) -> None:
        if worker in self._idle:  # one at work is seen by who waits for its answer
            self._idle.remove(worker)
            self._lose(worker)

    def _lose(self, worker: Worker) -> None:
        self._all.discard(worker)
        self._spawn(worker.remove())
        self._refill()

    def _refill(self) -> None:
        while self._open and len(self._starts) < STARTS_AT_ONCE and self._missing() > 0:
            start = asyncio.create_task(self._replace())
            self._starts.add(start)
            start.add_done_callback(self._starts.discard)

    def _missing(self) -> int:
        return self.workers + self.spares - len(self._all) - len(self._starts)

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
        worker = Worker(self._settings, self._hung_up)
        try:
            self.walls = await worker.ready()
        except BaseException:
            self._spawn(worker.remove())  # apart from this task, which may be cancelled meanwhile
            raise
        self._all.add(worker)
        self._idle.append(worker)

    def _spawn(self, work: Coroutine[object, object, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _leave(worker: Worker, work: asyncio.Task[Examination]) -> None:
    if not work.done():
        worker.kill(Reason.TIMED_OUT)
