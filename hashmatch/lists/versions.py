"""Writing versions and swapping the active one. Each function is part of a step that its caller opened and finishes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hashmatch import clock, convert
from hashmatch.errors import Refused
from hashmatch.lists.contents import Contents, with_canary
from hashmatch.store.lists import ListStep, ListView, Row
from hashmatch.v1.store_pb2 import Activated, ChangeRecord, EditRecord, ListRecord, VersionRecord


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


def put_base(step: ListStep, record: ListRecord, version: VersionRecord, rows: Mapping[str, Iterable[Row]]) -> None:
    """Writes a new version that is its own base: these rows and the list's canary."""
    canary = dict(record.canary_fingerprints)
    with_canaries = {t: with_canary(rows.get(t, ()), value) for t, value in canary.items()}
    version.root_digest = step.put_base(record.list_number, version.base, {**rows, **with_canaries})
    _put_newest(step, record, version)


def put_edit(
    step: ListStep, record: ListRecord, contents: Contents, edit: EditRecord, *, by: str, reason: str
) -> VersionRecord:
    """Writes a new version that is one edit on `contents`, which is active, and makes it active."""
    parent, adds = contents.version, edit.HasField("entry")
    entries = dict(parent.entries)
    entries[edit.hash_type] = entries.get(edit.hash_type, 0) + (1 if adds else -1)
    version = VersionRecord(
        version=record.last_version + 1,
        base=parent.base,
        parent=parent.version,
        edit=edit,
        entries={hash_type: count for hash_type, count in entries.items() if count},
        root_digest=parent.root_digest,
        created_at=convert.timestamp(clock.now()),
        created_by=by,
        origin="add" if adds else "remove",
        reason=reason,
    )
    _put_newest(step, record, version)
    activate(step, record, version)
    return version


def _put_newest(step: ListStep, record: ListRecord, version: VersionRecord) -> None:
    step.put_version(record.list_number, version)
    record.last_version = version.version


def activate(step: ListStep, record: ListRecord, version: VersionRecord) -> Activated:
    """Makes a version the active one; what it was before is remembered where this is the first time.

    Raises:
        Refused: it is active already, or was merged onto a version that is no longer active.
    """
    if version.version == record.active_version:
        raise Refused(f"version {version.version} of '{record.name}' is active already")
    swap = Activated(version=version.version, previous=record.active_version)
    if not version.HasField("first_activated_at"):
        if version.merge and version.parent != record.active_version:
            onto = f"version {version.parent}" if version.parent else "an empty list"
            raise Refused(
                f"version {version.version} was merged onto {onto}, and version {record.active_version} is active now: "
                "what changed between them would be lost; import again"
            )
        version.first_activated_at.FromDatetime(clock.now())
        version.activated_after = record.active_version
        step.put_version(record.list_number, version)
    record.active_version = version.version
    return swap


def change(record: ListRecord, by: str, reason: str) -> ChangeRecord:
    """The beginning of a step's change: what, by whom, when and why."""
    return ChangeRecord(at=convert.timestamp(clock.now()), list=record.name, by=by, reason=reason)
