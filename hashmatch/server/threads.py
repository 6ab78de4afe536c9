"""Threads for blocking calls, bounded, so that verdicts go on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

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

    async def run(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """What `work` returns. A caller who leaves takes his call with him only where no thread has begun it.

        Raises:
            Overloaded: there are too many such calls.
        """
        if not self._room.acquire(blocking=False):
            raise Overloaded(f"{self._at_once} {self._what} are under way already", retry_after=self._retry_after)
        doing: Future[R] = self._executor.submit(work, *args, **kwargs)
        doing.add_done_callback(lambda _: self._room.release())
        return await asyncio.wrap_future(doing)

    def close(self) -> None:
        """Waits for the calls that have begun; drops the others."""
        self._executor.shutdown(cancel_futures=True)
