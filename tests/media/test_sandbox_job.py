"""The real job behind the walls: every format decodes there, and to what it decodes to outside."""

from __future__ import annotations

import asyncio
import io

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from hashmatch import examine
from hashmatch.hashing.registry import REGISTRY
from hashmatch.media.sandbox import Sandbox
from hashmatch.types import Examination, Reason, Wanted

PERCEPTUAL = {name: t.value_bytes for name, t in REGISTRY.items() if not t.exact}
FORMATS = {
    "JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "GIF": "image/gif", "BMP": "image/bmp",
    "TIFF": "image/tiff", "AVIF": "image/avif", "HEIF": "image/heic",
}  # fmt: skip


def picture(width: int, height: int) -> Image.Image:
    mosaic = np.random.default_rng(7).integers(0, 256, (height // 40 + 2, width // 40 + 2, 3), np.uint8)
    return Image.fromarray(mosaic).resize((width, height), Image.Resampling.BICUBIC)


def file(kind: str, frames: list[Image.Image]) -> bytes:
    out = io.BytesIO()
    if kind == "HEIF":
        pillow_heif.from_pillow(frames[0]).save(out)
    else:
        frames[0].save(out, kind, **({"save_all": True, "append_images": frames[1:]} if len(frames) > 1 else {}))
    return out.getvalue()


def sandboxed(media: list[bytes], wanted: Wanted) -> list[Examination]:
    async def main() -> list[Examination]:
        async with Sandbox(workers=1, hash_types=PERCEPTUAL, deadline=20, cpu_seconds=20) as sandbox:
            answers = [await sandbox.examine(one, wanted) for one in media]
            assert sandbox.stats.crashes == sandbox.stats.restarts == 0
            return answers

    return asyncio.run(main())


def test_every_format_and_hash_type_works_behind_the_walls() -> None:
    media = [file(kind, [picture(320, 240)]) for kind in FORMATS]
    media.append(file("GIF", [picture(160, 120 + n) for n in range(3)]))
    wanted = Wanted(tuple(PERCEPTUAL), frozenset({"flips", "nn512", "unletterboxed"}))
    answers = sandboxed(media, wanted)
    assert [a.media_type for a in answers] == [*FORMATS.values(), "image/gif"]
    for one, answer in zip(media, answers, strict=True):
        assert answer.unhashable == ()
        assert answer == examine.examine(one, wanted)


@pytest.mark.parametrize("media", [b"", b"\xff\xd8\xff", b"<svg/>", bytes(1000)])
def test_what_is_no_picture_is_unknown(media: bytes) -> None:
    (answer,) = sandboxed([media], Wanted())
    assert answer == examine.examine(media, Wanted())
    assert [u.hash_type for u in answer.unhashable] == ["pdq"]


def test_a_picture_near_the_limits_is_not_refused_for_what_came_before() -> None:
    """Heap that earlier pictures left would count against the limit."""
    large = file("WEBP", [Image.new("RGB", (4000, 3990), (90, 30, 60))])
    before = [file("WEBP", [picture(1920 + 64 * n, 1080)]) for n in range(4)]
    answers = sandboxed([large, *before, large], Wanted())
    assert answers[0] == answers[-1]
    assert all(u.reason is not Reason.TOO_LARGE for a in answers for u in a.unhashable)
