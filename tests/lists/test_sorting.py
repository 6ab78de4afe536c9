"""Rows of any number come out in order, each key once, whatever goes through files."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from hashmatch.lists import sorting
from hashmatch.lists.sorting import Sorted


@pytest.mark.parametrize("alphabet", [b"\x00\xff", bytes(range(256)), b"\xff", b"\xfe\xff"])
@pytest.mark.parametrize("width", [1, 2, 4, 16])
@pytest.mark.parametrize(("spill", "split"), [(1, 1), (50, 40), (500, 400), (10_000, 10_000)])
def test_what_comes_out_is_sorted_and_distinct(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alphabet: bytes, width: int, spill: int, split: int
) -> None:
    monkeypatch.setattr(sorting, "SPILL_ROWS", spill)
    monkeypatch.setattr(sorting, "SPLIT_ROWS", split)
    chance = random.Random(width * spill)
    for count in (0, 1, 7, 600):
        keys = [bytes(chance.choice(alphabet) for _ in range(width)) for _ in range(count)]
        rows = [key + number.to_bytes(6, "big") + b"payload" for number, key in enumerate(keys)]
        shuffled = chance.sample(rows, count)
        first: dict[bytes, bytes] = {}
        for key, row in zip(keys, rows, strict=True):
            first.setdefault(key, row[width:])
        left_out = set(chance.sample(sorted(first), min(2, len(first))))
        sorted_ = Sorted(tmp_path / f"{count}", width)
        for at in range(0, count, 17):
            sorted_.take(shuffled[at : at + 17])
        expected = [(key, rest) for key, rest in sorted(first.items()) if key not in left_out]
        assert sorted_.settle(left_out) == (len(expected), count - len(first), len(left_out))
        for _ in range(2):
            assert list(sorted_.rows()) == expected
        assert b"".join(sorted_.keys()) == b"".join(key for key, _ in expected)
        sorted_.close()
        assert not (tmp_path / f"{count}").exists()
