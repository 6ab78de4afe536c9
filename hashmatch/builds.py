"""Snapshots that are being built beside the server, one at a time, each in a process of its own."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

from hashmatch.index.wanted import Wanted

RETRY_SECONDS = 10.0  # after a build that failed: a full disk is not asked again at once

trace = logging.getLogger(__name__)


class Builds:
    """Starts what is wanted and tells when it is done. One event loop owns it."""

    def __init__(self, command: Callable[[Wanted], Sequence[str]], built: Callable[[int], None]) -> None:
        """`command` is what builds; `built` is told the number of each list that has new snapshots."""
        self._command, self._built = command, built
        self._running: asyncio.Task[None] | None = None
        self._failed: dict[tuple[int, int], float] = {}  # list and version → monotonic seconds of the last failure
        self.problem = ""  # why the last build failed; "" where it did not

    def want(self, wanted: Sequence[Wanted]) -> None:
        """Starts the first of these that has not just failed, unless something is being built."""
        if self._running is not None and not self._running.done():
            return
        now = time.monotonic()
        for one in wanted:
            if now - self._failed.get((one.list_number, one.version), float("-inf")) > RETRY_SECONDS:
                self._running = asyncio.create_task(self._build(one), name="build")
                return

    async def _build(self, wanted: Wanted) -> None:
        trace.info("%s", wanted.why)
        began = time.monotonic()
        process = await asyncio.create_subprocess_exec(*self._command(wanted), stderr=asyncio.subprocess.PIPE)
        try:
            _, told = await process.communicate()
        except asyncio.CancelledError:
            process.kill()
            await process.wait()
            raise
        if process.returncode:
            self._failed[wanted.list_number, wanted.version] = time.monotonic()
            said = told.decode(errors="replace").strip().rpartition("\n")[2]
            self.problem = f"the snapshot of list '{wanted.name}' could not be built: {said}"
            trace.error("%s", self.problem)
            return
        self.problem = ""
        self._failed.pop((wanted.list_number, wanted.version), None)
        trace.info("the snapshot of list '%s' was built in %.1f s", wanted.name, time.monotonic() - began)
        self._built(wanted.list_number)

    async def close(self) -> None:
        """Ends what is running; its builder leaves nothing half-done."""
        if self._running is not None and not self._running.done():
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
