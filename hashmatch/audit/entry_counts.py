"""How often each entry matched, and the guard that holds one which matches too many people at once.

Somebody who is to be framed is sent a picture made to collide with what is listed; a mistaken entry matches a meme.
Either shows as one entry that suddenly matches many different uploaders. From then on, until a person releases it, it
is held: its matches are logged and ask for no more than REVIEW.

A verdict's matches are counted in the transaction that logs it, so that the counts are what the events say, whoever
dies when. Who was matched is kept as keyed digests, another's for each entry, and no longer than the guard needs.
A verdict is judged before it is counted: those in flight while the guard trips still ask for what their list asks.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from hashmatch.audit import tables
from hashmatch.errors import NotFound
from hashmatch.store import codec
from hashmatch.store.env import Env, Txn
from hashmatch.types import COLLISION_UPLOADERS
from hashmatch.v1.audit_pb2 import Event, VerdictRecord
from hashmatch.v1.common_pb2 import Match
from hashmatch.v1.store_pb2 import EntryCountRecord

MAX_COUNTED = 16  # entries of one verdict, the nearest: hundreds of near-duplicates must not make a verdict slow
WINDOW_MINUTES = 60  # in which different uploaders are counted
EXEMPT = timedelta(hours=24)  # that a released entry is not held again
_WHO_BYTES = 8  # of an uploader's digest: two of 10 000 share one with a chance of 3 in 10^12

trace = logging.getLogger(__name__)

Held = frozenset[tuple[str, str]]
"""List and entry id of every entry that is held."""


class Trip(NamedTuple):
    """An entry that a verdict made the guard hold."""

    list: str
    entry_id: str
    uploaders: int
    verdict_id: str


def counted(verdict: VerdictRecord) -> dict[bytes, Match]:
    """The matches that are counted of a verdict, by key of their entry: of the nearest MAX_COUNTED entries."""
    nearest: dict[bytes, Match] = {}
    for match in verdict.matches:
        nearest.setdefault(tables.entry_key(match.list, match.entry_id), match)
        if len(nearest) == MAX_COUNTED:
            break
    return nearest


class EntryCounts:
    """The tables `entry_counts` and `guard` of one ledger's environment."""

    def __init__(self, env: Env, key: bytes) -> None:
        """`key` is what uploaders are digested with; where nothing will be counted it may be empty."""
        self._env, self._key = env, key
        self._counts, self._guard = map(env.table, tables.ENTRIES)
        self._seen: tuple[int, bytes | None, Held] = (
            -1,
            None,
            frozenset(),
        )  # last commit, its row "held", what it says

    def held(self) -> Held:
        """What is held, whoever committed it. About 1 µs, and 5 µs more after each commit.

        Raises:
            Corrupt: the row is damaged.
        """
        mark = self._env.last_transaction()
        seen, row, held = self._seen
        if mark != seen:
            with self._env.read() as txn:
                found = txn.get(tables.HELD, db=self._guard)
            if found != row:
                held = _held(found)
            self._seen = (mark, found, held)  # one reference: threads may race, and the older is read again
        return held

    def entry(self, txn: Txn, key: bytes) -> EntryCountRecord | None:
        """What is counted of an entry; None where it never matched.

        Raises:
            Corrupt: the row is damaged.
        """
        stored = txn.get(key, db=self._counts)
        return None if stored is None else codec.read(key, stored, "entry_counts", EntryCountRecord)

    def add(self, txn: Txn, verdicts: Sequence[tuple[int, VerdictRecord]]) -> list[Trip]:
        """Counts verdicts that were logged, each with its sequence; what is held from now on.

        Raises:
            Corrupt: a row is damaged.
        """
        if verdicts and txn.get(tables.FROM, db=self._guard) is None:
            first = codec.seal(tables.FROM, tables.sequence_key(verdicts[0][0]))
            txn.put(tables.FROM, first, db=self._guard)
        rows: dict[bytes, EntryCountRecord] = {}
        trips: dict[bytes, Trip] = {}
        for _, verdict in verdicts:
            for key, match in counted(verdict).items():
                row = rows.get(key)
                if row is None:
                    row = rows[key] = self.entry(txn, key) or EntryCountRecord()
                uploaders = self._count(row, key, match, verdict)
                if uploaders:
                    trips[key] = Trip(match.list, match.entry_id, uploaders, verdict.verdict_id)
        for key, row in rows.items():
            self._put(txn, key, row)
        if trips:
            self._put_held(txn, self._held_keys(txn) | trips.keys())
        return list(trips.values())

    def release(self, txn: Txn, key: bytes, until: datetime) -> EntryCountRecord:
        """Lets an entry act again, and does not hold it before `until`, held or not; what is counted of it.

        Raises:
            NotFound: it never matched.
            Corrupt: a row is damaged.
        """
        row = self.entry(txn, key)
        if row is None:
            raise NotFound("that entry never matched, so that it cannot be held")
        row.ClearField("held_since")
        row.ClearField("uploaders")
        row.released_until.FromDatetime(until)
        self._put(txn, key, row)
        self._put_held(txn, self._held_keys(txn) - {key})
        return row

    def _count(self, row: EntryCountRecord, key: bytes, match: Match, verdict: VerdictRecord) -> int:
        """Counts one match; where the entry is held from now on, how many uploaders that is because of."""
        row.matches += 1
        if not row.HasField("first_at"):
            row.first_at.CopyFrom(verdict.at)
        row.last_at.CopyFrom(verdict.at)
        policy = verdict.policies.get(match.list)
        said = policy is not None and policy.HasField("collision_uploaders")
        limit = policy.collision_uploaders if policy is not None and said else COLLISION_UPLOADERS
        at = verdict.at.ToDatetime(UTC)
        # What is judged again was uploaded over days, and would all seem to come now.
        if not limit or verdict.HasField("retro") or row.HasField("held_since"):
            return 0
        if row.HasField("released_until") and at < row.released_until.ToDatetime(UTC):
            return 0
        minute = tables.minute_of(at)
        for who in [who for who, last in row.uploaders.items() if last + WINDOW_MINUTES <= minute]:
            del row.uploaders[who]
        who = self._who(key, verdict)
        row.uploaders[who] = max(minute, row.uploaders.get(who, 0))
        uploaders = len(row.uploaders)
        if uploaders < limit:
            return 0
        row.held_since.CopyFrom(verdict.at)
        row.ClearField("uploaders")
        return uploaders

    def _who(self, key: bytes, verdict: VerdictRecord) -> str:
        """A digest of the uploader whom a verdict is about; where none is named of the content, else of the verdict."""
        subject = verdict.subject
        named = (("u", subject.uploader_id), ("c", subject.content_id), ("v", verdict.verdict_id))
        kind, name = next((kind, name) for kind, name in named if name)
        text = f"{kind}\0{name}\0".encode() + key
        return hashlib.blake2b(text, digest_size=_WHO_BYTES, key=self._key).hexdigest()

    def _put(self, txn: Txn, key: bytes, row: EntryCountRecord) -> None:
        txn.put(key, codec.seal(key, row.SerializeToString()), db=self._counts)

    def _held_keys(self, txn: Txn) -> frozenset[bytes]:
        return held_keys(txn.get(tables.HELD, db=self._guard))

    def _put_held(self, txn: Txn, keys: Iterable[bytes]) -> None:
        txn.put(tables.HELD, codec.seal(tables.HELD, b"\n".join(sorted(keys))), db=self._guard)


def held_event(trip: Trip) -> Event:
    """What the log says of it."""
    event = Event()
    event.entry_held.list, event.entry_held.entry_id = trip.list, trip.entry_id
    event.entry_held.uploaders, event.entry_held.verdict_id = trip.uploaders, trip.verdict_id
    return event


def alarm(trips: Iterable[Trip]) -> None:
    """Traces what is held from now on, once that is on disk."""
    for trip in trips:
        trace.error(
            "entry %s of list '%s' matched %d different uploaders within an hour: it is held, and asks for no more "
            "than REVIEW until it is released",
            trip.entry_id, trip.list, trip.uploaders,
        )  # fmt: skip


def held_keys(row: bytes | None) -> frozenset[bytes]:
    """Keys in `entry_counts` of what is held, from the row "held" of `guard`; none where there is no such row.

    Raises:
        Corrupt: the row is damaged.
    """
    payload = codec.unseal(tables.HELD, row, "guard") if row is not None else b""
    return frozenset(payload.split(b"\n")) if payload else frozenset()


def _held(row: bytes | None) -> Held:
    return frozenset(map(tables.split_entry, held_keys(row)))
