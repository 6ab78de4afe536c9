"""Hash lists as they are kept: views to read one moment of them, steps to write one change.

A version is immutable. It is either a base (an import: rows in `entries`) or one edit on its parent, standing on the
same base; activating and rolling back swap the list's `active_version`. Every step is one transaction that carries its
own record in the change feed and the next revision, so whoever has applied the feed up to a revision has everything.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from hashmatch.errors import Refused
from hashmatch.store import codec
from hashmatch.store.env import Env
from hashmatch.store.list_tables import (
    CODE,
    ID_KEY_KEY,
    NUMBER,
    REVISION,
    TABLES,
    TOTALS_KEY,
    VERSION,
    entry_prefix,
    root_digest,
)
from hashmatch.store.list_view import CHUNK, ListView, Row
from hashmatch.types import Revision
from hashmatch.v1.store_pb2 import ChangeRecord, EntryRecord, ListRecord, VersionRecord

__all__ = ["ListStep", "ListStore", "ListView", "Row"]


class ListStep(ListView):
    """One write transaction: what is put here and the change that says so become visible together, or not at all."""

    def _put(self, table: str, key: bytes, payload: bytes) -> None:
        self._txn.put(key, codec.seal(key, payload), db=self._env.table(table))

    def new_list_number(self) -> int:
        """A number that no list has had."""
        return self._totals.lists + 1

    def put_id_key_digest(self, digest: bytes) -> None:
        self._put("totals", ID_KEY_KEY, digest)

    def put_version(self, list_number: int, version: VersionRecord) -> None:
        self._put("versions", VERSION.pack(list_number, version.version), version.SerializeToString())

    def put_base(self, list_number: int, base: int, rows: Mapping[str, Iterable[Row]]) -> bytes:
        """Writes the rows of a new base, canary included, and returns their root digest.

        Rows of each hash type come in strictly ascending order of value, since writing at random is ten times slower.
        """
        for hash_type in sorted(rows.keys() - self._codes.keys()):
            self._add_type(hash_type)
        digest = root_digest()
        for hash_type in sorted(rows, key=self._codes.__getitem__):
            self._put_rows(entry_prefix(list_number, base, self._codes[hash_type]), rows[hash_type], digest)
        return digest.digest()

    def _add_type(self, hash_type: str) -> None:
        self._totals = self._totals._replace(types=self._totals.types + 1)
        self._codes[hash_type] = self._totals.types
        self._put("types", hash_type.encode(), CODE.pack(self._totals.types))

    def _put_rows(self, prefix: bytes, rows: Iterable[Row], digest: hashlib.blake2b) -> None:
        with self._txn.cursor(self._env.table("entries")) as cursor:
            # At the end of the table pages are filled whole; in its middle they are split in halves.
            at_end = not cursor.last() or bytes(cursor.key()) < prefix
            rows = iter(rows)
            while chunk := list(islice(rows, CHUNK)):
                sealed = []
                for value, payload in chunk:
                    key = prefix + value
                    sealed.append((key, codec.seal(key, payload)))
                _, written = cursor.putmulti(sealed, overwrite=False, append=at_end)
                if written != len(sealed):
                    raise Refused("rows of a base must be new and in ascending order")
                digest.update(b"".join(part for row in sealed for part in row))

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


class ListStore:
    """The lists of one state directory. Safe to use from many threads; open it once per process."""

    def __init__(self, state: Path, *, readonly: bool = False) -> None:
        """Opens STATE/lists, making it where it is missing.

        Raises:
            BadConfig: the directory cannot be used.
            Corrupt: what is there is damaged.
        """
        self.state = state
        self.env = Env(state / "lists", TABLES, readonly=readonly)

    def close(self) -> None:
        self.env.close()

    def mark(self) -> int:
        """A number that changes whenever anything was written. About 1 µs."""
        return self.env.last_transaction()

    @contextmanager
    def view(self) -> Iterator[ListView]:
        """The lists as they are committed now, in one short read transaction."""
        with self.env.read() as txn:
            yield ListView(self.env, txn)

    @contextmanager
    def step(self) -> Iterator[ListStep]:
        """One change, synced when the block ends and undone when it raises. Waits for other writers.

        Raises:
            Corrupt: the lists are damaged.
            StoreFull, StoreFailed: the disk refused; nothing has changed.
        """
        with self.env.write() as txn:
            step = ListStep(self.env, txn)
            step.lists()  # nothing is built upon what is damaged
            yield step

    def entry(self, list_number: int, base: int, hash_type: str, value: bytes) -> EntryRecord | None:
        """As `ListView.entry`; a base never changes, so any moment answers."""
        with self.view() as view:
            return view.entry(list_number, base, hash_type, value)
