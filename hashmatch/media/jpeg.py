"""JPEG: headers read here, pixels by libjpeg-turbo, as small as the hash allows.

Pillow's own reader parses EXIF, ICC and MPO on the way; here one walk over the markers finds what matters (size,
coding, scans, orientation) and the bytes go to the decoder as they are, uncopied. Two things make it fast: the
decoder is asked for luma only, so chroma is never transformed, and for an eighth, a quarter or a half of the size,
which the DCT gives for less than the whole (libjpeg-turbo, `scale_num`/`scale_denom`).

Colour: libjpeg tells YCbCr, RGB and YCCK apart by the Adobe marker. Four components are taken as inverted CMYK, as
Photoshop writes and browsers read them. ICC profiles are ignored, as PDQ's reference does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hashmatch.media import exif, limits, raster
from hashmatch.media.frame import Undecodable
from hashmatch.types import Reason

_SOI, _EOI, _SOS, _APP1 = 0xD8, 0xD9, 0xDA, 0xE1
_BARE = frozenset({0x01, *range(0xD0, 0xD8)})  # TEM and RST0..7 have no length (ITU-T T.81 table B.1)
_SOF = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_SUPPORTED_SOF = frozenset({0xC0, 0xC1, 0xC2, 0xC9, 0xCA})  # baseline, extended, progressive; Huffman, arithmetic
_HUFFMAN = frozenset({0xC0, 0xC1, 0xC2})
_PROGRESSIVE = frozenset({0xC2, 0xCA})
_MODES = {1: ("L", "L"), 3: ("RGB", "RGB"), 4: ("CMYK", "CMYK;I")}  # components → Pillow's mode, raw mode


@dataclass(frozen=True, slots=True)
class Header:
    """What a JPEG says about itself before its first scan."""

    width: int  # pixels, as stored
    height: int
    components: int
    orientation: int  # EXIF, 1..8
    coding: int  # marker of the frame header
    samples: int  # of all components
    several_scans: bool
    scan_at: int  # bytes before the first scan


def read_header(media: memoryview) -> Header:
    """The header of a JPEG of a supported coding.

    Raises:
        Undecodable: malformed, not supported, or over `limits.MAX_JPEG_SEGMENTS`.
    """
    at, size = 2, len(media)
    orientation = 1
    frame: memoryview | None = None
    coding = 0
    for _ in range(limits.MAX_JPEG_SEGMENTS):
        while at < size and media[at] != 0xFF:  # junk between segments: decoders skip it
            at += 1
        while at < size and media[at] == 0xFF:  # fill bytes, ITU-T T.81 B.1.1.2
            at += 1
        if at + 3 > size:
            raise Undecodable(Reason.UNDECODABLE, "JPEG: ends before its picture")
        marker = media[at]
        at += 1
        if marker in _BARE or marker in (0, _SOI):
            continue
        if marker == _EOI:
            raise Undecodable(Reason.UNDECODABLE, "JPEG: no picture")
        length = media[at] << 8 | media[at + 1]
        body = media[at + 2 : at + length]
        if marker == _APP1 and bytes(body[:6]) == b"Exif\0\0":
            orientation = exif.orientation(bytes(body))
        elif marker in _SOF:
            frame, coding = body, marker
        elif marker == _SOS:
            if frame is None or len(frame) < 6 or not body:
                raise Undecodable(Reason.UNDECODABLE, "JPEG: a scan without a frame header")
            return _header(frame, coding, orientation=orientation, scan_components=body[0], scan_at=at)
        at += length
    raise Undecodable(Reason.TOO_LARGE, f"JPEG: over {limits.MAX_JPEG_SEGMENTS} segments")


def _header(frame: memoryview, coding: int, *, orientation: int, scan_components: int, scan_at: int) -> Header:
    precision, components = frame[0], frame[5]
    height, width = frame[1] << 8 | frame[2], frame[3] << 8 | frame[4]
    if coding not in _SUPPORTED_SOF or precision != 8 or components not in _MODES:
        raise Undecodable(Reason.UNSUPPORTED_TYPE, "JPEG: lossless, hierarchical, or not 8 bits")
    if not width or not height or len(frame) < 6 + 3 * components:
        raise Undecodable(Reason.UNDECODABLE, "JPEG: a frame header that makes no sense")
    several = coding in _PROGRESSIVE or scan_components < components
    samples = _samples(frame, width, height)
    return Header(width, height, components, orientation, coding, samples, several, scan_at)


def check_scans(media: memoryview, header: Header) -> None:
    """Returns where the scans can hold the picture and are worth decoding.

    Raises:
        Undecodable: fewer bits than blocks, or over `limits.MAX_JPEG_SCANS` or `limits.MAX_COEFFICIENT_BYTES`.
    """
    # Of several scans each is a pass over the picture, and all coefficients are kept until the last. An entropy-coded
    # FF is always followed by 00, so FF DA is a scan wherever it stands; thumbnails in EXIF are before the first.
    if header.several_scans and 2 * header.samples > limits.MAX_COEFFICIENT_BYTES:
        raise Undecodable(Reason.TOO_LARGE, "JPEG: more coefficients than memory allows")
    if header.several_scans and bytes(media[header.scan_at :]).count(b"\xff\xda") >= limits.MAX_JPEG_SCANS:
        raise Undecodable(Reason.TOO_LARGE, f"JPEG: over {limits.MAX_JPEG_SCANS} scans")
    # Every block takes a Huffman code at least, and a code a bit (ITU-T T.81 C.2). libjpeg paints what is missing grey.
    if header.coding in _HUFFMAN and header.samples // 64 > 8 * (len(media) - header.scan_at):
        raise Undecodable(Reason.UNDECODABLE, "JPEG: fewer bits than blocks")


def _samples(frame: memoryview, width: int, height: int) -> int:
    factors = [(s >> 4 or 1, s & 15 or 1) for s in frame[7 : 6 + 3 * frame[5] : 3]]
    widest, tallest = max(h for h, _ in factors), max(v for _, v in factors)
    return sum(math.ceil(width * h / widest) * math.ceil(height * v / tallest) for h, v in factors)


def scale(most: int) -> int:
    """The greatest of 8, 4, 2, 1 that is at most `most`: what libjpeg can divide by, of what `raster.factor` allows."""
    return next(s for s in (8, 4, 2, 1) if s == 1 or s <= most)


def decode(media: memoryview, header: Header, by: int, *, colour: bool) -> NDArray[np.uint8]:
    """The picture divided by `by` (1, 2, 4 or 8): (H, W) luma, or (H, W, 3) RGB where `colour`.

    Raises what Pillow raises, so call it inside `frame.decoding`.
    """
    size = (-(-header.width // by), -(-header.height // by))
    mode, raw_mode = _MODES[header.components]
    if mode == "RGB" and not colour:
        mode = raw_mode = "L"
    picture = Image.frombytes(mode, size, media, "jpeg", raw_mode, "", by, 0)
    return raster.readings(picture, 1, colour=colour)[0]
