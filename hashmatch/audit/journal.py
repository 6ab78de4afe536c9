"""One transaction of the log: what others changed first, then the facts, then a checkpoint where one is due.

Everything that is appended to the log is appended here, so that order, time and signatures have one rule.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from hashmatch.audit import tables
from hashmatch.audit.feeds import Feed
from hashmatch.audit.leaves import Appending, Clock, Leaves
from hashmatch.audit.sealing import Sealing
from hashmatch.audit.signing import Checkpoints
from hashmatch.errors import Corrupt
from hashmatch.store.env import Env

SIGN_LEAVES = 1000  # after which a checkpoint is signed at the latest; time's turn is `Ledger._tidy`
FEED_PAGE = 1000  # changes read at once

trace = logging.getLogger(__name__)


class Journal:
    """Appends to one ledger's log. For any thread; each step waits for other writers, of any process."""

    def __init__(
        self,
        env: Env,
        leaves: Leaves,
        sealing: Sealing,
        checkpoints: Checkpoints,
        clock: Clock,
        feeds: Sequence[Feed] = (),
    ) -> None:
        self._env, self._leaves, self._sealing, self._checkpoints = env, leaves, sealing, checkpoints
        self._clock, self._feeds = clock, feeds
        self._followed: dict[str, int] = {}  # marks up to which feeds are in the log, on disk
        self._broken: set[str] = set()  # feeds that could not be read; each is told of once

    @contextmanager
    def step(self, *, sign: bool = False) -> Iterator[Appending]:
        """One transaction: what is appended in the block is synced when it ends, and undone when it raises.

        `sign`: with a checkpoint of the tree as it is then, unless that size has one.

        Raises:
            StoreFull, StoreFailed, Corrupt: nothing was written.
        """
        with self._env.write() as txn:
            log = Appending(self._leaves, self._sealing, txn, self._clock)
            followed = self._follow(log)
            yield log
            since = log.size - self._checkpoints.size(txn)
            if since >= SIGN_LEAVES or (sign and since):
                self._checkpoints.sign(log)
            log.finish()
        self._followed |= followed

    @property
    def behind(self) -> bool:
        """Whether a feed may have something that is not in the log. Microseconds."""
        return any(self._followed.get(feed.name) != feed.mark() for feed in self._feeds)

    def _follow(self, log: Appending) -> dict[str, int]:
        """Appends what is new in the feeds; the marks that are true once this transaction is on disk."""
        marks = {}
        for feed in self._feeds:
            mark = feed.mark()
            if mark == self._followed.get(feed.name):
                continue
            try:
                self._bring(feed, log)
                marks[feed.name] = mark
            except Corrupt as e:
                # A verdict must not be lost because the lists are damaged; that is told elsewhere, and by the verifier.
                if feed.name not in self._broken:
                    self._broken.add(feed.name)
                    trace.error("the log cannot follow the changes of %s: %s", feed.name, e)
        return marks

    def _bring(self, feed: Feed, log: Appending) -> None:
        key = tables.feed_key(feed.name)
        stored = self._leaves.kept(log.txn, key)
        position = began = tables.sequence_of(stored) if stored else 0
        while events := feed.after(position, FEED_PAGE):
            for event in events:
                log.append(event)
            position += len(events)
        if position != began:
            self._leaves.keep(log.txn, key, tables.sequence_key(position))
