"""Hostile media ends in frames or in Undecodable with the right reason, soon, and in no other way."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hashmatch.media import limits
from hashmatch.media.image import Undecodable, open_media
from hashmatch.types import Reason

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF")
SLOWEST = 5.0  # seconds for any answer


def outcome(media: bytes) -> tuple[str, list[np.ndarray]]:
    """ "ok" or the reason's value, with the pixels that came before it."""
    pixels = []
    try:
        _, frames = open_media(media, colour=False, full_size=False)
        for frame in frames:
            pixels.append(frame.pixels)  # kept when the next one raises
    except Undecodable as e:
        return e.reason.value, pixels
    return "ok", pixels


def test_the_corpus(hostile_corpus):
    wrong = []
    for name, media, expected in hostile_corpus:
        started = time.monotonic()
        told, pixels = outcome(media)
        took = time.monotonic() - started
        if told not in expected or took > SLOWEST or (told == "ok" and not pixels):
            wrong.append((name, told, sorted(expected), round(took, 1)))
    assert wrong == []


@pytest.mark.parametrize("kind", FORMATS)
def test_cut_anywhere_is_never_another_picture(drawing, kind):
    media = drawing.written(drawing.picture(200, 150), kind)
    (whole,) = outcome(media)[1]
    cuts = sorted({1, 2, 8, 20, 60, len(media) - 1, len(media) - 2, *range(100, len(media), len(media) // 40)})
    for cut in cuts:
        told, pixels = outcome(media[:cut])
        if told == "ok":
            # Bytes that follow the picture's own may be missing; none of its pixels may.
            assert cut > len(media) * 0.95
            assert np.array_equal(pixels[0], whole)
        else:
            assert told in ("undecodable", "unsupported_type")


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_a_cut_animation_is_not_clean(drawing, kind):
    media = drawing.animation(kind, 8)
    for cut in range(len(media) // 2, len(media), len(media) // 23):
        assert outcome(media[:cut])[0] == "undecodable"


@pytest.mark.parametrize("kind", FORMATS)
@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_mutated_bytes(drawing, kind, data):
    media = bytearray(drawing.written(drawing.picture(48, 36), kind))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(media) - 1))
        media[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
        if not media:
            break
    started = time.monotonic()
    told, pixels = outcome(bytes(media))
    assert told == "ok" or told in {r.value for r in Reason}
    assert all(p.dtype == np.uint8 and p.ndim == 2 and p.size for p in pixels)
    assert time.monotonic() - started < SLOWEST


@given(
    st.binary(max_size=200), st.sampled_from([b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"II*\0", b"BM", b""])
)
@settings(max_examples=200, deadline=None)
def test_any_bytes(tail, head):
    assert outcome(head + tail)[0] in {"ok", *(r.value for r in Reason)}


def test_more_bytes_than_allowed():
    with pytest.raises(Undecodable) as caught:
        open_media(b"\xff\xd8\xff" + bytes(limits.MAX_MEDIA_BYTES), colour=False, full_size=False)
    assert caught.value.reason is Reason.TOO_LARGE


def test_messages_hold_nothing_of_the_media(drawing):
    media = drawing.written(drawing.picture(40, 30), "PNG").replace(b"IHDR", b"SECR")
    with pytest.raises(Undecodable) as caught:
        open_media(media, colour=False, full_size=False)
    assert "SECR" not in str(caught.value)
