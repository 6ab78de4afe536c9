"""Threads for blocking calls: bounded, and not waited for without end."""

from __future__ import annotations

import asyncio
import threading

import pytest

from hashmatch.errors import Overloaded
from hashmatch.server.threads import Threads


def test_a_call_that_does_not_end_is_told_of_and_not_waited_for():
    release = threading.Event()

    async def run():
        threads = Threads("calls", 1, 2, 0.5)
        stuck = asyncio.create_task(threads.run(release.wait))
        waiting = asyncio.create_task(threads.run(release.wait))
        await asyncio.sleep(0.05)
        with pytest.raises(Overloaded, match="2 calls are under way"):
            await threads.run(release.wait)
        assert not threads.close(0.05)
        release.set()
        assert threads.close(5)
        assert await stuck
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(run())
