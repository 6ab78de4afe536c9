"""A sample of recent traffic: what a new list or threshold would have done is told by asking it about these.

Of each UTC day a uniform sample is kept (Vitter's algorithm R), so many items at most, for so many days; what is older
is deleted. The rows hold fingerprints of people's ordinary uploads and whose they were, so the sample can be switched
off, is bounded, and one uploader's items are found by a keyed digest and erased.

    items     day u32, slot u32                       → TrafficRecord
    days      day u32                                 → how many were judged that day, u64
    uploaders keyed digest of an uploader, day, slot  → nothing

Items are written by a thread of its own, some at a time, a second late at most. A verdict never waits for it: what
cannot be queued or written is dropped, and a crash loses the last second. Several processes may write; each then
samples its own share of the day.
"""

from __future__ import annotations

import hashlib
import logging
import random
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import islice
from pathlib import Path

from hashmatch.errors import HashmatchError, Unavailable
from hashmatch.store import codec, keys
from hashmatch.store.env import Env, Txn
from hashmatch.v1.store_pb2 import TrafficRecord

TABLES = ("items", "days", "uploaders")
FLUSH_SECONDS = 1.0
MAX_WAITING = 4096  # items; more are dropped
MAX_FINGERPRINTS = (
    64  # of one item: a picture has up to a dozen with its variants; of a long animation the first are kept
)
PAGE = 500  # items read in one transaction
_SLOT = struct.Struct(">II")
_COUNT = struct.Struct(">Q")
_SECONDS = 86_400
_DIGEST_BYTES = 16

Slot = tuple[int, int]
"""Day since 1970, and place among that day's items."""

trace = logging.getLogger(__name__)


def place(number: int, room: int, draw: random.Random) -> int | None:
    """Where the item `number` of a day, from 1, goes among `room` places; None where it is not kept.

    Each item of a day is among those kept at its end with the same chance. Vitter, "Random sampling with a reservoir",
    1985, algorithm R.
    """
    if number <= room:
        return number - 1
    at = draw.randrange(number)
    return at if at < room else None


class Traffic:
    """The sample of one state directory. For any thread; open it once per process."""

    def __init__(self, state: Path, *, readonly: bool = False) -> None:
        """Opens STATE/traffic, making it where it is missing.

        Raises:
            BadConfig: it cannot be used; where it is only to be read, also where there is none.
            Corrupt: it is damaged.
        """
        self.env = Env(state / "traffic", TABLES, readonly=readonly)
        self._key = keys.kept(state, "traffic", create=not readonly)
        self._stopping = threading.Event()

    def close(self) -> None:
        self.env.close()

    def stop(self) -> None:
        """Ends whatever goes through the items now."""
        self._stopping.set()

    def items(self) -> Iterator[tuple[Slot, TrafficRecord]]:
        """Every item by day, in short transactions.

        Raises:
            Corrupt: one of them is damaged.
            Unavailable: it was stopped.
        """
        start = b""
        while True:
            with self.env.read() as txn, txn.cursor(db=self.env.table("items")) as cursor:
                found = cursor.set_range(start) if start else cursor.first()
                page = list(islice(cursor.iternext(), PAGE)) if found else []
            for key, value in page:
                if self._stopping.is_set():
                    raise Unavailable("the server is stopping; ask again")
                yield _SLOT.unpack(key), codec.read(key, value, "items", TrafficRecord)
            if len(page) < PAGE:
                return
            start = page[-1][0] + b"\0"

    def seen(self, day: int) -> int:
        """How many items were judged on a day."""
        key = NUMBER.pack(day)
        with self.env.read() as txn:
            stored = txn.get(key, db=self.env.table("days"))
        return 0 if stored is None else int(_COUNT.unpack(codec.unseal(key, stored, "days"))[0])

    def write(self, items: list[tuple[Slot, TrafficRecord]], seen: dict[int, int], oldest: int) -> None:
        """Puts items into their places, notes how many were seen, and deletes the days before `oldest`."""
        with self.env.write() as txn:
            for slot, record in items:
                self._delete(txn, _SLOT.pack(*slot))
                self._put(txn, _SLOT.pack(*slot), record)
            for day, number in seen.items():
                key = NUMBER.pack(day)
                txn.put(key, codec.seal(key, _COUNT.pack(number)), db=self.env.table("days"))
            self._expire(txn, oldest)

    def mark(self, slot: Slot, entries: list[str]) -> None:
        """Notes more entries that an item matches, where it is still there."""
        key = _SLOT.pack(*slot)
        with self.env.write() as txn:
            stored = txn.get(key, db=self.env.table("items"))
            if stored is not None:
                record = codec.read(key, stored, "items", TrafficRecord)
                record.matched.extend(entries)
                txn.put(key, codec.seal(key, record.SerializeToString()), db=self.env.table("items"))

    def forget(self, uploader_id: str) -> int:
        """Erases an uploader's items; how many there were."""
        prefix = self._digest(uploader_id)
        with self.env.write() as txn:
            with txn.cursor(db=self.env.table("uploaders")) as cursor:
                found = cursor.set_range(prefix)
                own = [key for key in cursor.iternext(values=False) if key.startswith(prefix)] if found else []
            for key in own:
                self._delete(txn, key[_DIGEST_BYTES:])
        return len(own)

    def _put(self, txn: Txn, key: bytes, record: TrafficRecord) -> None:
        txn.put(key, codec.seal(key, record.SerializeToString()), db=self.env.table("items"))
        if record.subject.uploader_id:
            owned = self._digest(record.subject.uploader_id) + key
            txn.put(owned, codec.seal(owned, b""), db=self.env.table("uploaders"))

    def _delete(self, txn: Txn, key: bytes) -> None:
        stored = txn.get(key, db=self.env.table("items"))
        if stored is None:
            return
        record = codec.read(key, stored, "items", TrafficRecord)
        if record.subject.uploader_id:
            txn.delete(self._digest(record.subject.uploader_id) + key, db=self.env.table("uploaders"))
        txn.delete(key, db=self.env.table("items"))

    def _expire(self, txn: Txn, oldest: int) -> None:
        for table in ("items", "days"):
            with txn.cursor(db=self.env.table(table)) as cursor:
                old = []
                for key in cursor.iternext(values=False):
                    if NUMBER.unpack_from(key)[0] >= oldest:
                        break
                    old.append(key)
            for key in old:
                if table == "items":
                    self._delete(txn, key)
                else:
                    txn.delete(key, db=self.env.table(table))

    def _digest(self, uploader_id: str) -> bytes:
        return hashlib.blake2b(uploader_id.encode(), digest_size=_DIGEST_BYTES, key=self._key).digest()


NUMBER = struct.Struct(">I")


class Sample:
    """Fills the sample from what is judged. `offer` is for the event loop; a thread writes."""

    def __init__(self, traffic: Traffic, *, items: int, days: int, draw: random.Random | None = None) -> None:
        """Keeps `items` in all of the last `days` days."""
        self._traffic = traffic
        self._room, self._days = max(1, items // days), days
        self._draw = draw or random.Random()
        self._lock = threading.Condition()  # guards all below
        self._waiting: deque[tuple[Slot, TrafficRecord]] = deque()
        self._seen: dict[int, int] = {}
        self._dropped = 0
        self._closing = False
        self._failed = False  # of the writing thread alone
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)
        self._thread.start()

    def offer(self, item: Callable[[], TrafficRecord], at: datetime) -> None:
        """Takes an item into the sample, or not; only then it is made. Never waits, never fails."""
        day = int(at.timestamp()) // _SECONDS
        with self._lock:
            if day not in self._seen:
                self._seen = {day: self._traffic.seen(day)}
            self._seen[day] += 1
            slot = place(self._seen[day], self._room, self._draw)
            if slot is None:
                return
            if len(self._waiting) >= MAX_WAITING:
                self._dropped += 1
                return
            self._waiting.append(((day, slot), item()))

    def flush(self) -> None:
        """Writes what waits. Failures are traced once, and what they concern is dropped: it is a sample."""
        with self._lock:
            items, self._waiting = list(self._waiting), deque()
            seen, dropped, self._dropped = dict(self._seen), self._dropped, 0
        if dropped:
            trace.warning("%d items of traffic were not taken into the sample: the disk is too slow", dropped)
        if not items:
            return
        try:
            self._traffic.write(items, seen, max(seen) - self._days + 1)
            self._failed = False
        except HashmatchError as e:
            if not self._failed:
                trace.error("the sample of traffic cannot be written: %s", e)
            self._failed = True

    def _run(self) -> None:
        while True:
            with self._lock:
                self._lock.wait_for(lambda: self._closing, FLUSH_SECONDS)
                closing = self._closing
            self.flush()
            if closing:
                return

    def close(self) -> None:
        """Writes what waits, and ends."""
        with self._lock:
            self._closing = True
            self._lock.notify_all()
        self._thread.join()
