"""The one EXIF field that changes what a picture looks like: its orientation.

Read by hand because a general EXIF parser is slower than the picture's decode and has had a loop without end
(CVE list of Pillow 13.0.0). Only the first directory is looked at, once, inside its bounds.
"""

from __future__ import annotations

_ORIENTATION = 0x0112  # EXIF 2.32 §4.6.4 A
_SHORT = 3
_MAX_ENTRIES = 512  # directory entries looked at; cameras write a dozen in the first directory


def orientation(exif: bytes) -> int:
    """EXIF orientation, 1..8; 1 (as stored) where there is none or it makes no sense.

    `exif` is a TIFF structure, with or without the "Exif\\0\\0" that JPEG puts before it.
    """
    tiff = exif.removeprefix(b"Exif\0\0")
    if tiff[:4] == b"II*\0":
        order = "little"
    elif tiff[:4] == b"MM\0*":
        order = "big"
    else:
        return 1

    def number(at: int, size: int) -> int:
        return int.from_bytes(tiff[at : at + size], order)  # type: ignore[arg-type]

    directory = number(4, 4)
    for i in range(min(number(directory, 2), _MAX_ENTRIES)):
        entry = directory + 2 + 12 * i
        if number(entry, 2) == _ORIENTATION:
            value = number(entry + 8, 2)
            return value if number(entry + 2, 2) == _SHORT and 1 <= value <= 8 else 1
    return 1


def turned(value: int) -> bool:
    """Whether this orientation swaps width and height."""
    return value >= 5
