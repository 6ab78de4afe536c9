"""What is wrong with a whole state directory; `hashmatch check`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import UTC
from functools import partial
from itertools import islice
from pathlib import Path

from hashmatch.audit import tables
from hashmatch.audit.check_counts import EntryCheck
from hashmatch.audit.check_tree import TreeCheck
from hashmatch.audit.leaves import Leaves
from hashmatch.audit.rows import Rows
from hashmatch.audit.sealing import Sealing
from hashmatch.errors import BadConfig, Corrupt, HashmatchError, NotFound
from hashmatch.store import check, codec
from hashmatch.store.check import Report
from hashmatch.store.env import DATA_FILE, Env, Txn
from hashmatch.v1.audit_pb2 import CountRecord, Event
from hashmatch.v1.store_pb2 import RequestRecord, SubjectKeyRecord

CHUNK = 1000  # rows read in one transaction: some 50 ms, so that a running server can reuse its pages


def check_state(state: Path) -> Report:
    """Reads everything in a state directory and reports what is not what was written. May run beside a server.

    Raises:
        BadConfig: there is no state.
    """
    report = Report()
    present = [name for name in ("lists", "ledger") if (state / name / DATA_FILE).exists()]
    if not present:
        raise BadConfig(f"there is no state at {state}")
    check.check_keys(report, state)
    if "lists" in present:
        check.check_lists(report, state)
    newest = check_ledger(report, state) if "ledger" in present else 0
    if not any(problem.environment in ("lists", "ledger") for problem in report.problems):
        # What follows opens both, which only sound files bear; and the lists last, since a server may add to both.
        check.check_backup(report, state)
        if "lists" in present:
            check.check_reaches(report, state, newest)
    return report


def check_ledger(report: Report, state: Path) -> int:
    """Verifies the ledger: the events' sequence, every row, and that each table leads to the others.

    Returns the newest revision of the lists that an event names.
    """
    if not check.check_structure(report, state / "ledger"):
        return 0
    try:
        env = Env(state / "ledger", tables.NAMES, readonly=True, format=tables.FORMAT)
    except HashmatchError as e:
        report.add("ledger", "meta", str(e))
        return 0
    with closing(env):
        return _LedgerCheck(report, env).run()


class _LedgerCheck:
    """One pass over each table; every row is checked in the transaction that it was read in."""

    def __init__(self, report: Report, env: Env) -> None:
        self._report, self._env, self._rows, self._leaves = report, env, Rows(env), Leaves(env)
        self._sealing = Sealing(env, b"", b"")
        self._entries = EntryCheck(report, env, self._leaves)
        self._tree = TreeCheck(env, self._leaves)
        self._last_sequence = 0
        self._newest_revision = 0

    def run(self) -> int:
        steps: dict[str, Callable[[Txn, bytes, bytes], None]] = {
            "events": self._event,
            "nodes": self._tree.node,
            "checkpoints": self._tree.checkpoint,
            "log": self._tree.log,
            "subjects": self._subject,
            "subject_keys": self._subject_key,
            "verdict_ids": self._verdict_id,
            "requests": self._request,
            "request_times": self._request_time,
            "counts": self._count,
            "entry_counts": self._entries.entry,
            "guard": self._entries.guard,
        }
        for table, step in steps.items():
            self._report.count(table, 0)
            for txn, key, value in self._read(table):
                self._report.count(table)
                sound = self._report.attempt("ledger", table, partial(step, txn, key, value))
                if table == "events" and not sound:
                    self._entries.missed()
                    self._tree.missed()
        self._entries.finish()
        return self._newest_revision

    def _read(self, table: str) -> Iterator[tuple[Txn, bytes, bytes]]:
        start, found = b"", True
        while found:
            found = False
            with self._env.read() as txn, txn.cursor(db=self._env.table(table)) as cursor:
                if cursor.set_range(start) if start else cursor.first():
                    for key, value in islice(cursor, CHUNK):
                        yield txn, key, value
                        start, found = key + b"\0", True

    def _event(self, txn: Txn, key: bytes, value: bytes) -> None:
        expected = self._last_sequence + 1
        self._last_sequence = expected  # of a damaged row, as far as can be told
        event = codec.read(key, value, "events", Event)
        self._last_sequence = sequence = tables.sequence_of(key)
        if sequence != expected:
            self._report.add("ledger", "events", f"events {expected} to {sequence - 1} are missing")
            self._entries.missed()
            self._tree.missed()
        if event.sequence != sequence:
            raise Corrupt(f"event {sequence} calls itself {event.sequence}")
        self._tree.event(txn, sequence, codec.unseal(key, value, "events"))
        self._sealing.open(txn, event)
        self._entries.event(txn, event)
        if event.WhichOneof("fact") != "verdict":
            return
        self._newest_revision = max(self._newest_revision, event.verdict.coverage.revision)
        with suppress(NotFound):
            if self._rows.sequence(txn, event.verdict.verdict_id) == sequence:
                return
        raise Corrupt(f"event {sequence} is not found by its verdict id")

    def _verdict_id(self, txn: Txn, key: bytes, value: bytes) -> None:
        event = self._leaves.event(txn, tables.sequence_of(codec.unseal(key, value, "verdict_ids")))
        if event.verdict.verdict_id != key.decode():
            raise Corrupt("a verdict id leads to another's event")

    def _subject(self, txn: Txn, key: bytes, value: bytes) -> None:
        if txn.get(codec.unseal(key, value, "subjects"), db=self._env.table("subject_keys")) is None:
            raise Corrupt("a subject's key is missing, and what it sealed cannot be read")

    def _subject_key(self, txn: Txn, key: bytes, value: bytes) -> None:
        record = codec.read(key, value, "subject_keys", SubjectKeyRecord)
        if len(record.key) != 32:
            raise Corrupt("a key of sealed fields is not one")

    def _request(self, txn: Txn, key: bytes, value: bytes) -> None:
        record = codec.read(key, value, "requests", RequestRecord)
        if tables.request_key(record.verdict.request_id) != key:
            raise Corrupt("an answer is kept under another request id")
        time_key = tables.request_time_key(tables.minute_of(record.at.ToDatetime(UTC)), key)
        if txn.get(time_key, db=self._env.table("request_times")) is None:
            raise Corrupt("an answer is missing from 'request_times', so it would never be forgotten")

    def _request_time(self, txn: Txn, key: bytes, value: bytes) -> None:
        codec.unseal(key, value, "request_times")
        _, request = tables.split_request_time(key)
        if self._rows.request(txn, request) is None:
            raise Corrupt("the answer to a request id is missing")

    def _count(self, txn: Txn, key: bytes, value: bytes) -> None:
        record = codec.read(key, value, "counts", CountRecord)
        minute = tables.minute_of(record.minute.ToDatetime(UTC))
        if tables.count_key(minute, record.finding, record.surface, record.reason) != key or not record.count:
            raise Corrupt("a count is kept under another minute, finding or surface")
