"""Which snapshots there are to be, and of what each is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hashmatch.errors import BadConfig
from hashmatch.index import snapshot
from hashmatch.index.recipe import Recipe, opaque
from hashmatch.v1.store_pb2 import ListRecord, VersionRecord


@dataclass(frozen=True, slots=True)
class Wanted:
    """A version whose snapshots are to be built, and what for."""

    list_number: int
    version: int
    name: str  # of the list
    entries: int
    why: str


def searched(record: ListRecord, version: VersionRecord, recipes: Mapping[str, Recipe]) -> dict[str, Recipe]:
    """By hash type, the recipes of what a version has and what is switched on."""
    names = {*version.entries, *record.canary_fingerprints}
    known = {name: recipes.get(name) or opaque(name) for name in sorted(names)}
    return {name: recipe for name, recipe in known.items() if recipe.enabled}


def identity(record: ListRecord, version: VersionRecord, recipe: Recipe) -> snapshot.Identity:
    """What a snapshot of one hash type of one version is of; the canary counts."""
    return snapshot.Identity(
        list_number=record.list_number,
        version=version.version,
        hash_type=recipe.hash_type,
        root_digest=(version.edits_digest or version.root_digest).hex(),
        recipe_digest=recipe.digest.hex(),
        count=version.entries.get(recipe.hash_type, 0) + (recipe.hash_type in record.canary_fingerprints),
    )


def snapshot_versions(snapshots: Path, list_number: int) -> list[int]:
    """The versions of a list that have snapshots, whatever they are worth, the newest first."""
    found = (path.name.split("-")[1] for path in snapshots.glob(f"{list_number}-*-*"))
    return sorted({int(number) for number in found if number.isdigit()}, reverse=True)


def built(snapshots: Path, record: ListRecord, version: VersionRecord, recipes: Mapping[str, Recipe]) -> bool:
    """Whether every snapshot of a version is there, whatever it is worth."""
    needed = searched(record, version, recipes).values()
    return all(snapshot.path_of(snapshots, identity(record, version, recipe)).exists() for recipe in needed)


def entries(version: VersionRecord) -> int:
    return sum(version.entries.values())


def fits(recipe: Recipe | None, record: ListRecord, keys: Sequence[bytes]) -> None:
    """Lets keys of a list pass that are what a recipe says of their hash type; all have one length.

    Raises:
        BadConfig: the recipe is about values of another length than were imported.
    """
    if recipe is not None and keys and len(keys[0]) != recipe.key_bytes:
        raise BadConfig(
            f"the recipe of {recipe.hash_type} is about values of {recipe.value_bytes or 'any number of'} bytes, and "
            f"list '{record.name}' was imported under another one: export it, and import it again under this"
        )
