"""PDQ: 256 bits of a frame's 16 × 16 lowest frequencies, and a quality of 0..100.

Facebook, "The TMK+PDQF Video-Hashing Algorithm and the PDQ Image-Hashing Algorithm" (2019), and its reference code,
ThreatExchange pdq/cpp. The reference blurs every pixel of the frame with two passes of a box filter each way and then
keeps 64 × 64 of them. All of it is linear and separable, so those 64 × 64 are

    A(H) · luma · A(W)ᵀ

where row i of the 64 × n matrix A(n) is the tent that the two boxes make about pixel (i + ½)·n/64. We build only those
rows and multiply; a row is zero but for about n/32 of its n weights, so eight rows at a time are multiplied with the
slab of the frame that they see. That is the same sum in another order: fingerprints differ from the reference's in bits
whose coefficient lies within float rounding of the median (a frame 16 pixels high has 31 coefficients that are 0, and
rounding alone decides their bits), and quality where a gradient lies that close to a step.

Turned frames come from the same pixels: reversing the columns of A, and transposing the 64 × 64, is exactly what
hashing the turned pixels computes. (The reference's own shortcut negates coefficients instead. It is off by a pixel of
the decimation, and misses.)

A frame that was reduced while it was decoded is hashed as the full-size frame that it stands for, not as a small
picture of its own: that one has other windows and centres; it was 7.7 bits off on average, up to 46. Here A is that of
the full size, and is multiplied into the reduced pixels through the parabolas whose means over each block are those
pixels: 0.6 bits off on average and 4 at most over 168 pictures (indexes/pdq.measured.json).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hashmatch.hashing.variants import UPRIGHT, Pixels, Reading, Turn, whole

VALUE_BYTES: Final = 32
MIN_SIDE: Final = 5  # pixels; MIN_HASHABLE_DIM of the reference: below it all bits and the quality are 0
MIN_QUALITY: Final = 50  # Meta: discard 49 and less (ThreatExchange pdq/README.md)
DIM: Final = 64

Floats = npt.NDArray[np.float32]
Band = tuple[int, Floats]
"""Eight rows of A: where their first weight stands, and the weights, (8, n)."""

_GROUP: Final = 8  # rows of A multiplied at once: enough for sgemm to be worth its call, few enough to skip the zeros
_MAX_CACHED_SIDE: Final = 2048  # pixels of a frame; about 40 bytes each
_MAX_CACHED: Final = 256  # sides: 21 MB at the most, a reduced JPEG's sides need a tenth
_LUMA: Final = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as the reference
_SLAB_PIXELS: Final = 1 << 18  # 1 MiB as float32: stays in a core's own cache, and bounds memory for any frame


def _dct() -> Floats:
    """Rows 1..16 of the 64-point DCT-II: (16, 64) float32."""
    row, column = np.arange(1, 17)[:, None], np.arange(DIM)[None, :]
    scale = float(np.float32(np.sqrt(2 / DIM)))  # the reference rounds the factor before it multiplies
    return np.asarray(scale * np.cos(np.pi / 2 / DIM * row * (2 * column + 1)), np.float32)


_DCT: Final = _dct()


def fingerprints(reading: Reading) -> Iterator[tuple[str, bytes, int | None]]:
    """Variant, value (32 bytes, first bit first) and quality (0..100) of each turn of the reading."""
    shrunk = _Shrunk(reading)
    for name, turn in reading.turns:
        buffer = shrunk.turned(turn)
        yield name, _value(buffer), _quality(buffer)


def compute(pixels: Pixels) -> tuple[bytes, int]:
    """Value (32 bytes, first bit first) and quality (0..100) of the pixels as they are."""
    buffer = _Shrunk(whole(pixels)).turned(UPRIGHT)
    return _value(buffer), _quality(buffer)


class _Shrunk:
    """A frame's 64 × 64 in any turn, each pass over the pixels done once and only when it is needed."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._halves: dict[bool, Floats] = {}
        self._buffers: dict[tuple[bool, bool], Floats] = {}

    def turned(self, turn: Turn) -> Floats:
        """The (64, 64) float32 that the turned pixels shrink to; zeros where a side is under MIN_SIDE."""
        if min(self._reading.full) < MIN_SIDE:
            return np.zeros((DIM, DIM), np.float32)
        # Reversing rows after a transposition is reversing columns before it.
        rows, columns = (turn.columns, turn.rows) if turn.transpose else (turn.rows, turn.columns)
        buffer = self._buffer(rows, columns)
        return buffer.T if turn.transpose else buffer

    def _buffer(self, rows: bool, columns: bool) -> Floats:
        height, width = self._reading.full
        by = self._reading.by
        if rows not in self._halves:
            self._halves[rows] = _shrink(self._reading.pixels, _bands(height, by, rows))
        if (rows, columns) not in self._buffers:
            self._buffers[rows, columns] = _shrink(self._halves[rows].T, _bands(width, by, columns)).T
        return self._buffers[rows, columns]


def _shrink(lines: npt.NDArray[Any], bands: Iterable[Band]) -> Floats:
    """A · luma of (n, m) or (n, m, 3) lines: (64, m) float32."""
    across = lines.shape[1]
    shrunk = np.empty((DIM, across), np.float32)
    for group, (start, weights) in enumerate(bands):
        band = lines[start : start + weights.shape[1]]
        rows = shrunk[group * _GROUP : (group + 1) * _GROUP]
        step = max(_SLAB_PIXELS // len(band), 1)
        for left in range(0, across, step):
            rows[:, left : left + step] = weights @ _luma(band[:, left : left + step])
    return shrunk


def _luma(slab: npt.NDArray[Any]) -> Floats:
    lines = slab.astype(np.float32)
    return lines @ _LUMA if lines.ndim == 3 else lines


def _bands(side: int, by: int, backwards: bool) -> Iterable[Band]:
    """A(side) by groups of rows, for pixels that each stand for `by` of the side, in reverse order if `backwards`."""
    return (_cached_bands if side // by <= _MAX_CACHED_SIDE else _make_bands)(side, by, backwards)


@lru_cache(maxsize=_MAX_CACHED)
def _cached_bands(side: int, by: int, backwards: bool) -> tuple[Band, ...]:
    return tuple(_make_bands(side, by, backwards))


def _make_bands(side: int, by: int, backwards: bool) -> Iterator[Band]:
    first, last = _window(np.arange(side), side)
    centres = ((np.arange(DIM) + 0.5) * side / DIM).astype(np.intp)
    for group in centres.reshape(-1, _GROUP):
        # A box about each centre, then a box about each pixel of that box.
        start, stop = int(first[first[group[0]]]), int(last[last[group[-1]]]) + 1
        steps = np.zeros((_GROUP, stop - start + 1))
        for row, centre in enumerate(group):
            inner = np.arange(first[centre], last[centre] + 1)
            weight = 1 / (len(inner) * (last[inner] - first[inner] + 1))
            np.add.at(steps[row], first[inner] - start, weight)
            np.add.at(steps[row], last[inner] + 1 - start, -weight)
        weights = np.cumsum(steps, axis=1)[:, :-1]
        if backwards:
            start, weights = side - stop, weights[:, ::-1]
        if by > 1:
            start, weights = _onto_blocks(start, weights, side, by)
        yield start, weights.astype(np.float32)


def _onto_blocks(
    start: int, weights: npt.NDArray[np.float64], side: int, by: int
) -> tuple[int, npt.NDArray[np.float64]]:
    """The band for blocks of `by` pixels, where each pixel lies on the parabola through its block's mean and the next.

    With t the place in the block, -½..½, and c = (t² - mean t²) / 2, a pixel is (c - t/2) of the block before,
    1 - 2c of its own, and c + t/2 of the one after. At the edges the next block is the block itself.
    """
    t = (np.arange(by) + 0.5) / by - 0.5
    c = (t * t - np.mean(t * t)) / 2
    before, blocks = start // by, -(-side // by)
    after = -(-(start + weights.shape[1]) // by)
    padded = np.zeros((_GROUP, (after - before) * by))
    padded[:, start - before * by :][:, : weights.shape[1]] = weights
    parts = padded.reshape(_GROUP, after - before, by)
    folded = np.zeros((_GROUP, after - before + 2))
    folded[:, :-2] += parts @ (c - t / 2)
    folded[:, 1:-1] += parts @ (1 - 2 * c)
    folded[:, 2:] += parts @ (c + t / 2)
    if before == 0:
        folded[:, 1] += folded[:, 0]
        folded = folded[:, 1:]
    if after == blocks:
        folded[:, -2] += folded[:, -1]
        folded = folded[:, :-1]
    return max(before - 1, 0), folded


def _window(at: npt.NDArray[np.intp], side: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """First and last pixel of the box about each pixel: Jarosz filter of the reference, cut off at the edges."""
    window = (side + 2 * DIM - 1) // (2 * DIM)  # computeJaroszFilterWindowSize
    ahead = (window + 2) // 2 - 1
    return np.maximum(at + ahead + 1 - window, 0), np.minimum(at + ahead, side - 1)


def _value(buffer: Floats) -> bytes:
    frequencies = _DCT @ buffer @ _DCT.T
    median = np.partition(frequencies, 127, axis=None)[127]  # the lower of the middle two, as Torben's algorithm
    return np.packbits((frequencies > median).ravel()[::-1]).tobytes()


def _quality(buffer: Floats) -> int:
    """Sum of the gradients that are worth counting: each is cut to a whole per cent of the range."""
    per_cent, levels = np.float32(100), np.float32(255)
    total = 0
    for axis in (0, 1):
        total += int(np.abs(np.diff(buffer, axis=axis) * per_cent / levels).astype(np.int32).sum())
    return min(total // 90, 100)
