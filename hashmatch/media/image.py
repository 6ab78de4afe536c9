"""Hostile bytes → frames: the one way in for media of every kind.

Invariants: the type is what the bytes say; only the reader of that type sees them, from memory; nothing is decoded
before its size is known to be within the limits; whatever goes wrong is Undecodable with a reason. A damaged or cut-off
file is never "clean": a later frame that does not decode raises like the first, and what was yielded before it stands.

An animation is sampled: up to `limits.MAX_FRAMES_HASHED` frames spread over the whole, first and last included, so that
a picture flashed within a long one is likely seen, and every frame of a short one is. `Decoded.frames` says how many
there are. Frames that build on each other are decoded in order, within `limits.MAX_ANIMATION_PIXELS` and
`limits.FRAME_SECONDS`; past either the sample ends, and an Undecodable says that what comes later was not looked at.
"""

from __future__ import annotations

import io
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pi_heif
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from hashmatch.media import containers, exif, jpeg, limits, png, raster
from hashmatch.media.frame import Decoded, Frame, Undecodable, decoding
from hashmatch.media.sniff import DECODED, sniff
from hashmatch.types import Reason

__all__ = ["Decoded", "Frame", "Undecodable", "open_media"]

# One submission, one thread: more would fight over the core, and a walled worker starts none it can do without.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1
pi_heif.options.DECODE_THREADS = 1
# Only the pictures themselves: thumbnails, depth maps and auxiliary planes are not shown.
pi_heif.options.THUMBNAILS = pi_heif.options.DEPTH_IMAGES = pi_heif.options.AUX_IMAGES = False
# Half, because Pillow raises at twice this and only warns below. It guards canvases that grow while frames are read.
Image.MAX_IMAGE_PIXELS = max(most for kind, most in limits.MAX_PIXELS.items() if kind != "image/jpeg") // 2

_ORIENTATION = 0x0112  # as TIFF and EXIF number it
_LONGEST_MS = (1 << 32) - 1  # what the wire can say of a frame's time


@dataclass(frozen=True, slots=True)
class _Reader:
    """How Pillow reads one type. The table below is the allow-list: no other reader is ever asked."""

    open: Callable[[io.BytesIO], ImageFile.ImageFile]
    independent: bool  # frames do not build on each other, so those not sampled are not decoded


_READERS = {
    "image/png": _Reader(PngImagePlugin.PngImageFile, independent=False),
    "image/webp": _Reader(WebPImagePlugin.WebPImageFile, independent=False),
    "image/gif": _Reader(GifImagePlugin.GifImageFile, independent=False),
    "image/bmp": _Reader(BmpImagePlugin.BmpImageFile, independent=True),
    "image/tiff": _Reader(TiffImagePlugin.TiffImageFile, independent=True),
    "image/avif": _Reader(AvifImagePlugin.AvifImageFile, independent=False),
    "image/heic": _Reader(pi_heif.HeifImageFile, independent=True),
}


@dataclass(frozen=True, slots=True)
class _How:
    """How frames are wanted, as `open_media` says."""

    colour: bool
    full_size: bool
    long_side: int | None
    only: int | None

    def factor(self, width: int, height: int) -> int:
        """By which a picture may be divided."""
        return 1 if self.full_size else raster.factor(width, height, self.long_side)

    def most(self, media_type: str) -> int:
        """Pixels of one picture."""
        most = limits.MAX_PIXELS[media_type]
        if self.full_size:
            most = min(most, limits.MAX_PIXELS_FULL_SIZE_COLOUR if self.colour else limits.MAX_PIXELS_FULL_SIZE_LUMA)
        return most


def open_media(
    media: bytes | memoryview, *, colour: bool, full_size: bool, long_side: int | None = None, only: int | None = None
) -> tuple[Decoded, Iterator[Frame]]:
    """What the bytes are, and their frames in time order, each decoded when it is asked for.

    Frames are luma unless `colour`, and unless `full_size` reduced where they are larger: to a smaller side of at least
    `limits.REDUCED_SIDE`, or to a longer one of at least `long_side`. They are in stored orientation; HEIC's rotation
    is part of its coding and done by its decoder. A picture that lives in its alpha channel gives two frames of the
    same time. `only`: that one of the sampled frames, from 0, and none behind it is looked at.

    Raises:
        Undecodable: nothing can be decoded. The iterator raises it too.
    """
    view = memoryview(media)
    how = _How(colour, full_size, long_side, only)
    media_type = sniff(view)
    try:
        if not view:
            raise Undecodable(Reason.UNDECODABLE, "no bytes")
        if len(view) > limits.MAX_MEDIA_BYTES:
            raise Undecodable(Reason.TOO_LARGE, f"over {limits.MAX_MEDIA_BYTES} bytes")
        if media_type not in DECODED:
            raise Undecodable(Reason.UNSUPPORTED_TYPE, "not a media type that is decoded")
        with decoding(media_type):
            if media_type == "image/jpeg":
                return _jpeg(view, how)
            return _others(view, media_type, how)
    except Undecodable as e:
        e.media_type = media_type
        raise


def _jpeg(media: memoryview, how: _How) -> tuple[Decoded, Iterator[Frame]]:
    header = jpeg.read_header(media)
    _check_size(header.width, header.height, how.most("image/jpeg"))
    jpeg.check_scans(media, header)
    by = jpeg.scale(how.factor(header.width, header.height))

    def frames() -> Iterator[Frame]:
        with decoding("image/jpeg"):
            pixels = jpeg.decode(media, header, by, colour=how.colour)
        yield Frame(pixels, 0, header.orientation, by, (header.height, header.width))

    return _described("image/jpeg", (header.width, header.height), 1, header.orientation), frames()


@dataclass(frozen=True, slots=True)
class _Outline:
    """What was read of a file before its decoder sees it."""

    media: bytes  # what the decoder is given
    frames: int = limits.MAX_FRAMES_COUNTED  # at most
    orientation: int = 1  # EXIF, where it is not the decoder's to say
    cut_off: bool = False  # the end mark is missing


def _outline(media: memoryview, media_type: str) -> _Outline:
    if media_type == "image/png":
        stripped = png.strip(media)
        return _Outline(stripped.media, stripped.frames, stripped.orientation)
    if media_type == "image/gif":
        gif = containers.gif_outline(media)
        return _Outline(bytes(media), gif.frames, cut_off=gif.cut_off)
    if media_type == "image/tiff":
        return _Outline(bytes(media), containers.tiff_pages(media))
    if media_type == "image/webp":
        # Its decoder allocates the canvas when it is made.
        _check_size(*containers.webp_canvas(media), limits.MAX_PIXELS[media_type])
    return _Outline(bytes(media))


def _others(media: memoryview, media_type: str, how: _How) -> tuple[Decoded, Iterator[Frame]]:
    started = time.monotonic()
    outline, reader = _outline(media, media_type), _READERS[media_type]
    most = how.most(media_type)
    with _quiet():
        picture = reader.open(io.BytesIO(outline.media))
    _check_size(*picture.size, most)
    # GIF and TIFF would visit every frame to say how many there are; their outlines know.
    count = outline.frames if media_type in ("image/gif", "image/tiff") else min(_frames(picture), outline.frames)
    if count < 1:
        raise Undecodable(Reason.UNDECODABLE, f"{media_type}: no frames", media_type=media_type)
    orientation = outline.orientation
    if media_type in ("image/webp", "image/avif"):
        orientation = exif.orientation(picture.info.get("exif") or b"")
    reach, sample = _sample(count, picture.size, independent=reader.independent)

    def frames() -> Iterator[Frame]:
        shown_ms, spent, i = 0.0, 0, -1
        for i, sampled in _schedule(reach, sample, how.only, independent=reader.independent):
            with decoding(media_type), _quiet():
                if i != picture.tell():
                    picture.seek(i)
                _check_size(*picture.size, most)
                spent += picture.width * picture.height
                late = time.monotonic() - started > limits.FRAME_SECONDS
                if i and (late or spent > limits.MAX_ANIMATION_PIXELS):
                    raise Undecodable(Reason.TIMED_OUT if late else Reason.TOO_LARGE, "later frames were not looked at")
                turn = _as_stored(picture) if media_type == "image/tiff" else orientation
                picture.load()
                width, height = picture.im.size  # of the core picture: Pillow's own is as displayed for a TIFF
                by = how.factor(width, height)
                readings = raster.readings(picture, by, colour=how.colour) if sampled else []
            for pixels in readings:
                yield Frame(pixels, min(int(shown_ms), _LONGEST_MS), turn, by, (height, width))
            shown_ms += _duration_ms(picture)
        if outline.cut_off:
            raise Undecodable(Reason.UNDECODABLE, f"{media_type}: cut off", media_type=media_type)
        if i + 1 < count or count >= limits.MAX_FRAMES_COUNTED:
            raise Undecodable(Reason.TOO_LARGE, "later frames were not looked at", media_type=media_type)

    # Pillow tells a TIFF's size as displayed, the others' as stored.
    return _described(media_type, picture.size, count, orientation, len(sample)), frames()


def _sample(count: int, size: tuple[int, int], *, independent: bool) -> tuple[int, list[int]]:
    """How many frames can be reached, and which of them are sampled, in order."""
    affordable = max(1, limits.MAX_ANIMATION_PIXELS // (size[0] * size[1]))
    reach = count if independent else min(count, affordable)
    taken = min(reach, limits.MAX_FRAMES_HASHED, affordable)
    return reach, [0] if taken == 1 else [i * (reach - 1) // (taken - 1) for i in range(taken)]


def _schedule(reach: int, sample: list[int], only: int | None, *, independent: bool) -> Iterator[tuple[int, bool]]:
    """Which frames to visit, in order, and whether each is wanted."""
    wanted = sample if only is None else sample[only : only + 1]
    last = reach if only is None else max(wanted, default=-1) + 1
    for i in wanted if independent else range(last):
        yield i, i in wanted


def _as_stored(picture: ImageFile.ImageFile) -> int:
    """The orientation of a TIFF's page, taken from Pillow so that loading does not turn it."""
    value = picture.getexif().pop(_ORIENTATION, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _frames(picture: ImageFile.ImageFile) -> int:
    return max(1, int(getattr(picture, "n_frames", 1)))


def _duration_ms(picture: ImageFile.ImageFile) -> float:
    value = picture.info.get("duration", 0)
    return float(value) if isinstance(value, int | float) and 0 <= value < _LONGEST_MS else 0.0


def _described(media_type: str, stored: tuple[int, int], frames: int, orientation: int, sampled: int = 1) -> Decoded:
    width, height = reversed(stored) if exif.turned(orientation) else stored
    return Decoded(media_type, width, height, frames, sampled)


def _check_size(width: int, height: int, most: int) -> None:
    if width > limits.MAX_SIDE or height > limits.MAX_SIDE or width * height > most:
        raise Undecodable(Reason.TOO_LARGE, f"over {most} pixels, or a side over {limits.MAX_SIDE}")


@contextmanager
def _quiet() -> Iterator[None]:
    """Pillow warns of odd metadata and of sizes under our own limits: neither changes the picture."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
