"""The media type of bytes, by what they are and never by what they are called. Pure.

Types that are named but not decoded let the answer say "application/pdf" instead of "damaged picture".
"""

from __future__ import annotations

import re

DECODED = (
    "image/jpeg", "image/png", "image/webp", "image/gif", "image/bmp", "image/tiff", "image/avif", "image/heic",
)  # fmt: skip

# Signatures: https://mimesniff.spec.whatwg.org/#matching-an-image-type-pattern and the formats' own specifications.
_PREFIXES = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"II+\x00", "image/tiff"),  # BigTIFF
    (b"MM\x00+", "image/tiff"),
    (b"%PDF-", "application/pdf"),
    (b"%!PS", "application/postscript"),
    (b"PK\x03\x04", "application/zip"),
    (b"PK\x05\x06", "application/zip"),
    (b"\x1f\x8b\x08", "application/gzip"),
    (b"\x1a\x45\xdf\xa3", "video/webm"),  # Matroska and WebM share it
    (b"\x00\x00\x01\xba", "video/mpeg"),
    (b"\x00\x00\x01\xb3", "video/mpeg"),
    (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "image/jxl"),
    (b"\xff\x0a", "image/jxl"),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "image/jp2"),
    (b"8BPS", "image/vnd.adobe.photoshop"),
    (b"\x00\x00\x01\x00", "image/x-icon"),
)
_RIFF = {b"WEBP": "image/webp", b"AVI ": "video/x-msvideo", b"WAVE": "audio/wav"}
# Sizes of the bitmap headers that exist; "BM" alone is too little to go by.
_BMP_HEADERS = frozenset({12, 40, 52, 56, 64, 108, 124})
_AVIF = frozenset({b"avif", b"avis"})
_HEIC = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})
_HEIF = frozenset({b"mif1", b"msf1", b"mif2"})
_MARKUP = re.compile(rb"\s*<(?:(!doctype html|html|head|body|script)|(svg)|(\?xml|!doctype|!--))", re.IGNORECASE)
_HEAD = 1024  # bytes looked at: beyond that nobody starts a document


def sniff(media: bytes | memoryview) -> str:
    """Media type by magic bytes, e.g. "image/png"; "" where nothing is recognised. Reads the first kilobyte only."""
    head = bytes(media[:_HEAD])
    for prefix, media_type in _PREFIXES:
        if head.startswith(prefix):
            return media_type
    if head.startswith(b"RIFF"):
        return _RIFF.get(head[8:12], "")
    if head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "image/bmp"
    if head[4:8] == b"ftyp":
        return _iso_base_media(head)
    return _markup(head)


def _iso_base_media(head: bytes) -> str:
    # ISO/IEC 14496-12 §4.3: the major brand, a version, then compatible brands. Containers of unnamed
    # kind (mif1, msf1) say by their compatible brands which codec is inside (ISO/IEC 23008-12 §10).
    size = min(int.from_bytes(head[:4], "big"), len(head))
    major = head[8:12]
    brands = {major} | {head[i : i + 4] for i in range(16, size - 3, 4)}
    if major in _AVIF or (major in _HEIF and brands & _AVIF):
        return "image/avif"
    if major in _HEIC or major in _HEIF:
        return "image/heic"
    if brands & _AVIF and not brands & _HEIC:
        return "image/avif"
    return "video/quicktime" if major == b"qt  " else "video/mp4"


def _markup(head: bytes) -> str:
    text = head.removeprefix(b"\xef\xbb\xbf")
    found = _MARKUP.match(text)
    if found is None:
        return ""
    if found[1]:
        return "text/html"
    if found[2] or b"<svg" in text.lower():
        return "image/svg+xml"
    return "text/html" if b"<html" in text.lower() else "text/xml"
