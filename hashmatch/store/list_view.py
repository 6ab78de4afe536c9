"""One moment of the hash lists, checked as it is read: rows by checksum, bases by root digest, tables by `Totals`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import chain, groupby, islice
from typing import cast

import lmdb

from hashmatch.errors import Corrupt, NotFound
from hashmatch.store import codec
from hashmatch.store.env import Env
from hashmatch.store.list_tables import (
    BASE_PREFIX,
    CODE,
    ID_KEY_KEY,
    NUMBER,
    REVISION,
    TOTALS_KEY,
    VALUE_AT,
    VERSION,
    Totals,
    entry_prefix,
    root_digest,
)
from hashmatch.types import Revision
from hashmatch.v1.store_pb2 import ChangeRecord, EditRecord, EntryRecord, ListRecord, VersionRecord

Row = tuple[bytes, bytes]
"""A value and its EntryRecord, serialised."""

CHUNK = 1 << 12  # rows handled at once: large enough to amortise a call, small enough for a cache


def _damaged(what: str) -> Corrupt:
    return Corrupt(f"{what}; stop, and restore the state directory from a backup")


def _code(row: tuple[bytes, bytes]) -> int:
    return int.from_bytes(row[0][BASE_PREFIX:VALUE_AT], "big")


def _by_code(rows: list[tuple[bytes, bytes]]) -> Iterable[tuple[int, Iterable[tuple[bytes, bytes]]]]:
    """Entries in key order, parted by the code of their hash type."""
    if rows and _code(rows[0]) == _code(rows[-1]):  # nearly always, and twice as fast
        return [(_code(rows[0]), rows)]
    return groupby(rows, _code)


def _pairs(cursor: lmdb.Cursor) -> Iterator[tuple[bytes, bytes]]:
    """Keys and stored values from where the cursor stands."""
    return cast(Iterator[tuple[bytes, bytes]], cursor.iternext())  # never memoryviews: Env reads without buffers


class ListView:
    """One moment of the lists. Valid inside `ListStore.view()` alone; keep it short."""

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
                raise _damaged("the lists have lost their totals")
        return Totals()

    def _get(self, table: str, key: bytes) -> bytes | None:
        stored = self._txn.get(key, db=self._env.table(table))
        return None if stored is None else codec.unseal(key, cast(bytes, stored), table)

    def _scan(self, table: str, prefix: bytes = b"", after: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Keys and payloads under a prefix, in order, each checked; from the first key above `after` where given."""
        cursor = self._txn.cursor(self._env.table(table))
        start = prefix if after is None else after + b"\0"
        if not (cursor.set_range(start) if start else cursor.first()):
            return
        for key, stored in _pairs(cursor):
            if not key.startswith(prefix):
                return
            yield key, codec.unseal(key, stored, table)

    @cached_property
    def _lists(self) -> dict[str, ListRecord]:
        table = self._env.table("lists")
        found = {}
        for key, stored in _pairs(self._txn.cursor(table)):
            record = codec.read(key, stored, "lists", ListRecord)
            found[record.name] = record
        numbers = {NUMBER.unpack(key)[0]: name.decode() for key, name in self._scan("numbers")}
        if numbers != {r.list_number: name for name, r in found.items()} or len(found) != self._totals.lists:
            raise _damaged("a hash list is missing")
        if max((r.revision for r in found.values()), default=0) != self.revision:
            raise _damaged("the hash lists are not those of the last revision")
        return found

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
                raise _damaged("a version of a hash list is missing")
            raise NotFound(f"there is no version {version}")
        return VersionRecord.FromString(payload)

    def versions(self, record: ListRecord) -> Iterator[VersionRecord]:
        """The versions of a list, newest first."""
        return (self.version(record.list_number, number) for number in range(record.last_version, 0, -1))

    def edits(self, list_number: int, version: int) -> Sequence[EditRecord]:
        """The edits that lead from its base to this version, oldest first."""
        found = []
        record = self.version(list_number, version)
        while record.version != record.base:
            found.append(record.edit)
            record = self.version(list_number, record.parent)
        return found[::-1]

    @cached_property
    def _codes(self) -> dict[str, int]:
        found = {name.decode(): CODE.unpack(code)[0] for name, code in self._scan("types")}
        if len(found) != self._totals.types:
            raise _damaged("a hash type is missing")
        return found

    def scan(self, list_number: int, base: int, hash_type: str, after: bytes | None = None) -> Iterator[Row]:
        """The rows of one hash type in a base, by value, canary included; from the first above `after` where given."""
        if hash_type not in self._codes:
            return
        prefix = entry_prefix(list_number, base, self._codes[hash_type])
        cursor = self._txn.cursor(self._env.table("entries"))
        if not cursor.set_range(prefix if after is None else prefix + after + b"\0"):
            return
        for key, stored in _pairs(cursor):
            if not key.startswith(prefix):
                return
            yield key[VALUE_AT:], codec.unseal(key, stored, "entries")

    def verify_base(self, list_number: int, version: VersionRecord) -> dict[str, bytes]:
        """The values of each hash type under `version`, packed in order, canary included, after one scan of its base.

        Under a second per million entries: loading a server waits for this. The root digest covers every byte of every
        row, checksums included, so rows are not checked one by one as well.

        Raises:
            Corrupt: a row, the root digest or a count is not what was written.
        """
        packed: dict[int, list[bytes]] = {}
        counts: dict[int, int] = {}
        digest = root_digest()
        prefix = VERSION.pack(list_number, version.base)
        cursor = self._txn.cursor(self._env.table("entries"))
        rows = _pairs(cursor) if cursor.set_range(prefix) else iter(())
        while chunk := list(islice(rows, CHUNK)):
            within = chunk if chunk[-1][0].startswith(prefix) else [row for row in chunk if row[0].startswith(prefix)]
            digest.update(b"".join(chain.from_iterable(within)))
            for code, of_code in _by_code(within):
                values = [key[VALUE_AT:] for key, _ in of_code]
                packed.setdefault(code, []).append(b"".join(values))
                counts[code] = counts.get(code, 0) + len(values)
            if len(within) < len(chunk):
                break
        base = self.version(list_number, version.base)
        if digest.digest() != base.root_digest or base.root_digest != version.root_digest:
            raise _damaged("the entries of a hash list do not have its root digest")
        names = {code: name for name, code in self._codes.items()}
        if not counts.keys() <= names.keys():
            raise _damaged("a hash type is missing")
        canaries = next(r for r in self._lists.values() if r.list_number == list_number).canary_fingerprints
        listed = {names[code]: count - (names[code] in canaries) for code, count in counts.items()}
        if {hash_type: count for hash_type, count in listed.items() if count} != dict(base.entries):
            raise _damaged("the entries of a hash list do not add up")
        return {names[code]: b"".join(parts) for code, parts in packed.items()}

    def entry(self, list_number: int, base: int, hash_type: str, value: bytes) -> EntryRecord | None:
        """The row under exactly this value in a base, which may be the canary's; None where there is none."""
        code = self._get("types", hash_type.encode())  # not from all codes: look-ups of digests wait for this
        if code is None:
            return None
        payload = self._get("entries", VERSION.pack(list_number, base) + code + value)
        return None if payload is None else EntryRecord.FromString(payload)

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
            raise _damaged("a change of the hash lists is missing")
        return found

    def id_key_digest(self) -> bytes | None:
        """Digest of the key that entry ids were made with; None before the first list."""
        return self._get("totals", ID_KEY_KEY)
