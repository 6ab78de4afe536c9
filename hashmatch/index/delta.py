"""What changed since a snapshot: rows added, rows that are gone. Searched by the flat kernel, hidden at once.

A delta is immutable to whoever searches it. The next one shares its buffer and only writes behind its rows, so nothing
that a search reads ever changes, no lock is taken, and to take one change costs what that change costs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hashmatch.index import hamming
from hashmatch.index.base import Base

_ROOM = 64  # rows of the first buffer
_ONE_BY_ONE = 16  # changes that are looked up in the base singly; more at once


class Change(NamedTuple):
    """A key as it stands afterwards."""

    key: bytes
    listed: bool


@dataclass(slots=True)
class _Buffer:
    """The rows of a line of deltas. Written by `advanced` alone, behind what any delta shows."""

    rows: NDArray[np.uint8]
    used: int = 0
    at: dict[bytes, int] = field(default_factory=dict)  # of the newest delta's live rows


@dataclass(frozen=True, slots=True)
class Delta:
    """Changes of one hash type on top of a base."""

    rows: NDArray[np.uint8]  # (N, width): added since
    dead: frozenset[int] = frozenset()  # of `rows`
    hidden: frozenset[int] = frozenset()  # rows of the base
    _buffer: _Buffer | None = None

    @classmethod
    def nothing(cls, width: int) -> Delta:
        return cls(np.empty((0, width), np.uint8))

    @property
    def added(self) -> int:
        return len(self.rows) - len(self.dead)

    @property
    def size(self) -> int:
        """Rows that a search pays for."""
        return len(self.rows) + len(self.hidden)

    def within(
        self, queries: NDArray[np.uint8], threshold: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Every pair of a query and an added row at most `threshold` bits apart: their numbers, and their distances."""
        query, row, distance = hamming.within(queries, self.rows, threshold)
        if self.dead and len(row):
            alive = ~np.isin(row, list(self.dead))
            query, row, distance = query[alive], row[alive], distance[alive]
        return query, row, distance

    def advanced(self, base: Base, changes: Iterable[Change]) -> Delta:
        """The delta after these changes, each key once. Only the newest of a line may be advanced."""
        changes = list(changes)
        if not changes:
            return self
        buffer = self._buffer or _Buffer(np.empty((_ROOM, self.rows.shape[1]), np.uint8))
        rows = _rows_of(base, changes)
        dead, hidden = set(self.dead), set(self.hidden)
        for (key, listed), row in zip(changes, rows, strict=True):
            if row >= 0:
                (hidden.discard if listed else hidden.add)(row)
            elif listed and key not in buffer.at:
                buffer.at[key] = _append(buffer, key)
            elif not listed and key in buffer.at:
                dead.add(buffer.at.pop(key))
        return Delta(buffer.rows[: buffer.used], frozenset(dead), frozenset(hidden), buffer)


def _append(buffer: _Buffer, key: bytes) -> int:
    if buffer.used == len(buffer.rows):
        larger = np.empty((2 * len(buffer.rows), buffer.rows.shape[1]), np.uint8)
        larger[: buffer.used] = buffer.rows[: buffer.used]
        buffer.rows = larger  # those who still search the old one keep it
    buffer.rows[buffer.used] = np.frombuffer(key, np.uint8)
    buffer.used += 1
    return buffer.used - 1


def _rows_of(base: Base, changes: list[Change]) -> list[int]:
    """Where each changed key stands in the base; -1 where it does not."""
    if len(changes) <= _ONE_BY_ONE:
        return [base.find(key) for key, _ in changes]
    found: list[int] = base.find_many(hamming.pack(b"".join(key for key, _ in changes), base.width)).tolist()
    return found
