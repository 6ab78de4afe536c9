"""A decoded Pillow picture of any mode → the uint8 pixels that are hashed.

Rules, all of them testable:
- Alpha is laid on white, the colour of the pages that pictures are shown on and of what converters to JPEG lay beneath.
  Where the visible colour is one and the same everywhere, the picture lives in the alpha channel alone: it is read
  twice, as the alpha plane (light on dark) and as its negative (dark on light), since lists may hold either.
  An alpha that is the same everywhere hides nothing and is dropped: 32-bit BMPs are often all "transparent".
- 16-bit grey keeps its high byte. 32-bit integers and floats have no set range: their least to greatest finite value
  becomes 0 to 255; PDQ does not depend on that scale.
- ICC profiles are ignored, as PDQ's reference does.
- Large pictures are reduced by a whole factor with a box filter, so that the smaller side stays at
  `limits.REDUCED_SIDE`. Conversion runs in bands, so that beside the decoder's picture nothing is kept at full size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageCms

from hashmatch.media import limits

# Pillow imports it while it converts CIELAB, which a walled worker could not.
_ = ImageCms

_BAND_PIXELS = 1 << 20  # pixels converted at once: about 10 MB in the widest mode
_WIDE_GREY = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})
_MEASURED = frozenset({"I", "F"})
_PLAIN = frozenset({"1", "L", "RGB"})
_VISIBLE = 64  # alpha from which a pixel's colour is trusted; below it, rounding in premultiplication drowns it
_SAME = 8  # grey levels within which colours are one ink: that rounding again


def factor(width: int, height: int, long_side: int | None = None) -> int:
    """The greatest whole factor that leaves the smaller side at `limits.REDUCED_SIDE` pixels or more; where `long_side`
    is given, the longer side at that many instead."""
    if long_side is not None:
        return max(1, max(width, height) // long_side)
    return max(1, min(width, height) // limits.REDUCED_SIDE)


def readings(picture: Image.Image, by: int, *, colour: bool) -> list[NDArray[np.uint8]]:
    """The pixels of a loaded picture divided by `by`; two readings where it lives in its alpha channel alone.

    Each is (H, W) luma, or (H, W, 3) RGB where `colour`. Raises what Pillow raises, so call it inside
    `frame.decoding`.
    """
    mode = picture.mode
    if mode in _WIDE_GREY:
        grey = _assembled(picture, by, lambda band: _eight_bits(np.asarray(band) >> 8))
        return [_in_colour(grey) if colour else grey]
    if mode in _MEASURED:
        least, greatest = _range(picture)
        grey = _assembled(picture, by, lambda band: _stretched(np.asarray(band), least, greatest))
        return [_in_colour(grey) if colour else grey]
    ways = _ways(picture) if picture.has_transparency_data else [_plain]
    wanted = "RGB" if colour else "L"
    return [_assembled(picture, by, partial(_read, way=way, wanted=wanted)) for way in ways]


def _read(band: Image.Image, *, way: Callable[[Image.Image], Image.Image], wanted: str) -> Image.Image:
    seen = way(band)
    return seen if seen.mode == wanted else seen.convert(wanted)


def _plain(band: Image.Image) -> Image.Image:
    # Luma of CMYK, CIELAB and palettes is defined on their RGB.
    return band if band.mode in _PLAIN else band.convert("RGB")


def _ways(picture: Image.Image) -> list[Callable[[Image.Image], Image.Image]]:
    """How a picture with alpha is to be read, judged on a reduced copy."""
    small = _assembled(picture, factor(*picture.im.size), lambda band: band.convert("RGBA"))
    ink, alpha = small[..., :3], small[..., 3]
    if alpha.min() == alpha.max():
        return [_without_alpha]
    visible = ink[alpha >= _VISIBLE]
    if len(visible) and (np.ptp(visible, axis=0) <= _SAME).all():
        return [_alpha_alone, lambda band: ImageChops.invert(_alpha_alone(band))]
    return [_on_white]


def _without_alpha(band: Image.Image) -> Image.Image:
    return band.convert("RGBA").convert("RGB")


def _alpha_alone(band: Image.Image) -> Image.Image:
    return band.convert("RGBA").getchannel("A")


def _on_white(band: Image.Image) -> Image.Image:
    white = Image.new("RGBA", band.size, (255, 255, 255, 255))
    white.alpha_composite(band.convert("RGBA"))
    return white.convert("RGB")


def _assembled(picture: Image.Image, by: int, convert: Callable[[Image.Image], Image.Image]) -> NDArray[np.uint8]:
    """The whole picture, each band converted and then reduced."""
    height = picture.im.size[1]
    out: NDArray[np.uint8] | None = None
    for top, band in _bands(picture, by):
        converted = convert(band)
        part = np.asarray(converted.reduce(by) if by > 1 else converted)
        if out is None:
            if len(part) == -(-height // by):
                return part
            out = np.empty((-(-height // by), *part.shape[1:]), np.uint8)
        out[top // by : top // by + len(part)] = part
    if out is None:
        raise ValueError("a picture without rows")
    return out


def _bands(picture: Image.Image, by: int) -> Iterator[tuple[int, Image.Image]]:
    # Sizes come from the core picture: Pillow's own `size` is the displayed one for a turned TIFF.
    width, height = picture.im.size
    rows = max(1, _BAND_PIXELS // (width * by)) * by
    for top in range(0, height, rows):
        if rows >= height and picture.size == (width, height):
            yield 0, picture
        else:
            yield top, picture.crop((0, top, width, min(top + rows, height)))


def _eight_bits(values: NDArray[np.generic]) -> Image.Image:
    return Image.fromarray(values.astype(np.uint8))


def _range(picture: Image.Image) -> tuple[float, float]:
    least, greatest = np.inf, -np.inf
    for _, band in _bands(picture, 1):
        values = np.asarray(band)
        finite = values[np.isfinite(values)]
        if finite.size:
            least, greatest = min(least, float(finite.min())), max(greatest, float(finite.max()))
    return least, greatest


def _stretched(values: NDArray[np.generic], least: float, greatest: float) -> Image.Image:
    if not least < greatest:
        return Image.fromarray(np.zeros(values.shape, np.uint8))
    wide = np.nan_to_num(values.astype(np.float64), nan=least, posinf=greatest, neginf=least)
    # Halves keep the span of the largest floats finite.
    return _eight_bits((wide / 2 - least / 2) / (greatest / 2 - least / 2) * 255)


def _in_colour(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(grey[..., None], 3, axis=2)
