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

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from hashmatch.media import limits

# Pillow imports it while it converts CIELAB, which a walled worker could not.
_ = ImageCms

_BAND_PIXELS = 1 << 20  # pixels converted at once: about 10 MB in the widest mode
_WIDE_GREY = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})
_MEASURED = frozenset({"I", "F"})
_GREY = frozenset({"1", "L"})
_VISIBLE = 32  # alpha from which a pixel's colour is trusted; below it, rounding in premultiplication drowns it
_SAME = 8  # grey levels within which colours are one ink: that rounding again


def factor(width: int, height: int) -> int:
    """The greatest whole factor that leaves the smaller side at `limits.REDUCED_SIDE` pixels or more."""
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
    if picture.has_transparency_data:
        return _over(_assembled(picture, by, lambda band: band.convert("RGBA")), colour=colour)
    wanted = "RGB" if colour else "L"
    return [_assembled(picture, by, lambda band: _converted(band, wanted))]


def _assembled(picture: Image.Image, by: int, convert: Callable[[Image.Image], Image.Image]) -> NDArray[np.uint8]:
    """The whole picture, each band converted and then reduced."""
    height = picture.im.size[1]
    out: NDArray[np.uint8] | None = None
    for top, band in _bands(picture, by):
        part = np.asarray(convert(band).reduce(by))
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


def _converted(band: Image.Image, wanted: str) -> Image.Image:
    if band.mode not in _GREY and wanted == "L":
        band = band.convert("RGB")  # luma of CMYK, CIELAB and palettes is defined on their RGB
    return band if band.mode == wanted else band.convert(wanted)


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


def _over(rgba: NDArray[np.uint8], *, colour: bool) -> list[NDArray[np.uint8]]:
    ink, alpha = rgba[..., :3], rgba[..., 3]
    if alpha.min() == alpha.max():
        readings = [ink]
    elif _one_ink(ink, alpha):
        readings = [_in_colour(alpha), _in_colour(255 - alpha)]
    else:
        white = Image.new("RGBA", (rgba.shape[1], rgba.shape[0]), (255, 255, 255, 255))
        white.alpha_composite(Image.fromarray(rgba))
        readings = [np.asarray(white)[..., :3]]
    readings = [np.ascontiguousarray(each) for each in readings]
    return readings if colour else [np.asarray(Image.fromarray(each).convert("L")) for each in readings]


def _one_ink(ink: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> bool:
    visible = ink[alpha >= _VISIBLE]
    return bool(len(visible)) and bool((np.ptp(visible, axis=0) <= _SAME).all())


def _in_colour(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(grey[..., None], 3, axis=2)
