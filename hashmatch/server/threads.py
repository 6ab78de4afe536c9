"""Threads for blocking calls, bounded, so that verdicts go on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, ParamSpec, TypeVar

from hashmatch.errors import Overloaded

P = ParamSpec("P")
R = TypeVar("R")


class Threads:
    """Threads for one kind of call."""

    def __init__(self, what: str, threads: int, at_once: int, retry_after: float) -> None:
        """At most `at_once` calls run or wait for a thread; `retry_after` is what any more are told, in seconds."""
        self._what, self._at_once, self._retry_after = what, at_once, retry_after
        self._room = threading.Semaphore(at_once)
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=f"lists-{what}")
        self._submitted: set[Future[Any]] = set()  # and not done; changed by one event loop and, done, by the threads

    async def run(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """What `work` returns. A caller who leaves takes his call with him only where no thread has begun it.

        Raises:
            Overloaded: there are too many such calls.
        """
        if not self._room.acquire(blocking=False):
            raise Overloaded(f"{self._at_once} {self._what} are under way already", retry_after=self._retry_after)
        doing: Future[R] = self._executor.submit(work, *args, **kwargs)
        self._submitted.add(doing)
        doing.add_done_callback(self._done)
        return await asyncio.wrap_future(doing)

    def _done(self, doing: Future[Any]) -> None:
        self._submitted.discard(doing)
        self._room.release()

    def close(self, seconds: float) -> bool:
        """Drops the calls that no thread has begun, and waits for the others; False where some take longer."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        return not wait(list(self._submitted), seconds).not_done
