"""Difference hash: which cell of each row of 9 is brighter than the one to its left, for 8 rows.

ImageHash's `dhash` at its default size.
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
    return imagehashes.fingerprints(reading, imagehash.dhash, VALUE_BYTES)
