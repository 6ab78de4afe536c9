"""One immutable state of everything that is active, searched exactly. A search keeps the generation it began with.

Each hash type of a list is a part: a base, which is an immutable snapshot, and the delta of what changed since.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from hashmatch import convert
from hashmatch.errors import Corrupt, NotFound
from hashmatch.index import hamming
from hashmatch.index.base import Base
from hashmatch.index.delta import Delta
from hashmatch.index.recipe import Recipe
from hashmatch.types import Bits, Candidate, Fingerprint, Hashed, ListState, Revision, Suppression
from hashmatch.v1.store_pb2 import EntryRecord, VersionRecord

MAX_MATCHES = 256  # of one list in one answer: a person looks at the nearest few; the rest is counted
MAX_NAMED = 1024  # looked at for them, where suppressed and expiring entries are among the nearest


class Entries(Protocol):
    """Where entries lie; versions never change, so any moment's view answers for any generation."""

    def entry(self, list_number: int, version: VersionRecord, hash_type: str, key: bytes) -> EntryRecord | None:
        """The entry under exactly this key, or None. Raises Corrupt where its row is damaged."""


class Hit(NamedTuple):
    """A listed key and the query nearest to it."""

    query: Hashed
    listed: Fingerprint
    distance: int


Pairs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
"""Query numbers, row numbers, distances."""


@dataclass(frozen=True, slots=True)
class Part:
    """One hash type of one list at one version: a base, and what changed since the version that the base is of."""

    recipe: Recipe
    base: Base
    base_version: VersionRecord
    delta: Delta

    def __len__(self) -> int:
        return len(self.base) - len(self.delta.hidden) + self.delta.added

    def nearest(self, asked: Sequence[Hashed], threshold: int, most: int) -> tuple[list[Hit], int]:
        """Of the listed keys within `threshold` bits of a query the `most` nearest, and how many there are in all.

        Each comes once, with the query nearest to it. Where the hash type has no distance that is equality.
        """
        queries = hamming.pack(b"".join(self.recipe.key(q.fingerprint.value) for q in asked), self.base.width)
        hits, total = self._chosen(asked, self.base.rows, _once(self._in_base(queries, threshold)), most)
        if len(self.delta.rows):
            radius = threshold if self.recipe.distance == "hamming" else 0
            found = _once(self.delta.within(queries, radius))
            more, number = self._chosen(asked, self.delta.rows, found, most)
            hits, total = hits + more, total + number
        return hits, total

    def _in_base(self, queries: NDArray[np.uint8], threshold: int) -> Pairs:
        if self.recipe.distance == "hamming":
            query, row, distance = self.base.within(queries, threshold)
        else:
            rows = self.base.find_many(queries)
            query = np.flatnonzero(rows >= 0)
            row, distance = rows[query], np.zeros(len(query), np.int64)
        if self.delta.hidden and len(row):
            shown = ~np.isin(row, list(self.delta.hidden))
            query, row, distance = query[shown], row[shown], distance[shown]
        return query, row, distance

    def _chosen(
        self, asked: Sequence[Hashed], rows: NDArray[np.uint8], found: Pairs, most: int
    ) -> tuple[list[Hit], int]:
        query, row, distance = found
        total = len(row)
        if total > most:
            nearest = np.argpartition(distance << 32 | row, most)[:most]
            query, row, distance = query[nearest], row[nearest], distance[nearest]
        hash_type = self.recipe.hash_type
        return [
            Hit(asked[q], Fingerprint(hash_type, rows[r].tobytes()), d)
            for q, r, d in zip(query.tolist(), row.tolist(), distance.tolist(), strict=True)
        ], total


def _once(found: Pairs) -> Pairs:
    """Each row once, with the query nearest to it, the first of equally near ones."""
    query, row, distance = found
    if len(row) < 2 or (query[0] == query).all():
        return found
    order = np.lexsort((query, distance, row))
    row = row[order]
    first = order[np.concatenate(([True], row[1:] != row[:-1]))]
    return query[first], found[1][first], distance[first]


@dataclass(frozen=True, slots=True)
class Segment:
    """One active list: its parts by hash type, canary included."""

    state: ListState
    number: int
    version: VersionRecord
    parts: Mapping[str, Part]
    canary: Mapping[str, bytes]  # key per hash type
    canary_media: bytes  # the picture that has those values

    def search(
        self, hash_type: str, asked: Sequence[Hashed], most: int, threshold: int | None = None
    ) -> tuple[list[Hit], int]:
        """Of the listed keys within a threshold of a query the `most` nearest, and how many there are in all.

        Each comes once, with the query nearest to it. The canary is not found. Without a threshold it is the list's.
        """
        part = self.parts.get(hash_type)
        if part is None:
            return [], 0
        own = self.state.thresholds.get(hash_type, 0)
        hits, total = part.nearest(asked, own if threshold is None else threshold, most)
        listed = [hit for hit in hits if not self._is_canary(hit.listed)]
        return listed, total - (len(hits) - len(listed))

    def finds_canary(self, asked: Hashed, tolerance: int) -> bool:
        """Whether this list's canary is found by its own fingerprint, at most `tolerance` bits away."""
        part = self.parts.get(asked.fingerprint.hash_type)
        return part is not None and any(self._is_canary(hit.listed) for hit in part.nearest([asked], tolerance, 1)[0])

    def _is_canary(self, listed: Fingerprint) -> bool:
        return self.canary.get(listed.hash_type) == listed.value

    def record(self, fingerprint: Fingerprint, entries: Entries) -> EntryRecord:
        """The entry of a key that `search` found.

        Raises:
            Corrupt: it is not in the store, or damaged there.
        """
        record = entries.entry(self.number, self.version, fingerprint.hash_type, fingerprint.value)
        if record is None:
            raise Corrupt(
                f"an entry of list '{self.state.name}' is searched and not in the store; run `hashmatch check`"
            )
        return record


@dataclass(frozen=True, slots=True)
class Generation:
    """Everything that is active at one revision."""

    revision: Revision
    segments: Mapping[str, Segment]  # by list name
    entries: Entries
    name_entry: Callable[[str, Fingerprint], str]  # (list, keyed fingerprint) → entry id
    suppressions: Mapping[tuple[str, str], Suppression] = field(default_factory=dict)  # by list and entry id

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

        Entries that may not count, since they are suppressed or expire, come on top of those, at most MAX_NAMED in all.
        Every entry within its list's threshold of a fingerprint asked for is counted, once, by the query nearest to it.
        A variant of the query is searched only in lists whose policy asks for that variant. Canaries are not found.
        """
        candidates, total = [], 0
        for segment in scope:
            hits, number = self._hits(asked, segment)
            total += number
            # To name an entry is a look-up and a keyed digest: thousands of near-duplicates must not hold others up.
            left = MAX_MATCHES
            for hit in heapq.nsmallest(MAX_NAMED, hits, key=lambda hit: (hit.distance, hit.listed.value)):
                candidate = self._candidate(segment, hit)
                candidates.append(candidate)
                suppressed = (candidate.list, candidate.entry_id) in self.suppressions
                left -= not suppressed and candidate.expires_at is None
                if not left:
                    break
        return candidates, total

    def finds_canary(self, asked: Sequence[Hashed], segment: Segment, tolerance: int) -> frozenset[str]:
        """The hash types under which a list's canary is found, at most `tolerance` bits away."""
        plain = (query for query in asked if not query.variant)
        return frozenset(query.fingerprint.hash_type for query in plain if segment.finds_canary(query, tolerance))

    def _hits(self, asked: Sequence[Hashed], segment: Segment) -> tuple[list[Hit], int]:
        by_type: dict[str, list[Hashed]] = {}
        for query in asked:
            if query.variant in segment.state.accepts:
                by_type.setdefault(query.fingerprint.hash_type, []).append(query)
        hits, total = [], 0
        for hash_type, queries in by_type.items():
            found, number = segment.search(hash_type, queries, MAX_NAMED + 1)  # the canary may be one of them
            hits += found
            total += number
        return hits, total

    def _candidate(self, segment: Segment, hit: Hit) -> Candidate:
        record = segment.record(hit.listed, self.entries)
        return Candidate(
            list=segment.state.name,
            entry_id=self.name_entry(segment.state.name, hit.listed),
            label=record.label,
            hash_type=hit.listed.hash_type,
            distance=Bits(hit.distance),
            variant=hit.query.variant,
            frame_ms=hit.query.frame_ms,
            expires_at=convert.moment(record.expires_at) if record.HasField("expires_at") else None,
        )
