"""Readings: EXIF turns against Pillow's own, the dihedral group, Meta's dialect, letterboxes."""

from __future__ import annotations

import io
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from hashmatch.errors import Malformed
from hashmatch.hashing import pdq, variants
from hashmatch.hashing.variants import Turn

turns = st.builds(Turn, st.booleans(), st.booleans(), st.booleans())


@given(turns, turns)
def test_one_turn_after_another_is_one_turn(first: Turn, second: Turn) -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert np.array_equal(first.then(second).of(pixels), second.of(first.of(pixels)))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_displayed_reading_is_what_pillow_displays(orientation: int) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (30, 40), np.uint8)
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(file, "PNG", exif=exif)
    with Image.open(file) as picture:
        displayed = np.asarray(ImageOps.exif_transpose(picture))
    (reading,) = variants.readings(pixels, orientation, frozenset())
    found = {name: turn.of(reading.pixels) for name, turn in reading.turns}
    assert np.array_equal(found[""], displayed)
    assert found.keys() == ({""} if orientation == 1 else {"", "stored"})
    if "stored" in found:
        assert np.array_equal(found["stored"], pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_flips_are_of_the_displayed_picture(orientation: int) -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (5, 7), np.uint8)
    (reading,) = variants.readings(pixels, orientation, frozenset({"flips"}))
    found = {name: turn.of(pixels) for name, turn in reading.turns}
    shown = found[""]
    assert np.array_equal(found["rot90"], np.rot90(shown, -1)), "clockwise"
    assert np.array_equal(found["rot270"], np.rot90(shown, 1))
    assert np.array_equal(found["flip"], np.flipud(shown))
    assert np.array_equal(found["flop"], np.fliplr(shown))
    assert len({(turn.shape, turn.tobytes()) for turn in found.values()}) == 8


def test_an_orientation_that_makes_no_sense_displays_as_stored() -> None:
    pixels = np.zeros((20, 30), np.uint8)
    for orientation in (0, 9, 255):
        (reading,) = variants.readings(pixels, orientation, frozenset())
        assert reading.turns == (("", variants.UPRIGHT),)


def test_expand_names_what_a_list_accepts() -> None:
    assert variants.expand([]) == {"", "stored"}
    assert variants.expand(["nn512"]) == {"", "stored", "nn512"}
    assert variants.expand(variants.QUERY_VARIANTS) == {"", "stored", "nn512", "unletterboxed", *variants.TURNS}
    with pytest.raises(Malformed, match="unknown variant 'sideways'") as refused:
        variants.expand(["sideways"])
    assert refused.value.field == "variants"


def test_whatever_is_taken_a_list_that_asked_for_it_accepts() -> None:
    pixels = np.zeros((600, 800), np.uint8)
    pixels[100:500] = np.random.default_rng(3).integers(0, 256, (400, 800), np.uint8)
    for asked in ([], ["flips"], ["nn512"], ["unletterboxed"], variants.QUERY_VARIANTS):
        taken = {name for r in variants.readings(pixels, 6, frozenset(asked)) for name, _ in r.turns}
        assert taken == variants.expand(asked)


@pytest.mark.parametrize("shape", [(513, 100), (700, 900), (1000, 512), (512, 1024, 3)])
def test_nn512_samples_as_cimg_does(shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(4).integers(0, 256, shape, np.uint8)
    rows = [i * shape[0] // 512 for i in range(512)]
    columns = [i * shape[1] // 512 for i in range(512)]
    assert np.array_equal(variants.nn512(pixels), pixels[rows][:, columns])


def test_nn512_only_above_512_pixels_and_of_each_reading() -> None:
    def count(height: int, width: int, orientation: int) -> int:
        pixels = np.zeros((height, width), np.uint8)
        return len(variants.readings(pixels, orientation, frozenset({"nn512"}))) - 1

    assert count(512, 512, 1) == 0
    assert count(512, 513, 1) == 1
    assert count(600, 20, 3) == 2


LETTERBOXES = [(60, 60, 0, 0), (0, 0, 80, 80), (40, 41, 30, 29), (100, 0, 0, 0), (0, 0, 0, 120)]


@pytest.mark.parametrize("box", LETTERBOXES)
@pytest.mark.parametrize("level", [0, 128, 255])
@pytest.mark.parametrize("quality", [50, 85])
def test_a_letterbox_is_removed_after_jpeg(
    drawing: ModuleType, box: tuple[int, int, int, int], level: int, quality: int
) -> None:
    top, bottom, left, right = box
    inner = drawing.photograph("chelsea")
    framed = np.pad(inner, ((top, bottom), (left, right), (0, 0)), constant_values=level)
    with Image.open(io.BytesIO(drawing.encode(framed, "JPEG", quality=quality))) as picture:
        luma = np.asarray(picture.convert("L"))
    found = variants.unletterboxed(luma)
    assert found is not None
    assert abs(found.shape[0] - inner.shape[0]) <= 8
    assert abs(found.shape[1] - inner.shape[1]) <= 8
    clean = np.frombuffer(pdq.compute(inner)[0], np.uint8)
    off = np.unpackbits(np.frombuffer(pdq.compute(found)[0], np.uint8) ^ clean).sum()
    assert off <= 31, "a list's default threshold finds it"


def test_a_colour_border_is_removed_from_rgb(drawing: ModuleType) -> None:
    inner = drawing.photograph("coffee")
    framed = np.empty((inner.shape[0] + 80, inner.shape[1], 3), np.uint8)
    framed[...] = (200, 20, 60)
    framed[40:-40] = inner
    found = variants.unletterboxed(framed)
    assert found is not None
    assert np.array_equal(found, inner)


def test_nothing_removed_or_nothing_left_is_no_reading(drawing: ModuleType) -> None:
    assert variants.unletterboxed(drawing.photograph("astronaut")) is None
    assert variants.unletterboxed(drawing.landscape(5, 300, 400)) is None
    assert variants.unletterboxed(np.full((300, 400), 9, np.uint8)) is None
    assert variants.unletterboxed(np.full((1, 1), 9, np.uint8)) is None
    sparse = np.zeros((300, 400), np.uint8)
    sparse[140:160, 190:210] = 255
    assert variants.unletterboxed(sparse) is None, "a dark picture with one light is not a letterbox"


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1), st.sampled_from([2, 8, 256]))
def test_what_is_left_is_part_of_the_frame(height: int, width: int, seed: int, levels: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, levels, (height, width)).astype(np.uint8)
    found = variants.unletterboxed(pixels)
    assert found is None or (np.shares_memory(found, pixels) and 0 < found.size < pixels.size)
