"""Animations and pages are sampled over their whole length."""

from __future__ import annotations

import time

import numpy as np
import pytest
from PIL import Image

from hashmatch.media import limits
from hashmatch.media.image import Undecodable, open_media
from hashmatch.types import Reason


def opened(media):
    decoded, frames = open_media(media, colour=False, full_size=False)
    return decoded, list(frames)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "AVIF", "HEIF", "TIFF"])
def test_every_frame_of_a_short_one(drawing, kind):
    decoded, frames = opened(drawing.animation(kind, 7))
    assert decoded.frames == len(frames) == 7
    shots = [drawing.picture(120, 90, seed=100 + i) for i in range(7)]
    for i, frame in enumerate(frames):
        distances = [drawing.distance(frame, shot) for shot in shots]
        assert int(np.argmin(distances)) == i
        assert distances[i] <= 30  # a palette per frame, and lossy codecs at this size


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "AVIF"])
def test_frames_say_when_they_are_shown(drawing, kind):
    _, frames = opened(drawing.animation(kind, 5, duration=40))
    assert [frame.frame_ms for frame in frames] == [0, 40, 80, 120, 160]


@pytest.mark.parametrize("kind", ["GIF", "WEBP"])
def test_a_long_one_is_sampled_from_first_to_last(drawing, kind):
    count = 150
    decoded, frames = opened(drawing.animation(kind, count, width=32, height=24, duration=40))
    assert decoded.frames == count
    assert len(frames) == limits.MAX_FRAMES_HASHED
    times = [frame.frame_ms for frame in frames]
    assert times[0] == 0
    assert times[-1] == (count - 1) * 40
    steps = np.diff(times) // 40
    assert set(steps.tolist()) <= {2, 3}


def test_the_picture_beside_an_animation_is_read(drawing):
    """An APNG's default image is shown by what knows no APNG, so it is a frame like the others."""
    shots = [drawing.picture(120, 90, seed=100 + i) for i in range(3)]
    media = drawing.written(shots[0], "PNG", save_all=True, append_images=shots[1:], default_image=True, duration=50)
    decoded, frames = opened(media)
    assert decoded.frames == len(frames) == 3
    for frame, shot in zip(frames, shots, strict=True):
        assert drawing.distance(frame, shot) <= 2


def test_frames_that_build_on_each_other(drawing):
    """GIF frames that change a part of the canvas, by Pillow's own composition of them."""
    canvas = drawing.picture(200, 160).quantize(64)
    shots = []
    for i in range(4):
        shot = canvas.copy()
        shot.paste(drawing.picture(60, 50, seed=i).quantize(64, palette=canvas), (20 * i, 15 * i))
        shots.append(shot)
    media = drawing.written(shots[0], "GIF", save_all=True, append_images=shots[1:], duration=30, optimize=False)
    _, frames = opened(media)
    for frame, shot in zip(frames, shots, strict=True):
        assert drawing.distance(frame, shot) <= 2


def test_pages_of_different_sizes_and_turns(drawing):
    first, second = drawing.picture(300, 200), drawing.picture(150, 260, seed=5)
    exif = Image.Exif()
    exif[0x0112] = 6
    media = drawing.written(first, "TIFF", save_all=True, append_images=[second], exif=exif)
    decoded, frames = opened(media)
    assert decoded.frames == 2
    assert [frame.shape for frame in frames] == [(200, 300), (260, 150)]
    assert frames[0].orientation == 6
    assert drawing.distance(frames[0], first) <= 2
    assert drawing.distance(frames[1], second) <= 2


def test_thousands_of_frames_end_in_time(hostile_corpus):
    for name, media, _ in hostile_corpus:
        if "5000 frames" in name:
            started = time.monotonic()
            decoded, frames = open_media(media, colour=False, full_size=False)
            sampled, reason = 0, None
            try:
                for _ in frames:
                    sampled += 1
            except Undecodable as e:  # a slow machine says that it did not see the end
                reason = e.reason
            assert time.monotonic() - started < limits.FRAME_SECONDS + 1.5
            assert 0 < sampled <= limits.MAX_FRAMES_HASHED
            assert reason in (None, Reason.TIMED_OUT)
            assert decoded.frames == 5000
