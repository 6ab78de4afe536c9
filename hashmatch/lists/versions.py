"""Writing versions and swapping the active one. Each function is part of a step that its caller opened and finishes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from hashmatch import clock, convert
from hashmatch.errors import Refused
from hashmatch.lists.contents import Contents
from hashmatch.store.list_tables import CANARY
from hashmatch.store.lists import Edit, ListStep, ListView, Row
from hashmatch.v1.lists_pb2 import ImportListResponse
from hashmatch.v1.store_pb2 import (
    Activated,
    ChangeRecord,
    Edited,
    EntryRecord,
    ListRecord,
    TombstoneRecord,
    VersionRecord,
)


def active_contents(view: ListView, record: ListRecord) -> Contents | None:
    """What is active in a list; None where nothing is."""
    return Contents(view, record.list_number, record.active_version) if record.active_version else None


def newest_staged(view: ListView, record: ListRecord) -> VersionRecord:
    """The newest version that was never active, of those made after the active one.

    Raises:
        Refused: there is none.
    """
    for version in view.versions(record):
        if version.version <= record.active_version:
            break
        if not version.HasField("first_activated_at"):
            return version
    raise Refused(
        f"'{record.name}' has nothing staged since version {record.active_version}; import, or name a version"
    )


def with_canaries(record: ListRecord, rows: Mapping[str, Iterable[Row]]) -> dict[str, Iterable[Row]]:
    """The rows of a base: a version's, and the list's canary among them in order of key."""
    canaries = {
        hash_type: _among(rows.get(hash_type, ()), key) for hash_type, key in record.canary_fingerprints.items()
    }
    return {**rows, **canaries}


def _among(rows: Iterable[Row], canary: bytes) -> Iterator[Row]:
    """Rows in order of key with the canary's in its place; most of them are passed on untouched."""
    rows = iter(rows)
    for row in rows:
        if row[0] >= canary:
            yield canary, CANARY
            if row[0] != canary:
                yield row
            yield from rows
            return
        yield row
    yield canary, CANARY


def attributed(version: VersionRecord, edit: Edit) -> Edit:
    """An edit of an import, whose entry says itself who added it and when."""
    if edit.payload is None or EntryRecord.FromString(edit.payload).added_by:
        return edit
    by = EntryRecord(added_by=version.created_by, added_at=version.created_at)
    return edit._replace(payload=edit.payload + by.SerializeToString())


def stage(
    step: ListStep, record: ListRecord, version: VersionRecord, answer: ImportListResponse, *, activate: bool
) -> None:
    """Ends the step of an import: its version is there, with its report, and active where `activate` says so."""
    answer.version, answer.activated = version.version, activate
    version.report.CopyFrom(answer)
    put(step, record, version)
    said = change(record, version.created_by, "")
    if activate:
        said.activated.CopyFrom(make_active(step, record, version, version.created_by))
    else:
        said.staged.version = version.version
    answer.revision = step.finish(record, said)


def put_first(step: ListStep, record: ListRecord, base: int, root_digest: bytes, edit: Edit, entry: EntryRecord) -> int:
    """Ends the step of a list's first entry, whose base is written: a version that is active at once, unless the list
    wants a second person for that; its number."""
    version = VersionRecord(
        version=record.last_version + 1,
        base=base,
        entries={edit.hash_type: 1},
        root_digest=root_digest,
        created_at=entry.added_at,
        created_by=entry.added_by,
        origin="add",
        reason=entry.reason,
    )
    put(step, record, version)
    said = change(record, entry.added_by, entry.reason)
    if record.policy.two_person:
        said.staged.version = version.version
    else:
        said.activated.CopyFrom(make_active(step, record, version, entry.added_by))
    step.finish(record, said)
    return version.version


def put(step: ListStep, record: ListRecord, version: VersionRecord) -> None:
    """Writes a new version, the list's last."""
    step.put_version(record.list_number, version)
    record.last_version = version.version


def put_edit(
    step: ListStep, record: ListRecord, contents: Contents, edit: Edit, *, entry_id: str, by: str, reason: str
) -> VersionRecord:
    """Ends the step of one edit on `contents`, which is active: a version that is active at once, unless the list wants
    a second person for that."""
    parent, adds = contents.version, edit.payload is not None
    entries = dict(parent.entries)
    entries[edit.hash_type] = entries.get(edit.hash_type, 0) + (1 if adds else -1)
    version = VersionRecord(
        version=record.last_version + 1,
        entries={hash_type: count for hash_type, count in entries.items() if count},
        created_at=convert.timestamp(clock.now()),
        created_by=by,
        origin="add" if adds else "remove",
        reason=reason,
        merge=True,
        merged_onto=parent.version,
    )
    step.put_edits(record.list_number, version, parent, [edit])
    put(step, record, version)
    said = change(record, by, reason)
    if record.policy.two_person:
        said.staged.version = version.version
    else:
        make_active(step, record, version, by)
        said.edited.CopyFrom(
            Edited(
                version=version.version,
                previous=parent.version,
                hash_type=edit.hash_type,
                entry_id=entry_id,
                removed=not adds,
            )
        )
    step.finish(record, said)
    return version


def make_active(step: ListStep, record: ListRecord, version: VersionRecord, by: str) -> Activated:
    """Makes a version the active one; what it was before is remembered where this is the first time.

    Raises:
        Refused: it is active already, or was merged onto a version that is no longer active.
    """
    if version.version == record.active_version:
        raise Refused(f"version {version.version} of '{record.name}' is active already")
    swap = Activated(version=version.version, previous=record.active_version)
    if not version.HasField("first_activated_at"):
        if version.merge and version.merged_onto != record.active_version:
            onto = f"version {version.merged_onto}" if version.merged_onto else "an empty list"
            raise Refused(
                f"version {version.version} was merged onto {onto}, and version {record.active_version} is active now: "
                "what changed between them would be lost; import again"
            )
        version.first_activated_at.FromDatetime(clock.now())
        version.activated_after = record.active_version
        version.activated_by = by
        step.put_version(record.list_number, version)
        if version.HasField("report"):
            record.refreshed_at.FromDatetime(clock.now())
        elif version.parent:
            _remember_by_hand(step, record, version)
    record.active_version = version.version
    return swap


def _remember_by_hand(step: ListStep, record: ListRecord, version: VersionRecord) -> None:
    """What was removed by hand stays out of later imports, until it is added by hand."""
    for edit in step.edits(record.list_number, version):
        if edit.payload is not None:
            step.drop_tombstone(record.list_number, edit.hash_type, edit.key)
            continue
        tombstone = TombstoneRecord(
            at=version.created_at, by=version.created_by, reason=version.reason, version=version.version
        )
        step.put_tombstone(record.list_number, edit.hash_type, edit.key, tombstone)


def change(record: ListRecord, by: str, reason: str) -> ChangeRecord:
    """The beginning of a step's change: what, by whom, when and why."""
    return ChangeRecord(at=convert.timestamp(clock.now()), list=record.name, by=by, reason=reason)
