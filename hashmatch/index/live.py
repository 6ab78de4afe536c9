"""The generation now served, and how it follows the store.

A refresh looks at one number (what LMDB committed last, 1 µs); only when that moved does it open a view. A list that
did not change is taken over as it is. One that did, on the same base, costs what its changes cost: they go into the
delta. One on another base needs that base: read from the store where it is small, else mapped from its snapshot; where
there is no snapshot it is named in `wanted`, and the list is served as it was until somebody has built it. So one
list's building never holds up another's changes, and the swap is one reference: searches in flight keep the generation
they have.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from pathlib import Path

from hashmatch import convert
from hashmatch.errors import Corrupt
from hashmatch.index import hamming, snapshot
from hashmatch.index.base import Base
from hashmatch.index.delta import Change, Delta
from hashmatch.index.followed import Store, View
from hashmatch.index.generation import Generation, Part, Segment
from hashmatch.index.recipe import Recipe, opaque
from hashmatch.index.wanted import Wanted, entries, fits, identity, snapshot_versions
from hashmatch.types import Fingerprint, ListState, Revision, Suppression
from hashmatch.v1.store_pb2 import ListRecord, VersionRecord

SMALL = (
    50_000  # entries of a list that is read at every start, in a twentieth of a second, instead of kept as snapshots
)
FOLD_ROWS = 16_384  # of a delta: from here on a new base is wanted; until it is there a search costs some 20 µs more

trace = logging.getLogger(__name__)


class LiveIndex:
    """Serves the newest generation. `refresh` is for one thread at a time; `generation` may be read by any."""

    def __init__(
        self,
        store: Store,
        *,
        recipes: Mapping[str, Recipe],
        snapshots: Path,
        state_of: Callable[[ListRecord, VersionRecord], ListState],
        name_entry: Callable[[str, Fingerprint], str],
        small: int = SMALL,
    ) -> None:
        """Begins with nothing loaded: refresh, and publish what comes.

        Args:
            recipes: of every hash type; those switched off are not searched.
            snapshots: the directory of built bases.
            state_of: what a stored list means under the recipes in force.
            name_entry: entry id of a keyed fingerprint in a list.
            small: entries up to which a list is read from the store instead.
        """
        self._store = store
        self.recipes = recipes
        self._snapshots = snapshots
        self._state_of = state_of
        self._name_entry = name_entry
        self._small = small
        self._mark: int | None = None  # at the last refresh
        self._loaded: Revision | None = None  # by the last refresh
        self._whole: Revision | None = None  # the last revision that every list was at
        self._segments: dict[str, tuple[int, Segment]] = {}  # newest of each list, published or not, and its revision
        self._waiting: set[str] = set()  # lists that are served as they were until something is built
        self._refold: set[int] = set()  # numbers of lists for which a newer snapshot was built
        self.wanted: tuple[Wanted, ...] = ()  # what is to be built, the most urgent first
        self.generation: Generation | None = None

    def stale(self) -> bool:
        """Whether anything was committed or built since the last refresh. About 1 µs."""
        return bool(self._refold) or self._store.mark() != self._mark

    def built(self, list_number: int) -> None:
        """Tells that snapshots of a list are there now, or were given up on."""
        self._refold = self._refold | {list_number}

    def waiting(self) -> str:
        """In words, what a first generation waits for; "" where it waits for nothing."""
        return "; ".join(one.why for one in self.wanted if one.name in self._waiting)

    def refresh(self) -> Generation | None:
        """The generation of what is committed now, where that is not the last one returned; `publish` it to serve it.

        While a list waits for its base the revision stays at the last one that all lists were at. None also where there
        never was such a one.

        Raises:
            Corrupt: the store holds something else than what was written; what is served stays.
        """
        mark, refold = self._store.mark(), self._refold
        if mark == self._mark and not refold:
            return None
        with self._store.view() as view:
            changed = self._loaded is None or view.revision != self._loaded or bool(refold)
            generation = self._load(view, refold) if changed else None
            self._loaded = view.revision
        self._mark = mark
        self._refold = self._refold - refold
        return generation

    def publish(self, generation: Generation) -> None:
        """Serves `generation` from the next search on."""
        self.generation = generation

    def _load(self, view: View, refold: set[int]) -> Generation | None:
        records = [record for record in view.lists() if record.active_version]
        segments: dict[str, tuple[int, Segment]] = {}
        urgent: list[Wanted] = []
        folds: list[Wanted] = []
        self._waiting = set()
        for record in records:
            old = self._segments.get(record.name)
            if old is not None and old[0] == record.revision and record.list_number not in refold:
                segments[record.name] = old
            else:
                segment = self._segment(view, record, old[1] if old else None, record.list_number in refold)
                if segment is not None:
                    segments[record.name] = record.revision, segment
                else:
                    self._waiting.add(record.name)
                    urgent.append(self._want(view, record, record.active_version, "cannot be searched before"))
                    if old is not None:
                        segments[record.name] = old
            if record.name not in self._waiting:
                folds += self._folds(view, record, segments[record.name][1])
        self.wanted = (*urgent, *folds)
        self._segments = segments
        if not self._waiting:
            self._whole = view.revision
        if self._whole is None:
            return None
        suppressions = {
            (one.list, one.entry_id): convert.suppression_from_wire(one)
            for record in records
            for one in view.suppressions(record.list_number)
        }
        return self._generation(self._whole, suppressions)

    def _generation(self, revision: Revision, suppressions: Mapping[tuple[str, str], Suppression]) -> Generation:
        served = {name: segment for name, (_, segment) in self._segments.items()}
        return Generation(revision, served, self._store, self._name_entry, suppressions)

    # ── one list ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _segment(self, view: View, record: ListRecord, old: Segment | None, refold: bool) -> Segment | None:
        """A list as it is now; None where it waits for a base."""
        version = view.version(record.list_number, record.active_version)
        # What is served now goes on where both stand on one base, unless a newer snapshot is there to be taken up.
        parts = self._moved(view, record, old, version) if old and not refold else None
        if parts is None:
            parts = self._afresh(view, record, version)
            if parts is None and old is not None:
                parts = self._moved(view, record, old, version)
        if parts is None:
            return None
        return self._made(record, version, parts)

    def segment(self, record: ListRecord, version: VersionRecord) -> Segment | None:
        """Any version of a list, to be searched beside what is served; None where its snapshots are to be built first.

        May be called beside `refresh`, by any thread.
        """
        with self._store.view() as view:
            parts = self._afresh(view, record, version)
        return None if parts is None else self._made(record, version, parts)

    def _made(self, record: ListRecord, version: VersionRecord, parts: Mapping[str, Part]) -> Segment:
        for hash_type, part in parts.items():
            listed = version.entries.get(hash_type, 0) + (hash_type in record.canary_fingerprints)
            if len(part) != listed:
                raise Corrupt(
                    f"list '{record.name}' has {listed} entries of {hash_type} and {len(part)} could be searched; "
                    "stop, and restore the state directory from a backup"
                )
        return Segment(
            state=self._state_of(record, version),
            number=record.list_number,
            version=version,
            parts=parts,
            canary=dict(record.canary_fingerprints),
            canary_media=record.canary_media,
        )

    def _searched(self, record: ListRecord, version: VersionRecord) -> list[Recipe]:
        """The recipes of what a version has and what is switched on."""
        names = sorted({*version.entries, *record.canary_fingerprints})
        known = [self.recipes.get(name) or opaque(name) for name in names]
        return [recipe for recipe in known if recipe.enabled]

    def _moved(self, view: View, record: ListRecord, old: Segment, version: VersionRecord) -> dict[str, Part] | None:
        """The parts of what is served, moved to another version; None where that has another base."""
        if old.version.base != version.base or old.number != record.list_number:
            return None
        changes = _changes(view, record, old.version, version)
        return self._laid_over(
            record, version, {t: (p.base, p.base_version, p.delta) for t, p in old.parts.items()}, changes
        )

    def _laid_over(
        self,
        record: ListRecord,
        version: VersionRecord,
        bases: Mapping[str, tuple[Base, VersionRecord, Delta]],
        changes: Mapping[str, list[Change]],
    ) -> dict[str, Part]:
        parts = {}
        for recipe in self._searched(record, version):
            name = recipe.hash_type
            if name in bases:
                base, base_version, delta = bases[name]
            else:  # a hash type that came after the base
                base, base_version = Base.of_rows(hamming.pack(b"", recipe.key_bytes)), version
                delta = Delta.nothing(recipe.key_bytes)
            parts[name] = Part(recipe, base, base_version, delta.advanced(base, changes.get(name, ())))
        return parts

    def _afresh(self, view: View, record: ListRecord, version: VersionRecord) -> dict[str, Part] | None:
        """Parts on the newest bases that there are; None where one is missing."""
        if entries(version) <= self._small:
            base_version = view.base_version(record.list_number, version)
            return self._on(view, record, version, base_version, self._read(record, version))
        for base_version in self._candidates(view, record, version):
            mapped = self._map(record, base_version)
            if mapped is not None:
                return self._on(view, record, version, base_version, mapped)
        return None

    def _on(
        self,
        view: View,
        record: ListRecord,
        version: VersionRecord,
        base_version: VersionRecord,
        bases: dict[str, Base],
    ) -> dict[str, Part]:
        changes = _changes(view, record, base_version, version)
        fresh = {name: (base, base_version, Delta.nothing(base.width)) for name, base in bases.items()}
        return self._laid_over(record, version, fresh, changes)

    def _read(self, record: ListRecord, version: VersionRecord) -> dict[str, Base]:
        """The bases of a small list, from the store, once every row of it was verified."""
        keys: dict[str, list[bytes]] = {}
        for hash_type, some in self._store.base_keys(record.list_number, version):
            fits(self.recipes.get(hash_type), record, some)
            keys.setdefault(hash_type, []).extend(some)
        return {name: Base.of_rows(hamming.pack(b"".join(of_type), len(of_type[0]))) for name, of_type in keys.items()}

    # ── snapshots ───────────────────────────────────────────────────────────────────────────────────────────────────

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
        for recipe in self._searched(record, version):
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

    def _folds(self, view: View, record: ListRecord, segment: Segment) -> list[Wanted]:
        """Snapshots that would be of use: of what is active, where its deltas have grown; of what is staged."""
        found = []
        if entries(segment.version) > self._small and any(p.delta.size > FOLD_ROWS for p in segment.parts.values()):
            found.append(self._want(view, record, segment.version.version, "is searched more slowly until"))
        for version in view.versions(record):
            if version.version <= record.active_version:
                break
            if not version.parent and not version.HasField("first_activated_at"):
                if entries(version) > self._small and self._missing(record, version):
                    found.append(self._want(view, record, version.version, "can be activated at once after"))
                break
        return found

    def _missing(self, record: ListRecord, version: VersionRecord) -> bool:
        searched = self._searched(record, version)
        return any(not snapshot.path_of(self._snapshots, identity(record, version, r)).exists() for r in searched)

    def _want(self, view: View, record: ListRecord, number: int, effect: str) -> Wanted:
        count = entries(view.version(record.list_number, number))
        why = f"list '{record.name}' {effect} the snapshot of version {number} ({count} entries) is built"
        return Wanted(record.list_number, number, record.name, count, why)


def _changes(view: View, record: ListRecord, old: VersionRecord, new: VersionRecord) -> dict[str, list[Change]]:
    """What may differ between two versions on one base, by hash type."""
    edits = sorted(view.differing(record.list_number, old, new), key=lambda edit: edit.hash_type)
    return {
        hash_type: [Change(edit.key, edit.payload is not None) for edit in of_type]
        for hash_type, of_type in groupby(edits, key=lambda edit: edit.hash_type)
    }
