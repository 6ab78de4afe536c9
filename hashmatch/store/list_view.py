"""One moment of the hash lists, checked as it is read: rows by checksum, bases by root digest, tables by `Totals`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import islice
from typing import cast

import lmdb

from hashmatch.errors import Corrupt, NotFound
from hashmatch.store import codec
from hashmatch.store.env import Env
from hashmatch.store.list_tables import (
    CODE,
    ID_KEY_KEY,
    NUMBER,
    REVISION,
    TOTALS_KEY,
    VERSION,
    Totals,
)
from hashmatch.types import Revision
from hashmatch.v1.lists_pb2 import Proposal, Suppression
from hashmatch.v1.store_pb2 import ChangeRecord, DraftRecord, ListRecord, VersionRecord


def damaged(what: str) -> Corrupt:
    return Corrupt(f"{what}; stop, and restore the state directory from a backup")


def pairs(cursor: lmdb.Cursor) -> Iterator[tuple[bytes, bytes]]:
    return cast(Iterator[tuple[bytes, bytes]], cursor.iternext())  # never memoryviews: Env reads without buffers


class RecordView:
    """The records of one moment: lists, versions, changes. Valid inside `ListStore.view()` alone; keep it short."""

    def __init__(self, env: Env, txn: lmdb.Transaction) -> None:
        self._env, self._txn = env, txn

    @property
    def revision(self) -> Revision:
        """The last change; 0 where there was none."""
        return Revision(self._totals.revision)

    @cached_property
    def _totals(self) -> Totals:
        payload = self._get("totals", TOTALS_KEY)
        if payload is not None:
            return Totals.unpack(payload)
        for table in ("lists", "changes", "entries"):
            if self._txn.stat(self._env.table(table))["entries"]:
                raise damaged("the lists have lost their totals")
        return Totals()

    def _get(self, table: str, key: bytes) -> bytes | None:
        stored = self._txn.get(key, db=self._env.table(table))
        return None if stored is None else codec.unseal(key, cast(bytes, stored), table)

    def _scan(self, table: str, prefix: bytes = b"", after: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Keys and payloads under a prefix, in order, each checked; from the first key above `after` where given."""
        for key, stored in self._raw(table, prefix, after):
            yield key, codec.unseal(key, stored, table)

    def _raw(self, table: str, prefix: bytes = b"", after: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """As `_scan`, keys and stored values as they lie."""
        cursor = self._txn.cursor(self._env.table(table))
        start = prefix if after is None else after + b"\0"
        if not (cursor.set_range(start) if start else cursor.first()):
            return
        for key, stored in pairs(cursor):
            if not key.startswith(prefix):
                return
            yield key, stored

    @cached_property
    def _lists(self) -> dict[str, ListRecord]:
        table = self._env.table("lists")
        found = {}
        for key, stored in pairs(self._txn.cursor(table)):
            record = codec.read(key, stored, "lists", ListRecord)
            found[record.name] = record
        numbers = {NUMBER.unpack(key)[0]: name.decode() for key, name in self._scan("numbers")}
        if numbers != {r.list_number: name for name, r in found.items()} or len(found) != self._totals.lists:
            raise damaged("a hash list is missing")
        if max((r.revision for r in found.values()), default=0) != self.revision:
            raise damaged("the hash lists are not those of the last revision")
        return found

    def proposals(self) -> list[Proposal]:
        """Every change that waits for a second person, expired ones too, newest first."""
        found = [Proposal.FromString(payload) for _, payload in self._scan("proposals")]
        return sorted(found, key=lambda p: (p.at.seconds, p.at.nanos), reverse=True)

    def lists(self) -> list[ListRecord]:
        """Every list, by name."""
        return [self._lists[name] for name in sorted(self._lists)]

    def list(self, name: str) -> ListRecord:
        """The list of that name.

        Raises:
            NotFound: there is none.
        """
        if name not in self._lists:
            raise NotFound(f"no hash list is named '{name[:64]}'")
        return self._lists[name]

    def version(self, list_number: int, version: int) -> VersionRecord:
        """A version of a list.

        Raises:
            NotFound: the list never had it.
            Corrupt: the list had it.
        """
        payload = self._get("versions", VERSION.pack(list_number, version))
        if payload is None:
            last = next((r.last_version for r in self._lists.values() if r.list_number == list_number), 0)
            if 0 < version <= last:
                raise damaged("a version of a hash list is missing")
            raise NotFound(f"there is no version {version}")
        return VersionRecord.FromString(payload)

    def versions(self, record: ListRecord) -> Iterator[VersionRecord]:
        """The versions of a list, newest first."""
        return (self.version(record.list_number, number) for number in range(record.last_version, 0, -1))

    @cached_property
    def _codes(self) -> dict[str, int]:
        found = {name.decode(): CODE.unpack(code)[0] for name, code in self._scan("types")}
        if len(found) != self._totals.types:
            raise damaged("a hash type is missing")
        return found

    def hash_types(self) -> frozenset[str]:
        """The hash types that any list ever had an entry of."""
        return frozenset(self._codes)

    def changes(self, after: Revision, limit: int) -> Sequence[ChangeRecord]:
        """At most `limit` changes that follow revision `after`, in order.

        Raises:
            Corrupt: one is missing.
        """
        wanted = range(after + 1, min(self.revision, after + limit) + 1)
        found = []
        for _, payload in islice(self._scan("changes", after=REVISION.pack(after)), len(wanted)):
            found.append(ChangeRecord.FromString(payload))
        if [change.revision for change in found] != list(wanted):
            raise damaged("a change of the hash lists is missing")
        return found

    def suppressions(self, list_number: int) -> Sequence[Suppression]:
        """What is suppressed in a list, in force or expired."""
        return [Suppression.FromString(payload) for _, payload in self._scan("suppressions", NUMBER.pack(list_number))]

    def drafts(self) -> Sequence[DraftRecord]:
        """Imports that are being written, or were broken off."""
        return [DraftRecord.FromString(payload) for _, payload in self._scan("drafts")]

    def id_key_digest(self) -> bytes | None:
        """Digest of the key that entry ids were made with; None before the first list."""
        return self._get("totals", ID_KEY_KEY)
