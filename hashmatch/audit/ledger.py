"""The ledger: every verdict that asks for something is on disk before it is answered.

A verdict's event, its id, the counts of what it matched and what its request id is answered are one transaction; the
caller's future is done once that transaction is synced (`writer.py` groups them). Order is the sequence that the
transaction gives; the clock only stamps. Sequences are contiguous over all processes that write, since each is taken
inside the write transaction.

Measured on two cores and a disk that syncs in 0.07 ms, records of 560 bytes, logged and remembered; median latency:

    waiting at once    1: 1 700/s, 0.5 ms       16: 5 400/s, 2.4 ms       256: 7 100/s, 30 ms
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from datetime import datetime
from pathlib import Path

from google.protobuf.timestamp_pb2 import Timestamp

from hashmatch import clock
from hashmatch.audit import entry_counts, tables
from hashmatch.audit.answers import Pending, Remembered, answer_of
from hashmatch.audit.entry_counts import EntryCounts, Held
from hashmatch.audit.rows import MAX_VERDICT_ID_BYTES, Rows
from hashmatch.audit.tally import Tally
from hashmatch.audit.writer import GroupWriter, Waiting
from hashmatch.errors import Conflict, HashmatchError, Malformed, Refused
from hashmatch.store import keys
from hashmatch.store.env import Env
from hashmatch.v1.audit_pb2 import CountRecord, Event, VerdictRecord
from hashmatch.v1.store_pb2 import EntryCountRecord

TIDY_SECONDS = 60.0  # between two flushes of counts and two sweeps of old request ids; counts are per minute


class Ledger:
    """The one way to STATE/ledger. All methods may be called from any thread."""

    def __init__(
        self,
        state: Path,
        *,
        idempotency_hours: float = 168,
        readonly: bool = False,
        now: Callable[[], datetime] = clock.now,
        committed: Callable[[int, float], None] = lambda _facts, _seconds: None,
    ) -> None:
        """Opens the ledger of a state directory and verifies its tail; makes it where it is missing.

        `committed` is told of every transaction how many facts it held and how many seconds it took.

        Raises:
            BadConfig: the directory cannot be used, or is open in this process already.
            Corrupt: the tail is damaged or has been rolled back, or the key in keys/uploaders.key is.
            StoreFull, StoreFailed: it could not be made.
        """
        self._env = Env(state / "ledger", tables.NAMES, readonly=readonly)
        self._rows, self._entries = Rows(self._env), EntryCounts(self._env, b"")
        self._forget_after = idempotency_hours * 60  # minutes
        self._now = now
        self._pending = Pending()
        self._tally = Tally()
        self._writer: GroupWriter | None = None
        if not readonly:
            try:
                self._entries = EntryCounts(self._env, keys.kept(state, "uploaders"))
                with self._env.read() as txn:
                    self._rows.verify_tail(txn)
            except BaseException:
                self._env.close()
                raise
            self._writer = GroupWriter(self._commit, self._tidy, TIDY_SECONDS, committed)

    def append(self, record: VerdictRecord, *, log: bool, remember: bool) -> Future[int]:
        """A future that is done once the record is on disk: its sequence, or 0 where it was not to be logged.

        `log` makes it an event; `remember` keeps it as the answer to its request id, and where it is not logged no more
        of it than the caller is answered. The future fails with StoreFull
        or StoreFailed (then nothing of it is kept), Conflict (that verdict id is taken) or AnsweredElsewhere (another
        process has answered the same request id, which stands). It may be abandoned.
        The record belongs to the ledger from now on: do not change it.

        Raises:
            Malformed: the record lacks a usable id.
            Refused: the ledger is open for reading only.
            Overloaded: too much waits to be written.
            StoreFailed, Corrupt, Unavailable: nothing can be written before a restart.
        """
        if self._writer is None:
            raise Refused("the ledger is open for reading only")
        if not 0 < len(record.verdict_id.encode()) <= MAX_VERDICT_ID_BYTES:
            raise Malformed(f"a verdict id has 1 to {MAX_VERDICT_ID_BYTES} bytes", field="verdict_id")
        if remember and not record.request_id:
            raise Malformed("what has no request id cannot be remembered", field="request_id")
        answer = answer_of(record, whole=log) if remember else None
        fact = Waiting(record, tables.request_key(record.request_id), answer, log, record.ByteSize())
        if answer is not None:
            self._pending.hold(fact.request, answer, fact.written)
        try:
            self._writer.put(fact)
        except HashmatchError as e:
            fact.written.set_exception(e)  # for whoever was told of it by `remembered` meanwhile
            raise
        return fact.written

    def _commit(self, group: Sequence[Waiting]) -> list[int | HashmatchError]:
        """Writes a group in one transaction; each fact's sequence, or why it alone was refused."""
        outcomes: list[int | HashmatchError] = []
        logged: list[VerdictRecord] = []
        at = Timestamp()
        at.FromDatetime(self._now())
        with self._env.write() as txn:
            first = self._rows.last_sequence(txn) + 1
            for fact in group:
                try:
                    if fact.answer is not None:
                        self._rows.refuse_answered(txn, fact.request, fact.answer)
                    if fact.log:
                        self._rows.append(txn, first + len(logged), at, fact.record)
                        logged.append(fact.record)
                except Conflict as e:
                    outcomes.append(e)
                    continue
                if fact.answer is not None:
                    self._rows.remember(txn, fact.request, fact.answer)
                outcomes.append(first + len(logged) - 1 if fact.log else 0)
            trips = self._entries.add(txn, first, logged)
        entry_counts.alarm(trips)
        return outcomes

    def count(self, surface: str, finding: int, at: datetime) -> None:
        """Counts an answer that is not logged whole; on disk within a minute, or at `close`.

        `finding` is the wire's number. Surfaces beyond `tally.MAX_SURFACES`, or too long, are counted together.
        """
        self._tally.add(tables.minute_of(at), finding, surface)

    def _tidy(self) -> bool:
        """Flushes the counts, forgets old request ids, and frees the readers that died; whether old ids may be left.

        Always a transaction, even with nothing to do: on a full disk it is how the writer learns that there is room.
        """
        failed = not self.healthy
        self._env.check_readers()
        counted = self._tally.take()
        try:
            with self._env.write() as txn:
                for (minute, finding, surface), count in counted.items():
                    self._rows.add_count(txn, minute, finding, surface, count)
                more = self._rows.sweep(txn, tables.minute_of(self._now()) - self._forget_after)
        except BaseException:
            self._tally.put_back(counted)
            raise
        if failed:
            self._env.refuse_full()
        return more

    def remembered(self, request_id: str) -> Remembered | None:
        """What a request id was answered, on disk or about to be, with a future that is done once it is on disk.

        Raises:
            Corrupt: the record is damaged.
        """
        request = tables.request_key(request_id)
        if (pending := self._pending.get(request)) is not None:
            return pending
        with self._env.read() as txn:
            record = self._rows.request(txn, request)
        if record is None:
            return None
        written: Future[int] = Future()
        written.set_result(0)
        return Remembered(record, written)

    def last_sequence(self) -> int:
        """The sequence of the last event on disk; 0 where there is none."""
        with self._env.read() as txn:
            return self._rows.last_sequence(txn)

    def events(self, *, after: int = 0, limit: int = 1000) -> list[Event]:
        """At most `limit` events in order, from the one that follows sequence `after`.

        Raises:
            Corrupt: one of them is damaged or missing.
        """
        with self._env.read() as txn:
            return list(self._rows.events(txn, after, limit))

    def verdict(self, verdict_id: str) -> Event:
        """The event of a verdict.

        Raises:
            NotFound: none of that id was logged.
            Corrupt: it is damaged.
        """
        with self._env.read() as txn:
            return self._rows.verdict(txn, verdict_id)

    def counts(self, since: datetime, until: datetime) -> list[CountRecord]:
        """The counts on disk of the minutes from `since` to before `until`, by minute, finding and surface.

        Raises:
            Corrupt: one of them is damaged.
        """
        with self._env.read() as txn:
            return list(self._rows.counts(txn, tables.minute_of(since), tables.minute_of(until)))

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

    def release(self, list_name: str, entry_id: str, until: datetime) -> EntryCountRecord:
        """Lets an entry act again that is held, on disk; it is not held before `until`. What is counted of it.

        Raises:
            NotFound: it never matched.
            Refused: the ledger is open for reading only.
            StoreFull, StoreFailed, Corrupt: nothing was written.
        """
        if self._writer is None:
            raise Refused("the ledger is open for reading only")
        if (failure := self._writer.failure) is not None:  # after a failed sync nothing may be written before a restart
            raise type(failure)(str(failure))
        with self._env.write() as txn:
            return self._entries.release(txn, tables.entry_key(list_name, entry_id), until)

    @property
    def healthy(self) -> bool:
        """Whether the last transaction succeeded. While the disk is full one is tried every second."""
        return not self.failure()

    @property
    def stopped(self) -> bool:
        """Whether nothing will be written before a restart."""
        return self._writer is not None and self._writer.stopped

    @property
    def queued(self) -> int:
        """Facts that wait to be written."""
        return self._writer.queued if self._writer else 0

    def failure(self) -> str:
        """Why nothing can be written now; "" while it can."""
        failure = self._writer.failure if self._writer else None
        return str(failure) if failure else ""

    def close(self) -> None:
        """Writes what is queued and counted, and closes the environment."""
        if self._writer is not None:
            self._writer.close()
        self._env.close()
