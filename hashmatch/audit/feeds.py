"""What others commit elsewhere, brought into the log once and in order: the lists' changes, the credentials'.

Those lie in environments of their own, so no transaction holds both. Each keeps its changes as a numbered feed, written
with the change itself; the log keeps how far it followed each, written with the events. So whoever dies when, every
change is in the log exactly once, and every one that a verdict can have known stands before that verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from hashmatch import convert
from hashmatch.errors import NotFound
from hashmatch.store.list_tables import content_digest
from hashmatch.store.lists import ListStore, ListView
from hashmatch.types import Revision
from hashmatch.v1 import audit_pb2
from hashmatch.v1.audit_pb2 import Event, ListChanged
from hashmatch.v1.store_pb2 import ChangeRecord


class Feed(Protocol):
    """A numbered feed of changes: from 1, without gaps, append-only."""

    @property
    def name(self) -> str:
        """What the log remembers its position by."""

    def mark(self) -> int:
        """A number that differs whenever there may be more. Microseconds."""

    def after(self, position: int, limit: int) -> Sequence[Event]:
        """At most `limit` changes that follow that position, in order, as events without sequence and time.

        Raises:
            Corrupt: one is damaged or missing.
        """


class ListFeed:
    """The changes of the hash lists."""

    name = "lists"

    def __init__(self, store: ListStore) -> None:
        self._store = store

    def mark(self) -> int:
        return self._store.mark()

    def after(self, position: int, limit: int) -> Sequence[Event]:
        with self._store.view() as view:
            return [Event(list_changed=list_changed(view, one)) for one in view.changes(Revision(position), limit)]


def list_changed(view: ListView, change: ChangeRecord) -> ListChanged:
    """What the log says of a change, which may be long past: what has changed since is not in it."""
    told = ListChanged(
        revision=change.revision,
        changed_at=change.at,
        list=change.list,
        by=change.by,
        approver=change.approver,
        reason=change.reason,
    )
    kind = change.WhichOneof("change")
    if kind == "created":
        told.kind = audit_pb2.LIST_CHANGE_KIND_CREATED
        told.policy.CopyFrom(change.created.policy)
        told.operator, told.purpose = change.created.operator, change.created.purpose
    elif kind == "policy":
        told.kind = audit_pb2.LIST_CHANGE_KIND_POLICY
        told.policy.CopyFrom(change.policy)
    elif kind == "staged":
        told.kind = audit_pb2.LIST_CHANGE_KIND_STAGED
        _version(told, view, change.staged.version)
    elif kind == "activated":
        again = _version(told, view, change.activated.version)
        told.kind = audit_pb2.LIST_CHANGE_KIND_ROLLED_BACK if again else audit_pb2.LIST_CHANGE_KIND_ACTIVATED
        told.previous = change.activated.previous
    elif kind == "edited":
        _version(told, view, change.edited.version)
        removed, told.previous = change.edited.removed, change.edited.previous
        told.kind = audit_pb2.LIST_CHANGE_KIND_ENTRY_REMOVED if removed else audit_pb2.LIST_CHANGE_KIND_ENTRY_ADDED
        told.entry_id, told.hash_type = change.edited.entry_id, change.edited.hash_type
    elif kind == "suppressed":
        told.kind = audit_pb2.LIST_CHANGE_KIND_SUPPRESSED
        told.entry_id, told.reason = change.suppressed.entry_id, change.suppressed.reason
        told.approver = change.suppressed.approver
        if change.suppressed.HasField("expires_at"):
            told.expires_at.CopyFrom(change.suppressed.expires_at)
    elif kind == "lifted":
        told.kind, told.entry_id = audit_pb2.LIST_CHANGE_KIND_SUPPRESSION_LIFTED, change.lifted.entry_id
    return told


def _version(told: ListChanged, view: ListView, number: int) -> bool:
    """Says what a version is; whether it had been active before this change."""
    told.version = number
    try:
        version = view.version(view.list(told.list).list_number, number)
    except NotFound:  # pruned since
        return False
    told.created_by, told.origin = version.created_by, version.origin
    told.content_digest = content_digest(version)
    told.entries.update(version.entries)
    if version.HasField("report"):
        found = version.report
        told.counts.accepted, told.counts.rejected = found.accepted, found.rejected
        told.counts.added, told.counts.removed = found.diff.added, found.diff.removed
        told.counts.changed = found.diff.changed
    # A step notes its own time before it notes when the version was first activated.
    first = convert.moment(version.first_activated_at) if version.HasField("first_activated_at") else None
    return first is not None and first < convert.moment(told.changed_at)
