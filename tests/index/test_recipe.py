"""Recipes: the packaged ones, overrides, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from hashmatch.errors import BadConfig
from hashmatch.hashing.registry import REGISTRY
from hashmatch.index.recipe import load_recipes, opaque, parse_recipe

GOOD = """
hash_type = "pdq"
value_bytes = 32
distance = "hamming"
enabled = true
ceiling = 48
default_threshold = 31
min_quality = 50
min_ones = 80
max_ones = 176
"""


def test_there_is_a_recipe_for_all_that_is_computed() -> None:
    recipes = load_recipes()
    assert recipes.keys() >= REGISTRY.keys()
    for name, hash_type in REGISTRY.items():
        recipe = recipes[name]
        assert recipe.value_bytes == hash_type.value_bytes
        assert (recipe.distance == "equal") == hash_type.exact
        assert (recipe.min_quality or 0) == hash_type.min_quality
    assert {name for name in REGISTRY if recipes[name].enabled} == {"pdq", "md5", "sha1", "sha256"}


def test_what_only_others_compute_is_looked_up_for_equality() -> None:
    others = {name: recipe for name, recipe in load_recipes().items() if name not in REGISTRY}
    assert {"photodna", "tmk", "vpdq", "netclean", "videntifier"} <= others.keys()
    assert all(recipe.distance == "equal" and recipe.enabled for recipe in others.values())
    assert others["photodna"].value_bytes == 144
    assert others["tmk"].opaque
    assert others["tmk"].key(b"x" * 1000) == others["tmk"].key(b"x" * 1000) != others["tmk"].key(b"x" * 999)
    assert len(others["tmk"].key(b"x")) == others["tmk"].key_bytes == opaque("anything").key_bytes == 32


def test_pdq_is_matched_as_meta_recommends() -> None:
    pdq = load_recipes()["pdq"]
    assert (pdq.ceiling, pdq.default_threshold, pdq.min_quality) == (48, 31, 50)
    # No entry is refused that some picture's fingerprint, with its 128 ones, could match; and none is kept that cannot.
    assert (pdq.min_ones, pdq.max_ones) == (128 - pdq.ceiling, 128 + pdq.ceiling)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("ceiling = 48", "ceiling = 48\ncolour = 1", "x.toml: unknown key 'colour'"),
        ("ceiling = 48", "", "x.toml: missing key 'ceiling'"),
        ("ceiling = 48", "ceiling = 30", "x.toml: default_threshold: want 0..ceiling"),
        ("ceiling = 48", "ceiling = 256", "x.toml: ceiling: want 0..255"),
        ("ceiling = 48", "ceiling = -1", "x.toml: ceiling"),
        ("ceiling = 48", "ceiling = 48.0", "x.toml: ceiling: want int"),
        ("ceiling = 48", "ceiling = true", "x.toml: ceiling: want int"),
        ("ceiling = 48", 'ceiling = "48"', "x.toml: ceiling: want int"),
        ("enabled = true", "enabled = 1", "x.toml: enabled: want bool"),
        ('"hamming"', '"cosine"', "x.toml: distance"),
        ('"hamming"', '"equal"', "x.toml: ceiling: want 0 where distance is equal"),
        ('"pdq"', '"../pdq"', "x.toml: hash_type"),
        ('"pdq"', "7", "x.toml: hash_type: want str"),
        ("value_bytes = 32", "value_bytes = 0", 'x.toml: distance: want "equal" where value_bytes is 0'),
        ("value_bytes = 32", "value_bytes = 256", "x.toml: value_bytes: want 0..255"),
        ("min_quality = 50", "min_quality = 101", "x.toml: min_quality"),
        ("min_ones = 80", "min_ones = 177", "x.toml: min_ones"),
        ("max_ones = 176", "max_ones = 257", "x.toml: max_ones"),
        ("enabled = true", "enabled = maybe", "x.toml: not TOML"),
    ],
)
def test_a_wrong_recipe_is_refused_by_file_and_key(old: str, new: str, message: str) -> None:
    assert old in GOOD
    with pytest.raises(BadConfig) as refused:
        parse_recipe(GOOD.replace(old, new, 1), "x.toml")
    assert str(refused.value).startswith(message)


def test_a_recipe_without_quality_has_none() -> None:
    assert parse_recipe(GOOD.replace("min_quality = 50", ""), "x.toml").min_quality is None


def test_the_digest_is_of_the_rules_and_not_of_the_file() -> None:
    recipe = parse_recipe(GOOD, "x.toml")
    shuffled = "# said otherwise\n" + "\n".join(reversed(GOOD.strip().splitlines()))
    assert parse_recipe(shuffled, "y.toml").digest == recipe.digest
    assert len(recipe.digest) == 32
    other = parse_recipe(GOOD.replace("default_threshold = 31", "default_threshold = 30"), "x.toml")
    assert other.digest != recipe.digest


def test_an_override_replaces_by_hash_type(tmp_path: Path) -> None:
    (tmp_path / "ours.toml").write_text(GOOD.replace("default_threshold = 31", "default_threshold = 20"))
    (tmp_path / "vendor.toml").write_text(GOOD.replace('"pdq"', '"vendor"').replace("min_quality = 50", ""))
    (tmp_path / "notes.txt").write_text("not a recipe")
    recipes = load_recipes(tmp_path)
    assert recipes["pdq"].default_threshold == 20
    assert recipes["vendor"].min_quality is None
    assert recipes["md5"] == load_recipes()["md5"]
    assert load_recipes()["pdq"].default_threshold == 31


def test_an_override_that_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="cannot read recipes"):
        load_recipes(tmp_path / "missing")
    (tmp_path / "a.toml").write_text(GOOD)
    (tmp_path / "b.toml").write_text(GOOD)
    with pytest.raises(BadConfig, match=r"b\.toml: hash_type: there is another recipe for pdq"):
        load_recipes(tmp_path)
    (tmp_path / "b.toml").unlink()
    (tmp_path / "a.toml").write_text(GOOD.replace("value_bytes = 32", "value_bytes = 33"))
    with pytest.raises(BadConfig, match="pdq: value_bytes: want 32"):
        load_recipes(tmp_path)
    (tmp_path / "a.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(BadConfig, match="cannot read recipes"):
        load_recipes(tmp_path)
