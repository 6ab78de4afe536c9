"""Benign pictures for the tests of hashing: drawn in code, or photographs that scikit-image ships in its wheel."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Raster = npt.NDArray[np.uint8]

PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket", "camera", "moon", "grass", "gravel", "brick", "coins")


def noise(seed: int, height: int, width: int) -> Raster:
    """White noise, (H, W)."""
    return np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8)


def landscape(seed: int, height: int, width: int, *, colour: bool = False, grain: float = 3.0) -> Raster:
    """What photographs look like to a hash: amplitude falls with frequency, plus sensor grain. (H, W) or (H, W, 3)."""
    random = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    frequency[0, 0] = np.inf

    def layer() -> npt.NDArray[Any]:
        spectrum = np.fft.rfft2(random.standard_normal((height, width))) / frequency**1.3
        field = np.fft.irfft2(spectrum, s=(height, width))
        return field / max(float(field.std()), 1e-9)

    luma = layer()
    planes = [luma + 0.4 * layer() for _ in range(3)] if colour else [luma]
    stacked = np.stack([128 + 50 * plane + random.normal(0, grain, plane.shape) for plane in planes], axis=-1)
    raster = np.clip(stacked, 0, 255).astype(np.uint8)
    return raster if colour else raster[..., 0]


def photograph(name: str) -> Raster:
    """A photograph of scikit-image's as RGB, (H, W, 3)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import skimage.data
    raster = np.asarray(getattr(skimage.data, name)())
    return raster if raster.ndim == 3 else np.repeat(raster[..., None], 3, axis=2)


def encode(raster: Raster, kind: str, **options: Any) -> bytes:
    """The raster as a file of Pillow's format `kind`."""
    out = io.BytesIO()
    Image.fromarray(raster).save(out, kind, **options)
    return out.getvalue()
