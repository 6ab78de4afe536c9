"""What the compiled kernel does, in NumPy: the same answers where there is no compiler, three to five times slower.

The kernel (`_kernel.c`) is the same search; tests hold both to a loop. Here a query's probes are arrays, so what costs
is the number of calls; there it is waiting for memory.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from functools import cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from hashmatch.index import hamming, plan

Pairs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
_KEY_ROWS = 65_536  # whose keys are made at once


def keys(rows: NDArray[np.uint8], of: Sequence[int]) -> NDArray[np.uint32]:
    """The key of each row in the chunk of these bits."""
    found = np.empty(len(rows), np.uint32)
    powers = np.uint32(1) << np.arange(len(of), dtype=np.uint32)
    for at in range(0, len(rows), _KEY_ROWS):
        bits = np.unpackbits(rows[at : at + _KEY_ROWS], axis=1, bitorder="little")[:, list(of)]
        found[at : at + _KEY_ROWS] = bits.astype(np.uint32) @ powers
    return found


def post(rows: NDArray[np.uint8], of: Sequence[int], offsets: NDArray[np.uint32], ids: NDArray[np.uint32]) -> None:
    """Fills the postings of one chunk: rows by key, and where each key's begin."""
    of_rows = keys(rows, of)
    ids[:] = np.argsort(of_rows, kind="stable")
    offsets[0] = 0
    offsets[1:] = np.cumsum(np.bincount(of_rows, minlength=1 << len(of)))


@cache
def flipped(size: int, flips: int) -> NDArray[np.uint32]:
    """Every key of `size` bits with so many bits set."""
    chosen = combinations(range(size), flips)
    return np.fromiter((sum(1 << bit for bit in bits) for bits in chosen), np.uint32)


def search(
    queries: NDArray[np.uint8],
    rows: NDArray[np.uint8],
    offsets: NDArray[np.uint32],
    ids: NDArray[np.uint32],
    chunks: int,
    threshold: int,
) -> Pairs:
    """As `Base.within`."""
    found = [_one(number, queries[number], rows, offsets, ids, chunks, threshold) for number in range(len(queries))]
    left = [number for number, pairs in enumerate(found) if pairs is None]
    done = [pairs for pairs in found if pairs is not None]
    if left:
        query, row, distance = hamming.within(np.ascontiguousarray(queries[left]), rows, threshold)
        done.append((np.array(left, np.int64)[query], row, distance))
    query, row, distance = (np.concatenate(part) for part in zip(*done, strict=True))
    return query, row, distance


def _one(
    number: int,
    query: NDArray[np.uint8],
    rows: NDArray[np.uint8],
    offsets: NDArray[np.uint32],
    ids: NDArray[np.uint32],
    chunks: int,
    threshold: int,
) -> Pairs | None:
    """The pairs of one query; None where comparing everything is cheaper."""
    bits, flat = 8 * rows.shape[1], plan.FLAT_NS_PER_BYTE * rows.shape[1] * len(rows)
    unpacked = np.unpackbits(query, bitorder="little").astype(np.uint32)
    own, ends, seen, at = [], [], [], 0
    for of in plan.columns(bits, chunks):
        own.append(int(unpacked[list(of)] @ (np.uint32(1) << np.arange(len(of), dtype=np.uint32))))
        ends.append(offsets[at : at + (1 << len(of)) + 1])
        seen.append([_count(ends[-1], np.uint32(own[-1]) ^ flipped(len(of), flips)) for flips in (0, 1)])
        at += (1 << len(of)) + 1
    of_size = plan.sizes(bits, chunks)
    units, cost = spread(of_size, seen, len(rows), threshold)
    if cost > flat:
        return None
    starts, counts = [], []
    for c, size in enumerate(of_size):
        for flips in range(units[c]):
            probed = np.uint32(own[c]) ^ flipped(size, flips)
            begin, end = ends[c][probed], ends[c][probed + np.uint32(1)]
            starts.append(begin.astype(np.int64) + c * len(rows))
            counts.append((end - begin).astype(np.int64))
    begin, count = np.concatenate(starts), np.concatenate(counts)
    total = int(count.sum())
    if plan.ROW_NS * total > flat:
        return None
    # Positions in `ids` of every candidate: each run counts up from where it begins.
    position = np.arange(total) + np.repeat(begin - (np.cumsum(count) - count), count)
    row = np.unique(ids[position]).astype(np.int64)
    distance = np.bitwise_count(rows[row] ^ query).sum(axis=1, dtype=np.int64)
    near = distance <= threshold
    return np.full(int(near.sum()), number, np.int64), row[near], distance[near]


def _count(ends: NDArray[np.uint32], probed: NDArray[np.uint32]) -> int:
    return int((ends[probed + np.uint32(1)] - ends[probed]).sum(dtype=np.int64))


def spread(of: Sequence[int], seen: Sequence[Sequence[int]], rows: int, threshold: int) -> tuple[list[int], float]:
    """Units of each chunk, threshold + 1 in all, each given where it costs least; and what they cost."""
    units, spent = [0] * len(of), 0.0
    waiting = [(plan.PROBE_NS + plan.ROW_NS * seen[c][0], c) for c in range(len(of))]
    heapq.heapify(waiting)
    for _ in range(threshold + 1):
        if not waiting:  # every chunk has every key: nothing is left to be missed
            break
        cost, c = heapq.heappop(waiting)
        spent += cost
        units[c] += 1
        flips = units[c]
        if flips <= of[c]:
            probes = math.comb(of[c], flips)
            crowd = seen[c][1] if flips == 1 else max(seen[c][1], rows * probes / (1 << of[c]))
            heapq.heappush(waiting, (probes * plan.PROBE_NS + plan.ROW_NS * crowd, c))
    return units, spent
