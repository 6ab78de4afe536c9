"""ImageHash's types against ImageHash itself on the same picture."""

from __future__ import annotations

from types import ModuleType

import imagehash
import numpy as np
import pytest
from PIL import Image

from hashmatch.hashing import variants
from hashmatch.hashing.registry import REGISTRY

ORACLES = {
    "phash": imagehash.phash,
    "dhash": imagehash.dhash,
    "ahash": imagehash.average_hash,
    "whash": imagehash.whash,
    "colorhash": imagehash.colorhash,
}


@pytest.mark.parametrize("name", ORACLES)
@pytest.mark.parametrize("photograph", ["astronaut", "chelsea", "coffee", "rocket", "retina"])
def test_is_the_number_that_imagehash_prints(drawing: ModuleType, name: str, photograph: str) -> None:
    pixels = drawing.photograph(photograph)[:400, :500]
    (reading,) = variants.readings(pixels, 6, frozenset({"flips"}))
    taken = list(REGISTRY[name].load()(reading))
    assert [variant for variant, _, _ in taken] == [variant for variant, _ in reading.turns]
    for (variant, value, quality), (_, turn) in zip(taken, reading.turns, strict=True):
        expected = str(ORACLES[name](Image.fromarray(np.ascontiguousarray(turn.of(pixels)))))
        assert value.hex() == expected.zfill(2 * REGISTRY[name].value_bytes), variant
        assert quality is None


@pytest.mark.parametrize("name", [name for name in ORACLES if name != "colorhash"])
def test_takes_luma(drawing: ModuleType, name: str) -> None:
    pixels = drawing.landscape(1, 200, 300)
    (reading,) = variants.readings(pixels, 1, frozenset())
    ((_, value, _),) = REGISTRY[name].load()(reading)
    assert value.hex() == str(ORACLES[name](Image.fromarray(pixels)))


@pytest.mark.parametrize("name", ORACLES)
def test_a_frame_without_contrast_has_no_fingerprint(name: str) -> None:
    flat = np.zeros((60, 60, 3), np.uint8)
    flat[...] = (200, 20, 60)
    flat[::2, ::3] += 5
    (reading,) = variants.readings(flat, 1, frozenset())
    assert not list(REGISTRY[name].load()(reading))
