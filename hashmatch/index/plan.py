"""Multi-index hashing: how values are cut into chunks, and why no neighbour is missed.

A value of B bits is cut into m chunks; each bit belongs to exactly one of them. For every chunk there is a table from
the chunk's key (its bits) to the rows with that key. A search at radius r gives every chunk c some units u_c ≥ 0 with
Σ u_c = r + 1, looks up every key that differs from the query's in fewer than u_c bits, and compares the rows it finds.

Nothing within r is missed. Suppose a row is under none of the keys looked up. Then in every chunk it differs from the
query in at least u_c bits (a chunk without units is not looked up at all, and differs in at least 0). Chunks share no
bits, so it differs in at least Σ u_c = r + 1 bits altogether, and is not within r. This holds for any cutting, any
radius and any way of giving out the units; so the units of each query go where they cost least, which is decided from
how many rows really lie around its keys. (The generalised pigeonhole principle: Qin et al., GPH, ICDE 2018; multi-index
hashing: Norouzi et al., CVPR 2012.)

Neighbouring bits of a perceptual hash resemble each other, so a chunk takes bits that lie far apart: that keeps the
number of rows per key within 1 % of that of random values, where neighbouring bits give 18 % more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

MAX_CHUNKS = 64
EXTRA_BYTES = 103  # per row for postings, beside the row itself: 135 in all for PDQ's 32
PROBE_NS, ROW_NS = 8.0, 12.0  # to look a key up, to fetch and compare a row: both wait for memory
FLAT_NS_PER_BYTE = 1.05 / 32  # to compare a row that comes in order: a core reads 30 GB/s
MIN_ROWS = 4_096  # below, comparing everything takes some microseconds


def sizes(bits: int, chunks: int) -> list[int]:
    """How many of a value's bits each chunk has; they differ by one at most."""
    return [bits // chunks + (c < bits % chunks) for c in range(chunks)]


def offsets_length(of: Sequence[int]) -> int:
    """Numbers in the offsets of chunks of these sizes."""
    return sum((1 << size) + 1 for size in of)


def choose(rows: int, bits: int, ceiling: int) -> int:
    """The number of chunks that makes a search cheapest within EXTRA_BYTES per row; 0: compare everything.

    Reckoned at two thirds of the ceiling, about where thresholds are, for evenly spread rows.
    """
    radius = 2 * ceiling // 3
    if rows < MIN_ROWS:
        return 0
    best, least = 0, FLAT_NS_PER_BYTE * (bits / 8) * rows
    for chunks in range(1, min(MAX_CHUNKS, bits) + 1):
        of = sizes(bits, chunks)
        if of[0] > 31 or 4 * (chunks * rows + offsets_length(of)) > EXTRA_BYTES * rows:
            continue
        cost = _cost(rows, tuple(of), radius)
        if cost < least:
            best, least = chunks, cost
    return best


def _cost(rows: int, of: tuple[int, ...], radius: int) -> float:
    """Nanoseconds of one search over evenly spread rows."""
    units, spare = divmod(radius + 1, len(of))
    cost = 0.0
    for c, size in enumerate(sorted(of)):
        probes = sum(math.comb(size, flips) for flips in range(units + (c < spare)))
        cost += probes * (PROBE_NS + ROW_NS * rows / (1 << size))
    return cost


@cache
def columns(bits: int, chunks: int) -> tuple[tuple[int, ...], ...]:
    """The bits of each chunk, ascending; bit i of a value is bit i % 8, from the least, of its byte i // 8."""
    stride = next(s for s in range(round(bits * 0.39), 2 * bits + 2) if math.gcd(s, bits) == 1)
    spread = [i * stride % bits for i in range(bits)]
    found, at = [], 0
    for size in sizes(bits, chunks):
        found.append(tuple(sorted(spread[at : at + size])))
        at += size
    return tuple(found)


@cache
def masks(bits: int, chunks: int) -> NDArray[np.uint64]:
    """`columns` as 64-bit words, (chunks, words)."""
    found = np.zeros((chunks, -(-bits // 64)), np.uint64)
    for c, of in enumerate(columns(bits, chunks)):
        for bit in of:
            found[c, bit // 64] |= np.uint64(1) << np.uint64(bit % 64)
    return found
