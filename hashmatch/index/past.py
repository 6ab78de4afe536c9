"""Any version of a list, to be searched: what is active now, and what was long ago.

Bases are read from the store, every row of them verified, and searched by comparing everything: a snapshot of what is
no longer active may be gone, and a replay that trusted one would repeat its error. Half a second to read a million
entries, kept while verdicts of the same base follow one another; a version that only edits it costs its edits.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from hashmatch.errors import Corrupt
from hashmatch.index import hamming
from hashmatch.index.base import Base
from hashmatch.index.delta import Change, Delta
from hashmatch.index.followed import Store, View
from hashmatch.index.generation import Part, Segment
from hashmatch.index.recipe import Recipe, opaque
from hashmatch.index.wanted import fits
from hashmatch.types import ListState
from hashmatch.v1.store_pb2 import ListRecord, VersionRecord

KEPT = 2  # of one list: what was active then, and what is now

T = TypeVar("T")


class Past:
    """Segments of any version. For one thread at a time."""

    def __init__(self, store: Store, recipes: Mapping[str, Recipe]) -> None:
        self._store, self._recipes = store, recipes
        self._bases: _Kept[Mapping[str, Base]] = _Kept()
        self._parts: _Kept[Mapping[str, Part]] = _Kept()

    def segment(self, view: View, record: ListRecord, version: VersionRecord, state: ListState) -> Segment:
        """A version of a list; of its hash types those that `state` has thresholds for.

        Raises:
            Corrupt: the store is damaged.
            BadConfig: a recipe is about values of another length than were imported.
        """
        parts = self._parts.of(record.list_number, version.version, lambda: self._made(view, record, version))
        return Segment(
            state=state,
            number=record.list_number,
            version=version,
            parts={name: part for name, part in parts.items() if name in state.thresholds},
            canary=dict(record.canary_fingerprints),
            canary_media=record.canary_media,
        )

    def _made(self, view: View, record: ListRecord, version: VersionRecord) -> dict[str, Part]:
        origin = view.base_version(record.list_number, version)
        bases = self._bases.of(record.list_number, version.base, lambda: self._read(record, version))
        changes: dict[str, list[Change]] = defaultdict(list)
        for edit in view.differing(record.list_number, origin, version):
            changes[edit.hash_type].append(Change(edit.key, edit.payload is not None))
        parts = {}
        for name in sorted({*version.entries, *record.canary_fingerprints}):
            recipe = self._recipes.get(name) or opaque(name)
            base = bases.get(name) or Base.of_rows(hamming.pack(b"", recipe.key_bytes))  # the type came after the base
            part = Part(recipe, base, origin, Delta.nothing(base.width).advanced(base, changes[name]))
            listed = version.entries.get(name, 0) + (name in record.canary_fingerprints)
            if len(part) != listed:
                raise Corrupt(
                    f"version {version.version} of list '{record.name}' has {listed} entries of {name} and {len(part)} "
                    "could be searched; stop, and restore the state directory from a backup"
                )
            parts[name] = part
        return parts

    def _read(self, record: ListRecord, version: VersionRecord) -> dict[str, Base]:
        keys: dict[str, bytearray] = defaultdict(bytearray)
        widths: dict[str, int] = {}
        for hash_type, some in self._store.base_keys(record.list_number, version):
            fits(self._recipes.get(hash_type), record, some)
            widths[hash_type] = len(some[0])
            keys[hash_type] += b"".join(some)
        return {name: Base.of_rows(hamming.pack(bytes(of_type), widths[name])) for name, of_type in keys.items()}


class _Kept(Generic[T]):
    """The last KEPT things made of each list, by number."""

    def __init__(self) -> None:
        self._of: dict[int, OrderedDict[int, T]] = defaultdict(OrderedDict)

    def of(self, list_number: int, number: int, make: Callable[[], T]) -> T:
        kept = self._of[list_number]
        if number not in kept:
            while len(kept) >= KEPT:
                kept.popitem(last=False)
            kept[number] = make()
        kept.move_to_end(number)
        return kept[number]
