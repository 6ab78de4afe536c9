"""One immutable, sorted set of values of one width, searched exactly: by postings where it is large, by comparing
everything where it is small, where the radius is wide, or where too many rows lie around a query.

By measurement (benchmarks/search.py) the search itself is compiled: over ten million rows NumPy takes three to five
times as long, most of it in calls, and cannot look at the rows of a crowded key once only. The extension is one file of
C without dependencies, built for Python's stable interface; where it could not be built `fallback` answers the same.
"""

from __future__ import annotations

import contextlib
import os
from importlib import import_module
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hashmatch.errors import Corrupt
from hashmatch.index import fallback, hamming, plan

_kernel: Any = None
if os.environ.get("HASHMATCH_KERNEL") != "numpy":
    with contextlib.suppress(ImportError):  # there was no compiler
        _kernel = import_module("hashmatch.index._kernel")

KERNEL: Final = "numpy" if _kernel is None else "compiled"

Pairs = fallback.Pairs


class Base:
    """Rows in strictly ascending order, and postings over them or none. For any number of threads."""

    def __init__(
        self, rows: NDArray[np.uint8], chunks: int, offsets: NDArray[np.uint32], ids: NDArray[np.uint32]
    ) -> None:
        """Takes arrays as `postings` makes them.

        Raises:
            Corrupt: they do not fit each other.
        """
        if rows.dtype != np.uint8 or rows.ndim != 2 or not rows.flags.c_contiguous:
            raise ValueError("want a C-contiguous uint8 array of two dimensions")
        bits = 8 * rows.shape[1]
        if len(offsets) != (plan.offsets_length(plan.sizes(bits, chunks)) if chunks else 0):
            raise Corrupt("the offsets are not as many as the chunks have keys")
        if len(ids) != chunks * len(rows):
            raise Corrupt("the postings are not as many as the rows")
        self.rows = rows
        self.width = rows.shape[1]
        self.chunks = chunks
        self._offsets, self._ids = offsets, ids
        if chunks:
            self._masks = plan.masks(bits, chunks)
            self._bits = bytes(plan.sizes(bits, chunks))
        self._sorted = _comparable(rows)

    @classmethod
    def of_rows(cls, rows: NDArray[np.uint8]) -> Base:
        """A base without postings, for what is small."""
        return cls(rows, 0, np.empty(0, np.uint32), np.empty(0, np.uint32))

    def __len__(self) -> int:
        return len(self.rows)

    def within(self, queries: NDArray[np.uint8], threshold: int) -> Pairs:
        """Every pair at most `threshold` bits apart, once: query numbers, row numbers, distances.

        Args:
            queries: (Q, width) uint8, C-contiguous. They share what work they can.
        Raises:
            ValueError: another shape or type.
        """
        if queries.dtype != np.uint8 or queries.ndim != 2 or not queries.flags.c_contiguous:
            raise ValueError("want a C-contiguous uint8 array of two dimensions")
        if queries.shape[1] != self.width:
            raise ValueError(f"queries of {queries.shape[1]} bytes against rows of {self.width}")
        if threshold < 0 or not len(queries) or not len(self.rows):
            none = np.empty(0, np.int64)
            return none, none, none
        if _kernel is None:
            if not self.chunks:
                return hamming.within(queries, self.rows, threshold)
            return fallback.search(queries, self.rows, self._offsets, self._ids, self.chunks, threshold)
        if not self.chunks:
            return _pairs(_kernel.scan(queries, self.rows, self.width, threshold))
        found = _kernel.search(
            queries, self.rows, self.width, self._offsets, self._ids, self._masks, self._bits, threshold,
            plan.FLAT_NS_PER_BYTE * self.width, plan.PROBE_NS, plan.ROW_NS,
        )  # fmt: skip
        return _pairs(found)

    def find(self, value: bytes) -> int:
        """The row of exactly this value; -1 where there is none."""
        return int(self.find_many(hamming.pack(value, self.width))[0])

    def find_many(self, values: NDArray[np.uint8]) -> NDArray[np.int64]:
        """The row of each value; -1 where there is none."""
        if not len(self.rows):
            return np.full(len(values), -1, np.int64)
        wanted = _comparable(values)
        at = np.searchsorted(self._sorted, wanted)
        at[at == len(self.rows)] = 0
        return np.where(self._sorted[at] == wanted, at, -1).astype(np.int64)


def _comparable(rows: NDArray[np.uint8]) -> NDArray[np.bytes_]:
    """Rows as strings of bytes, which NumPy compares as wholes, in the order of their bytes."""
    return np.ascontiguousarray(rows).view(f"S{rows.shape[1]}").reshape(-1)


def _pairs(found: bytes) -> Pairs:
    triples = np.frombuffer(found, np.uint32).reshape(-1, 3)
    return triples[:, 0].astype(np.int64), triples[:, 1].astype(np.int64), triples[:, 2].astype(np.int64)


def postings(rows: NDArray[np.uint8], chunks: int, offsets: NDArray[np.uint32], ids: NDArray[np.uint32]) -> None:
    """Fills `offsets` and `ids`, which have the lengths that `Base` wants, for these rows."""
    bits = 8 * rows.shape[1]
    masks = plan.masks(bits, chunks)
    begin = 0
    for c, of in enumerate(plan.columns(bits, chunks)):
        ends = offsets[begin : begin + (1 << len(of)) + 1]
        own = ids[c * len(rows) : (c + 1) * len(rows)]
        if _kernel is None:
            fallback.post(rows, of, ends, own)
        else:
            _kernel.post(rows, rows.shape[1], masks[c], len(of), ends, own)
        begin += len(ends)
