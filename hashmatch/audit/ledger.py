"""The ledger: every verdict that asks for something is on disk, in the log, before it is answered.

A verdict's event with its place in the tree, its id, the counts of what it matched and what its request id is answered
are one transaction; the caller's future is done once that transaction is synced (`writer.py` groups them). Order is the
sequence that the transaction gives; the clock only stamps. Sequences are contiguous over all processes that write,
since each is taken inside the write transaction.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Protocol

from hashmatch import clock
from hashmatch.audit import entry_counts, runs, tables
from hashmatch.audit.answers import Pending, Remembered, answer_of
from hashmatch.audit.entry_counts import EntryCounts
from hashmatch.audit.feeds import Feed
from hashmatch.audit.journal import Journal
from hashmatch.audit.leaves import Appending, Clock
from hashmatch.audit.ledger_reader import LedgerReader
from hashmatch.audit.rows import MAX_VERDICT_ID_BYTES
from hashmatch.audit.runs import Run
from hashmatch.audit.sealing import Sealing
from hashmatch.audit.tally import Counts, Tally
from hashmatch.audit.writer import GroupWriter, Waiting
from hashmatch.errors import Conflict, HashmatchError, Malformed, Refused, StoreFailed
from hashmatch.store import keys
from hashmatch.store.env import ENGINE_ERRORS, Txn
from hashmatch.v1.audit_pb2 import NO_CASE_FAILED, Event, VerdictRecord
from hashmatch.v1.common_pb2 import FINDING_MATCH, Finding
from hashmatch.v1.store_pb2 import EntryCountRecord

trace = logging.getLogger(__name__)

TIDY_SECONDS = 60.0  # between two flushes of counts, two sweeps of old request ids, and two checkpoints at most


class Consequences(Protocol):
    """What follows from a MATCH, in its own transaction."""

    def __call__(self, log: Appending, record: VerdictRecord) -> Callable[[], None]:
        """Sets the record's `case_id`, or `no_case`; what is to be done once the record is in the log.

        Both write in the transaction of `log`, and neither waits for anything.
        """


class _NoCase(Exception):
    """The case of a MATCH could not be written, for a reason of its own."""

    def __init__(self, verdict_id: str) -> None:
        super().__init__(verdict_id)
        self.verdict_id = verdict_id


@contextmanager
def _case_of(verdict_id: str) -> Iterator[None]:
    """Tells what goes wrong with one case from what goes wrong with the disk."""
    try:
        yield
    except (StoreFailed, *ENGINE_ERRORS):
        raise
    except Exception as e:
        raise _NoCase(verdict_id) from e


def _nothing() -> None:
    """Nothing follows."""


class Ledger(LedgerReader):
    """The one way to STATE/ledger. All methods may be called from any thread."""

    def __init__(
        self,
        state: Path,
        *,
        idempotency_hours: float = 168,
        readonly: bool = False,
        now: Callable[[], datetime] = clock.now,
        committed: Callable[[int, float], None] = lambda _facts, _seconds: None,
        feeds: Sequence[Feed] = (),
        run: Run | None = None,
        origin: str = "",
    ) -> None:
        """Opens the ledger of a state directory and verifies its tail; makes it where it is missing.

        `committed` is told of every transaction how many facts it held and how many seconds it took. `feeds` are what
        the log follows, `run` is what it says of this process while that gives verdicts, and `origin` the name of a log
        that is made now; "": a random one.

        Raises:
            BadConfig: the directory cannot be used, is open in this process already, or others may read a key.
            Corrupt: the tail is damaged or has been rolled back, or a key in keys/ is.
            StoreFull, StoreFailed: it could not be made.
        """
        super().__init__(state, readonly=readonly)
        self._forget_after = idempotency_hours * 60  # minutes
        self._now = now
        self._pending = Pending()
        self._tally = Tally()
        self._run = run
        self.consequences: Consequences | None = None  # of a MATCH; set before there is one. None: nothing follows here
        self._writer: GroupWriter | None = None
        self._journal: Journal | None = None
        if not readonly:
            try:
                self._open(state, feeds, origin)
            except BaseException:
                self._env.close()
                raise
            self._writer = GroupWriter(self._commit, self._tidy, TIDY_SECONDS, committed, poll=self._follow)

    def _open(self, state: Path, feeds: Sequence[Feed], origin: str) -> None:
        self._entries = EntryCounts(self._env, keys.kept(state, "uploaders"))
        self.sealing = Sealing(self._env, keys.kept(state, "subjects"), keys.kept(state, "fingerprints"))
        with self._env.read() as txn:
            known = self.checkpoints.load(txn)
            self._leaves.verify_tail(txn, lambda event: self.rows.verify(txn, event))
        if not known:
            with self._env.write() as txn:
                self.checkpoints.begin(txn, origin)
        self._journal = Journal(self._env, self._leaves, self.sealing, self.checkpoints, Clock(self._now), feeds)
        if self._run is not None:
            with self._journal.step(sign=True) as log:
                runs.start(self._env, log, self._leaves, self._run)

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
        fact = Waiting(
            Event(verdict=record), tables.request_key(record.request_id), answer, log, record.ByteSize(), record
        )
        if answer is not None:
            self._pending.hold(fact.request, answer, fact.written)
        self._put(fact)
        return fact.written

    def record(self, event: Event) -> Future[int]:
        """A future that is done once another fact is on disk: its sequence. As `append`; the event is the ledger's."""
        fact = Waiting(event, b"", None, True, event.ByteSize(), None)
        self._put(fact)
        return fact.written

    def _put(self, fact: Waiting) -> None:
        if self._writer is None:
            raise Refused("the ledger is open for reading only")
        try:
            self._writer.put(fact)
        except HashmatchError as e:
            fact.written.set_exception(e)  # for whoever was told of it by `remembered` meanwhile
            raise

    def _commit(self, group: Sequence[Waiting]) -> list[int | HashmatchError]:
        """Writes a group in one transaction; each fact's sequence, or why it alone was refused.

        A MATCH whose case cannot be written is written without one, and says so: neither it nor those beside it may be
        lost to whatever is wrong with one case.
        """
        caseless: set[str] = set()
        while True:
            try:
                return self._commit_once(group, caseless)
            except _NoCase as e:
                trace.exception("the case of verdict %s cannot be written; a person must open one", e.verdict_id)
                caseless.add(e.verdict_id)

    def _commit_once(self, group: Sequence[Waiting], caseless: Collection[str]) -> list[int | HashmatchError]:
        outcomes: list[int | HashmatchError] = []
        logged: list[tuple[int, VerdictRecord]] = []
        with self._step() as log:
            for fact in group:
                try:
                    sequence = self._write(log, fact, caseless)
                except Conflict as e:
                    outcomes.append(e)
                    continue
                outcomes.append(sequence)
                if fact.log and fact.fact.HasField("verdict"):
                    logged.append((sequence, fact.fact.verdict))
            trips = self._entries.add(log.txn, logged)
            for trip in trips:
                log.append(entry_counts.held_event(trip))
        entry_counts.alarm(trips)
        return outcomes

    def _write(self, log: Appending, fact: Waiting, caseless: Collection[str]) -> int:
        """Writes one fact; its sequence, 0 where it is not to be logged. Raises Conflict before anything is written."""
        if fact.answer is not None:
            self.rows.refuse_answered(log.txn, fact.request, fact.answer)
        sequence = 0
        if fact.log:
            verdict_id = fact.fact.verdict.verdict_id
            if verdict_id:
                self.rows.refuse_taken(log.txn, verdict_id)
            follow = self._follow_up(log, fact, caseless)
            leaf = Event()
            leaf.CopyFrom(fact.fact)  # what is sealed of the leaf is counted of the fact
            sequence = log.append(leaf)
            if verdict_id:
                self.rows.put_verdict(log.txn, verdict_id, sequence)
            with _case_of(verdict_id):
                follow()
        if fact.answer is not None:
            self.rows.remember(log.txn, fact.request, fact.answer)
        return sequence

    def _follow_up(self, log: Appending, fact: Waiting, caseless: Collection[str]) -> Callable[[], None]:
        """Names the case of a MATCH wherever the verdict is told; what is to be written once its event is."""
        if self.consequences is None or fact.fact.verdict.finding != FINDING_MATCH:
            return _nothing
        named = fact.fact.verdict
        if named.verdict_id in caseless:
            named.case_id, named.no_case = "", NO_CASE_FAILED
            follow = _nothing
        else:
            with _case_of(named.verdict_id):
                follow = self.consequences(log, named)
        for told in (fact.record, fact.answer.verdict if fact.answer is not None else None):
            if told is not None:
                told.case_id, told.no_case = named.case_id, named.no_case
                told.disposition, told.floor = named.disposition, named.floor
        return follow

    @contextmanager
    def _step(self, *, sign: bool = False) -> Iterator[Appending]:
        if self._journal is None:
            raise Refused("the ledger is open for reading only")
        with self._journal.step(sign=sign) as log:
            yield log

    def _follow(self) -> None:
        """Logs what is new in the feeds, where something may be."""
        if self._journal is not None and self._journal.behind:
            with self._step():
                pass

    def count(self, surface: str, finding: int, at: datetime, reason: str = "") -> None:
        """Counts a submission: answered, or not scanned (finding 0); on disk within a minute, or at `close`.

        `finding` is the wire's number. Surfaces beyond `tally.MAX_SURFACES`, or too long, are counted together.
        """
        self._tally.add(tables.minute_of(at), finding, surface, reason)

    def _tidy(self) -> bool:
        """Flushes the counts, forgets old request ids, signs, and frees the readers that died; whether old ids may be
        left.

        Always a transaction, even with nothing to do: on a full disk it is how the writer learns that there is room.
        """
        failed = not self.healthy
        self._env.check_readers()
        counted = self._tally.take()
        try:
            with self._step(sign=True) as log:
                if counted:
                    log.append(self._counted(log.txn, counted))
                more = self.rows.sweep(log.txn, tables.minute_of(self._now()) - self._forget_after)
        except BaseException:
            self._tally.put_back(counted)
            raise
        if failed:
            self._env.refuse_full()
        return more

    def _counted(self, txn: Txn, counted: Counts) -> Event:
        """Adds to the counts on disk; the event that says so."""
        event = Event()
        for (minute, finding, surface, reason), count in sorted(counted.items()):
            self.rows.add_count(txn, minute, finding, surface, reason, count)
            one = event.counted.counts.add(
                surface=surface, finding=Finding.ValueType(finding), reason=reason, count=count
            )
            one.minute.FromDatetime(tables.minute_start(minute))
        return event

    def remembered(self, request_id: str) -> Remembered | None:
        """What a request id was answered, on disk or about to be, with a future that is done once it is on disk.

        Raises:
            Corrupt: the record is damaged.
        """
        request = tables.request_key(request_id)
        if (pending := self._pending.get(request)) is not None:
            return pending
        with self._env.read() as txn:
            record = self.rows.request(txn, request)
        if record is None:
            return None
        written: Future[int] = Future()
        written.set_result(0)
        return Remembered(record, written)

    def release(
        self, list_name: str, entry_id: str, until: datetime, *, by: str, approver: str = "", reason: str = ""
    ) -> EntryCountRecord:
        """Lets an entry act again that is held, on disk; it is not held before `until`. What is counted of it.

        Raises:
            NotFound: it never matched.
            Refused: the ledger is open for reading only.
            StoreFull, StoreFailed, Corrupt: nothing was written.
        """
        event = Event()
        said = event.entry_released
        said.list, said.entry_id, said.by, said.approver, said.reason = list_name, entry_id, by, approver, reason
        said.released_until.FromDatetime(until)
        with self.changing() as log:
            row = self._entries.release(log.txn, tables.entry_key(list_name, entry_id), until)
            log.append(event)
        return row

    @contextmanager
    def changing(self, *, sign: bool = False) -> Iterator[Appending]:
        """A transaction of one's own, beside the writer's; not before a restart once a sync has failed.

        Raises:
            Refused: the ledger is open for reading only.
            StoreFull, StoreFailed, Corrupt: nothing was written.
        """
        if self._writer is not None and (failure := self._writer.failure) is not None:
            raise type(failure)(str(failure))
        with self._step(sign=sign) as log:
            yield log

    def keep_routes(self, routes: bytes) -> None:
        """Keeps where instructions and reports go, for those who work on the state without the settings of the server.

        Raises:
            Refused, StoreFull, StoreFailed, Corrupt: as `changing`.
        """
        if routes != self.routes():
            with self.changing() as log:
                self._leaves.keep(log.txn, tables.ROUTES, routes)

    def sign(self) -> int:
        """Signs the tree as it is now, unless that is signed; its size.

        Raises:
            Refused: the ledger is open for reading only, or the log is empty.
            StoreFull, StoreFailed, Corrupt: nothing was written.
        """
        with self.changing(sign=True) as log:
            if not log.size:
                raise Refused("the log is empty: there is nothing to sign")
        return log.size

    def now(self) -> datetime:
        """The time by which its events are stamped."""
        return self._now()

    @property
    def readonly(self) -> bool:
        return self._journal is None

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
        """Writes what is queued and counted, says that this run ends, and closes the environment."""
        if self._writer is not None:
            self._writer.close()
            if self._run is not None and not self._writer.stopped:
                with suppress(StoreFailed), self._step(sign=True) as log:
                    runs.stop(log, self._leaves, self._run)
        self._env.close()
