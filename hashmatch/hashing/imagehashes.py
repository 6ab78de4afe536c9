"""What the hash types of the ImageHash library share: how a reading becomes its picture and its bits our bytes.

ImageHash's algorithms scale the picture first and are not linear, so turned readings hash turned pixels. Values are the
number that ImageHash prints, so `str(imagehash.phash(picture))` is the hexadecimal of ours (padded on the left to whole
bytes for colorhash).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
from PIL import Image

from hashmatch.hashing.variants import Reading

MIN_CONTRAST: Final = (
    8  # levels of any channel between darkest and brightest; flatter frames hash to JPEG noise and match others
)
Algorithm = Callable[[Image.Image], Any]  # → imagehash.ImageHash


def fingerprints(reading: Reading, algorithm: Algorithm, value_bytes: int) -> Iterator[tuple[str, bytes, int | None]]:
    """Variant, value and no quality of each turn of the reading; nothing where the frame has no contrast."""
    if np.ptp(reading.pixels, axis=(0, 1)).max() < MIN_CONTRAST:
        return
    for name, turn in reading.turns:
        bits = algorithm(Image.fromarray(np.ascontiguousarray(turn.of(reading.pixels)))).hash
        packed = np.packbits(bits.ravel())
        spare = 8 * packed.size - bits.size  # packbits leaves it at the end, ImageHash's numbers at the front
        yield name, (int.from_bytes(packed.tobytes(), "big") >> spare).to_bytes(value_bytes, "big"), None
