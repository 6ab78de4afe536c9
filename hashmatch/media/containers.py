"""What GIF, TIFF and WebP say about themselves, read before a decoder sees them.

Decoders find out how many frames a file has by visiting them all, and allocate a canvas before anyone can look at its
size. These walks are bounded, touch headers only, and allocate nothing that grows with a claim.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from hashmatch.media import limits
from hashmatch.media.frame import Undecodable
from hashmatch.types import Reason


@dataclass(frozen=True, slots=True)
class GifOutline:
    """What a GIF's blocks say."""

    frames: int  # counted up to limits.MAX_FRAMES_COUNTED; one that is cut off counts
    cut_off: bool  # the bytes end before the trailer


def gif_outline(media: memoryview) -> GifOutline:
    """Frames of a GIF, and whether it is whole.

    Raises:
        Undecodable: over `limits.MAX_GIF_BLOCKS` data blocks, or no picture.
    """
    size = len(media)
    if size < 13:
        raise Undecodable(Reason.UNDECODABLE, "GIF: cut off")
    at = 13 + _colours(media[10])
    frames = blocks = 0
    while at < size and frames < limits.MAX_FRAMES_COUNTED:
        introducer = media[at]
        if introducer == 0x2C and at + 10 <= size:  # image descriptor, then an LZW code size (GIF89a §20, §22)
            frames += 1
            at += 11 + _colours(media[at + 9])
        elif introducer == 0x21:  # extension with a label
            at += 2
        elif introducer == 0x3B:  # trailer
            return _gif(frames, cut_off=False)
        else:  # junk between blocks, which decoders step over
            at += 1
            continue
        while at < size and media[at]:
            at += 1 + media[at]
            blocks += 1
            if blocks > limits.MAX_GIF_BLOCKS:
                raise Undecodable(Reason.TOO_LARGE, f"GIF: over {limits.MAX_GIF_BLOCKS} data blocks")
        at += 1
    return _gif(frames, cut_off=at >= size)


def _gif(frames: int, *, cut_off: bool) -> GifOutline:
    if not frames:
        raise Undecodable(Reason.UNDECODABLE, "GIF: no picture")
    return GifOutline(frames, cut_off)


def _colours(flags: int) -> int:
    """Bytes of the colour table that a packed field announces."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def tiff_pages(media: memoryview) -> int:
    """Directories of a TIFF's chain, counted up to `limits.MAX_FRAMES_COUNTED`; a loop or a cut ends the chain.

    Raises:
        Undecodable: over `limits.MAX_TIFF_ENTRIES` directory entries.
    """
    magic = bytes(media[:4])
    order = "<" if magic.startswith(b"I") else ">"
    big = b"+" in magic  # BigTIFF: 64-bit offsets
    entries, offset, entry_bytes = ("Q", "Q", 20) if big else ("H", "I", 12)
    count_of, offset_of = struct.Struct(order + entries), struct.Struct(order + offset)
    seen: set[int] = set()
    fields = 0
    try:
        (at,) = offset_of.unpack_from(media, 8 if big else 4)
        while at and at not in seen and len(seen) < limits.MAX_FRAMES_COUNTED:
            (count,) = count_of.unpack_from(media, at)
            seen.add(at)
            fields += count
            if fields > limits.MAX_TIFF_ENTRIES:
                raise Undecodable(Reason.TOO_LARGE, f"TIFF: over {limits.MAX_TIFF_ENTRIES} directory entries")
            (at,) = offset_of.unpack_from(media, at + count_of.size + count * entry_bytes)
    except (struct.error, OverflowError):
        pass  # past the end: whether what was counted is whole is for the decoder to judge
    return max(1, len(seen))


def webp_canvas(media: memoryview) -> tuple[int, int]:
    """Width and height in pixels of a WebP's canvas, by its first chunk (RFC 9649 §2.5–2.7).

    Raises:
        Undecodable: cut off, or an unknown first chunk.
    """
    head = bytes(media[:30])
    if len(head) == 30 and head[12:16] == b"VP8X":
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    if len(head) == 30 and head[12:16] == b"VP8 ":
        return int.from_bytes(head[26:28], "little") & 0x3FFF, int.from_bytes(head[28:30], "little") & 0x3FFF
    if len(head) >= 25 and head[12:16] == b"VP8L":
        packed = int.from_bytes(head[21:25], "little")
        return (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1
    raise Undecodable(Reason.UNDECODABLE, "WebP: cut off, or no picture")
