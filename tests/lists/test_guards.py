"""What may be listed."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashmatch.errors import Malformed
from hashmatch.index.recipe import load_recipes
from hashmatch.lists import guards

RECIPES = load_recipes()
PDQ, MD5 = RECIPES["pdq"], RECIPES["md5"]
HALF = "55" * 32


@pytest.mark.parametrize(
    ("hash_type", "empty"),
    [
        # Published everywhere as the digests of nothing; domain knowledge, not computed here.
        ("md5", "d41d8cd98f00b204e9800998ecf8427e"),
        ("sha1", "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
        ("sha256", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
    ],
)
def test_the_empty_file_is_refused(hash_type: str, empty: str) -> None:
    with pytest.raises(Malformed, match="the digest of the empty file"):
        guards.accept(guards.packed(empty, RECIPES[hash_type]), RECIPES[hash_type])


@pytest.mark.parametrize("hash_type", ["pdq", "md5", "sha1", "sha256"])
@pytest.mark.parametrize(("byte", "bit"), [("00", 0), ("ff", 1)])
def test_placeholders_are_refused(hash_type: str, byte: str, bit: int) -> None:
    recipe = RECIPES[hash_type]
    with pytest.raises(Malformed, match=f"every bit is {bit}"):
        guards.accept(guards.packed(byte * recipe.value_bytes, recipe), recipe)


@pytest.mark.parametrize("ones", range(257))
def test_pdq_must_be_balanced(ones: int) -> None:
    value = ((1 << ones) - 1).to_bytes(32, "big")
    if 128 - 48 <= ones <= 128 + 48:
        guards.accept(value, PDQ)
    else:
        with pytest.raises(Malformed):
            guards.accept(value, PDQ)


def test_a_type_that_is_switched_off_is_refused() -> None:
    with pytest.raises(Malformed, match="switched off"):
        guards.accept(bytes([0x55] * 8), RECIPES["phash"])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (HALF[:-1], "63 digits, want 64 hexadecimal digits"),
        (HALF[:32], "32 digits, want 64 hexadecimal digits"),
        (HALF + "5", "65 digits"),
        ("", "0 digits"),
        ("g" + HALF[1:], "not hexadecimal"),
        (HALF[:-1] + "é", "not hexadecimal"),
        (base64.b64encode(bytes(range(32))).decode(), "looks like base64"),
        (base64.urlsafe_b64encode(bytes(range(200, 232))).decode().rstrip("="), "looks like base64"),
    ],
)
def test_what_is_not_hexadecimal(text: str, why: str) -> None:
    for given_text in (text, text.encode()):
        with pytest.raises(Malformed, match=why) as refused:
            guards.packed(given_text, PDQ)
        assert not text or text not in str(refused.value)


@given(st.binary(min_size=16, max_size=16), st.booleans())
def test_hexadecimal_of_either_case(value: bytes, upper: bool) -> None:
    text = value.hex().upper() if upper else value.hex()
    assert guards.packed(text, MD5) == guards.packed(text.encode(), MD5) == value


@given(st.text(max_size=80))
def test_any_text_is_a_value_or_malformed(text: str) -> None:
    try:
        value = guards.packed(text, PDQ)
    except Malformed:
        return
    assert len(value) == 32


@pytest.mark.parametrize(("quality", "passes"), [("", True), ("50", True), ("100", True), ("49", False), ("0", False)])
def test_quality(quality: str, passes: bool) -> None:
    guards.accept_quality(guards.quality(quality, MD5), MD5)
    given = guards.quality(quality, PDQ)
    if passes:
        guards.accept_quality(given, PDQ)
    else:
        with pytest.raises(Malformed, match="want at least 50"):
            guards.accept_quality(given, PDQ)


@pytest.mark.parametrize("quality", ["101", "-1", "high", "50.0", "٥٠", "0" * 5000])
def test_what_is_not_a_quality(quality: str) -> None:
    with pytest.raises(Malformed, match="whole number"):
        guards.quality(quality, PDQ)
