"""One change of the hash lists: what a write transaction puts, and the record in the change feed that says so."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

from hashmatch import clock
from hashmatch.errors import Refused
from hashmatch.store import codec
from hashmatch.store.entry_view import Edit, ListView, Row
from hashmatch.store.list_tables import (
    CODE,
    ID_KEY_KEY,
    NUMBER,
    REVISION,
    TOTALS_KEY,
    VERSION,
    content_digest,
    entry_prefix,
    extended,
    root_digest,
    spans,
)
from hashmatch.types import Revision
from hashmatch.v1.lists_pb2 import Proposal, Suppression
from hashmatch.v1.store_pb2 import ChangeRecord, DraftRecord, EntryRecord, ListRecord, TombstoneRecord, VersionRecord

CHUNK = 1 << 12  # rows handled at once: large enough to amortise a call, small enough for a cache
REMOVED = EntryRecord(removed=True).SerializeToString()


class ListStep(ListView):
    """One write transaction: what is put here and the change that says so become visible together, or not at all."""

    def _put(self, table: str, key: bytes, payload: bytes) -> None:
        self._txn.put(key, codec.seal(key, payload), db=self._env.table(table))

    def _delete(self, table: str, key: bytes) -> None:
        self._txn.delete(key, db=self._env.table(table))

    def new_list_number(self) -> int:
        """A number that no list has had."""
        return self._totals.lists + 1

    def put_id_key_digest(self, digest: bytes) -> None:
        self._put("totals", ID_KEY_KEY, digest)

    def put_version(self, list_number: int, version: VersionRecord) -> None:
        self._put("versions", VERSION.pack(list_number, version.version), version.SerializeToString())

    def code_of(self, hash_type: str) -> int:
        """The code that keys carry for a hash type; a new type gets the next one."""
        if hash_type not in self._codes:
            self._totals = self._totals._replace(types=self._totals.types + 1)
            self._codes[hash_type] = self._totals.types
            self._put("types", hash_type.encode(), CODE.pack(self._totals.types))
            self._put("totals", TOTALS_KEY, self._totals.pack())
        return self._codes[hash_type]

    # ── bases ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def open_draft(self, list_number: int) -> int:
        """The number of a new base, whose rows may now be put."""
        used = [draft.base for draft in self.drafts() if draft.list_number == list_number]
        used += [record.last_version for record in self.lists() if record.list_number == list_number]
        with self._txn.cursor(self._env.table("entries")) as cursor:
            found = cursor.set_range(NUMBER.pack(list_number + 1))
            found = cursor.prev() if found else cursor.last()
            if found and bytes(cursor.key()).startswith(NUMBER.pack(list_number)):
                used.append(VERSION.unpack_from(cursor.key())[1])
        base = max(used, default=0) + 1
        draft = DraftRecord(list_number=list_number, base=base)
        draft.at.FromDatetime(clock.now())
        self._put("drafts", VERSION.pack(list_number, base), draft.SerializeToString())
        return base

    def put_base(self, list_number: int, rows: Mapping[str, Iterable[Row]]) -> tuple[int, bytes]:
        """Writes a base of a few rows as part of this step; its number and root digest."""
        codes = {hash_type: self.code_of(hash_type) for hash_type in sorted(rows)}
        base, digest = self.open_draft(list_number), root_digest()
        for hash_type in sorted(rows, key=codes.__getitem__):
            self.put_rows(list_number, base, hash_type, rows[hash_type], digest)
        self.close_draft(list_number, base)
        return base, digest.digest()

    def close_draft(self, list_number: int, base: int) -> None:
        """Lets a version have the rows."""
        self._delete("drafts", VERSION.pack(list_number, base))

    def put_rows(
        self, list_number: int, base: int, hash_type: str, rows: Iterable[Row], digest: hashlib.blake2b
    ) -> int:
        """Writes rows of a draft, in strictly ascending order of key, adds them to its root digest, returns how many.

        Raises:
            Refused: they are not ascending.
        """
        prefix = entry_prefix(list_number, base, self.code_of(hash_type))
        number = 0
        with self._txn.cursor(self._env.table("entries")) as cursor:
            # At the end of the table pages are filled whole; in its middle they are split in halves.
            at_end = not cursor.last() or bytes(cursor.key()) < prefix or bytes(cursor.key()).startswith(prefix)
            rows = iter(rows)
            while some := list(islice(rows, CHUNK)):
                sealed = _sealed(prefix, some)
                _, written = cursor.putmulti(sealed, overwrite=False, append=at_end)
                if written != len(sealed):
                    raise Refused("rows of a base must be new and in ascending order")
                digest.update(b"".join(part for row in sealed for part in row))
                number += len(sealed)
        return number

    def delete_rows(self, list_number: int, base: int, limit: int) -> bool:
        """Deletes at most `limit` rows of a draft; whether there may be more."""
        prefix = VERSION.pack(list_number, base)
        with self._txn.cursor(self._env.table("entries")) as cursor:
            for _ in range(limit):
                if not cursor.set_range(prefix) or not bytes(cursor.key()).startswith(prefix):
                    return False
                cursor.delete()
        return True

    # ── edits ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def put_edits(self, list_number: int, version: VersionRecord, parent: VersionRecord, edits: Iterable[Edit]) -> None:
        """Writes what a new version changes on its parent, each key once, and what `version` says of it."""
        rows = sorted((self.code_of(edit.hash_type), edit.key, edit.payload) for edit in edits)
        digest = root_digest()
        digest.update(content_digest(parent))
        sealed, touched = [], []
        for code, key, payload in rows:
            at = entry_prefix(list_number, version.version, code) + key
            stored = codec.seal(at, REMOVED if payload is None else payload)
            sealed.append((at, stored))
            digest.update(at)
            digest.update(stored)
            derived = entry_prefix(list_number, parent.base, code) + key + NUMBER.pack(version.version)
            touched.append((derived, codec.seal(derived, b"")))
        for table, written in (("edits", sealed), ("touched", touched)):
            with self._txn.cursor(self._env.table(table)) as cursor:
                cursor.putmulti(written, overwrite=False)
        version.base, version.parent, version.root_digest = parent.base, parent.version, parent.root_digest
        version.edits, version.edits_digest = len(rows), digest.digest()
        version.lineage_edits = parent.lineage_edits + len(rows)
        for first, last in extended(spans(parent), version.version):
            version.lineage.add(first=first, last=last)

    def put_tombstone(self, list_number: int, hash_type: str, key: bytes, record: TombstoneRecord) -> None:
        at = NUMBER.pack(list_number) + CODE.pack(self.code_of(hash_type)) + key
        self._put("tombstones", at, record.SerializeToString())

    def drop_tombstone(self, list_number: int, hash_type: str, key: bytes) -> None:
        self._delete("tombstones", NUMBER.pack(list_number) + CODE.pack(self.code_of(hash_type)) + key)

    def put_suppression(self, list_number: int, entry_digest: bytes, suppression: Suppression) -> None:
        self._put("suppressions", NUMBER.pack(list_number) + entry_digest, suppression.SerializeToString())

    def drop_suppression(self, list_number: int, entry_digest: bytes) -> bool:
        """Whether there was one."""
        at = NUMBER.pack(list_number) + entry_digest
        return self._txn.delete(at, db=self._env.table("suppressions"))

    def put_proposal(self, proposal: Proposal) -> None:
        self._put("proposals", proposal.id.encode(), proposal.SerializeToString())

    def drop_proposal(self, proposal_id: str) -> None:
        self._delete("proposals", proposal_id.encode())

    def finish(self, record: ListRecord, change: ChangeRecord) -> Revision:
        """Stores the list as it is now with the change that led there, and returns the new revision: a step's end."""
        revision = Revision(self.revision + 1)
        record.revision = revision
        if change.HasField("created"):
            change.created.revision = revision
            self._totals = self._totals._replace(lists=self._totals.lists + 1)
            self._put("numbers", NUMBER.pack(record.list_number), record.name.encode())
        change.revision = revision
        self._put("lists", record.name.encode(), record.SerializeToString())
        self._put("changes", REVISION.pack(revision), change.SerializeToString())
        self._totals = self._totals._replace(revision=revision)
        self._put("totals", TOTALS_KEY, self._totals.pack())
        self.__dict__.pop("_lists", None)  # what was read before is no longer so
        return revision


def _sealed(prefix: bytes, rows: Sequence[Row]) -> list[tuple[bytes, bytes]]:
    sealed = []
    for own, payload in rows:
        key = prefix + own
        sealed.append((key, codec.seal(key, payload)))
    return sealed
