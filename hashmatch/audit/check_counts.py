"""What is wrong with the ledger's counts of entries: they are derived again from the events, and so is what is held."""

from __future__ import annotations

from collections import Counter
from functools import partial

from hashmatch.audit import tables
from hashmatch.audit.entry_counts import counted, held_keys
from hashmatch.audit.leaves import Leaves
from hashmatch.errors import Corrupt
from hashmatch.store import codec
from hashmatch.store.check import Report
from hashmatch.store.env import Env, Txn
from hashmatch.v1.audit_pb2 import Event
from hashmatch.v1.store_pb2 import EntryCountRecord


class EntryCheck:
    """Is shown every event in order, then every row of `entry_counts` and `guard`.

    A server may go on writing: events that came meanwhile are read in the transaction of the row that counts them.
    """

    def __init__(self, report: Report, env: Env, leaves: Leaves) -> None:
        self._report, self._env, self._leaves = report, env, leaves
        self._counts, self._guard = map(env.table, tables.ENTRIES)
        self._from: int | None = None  # the first event that is counted, once that is known
        self._last = 0  # sequence of the last event that was seen
        self._matches: Counter[bytes] = Counter()  # by key of the entry, of the events seen
        self._unread: set[bytes] = set()  # of those, the ones whose row was not read yet
        self._whole = True  # no event was missed
        self._held_row: bytes | None = None  # as it was last read, and what it says
        self._held_keys: frozenset[bytes] = frozenset()

    def missed(self) -> None:
        """An event cannot be read, so that sums are not to be expected right."""
        self._whole = False

    def event(self, txn: Txn, event: Event) -> None:
        """Adds up the matches of one event, the next."""
        self._last = event.sequence
        if self._from is None and (stored := txn.get(tables.FROM, db=self._guard)) is not None:
            try:
                self._from = tables.sequence_of(codec.unseal(tables.FROM, stored, "guard"))
            except Corrupt:  # which is noted when that row's turn comes
                self.missed()
        if self._from is not None and event.sequence >= self._from:
            found = counted(event.verdict)
            self._matches.update(found.keys())
            self._unread.update(found)

    def entry(self, txn: Txn, key: bytes, value: bytes) -> None:
        """Checks a row of `entry_counts`."""
        self._unread.discard(key)
        record = codec.read(key, value, "entry_counts", EntryCountRecord)
        if not all(tables.split_entry(key)) or not record.matches or not record.HasField("first_at"):
            raise Corrupt("a row of 'entry_counts' names no entry, or no match of it")
        if self._whole:
            for event, _ in self._leaves.events(txn, self._last, self._leaves.last(txn)[0]):
                self.event(txn, event)
            if record.matches != self._matches[key]:
                raise Corrupt(f"an entry counts {record.matches} matches, and the events have {self._matches[key]}")
        if record.HasField("held_since") != (key in self._held(txn)):
            raise Corrupt("an entry is held in one of 'entry_counts' and 'guard', and not in the other")

    def guard(self, txn: Txn, key: bytes, value: bytes) -> None:
        """Checks a row of `guard`."""
        payload = codec.unseal(key, value, "guard")
        if key == tables.FROM:
            if not 0 < tables.sequence_of(payload) <= self._leaves.last(txn)[0]:
                raise Corrupt("the first event whose matches are counted is not there")
        elif key != tables.HELD:
            raise Corrupt("a row of 'guard' has a key that nothing reads")
        elif any(txn.get(held, db=self._counts) is None for held in held_keys(value)):
            raise Corrupt("an entry is held that never matched")

    def _held(self, txn: Txn) -> frozenset[bytes]:
        row = txn.get(tables.HELD, db=self._guard)
        if row != self._held_row:
            self._held_row, self._held_keys = row, held_keys(row)
        return self._held_keys

    def finish(self) -> None:
        """Checks that every entry that the events name was among the rows."""
        for key in sorted(self._unread) if self._whole else ():
            with self._env.read() as txn:  # it may have come after its place was passed
                value = txn.get(key, db=self._counts)
                step = _lost if value is None else partial(self.entry, txn, key, value)
                self._report.attempt("ledger", "entry_counts", step)


def _lost() -> None:
    raise Corrupt("the matches of an entry are not counted")
