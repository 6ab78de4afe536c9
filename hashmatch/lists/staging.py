"""An ingested file against a list: what it would change, and the staged version that it becomes.

A version that changes little is written as edits on the active one, so that a list of ten million entries takes a
thousand changes in a moment; one that changes much, or that would pile edits too high, is written whole, as a base of
its own. Which of the two it is changes nothing of what it holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from hashmatch import clock, convert
from hashmatch.lists import versions
from hashmatch.lists.contents import Contents, after_merge, after_replacement, aligned, merged
from hashmatch.lists.ingest import Ingested, Progress
from hashmatch.store.lists import Edit, ListStore, Row
from hashmatch.v1 import lists_pb2
from hashmatch.v1.store_pb2 import VersionRecord

EDITED_PERMILLE = 20  # of a list's entries: a version that changes more is written whole
FEW_EDITS = 1_000  # are always written as edits
PILED_PERMILLE = 250  # of a list's entries: edits along a lineage, from which on a version is written whole
SOUGHT_SHARE = 20  # a merge of less than this part of a list is looked up row by row, instead of reading the list


@dataclass(slots=True)
class Comparison:
    """What a file changes: in numbers, and as edits where these are few enough to be kept."""

    most: int  # edits kept
    diff: lists_pb2.Diff = field(default_factory=lists_pb2.Diff)
    edits: list[Edit] | None = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)  # entries afterwards

    def changes(self, edit: Edit) -> None:
        if self.edits is not None:
            self.edits.append(edit)
            if len(self.edits) > self.most:
                self.edits = None


def most_edits(active: Contents | None) -> int:
    """How many edits a version on this one may be written as; -1 where it must be whole."""
    if active is None:
        return -1
    entries = sum(active.version.entries.values())
    room = FEW_EDITS + entries * PILED_PERMILLE // 1000 - active.version.lineage_edits
    return max(-1, min(room, max(FEW_EDITS, entries * EDITED_PERMILLE // 1000)))


def compare(store: ListStore, old: Contents | None, new: Contents | None) -> lists_pb2.Diff:
    """What one version has against another; None holds nothing."""
    found = Comparison(most=-1)
    for hash_type in sorted({*(old.hash_types() if old else ()), *(new.hash_types() if new else ())}):
        before = old.all_rows(store, hash_type) if old else iter(())
        after = new.all_rows(store, hash_type) if new else iter(())
        _replace(found, hash_type, before, after)
    return found.diff


def against(
    store: ListStore, active: Contents | None, found: Ingested, *, merge: bool, progress: Progress | None
) -> Comparison:
    """What a file changes of what is active."""
    result = Comparison(most_edits(active))
    hash_types = sorted({*found.counts, *(active.hash_types() if active else ())})
    for number, hash_type in enumerate(hash_types):
        if progress is not None:
            progress("comparing", number, len(hash_types))
        before = active.version.entries.get(hash_type, 0) if active else 0
        given = found.counts.get(hash_type, 0)
        result.counts[hash_type] = given
        if merge and active is not None and before:
            result.counts[hash_type] = before + _merge(store, active, found, hash_type, result)
        elif active is None or not before:
            result.diff.added += given
            if result.most >= 0:
                for key, payload in found.rows(hash_type):
                    result.changes(Edit(hash_type, key, payload))
                    if result.edits is None:
                        break
        else:
            _replace(result, hash_type, active.all_rows(store, hash_type), found.rows(hash_type))
    result.counts = {hash_type: number for hash_type, number in result.counts.items() if number}
    return result


def _replace(result: Comparison, hash_type: str, old: Iterator[Row], new: Iterator[Row]) -> None:
    added = removed = changed = unchanged = 0
    for key, before, given in aligned(old, new):
        if before is None:
            added += 1
            result.changes(Edit(hash_type, key, given))
        elif given is None:
            removed += 1
            result.changes(Edit(hash_type, key, None))
        elif (after := after_replacement(before, given)) is None:
            unchanged += 1
        else:
            changed += 1
            result.changes(Edit(hash_type, key, after))
    result.diff.added += added
    result.diff.removed += removed
    result.diff.changed += changed
    result.diff.unchanged += unchanged


def _merge(store: ListStore, active: Contents, found: Ingested, hash_type: str, result: Comparison) -> int:
    """Compares a merge; how many entries it adds."""
    before = active.version.entries[hash_type]
    seek = found.counts.get(hash_type, 0) < before // SOUGHT_SHARE
    rows = _sought(store, active, found, hash_type) if seek else _read(store, active, found, hash_type)
    added = changed = 0
    for key, listed, given in rows:
        if listed is None:
            added += 1
            result.changes(Edit(hash_type, key, given))
        elif (after := after_merge(listed, given)) is not None:
            changed += 1
            result.changes(Edit(hash_type, key, after))
    result.diff.added += added
    result.diff.changed += changed
    result.diff.unchanged += before - changed
    return added


def _sought(
    store: ListStore, active: Contents, found: Ingested, hash_type: str
) -> Iterator[tuple[bytes, bytes | None, bytes]]:
    with store.view() as view:
        for key, given in found.rows(hash_type):
            entry = active.entry(view, hash_type, key)
            yield key, None if entry is None else entry.SerializeToString(), given


def _read(
    store: ListStore, active: Contents, found: Ingested, hash_type: str
) -> Iterator[tuple[bytes, bytes | None, bytes]]:
    for key, listed, given in aligned(active.all_rows(store, hash_type), found.rows(hash_type)):
        if given is not None:
            yield key, listed, given


def finish(
    store: ListStore,
    header: lists_pb2.ImportHeader,
    found: Ingested,
    answer: lists_pb2.ImportListResponse,
    *,
    activate: bool,
    by: str,
    progress: Progress | None = None,
) -> None:
    """Completes `answer` with the diff against the active version, and unless it is a dry run stages what was found.

    The comparison and the writing take long and hold nobody up, so both are made again where another version was
    activated meanwhile.
    """
    while not _finished(store, header, found, answer, activate, by, progress):
        pass


def _finished(
    store: ListStore,
    header: lists_pb2.ImportHeader,
    found: Ingested,
    answer: lists_pb2.ImportListResponse,
    activate: bool,
    by: str,
    progress: Progress | None,
) -> bool:
    with store.view() as view:
        record = view.list(header.name)
        active = versions.active_contents(view, record)
    compared = against(store, active, found, merge=header.merge, progress=progress)
    answer.diff.CopyFrom(compared.diff)
    if header.dry_run or not found.accepted:
        return True
    version = VersionRecord(
        merge=header.merge,
        merged_onto=active.version.version if active and header.merge else 0,
        replaces=not header.merge,
        entries=compared.counts,
        created_by=by,
        origin=header.origin,
    )
    if active is not None and compared.edits is not None:
        return _stage_edits(store, header, version, active, compared.edits, answer, activate)
    with store.writing_a_base():
        return _stage_base(store, header, version, active, found, answer, activate, progress)


def _stage_edits(
    store: ListStore,
    header: lists_pb2.ImportHeader,
    version: VersionRecord,
    active: Contents,
    edits: list[Edit],
    answer: lists_pb2.ImportListResponse,
    activate: bool,
) -> bool:
    with store.step() as step:
        record = step.list(header.name)
        if record.active_version != active.version.version:
            return False
        version.version = record.last_version + 1
        version.created_at.CopyFrom(convert.timestamp(clock.now()))
        own = (versions.attributed(version, edit) for edit in edits)
        step.put_edits(record.list_number, version, active.version, own)
        versions.stage(step, record, version, answer, activate=activate)
    return True


def _stage_base(
    store: ListStore,
    header: lists_pb2.ImportHeader,
    version: VersionRecord,
    active: Contents | None,
    found: Ingested,
    answer: lists_pb2.ImportListResponse,
    activate: bool,
    progress: Progress | None,
) -> bool:
    with store.view() as view:
        record = view.list(header.name)
    rows = {hash_type: _rows(store, active, found, hash_type, header.merge) for hash_type in version.entries}
    total, done = sum(version.entries.values()), 0

    def told(more: int) -> None:
        nonlocal done
        done += more
        if progress is not None:
            progress("writing", done, total)

    base, digest = store.write_base(record.list_number, versions.with_canaries(record, rows), told)
    with store.step() as step:
        record = step.list(header.name)
        if record.active_version == (active.version.version if active else 0):
            version.version, version.base, version.root_digest = record.last_version + 1, base, digest
            version.created_at.CopyFrom(convert.timestamp(clock.now()))
            step.close_draft(record.list_number, base)
            versions.stage(step, record, version, answer, activate=activate)
            return True
    store.discard(record.list_number, base)
    return False


def _rows(store: ListStore, active: Contents | None, found: Ingested, hash_type: str, merge: bool) -> Iterator[Row]:
    if merge and active is not None:
        return merged(active.all_rows(store, hash_type), found.rows(hash_type), active.attributed)
    return found.rows(hash_type)
