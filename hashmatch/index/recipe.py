"""Recipes: how each hash type is indexed and matched. A person writes them; packaged ones can be overridden.

A recipe is settled when it is loaded: unknown keys, missing keys and thresholds over the ceiling are refused here, so
nothing later asks again.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from hashmatch.errors import BadConfig
from hashmatch.types import Bits

MAX_VALUE_BYTES = 255  # of a value that is looked up as it is; longer ones are opaque, and looked up by their digest
OPAQUE_KEY_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How one hash type is indexed and matched.

    `distance` is "hamming", or "equal" for digests and for values whose distance is not known here, whose ceiling and
    threshold are 0. Entries outside `min_ones`..`max_ones` bits set are refused on import: they match featureless
    pictures, or nothing real. Opaque values differ in length, and nothing is known of their bits.
    """

    hash_type: str
    value_bytes: int  # 0: opaque
    distance: Literal["hamming", "equal"]
    ceiling: Bits  # the greatest threshold that a list may set, inclusive
    default_threshold: Bits  # of a list that sets none, inclusive
    enabled: bool
    min_quality: int | None = None  # 0..100; below it a submission's finding is UNKNOWN
    min_ones: int = 0
    max_ones: int = 0

    @property
    def opaque(self) -> bool:
        """Whether values differ in length."""
        return not self.value_bytes

    @property
    def key_bytes(self) -> int:
        """Length of what values are kept and looked up by."""
        return self.value_bytes or OPAQUE_KEY_BYTES

    def key(self, value: bytes) -> bytes:
        """What a value is kept and looked up by: itself, or the BLAKE2b-256 of an opaque one."""
        return value if self.value_bytes else hashlib.blake2b(value, digest_size=OPAQUE_KEY_BYTES).digest()

    @property
    def digest(self) -> bytes:
        """SHA-256 of the recipe's content (32 bytes): the same for the same rules, however the file was laid out."""
        canonical = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).digest()


_KEYS = {field.name: field for field in fields(Recipe)}
_TEXT, _SWITCH = ("hash_type", "distance"), ("enabled",)


def parse_recipe(text: str, origin: str) -> Recipe:
    """The recipe in a TOML file's text; `origin` names the file in errors.

    Raises:
        BadConfig: not TOML, or a key is unknown, missing, of another type or out of range; names file and key.
    """
    try:
        given = tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        raise BadConfig(f"{origin}: not TOML: {e}") from e
    for key, value in given.items():
        if key not in _KEYS:
            raise BadConfig(f"{origin}: unknown key '{key}'; there are {', '.join(_KEYS)}")
        wanted = str if key in _TEXT else bool if key in _SWITCH else int
        if type(value) is not wanted:  # bool is an int to isinstance
            raise BadConfig(f"{origin}: {key}: want {wanted.__name__}")
    optional = {"min_quality"} if given.get("value_bytes") != 0 else {"min_quality", "min_ones", "max_ones"}
    missing = _KEYS.keys() - given.keys() - optional
    if missing:
        raise BadConfig(f"{origin}: missing key '{min(missing)}'")
    recipe = Recipe(**given)
    _check(recipe, origin)
    return recipe


def opaque(hash_type: str) -> Recipe:
    """The recipe of a hash type that has none: values of any length, looked up for equality."""
    return Recipe(
        hash_type=hash_type, value_bytes=0, distance="equal", ceiling=Bits(0), default_threshold=Bits(0), enabled=True
    )


def _check(recipe: Recipe, origin: str) -> None:
    bits = 8 * recipe.value_bytes
    rules = (
        ("hash_type", recipe.hash_type.isidentifier(), "want letters, digits and underscores"),
        ("value_bytes", 0 <= recipe.value_bytes <= MAX_VALUE_BYTES, f"want 0..{MAX_VALUE_BYTES}"),
        ("distance", recipe.distance in ("hamming", "equal"), 'want "hamming" or "equal"'),
        ("distance", recipe.distance == "equal" or not recipe.opaque, 'want "equal" where value_bytes is 0'),
        ("ceiling", 0 <= recipe.ceiling < max(bits, 1), f"want 0..{max(bits - 1, 0)}"),
        ("ceiling", recipe.distance != "equal" or recipe.ceiling == 0, "want 0 where distance is equal"),
        ("default_threshold", 0 <= recipe.default_threshold <= recipe.ceiling, "want 0..ceiling"),
        ("min_quality", recipe.min_quality is None or 0 <= recipe.min_quality <= 100, "want 0..100"),
        ("min_ones", 0 <= recipe.min_ones <= recipe.max_ones, "want 0..max_ones"),
        ("max_ones", recipe.max_ones <= bits, f"want at most {bits}"),
    )
    for key, kept, want in rules:
        if not kept:
            raise BadConfig(f"{origin}: {key}: {want}")


def load_recipes(override: Path | None = None) -> Mapping[str, Recipe]:
    """Every recipe by hash type: the packaged ones, each replaced by the one of its type in `override`, if any.

    Raises:
        BadConfig: a recipe is wrong, two files of one directory are about the same hash type, a recipe's value has
            another length than the packaged one's, or `override` cannot be read.
    """
    packaged = _load(files("hashmatch.indexes"))
    if override is None:
        return MappingProxyType(packaged)
    own = _load(override)
    for name, recipe in own.items():
        if name in packaged and packaged[name].value_bytes != recipe.value_bytes:
            raise BadConfig(f"{override}: {name}: value_bytes: want {packaged[name].value_bytes}")
    return MappingProxyType(packaged | own)


def _load(directory: Traversable) -> dict[str, Recipe]:
    recipes: dict[str, Recipe] = {}
    try:
        texts = {f.name: f.read_text("utf-8") for f in directory.iterdir() if f.name.endswith(".toml")}
    except (OSError, UnicodeDecodeError) as e:
        raise BadConfig(f"cannot read recipes in {directory}: {e}") from e
    for name in sorted(texts):
        recipe = parse_recipe(texts[name], name)
        if recipe.hash_type in recipes:
            raise BadConfig(f"{name}: hash_type: there is another recipe for {recipe.hash_type}")
        recipes[recipe.hash_type] = recipe
    return recipes
