"""The log: events in their order, and the Merkle tree over their bytes, appended to in the caller's transaction.

An event's row is its leaf: the bytes that were hashed when it was written are what is kept, and never written again.
Of the tree every complete subtree's root is kept from two leaves up, so that an append reads one node and writes one,
amortised, and a proof reads a few dozen. Time never runs backwards in the log: where the clock does, a gap says so
first.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from hashmatch.audit import tables, tree
from hashmatch.audit.sealing import Sealing
from hashmatch.errors import Corrupt
from hashmatch.store import codec
from hashmatch.store.env import Env, Txn
from hashmatch.v1.audit_pb2 import GAP_KIND_CLOCK_SET_BACK, GAP_KIND_CLOCK_SET_FORWARD, Event, Gap, GapKind

SLEW = timedelta(seconds=1)  # that the clock may be behind the last event without having been set: NTP corrects so
JUMP = timedelta(seconds=10)  # that the clock may gain on the time that passed without having been set
TAIL_EVENTS = 10_000  # verified at every start: what a crash could have touched, many times over; under a second
_LAST = struct.Struct(">Qq")  # sequence, microseconds since 1970
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def ticks() -> float:
    """Seconds that passed, which nobody sets and which go on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class Leaves:
    """The tables `events`, `nodes` and `log` of one ledger's environment, for reading."""

    def __init__(self, env: Env) -> None:
        self._events, self._nodes, self.checkpoints, self._log = map(env.table, tables.LOG)

    def last(self, txn: Txn) -> tuple[int, datetime]:
        """The sequence of the last event, which is the tree's size, and its time; 0 and 1970 where there is none.

        Raises:
            Corrupt: it is not the last one that there is.
        """
        stored = txn.get(tables.LAST, db=self._log)
        sequence, microseconds = _LAST.unpack(codec.unseal(tables.LAST, stored, "log")) if stored else (0, 0)
        with txn.cursor(db=self._events) as cursor:
            found = tables.sequence_of(cursor.key()) if cursor.last() else 0
        if found != sequence:
            raise Corrupt(f"the log's last event is {sequence}, and {found} is there; restore it from a backup")
        return sequence, _EPOCH + microseconds * _MICROSECOND

    def events(self, txn: Txn, after: int, limit: int) -> Iterator[tuple[Event, bytes]]:
        """At most `limit` events in order, each with its leaf, from the one that follows sequence `after`.

        Raises:
            Corrupt: one of them is damaged or missing.
        """
        with txn.cursor(db=self._events) as cursor:
            if not cursor.set_range(tables.sequence_key(after + 1)):
                return  # a cursor that found nothing would begin at the first row
            for expected, (key, value) in zip(range(after + 1, after + 1 + limit), cursor, strict=False):
                yield _event(key, value, expected), codec.unseal(key, value, "events")

    def event(self, txn: Txn, sequence: int) -> Event:
        """One event.

        Raises:
            Corrupt: it is damaged or missing.
        """
        key = tables.sequence_key(sequence)
        value = txn.get(key, db=self._events)
        if value is None:
            raise Corrupt(f"event {sequence} of the log is missing; restore the state directory from a backup")
        return _event(key, value, sequence)

    def node(self, txn: Txn, level: int, index: int) -> bytes:
        """The root of the complete subtree of 2^level leaves that begins at leaf index · 2^level.

        Raises:
            Corrupt: it is damaged or missing.
        """
        if not level:
            key = tables.sequence_key(index + 1)
            leaf = txn.get(key, db=self._events)
            if leaf is not None:
                return tree.leaf_hash(codec.unseal(key, leaf, "events"))
        else:
            key = tables.node_key(level, index)
            stored = txn.get(key, db=self._nodes)
            if stored is not None:
                return codec.unseal(key, stored, "nodes")
        raise Corrupt(f"node {index} of level {level} is missing from the log's tree; restore it from a backup")

    def nodes(self, txn: Txn) -> Callable[[int, int], bytes]:
        """As `node`, for `tree`."""
        return lambda level, index: self.node(txn, level, index)

    def root(self, txn: Txn, size: int) -> bytes:
        """The root of the tree as it was with so many leaves."""
        return tree.root(size, self.nodes(txn))

    def verify_tail(self, txn: Txn, verify: Callable[[Event], None]) -> None:
        """Reads the last TAIL_EVENTS events, shows each to `verify`, and recomputes what the tree says of them.

        Raises:
            Corrupt: one is damaged or missing, or the tree is not theirs.
        """
        last, _ = self.last(txn)
        kept = txn.stat(self._events)["entries"]
        if kept != last:
            raise Corrupt(f"the log ends at event {last} and keeps {kept}; restore it from a backup")
        begin = max(0, last - TAIL_EVENTS) & ~1  # whole pairs: every node over two leaves is recomputed
        front = tree.Frontier(tree.frontier(begin, self.nodes(txn)), begin)
        for event, leaf in self.events(txn, begin, last - begin):
            verify(event)
            front.append(tree.leaf_hash(leaf))
        if front.root() != self.root(txn, last):
            raise Corrupt(f"the log's tree is not that of events {begin + 1} to {last}; restore it from a backup")

    def kept(self, txn: Txn, key: bytes) -> bytes | None:
        """A value of table `log`.

        Raises:
            Corrupt: it is damaged.
        """
        stored = txn.get(key, db=self._log)
        return None if stored is None else codec.unseal(key, stored, "log")

    def keep(self, txn: Txn, key: bytes, value: bytes | None) -> None:
        """Puts a value into table `log`; None takes it away."""
        if value is None:
            txn.delete(key, db=self._log)
        else:
            txn.put(key, codec.seal(key, value), db=self._log)

    def set_back(self, txn: Txn) -> list[int]:
        """The sequences from which on time runs from an earlier moment again."""
        return [tables.sequence_of(key) for key, _ in self.with_prefix(txn, tables.BACK_PREFIX)]

    def with_prefix(self, txn: Txn, prefix: bytes) -> list[tuple[bytes, bytes]]:
        """Keys, without the prefix, and values of table `log`."""
        found = []
        with txn.cursor(db=self._log) as cursor:
            if cursor.set_range(prefix):
                for key, stored in cursor:
                    if not key.startswith(prefix):
                        break
                    found.append((key[len(prefix) :], codec.unseal(key, stored, "log")))
        return found


class Clock:
    """What one process knows of its clock, so that it notices when that is set."""

    def __init__(self, now: Callable[[], datetime], ticks: Callable[[], float] = ticks) -> None:
        self._now, self._ticks = now, ticks
        self._seen: tuple[datetime, float] | None = None  # the clock, and the ticks then

    def read(self, last: datetime) -> tuple[datetime, Gap | None]:
        """The time of the next event, and how the clock was set since the last one, which was at `last`."""
        now, ticked = self._now(), self._ticks()
        seen, self._seen = self._seen, (now, ticked)
        if now < last:
            if last - now <= SLEW:
                return last, None
            return now, _gap(GAP_KIND_CLOCK_SET_BACK, last)
        if seen is not None and now - seen[0] - timedelta(seconds=ticked - seen[1]) > JUMP:
            return now, _gap(GAP_KIND_CLOCK_SET_FORWARD, seen[0])
        return now, None


def _gap(kind: GapKind.ValueType, since: datetime) -> Gap:
    gap = Gap(kind=kind)
    gap.since.FromDatetime(since)
    return gap


class Appending:
    """Appends events in one transaction; what it appended counts once `finish` was called."""

    def __init__(self, leaves: Leaves, sealing: Sealing, txn: Txn, clock: Clock) -> None:
        """Notes first where the clock was set since the last event.

        Raises:
            Corrupt: the log's end is damaged.
        """
        self._leaves, self._sealing, self.txn = leaves, sealing, txn
        self._fresh: dict[tuple[int, int], bytes] = {}  # nodes that this transaction completed
        self.began, last = leaves.last(txn)
        self.size = self.began
        self.at, gap = clock.read(last)
        stored = leaves.kept(txn, tables.LATEST)
        furthest = max(last, datetime.fromisoformat(stored.decode())) if stored else last
        self.latest = max(self.at, furthest)  # that was ever acted on, whatever the clock did since
        self._timestamp = Timestamp()
        self._timestamp.FromDatetime(self.at)
        if gap is not None:
            sequence = self.append(Event(gap=gap))
            if gap.kind == GAP_KIND_CLOCK_SET_BACK:
                leaves.keep(txn, tables.BACK_PREFIX + tables.sequence_key(sequence), b"")
                leaves.keep(txn, tables.LATEST, furthest.isoformat().encode())

    def append(self, event: Event) -> int:
        """Writes an event as the next one, its verdict sealed, and returns its sequence. `event` is changed."""
        self.size += 1
        event.sequence = self.size
        event.at.CopyFrom(self._timestamp)
        if event.WhichOneof("fact") == "verdict":
            self._sealing.seal_verdict(self.txn, event, self.at)
        # Deterministic: maps in order of their keys. These bytes are the leaf; they are never made again.
        leaf = event.SerializeToString(deterministic=True)
        key = tables.sequence_key(self.size)
        self.txn.put(key, codec.seal(key, leaf), db=self._leaves._events, append=True)
        for level, index, root in tree.appended(self.size - 1, tree.leaf_hash(leaf), self._node):
            self._fresh[level, index] = root
        return self.size

    def _node(self, level: int, index: int) -> bytes:
        fresh = self._fresh.get((level, index))
        return self._leaves.node(self.txn, level, index) if fresh is None else fresh

    def root(self) -> bytes:
        """The root of the tree as it is now."""
        return tree.root(self.size, self._node)

    def finish(self) -> None:
        """Writes the nodes and where the log ends. Afterwards nothing may be appended."""
        if self.size == self.began:
            return
        for (level, index), root in sorted(self._fresh.items()):
            if level:
                key = tables.node_key(level, index)
                self.txn.put(key, codec.seal(key, root), db=self._leaves._nodes)
        microseconds = (self.at - _EPOCH) // _MICROSECOND
        self._leaves.keep(self.txn, tables.LAST, _LAST.pack(self.size, microseconds))


def _event(key: bytes, value: bytes, expected: int) -> Event:
    event = codec.read(key, value, "events", Event)
    if event.sequence != expected or key != tables.sequence_key(expected):
        raise Corrupt(f"event {expected} of the log is missing; restore the state directory from a backup")
    return event
