"""The look-up against a loop: every radius, every width, both kernels, data that is even, crowded and adversarial."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hashmatch.errors import Corrupt
from hashmatch.index import base, fallback, plan
from hashmatch.index.base import Base

CEILING = 48
Rows = NDArray[np.uint8]


def loop(queries: Rows, rows: Rows, threshold: int) -> list[tuple[int, int, int]]:
    """Every pair within the threshold, by comparing bit by bit."""
    found = []
    for q, query in enumerate(queries.tolist()):
        for r, row in enumerate(rows.tolist()):
            distance = sum((a ^ b).bit_count() for a, b in zip(query, row, strict=True))
            if distance <= threshold:
                found.append((q, r, distance))
    return found


def pairs(found: base.Pairs) -> list[tuple[int, int, int]]:
    return sorted(zip(*(part.tolist() for part in found), strict=True))


def cut(rows: Rows, chunks: int) -> Base:
    """A base with so many chunks, however small it is."""
    rows = np.ascontiguousarray(np.unique(rows, axis=0)) if len(rows) else rows
    offsets = np.empty(plan.offsets_length(plan.sizes(8 * rows.shape[1], chunks)), np.uint32)
    ids = np.empty(chunks * len(rows), np.uint32)
    base.postings(rows, chunks, offsets, ids)
    return Base(rows, chunks, offsets, ids)


def moved(rng: np.random.Generator, value: Rows, bits: int) -> Rows:
    flipped = np.unpackbits(value)
    flipped[rng.choice(len(flipped), bits, replace=False)] ^= 1
    return np.packbits(flipped)


def uniform(rng: np.random.Generator, width: int) -> Rows:
    return rng.integers(0, 256, (60, width), dtype=np.uint8)


def clustered(rng: np.random.Generator, width: int) -> Rows:
    centres = rng.integers(0, 256, (3, width), dtype=np.uint8)
    return np.stack([moved(rng, centres[i % 3], i % min(61, 8 * width)) for i in range(90)])


def one_bucket(rng: np.random.Generator, width: int) -> Rows:
    """Rows that all have the same bits in the first half of every cutting's first chunk."""
    rows = rng.integers(0, 256, (64, width), dtype=np.uint8)
    bits = np.unpackbits(rows, axis=1, bitorder="little")
    for chunks in (1, 4, 8):
        if chunks <= 8 * width:
            bits[:, list(plan.columns(8 * width, chunks)[0])] = 0
    return np.packbits(bits, axis=1, bitorder="little")


def powers(rng: np.random.Generator, width: int) -> Rows:
    """2^k rows that differ in k bits alone."""
    bits = np.zeros((64, 8 * width), np.uint8)
    for k in range(min(6, 8 * width)):
        bits[:, k * max(1, 8 * width // 6) % (8 * width)] = np.arange(64) >> k & 1
    return np.packbits(bits, axis=1)


SHAPES = {"uniform": uniform, "clustered": clustered, "one bucket": one_bucket, "powers of two": powers}


@pytest.fixture(params=["compiled", "numpy"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both kernels, where both are there."""
    if request.param == "numpy":
        monkeypatch.setattr(base, "_kernel", None)
    return request.param


@pytest.fixture(params=["by cost", "always by postings"])
def costs(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With so few rows comparing everything would always be cheaper; where it costs a second a byte it never is."""
    if request.param == "always by postings":
        monkeypatch.setattr(plan, "FLAT_NS_PER_BYTE", 1e9)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("width", "chunks"), [(32, 16), (32, 21), (8, 4), (6, 5), (20, 13), (3, 2), (1, 1)])
def test_every_radius_finds_what_a_loop_finds(shape: str, width: int, chunks: int, kernel: str, costs: None) -> None:
    rng = np.random.default_rng(width * 100 + chunks)
    rows = SHAPES[shape](rng, width)
    searched = cut(rows, chunks)
    near = [moved(rng, rows[i], int(rng.integers(0, min(50, 8 * width)))) for i in range(0, len(rows), 20)]
    queries = np.ascontiguousarray(np.stack([rows[0], rows[-1], *near, np.zeros(width, np.uint8)]))
    for threshold in range(min(CEILING, 8 * width) + 1):
        if threshold > 36 and plan.FLAT_NS_PER_BYTE > 1 and width == 32 and kernel == "numpy":
            break  # a hundred thousand probes for sixty rows: seconds a query, and the compiled one has done it
        assert pairs(searched.within(queries, threshold)) == loop(queries, searched.rows, threshold)


@pytest.mark.parametrize("threshold", [0, 1, 15, 30, 31])
def test_a_row_that_is_near_in_one_chunk_alone_is_found(threshold: int, kernel: str, costs: None) -> None:
    """Random tests miss what this catches: everywhere but in one chunk the row is just outside what is looked up."""
    chunks = 16
    rng = np.random.default_rng(threshold)
    columns = plan.columns(256, chunks)
    # The units of evenly spread rows; each chunk but one differs in as many bits as it has units.
    units = [threshold // chunks + (c < (threshold + 1) % chunks) for c in range(chunks)]
    rows = []
    query = rng.integers(0, 256, 32, dtype=np.uint8)
    for spared in range(chunks):
        bits = np.unpackbits(query, bitorder="little")
        left = threshold
        for c in range(chunks):
            differ = min(left, max(0, units[c] - (c == spared)))
            bits[list(rng.choice(columns[c], differ, replace=False))] ^= 1
            left -= differ
        for bit in columns[(spared + 1) % chunks][::-1]:  # what is left of the radius, all in one place
            if left and (bits[bit] == np.unpackbits(query, bitorder="little")[bit]):
                bits[bit] ^= 1
                left -= 1
        rows.append(np.packbits(bits, bitorder="little"))
    searched = cut(np.stack([*rows, *rng.integers(0, 256, (200, 32), dtype=np.uint8)]), chunks)
    found = pairs(searched.within(query[None], threshold))
    assert found == loop(query[None], searched.rows, threshold)
    assert len(found) == len(np.unique(np.stack(rows), axis=0))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1), st.integers(0, CEILING), st.integers(1, 24), st.integers(0, 80), st.booleans(),
    st.sampled_from(["compiled", "numpy"]),
)  # fmt: skip
def test_any_cutting_finds_what_a_loop_finds(
    seed: int, threshold: int, chunks: int, count: int, always: bool, kernel: str
) -> None:
    rng = np.random.default_rng(seed)
    size = max(plan.sizes(256, chunks))
    if size > 16 or (
        kernel == "numpy" and always and sum(math.comb(size, k) for k in range(threshold // chunks + 2)) > 5000
    ):
        chunks, always = 16, False
    rows = rng.integers(0, 256, (count, 32), dtype=np.uint8)
    if count:
        rows[count // 2 :] = rows[0]  # near-duplicates of one
        for i in range(count // 2, count):
            rows[i] = moved(rng, rows[i], int(rng.integers(0, 60)))
    searched = cut(rows, chunks)
    queries = np.stack([moved(rng, rows[0] if count else np.zeros(32, np.uint8), 20), *rows[:2]])
    usual = plan.FLAT_NS_PER_BYTE, base._kernel
    try:
        plan.FLAT_NS_PER_BYTE = 1e9 if always and threshold < 36 else usual[0]
        base._kernel = None if kernel == "numpy" else usual[1]
        assert pairs(searched.within(queries, threshold)) == loop(queries, searched.rows, threshold)
    finally:
        plan.FLAT_NS_PER_BYTE, base._kernel = usual


@pytest.mark.parametrize("count", [0, 1, 2, 4, 8, 16])
def test_few_rows_and_none(count: int, kernel: str) -> None:
    rows = np.arange(count, dtype=np.uint8)[:, None].repeat(32, axis=1).copy()
    for searched in (Base.of_rows(rows), cut(rows, 16)):
        query = np.zeros((1, 32), np.uint8)
        assert pairs(searched.within(query, 256)) == loop(query, rows, 256)
        assert len(searched) == count
        assert searched.find(bytes(32)) == (0 if count else -1)


def test_crowds_are_bounded_and_right(kernel: str) -> None:
    """A cluster of a third of the rows: each is found once, though many chunks lead to it."""
    rng = np.random.default_rng(3)
    centre = rng.integers(0, 256, 32, dtype=np.uint8)
    crowd = np.stack([moved(rng, centre, int(d)) for d in rng.integers(0, 40, 30_000)])
    rows = np.unique(np.concatenate([crowd, rng.integers(0, 256, (60_000, 32), dtype=np.uint8)]), axis=0)
    searched = cut(rows, plan.choose(len(rows), 256, CEILING))
    assert searched.chunks
    distance = np.bitwise_count(searched.rows ^ centre).sum(axis=1)
    _, row, found = searched.within(np.ascontiguousarray(centre[None]), 31)
    assert sorted(row.tolist()) == np.flatnonzero(distance <= 31).tolist()
    assert (found == distance[row]).all()


def test_batches_are_their_queries_one_by_one(kernel: str) -> None:
    rng = np.random.default_rng(4)
    rows = np.unique(rng.integers(0, 256, (30_000, 32), dtype=np.uint8), axis=0)
    searched = cut(rows, plan.choose(len(rows), 256, CEILING))
    queries = np.stack([moved(rng, rows[i * 100], i % 60) for i in range(64)])
    batch = pairs(searched.within(queries, 40))
    singly = [(q, r, d) for q in range(64) for _, r, d in pairs(searched.within(queries[q : q + 1], 40))]
    assert batch == sorted(singly)


def test_find(kernel: str) -> None:
    rng = np.random.default_rng(5)
    rows = np.unique(rng.integers(0, 3, (500, 4), dtype=np.uint8), axis=0)  # many zero bytes, at the end too
    searched = Base.of_rows(rows)
    assert searched.find_many(rows).tolist() == list(range(len(rows)))
    everything = {row.tobytes(): i for i, row in enumerate(rows)}
    for value in rng.integers(0, 4, (500, 4), dtype=np.uint8):
        assert searched.find(value.tobytes()) == everything.get(value.tobytes(), -1)


@pytest.mark.parametrize(
    "queries",
    [
        np.zeros((1, 31), np.uint8),
        np.zeros(32, np.uint8),
        np.zeros((1, 32), np.int8),
        np.zeros((2, 64), np.uint8)[:, ::2],
        np.zeros((32, 2), np.uint8).T,
    ],
)
def test_what_a_kernel_would_misread_is_refused(queries: Rows, kernel: str) -> None:
    searched = cut(np.random.default_rng(6).integers(0, 256, (50, 32), dtype=np.uint8), 16)
    with pytest.raises(ValueError, match=r"want|against"):
        searched.within(queries, 31)


def test_arrays_that_do_not_fit_are_refused() -> None:
    rows = np.zeros((4, 32), np.uint8)
    with pytest.raises(Corrupt):
        Base(rows, 16, np.zeros(5, np.uint32), np.zeros(64, np.uint32))
    with pytest.raises(Corrupt):
        Base(rows, 16, np.zeros(plan.offsets_length(plan.sizes(256, 16)), np.uint32), np.zeros(63, np.uint32))
    if base._kernel is not None:
        with pytest.raises(ValueError, match="do not fit"):
            base._kernel.scan(bytes(31), rows, 32, 1)
        with pytest.raises(ValueError, match="do not fit"):
            base._kernel.search(bytes(32), rows, 32, bytes(4), bytes(4), bytes(8), b"\x10", 1, 1.0, 1.0, 1.0)


# ── the plan ────────────────────────────────────────────────────────────────────────────────────────────────────────


@given(st.integers(1, 300), st.integers(1, 64))
def test_every_bit_is_in_one_chunk(bits: int, chunks: int) -> None:
    chunks = min(bits, chunks)
    columns = plan.columns(bits, chunks)
    assert sorted(bit for of in columns for bit in of) == list(range(bits))
    assert [len(of) for of in columns] == plan.sizes(bits, chunks)


@given(
    st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 5000)), min_size=1, max_size=20), st.integers(0, CEILING)
)
def test_units_add_up_to_one_more_than_the_radius(seen: list[tuple[int, int]], threshold: int) -> None:
    of = [6] * len(seen)
    units, _ = fallback.spread(of, seen, 100_000, threshold)
    assert sum(units) == threshold + 1 or all(units[c] > of[c] for c in range(len(of)))


@pytest.mark.parametrize("rows", [1, 4_095, 4_096, 100_000, 200_000, 10**6, 10**7, 10**8, 2**32 - 2])
@pytest.mark.parametrize("bits", [8, 48, 64, 256])
def test_the_chunks_chosen_keep_within_the_budget(rows: int, bits: int) -> None:
    chunks = plan.choose(rows, bits, CEILING if bits == 256 else 8)
    if chunks:
        sizes = plan.sizes(bits, chunks)
        assert 4 * (chunks * rows + plan.offsets_length(sizes)) <= plan.EXTRA_BYTES * rows
        assert max(sizes) <= 31
    assert chunks or bits < 256 or rows < 20_000  # below, postings would not fit the budget


def test_the_compiled_kernel_can_be_switched_off() -> None:
    code = "from hashmatch.index.base import KERNEL; print(KERNEL)"
    for environ, expected in (({"HASHMATCH_KERNEL": "numpy"}, {"numpy"}), ({}, {base.KERNEL, "compiled"})):
        done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
        assert done.stdout.strip() in expected
