"""Keeps the log's upkeep going beside a server: checkpoints are published, old personal fields erased."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from hashmatch import clock
from hashmatch.audit import erasure
from hashmatch.audit.erasure import Kept
from hashmatch.audit.ledger import Ledger
from hashmatch.audit.note import VerifierKey, parse_note, verified
from hashmatch.delivery import publish, witness
from hashmatch.errors import BadConfig, HashmatchError, Malformed, Unavailable

LOOK_SECONDS = 5.0  # between two looks for a new checkpoint
RETAIN_SECONDS = 3600.0  # between two looks for what is older than it may be
BY = "hashmatch"

trace = logging.getLogger(__name__)


class Publisher:
    """Publishes the checkpoints of one ledger to every place; each place gets the newest, whichever it missed."""

    def __init__(
        self,
        ledger: Ledger,
        places: Sequence[str],
        witnesses: Sequence[str] = (),
        *,
        kept: Kept,
        retention_days: int = 0,
    ) -> None:
        """`witnesses` as the settings write them: URL, space, verifier key. `kept` is what retention must not end.

        Raises:
            BadConfig: one of those keys is none.
        """
        self._ledger, self._places, self._retention_days, self._kept = ledger, places, retention_days, kept
        self._witnesses = dict(map(_witness, witnesses))  # keys by URL
        self._seen: dict[str, int] = {}  # size of the newest checkpoint that each witness has seen
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
        """Has the newest checkpoint witnessed, and puts it wherever it is not yet."""
        with self._ledger.reading() as log:
            size = log.signed_size
            note = log.checkpoint(size) if size else b""
        if size:
            wanted = [url for url in self._witnesses if self._seen.get(url, 0) < size]
            await asyncio.gather(*(asyncio.to_thread(self._cosigned, url, size, note) for url in wanted))
            with self._ledger.reading() as log:
                note = log.checkpoint(size)  # with what witnesses added
        wanting = [place for place in self._places if self._put.get(place, 0) < size]
        await asyncio.gather(*(asyncio.to_thread(self._to, place, size, note) for place in wanting))

    def _to(self, place: str, size: int, note: bytes) -> None:
        try:
            publish.put(place, size, note)
        except HashmatchError as e:
            self._failed(place, f"checkpoint {size} was not published: {e}")
        else:
            self._put[place] = size
            self._worked(place)

    def _failed(self, where: str, why: str) -> None:
        if where not in self._failing:  # once, until it works again
            self._failing.add(where)
            trace.error("%s", why)

    def _worked(self, where: str) -> None:
        if where in self._failing:
            self._failing.discard(where)
            trace.warning("checkpoints are published again to %s", where)

    def _cosigned(self, url: str, size: int, note: bytes) -> None:
        """Adds what a witness signs to the checkpoint of that size."""
        try:
            try:
                lines = self._asked(url, self._seen.get(url, 0), size, note)
            except witness.Behind as e:
                lines = self._asked(url, e.size, size, note)
            signed = parse_note(note.partition(b"\n\n")[0] + b"\n\n" + lines)
            if verified(signed, [self._witnesses[url]]):
                with self._ledger.changing() as log:
                    self._ledger.checkpoints.cosign(log.txn, size, lines)
                self._seen[url] = size
                self._worked(url)
            else:
                raise Unavailable("a witness signed with another key than the settings have")
        except (HashmatchError, witness.Behind) as e:
            self._failed(url, f"checkpoint {size} was not witnessed: {e}")

    def _asked(self, url: str, old: int, size: int, note: bytes) -> bytes:
        with self._ledger.reading() as log:
            if old > size:
                raise Unavailable(
                    f"a witness has seen {old} events of this log, and there are {size}: it was rolled back"
                )
            proof = log.consistency(old, size) if 0 < old < size else []
        return witness.ask(url, old, proof, note)

    def _retain(self) -> None:
        days = self._retention_days
        try:
            number = erasure.expire(
                self._ledger,
                days=days,
                now=clock.now(),
                ground=f"retention of verdicts: {days} days",
                by=BY,
                kept=self._kept,
            )
        except HashmatchError as e:
            trace.error("what is older than %d days was not erased: %s", days, e)
        else:
            if number:
                trace.info("%d keys of verdicts older than %d days were destroyed", number, days)


def _witness(text: str) -> tuple[str, VerifierKey]:
    url, _, key = text.partition(" ")
    try:
        return url, VerifierKey.parse(key)
    except Malformed as e:
        raise BadConfig(f"log_witnesses: {url}: {e}") from e
