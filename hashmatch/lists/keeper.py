"""The one who keeps the hash lists: everything that the service and the command line can do with them.

Every change is one step of the store, so it happens whole or not at all, waits its turn behind other writers, and
leaves a record of who did it and why. Answers are the messages of lists.proto; what lists hold is canaries aside.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import BinaryIO

from hashmatch import clock, convert
from hashmatch.errors import Conflict, Corrupt, Malformed, NotFound, Refused
from hashmatch.examine import examine
from hashmatch.index.recipe import Recipe
from hashmatch.lists import canary, guards, messages, terms
from hashmatch.lists.contents import Contents, diff, merged, with_canary
from hashmatch.lists.entry_ids import ID_CHARS, EntryIds
from hashmatch.lists.ingest import Ingested, Progress, ingest
from hashmatch.store.lists import ListStep, ListStore, ListView, Row
from hashmatch.types import Fingerprint, Revision
from hashmatch.v1 import lists_pb2
from hashmatch.v1.store_pb2 import (
    Activated,
    ChangeRecord,
    Edited,
    EditRecord,
    EntryRecord,
    ListRecord,
    VersionRecord,
)

MAX_EDITS = 20_000  # single edits on one base: each is read on every change of its list, 20 000 take about 0.1 s
PAGE_ENTRIES = 4096  # of an export in one read transaction, so that a slow reader holds none open

__all__ = ["EntryIds", "ListKeeper"]


class ListKeeper:
    """Reads and changes the lists of one store. `by` names who does it, for the record. For any thread."""

    def __init__(
        self, store: ListStore, recipes: Mapping[str, Recipe], *, examine: canary.Examine = examine
    ) -> None:
        """Takes the store's entry-id key, making it where there are no lists yet.

        Raises:
            Corrupt: the key is not the one that this store's entry ids were made with.
            BadConfig: the key cannot be read or made.
        """
        self._store = store
        self._recipes = recipes
        self._examine = examine
        self.entry_ids = EntryIds(store.state)
        with store.view() as view:
            made_with = view.id_key_digest()
        if made_with not in (None, self.entry_ids.key_digest()):
            raise Corrupt(f"{store.state}/keys/entry-id.key is not this state's; restore it from a backup")

    # ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def get(self, name: str) -> lists_pb2.HashList:
        """A list with its versions. Raises NotFound."""
        with self._store.view() as view:
            return messages.hash_list(view, view.list(name))

    def all(self) -> lists_pb2.ListListsResponse:
        """Every list, by name, and the revision they are at."""
        with self._store.view() as view:
            lists = [messages.hash_list(view, record) for record in view.lists()]
            return lists_pb2.ListListsResponse(lists=lists, revision=view.revision)

    def diff(self, name: str, from_version: int = 0, to_version: int = 0) -> lists_pb2.DiffListResponse:
        """What one version has against another. 0: from the active version, to the newest staged one.

        Raises:
            NotFound: no such list or version.
            Refused: nothing is staged.
        """
        with self._store.view() as view:
            record = view.list(name)
            old = from_version or record.active_version
            new = to_version or _newest_staged(view, record)
            found = self._diff(view, _contents(view, record, old), _contents(view, record, new))
            return lists_pb2.DiffListResponse(from_version=old, to_version=new, diff=found)

    def look_up(self, fingerprint: Fingerprint) -> lists_pb2.LookUpEntryResponse:
        """The entries of active versions under exactly this fingerprint.

        Raises:
            Malformed: not a fingerprint of a hash type that is switched on.
        """
        self._check(fingerprint)
        with self._store.view() as view:
            answer = lists_pb2.LookUpEntryResponse(revision=view.revision)
            for record in view.lists():
                contents = _contents(view, record, record.active_version)
                found = contents and contents.entry(view, fingerprint.hash_type, fingerprint.value)
                if contents and found:
                    entry = self._entry(record, contents, fingerprint, found)
                    answer.entries.append(lists_pb2.ListedEntry(list=record.name, entry=entry))
            return answer

    def export(self, name: str, version: int = 0) -> Iterator[lists_pb2.Entry]:
        """The entries of a version (0: the active one), by hash type and value.

        Raises:
            NotFound: no such list or version, at once.
            Refused: nothing is active.
        """
        with self._store.view() as view:
            record = view.list(name)
            contents = _contents(view, record, version or record.active_version)
        if contents is None:
            raise Refused(f"no version of '{name}' is active; name one")
        return self._pages(record, contents)

    def _pages(self, record: ListRecord, contents: Contents) -> Iterator[lists_pb2.Entry]:
        for hash_type in contents.hash_types():
            after: bytes | None = None
            while True:
                with self._store.view() as view:
                    rows = contents.rows(view, hash_type, after)
                    page = list(islice(rows, PAGE_ENTRIES))
                for value, payload in page:
                    yield messages.entry(self.entry_ids, record, contents, hash_type, value, payload)
                if len(page) < PAGE_ENTRIES:
                    break
                after = page[-1][0]

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
            step.finish(record, _change(record, by, "", created=record))
            return messages.hash_list(step, record)

    def set_policy(
        self, name: str, policy: lists_pb2.Policy, *, reason: str = "", by: str
    ) -> lists_pb2.HashList:
        """The list under its new policy, which replaces the old one whole.

        Raises:
            NotFound, Malformed: names the field.
        """
        checked = terms.policy(policy, self._recipes)
        reason = terms.text(reason, "reason")
        with self._store.step() as step:
            record = step.list(name)
            record.policy.CopyFrom(checked)
            step.finish(record, _change(record, by, reason, policy=checked))
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
    def _swap(
        step: ListStep, record: ListRecord, version: VersionRecord, by: str, reason: str
    ) -> lists_pb2.HashList:
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
        label: str = "",
        source_id: str = "",
        reason: str,
        by: str,
    ) -> lists_pb2.AddEntryResponse:
        """The entry that is now listed and searched, and the revision from which on it is.

        Raises:
            NotFound, Malformed: names the field.
            Conflict: it is listed already.
            Refused: there are too many single edits on this base.
        """
        self._check(fingerprint)
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
            revision = self._edit(step, record, contents, edit, 1, by, "add", entry.reason)
            return lists_pb2.AddEntryResponse(
                entry=messages.entry(self.entry_ids, record, contents, fingerprint, entry), revision=revision
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
            entry=messages.entry(self.entry_ids, record, contents, fingerprint, entry), revision=revision
        )

    def remove(
        self, name: str, which: Fingerprint | str, *, reason: str, by: str
    ) -> lists_pb2.RemoveEntryResponse:
        """The entry that was listed, and the revision from which on it is not. `which`: its fingerprint or its id.

        By id every entry of the list is looked at: about two seconds per million.

        Raises:
            NotFound: there is no such list or entry.
            Malformed: names the field.
            Refused: there are too many single edits on this base.
        """
        reason = terms.text(reason, "reason", required=True)
        fingerprint = self._named(name, which) if isinstance(which, str) else which
        self._check(fingerprint)
        hash_type, value = fingerprint.hash_type, fingerprint.value
        with self._store.step() as step:
            record = step.list(name)
            contents = versions.active_contents(step, record)
            entry = contents and contents.entry(step, hash_type, value)
            if contents is None or entry is None:
                raise NotFound(f"'{name}' has no such entry")
            answer = messages.entry(self.entry_ids, record, contents, fingerprint, entry)
            edit = EditRecord(hash_type=hash_type, value=value)
            revision = self._edit(step, record, contents, edit, -1, by, "remove", reason)
            return lists_pb2.RemoveEntryResponse(entry=answer, revision=revision)

    def _named(self, name: str, entry_id: str) -> Fingerprint:
        if len(entry_id) != ID_CHARS:
            raise Malformed(f"{len(entry_id)} characters, want {ID_CHARS}", field="entry_id")
        with self._store.view() as view:
            contents = versions.active_contents(view, view.list(name))
            for hash_type in contents.hash_types() if contents else ():
                for value, _ in contents.rows(view, hash_type) if contents else ():
                    fingerprint = Fingerprint(hash_type, value)
                    if self.entry_ids(name, fingerprint) == entry_id:
                        return fingerprint
        raise NotFound(f"'{name}' has no such entry")

    @staticmethod
    def _edit(
        step: ListStep, record: ListRecord, contents: Contents, edit: EditRecord, by_count: int, by: str, origin: str, reason: str,
    ) -> Revision:  # fmt: skip
        if contents.edits >= MAX_EDITS:
            raise Refused(
                f"'{record.name}' has {MAX_EDITS} single edits since its last import; import it again "
                "(`lists export`, then `lists import`), or import the entries to add with merge"
            )
        counts = dict(contents.version.entries)
        counts[edit.hash_type] = counts.get(edit.hash_type, 0) + by_count
        version = versions.put_edit(step, record, edit, counts, by, origin, reason)
        change = versions.change(record, by, reason)
        change.edited.CopyFrom(Edited(version=version.version, previous=version.parent, edit=edit))
        return step.finish(record, change)

    def _check(self, fingerprint: Fingerprint) -> None:
        recipe = self._recipes.get(fingerprint.hash_type)
        if recipe is None:
            raise Malformed(
                f"unknown hash type; known: {', '.join(sorted(self._recipes))}", field="fingerprint.hash_type"
            )
        guards.accept(fingerprint.value, recipe, field="fingerprint.value")
