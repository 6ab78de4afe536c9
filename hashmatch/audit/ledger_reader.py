"""Reading a ledger: events, verdicts, counts, what is held, and the log for proofs. Short transactions, any thread."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from hashmatch.audit import tables
from hashmatch.audit.entry_counts import EntryCounts, Held
from hashmatch.audit.leaves import Leaves
from hashmatch.audit.reading import Log
from hashmatch.audit.rows import Rows
from hashmatch.audit.sealing import Sealing
from hashmatch.audit.signing import Checkpoints
from hashmatch.errors import Corrupt
from hashmatch.store.env import Env
from hashmatch.v1.audit_pb2 import CountRecord, Event
from hashmatch.v1.store_pb2 import EntryCountRecord


class LedgerReader:
    """What can be read of STATE/ledger."""

    def __init__(self, state: Path, *, readonly: bool) -> None:
        """Opens it; as `Ledger`."""
        self._env = Env(state / "ledger", tables.NAMES, readonly=readonly, format=tables.FORMAT)
        self.rows, self._leaves, self._entries = Rows(self._env), Leaves(self._env), EntryCounts(self._env, b"")
        self.sealing = Sealing(self._env, b"", b"")
        self.checkpoints = Checkpoints(self._env, self._leaves, state)

    @property
    def env(self) -> Env:
        """The environment, for what keeps tables of its own in it."""
        return self._env

    def routes(self) -> bytes:
        """Where instructions and reports go, as whoever served last has kept it; empty where nobody has."""
        with self._env.read() as txn:
            return self._leaves.kept(txn, tables.ROUTES) or b""

    def last_sequence(self) -> int:
        """The sequence of the last event on disk; 0 where there is none."""
        with self._env.read() as txn:
            return self._leaves.last(txn)[0]

    def events(self, *, after: int = 0, limit: int = 1000, opened: bool = True) -> list[Event]:
        """At most `limit` events in order, from the one that follows sequence `after`.

        `opened`: what is sealed of verdicts is put back, where its key is still there; else they are as in the tree.

        Raises:
            Corrupt: one of them is damaged or missing.
        """
        with self._env.read() as txn:
            found = [event for event, _ in self._leaves.events(txn, after, limit)]
            if opened:
                for event in found:
                    self.sealing.open(txn, event)
        return found

    def verdict(self, verdict_id: str) -> Event:
        """The event of a verdict, opened.

        Raises:
            NotFound: none of that id was logged.
            Corrupt: it is damaged.
        """
        with self._env.read() as txn:
            event = self._leaves.event(txn, self.rows.sequence(txn, verdict_id))
            self.sealing.open(txn, event)
        if event.verdict.verdict_id != verdict_id:
            raise Corrupt("a verdict id leads to another's event; restore the state directory from a backup")
        return event

    @contextmanager
    def reading(self) -> Iterator[Log]:
        """The log as it is on disk now, for proofs, exports and checks; keep it short."""
        with self._env.read() as txn:
            yield Log(txn, self._leaves, self.sealing, self.checkpoints)

    def counts(self, since: datetime, until: datetime) -> list[CountRecord]:
        """The counts on disk of the minutes from `since` to before `until`, by minute, finding and surface.

        Raises:
            Corrupt: one of them is damaged.
        """
        with self._env.read() as txn:
            return list(self.rows.counts(txn, tables.minute_of(since), tables.minute_of(until)))

    def held(self) -> Held:
        """List and entry id of what the collision guard holds now, in any process. Microseconds.

        Raises:
            Corrupt: that row is damaged.
        """
        return self._entries.held()

    def entry_count(self, list_name: str, entry_id: str) -> EntryCountRecord | None:
        """How often an entry matched; None where it never did.

        Raises:
            Corrupt: its row is damaged.
        """
        with self._env.read() as txn:
            return self._entries.entry(txn, tables.entry_key(list_name, entry_id))
