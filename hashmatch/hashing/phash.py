"""Perceptual hash: which of the 8 × 8 lowest DCT frequencies of a 32 × 32 reduction are over their median.

ImageHash's `phash` at its default size.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import imagehash

from hashmatch.hashing import imagehashes
from hashmatch.hashing.variants import Reading

VALUE_BYTES: Final = 8


def fingerprints(reading: Reading) -> Iterator[tuple[str, bytes, int | None]]:
    """Variant, value (8 bytes) and no quality of each turn of the reading."""
    return imagehashes.fingerprints(reading, imagehash.phash, VALUE_BYTES)
