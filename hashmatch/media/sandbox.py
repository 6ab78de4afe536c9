"""Decode workers, seen from the server: whatever media does to a worker, it costs that one submission an UNKNOWN.

A worker has at most one submission. Nonsense from it ends it, and where it is late it is killed, never waited for.
`workers` submissions run at once; `spares` more stand warm, so that a dead one is replaced at once while its successor
starts (0.3 s and more) behind it.

Views for reviewers run on spares alone, as many at once as there are, and have a line of their own: a verdict finds the
same workers whether views are asked for or not. What a view can cost it is the warm spare, for as long as the view runs
and so at most `deadline`: a worker that dies meanwhile is missed until its successor has started. And where there are
fewer cores than processes at work, a view has the share of one of them.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Self, TypeVar

from hashmatch.errors import DeadlinePassed, Malformed, Unavailable
from hashmatch.media import limits, process, protocol
from hashmatch.media.levels import Level, Unviewable, Viewed
from hashmatch.media.pool import Pool
from hashmatch.media.process import Worker
from hashmatch.media.waiting import Line
from hashmatch.types import Examination, Hashed, Reason, Unhashable, Wanted

LEAVING_SECONDS = 0.05  # for a submission whose caller has left: most end by then, which is cheaper than a new worker
VIEWS_WAITING = 32  # at most, and for how many seconds as far as can be foreseen: people ask for them, one by one
VIEW_SECONDS = 10.0

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
    viewing: int = 0  # views at work; crashes and timeouts count theirs too


@dataclass(eq=False)
class _Lane:
    """A line before workers, and how many of them its callers have."""

    line: Line[Worker]
    most: int  # that they may have at once
    busy: int = 0


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
        settings = protocol.Settings(
            socket=-1, parent=os.getpid(), job=self.job, hash_types=tuple(self.hash_types),
            memory_bytes=self.memory_bytes, cpu_seconds=self.cpu_seconds, require_walls=self.require_walls,
        )  # fmt: skip
        self._pool = Pool(
            settings, self.workers + self.spares, self.submissions_per_worker,
            on_idle=self._serve_waiting, on_despair=self._dismiss,
        )  # fmt: skip
        self._verdicts = self._lane(self.workers, self.queue_limit, self.queue_seconds)
        self._views = self._lane(self.spares, VIEWS_WAITING, VIEW_SECONDS)
        self.line = self._verdicts.line
        self._crashes = self._timeouts = 0

    def _lane(self, most: int, limit: int, seconds: float) -> _Lane:
        def left(worker: Worker) -> None:
            self._release(lane, worker, keep=True)

        lane = _Lane(Line(max(most, 1), limit, seconds, left), most)
        return lane

    async def start(self) -> None:
        """Returns when all workers and the spare are ready.

        Raises:
            BadConfig: a wall is missing, or the job does not work; the text says which and why.
        """
        await self._pool.start()

    async def close(self) -> None:
        """Ends every worker and waits until nothing of them is left. Submissions at work get Unavailable."""
        await self._pool.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def walls(self) -> tuple[str, ...]:
        """Those round every worker, as the last one to start reported them."""
        return self._pool.walls

    @property
    def healthy(self) -> bool:
        """Whether submissions are being answered: a worker lives, or its successor has not yet failed to start."""
        return self._pool.healthy

    @property
    def stats(self) -> Stats:
        """A snapshot."""
        return Stats(
            self._pool.restarts, self._crashes, self._timeouts,
            self._verdicts.busy, len(self.line), len(self._pool.idle), self._views.busy,
        )  # fmt: skip

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
                worker = await self._claim(self._verdicts, share, timeout, first=first)
                self.waited(time.monotonic() - began)
                return await self._attended(worker, self._examine(worker, memoryview(media).cast("B"), wanted, digests))
        except TimeoutError as e:
            raise DeadlinePassed from e

    async def view(
        self,
        media: bytes | memoryview,
        level: Level,
        *,
        frame: int = 0,
        timeout: float | None = None,
        share: str = "",
    ) -> Viewed:
        """A frame of the media as the level shows it; or why there is none; or how many frames there are, if fewer.

        `frame` counts from 0 to below the view's `frames`, which are those that are hashed. `timeout` and `share` are
        as for `examine`; `media` must stay as it is for as long. Never at the cost of an examination.

        Raises:
            Malformed: there can be no frame of that number.
            Overloaded: too many views wait already, or it would not be begun within `timeout`.
            DeadlinePassed: the caller's time is over.
            Unavailable: there are no workers, and new ones do not start; or no spares.
        """
        if not 0 <= frame < limits.MAX_FRAMES_HASHED:
            raise Malformed(f"not in 0..{limits.MAX_FRAMES_HASHED - 1}", field="frame")
        if not self.spares:
            raise Unavailable("views take a spare decode worker, and there is none")
        try:
            async with asyncio.timeout(timeout):
                worker = await self._claim(self._views, share, timeout)
                return await self._attended(worker, self._view(worker, memoryview(media).cast("B"), level, frame))
        except TimeoutError as e:
            raise DeadlinePassed from e

    async def _attended(self, worker: Worker, work: Coroutine[object, object, T]) -> T:
        """What comes of the work, which goes on for a moment where the caller leaves."""
        task = self._pool.spawn(work)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            asyncio.get_running_loop().call_later(LEAVING_SECONDS, _leave, worker, task)
            raise

    async def _examine(
        self, worker: Worker, media: memoryview, wanted: Wanted, digests: tuple[Hashed, ...]
    ) -> Examination:
        asked = worker.examine(media, wanted, self.hash_types, self.deadline, digests)
        found = await self._answer(self._verdicts, worker, asked)
        if isinstance(found, Examination):
            return found
        return Examination(
            hashed=worker.digests or await asyncio.to_thread(process.digests, media),
            unhashable=tuple(Unhashable(hash_type, found) for hash_type in protocol.perceptual(wanted)),
        )

    async def _view(self, worker: Worker, media: memoryview, level: Level, frame: int) -> Viewed:
        asked = worker.view(media, level, frame, self.deadline)
        seen: Viewed | Reason = await self._answer(self._views, worker, asked)
        return Unviewable(seen) if isinstance(seen, Reason) else seen

    async def _answer(self, lane: _Lane, worker: Worker, asked: Coroutine[object, object, T | Reason]) -> T | Reason:
        """What the worker says, or the reason why it says nothing. It is given back."""
        began = time.monotonic()
        said: T | Reason | None = None
        try:
            said = await asked
        except process.Ended as e:
            trace.warning("decode worker %d is gone: %s", worker.process.pid, e.__cause__ or "it hung up")
        finally:
            lane.line.used(time.monotonic() - began)
            self._release(lane, worker, keep=said is not None)
        if said is not None and not isinstance(said, Reason):
            return said
        reason = said or await worker.reason()
        if not self._pool.open:
            raise Unavailable("the decode workers are being stopped")
        if reason is Reason.TIMED_OUT:
            self._timeouts += 1
        elif said is not Reason.TOO_LARGE:
            self._crashes += 1
            # At a level of its own: it is the worker's words, and those may quote the media.
            trace.debug("decode worker %d wrote: %r", worker.process.pid, worker.diagnostics())
        return reason

    async def _claim(self, lane: _Lane, share: str, timeout: float | None, *, first: bool = False) -> Worker:
        """A worker, counted as busy: give it back with `_release`."""
        if not self.healthy:
            raise Unavailable("there are no decode workers")
        if not len(lane.line) and (worker := self._take(lane)):
            return worker
        return await lane.line.wait(share, timeout, first=first)

    def _take(self, lane: _Lane) -> Worker | None:
        if lane.busy >= lane.most:
            return None
        free = self.workers - self._verdicts.busy  # for submissions that may come
        worker = self._pool.take_spare(kept=free) if lane is self._views else self._pool.take()
        if worker is not None:
            lane.busy += 1
        return worker

    def _release(self, lane: _Lane, worker: Worker, *, keep: bool) -> None:
        lane.busy -= 1
        self._pool.give_back(worker, keep=keep)
        self._serve_waiting()

    def _serve_waiting(self) -> None:
        for lane in (self._verdicts, self._views):
            while len(lane.line) and (worker := self._take(lane)) is not None:
                if not lane.line.serve(worker):
                    lane.busy -= 1
                    self._pool.idle.append(worker)

    def _dismiss(self) -> None:
        for lane in (self._verdicts, self._views):
            lane.line.dismiss(lambda: Unavailable("there are no decode workers"))


def _leave(worker: Worker, work: asyncio.Task[T]) -> None:
    if not work.done():
        worker.kill(Reason.TIMED_OUT)
