"""The type is what the bytes are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashmatch.media.sniff import sniff


@pytest.mark.parametrize(
    ("kind", "media_type"),
    [
        ("JPEG", "image/jpeg"), ("PNG", "image/png"), ("GIF", "image/gif"), ("BMP", "image/bmp"),
        ("TIFF", "image/tiff"), ("WEBP", "image/webp"), ("AVIF", "image/avif"), ("HEIF", "image/heic"),
    ],
)  # fmt: skip
def test_what_encoders_write(drawing, kind, media_type):
    assert sniff(drawing.written(drawing.picture(40, 30), kind)) == media_type


@pytest.mark.parametrize(
    ("head", "media_type"),
    [
        (b"", ""),
        (b"hello", ""),
        (b"BM and more text that is no bitmap", ""),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", "audio/wav"),
        (b"%PDF-1.7\n", "application/pdf"),
        (b"PK\x03\x04", "application/zip"),
        (b"<!DOCTYPE html><img src=a.jpg>", "text/html"),
        (b"\xef\xbb\xbf\n <HTML>", "text/html"),
        (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "image/svg+xml"),
        (b"<svg/>", "image/svg+xml"),
        (b"<?xml version='1.0'?><feed/>", "text/xml"),
        (b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom", "video/mp4"),
        (b"\x00\x00\x00\x14ftypqt  \x00\x00\x00\x00qt  ", "video/quicktime"),
        (b"\x00\x00\x00\x18ftypmif1\x00\x00\x00\x00mif1avif", "image/avif"),
        (b"\x00\x00\x00\x18ftypmif1\x00\x00\x00\x00mif1heic", "image/heic"),
        (b"\x00\x00\x00\x18ftypmsf1\x00\x00\x00\x00hevcmsf1", "image/heic"),
        (b"MM\x00+\x00\x08", "image/tiff"),
        (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "image/jxl"),
    ],
)
def test_by_magic(head, media_type):
    assert sniff(head) == media_type
    assert sniff(memoryview(bytearray(head))) == media_type


@given(st.binary(max_size=64), st.sampled_from([b"", b"\x00\x00\x00\x18ftyp", b"RIFF", b"<", b"BM", b"<?xml"]))
def test_any_bytes_have_an_answer(tail, head):
    assert "/" in sniff(head + tail) or sniff(head + tail) == ""
