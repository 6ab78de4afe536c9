"""Changing the hash lists: everything that the service and the command line can do to them.

Every change is one step of the store, so it happens whole or not at all, waits its turn behind other writers, and
leaves a record of who did it and why. `by` names who does it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import BinaryIO

from hashmatch import clock, convert
from hashmatch.errors import Conflict, Refused
from hashmatch.examine import examine
from hashmatch.index.recipe import Recipe
from hashmatch.lists import canary, drafts, messages, report, staging, terms, versions
from hashmatch.lists.editor import ListEditor
from hashmatch.lists.entry_ids import EntryIds
from hashmatch.lists.ingest import Progress, ingest
from hashmatch.roles import ANONYMOUS
from hashmatch.store.entry_view import ListView
from hashmatch.store.lists import ListStep, ListStore
from hashmatch.v1 import lists_pb2
from hashmatch.v1.store_pb2 import ListRecord, VersionRecord

__all__ = ["EntryIds", "ListKeeper"]


class ListKeeper(ListEditor):
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

    def check_policy(self, policy: lists_pb2.Policy) -> lists_pb2.Policy:
        """The policy as it would be stored.

        Raises:
            Malformed: names the field.
        """
        return terms.policy(policy, self._recipes)

    def set_policy(
        self,
        name: str,
        policy: lists_pb2.Policy,
        *,
        reason: str = "",
        by: str,
        approver: str = "",
        instead_of: lists_pb2.Policy | None = None,
    ) -> lists_pb2.HashList:
        """The list under its new policy, which replaces the old one whole.

        Args:
            instead_of: the policy that must be in force until then, where that matters.
        Raises:
            NotFound, Malformed: names the field.
            Refused: the list wants two persons for this (`proposals.py` is how they come together), or another policy
                is in force.
        """
        checked = self.check_policy(policy)
        reason = terms.text(reason, "reason")
        with self._store.step() as step:
            record = step.list(name)
            if record.policy.two_person and checked != record.policy and approver in ("", by):
                raise Refused(f"'{name}' wants another person than {by} to approve this")
            if instead_of is not None and instead_of != record.policy:
                raise Refused(f"the policy of '{name}' has changed since this was proposed; propose it again")
            record.policy.CopyFrom(checked)
            change = versions.change(record, by, reason)
            change.approver = approver
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
        that this does not matter, and where the list does not want a second person for that. A file of which nothing is
        accepted stages nothing.

        Raises:
            NotFound, Malformed: names the field of ImportHeader.
            StoreFull, StoreFailed: the disk refused; nothing has changed.
        """
        checked = lists_pb2.ImportHeader()
        checked.CopyFrom(header)
        checked.origin = terms.text(header.origin, "origin")
        with self._store.view() as view:
            record = view.list(header.name)
        with drafts.directory(self._store.state) as directory:
            found = ingest(
                file, checked, self._recipes, dict(record.canary_fingerprints), directory,
                benign=record.policy.benign, progress=progress,
            )  # fmt: skip
            found.settle(self._recipes, lambda hash_type: self._removed_by_hand(record, hash_type), progress)
            answer = report.told(found, checked)
            report.look_further(self._store, record, found, answer, self._recipes, self)
            activate = (
                header.activate
                and (allow_rejects or not found.rejected)
                and (allow_rejects or not answer.refusal)
                and not record.policy.two_person
            )
            staging.finish(self._store, checked, found, answer, activate=activate, by=by, progress=progress)
        return answer

    def _removed_by_hand(self, record: ListRecord, hash_type: str) -> set[bytes]:
        """What imports leave out: removed by hand, and not listed again by going back to a version before that."""
        with self._store.view() as view:
            removed = view.tombstones(record.list_number, hash_type)
            active = versions.active_contents(view, record) if removed else None
            return {key for key in removed if active is None or active.entry(view, hash_type, key) is None}

    def activate(
        self, name: str, version: int = 0, *, reason: str = "", allow_rejects: bool = False, by: str
    ) -> lists_pb2.HashList:
        """The list with a version active: the newest staged one, or the one named, whether it was active before or not.

        Raises:
            NotFound: no such list or version.
            Refused: nothing is staged, it is active already, it was merged onto what is no longer active, too much of
                its file was rejected, or the list wants another person for this.
        """
        reason = terms.text(reason, "reason")
        with self._store.step() as step:
            record = step.list(name)
            wanted = step.version(record.list_number, version) if version else versions.newest_staged(step, record)
            if not wanted.HasField("first_activated_at"):
                if wanted.report.refusal and not allow_rejects:
                    raise Refused(f"version {wanted.version} of '{name}': {wanted.report.refusal}")
                if record.policy.two_person and by == ANONYMOUS:
                    raise Refused(f"'{name}' wants a second person, who must be known: show a key")
                if record.policy.two_person and wanted.created_by == by:
                    raise Refused(
                        f"version {wanted.version} of '{name}' was made by {by}: this list wants another person to "
                        "activate it"
                    )
            elif record.policy.two_person and wanted.version != record.active_version:
                raise Refused(
                    f"version {wanted.version} of '{name}' was active before: roll back to it, which another person "
                    "approves"
                )
            return self._swap(step, record, wanted, by, reason)

    def roll_back(
        self, name: str, version: int = 0, *, reason: str = "", by: str, approver: str = ""
    ) -> lists_pb2.HashList:
        """The list with a version active that was active before: the one before the present one, or the one named.

        Raises:
            NotFound: no such list or version.
            Refused: nothing was active before, the version named never was, or the list wants another person for this.
        """
        reason = terms.text(reason, "reason")
        with self._store.step() as step:
            record = step.list(name)
            wanted = step.version(record.list_number, self._earlier(step, record, version))
            if record.policy.two_person and approver in ("", by):
                raise Refused(f"'{name}' wants another person than {by} to approve this: propose it")
            return self._swap(step, record, wanted, by, reason, approver)

    def version_before(self, name: str, version: int = 0) -> int:
        """The version that `roll_back` would make active. Raises as it does."""
        with self._store.view() as view:
            return self._earlier(view, view.list(name), version)

    @staticmethod
    def _earlier(view: ListView, record: ListRecord, version: int) -> int:
        if not version and record.active_version:
            version = view.version(record.list_number, record.active_version).activated_after
        if not version:
            raise Refused(f"'{record.name}' had no version active before this one")
        if not view.version(record.list_number, version).HasField("first_activated_at"):
            raise Refused(f"version {version} of '{record.name}' was never active; activate it instead")
        return version

    @staticmethod
    def _swap(
        step: ListStep, record: ListRecord, version: VersionRecord, by: str, reason: str, approver: str = ""
    ) -> lists_pb2.HashList:
        change = versions.change(record, by, reason)
        change.approver = approver
        change.activated.CopyFrom(versions.make_active(step, record, version, by))
        step.finish(record, change)
        return messages.hash_list(step, record)
