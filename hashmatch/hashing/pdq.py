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

Turned frames come from the same pass: reversing the frame's rows or columns before the product, and transposing
the 64 × 64 after it, is exactly what hashing the turned pixels computes. (The reference's own shortcut negates
coefficients instead. It is off by a pixel of the decimation, and misses.)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hashmatch.hashing.variants import Pixels, Reading, Turn

VALUE_BYTES: Final = 32
MIN_SIDE: Final = 5  # pixels; MIN_HASHABLE_DIM of the reference: below it all bits and the quality are 0
MIN_QUALITY: Final = 50  # Meta: discard 49 and less (ThreatExchange pdq/README.md)
DIM: Final = 64

Floats = npt.NDArray[np.float32]

_GROUP: Final = 8  # rows of A multiplied at once: enough for sgemm to be worth its call, few enough to skip the zeros
_MAX_CACHED_SIDE: Final = 2048  # pixels; about 40 bytes each
_MAX_CACHED: Final = 256  # sides: 21 MB at the most, a reduced JPEG's sides need a tenth
_LUMA: Final = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as the reference
_SLAB_PIXELS: Final = 1 << 18  # 1 MiB as float32: stays in a core's own cache, and bounds memory for any frame


def _dct() -> Floats:
    """Rows 1..16 of the 64-point DCT-II: (16, 64) float32."""
    row, column = np.arange(1, 17)[:, None], np.arange(DIM)[None, :]
    scale = float(np.float32(np.sqrt(2 / DIM)))  # the reference rounds the factor before it multiplies
    return (scale * np.cos(np.pi / 2 / DIM * row * (2 * column + 1))).astype(np.float32)


_DCT: Final = _dct()


def fingerprints(reading: Reading) -> Iterator[tuple[str, bytes, int | None]]:
    """Variant, value (32 bytes, first bit first) and quality (0..100) of each turn of the reading."""
    shrunk = _Shrunk(reading.pixels)
    for name, turn in reading.turns:
        buffer = shrunk.turned(turn)
        yield name, _value(buffer), _quality(buffer)


def compute(pixels: Pixels) -> tuple[bytes, int]:
    """Value (32 bytes, first bit first) and quality (0..100) of the pixels as they are."""
    buffer = _Shrunk(pixels).turned(Turn())
    return _value(buffer), _quality(buffer)


class _Shrunk:
    """A frame's 64 × 64 in any turn, each pass over the pixels done once and only when it is needed."""

    def __init__(self, pixels: Pixels) -> None:
        self._pixels = pixels
        self._halves: dict[bool, Floats] = {}
        self._buffers: dict[tuple[bool, bool], Floats] = {}

    def turned(self, turn: Turn) -> Floats:
        """The (64, 64) float32 that the turned pixels shrink to; zeros where a side is under MIN_SIDE."""
        if min(self._pixels.shape[:2]) < MIN_SIDE:
            return np.zeros((DIM, DIM), np.float32)
        # Reversing rows after a transposition is reversing columns before it.
        rows, columns = (turn.columns, turn.rows) if turn.transpose else (turn.rows, turn.columns)
        buffer = self._buffer(rows, columns)
        return buffer.T if turn.transpose else buffer

    def _buffer(self, rows: bool, columns: bool) -> Floats:
        if rows not in self._halves:
            self._halves[rows] = _shrink(self._pixels[:: -1 if rows else 1])
        if (rows, columns) not in self._buffers:
            half = self._halves[rows][:, :: -1 if columns else 1]
            self._buffers[rows, columns] = np.ascontiguousarray(_shrink(half.T).T)
        return self._buffers[rows, columns]


def _shrink(lines: npt.NDArray[Any]) -> Floats:
    """A(n) · luma of (n, m) or (n, m, 3) lines: (64, m) float32."""
    side, across = lines.shape[:2]
    shrunk = np.empty((DIM, across), np.float32)
    for group, (start, weights) in enumerate(_bands(side)):
        band = lines[start : start + weights.shape[1]]
        rows = shrunk[group * _GROUP : (group + 1) * _GROUP]
        step = max(_SLAB_PIXELS // len(band), 1)
        for left in range(0, across, step):
            rows[:, left : left + step] = weights @ _luma(band[:, left : left + step])
    return shrunk


def _luma(slab: npt.NDArray[Any]) -> Floats:
    lines = slab.astype(np.float32)
    return lines @ _LUMA if lines.ndim == 3 else lines


def _bands(side: int) -> Iterable[tuple[int, Floats]]:
    """A(side) by groups of rows: where each group's first weight stands, and the weights, (8, n) float32."""
    return _cached_bands(side) if side <= _MAX_CACHED_SIDE else _make_bands(side)


@lru_cache(maxsize=_MAX_CACHED)
def _cached_bands(side: int) -> tuple[tuple[int, Floats], ...]:
    return tuple(_make_bands(side))


def _make_bands(side: int) -> Iterator[tuple[int, Floats]]:
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
        yield start, np.cumsum(steps, axis=1)[:, :-1].astype(np.float32)


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
