"""Uploads as they come: the usual mix of picture sizes, drawn, as JPEG files."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

# Sizes of uploads and their shares: small, portrait, screen, camera. HMA was measured with the same mix.
MIX = {(640, 480): 0.3, (1080, 1350): 0.4, (1920, 1080): 0.2, (4032, 3024): 0.1}

Raster = npt.NDArray[np.uint8]


def landscape(width: int, height: int, seed: int) -> Raster:
    """Amplitude that falls with frequency as in photographs, in colour, with sensor grain: (H, W, 3)."""
    random = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :]).astype(np.float32)
    frequency[0, 0] = np.inf
    planes = []
    for _ in range(3):
        spectrum = np.fft.rfft2(random.standard_normal((height, width), np.float32)) / frequency**1.7
        field = np.fft.irfft2(spectrum, s=(height, width))
        planes.append(field / field.std())
    stacked = np.stack([128 + 45 * (planes[0] + 0.3 * plane) for plane in planes], axis=-1)
    return grainy(stacked, seed, 3.5)


def grainy(picture: npt.NDArray[np.floating], seed: int, strength: float) -> Raster:
    """The picture with sensor grain of so many levels."""
    grain = np.random.default_rng(seed).normal(0, strength, picture.shape[:2]).astype(np.float32)
    return np.clip(picture + grain[:, :, None], 0, 255).astype(np.uint8)


def uploads(count: int, quality: int = 85) -> list[bytes]:
    """So many different JPEG files, sizes in the shares of MIX."""
    media = []
    for i, ((width, height), share) in enumerate(MIX.items()):
        for j in range(round(count * share)):
            file = io.BytesIO()
            Image.fromarray(landscape(width, height, 100 * i + j)).save(file, "JPEG", quality=quality)
            media.append(file.getvalue())
    return media
