"""Keeps the log's upkeep going beside a server: checkpoints are published, old personal fields erased."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from hashmatch import clock
from hashmatch.audit import erasure
from hashmatch.audit.ledger import Ledger
from hashmatch.delivery import publish
from hashmatch.errors import HashmatchError

LOOK_SECONDS = 5.0  # between two looks for a new checkpoint
RETAIN_SECONDS = 3600.0  # between two looks for what is older than it may be
BY = "hashmatch"

trace = logging.getLogger(__name__)


class Publisher:
    """Publishes the checkpoints of one ledger to every place; each place gets the newest, whichever it missed."""

    def __init__(self, ledger: Ledger, places: Sequence[str], *, retention_days: int = 0) -> None:
        self._ledger, self._places, self._retention_days = ledger, places, retention_days
        self._put: dict[str, int] = {}  # size of the newest checkpoint that each place has
        self._failing: set[str] = set()

    async def run(self) -> None:
        """Until it is cancelled."""
        retained = float("-inf")
        loop = asyncio.get_running_loop()
        while True:
            await self.publish()
            if self._retention_days and loop.time() - retained > RETAIN_SECONDS:
                retained = loop.time()
                await asyncio.to_thread(self._retain)
            await asyncio.sleep(LOOK_SECONDS)

    async def publish(self) -> None:
        """Puts the newest checkpoint wherever it is not yet."""
        with self._ledger.reading() as log:
            size = log.signed_size
            note = log.checkpoint(size) if size else b""
        wanting = [place for place in self._places if self._put.get(place, 0) < size]
        await asyncio.gather(*(asyncio.to_thread(self._to, place, size, note) for place in wanting))

    def _to(self, place: str, size: int, note: bytes) -> None:
        try:
            publish.put(place, size, note)
        except HashmatchError as e:
            if place not in self._failing:  # once, until it works again
                self._failing.add(place)
                trace.error("checkpoint %d was not published: %s", size, e)
        else:
            self._put[place] = size
            if place in self._failing:
                self._failing.discard(place)
                trace.warning("checkpoints are published again, from size %d", size)

    def _retain(self) -> None:
        days = self._retention_days
        try:
            number = erasure.expire(
                self._ledger, days=days, now=clock.now(), ground=f"retention of verdicts: {days} days", by=BY
            )
        except HashmatchError as e:
            trace.error("what is older than %d days was not erased: %s", days, e)
        else:
            if number:
                trace.info("%d keys of verdicts older than %d days were destroyed", number, days)
