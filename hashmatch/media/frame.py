"""What decoding gives: frames, a description of the file, or the reason why there is neither."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hashmatch.types import Reason


@dataclass(frozen=True, slots=True)
class Frame:
    """One decoded raster, in the orientation it is stored in.

    `pixels` is (H, W) luma or (H, W, 3) RGB, uint8, C-contiguous, and may be read-only. `frame_ms` is when the
    frame is first shown. `orientation` is EXIF's 1..8: how a viewer turns the stored pixels to show them.

    Where `reduced_by` is above 1, each pixel is the mean of that many stored pixels each way, fewer at the right and
    bottom edges. A filter whose width follows the frame's size, like PDQ's, must then be laid out for `shape` and
    folded onto the pixels. PDQ taken of the reduced pixels as if they were the frame drifts by 8 to 12 bits on average
    and up to 42, which is past any threshold (14 photographs, five sizes from 1000×760). Laid out with each pixel
    repeated it drifts by 1.2 to 1.5 and up to 8, and interpolated (Lanczos, 3 lobes) by 0.7 to 0.8 and up to 4; of four
    interpolations tried that was the best, on the same pictures (seven sizes from 640×530).
    """

    pixels: NDArray[np.uint8]
    frame_ms: int = 0
    orientation: int = 1
    reduced_by: int = 1
    stored: tuple[int, int] = (0, 0)  # (H, W) before reduction; only where reduced

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W) of the frame as stored in the file, in pixels."""
        return self.stored if self.reduced_by > 1 else (self.pixels.shape[0], self.pixels.shape[1])


@dataclass(frozen=True, slots=True)
class Decoded:
    """What the bytes are, as far as their headers say."""

    media_type: str  # by content, e.g. "image/jpeg"
    width: int  # pixels, as displayed
    height: int
    frames: int  # in the file, counted up to limits.MAX_FRAMES_COUNTED
    sampled: int = 1  # of them that are looked at


class Undecodable(Exception):
    """No frame, or no further frame, and why.

    The message is ours alone: a decoder's own message may quote the media, so it is never passed on.
    """

    def __init__(self, reason: Reason, message: str, *, media_type: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.media_type = media_type  # by content; "" where unknown


@contextmanager
def decoding(what: str) -> Iterator[None]:
    """Turns whatever a decoder raises into Undecodable; the one place where that happens.

    Decoders raise nearly anything on hostile bytes (OSError, SyntaxError, ValueError, struct.error, zlib.error,
    KeyError, RecursionError …), so this catches Exception, and no decoder runs outside of it.
    """
    try:
        yield
    except Undecodable:
        raise
    except MemoryError as e:
        raise Undecodable(Reason.TOO_LARGE, f"{what}: more memory than a worker may use") from e
    except Exception as e:
        # libheif and libavif report their memory limits in words; Pillow names its bomb check.
        told = f"{type(e).__name__} {e}".lower()
        if "memory" in told or "security limit" in told or "decompressionbomb" in told:
            raise Undecodable(Reason.TOO_LARGE, f"{what}: over the decoder's own limit") from e
        raise Undecodable(Reason.UNDECODABLE, f"{what}: damaged, or not what it claims to be") from e
