"""Hostile media, drawn in code: what it is called, its bytes, and what may come of it.

`expected` holds values of types.Reason, or "ok" where the picture is right there and must be decoded.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from types import ModuleType
from typing import NamedTuple

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF")
UNDECODABLE, UNSUPPORTED, TOO_LARGE, TIMED_OUT = "undecodable", "unsupported_type", "too_large", "timed_out"


class Hostile(NamedTuple):
    name: str
    media: bytes
    expected: frozenset[str]


def corpus(drawing: ModuleType) -> Iterator[Hostile]:
    """All of it, the same bytes every time; about 80 MB."""
    for group in (_not_pictures, _claims, _bombs, _structures, _metadata, _many_frames, _extremes, _damaged):
        for name, media, *expected in group(drawing):
            yield Hostile(name, media, frozenset(expected))


def _not_pictures(drawing: ModuleType) -> Iterator[tuple[str, ...]]:
    yield "empty", b"", UNDECODABLE
    yield "one byte", b"\xff", UNSUPPORTED
    yield "text", b"BMW is a car maker and this is no bitmap at all", UNSUPPORTED
    yield "html", b"<!DOCTYPE html><html><img src='x.jpg'></html>", UNSUPPORTED
    yield "svg", b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>", UNSUPPORTED
    yield "pdf", b"%PDF-1.7\n1 0 obj<</Type/Catalog>>", UNSUPPORTED
    yield "postscript", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%id) (w) file", UNSUPPORTED
    yield "mp4", b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(64), UNSUPPORTED
    yield "zip", b"PK\x03\x04" + bytes(64), UNSUPPORTED
    yield "zeros", bytes(100_000), UNSUPPORTED
    for kind in FORMATS:
        head = drawing.written(drawing.picture(40, 30), kind)[:16]
        yield f"{kind} magic and nothing", head, UNDECODABLE
        yield f"{kind} magic and text", head + b"nothing of the kind " * 200, UNDECODABLE, TOO_LARGE, UNSUPPORTED


def _claims(drawing: ModuleType) -> Iterator[tuple[str, ...]]:
    small = drawing.picture(40, 30)
    ihdr = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    png = drawing.written(small, "PNG")
    yield "PNG claims 50000x50000", png[:8] + drawing.png_chunk(b"IHDR", ihdr) + png[33:], TOO_LARGE
    ihdr = struct.pack(">IIBBBBB", 0x7FFFFFFF, 1, 8, 2, 0, 0, 0)
    yield "PNG claims 2147483647x1", png[:8] + drawing.png_chunk(b"IHDR", ihdr) + png[33:], TOO_LARGE
    gif = drawing.written(small, "GIF")
    yield "GIF claims 50000x50000", gif[:6] + struct.pack("<HH", 50_000, 50_000) + gif[10:], TOO_LARGE
    at = gif.index(b"," + struct.pack("<HHHH", 0, 0, 40, 30))
    yield "GIF frame larger than its canvas", gif[: at + 5] + b"\xff\xff\xff\xff" + gif[at + 9 :], TOO_LARGE
    jpeg = drawing.written(small, "JPEG")
    sof = jpeg.index(b"\xff\xc0") + 5
    yield "JPEG claims 65500x65500", jpeg[:sof] + struct.pack(">HH", 65_500, 65_500) + jpeg[sof + 4 :], TOO_LARGE
    yield "JPEG claims 20000x15000", jpeg[:sof] + struct.pack(">HH", 15_000, 20_000) + jpeg[sof + 4 :], UNDECODABLE
    yield "JPEG claims 0x0", jpeg[:sof] + bytes(4) + jpeg[sof + 4 :], UNDECODABLE
    progressive = drawing.written(small, "JPEG", progressive=True)
    sof = progressive.index(b"\xff\xc2") + 5
    huge = progressive[:sof] + struct.pack(">HH", 19_000, 20_000) + progressive[sof + 4 :]
    yield "progressive JPEG claims 20000x19000", huge, TOO_LARGE
    bmp = drawing.written(small, "BMP")
    yield "BMP claims 50000x50000", bmp[:18] + struct.pack("<ii", 50_000, 50_000) + bmp[26:], TOO_LARGE
    yield "BMP claims 8000x7900", bmp[:18] + struct.pack("<ii", 8_000, 7_900) + bmp[26:], UNDECODABLE
    for kind in ("AVIF", "HEIF"):
        media = drawing.written(small, kind)
        at = media.index(b"ispe") + 8
        for side in (20_000, 50_000):
            claim = media[:at] + struct.pack(">II", side, side) + media[at + 8 :]
            yield f"{kind} claims {side}x{side}", claim, TOO_LARGE, UNDECODABLE
    yield "TIFF claims 50000x50000", tiff(50_000, 50_000), TOO_LARGE
    yield "TIFF claims 6000x6000", tiff(6_000, 6_000), UNDECODABLE


def tiff(width: int, height: int, *, data: bytes = b"\0", compression: int = 1, next_directory: int = 0) -> bytes:
    """A little-endian grey TIFF in one strip, its directory at 8."""
    fields = [
        (256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, compression), (262, 3, 1),
        (273, 4, 8 + 2 + 9 * 12 + 4), (277, 3, 1), (278, 4, height), (279, 4, len(data)),
    ]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in fields)
    return b"II*\0" + struct.pack("<IH", 8, len(fields)) + entries + struct.pack("<I", next_directory) + data


def _bombs(drawing: ModuleType) -> Iterator[tuple[str, ...]]:
    # 36 bytes: a lossless WebP of one colour, 16383 pixels each way.
    packed = struct.pack("<I", 16_382 | 16_382 << 14)
    body = b"WEBPVP8L" + struct.pack("<I", 16) + b"\x2f" + packed + bytes(11)
    yield "WebP bomb of 36 bytes", b"RIFF" + struct.pack("<I", len(body)) + body, TOO_LARGE
    for side, expected in ((7_900, "ok"), (8_100, TOO_LARGE)):
        ihdr = drawing.png_chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
        squeezed = drawing.png_chunk(b"IDAT", zlib.compress(bytes((side + 1) * side), 1))
        yield f"PNG bomb {side}", b"\x89PNG\r\n\x1a\n" + ihdr + squeezed + drawing.png_chunk(b"IEND", b""), expected
    for side, expected in ((6_000, "ok"), (6_500, TOO_LARGE)):
        media = tiff(side, side, data=zlib.compress(bytes(side * side), 1), compression=8)
        yield f"TIFF bomb {side}", media, expected
    # RLE8: end of bitmap at once, the rest is colour 0.
    header = struct.pack("<iiiHHIIiiII", 40, 7_000, 7_000, 1, 8, 1, 2, 0, 0, 256, 0)
    bmp = b"BM" + struct.pack("<IHHI", 0, 0, 0, 54 + 1024) + header + bytes(1024) + b"\0\1"
    yield "BMP RLE bomb", bmp, "ok", UNDECODABLE
    flat = drawing.Image.new("RGB", (4_000, 4_000), "teal")
    yield "WebP of one colour", drawing.written(flat, "WEBP", quality=1, method=0), "ok"
    yield "GIF of one colour", drawing.written(flat.convert("P"), "GIF"), "ok"
    yield "black JPEG", drawing.written(drawing.Image.new("L", (6_000, 6_000)), "JPEG"), "ok"


def _structures(drawing: ModuleType) -> Iterator[tuple[str, ...]]:
    progressive = drawing.written(drawing.picture(300, 240), "JPEG", progressive=True)
    last = progressive.rindex(b"\xff\xda")
    scans = progressive[:last] + progressive[last:-2] * 1000 + b"\xff\xd9"
    yield "JPEG of a thousand scans", scans, TOO_LARGE
    jpeg = drawing.written(drawing.picture(40, 30), "JPEG")
    sof = jpeg.index(b"\xff\xc0")
    yield "JPEG of 12 bits", jpeg[: sof + 4] + b"\x0c" + jpeg[sof + 5 :], UNSUPPORTED
    yield "lossless JPEG", jpeg[:sof] + b"\xff\xc3" + jpeg[sof + 2 :], UNSUPPORTED
    yield "JPEG of 20000 comments", jpeg[:2] + b"\xff\xfe\0\2" * 20_000 + jpeg[2:], TOO_LARGE
    yield "JPEG without a frame header", jpeg[:sof] + jpeg[jpeg.index(b"\xff\xda") :], UNDECODABLE
    yield "JPEG that is all fill bytes", jpeg[:2] + b"\xff" * 1_000_000, UNDECODABLE
    yield "JPEG with another behind it", jpeg + progressive, "ok"
    png = drawing.written(drawing.picture(40, 30), "PNG")
    many = drawing.png_chunk(b"tEXt", b"a\0b") * 70_000
    yield "PNG of 70000 chunks", png[:33] + many + png[33:], TOO_LARGE
    yield "PNG with a damaged checksum", png[:60] + bytes([png[60] ^ 1]) + png[61:], UNDECODABLE
    yield "TIFF whose directory follows itself", tiff(64, 64, data=bytes(4096), next_directory=8), "ok"
    yield "TIFF with a directory past its end", tiff(64, 64, data=bytes(4096), next_directory=1 << 31), "ok"
    yield "TIFF of 65535 entries", b"II*\0\x08\0\0\0\xff\xff" + bytes(200), UNDECODABLE
    overlap = b"".join(struct.pack("<HI", 0x3FFF, 8 + 2 * i) for i in range(120_000))
    yield "TIFF of overlapping directories", b"II*\0\x08\0\0\0" + overlap, UNDECODABLE, TOO_LARGE
    gif = drawing.written(drawing.picture(40, 30), "GIF")
    yield "GIF of a million blocks", gif[:-1] + b"!\xfe" + b"\1a" * 1_100_000 + b"\0;", TOO_LARGE
    webp = drawing.written(drawing.picture(40, 30), "WEBP")
    yield "WebP with a wrong length", webp[:4] + b"\xff\xff\xff\x7f" + webp[8:], UNDECODABLE


def _metadata(drawing: ModuleType) -> Iterator[tuple[str, ...]]:
    png = drawing.written(drawing.picture(40, 30), "PNG")
    bomb = zlib.compress(bytes(50_000_000), 9)
    for kind, body in ((b"zTXt", b"a\0\0" + bomb), (b"iCCP", b"a\0\0" + bomb), (b"iTXt", b"a\0\1\0\0\0" + bomb)):
        yield f"PNG with a {kind.decode()} bomb", drawing.with_png_chunk(png, drawing.png_chunk(kind, body)), "ok"
    exif = b"Exif\0\0II*\0\x08\0\0\0" + b"\xff\xff" + b"\x12\x01\x03\0\x01\0\0\0\x09\0\0\0" * 5_000
    for kind in ("JPEG", "PNG", "WEBP"):
        yield f"{kind} with 60 KB of EXIF", drawing.written(drawing.picture(40, 30), kind, exif=exif), "ok"
    profile = b"\0" * 4_000_000
    for kind in ("JPEG", "PNG", "TIFF", "WEBP"):
        media = drawing.written(drawing.picture(40, 30), kind, icc_profile=profile)
        yield f"{kind} with a 4 MB profile", media, "ok"


def _many_frames(drawing: ModuleType) -> Iterator[tuple[str, ...]]:
    yield "GIF of 5000 frames", gif_of(drawing, 5_000, 60, 50), "ok", TIMED_OUT
    yield "GIF of 120 large frames", gif_of(drawing, 120, 1_200, 900), "ok", TIMED_OUT
    yield "APNG of 5000 frames", apng_of(drawing, 5_000, 60, 50), "ok", TIMED_OUT
    yield "APNG that claims 2147483648 frames", apng_of(drawing, 3, 60, 50, claim=1 << 31), "ok"
    yield "WebP of 5000 frames", webp_of(drawing, 5_000, 60, 50), "ok", TIMED_OUT
    yield "WebP of 1000 large frames", webp_of(drawing, 1_000, 2_000, 1_500), TOO_LARGE, TIMED_OUT


def gif_of(drawing: ModuleType, frames: int, width: int, height: int) -> bytes:
    """A GIF whose one picture is shown that often."""
    one = drawing.written(drawing.picture(width, height), "GIF")
    at = one.index(b"," + struct.pack("<HHHH", 0, 0, width, height))
    return one[:at] + one[at:-1] * frames + b";"


def apng_of(drawing: ModuleType, frames: int, width: int, height: int, *, claim: int = 0) -> bytes:
    """An APNG whose one picture is shown that often."""
    one = drawing.written(drawing.picture(width, height), "PNG")
    at, packed = 33, b""
    while at < len(one):
        (length,) = struct.unpack_from(">I", one, at)
        if one[at + 4 : at + 8] == b"IDAT":
            packed += one[at + 8 : at + 8 + length]
        at += 12 + length
    out = [one[:33], drawing.png_chunk(b"acTL", struct.pack(">II", claim or frames, 0))]
    number = 0
    for i in range(frames):
        control = struct.pack(">IIIIIHHBB", number, width, height, 0, 0, 4, 100, 0, 0)
        number += 1
        out.append(drawing.png_chunk(b"fcTL", control))
        if i:
            out.append(drawing.png_chunk(b"fdAT", struct.pack(">I", number) + packed))
            number += 1
        else:
            out.append(drawing.png_chunk(b"IDAT", packed))
    return b"".join(out) + drawing.png_chunk(b"IEND", b"")


def webp_of(drawing: ModuleType, frames: int, width: int, height: int) -> bytes:
    """A WebP whose canvas shows one small picture that often."""
    still = drawing.written(drawing.picture(40, 30), "WEBP", lossless=True)[12:]

    def chunk(kind: bytes, body: bytes) -> bytes:
        return kind + struct.pack("<I", len(body)) + body + b"\0" * (len(body) & 1)

    def three(value: int) -> bytes:
        return value.to_bytes(3, "little")

    extended = chunk(b"VP8X", b"\x02\0\0\0" + three(width - 1) + three(height - 1))
    control = bytes(6) + three(39) + three(29) + three(40) + b"\0"
    body = b"WEBP" + extended + chunk(b"ANIM", bytes(6)) + chunk(b"ANMF", control + still) * frames
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _extremes(drawing: ModuleType) -> Iterator[tuple[str, ...]]:
    for kind in FORMATS:
        yield f"{kind} of 1x1", drawing.written(drawing.Image.new("RGB", (1, 1), "red"), kind), "ok"
        if kind not in ("WEBP", "AVIF", "HEIF"):
            for size in ((1, 65_500), (65_500, 1)):
                media = drawing.written(drawing.Image.new("RGB", size, "red"), kind)
                yield f"{kind} of {size[0]}x{size[1]}", media, "ok"
    yield "PNG of 70000x1", drawing.written(drawing.Image.new("L", (70_000, 1)), "PNG"), TOO_LARGE


def _damaged(drawing: ModuleType) -> Iterator[tuple[str, ...]]:
    for kind in FORMATS:
        media = drawing.written(drawing.picture(), kind)
        for part in (0.3, 0.6, 0.95):
            yield f"{kind} cut at {part:.0%}", media[: int(len(media) * part)], UNDECODABLE
