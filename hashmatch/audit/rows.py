"""What leads to the ledger's verdicts, and what request ids were answered: rows read and written inside a transaction
that the caller opened."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC

from hashmatch.audit import tables
from hashmatch.errors import AnsweredElsewhere, Conflict, Corrupt, NotFound
from hashmatch.store import codec
from hashmatch.store.env import Env, Txn
from hashmatch.v1.audit_pb2 import CountRecord, Event
from hashmatch.v1.common_pb2 import FINDING_MATCH, Finding, Subject
from hashmatch.v1.store_pb2 import RequestRecord

MAX_VERDICT_ID_BYTES = 128  # ours have 34; LMDB's keys end at 511
MAX_SWEPT = 2_000  # old request ids forgotten in one transaction: about 40 ms, which verdicts wait for


class Rows:
    """The tables of one ledger's environment that are neither the log's nor those of `entry_counts.py`."""

    def __init__(self, env: Env) -> None:
        self._verdict_ids, self._requests, self._request_times, self._counts = map(env.table, tables.VERDICTS)

    def sequence(self, txn: Txn, verdict_id: str) -> int:
        """The sequence of a verdict's event.

        Raises:
            NotFound: none of that id was logged.
            Corrupt: the row is damaged.
        """
        key = self._sequence_key(txn, verdict_id)
        if key is None:
            raise NotFound("there is no verdict of that id in the ledger")
        return tables.sequence_of(key)

    def _sequence_key(self, txn: Txn, verdict_id: str) -> bytes | None:
        name = verdict_id.encode()
        stored = txn.get(name, db=self._verdict_ids) if 0 < len(name) <= MAX_VERDICT_ID_BYTES else None
        return None if stored is None else codec.unseal(name, stored, "verdict_ids")

    def verify(self, txn: Txn, event: Event) -> None:
        """Looks an event up by its verdict's id, where it has one.

        Raises:
            Corrupt: it is not to be found.
        """
        verdict_id = event.verdict.verdict_id
        if verdict_id and self._sequence_key(txn, verdict_id) != tables.sequence_key(event.sequence):
            raise Corrupt(f"event {event.sequence} is not found by its verdict id; restore a backup")

    def refuse_taken(self, txn: Txn, verdict_id: str) -> None:
        """Does nothing where the ledger has no verdict of that id.

        Raises:
            Conflict: it has.
        """
        if txn.get(verdict_id.encode(), db=self._verdict_ids) is not None:
            raise Conflict("that verdict id is in the ledger already")

    def put_verdict(self, txn: Txn, verdict_id: str, sequence: int) -> None:
        """Lets a verdict be found by its id."""
        name, key = verdict_id.encode(), tables.sequence_key(sequence)
        txn.put(name, codec.seal(name, key), db=self._verdict_ids, overwrite=False)

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

    def forget_subject(self, txn: Txn, subject: Subject) -> int:
        """Forgets what request ids about a subject were answered; how many there were. Reads every row."""
        found = []
        with txn.cursor(db=self._requests) as cursor:
            for key, stored in cursor:
                about = codec.read(key, stored, "requests", RequestRecord).verdict.subject
                if (about.uploader_id or about.content_id) == (subject.uploader_id or subject.content_id):
                    found.append(key)
        for key in found:
            record = self.request(txn, key)
            if record is not None:
                txn.delete(_time_key(record, key), db=self._request_times)
                txn.delete(key, db=self._requests)
        return len(found)

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

    def add_count(self, txn: Txn, minute: int, finding: int, surface: str, reason: str, count: int) -> None:
        """Adds to the count of a minute.

        Raises:
            Corrupt: the row is damaged.
        """
        key = tables.count_key(minute, finding, surface, reason)
        stored = txn.get(key, db=self._counts)
        record = CountRecord() if stored is None else codec.read(key, stored, "counts", CountRecord)
        record.minute.FromDatetime(tables.minute_start(minute))
        record.surface, record.finding, record.reason = surface, Finding.ValueType(finding), reason
        record.count += count
        txn.put(key, codec.seal(key, record.SerializeToString()), db=self._counts)

    def counts(self, txn: Txn, since: int, until: int) -> Iterator[CountRecord]:
        """The counts of the minutes from `since` to before `until`, by minute, finding, surface and reason.

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


def _time_key(answer: RequestRecord, key: bytes) -> bytes:
    return tables.request_time_key(tables.minute_of(answer.at.ToDatetime(UTC)), key)
