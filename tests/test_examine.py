"""The worker's job, end to end on real files: bytes in, fingerprints or reasons out."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import math
import zlib
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import numpy.typing as npt
import pdqhash
import pillow_heif
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hashmatch import examine
from hashmatch.errors import BadConfig
from hashmatch.hashing import pdq, variants
from hashmatch.media import limits
from hashmatch.types import Examination, Hashed, Reason, Unhashable, Wanted

PERCEPTUAL = ("pdq", "phash", "dhash", "ahash", "whash", "colorhash")
FORMATS = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF"]


@pytest.fixture(scope="session")
def drawing() -> ModuleType:
    pillow_heif.register_heif_opener()
    path = Path(__file__).parent / "hashing" / "drawing.py"
    spec = importlib.util.spec_from_file_location("hashing_drawing", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def by_variant(examination: Examination, hash_type: str = "pdq") -> dict[str, Hashed]:
    return {h.variant: h for h in examination.hashed if h.fingerprint.hash_type == hash_type}


def bits_off(one: bytes, other: bytes) -> int:
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).bit_count()


def reference(pixels: npt.NDArray[np.uint8]) -> bytes:
    bits, _ = pdqhash.compute(np.ascontiguousarray(pixels))
    return np.packbits(bits).tobytes()


def animation(frames: list[Image.Image], milliseconds: int) -> bytes:
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=milliseconds)
    return file.getvalue()


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_hashes_as_the_reference_does(drawing: ModuleType, kind: str) -> None:
    pixels = np.ascontiguousarray(drawing.photograph("coffee")[::2, ::2])
    options = {"quality": 90} if kind in ("JPEG", "WEBP", "AVIF", "HEIF") else {}
    found = examine.examine(drawing.encode(pixels, kind, **options), Wanted())
    assert (found.width, found.height, found.frames, found.unhashable) == (300, 200, 1, ())
    (hashed,) = by_variant(found).values()
    assert bits_off(hashed.fingerprint.value, reference(pixels)) <= 10
    assert hashed.quality is not None
    assert hashed.quality >= 80


@pytest.mark.parametrize("media", [b"", b"<html><svg></svg></html>", b"\xff\xd8\xff\xe0", bytes(2000)])
def test_bad_media_is_an_answer_with_its_digests(media: bytes) -> None:
    found = examine.examine(memoryview(media), Wanted(PERCEPTUAL))
    assert {u.hash_type for u in found.unhashable} == set(PERCEPTUAL)
    assert {u.reason for u in found.unhashable} <= {Reason.UNDECODABLE, Reason.UNSUPPORTED_TYPE}
    assert {h.fingerprint.hash_type: h.fingerprint.value for h in found.hashed} == {
        name: getattr(hashlib, name)(media).digest() for name in ("md5", "sha1", "sha256")
    }


@pytest.mark.parametrize("kind", FORMATS)
def test_a_cut_off_file_is_never_clean(drawing: ModuleType, kind: str) -> None:
    media = drawing.encode(drawing.photograph("coffee")[:128, :192], kind)
    found = examine.examine(media[: len(media) * 2 // 3], Wanted())
    assert found.unhashable == (Unhashable("pdq", Reason.UNDECODABLE),)


def test_black_and_tiny_pictures_are_of_low_quality(drawing: ModuleType) -> None:
    black = drawing.encode(np.zeros((300, 400, 3), np.uint8), "JPEG")
    tiny = drawing.encode(drawing.noise(1, 15, 200), "PNG")
    for media in (black, tiny):
        found = examine.look(media, Wanted(PERCEPTUAL))
        assert found.hashed == ()
        assert found.unhashable == tuple(Unhashable(t, Reason.LOW_QUALITY) for t in PERCEPTUAL)
    barely = examine.look(drawing.encode(drawing.noise(1, 16, 200), "PNG"), Wanted())
    assert [h.fingerprint.hash_type for h in barely.hashed] == ["pdq"]


def test_one_usable_frame_of_an_animation_is_enough(drawing: ModuleType) -> None:
    black = Image.new("L", (320, 240))
    shown = Image.fromarray(drawing.landscape(4, 240, 320))
    media = animation([black, shown, black], 100)
    found = examine.look(media, Wanted())
    assert found.frames == 3
    assert found.unhashable == ()
    assert [(h.variant, h.frame_ms) for h in found.hashed] == [("", 100)]
    dark = examine.look(animation([black, black.point(lambda _: 2)], 100), Wanted())
    assert dark.unhashable == (Unhashable("pdq", Reason.LOW_QUALITY),)


def cut_gif(media: bytes) -> bytes:
    """Without its last frame's second half."""
    return media[: (media.rindex(b"\x21\xf9\x04") + len(media)) // 2]


def spoilt_tiff(frames: list[Image.Image]) -> bytes:
    """With a last page whose pixels are not what its compression makes."""
    file = io.BytesIO()
    frames[0].save(file, "TIFF", save_all=True, append_images=frames[1:], compression="tiff_adobe_deflate")
    media = bytearray(file.getvalue())
    with Image.open(file) as pages:
        pages.seek(len(frames) - 1)
        start, size = pages.tag_v2[273][0], pages.tag_v2[279][0]  # type: ignore[attr-defined]
    media[start : start + size] = bytes(size)
    return bytes(media)


@pytest.mark.parametrize("kind", ["GIF", "TIFF"])
def test_frames_before_a_damaged_one_are_hashed(drawing: ModuleType, kind: str) -> None:
    frames = [Image.fromarray(drawing.landscape(seed, 240, 320)) for seed in (4, 5, 6)]
    media = cut_gif(animation(frames, 100)) if kind == "GIF" else spoilt_tiff(frames)
    found = examine.examine(media, Wanted(("pdq", "phash", "photodna")))
    whole = examine.look(animation(frames[:2], 100), Wanted(("pdq", "phash")))
    assert found.hashed[3:] == (
        whole.hashed if kind == "GIF" else tuple(replace(one, frame_ms=0) for one in whole.hashed)
    )
    assert found.unhashable == (
        Unhashable("pdq", Reason.UNDECODABLE),
        Unhashable("phash", Reason.UNDECODABLE),
        Unhashable("photodna", Reason.UNSUPPORTED_TYPE),
    )
    assert found.frames == 3


def test_too_large_for_every_pixel_is_hashed_reduced(drawing: ModuleType) -> None:
    side = math.isqrt(limits.MAX_PIXELS_FULL_SIZE_LUMA) + 1
    file = io.BytesIO()
    Image.fromarray(drawing.landscape(8, 500, 500)).resize((side, side), Image.Resampling.NEAREST).save(file, "JPEG")
    plain = examine.look(file.getvalue(), Wanted())
    assert plain.unhashable == ()
    found = examine.look(file.getvalue(), Wanted(("pdq", "phash"), frozenset({"nn512", "unletterboxed"})))
    assert found == replace(
        plain, unhashable=(Unhashable("pdq", Reason.TOO_LARGE), Unhashable("phash", Reason.TOO_LARGE))
    )
    turned = examine.look(file.getvalue(), Wanted(("phash", "pdq"), frozenset({"flips"})))
    assert by_variant(turned).keys() == variants.expand(["flips"]) - {"stored"}
    assert turned.unhashable == (Unhashable("phash", Reason.TOO_LARGE),), "nothing of PDQ is missing"


def test_too_large_for_colour_is_hashed_in_luma(drawing: ModuleType) -> None:
    side = math.isqrt(limits.MAX_PIXELS_FULL_SIZE_COLOUR) + 1
    file = io.BytesIO()
    Image.fromarray(drawing.landscape(8, 500, 500)).resize((side, side), Image.Resampling.NEAREST).save(file, "JPEG")
    found = examine.look(file.getvalue(), Wanted(("colorhash", "dhash", "pdq")))
    assert [h.fingerprint.hash_type for h in found.hashed] == ["dhash", "pdq"]
    assert found.unhashable == (Unhashable("colorhash", Reason.TOO_LARGE),)


def test_too_large_for_anything_is_told_of_every_type(drawing: ModuleType) -> None:
    media = bytearray(drawing.encode(drawing.noise(1, 16, 200), "PNG"))
    media[16:24] = (60_000).to_bytes(4, "big") * 2
    media[29:33] = zlib.crc32(media[12:29]).to_bytes(4, "big")
    found = examine.look(bytes(media), Wanted(PERCEPTUAL, frozenset({"nn512"})))
    assert found == Examination("image/png", unhashable=tuple(Unhashable(t, Reason.TOO_LARGE) for t in PERCEPTUAL))


def test_a_fingerprint_that_comes_again_is_told_once(drawing: ModuleType) -> None:
    picture = Image.fromarray(drawing.landscape(4, 240, 320))
    other = picture.copy()
    other.putpixel((0, 0), 255)  # a frame of its own to the encoder, the same to the eye
    found = examine.look(animation([picture, other, picture], 50), Wanted())
    assert found.frames == 3
    keys = [(h.fingerprint, h.variant) for h in found.hashed]
    assert len(keys) == len(set(keys))
    assert found.hashed[0].frame_ms == 0


def test_exif_readings_are_both_taken(drawing: ModuleType) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = drawing.photograph("coffee")
    found = examine.look(drawing.encode(pixels, "JPEG", quality=95, exif=exif), Wanted())
    assert (found.width, found.height) == (400, 600)
    taken = by_variant(found)
    assert taken.keys() == {"", "stored"}
    assert bits_off(taken[""].fingerprint.value, reference(np.rot90(pixels, -1))) <= 10
    assert bits_off(taken["stored"].fingerprint.value, reference(pixels)) <= 10


def test_every_wanted_variant_is_taken(drawing: ModuleType) -> None:
    pixels = np.zeros((700, 800, 3), np.uint8)
    pixels[100:-100] = drawing.landscape(8, 500, 800, colour=True)
    wanted = Wanted(("pdq", "phash"), frozenset(variants.QUERY_VARIANTS))
    found = examine.look(drawing.encode(pixels, "PNG"), wanted)
    taken = by_variant(found)
    assert taken.keys() == variants.expand(variants.QUERY_VARIANTS) - {"stored"}
    assert bits_off(taken["nn512"].fingerprint.value, reference(variants.nn512(pixels))) <= 2
    assert bits_off(taken["unletterboxed"].fingerprint.value, reference(pixels[100:-100])) <= 2
    assert by_variant(found, "phash").keys() == taken.keys() - {"nn512"}


def test_every_wanted_type_is_hashed_or_unhashable_once(drawing: ModuleType) -> None:
    wanted = Wanted((*PERCEPTUAL, "pdq", "md5", "photodna"))
    found = examine.examine(drawing.encode(drawing.photograph("chelsea"), "PNG"), wanted)
    hashed = [h.fingerprint.hash_type for h in found.hashed]
    assert sorted(hashed) == sorted([*PERCEPTUAL, "md5", "sha1", "sha256"])
    assert found.unhashable == (Unhashable("photodna", Reason.UNSUPPORTED_TYPE),), "no code of ours computes it"


@settings(deadline=None, max_examples=80)
@given(kind=st.sampled_from(FORMATS), data=st.data())
def test_damage_anywhere_is_an_answer(drawing: ModuleType, kind: str, data: st.DataObject) -> None:
    media = bytearray(drawing.encode(drawing.photograph("coffee")[:64, :80], kind))
    for _ in range(data.draw(st.integers(1, 4))):
        media[data.draw(st.integers(0, len(media) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    found = examine.examine(bytes(media), Wanted())
    told = {h.fingerprint.hash_type for h in found.hashed} | {u.hash_type for u in found.unhashable}
    assert told == {"md5", "sha1", "sha256", "pdq"}


def test_prepare_refuses_a_pdq_that_is_not_the_references(monkeypatch: pytest.MonkeyPatch) -> None:
    examine.prepare()
    monkeypatch.setattr(pdq, "_LUMA", np.array([0.9, 0.05, 0.05], np.float32))
    with pytest.raises(BadConfig, match="self-test"):
        examine.prepare()
