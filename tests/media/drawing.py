"""Pictures drawn in code, written in every format, and what their frames ought to hash to."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pdqhash
import pillow_heif
from PIL import Image, ImageDraw

pillow_heif.register_heif_opener()


def picture(width: int = 420, height: int = 330, seed: int = 1) -> Image.Image:
    """An RGB picture with gradients, edges and texture, so that its PDQ quality is 100."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 11, 3), dtype=np.uint8))
    drawn = coarse.resize((width, height), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(drawn)
    for _ in range(12):
        x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
        w, h = int(rng.integers(8, width // 3 + 9)), int(rng.integers(8, height // 3 + 9))
        colour = tuple(int(v) for v in rng.integers(0, 256, 3))
        (pen.ellipse if rng.random() < 0.5 else pen.rectangle)((x, y, x + w, y + h), fill=colour)
    return drawn


def written(drawn: Image.Image, kind: str, **options: Any) -> bytes:
    """The bytes of a file of that Pillow format."""
    out = io.BytesIO()
    drawn.save(out, kind, **options)
    return out.getvalue()


def animation(kind: str, frames: int, *, width: int = 120, height: int = 90, duration: int = 40) -> bytes:
    """A moving picture in which every frame is another picture."""
    shots = [picture(width, height, seed=100 + i) for i in range(frames)]
    options: dict[str, Any] = {"save_all": True, "append_images": shots[1:], "duration": duration, "loop": 0}
    if kind == "WEBP":
        options["lossless"] = True
    if kind == "TIFF":
        options = {"save_all": True, "append_images": shots[1:]}
    return written(shots[0], kind, **options)


def bits(pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """PDQ of (H, W) or (H, W, 3) pixels by the reference, 256 zeros and ones."""
    rgb = pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)
    return np.asarray(pdqhash.compute(np.ascontiguousarray(rgb))[0])


def distance(frame: Any, drawn: Image.Image) -> int:
    """Bits between a frame, laid out at its full size, and what a drawn picture hashes to."""
    height, width = frame.shape
    pixels = frame.pixels
    if frame.reduced_by > 1:
        whole = (pixels.shape[1] * frame.reduced_by, pixels.shape[0] * frame.reduced_by)
        pixels = np.asarray(Image.fromarray(pixels).resize(whole, Image.Resampling.LANCZOS))[:height, :width]
    return int((bits(pixels) != bits(np.asarray(drawn.convert("RGB")))).sum())


def png_chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk with its right length and checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def with_png_chunk(media: bytes, chunk: bytes) -> bytes:
    """A PNG with one more chunk after its header."""
    return media[:33] + chunk + media[33:]
