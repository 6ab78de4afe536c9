"""Sealed bytes: what comes back, at every border of chunks, and that no change of a file goes unseen."""

from __future__ import annotations

import io
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashmatch.errors import Corrupt
from hashmatch.evidence import stream
from hashmatch.evidence.stream import CHUNK_BYTES, TAG_BYTES, Opened

KEY = bytes(range(32))
MEDIA = random.Random(1).randbytes(3 * CHUNK_BYTES + 2)
SIZES = sorted({0, 1, 100} | {n * CHUNK_BYTES + d for n in (1, 2, 3) for d in (-1, 0, 1)})


def sealed(size: int) -> bytes:
    return b"".join(stream.seal(KEY, stream.chunks(io.BytesIO(MEDIA[:size]))))


def opened(file: bytes, size: int) -> bytes:
    with io.BufferedReader(Opened(io.BytesIO(file), KEY, size)) as reader:
        return reader.read()


class Dribble(io.BytesIO):
    """Gives less than it is asked for, as pipes do."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(min(size or 1, 70_001))


@pytest.mark.parametrize("size", SIZES)
def test_every_border_comes_back(size):
    file = sealed(size)
    assert len(file) == stream.length(size)
    assert opened(file, size) == MEDIA[:size]
    assert file == b"".join(stream.seal(KEY, stream.chunks(Dribble(MEDIA[:size]))))


@settings(max_examples=50)
@given(
    reads=st.lists(
        st.tuples(st.sampled_from((0, 1, 2)), st.integers(0, 3 * CHUNK_BYTES), st.integers(0, 200_000)), max_size=6
    ),
    size=st.sampled_from(SIZES),
)
def test_it_is_read_as_a_file_is(reads, size):
    reader, plain = Opened(io.BytesIO(FILES[size]), KEY, size), io.BytesIO(MEDIA[:size])
    with io.BufferedReader(reader) as found:
        for whence, offset, length in reads:
            offset = {0: offset, 1: offset // 2, 2: -min(offset, size)}[whence]
            assert found.seek(offset, whence) == plain.seek(offset, whence)
            assert found.read(length) == plain.read(length)
            assert found.tell() == plain.tell()


FILES = {size: sealed(size) for size in SIZES}


def test_every_changed_byte_is_found():
    file = FILES[100]
    for at in range(len(file)):
        for bits in (1, 0x80, 0xFF):
            with pytest.raises(Corrupt):
                opened(file[:at] + bytes([file[at] ^ bits]) + file[at + 1 :], 100)


@pytest.mark.parametrize("size", [0, 100, CHUNK_BYTES, CHUNK_BYTES + 1])
def test_what_is_cut_or_added_is_found(size):
    """Even where the size that is asked for was changed with it."""
    file = FILES[size]
    cut = range(len(file)) if size == 100 else (0, 8, 23, len(file) - TAG_BYTES - 1, len(file) - 1)
    changed = [file[:at] for at in cut] + [file + bytes(n) for n in (1, TAG_BYTES, TAG_BYTES + 1)]
    for one in changed:
        for claimed in {size, max(0, len(one) - 8 - TAG_BYTES), max(0, len(one) - 8 - 2 * TAG_BYTES)}:
            with pytest.raises(Corrupt):
                opened(one, claimed)


def test_chunks_cannot_be_moved_dropped_or_doubled():
    size = 2 * CHUNK_BYTES + 1
    head, step = len(stream.MAGIC), CHUNK_BYTES + TAG_BYTES
    file = FILES[size]
    one, two, last = file[head : head + step], file[head + step : head + 2 * step], file[head + 2 * step :]
    orders = {(two, one, last): size, (one, last): CHUNK_BYTES + 1, (one, two): 2 * CHUNK_BYTES, (one,): CHUNK_BYTES}
    orders |= {(one, one, last): size, (one, two, two, last): size + CHUNK_BYTES, (last,): 1, (last, one, two): size}
    for order, claimed in orders.items():
        with pytest.raises(Corrupt):
            opened(stream.MAGIC + b"".join(order), claimed)
    assert opened(stream.MAGIC + one + two + last, size) == MEDIA[:size]


def test_damage_further_on_is_told_when_it_is_reached():
    file = bytearray(FILES[CHUNK_BYTES + 1])
    file[-1] ^= 1
    with io.BufferedReader(Opened(io.BytesIO(bytes(file)), KEY, CHUNK_BYTES + 1)) as reader:
        assert reader.read(CHUNK_BYTES) == MEDIA[:CHUNK_BYTES]
        with pytest.raises(Corrupt):
            reader.read(1)


def test_another_key_opens_nothing():
    with pytest.raises(Corrupt):
        Opened(io.BytesIO(FILES[1]), bytes(32), 1)
