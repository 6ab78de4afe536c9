"""Rows of the workflow's tables: keys, and messages in and out, inside transactions that the caller opened."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Generic, TypeVar

from google.protobuf.message import Message

from hashmatch.store import codec
from hashmatch.store.env import Env, Txn

M = TypeVar("M", bound=Message)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_TIME = struct.Struct(">Q")


def time_key(at: datetime) -> bytes:
    """A time as the beginning of a key: µs since 1970, big-endian; times before are held there."""
    return _TIME.pack(max(0, (at - _EPOCH) // _MICROSECOND))


def after_time(key: bytes) -> str:
    """The text that follows the time in a key."""
    return key[_TIME.size :].decode()


class Messages(Generic[M]):
    """One table of messages."""

    def __init__(self, env: Env, name: str, kind: type[M]) -> None:
        self._table, self._name, self._kind = env.table(name), name, kind

    def get(self, txn: Txn, key: bytes) -> M | None:
        """The message under a key.

        Raises:
            Corrupt: it is damaged.
        """
        stored = txn.get(key, db=self._table) if 0 < len(key) <= 500 else None
        return None if stored is None else codec.read(key, stored, self._name, self._kind)

    def put(self, txn: Txn, key: bytes, message: M) -> None:
        txn.put(key, codec.seal(key, message.SerializeToString(deterministic=True)), db=self._table)

    def delete(self, txn: Txn, key: bytes) -> None:
        txn.delete(key, db=self._table)

    def under(self, txn: Txn, prefix: bytes, *, start: bytes = b"", newest: bool = False) -> Iterator[tuple[bytes, M]]:
        """Keys and messages that begin with a prefix: in order, from key `start` on, or, `newest`, back from the last
        one before key `start`."""
        with txn.cursor(db=self._table) as cursor:
            if not newest:
                start = max(prefix, start)
                there = cursor.set_range(start) if start else cursor.first()
                rows = cursor.iternext() if there else iter(())
            else:
                past = cursor.set_range(start or prefix + b"\xff")
                there = cursor.prev() if past else cursor.last()
                rows = cursor.iterprev() if there else iter(())
            for key, stored in rows:
                if not key.startswith(prefix):
                    return
                yield key, codec.read(key, stored, self._name, self._kind)


class Keys:
    """One table whose keys say everything, or lead to an id."""

    def __init__(self, env: Env, name: str) -> None:
        self._table, self._name = env.table(name), name

    def put(self, txn: Txn, key: bytes, value: str = "") -> None:
        txn.put(key, codec.seal(key, value.encode()), db=self._table)

    def get(self, txn: Txn, key: bytes) -> str | None:
        stored = txn.get(key, db=self._table)
        return None if stored is None else codec.unseal(key, stored, self._name).decode()

    def delete(self, txn: Txn, key: bytes) -> bool:
        return bool(txn.delete(key, db=self._table))

    def first(self, txn: Txn, prefix: bytes) -> tuple[bytes, str] | None:
        """The first key that begins so, with its value."""
        return next(self.since(txn, prefix, prefix), None)

    def count(self, txn: Txn) -> int:
        """How many keys there are."""
        return int(txn.stat(self._table)["entries"])

    def last(self, txn: Txn, prefix: bytes) -> bytes | None:
        """The last key that begins so."""
        with txn.cursor(db=self._table) as cursor:
            there = cursor.prev() if cursor.set_range(prefix + b"\xff" * 9) else cursor.last()
            key = bytes(cursor.key()) if there else b""
        return key if key.startswith(prefix) and key else None

    def since(self, txn: Txn, start: bytes, prefix: bytes = b"") -> Iterator[tuple[bytes, str]]:
        """Keys from `start` on that begin with `prefix`, with their values. The table must not change meanwhile."""
        with txn.cursor(db=self._table) as cursor:
            if not (cursor.set_range(start) if start else cursor.first()):
                return
            for key, stored in cursor:
                if not key.startswith(prefix):
                    return
                yield key, codec.unseal(key, stored, self._name).decode()
