"""The generation now served, and how it follows the store.

A refresh looks at one number (what LMDB committed last, 1 µs); only when that moved does it open a view. A list that
did not change is taken over as it is. One that did, on the same base, costs what its changes cost: they go into the
delta. One on another base needs that base (`bases.py`); where there is no snapshot of it, it is named in `wanted`, and
the list is served as it was until somebody has built it. So one list's building never holds up another's changes, and
the swap is one reference: searches in flight keep the generation they have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import groupby
from pathlib import Path

from hashmatch import convert
from hashmatch.errors import Corrupt
from hashmatch.index import hamming
from hashmatch.index.base import Base
from hashmatch.index.bases import SMALL, Bases
from hashmatch.index.delta import Change, Delta
from hashmatch.index.followed import Store, View
from hashmatch.index.generation import Generation, Part, Segment
from hashmatch.index.recipe import Recipe
from hashmatch.index.wanted import Wanted, searched
from hashmatch.types import Fingerprint, ListState, Revision, Suppression
from hashmatch.v1.store_pb2 import ListRecord, VersionRecord


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
        self._bases = Bases(store, recipes, snapshots, small)
        self._state_of = state_of
        self._name_entry = name_entry
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
        useful: list[Wanted] = []
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
                    urgent.append(self._bases.urgent(view, record))
                    if old is not None:
                        segments[record.name] = old
            if record.name not in self._waiting:
                useful += self._bases.useful(view, record, segments[record.name][1])
        self.wanted = (*urgent, *useful)
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
        for name, recipe in searched(record, version, self.recipes).items():
            if name in bases:
                base, base_version, delta = bases[name]
            else:  # a hash type that came after the base
                base, base_version = Base.of_rows(hamming.pack(b"", recipe.key_bytes)), version
                delta = Delta.nothing(recipe.key_bytes)
            parts[name] = Part(recipe, base, base_version, delta.advanced(base, changes.get(name, ())))
        return parts

    def _afresh(self, view: View, record: ListRecord, version: VersionRecord) -> dict[str, Part] | None:
        """Parts on the newest bases that there are; None where one is missing."""
        found = self._bases.newest(view, record, version)
        if found is None:
            return None
        base_version, bases = found
        changes = _changes(view, record, base_version, version)
        fresh = {name: (base, base_version, Delta.nothing(base.width)) for name, base in bases.items()}
        return self._laid_over(record, version, fresh, changes)


def _changes(view: View, record: ListRecord, old: VersionRecord, new: VersionRecord) -> dict[str, list[Change]]:
    """What may differ between two versions on one base, by hash type."""
    edits = sorted(view.differing(record.list_number, old, new), key=lambda edit: edit.hash_type)
    return {
        hash_type: [Change(edit.key, edit.payload is not None) for edit in of_type]
        for hash_type, of_type in groupby(edits, key=lambda edit: edit.hash_type)
    }
