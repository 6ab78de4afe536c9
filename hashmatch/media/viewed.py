"""What a worker says of a view, read by its parent: strictly, and without decoding a pixel.

A view goes to a person's browser, so nothing is passed on but a PNG of the level's size, depth and number of channels,
that has no chunk besides those of its pixels: metadata cannot be in it even where the worker was taken over. What such
a worker could still do is to draw another picture of that size. Pixels packed by the parent instead would promise no
more to the browser than that, and cost the event loop 0.1 s for each view in colour.
"""

from __future__ import annotations

import json
import struct

from hashmatch.errors import Malformed
from hashmatch.media import limits
from hashmatch.media.levels import Level, NoFrame, Unviewable, View
from hashmatch.types import Reason

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHUNK = struct.Struct(">I4s")  # length, kind; then the body and its CRC-32
_HEADER = struct.Struct(">II5B")  # width, height, depth, colour type, compression, filter, interlace (PNG §11.2.1)
_COLOUR_TYPES = {1: 0, 3: 2}  # channels → greyscale, truecolour
_MAX_CHUNKS = 128  # Pillow puts 64 KiB into each


def view_from(body: bytes, level: Level, frame: int) -> View:
    """The view: a byte that says how many frames can be asked for, one whether there are no others, then the picture.

    Raises:
        Malformed: it is anything else.
    """
    if len(body) < 2 or not frame < body[0] <= limits.MAX_FRAMES_HASHED or body[1] > 1:
        raise Malformed("a worker's view: not a number of frames")
    png = body[2:]
    width, height = _size(png, level)
    return View(png, width, height, body[0], bool(body[1]))


def absence_from(body: bytes, frame: int) -> Unviewable | NoFrame:
    """Why there is no view: a reason, or how many frames there are.

    Raises:
        Malformed: it is anything else.
    """
    try:
        said = json.loads(body)
        if type(said) is int and 1 <= said <= frame:
            return NoFrame(said)
        return Unviewable(Reason(said))
    except (ValueError, TypeError, RecursionError) as e:
        raise Malformed("a worker's view: not a reason") from e


def _size(png: bytes, level: Level) -> tuple[int, int]:
    """Width and height of a PNG that is what the level allows and no more."""
    if len(png) > level.most_bytes or not png.startswith(_SIGNATURE):
        raise Malformed("a worker's view: too long, or not a PNG")
    at = len(_SIGNATURE)
    kinds: list[bytes] = []
    while at < len(png) and len(kinds) < _MAX_CHUNKS:
        if at + 12 > len(png):
            raise Malformed("a worker's view: cut off")
        length, kind = _CHUNK.unpack_from(png, at)
        kinds.append(kind)
        at += 12 + length
    if at != len(png) or kinds != [b"IHDR", *[b"IDAT"] * (len(kinds) - 2), b"IEND"] or len(kinds) < 3:
        raise Malformed("a worker's view: not the chunks of a plain picture")
    width, height, *rest = _HEADER.unpack_from(png, len(_SIGNATURE) + _CHUNK.size)
    lengths_fit = png[8:12] == _HEADER.size.to_bytes(4, "big") and png[-12:-8] == bytes(4)
    if not lengths_fit or rest != [8, _COLOUR_TYPES[level.channels], 0, 0, 0]:
        raise Malformed("a worker's view: not the kind of picture that was asked for")
    if not (1 <= width <= level.long_side and 1 <= height <= level.long_side):
        raise Malformed("a worker's view: not of the size that was asked for")
    return width, height
