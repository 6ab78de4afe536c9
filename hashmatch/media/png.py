"""PNG and APNG: the chunks that make the picture, checked, and nothing else.

A decoder is given a copy without metadata, so a bomb in zTXt, iTXt or iCCP and a million tiny chunks cost nothing, and
a picture with a profile that inflates to megabytes is still hashed. Every checksum of what is kept is verified here:
libpng refuses what does not add up, and Pillow lets a damaged IDAT through as a wrong picture.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from hashmatch.media import exif, limits
from hashmatch.media.frame import Undecodable
from hashmatch.types import Reason

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# PNG 3rd edition §11.2, §11.3.1 (transparency) and §11.3.6 (animation).
_PICTURE = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"acTL", b"fcTL", b"fdAT"})
_CHUNK = struct.Struct(">I4s")


@dataclass(frozen=True, slots=True)
class Stripped:
    """A PNG without metadata, and what the metadata said that matters."""

    media: bytes
    orientation: int  # EXIF, 1..8
    frames: int  # pictures found, a default image beside an animation included


def strip(media: memoryview) -> Stripped:
    """The picture's own chunks of a PNG.

    Raises:
        Undecodable: cut off, a checksum does not fit, or over `limits.MAX_PNG_CHUNKS`.
    """
    kept: list[bytes | memoryview] = [_SIGNATURE]
    orientation, frames, at, size = 1, 0, len(_SIGNATURE), len(media)
    for _ in range(limits.MAX_PNG_CHUNKS):
        if at + 12 > size:
            raise Undecodable(Reason.UNDECODABLE, "PNG: cut off")
        length, kind = _CHUNK.unpack_from(media, at)
        end = at + 12 + length
        if end > size:
            raise Undecodable(Reason.UNDECODABLE, "PNG: cut off")
        if kind in _PICTURE:
            if zlib.crc32(media[at + 4 : end - 4]) != int.from_bytes(media[end - 4 : end], "big"):
                raise Undecodable(Reason.UNDECODABLE, "PNG: a chunk does not fit its checksum")
            kept.append(media[at:end])
            # Data that no frame control stands before is the default image, or the one picture of a still.
            frames += kind == b"fcTL" or (kind == b"IDAT" and not frames)
        elif kind == b"eXIf":
            orientation = exif.orientation(bytes(media[at + 8 : end - 4]))
        if kind == b"IEND":
            return Stripped(b"".join(kept), orientation, frames)
        at = end
    raise Undecodable(Reason.TOO_LARGE, f"PNG: over {limits.MAX_PNG_CHUNKS} chunks")
