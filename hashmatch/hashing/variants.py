"""Readings of a frame: which way up it is hashed, and what that is called.

Lists hold pictures as they were stored and as a viewer displays them, so a frame with an EXIF orientation is always
hashed both ways. On request of a list's policy it is also hashed turned, mirrored, in Meta's 512-pixel dialect and
without its letterbox. The names of turns are ImageMagick's:

    ""          as displayed                    "stored"     pixels before EXIF orientation, where that differs
    "rot90"     a quarter clockwise             "flip"       upside down: rows reversed
    "rot180"    half                            "flop"       mirrored left to right: columns reversed
    "rot270"    a quarter anticlockwise         "transpose"  mirrored in the main diagonal
    "nn512"     sampled to 512 × 512 first      "transverse" mirrored in the other diagonal
    "unletterboxed"  uniform borders removed

Turns are of the displayed picture. "nn512" and "unletterboxed" are taken of it and, where that differs, of the
stored one too: Meta's hasher ignores EXIF.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hashmatch.errors import Malformed

Pixels = npt.NDArray[np.uint8]
"""A frame's raster: (H, W) luma or (H, W, 3) RGB."""

QUERY_VARIANTS: Final = ("flips", "nn512", "unletterboxed")
"""What a list's policy may ask for."""

DISPLAYED: Final = ""
STORED: Final = "stored"

NN512_SIDE: Final = 512  # pixels; DOWNSAMPLE_DIMS of Meta's pdqio.cpp

# A border is what differs from its outermost line by no more than JPEG noise does.
BORDER_TOLERANCE: Final = 12  # luma levels; ringing at q50 stays under it one 8-pixel block away from an edge
BORDER_SHARE: Final = 0.98  # of a line's pixels that must be within the tolerance: lets a watermark's specks pass
BORDER_MIN: Final = 0.02  # of a side; thinner borders move PDQ less than recompression does
_BLOCK_PIXELS: Final = 1 << 18  # looked at at once: 2 MB in RGB
CONTENT_MIN: Final = 0.25  # of each side; what would leave less is a dark picture, not a letterbox


@dataclass(frozen=True, slots=True)
class Turn:
    """One of the eight symmetries of a raster: transpose first, then reverse rows, then reverse columns."""

    transpose: bool = False
    rows: bool = False
    columns: bool = False

    def of(self, pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The turned raster, as a view."""
        turned = pixels.swapaxes(0, 1) if self.transpose else pixels
        return turned[:: -1 if self.rows else 1, :: -1 if self.columns else 1]

    def then(self, after: Turn) -> Turn:
        """The one turn that does this and `after` in that order."""
        rows, columns = (self.columns, self.rows) if after.transpose else (self.rows, self.columns)
        return Turn(self.transpose != after.transpose, rows != after.rows, columns != after.columns)


UPRIGHT: Final = Turn()

TURNS: Final = {
    "rot90": Turn(transpose=True, columns=True),
    "rot180": Turn(rows=True, columns=True),
    "rot270": Turn(transpose=True, rows=True),
    "flip": Turn(rows=True),
    "flop": Turn(columns=True),
    "transpose": Turn(transpose=True),
    "transverse": Turn(transpose=True, rows=True, columns=True),
}

# EXIF 2.32, tag 0x0112: what brings stored pixels upright.
_DISPLAYING: Final = {
    1: UPRIGHT,
    2: TURNS["flop"],
    3: TURNS["rot180"],
    4: TURNS["flip"],
    5: TURNS["transpose"],
    6: TURNS["rot90"],
    7: TURNS["transverse"],
    8: TURNS["rot270"],
}


@dataclass(frozen=True, slots=True)
class Reading:
    """A raster to be hashed in several turns, each under its variant's name."""

    pixels: Pixels
    turns: tuple[tuple[str, Turn], ...]
    full: tuple[int, int]  # height and width before it was reduced
    by: int = 1  # each pixel is the mean of so many by so many


def whole(pixels: Pixels, turns: tuple[tuple[str, Turn], ...] = ((DISPLAYED, UPRIGHT),)) -> Reading:
    """A reading of pixels that are not reduced."""
    return Reading(pixels, turns, (pixels.shape[0], pixels.shape[1]))


def expand(policy_variants: Iterable[str]) -> frozenset[str]:
    """Names of the fingerprints that a list accepts whose policy asks for `policy_variants`.

    The picture as displayed and as stored is always among them.

    Raises:
        Malformed: a name that is not in QUERY_VARIANTS.
    """
    names = {DISPLAYED, STORED}
    for variant in policy_variants:
        if variant not in QUERY_VARIANTS:
            raise Malformed(
                f"unknown variant '{variant[:40]}'; there are {', '.join(QUERY_VARIANTS)}", field="variants"
            )
        names |= TURNS.keys() if variant == "flips" else {variant}
    return frozenset(names)


def readings(
    pixels: Pixels,
    orientation: int,
    variants: frozenset[str],
    *,
    full: tuple[int, int] | None = None,
    by: int = 1,
) -> list[Reading]:
    """What to hash of a frame whose stored pixels have EXIF `orientation`, 1..8.

    `variants` are of QUERY_VARIANTS; "nn512" and "unletterboxed" want frames that are not reduced. Where the pixels
    are, `full` is height and width of the stored frame, and each pixel the mean of `by` × `by` of it. An orientation
    outside 1..8 displays as stored, as viewers do.
    """
    upright = _DISPLAYING.get(orientation, UPRIGHT)
    plain = [(DISPLAYED, upright)]
    if upright != UPRIGHT:
        plain.append((STORED, UPRIGHT))
    flips = [(name, upright.then(turn)) for name, turn in TURNS.items()] if "flips" in variants else []
    found = [Reading(pixels, (*plain, *flips), full or (pixels.shape[0], pixels.shape[1]), by)]
    if "nn512" in variants and max(pixels.shape[:2]) > NN512_SIDE:
        # Sampling rounds down, so it has to see each reading as it is.
        found += [whole(nn512(turn.of(pixels)), (("nn512", UPRIGHT),)) for _, turn in plain]
    if "unletterboxed" in variants and (inner := unletterboxed(pixels)) is not None:
        found.append(whole(inner, tuple(("unletterboxed", turn) for _, turn in plain)))
    return found


def nn512(pixels: Pixels) -> Pixels:
    """The frame sampled nearest-neighbour to 512 × 512, as Meta's C++ hasher (CImg's resize) does above 512 px."""
    height, width = pixels.shape[:2]
    at = np.arange(NN512_SIDE)
    sampled: Pixels = pixels[(at * height // NN512_SIDE)[:, None], at * width // NN512_SIDE]
    return sampled


def unletterboxed(pixels: Pixels) -> Pixels | None:
    """The frame without its uniform borders, as a view; None where there are none, or nothing else."""
    top, bottom = _content(pixels)
    if bottom - top < pixels.shape[0] * CONTENT_MIN:
        return None
    left, right = _content(pixels[top:bottom].swapaxes(0, 1))
    if right - left < pixels.shape[1] * CONTENT_MIN:
        return None
    inner = pixels[top:bottom, left:right]
    return inner if inner.shape != pixels.shape else None


def _content(lines: Pixels) -> tuple[int, int]:
    """Where the lines of a raster stop and start again being border: a range of its first axis."""
    count = lines.shape[0]
    first, last = _border(lines), _border(lines[::-1])
    if first == count:
        return 0, 0
    least = count * BORDER_MIN
    return (first if first >= least else 0), (count - last if last >= least else count)


def _border(lines: Pixels) -> int:
    """How many lines from the first one on are of its colour.

    Walks in blocks that double, so that a frame without a border costs a few lines and one that is all border no
    memory to speak of.
    """
    count, across = int(lines.shape[0]), int(lines.shape[1])
    most = max(_BLOCK_PIXELS // across, 1)
    colour = np.median(lines[0], axis=0).astype(np.int16)
    done, block = 0, 4
    while done < count:
        near = np.abs(lines[done : done + block].astype(np.int16) - colour) <= BORDER_TOLERANCE
        if near.ndim == 3:
            near = near.all(axis=2)
        uniform = near.mean(axis=1) >= BORDER_SHARE
        if not uniform.all():
            return done + int(uniform.argmin())
        done, block = done + len(uniform), min(block * 2, most)
    return count
