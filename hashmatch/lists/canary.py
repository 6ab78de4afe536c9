"""A list's canary: a picture drawn for that list alone and listed in it, which must always be found.

Sent through the real path it proves decoder, hasher and index end to end. It is drawn from random bytes, so nobody
uploads it by chance, and it is smooth and strong in every frequency that perceptual hashes look at, so that its
fingerprints do not hang on a decoder's rounding.
"""

from __future__ import annotations

import secrets
import struct
import zlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from hashmatch.errors import BadConfig
from hashmatch.index.recipe import Recipe
from hashmatch.types import Examination, Reason, Wanted

SIDE = 128  # pixels: well over the smallest picture that is hashed, and about 12 KB as PNG
FREQUENCIES = 17  # cosines per axis: PDQ looks at the first 16 above the constant one
MIN_QUALITY = 80  # of 100: from here on implementations of PDQ agree within 10 bits (pdq/README.md)
_TRIES = 8  # nearly every drawing is good

Examine = Callable[[bytes, Wanted], Examination]
"""Hashes media as submissions are hashed."""


class Canary(NamedTuple):
    """The picture, as a PNG file, and its value per hash type."""

    media: bytes
    fingerprints: Mapping[str, bytes]


def make(recipes: Mapping[str, Recipe], examine: Examine) -> Canary:
    """A new canary with a fingerprint for every hash type that is switched on and computed here.

    Raises:
        BadConfig: drawings cannot be hashed here.
    """
    enabled = {name for name, recipe in recipes.items() if recipe.enabled}
    perceptual = tuple(sorted(name for name in enabled if recipes[name].distance == "hamming"))
    for _ in range(_TRIES):
        media = draw(secrets.token_bytes(32))
        found = examine(media, Wanted(hash_types=perceptual))
        plain = [h for h in found.hashed if not h.variant and h.fingerprint.hash_type in enabled]
        # A hash type that only callers can compute has no canary; any other must.
        failed = [u for u in found.unhashable if u.reason is not Reason.UNSUPPORTED_TYPE]
        if not failed and all(h.quality is None or h.quality >= MIN_QUALITY for h in plain):
            return Canary(media, {h.fingerprint.hash_type: h.fingerprint.value for h in plain})
    raise BadConfig(f"no canary could be hashed as {', '.join(perceptual)}")


def draw(seed: bytes) -> bytes:
    """A grey picture of SIDE × SIDE pixels as a PNG file: the same for the same seed."""
    strengths = np.random.default_rng(list(seed)).uniform(0.5, 1.0, (FREQUENCIES, FREQUENCIES))
    signs = np.random.default_rng([1, *seed]).choice([-1.0, 1.0], (FREQUENCIES, FREQUENCIES))
    waves = np.cos(np.pi / SIDE * np.outer(np.arange(SIDE) + 0.5, np.arange(FREQUENCIES)))
    field = waves @ (strengths * signs) @ waves.T
    low, high = np.percentile(field, [1, 99])
    return _png((255 * np.clip((field - low) / (high - low), 0, 1)).astype(np.uint8))


def _png(grey: np.ndarray[tuple[int, int], np.dtype[np.uint8]]) -> bytes:
    """A PNG file, written by hand since image libraries belong to the decode workers. W3C PNG, 5, 7.3, 9.2."""
    height, width = grey.shape
    left = np.zeros_like(grey)
    left[:, 1:] = grey[:, :-1]
    rows = np.insert(grey - left, 0, 1, axis=1)  # each row begins with its filter: 1, the difference to the left

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)  # 8 bits, grey, not interlaced
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows.tobytes(), 9))
        + chunk(b"IEND", b"")
    )
