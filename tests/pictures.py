"""Pictures drawn in code, for tests that need media and not its details."""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
from PIL import Image


@lru_cache(maxsize=64)
def draw(seed: int, width: int = 320, height: int = 240) -> Image.Image:
    """A colourful picture, the same for the same arguments; PDQ quality 100."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((height, width, 3))
    for cells in (4, 8, 16, 32):
        noise = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        picture += np.asarray(noise.resize((width, height), Image.Resampling.BICUBIC), dtype=float) / cells
    picture = 255 * (picture - picture.min()) / np.ptp(picture)
    return Image.fromarray(picture.astype(np.uint8))


def encoded(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """The picture as a file's bytes."""
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def png(seed: int) -> bytes:
    return encoded(draw(seed))


def jpeg(seed: int, quality: int = 80, width: int = 320, height: int = 240) -> bytes:
    return encoded(draw(seed, width, height), "JPEG", quality=quality)


def black() -> bytes:
    return encoded(Image.new("RGB", (320, 240)))
