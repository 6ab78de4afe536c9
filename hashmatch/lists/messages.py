"""Stored records → the messages that the service, the library and the command line all answer with."""

from __future__ import annotations

from itertools import islice

from hashmatch import clock, convert
from hashmatch.lists import terms
from hashmatch.lists.contents import Contents
from hashmatch.lists.entry_ids import EntryIds
from hashmatch.store.lists import ListView
from hashmatch.types import Fingerprint
from hashmatch.v1 import common_pb2, lists_pb2
from hashmatch.v1.store_pb2 import EntryRecord, ListRecord, VersionRecord

MAX_VERSIONS_TOLD = 1000  # of one list: about 50 KB, far below gRPC's 4 MB
MAX_VERSIONS_LISTED = 10  # of each, where all lists are told


def hash_list(view: ListView, record: ListRecord, limit: int = MAX_VERSIONS_TOLD) -> lists_pb2.HashList:
    """A list with its `limit` newest versions and its active one, oldest first."""
    versions = list(islice(view.versions(record), limit))
    if record.active_version and all(v.version != record.active_version for v in versions):
        versions.append(view.version(record.list_number, record.active_version))
    refreshed_at = convert.moment(record.refreshed_at) if record.HasField("refreshed_at") else None
    return lists_pb2.HashList(
        name=record.name,
        operator=record.operator,
        purpose=record.purpose,
        policy=record.policy,
        revision=record.revision,
        active_version=record.active_version,
        versions=[list_version(record, version) for version in reversed(versions)],
        created_at=record.created_at,
        refreshed_at=convert.timestamp(refreshed_at) if refreshed_at else None,
        stale=terms.stale(record.policy.refresh_seconds, refreshed_at, clock.now()),
    )


def list_version(record: ListRecord, version: VersionRecord) -> lists_pb2.ListVersion:
    """One version, and where it stands in its list."""
    if version.version == record.active_version:
        state = lists_pb2.VERSION_STATE_ACTIVE
    elif version.HasField("first_activated_at"):
        state = lists_pb2.VERSION_STATE_KEPT
    else:
        state = lists_pb2.VERSION_STATE_STAGED
    return lists_pb2.ListVersion(
        version=version.version,
        state=state,
        entries=dict(version.entries),
        created_at=version.created_at,
        created_by=version.created_by,
        origin=version.origin,
        reason=version.reason,
        refusal=version.report.refusal,
        activated_by=version.activated_by,
        edits=version.edits,
    )


def entry(
    ids: EntryIds, record: ListRecord, contents: Contents, hash_type: str, key: bytes, payload: bytes
) -> lists_pb2.Entry:
    """One serialised entry with its id, its fingerprint and where it came from."""
    known = EntryRecord.FromString(contents.attributed(payload))
    return lists_pb2.Entry(
        entry_id=ids(record.name, Fingerprint(hash_type, key)),
        fingerprint=common_pb2.Fingerprint(hash_type=hash_type, value=known.value or key),
        label=known.label,
        source_id=known.source_id,
        added_by=known.added_by,
        reason=known.reason,
        added_at=known.added_at,
        line=known.line,
        source=known.source,
        first_seen=known.first_seen if known.HasField("first_seen") else None,
        last_seen=known.last_seen if known.HasField("last_seen") else None,
        expires_at=known.expires_at if known.HasField("expires_at") else None,
        notes=known.notes,
    )
