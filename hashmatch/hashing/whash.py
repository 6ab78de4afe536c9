"""Wavelet hash: which of the 8 × 8 lowest Haar coefficients are over their median.

ImageHash's `whash` at its default size.
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
    return imagehashes.fingerprints(reading, imagehash.whash, VALUE_BYTES)
