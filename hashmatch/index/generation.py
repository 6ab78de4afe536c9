"""One immutable state of everything that is active, searched exactly. A search keeps the generation it began with."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from hashmatch.errors import NotFound
from hashmatch.index import hamming
from hashmatch.types import Bits, Candidate, Fingerprint, Hashed, ListState, Revision
from hashmatch.v1.store_pb2 import EntryRecord

MAX_MATCHES = 256  # of one list in one answer: a person looks at the nearest few; the rest is counted


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


class Hit(NamedTuple):
    """A listed value and the query nearest to it."""

    query: Hashed
    listed: Fingerprint
    distance: int


def nearest(hash_type: str, asked: Sequence[Hashed], rows: NDArray[np.uint8], threshold: int) -> list[Hit]:
    """Every row within `threshold` bits of a query, once, with the nearest query; in no order."""
    queries = hamming.pack(b"".join(q.fingerprint.value for q in asked), rows.shape[1])
    query, row, distance = hamming.within(queries, rows, threshold)
    if not len(row):
        return []
    order = np.lexsort((query, distance))
    _, first = np.unique(row[order], return_index=True)
    return [
        Hit(asked[query[i]], Fingerprint(hash_type, rows[row[i]].tobytes()), int(distance[i])) for i in order[first]
    ]


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

    def search(self, hash_type: str, asked: Sequence[Hashed], entries: Entries) -> list[Hit]:
        """Every listed value within this list's threshold of a query, once, with the query nearest to it.

        Exact digests are looked up by equality. The canary is not found.
        """
        if hash_type not in self.rows:
            hits = {q.fingerprint.value: Hit(q, q.fingerprint, 0) for q in asked if self._lists(q.fingerprint, entries)}
            return [hit for hit in hits.values() if not self._is_canary(hit.listed)]
        threshold = self.state.thresholds[hash_type]
        base = [
            hit
            for hit in nearest(hash_type, asked, self.rows[hash_type], threshold)
            if hit.listed not in self.overlay.hidden and not self._is_canary(hit.listed)
        ]
        edited = self.overlay.rows.get(hash_type)
        return base if edited is None else base + nearest(hash_type, asked, edited, threshold)

    def finds_canary(self, asked: Hashed, entries: Entries, tolerance: int) -> bool:
        """Whether this list's canary is found by its own fingerprint, at most `tolerance` bits away."""
        hash_type = asked.fingerprint.hash_type
        if hash_type not in self.rows:
            return self._is_canary(asked.fingerprint) and self._lists(asked.fingerprint, entries)
        return any(self._is_canary(hit.listed) for hit in nearest(hash_type, [asked], self.rows[hash_type], tolerance))

    def _is_canary(self, listed: Fingerprint) -> bool:
        return self.canary.get(listed.hash_type) == listed.value

    def _lists(self, fingerprint: Fingerprint, entries: Entries) -> bool:
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

    def search(self, asked: Sequence[Hashed], scope: Sequence[Segment]) -> tuple[list[Candidate], int]:
        """The nearest entries of each list in scope, at most MAX_MATCHES of each, and how many there are in all.

        Every entry within its list's threshold of a fingerprint asked for is counted, once, by the query nearest to it.
        A variant of the query is searched only in lists whose policy asks for that variant. Canaries are not found.
        """
        candidates, total = [], 0
        for segment in scope:
            hits = self._hits(asked, segment)
            total += len(hits)
            # To name an entry is a look-up and a keyed digest: thousands of near-duplicates must not hold others up.
            for hit in heapq.nsmallest(MAX_MATCHES, hits, key=lambda hit: (hit.distance, hit.listed.value)):
                candidates.append(self._candidate(segment, hit))
        return candidates, total

    def finds_canary(self, asked: Sequence[Hashed], segment: Segment, tolerance: int) -> frozenset[str]:
        """The hash types under which a list's canary is found, at most `tolerance` bits away."""
        plain = (query for query in asked if not query.variant)
        return frozenset(
            query.fingerprint.hash_type for query in plain if segment.finds_canary(query, self.entries, tolerance)
        )

    def _hits(self, asked: Sequence[Hashed], segment: Segment) -> list[Hit]:
        by_type: dict[str, list[Hashed]] = {}
        for query in asked:
            hash_type = query.fingerprint.hash_type
            if query.variant in segment.state.accepts and hash_type in segment.state.thresholds:
                by_type.setdefault(hash_type, []).append(query)
        return [hit for t, queries in by_type.items() for hit in segment.search(t, queries, self.entries)]

    def _candidate(self, segment: Segment, hit: Hit) -> Candidate:
        return Candidate(
            list=segment.state.name,
            entry_id=self.name_entry(segment.state.name, hit.listed),
            label=segment.record(hit.listed, self.entries).label,
            hash_type=hit.listed.hash_type,
            distance=Bits(hit.distance),
            variant=hit.query.variant,
            frame_ms=hit.query.frame_ms,
        )
