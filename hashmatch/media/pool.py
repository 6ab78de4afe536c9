"""The decode workers themselves: started, lent out, and replaced behind those who use them.

`size` of them live, or are on their way. What ended one is not known here: who lent it says whether it may be kept.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import TypeVar

from hashmatch.errors import BadConfig, HashmatchError
from hashmatch.media import protocol
from hashmatch.media.process import Worker
from hashmatch.types import Reason

STARTS_AT_ONCE = 2  # so that replacing workers leaves the processor to those that work
START_ATTEMPTS = 3  # that fail in a row with no worker left, before callers are told
RETRY_SECONDS = 0.2, 5.0  # pause after a failed start: the first, doubled up to the last

trace = logging.getLogger(__name__)
T = TypeVar("T")


class Pool:
    """Workers, and those of them that are idle. Belongs to one event loop, whose thread must outlive it."""

    def __init__(
        self,
        settings: protocol.Settings,
        size: int,
        submissions_per_worker: int,
        *,
        on_idle: Callable[[], None],
        on_despair: Callable[[], None],
    ) -> None:
        """
        Args:
            settings: what each is started with.
            size: how many.
            submissions_per_worker: after which one is replaced.
            on_idle: called when there is one more to lend out.
            on_despair: called when there are none, and none will come.
        """
        self.walls: tuple[str, ...] = ()  # those round every worker, as the last one to start reported them
        self.restarts = 0  # workers started to replace others
        self.open = False
        self.idle: list[Worker] = []  # the last one back is the next one out: its caches are warm
        self._settings, self._size, self._submissions = settings, size, submissions_per_worker
        self._on_idle, self._on_despair = on_idle, on_despair
        self._all: set[Worker] = set()  # those that have been ready and have not been removed
        self._failures = 0  # starts that failed in a row
        self._starts: set[asyncio.Task[None]] = set()
        self._tasks: set[asyncio.Task[object]] = set()  # the loop itself holds tasks weakly

    async def start(self) -> None:
        """Returns when all are ready.

        Raises:
            BadConfig: a wall is missing, or the job does not work; the text says which and why.
        """
        gate = asyncio.Semaphore(STARTS_AT_ONCE)

        async def one() -> None:
            async with gate:
                await self._start_one()

        self._starts.update(asyncio.create_task(one()) for _ in range(self._size))
        try:
            await asyncio.gather(*self._starts)
        except BaseException as e:
            await self.close()
            if isinstance(e, HashmatchError | OSError):
                raise BadConfig(str(e)) from e
            raise
        self._starts.clear()
        self.open = True
        self._refill()  # one may have died since it was ready

    async def close(self) -> None:
        """Ends every worker and waits until nothing of them is left, nor of what was spawned."""
        self.open = False
        self._on_despair()
        for start in self._starts:
            start.cancel()
        await asyncio.gather(*self._starts, return_exceptions=True)
        self._starts.clear()
        for worker in self._all:
            worker.kill(Reason.TIMED_OUT)
        await self._settle()  # before sockets are closed: a sender waits on its socket's end
        self.idle.clear()
        for worker in list(self._all):
            self._lose(worker)
        await self._settle()

    async def _settle(self) -> None:
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def healthy(self) -> bool:
        """Whether a worker lives, or its successor has not yet failed to start."""
        return self.open and (bool(self._all) or self._failures < START_ATTEMPTS)

    def take(self) -> Worker | None:
        """The idle worker that was used last; None where there is none."""
        return self._take(least=1, which=-1)

    def take_spare(self, kept: int) -> Worker | None:
        """The idle worker that was not used for longest, where `kept` are idle besides; else None."""
        return self._take(least=kept + 1, which=0)

    def _take(self, least: int, which: int) -> Worker | None:
        while len(self.idle) >= least:
            worker = self.idle.pop(which)
            if worker.fit():
                return worker
            self._lose(worker)
        return None

    def give_back(self, worker: Worker, *, keep: bool) -> None:
        """A worker that was taken is idle again, or is replaced unless `keep`."""
        worn = self.idle and worker.submissions >= self._submissions  # and another can take over at once
        if keep and not worn and not worker.ended:
            self.idle.append(worker)
        else:
            self._lose(worker)

    def _hung_up(self, worker: Worker) -> None:
        if worker in self.idle:  # one at work is seen by who waits for its answer
            self.idle.remove(worker)
            self._lose(worker)

    def _lose(self, worker: Worker) -> None:
        self._all.discard(worker)
        self.spawn(worker.remove())
        self._refill()

    def _refill(self) -> None:
        while self.open and len(self._starts) < STARTS_AT_ONCE and self._missing() > 0:
            start = asyncio.create_task(self._replace())
            self._starts.add(start)
            start.add_done_callback(self._starts.discard)

    def _missing(self) -> int:
        return self._size - len(self._all) - len(self._starts)

    async def _replace(self) -> None:
        """Starts workers until none is missing, however long that takes."""
        pause, longest = RETRY_SECONDS
        while self.open and self._missing() >= 0:  # this start is itself counted as on its way
            try:
                await self._start_one()
            except (HashmatchError, OSError) as e:
                self._failures += 1
                trace.error("no new decode worker: %s", e)
                if not self.healthy:
                    self._on_despair()
                await asyncio.sleep(pause)
                pause = min(2 * pause, longest)
            else:
                self._failures = 0
                self.restarts += 1
                self._on_idle()

    async def _start_one(self) -> None:
        worker = Worker(self._settings, self._hung_up)
        try:
            self.walls = await worker.ready()
        except BaseException:
            self.spawn(worker.remove())  # apart from this task, which may be cancelled meanwhile
            raise
        self._all.add(worker)
        self.idle.append(worker)

    def spawn(self, work: Coroutine[object, object, T]) -> asyncio.Task[T]:
        """Runs it to its end, which `close` waits for."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
