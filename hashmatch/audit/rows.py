"""The rows of the ledger's verdicts: read, verified and written inside a transaction that the caller opened."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC

from google.protobuf.timestamp_pb2 import Timestamp

from hashmatch.audit import tables
from hashmatch.errors import AnsweredElsewhere, Conflict, Corrupt, NotFound
from hashmatch.store import codec
from hashmatch.store.env import Env, Txn
from hashmatch.v1.audit_pb2 import CountRecord, Event, VerdictRecord
from hashmatch.v1.common_pb2 import FINDING_MATCH, Finding
from hashmatch.v1.store_pb2 import RequestRecord

MAX_VERDICT_ID_BYTES = 128  # ours have 34; LMDB's keys end at 511
MAX_SWEPT = 2_000  # old request ids forgotten in one transaction: about 40 ms, which verdicts wait for
TAIL_EVENTS = 10_000  # verified at every start: what a crash could have touched, many times over; under a second


class Rows:
    """Every table of one ledger's environment but those of `entry_counts.py`."""

    def __init__(self, env: Env) -> None:
        self._events, self._verdict_ids, self._requests, self._request_times, self._counts = map(
            env.table, tables.VERDICTS
        )

    def last_sequence(self, txn: Txn) -> int:
        """The sequence of the last event; 0 where there is none."""
        with txn.cursor(db=self._events) as cursor:
            return tables.sequence_of(cursor.key()) if cursor.last() else 0

    def events(self, txn: Txn, after: int, limit: int) -> Iterator[Event]:
        """At most `limit` events in order, from the one that follows sequence `after`.

        Raises:
            Corrupt: one of them is damaged or missing.
        """
        with txn.cursor(db=self._events) as cursor:
            if not cursor.set_range(tables.sequence_key(after + 1)):
                return  # a cursor that found nothing would begin at the first row
            for expected, (key, value) in zip(range(after + 1, after + 1 + limit), cursor, strict=False):
                yield _event(key, value, expected)

    def verdict(self, txn: Txn, verdict_id: str) -> Event:
        """The event of a verdict.

        Raises:
            NotFound: none of that id was logged.
            Corrupt: it is damaged, or is another's.
        """
        key = self._sequence_key(txn, verdict_id)
        if key is None:
            raise NotFound("there is no verdict of that id in the ledger")
        value = txn.get(key, db=self._events)
        if value is None:
            raise Corrupt("the event of a verdict is missing; restore the state directory from a backup")
        event = _event(key, value, tables.sequence_of(key))
        if event.verdict.verdict_id != verdict_id:
            raise Corrupt("a verdict id leads to another's event; restore the state directory from a backup")
        return event

    def _sequence_key(self, txn: Txn, verdict_id: str) -> bytes | None:
        name = verdict_id.encode()
        stored = txn.get(name, db=self._verdict_ids) if 0 < len(name) <= MAX_VERDICT_ID_BYTES else None
        return None if stored is None else codec.unseal(name, stored, "verdict_ids")

    def verify_tail(self, txn: Txn) -> None:
        """Reads the last TAIL_EVENTS events and looks each up by its verdict id.

        Raises:
            Corrupt: one is damaged, missing, or not to be found.
        """
        last = self.last_sequence(txn)
        for table in (self._events, self._verdict_ids):
            kept = txn.stat(table)["entries"]
            if kept != last:
                raise Corrupt(f"the ledger ends at event {last} and keeps {kept}; restore it from a backup")
        for event in self.events(txn, max(0, last - TAIL_EVENTS), TAIL_EVENTS):
            if self._sequence_key(txn, event.verdict.verdict_id) != tables.sequence_key(event.sequence):
                raise Corrupt(f"event {event.sequence} is not found by its verdict id; restore a backup")

    def append(self, txn: Txn, sequence: int, at: Timestamp, record: VerdictRecord) -> None:
        """Writes a verdict as the event `sequence`, the next one.

        Raises:
            Conflict: the ledger has a verdict of that id; nothing is written.
        """
        name, key = record.verdict_id.encode(), tables.sequence_key(sequence)
        if not txn.put(name, codec.seal(name, key), db=self._verdict_ids, overwrite=False):
            raise Conflict("that verdict id is in the ledger already")
        event = Event(sequence=sequence, at=at, verdict=record)
        txn.put(key, codec.seal(key, event.SerializeToString()), db=self._events, append=True)

    def request(self, txn: Txn, key: bytes) -> RequestRecord | None:
        """What a request id was answered, by its key.

        Raises:
            Corrupt: the row is damaged.
        """
        stored = txn.get(key, db=self._requests)
        return None if stored is None else codec.read(key, stored, "requests", RequestRecord)

    def refuse_answered(self, txn: Txn, key: bytes, answer: RequestRecord) -> None:
        """Lets an answer be kept where it is the first to its request id. A MATCH is kept whatever came first.

        Raises:
            AnsweredElsewhere: another process kept one between this one's look and now.
        """
        earlier = self.request(txn, key)
        if earlier is None or earlier.verdict.verdict_id == answer.verdict.verdict_id:
            return
        if answer.verdict.finding != FINDING_MATCH or earlier.verdict.finding == FINDING_MATCH:
            raise AnsweredElsewhere

    def remember(self, txn: Txn, key: bytes, answer: RequestRecord) -> None:
        """Keeps the answer to a request id, in place of an earlier one."""
        earlier = self.request(txn, key)
        if earlier is not None:
            txn.delete(_time_key(earlier, key), db=self._request_times)
        txn.put(key, codec.seal(key, answer.SerializeToString()), db=self._requests)
        time_key = _time_key(answer, key)
        txn.put(time_key, codec.seal(time_key, b""), db=self._request_times)

    def sweep(self, txn: Txn, before: float) -> bool:
        """Forgets at most MAX_SWEPT request ids answered in minutes earlier than `before`, oldest first.

        Returns whether older ones than `before` may be left.
        """
        with txn.cursor(db=self._request_times) as cursor:
            for _ in range(MAX_SWEPT):
                if not cursor.first():
                    return False
                minute, key = tables.split_request_time(cursor.key())
                if minute >= before:
                    return False
                cursor.delete()
                txn.delete(key, db=self._requests)
        return True

    def add_count(self, txn: Txn, minute: int, finding: int, surface: str, count: int) -> None:
        """Adds to the count of a minute.

        Raises:
            Corrupt: the row is damaged.
        """
        key = tables.count_key(minute, finding, surface)
        stored = txn.get(key, db=self._counts)
        record = CountRecord() if stored is None else codec.read(key, stored, "counts", CountRecord)
        record.minute.FromDatetime(tables.minute_start(minute))
        record.surface, record.finding = surface, Finding.ValueType(finding)
        record.count += count
        txn.put(key, codec.seal(key, record.SerializeToString()), db=self._counts)

    def counts(self, txn: Txn, since: int, until: int) -> Iterator[CountRecord]:
        """The counts of the minutes from `since` to before `until`, by minute, finding and surface.

        Raises:
            Corrupt: one of them is damaged.
        """
        end = tables.minute_key(until)
        with txn.cursor(db=self._counts) as cursor:
            if not cursor.set_range(tables.minute_key(since)):
                return
            for key, value in cursor:
                if key >= end:
                    return
                yield codec.read(key, value, "counts", CountRecord)


def _event(key: bytes, value: bytes, expected: int) -> Event:
    event = codec.read(key, value, "events", Event)
    if event.sequence != expected or key != tables.sequence_key(expected):
        raise Corrupt(f"event {expected} of the ledger is missing; restore the state directory from a backup")
    return event


def _time_key(answer: RequestRecord, key: bytes) -> bytes:
    return tables.request_time_key(tables.minute_of(answer.at.ToDatetime(UTC)), key)
