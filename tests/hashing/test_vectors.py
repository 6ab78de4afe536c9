"""Known answers that do not need the reference to be installed; tests/vectors/pdq.json says where they come from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from hashmatch.hashing import pdq

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "pdq.json").read_text())


def drawn(height: int, width: int, a: int, b: int, c: int, divisor: int) -> npt.NDArray[np.uint8]:
    """The picture of a vector: integers alone, so that it is the same on every machine."""
    y, x = np.mgrid[0:height, 0:width].astype(np.int64)
    phase = (a * x * x + b * y * y + c * x * y) // divisor % 512
    return np.where(phase < 256, phase, 511 - phase).astype(np.uint8)


@pytest.mark.parametrize("vector", VECTORS["vectors"], ids=lambda v: "×".join(map(str, v["drawn"][:2])))
def test_the_known_answer(vector: dict[str, Any]) -> None:
    value, quality = pdq.compute(drawn(*vector["drawn"]))
    off = int.from_bytes(value, "big") ^ int(vector["pdq"], 16)
    assert off.bit_count() <= 2, "float rounding at the median, on another machine's kernels"
    assert abs(quality - vector["quality"]) <= 1
