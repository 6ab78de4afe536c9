"""Where the base of a list comes from, and which snapshots would be of use.

A small list is read from the store at every start; a larger one is mapped from its newest snapshot on the same base.
Where there is none the list waits for one, and says so as a `Wanted`.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from hashmatch.errors import Corrupt
from hashmatch.index import hamming, snapshot
from hashmatch.index.base import Base
from hashmatch.index.followed import Store, View
from hashmatch.index.generation import Segment
from hashmatch.index.recipe import Recipe
from hashmatch.index.wanted import Wanted, built, entries, fits, identity, searched, snapshot_versions
from hashmatch.v1.store_pb2 import ListRecord, VersionRecord

SMALL = (
    50_000  # entries of a list that is read at every start, in a twentieth of a second, instead of kept as snapshots
)
FOLD_ROWS = 16_384  # of a delta: from here on a new base is wanted; until it is there a search costs some 20 µs more

trace = logging.getLogger(__name__)


class Bases:
    """Finds bases. Holds nothing, so any thread may use it."""

    def __init__(self, store: Store, recipes: Mapping[str, Recipe], snapshots: Path, small: int) -> None:
        self._store, self._recipes, self._snapshots, self._small = store, recipes, snapshots, small

    def newest(
        self, view: View, record: ListRecord, version: VersionRecord
    ) -> tuple[VersionRecord, dict[str, Base]] | None:
        """The newest bases, by hash type, that a version's changes can be laid over, and the version that they are of.

        None where one is missing.

        Raises:
            Corrupt: the store is damaged.
            BadConfig: a recipe is about values of another length than were imported.
        """
        if entries(version) <= self._small:
            return view.base_version(record.list_number, version), self._read(record, version)
        for candidate in self._candidates(view, record, version):
            mapped = self._map(record, candidate)
            if mapped is not None:
                return candidate, mapped
        return None

    def _read(self, record: ListRecord, version: VersionRecord) -> dict[str, Base]:
        """The bases of a small list, from the store, once every row of it was verified."""
        keys: dict[str, list[bytes]] = {}
        for hash_type, some in self._store.base_keys(record.list_number, version):
            fits(self._recipes.get(hash_type), record, some)
            keys.setdefault(hash_type, []).extend(some)
        return {name: Base.of_rows(hamming.pack(b"".join(of_type), len(of_type[0]))) for name, of_type in keys.items()}

    def _candidates(self, view: View, record: ListRecord, version: VersionRecord) -> Iterator[VersionRecord]:
        """Versions on the same base that have snapshots, the newest first."""
        for number in snapshot_versions(self._snapshots, record.list_number):
            if 0 < number <= record.last_version:
                candidate = view.version(record.list_number, number)
                if candidate.base == version.base:
                    yield candidate

    def _map(self, record: ListRecord, version: VersionRecord) -> dict[str, Base] | None:
        """The mapped snapshots of a version, one per hash type; None where one is missing or damaged."""
        bases = {}
        for recipe in searched(record, version, self._recipes).values():
            wanted = identity(record, version, recipe)
            try:
                base = snapshot.load(self._snapshots, wanted)
            except Corrupt as e:
                trace.error("a snapshot of list '%s' is not used and will be built again: %s", record.name, e)
                shutil.rmtree(snapshot.path_of(self._snapshots, wanted), ignore_errors=True)
                return None
            if base is None:
                return None
            bases[recipe.hash_type] = base
        return bases

    def urgent(self, view: View, record: ListRecord) -> Wanted:
        """The snapshots that a list waits for."""
        return _want(view, record, record.active_version, "cannot be searched before")

    def useful(self, view: View, record: ListRecord, segment: Segment) -> list[Wanted]:
        """Snapshots that would be of use: of what is active, where its deltas have grown; of what is staged."""
        found = []
        if entries(segment.version) > self._small and any(p.delta.size > FOLD_ROWS for p in segment.parts.values()):
            found.append(_want(view, record, segment.version.version, "is searched more slowly until"))
        for version in view.versions(record):
            if version.version <= record.active_version:
                break
            if not version.parent and not version.HasField("first_activated_at"):
                if entries(version) > self._small and not built(self._snapshots, record, version, self._recipes):
                    found.append(_want(view, record, version.version, "can be activated at once after"))
                break
        return found


def _want(view: View, record: ListRecord, number: int, effect: str) -> Wanted:
    count = entries(view.version(record.list_number, number))
    why = f"list '{record.name}' {effect} the snapshot of version {number} ({count} entries) is built"
    return Wanted(record.list_number, number, record.name, count, why)
