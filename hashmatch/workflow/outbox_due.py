"""When instructions are due: what waits for its turn to be sent again, for the end of a lease, or to be confirmed."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from itertools import chain, islice, takewhile
from typing import Final

from hashmatch.delivery.schedule import LONGEST
from hashmatch.store.env import Env, Txn
from hashmatch.v1.cases_pb2 import DispatchRecord
from hashmatch.workflow.rows import Keys, after_time, time_key

LEASE: Final = timedelta(minutes=2)  # for a batch: the longest call, eight times over
BEHIND: Final = b"\0"  # a destination's name, in a key
_MOMENT: Final = timedelta(microseconds=1)


class Due:
    """By destination and time, inside transactions that the caller opened. For any thread."""

    def __init__(self, env: Env) -> None:
        self._keys = Keys(env, "outbox")

    def any(self, txn: Txn, destination: str, now: datetime) -> bool:
        """Whether something is due."""
        return bool(self.ids(txn, destination, now, 1))

    def ids(self, txn: Txn, destination: str, now: datetime, limit: int) -> list[tuple[str, bool]]:
        """Which are due, the longest ago first; and whether it is since the clock was set back: what is due later than
        anything is ever put off was put off before that."""
        prefix = destination.encode() + BEHIND
        end, beyond = prefix + time_key(now + _MOMENT), prefix + time_key(now + LONGEST + _MOMENT)
        due = takewhile(lambda key: key < end, (key for key, _ in self._keys.since(txn, prefix, prefix)))
        put_off = (key for key, _ in self._keys.since(txn, beyond, prefix))
        return [(after_time(key[len(prefix) :]), key >= beyond) for key in islice(chain(due, put_off), limit)]

    def put(self, txn: Txn, one: DispatchRecord) -> None:
        self._keys.put(txn, _key(one))

    def delete(self, txn: Txn, one: DispatchRecord) -> None:
        self._keys.delete(txn, _key(one))


def lane(one: DispatchRecord, subject: bytes) -> bytes:
    """Where an instruction waits in line: behind those of its subject, of which this is the digest; "": of none."""
    digest = subject or one.id.encode()
    if one.entry or one.verb == "page":  # of an entry in order, too; and a page waits behind nothing
        about = one.entry or f"page {one.case_id}"
        digest = hashlib.blake2b(about.encode(), digest_size=16).digest()
    return one.destination.encode() + BEHIND + digest


def _key(one: DispatchRecord) -> bytes:
    return one.destination.encode() + BEHIND + time_key(one.due_at.ToDatetime(UTC)) + one.id.encode()
