"""Changing the hash lists: everything that the service and the command line can do to them.

Every change is one step of the store, so it happens whole or not at all, waits its turn behind other writers, and
leaves a record of who did it and why. `by` names who does it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import BinaryIO

from hashmatch import clock, convert
from hashmatch.errors import Conflict, NotFound, Refused
from hashmatch.examine import examine
from hashmatch.index.recipe import Recipe
from hashmatch.lists import canary, guards, messages, staging, terms, versions
from hashmatch.lists.contents import Contents
from hashmatch.lists.entry_ids import EntryIds
from hashmatch.lists.ingest import Progress, ingest
from hashmatch.lists.reader import ListReader
from hashmatch.store.lists import ListStep, ListStore
from hashmatch.types import Fingerprint, Revision
from hashmatch.v1 import lists_pb2
from hashmatch.v1.store_pb2 import Edited, EditRecord, EntryRecord, ListRecord, VersionRecord

MAX_EDITS = 10_000  # single edits on one base: every change of their list reads all, which takes 0.1 s for so many

__all__ = ["EntryIds", "ListKeeper"]


class ListKeeper(ListReader):
    """Reads and changes the lists of one store. For any thread."""

    def __init__(self, store: ListStore, recipes: Mapping[str, Recipe], *, examine: canary.Examine = examine) -> None:
        """As `ListReader`; `examine` hashes the canaries of new lists."""
        super().__init__(store, recipes)
        self._examine = examine

    # ── lists and policies ──────────────────────────────────────────────────────────────────────────────────────────

    def create(
        self, name: str, *, operator: str = "", purpose: str = "", policy: lists_pb2.Policy | None = None, by: str
    ) -> lists_pb2.HashList:
        """A new list with nothing active, and with a canary of its own.

        Raises:
            Malformed: names the field.
            Conflict: there is a list of that name.
        """
        record = ListRecord(
            name=terms.name(name),
            operator=terms.text(operator, "operator"),
            purpose=terms.text(purpose, "purpose"),
            policy=terms.policy(policy or lists_pb2.Policy(), self._recipes),
            created_at=convert.timestamp(clock.now()),
        )
        drawn = canary.make(self._recipes, self._examine)
        record.canary_media = drawn.media
        record.canary_fingerprints.update(drawn.fingerprints)
        with self._store.step() as step:
            if any(other.name == name for other in step.lists()):
                raise Conflict(f"there is a hash list named '{name}'")
            if step.id_key_digest() is None:
                step.put_id_key_digest(self.entry_ids.key_digest())
            record.list_number = step.new_list_number()
            change = versions.change(record, by, "")
            change.created.CopyFrom(record)
            step.finish(record, change)
            return messages.hash_list(step, record)

    def set_policy(self, name: str, policy: lists_pb2.Policy, *, reason: str = "", by: str) -> lists_pb2.HashList:
        """The list under its new policy, which replaces the old one whole.

        Raises:
            NotFound, Malformed: names the field.
        """
        checked = terms.policy(policy, self._recipes)
        reason = terms.text(reason, "reason")
        with self._store.step() as step:
            record = step.list(name)
            record.policy.CopyFrom(checked)
            change = versions.change(record, by, reason)
            change.policy.CopyFrom(checked)
            step.finish(record, change)
            return messages.hash_list(step, record)

    # ── versions ────────────────────────────────────────────────────────────────────────────────────────────────────

    def stage(
        self,
        header: lists_pb2.ImportHeader,
        file: BinaryIO,
        *,
        by: str,
        allow_rejects: bool = False,
        progress: Progress | None = None,
    ) -> lists_pb2.ImportListResponse:
        """What a list file holds and would change; unless it is a dry run, it is now a staged version.

        With `header.activate` it is made active in the same step, where nothing was rejected or `allow_rejects` says
        that this does not matter. A file of which nothing is accepted stages nothing.

        Raises:
            NotFound, Malformed: names the field of ImportHeader.
            StoreFull, StoreFailed: the disk refused; nothing has changed.
        """
        checked = lists_pb2.ImportHeader()
        checked.CopyFrom(header)
        checked.origin = terms.text(header.origin, "origin")
        with self._store.view() as view:
            own_canary = dict(view.list(header.name).canary_fingerprints)
        found = ingest(file, checked, self._recipes, own_canary, progress)
        answer = lists_pb2.ImportListResponse(
            lines=found.lines,
            accepted=found.accepted,
            duplicates=found.duplicates,
            rejected=found.rejected,
            rejects=[lists_pb2.Reject(line=line, why=why) for line, why in found.rejects],
        )
        activate = header.activate and (allow_rejects or not found.rejected)
        staging.finish(self._store, checked, found, answer, activate=activate, by=by)
        return answer

    def activate(self, name: str, version: int = 0, *, reason: str = "", by: str) -> lists_pb2.HashList:
        """The list with a version active: the newest staged one, or the one named, whether it was active before or not.

        Raises:
            NotFound: no such list or version.
            Refused: nothing is staged, it is active already, or it was merged onto what is no longer active.
        """
        reason = terms.text(reason, "reason")
        with self._store.step() as step:
            record = step.list(name)
            wanted = step.version(record.list_number, version) if version else versions.newest_staged(step, record)
            return self._swap(step, record, wanted, by, reason)

    def roll_back(self, name: str, version: int = 0, *, reason: str = "", by: str) -> lists_pb2.HashList:
        """The list with a version active that was active before: the one before the present one, or the one named.

        Raises:
            NotFound: no such list or version.
            Refused: nothing was active before, or the version named never was.
        """
        reason = terms.text(reason, "reason")
        with self._store.step() as step:
            record = step.list(name)
            if not version and record.active_version:
                version = step.version(record.list_number, record.active_version).activated_after
            if not version:
                raise Refused(f"'{name}' had no version active before this one")
            wanted = step.version(record.list_number, version)
            if not wanted.HasField("first_activated_at"):
                raise Refused(f"version {version} of '{name}' was never active; activate it instead")
            return self._swap(step, record, wanted, by, reason)

    @staticmethod
    def _swap(step: ListStep, record: ListRecord, version: VersionRecord, by: str, reason: str) -> lists_pb2.HashList:
        change = versions.change(record, by, reason)
        change.activated.CopyFrom(versions.activate(step, record, version))
        step.finish(record, change)
        return messages.hash_list(step, record)

    # ── single entries ──────────────────────────────────────────────────────────────────────────────────────────────

    def add(
        self,
        name: str,
        fingerprint: Fingerprint,
        *,
        quality: int | None = None,
        label: str = "",
        source_id: str = "",
        reason: str,
        by: str,
    ) -> lists_pb2.AddEntryResponse:
        """The entry that is now listed and searched, and the revision from which on it is.

        Args:
            quality: the fingerprint's, 0..100, where it is known.
        Raises:
            NotFound, Malformed: names the field.
            Conflict: it is listed already.
            Refused: there are too many single edits on this base.
        """
        recipe = self._recipe_of(fingerprint)
        guards.accept(fingerprint.value, recipe, field="fingerprint.value")
        guards.accept_quality(quality, recipe, field="fingerprint.quality")
        entry = EntryRecord(
            label=terms.text(label, "label", limit=terms.MAX_LABEL_CHARS),
            source_id=terms.text(source_id, "source_id", limit=terms.MAX_LABEL_CHARS),
            added_by=by,
            reason=terms.text(reason, "reason", required=True),
            added_at=convert.timestamp(clock.now()),
        )
        hash_type, value = fingerprint.hash_type, fingerprint.value
        with self._store.step() as step:
            record = step.list(name)
            if record.canary_fingerprints.get(hash_type) == value:
                raise Conflict("this is the list's own canary")
            contents = versions.active_contents(step, record)
            if contents is None:
                return self._add_first(step, record, fingerprint, entry)
            if contents.entry(step, hash_type, value) is not None:
                listed = self.entry_ids(name, fingerprint)
                raise Conflict(f"it is listed in '{name}' already, as entry {listed}")
            edit = EditRecord(hash_type=hash_type, value=value, entry=entry)
            revision = self._edit(step, record, contents, edit, by=by, reason=entry.reason)
            return lists_pb2.AddEntryResponse(
                entry=messages.entry(self.entry_ids, record, contents, fingerprint, entry.SerializeToString()),
                revision=revision,
            )

    def _add_first(
        self, step: ListStep, record: ListRecord, fingerprint: Fingerprint, entry: EntryRecord
    ) -> lists_pb2.AddEntryResponse:
        """As an import of one entry, activated at once: with nothing active there is nothing to edit."""
        version = VersionRecord(
            version=record.last_version + 1,
            base=record.last_version + 1,
            entries={fingerprint.hash_type: 1},
            created_at=entry.added_at,
            created_by=entry.added_by,
            origin="add",
            reason=entry.reason,
        )
        rows = {fingerprint.hash_type: [(fingerprint.value, entry.SerializeToString())]}
        versions.put_base(step, record, version, rows)
        change = versions.change(record, entry.added_by, entry.reason)
        change.activated.CopyFrom(versions.activate(step, record, version))
        revision = step.finish(record, change)
        contents = Contents(step, record.list_number, version.version)
        return lists_pb2.AddEntryResponse(
            entry=messages.entry(self.entry_ids, record, contents, fingerprint, entry.SerializeToString()),
            revision=revision,
        )

    def remove(self, name: str, which: Fingerprint | str, *, reason: str, by: str) -> lists_pb2.RemoveEntryResponse:
        """The entry that was listed, and the revision from which on it is not. `which`: its fingerprint or its id.

        By id every entry of the list is looked at: a few seconds per million.

        Raises:
            NotFound: there is no such list or entry.
            Malformed: names the field.
            Refused: there are too many single edits on this base.
        """
        reason = terms.text(reason, "reason", required=True)
        fingerprint = self._named(name, which) if isinstance(which, str) else which
        self._recipe_of(fingerprint)  # and no guard: what must not be listed can always be removed
        hash_type, value = fingerprint.hash_type, fingerprint.value
        with self._store.step() as step:
            record = step.list(name)
            contents = versions.active_contents(step, record)
            entry = contents.entry(step, hash_type, value) if contents else None
            if contents is None or entry is None:
                raise NotFound(f"'{name}' has no such entry")
            answer = messages.entry(self.entry_ids, record, contents, fingerprint, entry.SerializeToString())
            edit = EditRecord(hash_type=hash_type, value=value)
            revision = self._edit(step, record, contents, edit, by=by, reason=reason)
            return lists_pb2.RemoveEntryResponse(entry=answer, revision=revision)

    def _named(self, name: str, entry_id: str) -> Fingerprint:
        wanted = self.entry_ids.parse(entry_id)
        with self._store.view() as view:
            contents = versions.active_contents(view, view.list(name))
            for hash_type in contents.hash_types() if contents else ():
                for value, _ in contents.rows(view, hash_type) if contents else ():
                    fingerprint = Fingerprint(hash_type, value)
                    if self.entry_ids.digest(name, fingerprint) == wanted:
                        return fingerprint
        raise NotFound(f"'{name}' has no such entry")

    @staticmethod
    def _edit(
        step: ListStep, record: ListRecord, contents: Contents, edit: EditRecord, *, by: str, reason: str
    ) -> Revision:
        if contents.edits >= MAX_EDITS:
            raise Refused(
                f"'{record.name}' has {MAX_EDITS} single edits since its last import: export it and import it again, "
                "or import what is to be added with merge"
            )
        version = versions.put_edit(step, record, contents, edit, by=by, reason=reason)
        change = versions.change(record, by, reason)
        change.edited.CopyFrom(Edited(version=version.version, previous=version.parent, edit=edit))
        return step.finish(record, change)
