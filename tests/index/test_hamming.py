"""The search kernel against a loop, and the shapes it must refuse."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashmatch.index import hamming


def loop(queries, rows, threshold):
    found = []
    for q, query in enumerate(queries):
        for r, row in enumerate(rows):
            distance = sum((a ^ b).bit_count() for a, b in zip(query, row, strict=True))
            if distance <= threshold:
                found.append((q, r, distance))
    return sorted(found)


def search(queries, rows, threshold):
    return sorted(zip(*(found.tolist() for found in hamming.within(queries, rows, threshold)), strict=True))


def near(value, flips):
    changed = bytearray(value)
    for bit in flips:
        changed[bit // 8 % len(changed)] ^= 1 << bit % 8
    return bytes(changed)


@st.composite
def clustered(draw, width):
    """Rows scattered and in clusters, and queries near and far from them."""
    centres = draw(st.lists(st.binary(min_size=width, max_size=width), min_size=1, max_size=4))
    flips = st.lists(st.integers(0, width * 8 - 1), max_size=60)
    some = st.builds(near, st.sampled_from(centres), flips)
    return draw(st.lists(some, min_size=0, max_size=12)), draw(st.lists(some, min_size=1, max_size=4))


@pytest.mark.parametrize("width", [32, 8, 6])
def test_a_search_finds_what_a_loop_finds(width):
    @settings(max_examples=60, deadline=None)
    @given(clustered(width), st.integers(0, width * 8))
    def check(data, threshold):
        rows, queries = data
        found = search(hamming.pack(b"".join(queries), width), hamming.pack(b"".join(rows), width), threshold)
        assert found == loop(queries, rows, threshold)

    check()


def test_every_distance_is_found_at_its_own_threshold_and_not_below():
    row = bytes(32)
    for distance in range(257):
        query = near(row, range(distance))
        packed = hamming.pack(query, 32), hamming.pack(row, 32)
        assert search(*packed, distance) == [(0, 0, distance)]
        if distance:
            assert search(*packed, distance - 1) == []


def test_shapes_that_the_kernel_would_misread_are_refused():
    rows = np.zeros((4, 32), np.uint8)
    for wrong in (rows[:, ::2], rows.astype(np.int8), rows[0], np.zeros((4, 16), np.uint8)):
        with pytest.raises(ValueError, match=r"want|queries"):
            hamming.within(wrong, rows, 3)
    with pytest.raises(ValueError, match="not rows"):
        hamming.pack(b"123", 2)
