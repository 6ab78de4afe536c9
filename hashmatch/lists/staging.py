"""An ingested file against a list: what it would change, and the staged version that it becomes."""

from __future__ import annotations

from collections.abc import Iterator

from hashmatch import clock, convert
from hashmatch.lists import versions
from hashmatch.lists.contents import Contents, diff, merged
from hashmatch.lists.ingest import Ingested
from hashmatch.store.lists import ListStore, ListView, Row
from hashmatch.v1 import lists_pb2
from hashmatch.v1.store_pb2 import VersionRecord


def compare(view: ListView, old: Contents | None, new: Contents | None) -> lists_pb2.Diff:
    """What one version has against another; None holds nothing."""
    total = lists_pb2.Diff()
    for hash_type in sorted({*(old.hash_types() if old else ()), *(new.hash_types() if new else ())}):
        before = old.rows(view, hash_type) if old else iter(())
        after = new.rows(view, hash_type) if new else iter(())
        add(total, diff(before, after))
    return total


def add(total: lists_pb2.Diff, part: lists_pb2.Diff) -> None:
    """Adds one hash type's diff to the total."""
    total.added += part.added
    total.removed += part.removed
    total.changed += part.changed
    total.unchanged += part.unchanged


def finish(
    store: ListStore,
    header: lists_pb2.ImportHeader,
    found: Ingested,
    answer: lists_pb2.ImportListResponse,
    *,
    activate: bool,
    by: str,
) -> None:
    """Completes `answer` with the diff against the active version, and unless it is a dry run stages what was found.

    The comparison is made before the writer's lock is taken, so it is made again where another version was activated
    meanwhile.
    """
    while not _finished(store, header, found, answer, activate, by):
        pass


def _finished(
    store: ListStore,
    header: lists_pb2.ImportHeader,
    found: Ingested,
    answer: lists_pb2.ImportListResponse,
    activate: bool,
    by: str,
) -> bool:
    with store.view() as view:
        compared = view.list(header.name)
        active = versions.active_contents(view, compared)
        answer.diff.Clear()
        counts = {}
        for hash_type in sorted({*found.counts, *(active.hash_types() if active else ())}):
            part = _diff(view, active, found, hash_type, header.merge)
            add(answer.diff, part)
            counts[hash_type] = part.added + part.changed + part.unchanged
        if header.dry_run or not found.accepted:
            return True
        with store.step() as step:
            record = step.list(header.name)
            if record.active_version != compared.active_version:
                return False
            version = VersionRecord(
                version=record.last_version + 1,
                base=record.last_version + 1,
                parent=record.active_version if header.merge else 0,
                merge=header.merge,
                entries={t: n for t, n in counts.items() if n},
                created_at=convert.timestamp(clock.now()),
                created_by=by,
                origin=header.origin,
            )
            rows = {t: _rows(view, active, found, t, header.merge) for t in version.entries}
            versions.put_base(step, record, version, rows)
            change = versions.change(record, by, "")
            if activate:
                change.activated.CopyFrom(versions.activate(step, record, version))
            else:
                change.staged.version = version.version
            answer.revision = step.finish(record, change)
            answer.version = version.version
            answer.activated = activate
    return True


def _diff(view: ListView, active: Contents | None, found: Ingested, hash_type: str, merge: bool) -> lists_pb2.Diff:
    before = active.version.entries.get(hash_type, 0) if active else 0
    after = found.counts.get(hash_type, 0)
    if active is None or not before or not after:
        return lists_pb2.Diff(added=after, removed=0 if merge else before, unchanged=before if merge else 0)
    old, new = active.rows(view, hash_type), found.rows(hash_type)
    return diff(old, merged(active.rows(view, hash_type), new) if merge else new)


def _rows(view: ListView, active: Contents | None, found: Ingested, hash_type: str, merge: bool) -> Iterator[Row]:
    if merge and active is not None:
        return merged(active.rows(view, hash_type), found.rows(hash_type), active.attributed)
    return found.rows(hash_type)
