"""What a version of a list, or other thresholds, would have matched in the sample of recent traffic.

It asks the very code that answers submissions. Roll-out, scope, suppressions and benign lists are left aside: it tells
what the list would match before those. An item is what was judged once; copies count as often as they came.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from hashmatch import builder, convert
from hashmatch.errors import Malformed, Refused
from hashmatch.index.generation import Hit, Segment
from hashmatch.index.live import LiveIndex
from hashmatch.lists import versions
from hashmatch.lists.reader import ListReader
from hashmatch.store.lists import ListStore
from hashmatch.store.traffic import Traffic
from hashmatch.types import Fingerprint, Hashed
from hashmatch.v1 import lists_pb2
from hashmatch.v1.common_pb2 import Hashed as WireHashed
from hashmatch.v1.store_pb2 import ListRecord, TrafficRecord, VersionRecord

MAX_ENTRIES = 20  # told, those that match most items
MAX_HITS = 256  # entries of one list looked at per item, the nearest


@dataclass(slots=True)
class Tally:
    """What matched: items, their uploaders, where they came from."""

    items: int = 0
    uploaders: set[str] = field(default_factory=set)
    surfaces: Counter[str] = field(default_factory=Counter)

    def count(self, item: TrafficRecord) -> None:
        self.items += 1
        if item.subject.uploader_id:
            self.uploaders.add(item.subject.uploader_id)
        self.surfaces[item.subject.surface] += 1

    def told(self) -> lists_pb2.Reach:
        return lists_pb2.Reach(items=self.items, uploaders=len(self.uploaders), surfaces=self.surfaces)


def hashed(item: TrafficRecord) -> list[Hashed]:
    """The fingerprints of a sampled item."""
    return [_hashed(row) for row in item.hashed if not row.unhashable]


def _hashed(row: WireHashed) -> Hashed:
    quality = row.fingerprint.quality if row.fingerprint.HasField("quality") else None
    return Hashed(Fingerprint(row.hash_type, row.fingerprint.value), quality, row.variant, row.frame_ms)


def hits(segment: Segment, asked: Iterable[Hashed], thresholds: Mapping[str, int] | None = None) -> Iterator[Hit]:
    """The entries of a list that an item matches, within the list's thresholds or within those given."""
    by_type: dict[str, list[Hashed]] = defaultdict(list)
    for one in asked:
        if one.variant in segment.state.accepts and one.fingerprint.hash_type in segment.parts:
            by_type[one.fingerprint.hash_type].append(one)
    for hash_type, of_type in by_type.items():
        yield from segment.search(hash_type, of_type, MAX_HITS, (thresholds or {}).get(hash_type))[0]


def segment_of(store: ListStore, live: LiveIndex, record: ListRecord, version: VersionRecord) -> Segment:
    """A version of a list, to be searched; its snapshots are built where they are missing.

    Raises:
        StoreFull, StoreFailed, Corrupt: they cannot be.
    """
    found = live.segment(record, version)
    if found is None:
        builder.build(store, live.recipes, record.list_number, version.version)
        found = live.segment(record, version)
    if found is None:
        raise Refused(f"version {version.version} of '{record.name}' cannot be searched yet; try again")
    return found


def preflight(
    lists: ListReader, store: ListStore, live: LiveIndex, traffic: Traffic, asked: lists_pb2.PreflightListRequest
) -> lists_pb2.PreflightListResponse:
    """What a version would have matched, beside what the active one matches already.

    Raises:
        NotFound: no such list or version.
        Malformed: a threshold over its recipe's ceiling, or of a type without a distance; names the field.
        Refused: nothing is staged or active.
    """
    for hash_type, bits in asked.thresholds.items():
        recipe = live.recipes.get(hash_type)
        if recipe is None or recipe.distance != "hamming" or bits > recipe.ceiling:
            most = f"want 0..{recipe.ceiling}" if recipe else "there is no such hash type"
            raise Malformed(f"{bits} bits, {most}", field=f"thresholds[{hash_type[:32]}]")
    with store.view() as view:
        record = view.list(asked.name)
        number = asked.version or (record.active_version if asked.thresholds else 0)
        version = view.version(record.list_number, number) if number else versions.newest_staged(view, record)
        now = view.version(record.list_number, record.active_version) if record.active_version else None
    would = segment_of(store, live, record, version)
    already = segment_of(store, live, record, now) if now is not None else None
    return _asked(lists, store, would, already, dict(asked.thresholds), traffic)


def _asked(
    lists: ListReader,
    store: ListStore,
    would: Segment,
    already: Segment | None,
    thresholds: Mapping[str, int],
    traffic: Traffic,
) -> lists_pb2.PreflightListResponse:
    answer = lists_pb2.PreflightListResponse(version=would.version.version)
    newly, before = Tally(), Tally()
    entries: dict[Fingerprint, Tally] = defaultdict(Tally)
    nearest: dict[Fingerprint, int] = {}
    for _, item in traffic.items():
        answer.items += 1
        at = convert.moment(item.at)
        if not answer.HasField("oldest") or at < convert.moment(answer.oldest):
            answer.oldest.CopyFrom(item.at)
        if not answer.HasField("newest") or at > convert.moment(answer.newest):
            answer.newest.CopyFrom(item.at)
        fingerprints = hashed(item)
        found = list(hits(would, fingerprints, thresholds))
        if found:
            newly.count(item)
        for hit in found:
            entries[hit.listed].count(item)
            nearest[hit.listed] = min(hit.distance, nearest.get(hit.listed, hit.distance))
        if already is not None and next(hits(already, fingerprints), None) is not None:
            before.count(item)
    answer.would.CopyFrom(newly.told())
    answer.already.CopyFrom(before.told())
    most = sorted(entries, key=lambda key: (-entries[key].items, key.hash_type, key.value))[:MAX_ENTRIES]
    for key in most:
        answer.entries.add(
            entry_id=lists.entry_ids(would.state.name, key),
            label=would.record(key, store).label,
            hash_type=key.hash_type,
            items=entries[key].items,
            uploaders=len(entries[key].uploaders),
            nearest=nearest[key],
        )
    return answer
