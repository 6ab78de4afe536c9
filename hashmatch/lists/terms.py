"""What a list may be called and say about itself. Parsed here once; stored values are valid."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from hashmatch import convert
from hashmatch.errors import Malformed
from hashmatch.hashing.variants import QUERY_VARIANTS
from hashmatch.index.recipe import Recipe
from hashmatch.types import WHOLE
from hashmatch.v1 import common_pb2, lists_pb2

MAX_TEXT_CHARS = 500  # ours: a sentence or two for operator, purpose and reason; they are repeated in every change
MAX_LABEL_CHARS = 200  # ours: operators' classes and ids are a few dozen; a million of them are kept
MAX_SCOPES = 64  # ours: surfaces or regions of one policy; every verdict's record repeats them
MAX_SCOPE_CHARS = 64  # ours: of a surface, a region, a rollout's seed
MAX_REFRESH_SECONDS = 366 * 86_400  # ours: what is refreshed less than once a year is not refreshed
MAX_COLLISION_UPLOADERS = 10_000  # ours: as many are remembered in one row, which each match rewrites: 0.3 MB
STALE_INTERVALS = 2  # expected intervals without an import: one may be late, two were missed
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
    """A policy that the recipes allow; without a disposition it asks for REVIEW, or ALLOW where it is benign.

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
    _at_most(given.rollout_permille, WHOLE, "rollout_permille")
    _at_most(given.refresh_seconds, MAX_REFRESH_SECONDS, "refresh_seconds")
    _at_most(given.collision_uploaders, MAX_COLLISION_UPLOADERS, "collision_uploaders")
    _scopes(given.surfaces, "surfaces")
    _scopes(given.regions, "regions")
    if text(given.rollout_seed, "policy.rollout_seed", limit=MAX_SCOPE_CHARS) != given.rollout_seed:
        raise Malformed("white space at an end, or more than one in a row", field="policy.rollout_seed")
    if given.benign and given.disposition not in (common_pb2.DISPOSITION_UNSPECIFIED, common_pb2.DISPOSITION_ALLOW):
        raise Malformed("a list of known-benign media asks for nothing but ALLOW", field="policy.disposition")
    return convert.policy_to_wire(convert.policy_from_wire(given))


def stale(refresh_seconds: int, refreshed_at: datetime | None, now: datetime) -> bool:
    """Whether a list's last import was activated longer ago than STALE_INTERVALS of what its policy expects.

    Never where nothing is expected, nor where nothing was ever imported: such a list is kept by hand.
    """
    if not refresh_seconds or refreshed_at is None:
        return False
    return now - refreshed_at > STALE_INTERVALS * timedelta(seconds=refresh_seconds)


def _at_most(number: int, most: int, name: str) -> None:
    if number > most:
        raise Malformed(f"{number}, want 0..{most}", field=f"policy.{name}")


def _scopes(given: Iterable[str], name: str) -> None:
    """Refuses what no submission would be compared equal to: mended in silence, the list would be for nobody."""
    scopes = tuple(given)
    if len(scopes) > MAX_SCOPES:
        raise Malformed(f"{len(scopes)} {name}, at most {MAX_SCOPES}", field=f"policy.{name}")
    for i, scope in enumerate(scopes):
        field = f"policy.{name}[{i}]"
        if text(scope, field, limit=MAX_SCOPE_CHARS, required=True) != scope:
            raise Malformed("white space at an end, or more than one in a row", field=field)
