"""One immutable state of everything that is active, searched exactly. A search keeps the generation it began with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hashmatch.errors import NotFound
from hashmatch.index import hamming
from hashmatch.types import Bits, Candidate, Fingerprint, Hashed, ListState, Revision
from hashmatch.v1.store_pb2 import EntryRecord


class Entries(Protocol):
    """Where entries lie; rows of a base never change, so any moment's view answers for any generation."""

    def entry(self, list_number: int, base: int, hash_type: str, value: bytes) -> EntryRecord | None:
        """The entry under exactly this value, or None. Raises Corrupt where its row is damaged."""


@dataclass(frozen=True, slots=True)
class Overlay:
    """Single edits on top of a base: values they touch are hidden below, and those still listed stand here."""

    hidden: frozenset[Fingerprint] = frozenset()
    listed: Mapping[Fingerprint, EntryRecord] = field(default_factory=dict)
    rows: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)  # of `listed`, per Hamming type, in order


@dataclass(frozen=True, slots=True)
class Segment:
    """One active list: the packed rows of its base per Hamming type (canary included), and the edits on top."""

    state: ListState
    number: int
    base: int
    rows: Mapping[str, NDArray[np.uint8]]
    overlay: Overlay
    canary: Mapping[str, bytes]  # value per hash type
    canary_media: bytes  # the picture that has those values

    def search(
        self, hash_type: str, asked: Sequence[Hashed], entries: Entries, at_least: int = 0
    ) -> list[tuple[Hashed, bytes, int]]:
        """Every listed value within this list's threshold (or `at_least` bits), as (query, value, distance).

        Exact digests are looked up by equality.
        """
        threshold = max(self.state.thresholds[hash_type], at_least)
        if hash_type not in self.rows:
            return [(q, q.fingerprint.value, 0) for q in asked if self._lists_exactly(q.fingerprint, entries)]
        queries = hamming.pack(b"".join(q.fingerprint.value for q in asked), self.rows[hash_type].shape[1])
        found = []
        for rows, is_base in ((self.rows[hash_type], True), (self.overlay.rows.get(hash_type), False)):
            if rows is None:
                continue
            for query, row, distance in hamming.within(queries, rows, threshold):
                value = rows[row].tobytes()
                if not (is_base and Fingerprint(hash_type, value) in self.overlay.hidden):
                    found.append((asked[query], value, distance))
        return found

    def _lists_exactly(self, fingerprint: Fingerprint, entries: Entries) -> bool:
        if fingerprint in self.overlay.hidden:
            return fingerprint in self.overlay.listed
        return entries.entry(self.number, self.base, fingerprint.hash_type, fingerprint.value) is not None

    def record(self, fingerprint: Fingerprint, entries: Entries) -> EntryRecord:
        """The entry of a value that `search` found."""
        record = self.overlay.listed.get(fingerprint) or entries.entry(
            self.number, self.base, fingerprint.hash_type, fingerprint.value
        )
        if record is None:
            raise NotFound("an entry that the index holds is not in the store")
        return record


@dataclass(frozen=True, slots=True)
class Generation:
    """Everything that is active at one revision."""

    revision: Revision
    segments: Mapping[str, Segment]  # by list name
    entries: Entries
    name_entry: Callable[[str, Fingerprint], str]  # (list, fingerprint) → entry id

    def scope(self, lists: Iterable[str]) -> tuple[Segment, ...]:
        """The active lists that a request asks for; none named: all.

        Raises:
            NotFound: a list that is not active here.
        """
        names = tuple(lists)
        for name in names:
            if name not in self.segments:
                raise NotFound(f"no active list is named '{name[:64]}'")
        return tuple(self.segments[name] for name in names) if names else tuple(self.segments.values())

    def search(self, asked: Sequence[Hashed], scope: Sequence[Segment]) -> list[Candidate]:
        """Every entry of the lists in scope within its list's threshold of a fingerprint asked for.

        A variant of the query is searched only in lists whose policy asks for that variant. Canaries are not found.
        """
        found = []
        for segment in scope:
            for query, value, distance in self._hits(asked, segment):
                listed = Fingerprint(query.fingerprint.hash_type, value)
                if segment.canary.get(listed.hash_type) == value:
                    continue
                found.append(self._candidate(segment, query, listed, distance))
        return found

    def finds_canary(self, asked: Sequence[Hashed], segment: Segment, tolerance: int) -> frozenset[str]:
        """The hash types under which a list's canary is found, at most `tolerance` bits away."""
        return frozenset(
            query.fingerprint.hash_type
            for query, value, distance in self._hits(asked, segment, at_least=tolerance)
            if segment.canary.get(query.fingerprint.hash_type) == value and distance <= tolerance
        )

    def _hits(
        self, asked: Sequence[Hashed], segment: Segment, at_least: int = 0
    ) -> Iterable[tuple[Hashed, bytes, int]]:
        by_type: dict[str, list[Hashed]] = {}
        for query in asked:
            if query.variant in segment.state.accepts:
                by_type.setdefault(query.fingerprint.hash_type, []).append(query)
        for hash_type, queries in by_type.items():
            if hash_type in segment.state.thresholds:
                yield from segment.search(hash_type, queries, self.entries, at_least)

    def _candidate(self, segment: Segment, query: Hashed, listed: Fingerprint, distance: int) -> Candidate:
        return Candidate(
            list=segment.state.name,
            entry_id=self.name_entry(segment.state.name, listed),
            label=segment.record(listed, self.entries).label,
            hash_type=listed.hash_type,
            distance=Bits(distance),
            variant=query.variant,
            frame_ms=query.frame_ms,
        )
