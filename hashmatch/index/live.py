"""The generation now served, and how it follows the store.

A refresh looks at one number (what LMDB committed last, 1 µs); only when that moved does it open a view. Bases never
change, so a base once verified and loaded is kept while any active list stands on it; a single edit costs a few
microseconds per edit already on its base. The swap is one reference: searches in flight keep the generation they have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hashmatch.index import hamming
from hashmatch.index.generation import Entries, Generation, Overlay, Segment
from hashmatch.types import Fingerprint, ListState, Revision
from hashmatch.v1.store_pb2 import EditRecord, ListRecord, VersionRecord


class View(Protocol):
    """One moment of the store."""

    @property
    def revision(self) -> Revision: ...

    def lists(self) -> list[ListRecord]: ...

    def version(self, list_number: int, version: int) -> VersionRecord: ...

    def edits(self, list_number: int, version: int) -> Sequence[EditRecord]:
        """The edits from the base up to this version, oldest first."""

    def verify_base(self, list_number: int, version: VersionRecord) -> Mapping[str, bytes]:
        """Packed values of every hash type, canary included, after checking every row. Raises Corrupt."""


class Store(Entries, Protocol):
    """What is followed."""

    def mark(self) -> int:
        """A number that changes whenever anything was committed."""

    def view(self) -> AbstractContextManager[View]: ...


Bases = Mapping[tuple[int, int], Mapping[str, NDArray[np.uint8]]]


class LiveIndex:
    """Serves the newest generation. `refresh` is for one thread at a time; `generation` may be read by any."""

    def __init__(
        self,
        store: Store,
        *,
        widths: Mapping[str, int],
        state_of: Callable[[ListRecord, VersionRecord], ListState],
        name_entry: Callable[[str, Fingerprint], str],
    ) -> None:
        """Begins with nothing loaded: refresh, and publish what comes.

        Args:
            widths: bytes per value of the Hamming types; every other type is looked up by equality.
            state_of: what a stored list means under the recipes in force.
            name_entry: entry id of a fingerprint in a list.
        """
        self._store = store
        self._widths = widths
        self._state_of = state_of
        self._name_entry = name_entry
        self._mark: int | None = None  # at the last refresh
        self._loaded: Revision | None = None  # by the last refresh
        self._bases: Bases = {}
        self.generation: Generation | None = None

    def stale(self) -> bool:
        """Whether anything was committed since the last refresh. About 1 µs."""
        return self._store.mark() != self._mark

    def refresh(self) -> Generation | None:
        """The generation of what is committed now, where that is not the last one returned; `publish` it to serve it.

        Raises:
            Corrupt: the store holds something else than what was written; what is served stays.
        """
        mark = self._store.mark()
        if mark == self._mark:
            return None
        with self._store.view() as view:
            changed = self._loaded is None or view.revision != self._loaded
            generation = self._load(view) if changed else None
            self._loaded = view.revision
        self._mark = mark
        return generation

    def publish(self, generation: Generation) -> None:
        """Serves `generation` from the next search on."""
        self.generation = generation
        self._bases = {(s.number, s.base): s.rows for s in generation.segments.values()}

    def _load(self, view: View) -> Generation:
        segments: dict[str, Segment] = {}
        for record in view.lists():
            if not record.active_version:
                continue
            version = view.version(record.list_number, record.active_version)
            key = (record.list_number, version.base)
            segments[record.name] = Segment(
                state=self._state_of(record, version),
                number=record.list_number,
                base=version.base,
                rows=self._bases[key] if key in self._bases else self._base(view, record, version),
                overlay=self._overlay(view.edits(record.list_number, version.version)),
                canary=dict(record.canary_fingerprints),
                canary_media=record.canary_media,
            )
        # Kept before it is published, so that one whose proof must wait is not loaded again.
        self._bases = {**self._bases, **{(s.number, s.base): s.rows for s in segments.values()}}
        return Generation(view.revision, segments, self._store, self._name_entry)

    def _base(self, view: View, record: ListRecord, version: VersionRecord) -> Mapping[str, NDArray[np.uint8]]:
        base = view.version(record.list_number, version.base)
        packed = view.verify_base(record.list_number, base)
        return {hash_type: hamming.pack(packed.get(hash_type, b""), width) for hash_type, width in self._widths.items()}

    def _overlay(self, edits: Sequence[EditRecord]) -> Overlay:
        last = {Fingerprint(edit.hash_type, edit.value): edit for edit in edits}
        listed = {fingerprint: edit.entry for fingerprint, edit in last.items() if edit.HasField("entry")}
        rows = {
            hash_type: hamming.pack(b"".join(f.value for f in listed if f.hash_type == hash_type), width)
            for hash_type, width in self._widths.items()
        }
        return Overlay(frozenset(last), listed, rows)
