"""What a list may be called and say about itself. Parsed here once; stored values are valid."""

from __future__ import annotations

import re
from collections.abc import Mapping

from hashmatch import convert
from hashmatch.errors import Malformed
from hashmatch.hashing.variants import QUERY_VARIANTS
from hashmatch.index.recipe import Recipe
from hashmatch.v1 import lists_pb2

MAX_TEXT_CHARS = 500  # ours: a sentence or two for operator, purpose and reason; they are repeated in every change
MAX_LABEL_CHARS = 200  # ours: operators' classes and ids are a few dozen; a million of them are kept
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


def name(given: str) -> str:
    """The name of a new list.

    Raises:
        Malformed: field "name".
    """
    if not _NAME.fullmatch(given):
        raise Malformed("want 1 to 63 of a–z, 0–9, '.', '_' and '-', beginning with a letter or digit", field="name")
    return given


def text(given: str, field: str, *, limit: int = MAX_TEXT_CHARS, required: bool = False) -> str:
    """One line of text: white space is collapsed, and nothing in it can act on a terminal.

    Raises:
        Malformed: too long, unprintable, or empty where it is required.
    """
    line = " ".join(given.split())
    if len(line) > limit:
        raise Malformed(f"{len(line)} characters, at most {limit}", field=field)
    if not line.isprintable():
        raise Malformed("holds bytes that are not text", field=field)
    if required and not line:
        raise Malformed("must be given, for the record", field=field)
    return line


def policy(given: lists_pb2.Policy, recipes: Mapping[str, Recipe]) -> lists_pb2.Policy:
    """A policy that the recipes allow; without a disposition it asks for REVIEW.

    Raises:
        Malformed: names the field, for example "policy.thresholds[pdq]".
    """
    for hash_type, bits in sorted(given.thresholds.items()):
        field = f"policy.thresholds[{hash_type[:32]}]"
        recipe = recipes.get(hash_type)
        if recipe is None:
            raise Malformed(f"unknown hash type; known: {', '.join(sorted(recipes))}", field=field)
        if not recipe.enabled:
            raise Malformed("this hash type is switched off in its recipe", field=field)
        if bits > recipe.ceiling:
            raise Malformed(f"{bits} bits, want 0..{recipe.ceiling}", field=field)
    for variant in given.variants:
        if variant not in QUERY_VARIANTS:
            raise Malformed(f"unknown variant; known: {', '.join(QUERY_VARIANTS)}", field="policy.variants")
    return convert.policy_to_wire(convert.policy_from_wire(given))
