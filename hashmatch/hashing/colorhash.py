"""Colour hash: shares of black, of grey and of six hues faint and bright, three bits each: 42 bits.

ImageHash's `colorhash` at its default size.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import imagehash

from hashmatch.hashing import imagehashes
from hashmatch.hashing.variants import Reading

VALUE_BYTES: Final = 6


def fingerprints(reading: Reading) -> Iterator[tuple[str, bytes, int | None]]:
    """Variant, value (6 bytes) and no quality of each turn of the reading."""
    return imagehashes.fingerprints(reading, imagehash.colorhash, VALUE_BYTES)
