"""PDQ by matrices against pdqhash, Meta's own code, on the same pixels."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np
import numpy.typing as npt
import pdqhash
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hashmatch.hashing import pdq, variants

Raster = npt.NDArray[np.uint8]


def reference(pixels: Raster) -> tuple[bytes, int]:
    rgb = pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)
    bits, quality = pdqhash.compute(np.ascontiguousarray(rgb))
    return np.packbits(bits).tobytes(), quality


def distance(one: bytes, other: bytes) -> int:
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).bit_count()


SIDES = [(64, 64), (63, 65), (5, 5), (6, 400), (17, 300), (100, 33), (127, 128), (128, 129), (129, 130), (255, 257),
         (480, 640), (333, 517), (720, 405), (1080, 1350), (2049, 300), (20, 5000)]  # fmt: skip


@pytest.mark.parametrize(("height", "width"), SIDES)
@pytest.mark.parametrize("draw", ["noise", "landscape"])
def test_is_the_references_bits_and_quality(drawing: ModuleType, draw: str, height: int, width: int) -> None:
    pixels: Raster = getattr(drawing, draw)(height * 7919 + width, height, width)
    value, quality = pdq.compute(pixels)
    expected, expected_quality = reference(pixels)
    assert distance(value, expected) <= 2, (
        "float rounding may move a coefficient over the median, and the median with it"
    )
    assert abs(quality - expected_quality) <= 1


def test_is_bit_equal_nearly_always(drawing: ModuleType) -> None:
    pictures = [drawing.landscape(seed, 60 + 9 * seed, 300 - 2 * seed) for seed in range(40)]
    equal = [pdq.compute(p) == reference(p) for p in pictures]
    assert sum(equal) >= 38


def test_takes_rgb_as_the_reference_does(drawing: ModuleType) -> None:
    for name in ("astronaut", "coffee"):
        pixels = drawing.photograph(name)
        assert pdq.compute(pixels) == reference(pixels)


@settings(deadline=None, max_examples=40)
@given(height=st.integers(1, 90), width=st.integers(1, 300), seed=st.integers(0, 2**32 - 1))
def test_any_size_hashes_as_the_reference_does(height: int, width: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8)
    value, quality = pdq.compute(pixels)
    expected, expected_quality = reference(pixels)
    # Sides of up to 16 pixels have frequencies that are exactly 0: rounding alone decides which side of the median.
    assert distance(value, expected) <= (2 if min(height, width) > 16 or min(height, width) < pdq.MIN_SIDE else 32)
    assert abs(quality - expected_quality) <= 1


def test_under_the_smallest_side_everything_is_zero() -> None:
    for shape in [(1, 1), (4, 400), (400, 4), (1, 65_500)]:
        assert pdq.compute(np.full(shape, 200, np.uint8)) == (bytes(32), 0) == reference(np.full(shape, 200, np.uint8))


def test_a_blank_frame_has_no_quality() -> None:
    for level in (0, 17, 255):
        assert pdq.compute(np.full((300, 400), level, np.uint8))[1] == 0


def test_slabs_are_invisible(drawing: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = drawing.landscape(3, 700, 900)
    whole = pdq.compute(pixels)
    monkeypatch.setattr(pdq, "_SLAB_PIXELS", 1000)
    assert distance(pdq.compute(pixels)[0], whole[0]) <= 2


TURNED: dict[str, Callable[[Raster], Raster]] = {
    "": lambda a: a,
    "rot90": lambda a: np.rot90(a, -1),
    "rot180": lambda a: np.rot90(a, 2),
    "rot270": lambda a: np.rot90(a, 1),
    "flip": lambda a: a[::-1],
    "flop": lambda a: a[:, ::-1],
    "transpose": lambda a: np.swapaxes(a, 0, 1),
    "transverse": lambda a: np.rot90(np.swapaxes(a, 0, 1), 2),
}


@pytest.mark.parametrize(("height", "width"), [(480, 640), (333, 517), (61, 300), (64, 64)])
def test_turned_readings_are_hashes_of_turned_pixels(drawing: ModuleType, height: int, width: int) -> None:
    pixels = drawing.landscape(11, height, width)
    (reading,) = variants.readings(pixels, 1, frozenset({"flips"}))
    taken = {name: (value, quality) for name, value, quality in pdq.fingerprints(reading)}
    assert taken.keys() == TURNED.keys()
    for name, turn in TURNED.items():
        turned = np.ascontiguousarray(turn(pixels))
        assert distance(taken[name][0], pdq.compute(turned)[0]) <= 2, name
        assert distance(taken[name][0], reference(turned)[0]) <= 2, name
        assert abs(taken[name][1] - reference(turned)[1]) <= 1, name
    values = {value for value, _ in taken.values()}
    assert len(values) == 8
    assert min(distance(a, b) for a in values for b in values if a != b) > 60


def reduced(pixels: Raster, by: int) -> Raster:
    return np.asarray(Image.fromarray(pixels).reduce(by))


@pytest.mark.parametrize(("height", "width", "by"), [(1031, 517, 2), (1350, 1080, 4), (770, 1000, 3), (1601, 1500, 5)])
def test_a_reduced_frame_hashes_as_the_frame_it_stands_for(
    drawing: ModuleType, height: int, width: int, by: int
) -> None:
    pixels = drawing.landscape(height, height, width)
    (reading,) = variants.readings(
        reduced(pixels, by), 1, frozenset({"flips"}), full=(height, width), by=by
    )  # fmt: skip
    for name, value, quality in pdq.fingerprints(reading):
        expected, expected_quality = reference(np.ascontiguousarray(TURNED[name](pixels)))
        assert distance(value, expected) <= 6, name
        assert quality is not None
        assert abs(quality - expected_quality) <= 1, name


@given(side=st.integers(5, 3000), by=st.integers(1, 16), backwards=st.booleans())
def test_the_matrix_keeps_a_flat_frame_flat(side: int, by: int, backwards: bool) -> None:
    blocks = -(-side // by)
    rows = 0
    for start, weights in pdq._make_bands(side, by, backwards):
        assert start >= 0
        assert start + weights.shape[1] <= blocks
        assert np.allclose(weights.sum(axis=1), 1, atol=1e-5)
        rows += len(weights)
    assert rows == 64
