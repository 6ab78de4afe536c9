"""The real job behind the walls: every format decodes there, and to what it decodes to outside."""

from __future__ import annotations

import asyncio
import io
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from hashmatch import examine
from hashmatch.hashing.registry import REGISTRY
from hashmatch.media import limits
from hashmatch.media.sandbox import Sandbox
from hashmatch.types import Examination, Reason, Unhashable, Wanted

PERCEPTUAL = {name: t.value_bytes for name, t in REGISTRY.items() if not t.exact}
FORMATS = {
    "JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "GIF": "image/gif", "BMP": "image/bmp",
    "TIFF": "image/tiff", "AVIF": "image/avif", "HEIF": "image/heic",
}  # fmt: skip


def picture(width: int, height: int) -> Image.Image:
    mosaic = np.random.default_rng(7).integers(0, 256, (height // 40 + 2, width // 40 + 2, 3), np.uint8)
    return Image.fromarray(mosaic).resize((width, height), Image.Resampling.BICUBIC)


def file(kind: str, frames: list[Image.Image], **options: Any) -> bytes:
    out = io.BytesIO()
    if kind == "HEIF":
        pillow_heif.from_pillow(frames[0]).save(out)
    else:
        more = {"save_all": True, "append_images": frames[1:]} if len(frames) > 1 else {}
        frames[0].save(out, kind, **options, **more)
    return out.getvalue()


Examine = Callable[[list[bytes], Wanted], list[Examination]]


@pytest.fixture(scope="module")
def sandboxed() -> Iterator[Examine]:
    """What one sandbox makes of media, which may cost it no worker."""
    with asyncio.Runner() as runner:
        sandbox = Sandbox(workers=1, hash_types=PERCEPTUAL, deadline=20, cpu_seconds=20)
        runner.run(sandbox.start())

        async def examined(media: list[bytes], wanted: Wanted) -> list[Examination]:
            answers = [await sandbox.examine(one, wanted) for one in media]
            assert sandbox.stats.crashes == sandbox.stats.restarts == 0
            return answers

        yield lambda media, wanted: runner.run(examined(media, wanted))
        runner.run(sandbox.close())


def test_every_format_and_hash_type_works_behind_the_walls(sandboxed: Examine) -> None:
    media = [file(kind, [picture(200, 160)]) for kind in FORMATS]
    media.append(file("GIF", [picture(160, 120 + n) for n in range(3)]))
    wanted = Wanted(tuple(PERCEPTUAL), frozenset({"flips", "nn512", "unletterboxed"}))
    answers = sandboxed(media, wanted)
    assert [a.media_type for a in answers] == [*FORMATS.values(), "image/gif"]
    for one, answer in zip(media, answers, strict=True):
        assert answer.unhashable == ()
        assert answer == examine.examine(one, wanted)


def test_what_is_no_picture_is_unknown(sandboxed: Examine) -> None:
    media = [b"", b"\xff\xd8\xff", b"<svg/>", bytes(1000)]
    for one, answer in zip(media, sandboxed(media, Wanted()), strict=True):
        assert answer == examine.examine(one, Wanted())
        assert [u.hash_type for u in answer.unhashable] == ["pdq"]


def test_the_frames_before_a_cut_are_hashed(sandboxed: Examine) -> None:
    media = file("GIF", [picture(160, 160).rotate(90 * n) for n in range(3)])
    cut_off = media[: len(media) * 5 // 6]  # in the last frame, since they are about as long as each other
    for one, reasons in ((media, ()), (cut_off, (Unhashable("pdq", Reason.UNDECODABLE),))):
        (answer,) = sandboxed([one], Wanted())
        assert answer == examine.examine(one, Wanted())
        assert "pdq" in {h.fingerprint.hash_type for h in answer.hashed}
        assert answer.unhashable == reasons


def test_a_picture_too_large_for_a_variant_is_hashed_without_it(sandboxed: Examine) -> None:
    side = math.isqrt(limits.MAX_PIXELS_FULL_SIZE_LUMA) + 1
    vast = file("JPEG", [picture(320, 240).convert("L").resize((side, side), Image.Resampling.NEAREST)])
    plain, varied = (sandboxed([vast], Wanted(variants=v))[0] for v in (frozenset(), frozenset({"nn512"})))
    assert plain.unhashable == ()
    assert varied == replace(plain, unhashable=(Unhashable("pdq", Reason.TOO_LARGE),))


def test_a_picture_near_the_limits_is_not_refused_for_what_came_before(sandboxed: Examine) -> None:
    """Heap that earlier pictures left would count against the limit."""
    large = file("WEBP", [Image.new("RGB", (4000, 3990), (90, 30, 60))], lossless=True, method=0)
    before = [file("WEBP", [picture(1920 + 64 * n, 1080)], method=0) for n in range(4)]
    answers = sandboxed([large, *before, large], Wanted())
    assert answers[0] == answers[-1]
    assert all(u.reason is not Reason.TOO_LARGE for a in answers for u in a.unhashable)
