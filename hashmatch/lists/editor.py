"""Changing single entries of the hash lists: adding, removing, suppressing.

Every change is one step of the store, so it happens whole or not at all, waits its turn behind other writers, and
leaves a record of who did it and why. `by` names who does it.
"""

from __future__ import annotations

from datetime import datetime

from hashmatch import clock, convert
from hashmatch.errors import Conflict, Malformed, NotFound, Refused
from hashmatch.lists import guards, messages, terms, versions
from hashmatch.lists.contents import Contents
from hashmatch.lists.reader import ListReader
from hashmatch.store.list_step import ListStep
from hashmatch.store.lists import Edit
from hashmatch.types import Fingerprint
from hashmatch.v1 import lists_pb2
from hashmatch.v1.store_pb2 import EntryRecord, ListRecord, SuppressionLifted


class ListEditor(ListReader):
    """Reads the lists of one store, and changes their entries. For any thread."""

    def add(
        self,
        name: str,
        fingerprint: Fingerprint,
        *,
        quality: int | None = None,
        label: str = "",
        source_id: str = "",
        source: str = "",
        notes: str = "",
        expires_at: datetime | None = None,
        reason: str,
        by: str,
    ) -> lists_pb2.AddEntryResponse:
        """The entry that is now listed and searched, and the revision from which on it is.

        Where the list wants a second person it is staged instead, and `staged_version` says which version to activate.

        Args:
            quality: the fingerprint's, 0..100, where it is known.
        Raises:
            NotFound, Malformed: names the field.
            Conflict: it is listed already.
        """
        recipe = self._recipe_of(fingerprint)
        guards.accept(fingerprint.value, recipe, field="fingerprint.value")
        guards.accept_quality(quality, recipe, field="fingerprint.quality")
        if expires_at is not None and expires_at <= clock.now():
            raise Malformed("is past already", field="expires_at")
        entry = EntryRecord(
            label=terms.text(label, "label", limit=terms.MAX_LABEL_CHARS),
            source_id=terms.text(source_id, "source_id", limit=terms.MAX_LABEL_CHARS),
            source=terms.text(source, "source", limit=terms.MAX_LABEL_CHARS),
            notes=terms.text(notes, "notes"),
            expires_at=convert.timestamp(expires_at) if expires_at else None,
            added_by=by,
            reason=terms.text(reason, "reason", required=True),
            added_at=convert.timestamp(clock.now()),
            value=fingerprint.value if recipe.opaque else b"",
        )
        edit = Edit(fingerprint.hash_type, recipe.key(fingerprint.value), entry.SerializeToString())
        with self._store.view() as view:
            record = view.list(name)
        if record.canary_fingerprints.get(edit.hash_type) == edit.key:
            raise Conflict("this is the list's own canary")
        if not record.active_version and (first := self._add_first(name, edit, entry)):
            return first
        with self._store.step() as step:
            record = step.list(name)
            contents = self._active(step, record)
            if contents.entry(step, edit.hash_type, edit.key) is not None:
                listed = self.entry_ids(name, Fingerprint(edit.hash_type, edit.key))
                raise Conflict(f"it is listed in '{name}' already, as entry {listed}")
            return self._edited(step, record, contents, edit, entry, by=by, reason=entry.reason)

    def _add_first(self, name: str, edit: Edit, entry: EntryRecord) -> lists_pb2.AddEntryResponse | None:
        """As an import of one entry: with nothing active there is nothing to edit. None where something is by now."""
        with self._store.step() as step:
            record = step.list(name)
            if record.active_version:
                return None
            rows = {edit.hash_type: [(edit.key, entry.SerializeToString())]}
            base, digest = step.put_base(record.list_number, versions.with_canaries(record, rows))
            version = versions.put_first(step, record, base, digest, edit, entry)
            return self._told(record, Contents(step, record.list_number, version), edit, entry, version)

    def remove(self, name: str, which: Fingerprint | str, *, reason: str, by: str) -> lists_pb2.RemoveEntryResponse:
        """The entry that was listed, and the revision from which on it is not. `which`: its fingerprint or its id.

        It stays out of later imports until it is added again. By id every entry of the list is looked at: a second or
        two per million.

        Raises:
            NotFound: there is no such list or entry.
            Malformed: names the field.
        """
        reason = terms.text(reason, "reason", required=True)
        fingerprint = self._named(name, which) if isinstance(which, str) else self._keyed(which)
        hash_type, key = fingerprint.hash_type, fingerprint.value
        with self._store.step() as step:
            record = step.list(name)
            contents = versions.active_contents(step, record)
            entry = contents.entry(step, hash_type, key) if contents else None
            if contents is None or entry is None:
                raise NotFound(f"'{name}' has no such entry")
            done = self._edited(step, record, contents, Edit(hash_type, key, None), entry, by=by, reason=reason)
            return lists_pb2.RemoveEntryResponse(
                entry=done.entry, revision=done.revision, staged_version=done.staged_version
            )

    def _edited(
        self,
        step: ListStep,
        record: ListRecord,
        contents: Contents,
        edit: Edit,
        entry: EntryRecord,
        *,
        by: str,
        reason: str,
    ) -> lists_pb2.AddEntryResponse:
        entry_id = self.entry_ids(record.name, Fingerprint(edit.hash_type, edit.key))
        version = versions.put_edit(step, record, contents, edit, entry_id=entry_id, by=by, reason=reason)
        return self._told(record, contents, edit, entry, version.version)

    def _told(
        self, record: ListRecord, contents: Contents, edit: Edit, entry: EntryRecord, version: int
    ) -> lists_pb2.AddEntryResponse:
        payload = entry.SerializeToString()
        return lists_pb2.AddEntryResponse(
            entry=messages.entry(self.entry_ids, record, contents, edit.hash_type, edit.key, payload),
            revision=record.revision,
            staged_version=version if version != record.active_version else 0,
        )

    @staticmethod
    def _active(step: ListStep, record: ListRecord) -> Contents:
        contents = versions.active_contents(step, record)
        if contents is None:
            raise Refused(f"nothing is active in '{record.name}'")
        return contents

    # ── suppressions ────────────────────────────────────────────────────────────────────────────────────────────────

    def suppress(
        self, name: str, entry_id: str, *, reason: str, approver: str, expires_at: datetime | None, by: str
    ) -> lists_pb2.SuppressEntryResponse:
        """The suppression that now makes every match of an entry an explained non-match, until it expires.

        Raises:
            NotFound: no such list.
            Malformed: names the field.
            Refused: the list wants two people, and they are one.
        """
        digest = self.entry_ids.parse(entry_id)
        now = clock.now()
        if expires_at is None or expires_at <= now:
            raise Malformed("must be given, and in the future", field="expires_at")
        suppression = lists_pb2.Suppression(
            list=name,
            entry_id=entry_id,
            reason=terms.text(reason, "reason", required=True),
            by=by,
            approver=terms.text(approver, "approver", required=True),
            created_at=convert.timestamp(now),
            expires_at=convert.timestamp(expires_at),
        )
        with self._store.step() as step:
            record = step.list(name)
            if record.policy.two_person and approver == by:
                raise Refused(f"'{name}' wants another person than {by} to approve this")
            step.put_suppression(record.list_number, digest, suppression)
            change = versions.change(record, by, suppression.reason)
            change.suppressed.CopyFrom(suppression)
            return lists_pb2.SuppressEntryResponse(suppression=suppression, revision=step.finish(record, change))

    def lift_suppression(self, name: str, entry_id: str, *, reason: str, by: str) -> lists_pb2.LiftSuppressionResponse:
        """The revision from which on an entry matches again.

        Raises:
            NotFound: no such list, or nothing of it is suppressed under that id.
            Malformed: names the field.
        """
        digest = self.entry_ids.parse(entry_id)
        reason = terms.text(reason, "reason", required=True)
        with self._store.step() as step:
            record = step.list(name)
            if not step.drop_suppression(record.list_number, digest):
                raise NotFound(f"'{name}' has no such suppression")
            change = versions.change(record, by, reason)
            change.lifted.CopyFrom(SuppressionLifted(entry_id=entry_id))
            return lists_pb2.LiftSuppressionResponse(revision=step.finish(record, change))
