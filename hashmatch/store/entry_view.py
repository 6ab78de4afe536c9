"""What the versions of one moment hold: a base's rows, with the edits of a version's lineage laid over them.

Bases and edits never change once a version names them, so a reader may go on in a later view where it left off in an
earlier one. Canaries lie among a base's rows; whoever reads entries leaves them out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import NamedTuple

from hashmatch.store import codec
from hashmatch.store.list_tables import (
    CANARY,
    CODE,
    KEY_AT,
    NUMBER,
    VERSION,
    entry_prefix,
    lineage,
    on_lineage,
    root_digest,
)
from hashmatch.store.list_view import RecordView, damaged
from hashmatch.v1.store_pb2 import EntryRecord, TombstoneRecord, VersionRecord

Row = tuple[bytes, bytes]
"""A row's key and its EntryRecord, serialised."""


class Edit(NamedTuple):
    """What one version did to one key: the entry as it stands from then on; None where it is gone."""

    hash_type: str
    key: bytes
    payload: bytes | None


class ListView(RecordView):
    """One moment of the lists. Valid inside `ListStore.view()` alone; keep it short."""

    def rows(
        self, list_number: int, version: VersionRecord, hash_type: str, after: bytes | None = None
    ) -> Iterator[Row]:
        """The entries of one hash type by key, canary left out; from the first above `after` where given."""
        base = self._base_rows(list_number, version.base, hash_type, after)
        if version.lineage_edits:
            base = _overlaid(base, self.latest_edits(list_number, version, hash_type, after))
        return (row for row in base if row[1] != CANARY)

    def _base_rows(self, list_number: int, base: int, hash_type: str, after: bytes | None) -> Iterator[Row]:
        if hash_type not in self._codes:
            return iter(())
        prefix = entry_prefix(list_number, base, self._codes[hash_type])
        rows = self._scan("entries", prefix, None if after is None else prefix + after)
        return ((key[KEY_AT:], payload) for key, payload in rows)

    def latest_edits(
        self, list_number: int, version: VersionRecord, hash_type: str, after: bytes | None = None
    ) -> Iterator[tuple[bytes, bytes | None]]:
        """Every key that the lineage edited, with what its last edit left; None where that is nothing."""
        if hash_type not in self._codes:
            return
        prefix = entry_prefix(list_number, version.base, self._codes[hash_type])
        # All of a key's versions are above the key itself, so what is skipped must end above them all.
        start = None if after is None else prefix + after + b"\xff" * NUMBER.size
        touched = (key for key, _ in self._scan("touched", prefix, start))
        for key, keys in groupby(touched, key=lambda touched: touched[KEY_AT : -NUMBER.size]):
            versions = [NUMBER.unpack(of_key[-NUMBER.size :])[0] for of_key in keys]
            newest = max((v for v in versions if on_lineage(version, v)), default=0)
            if newest:
                yield key, self._edited_to(list_number, newest, hash_type, key)

    def _edited_to(self, list_number: int, version: int, hash_type: str, key: bytes) -> bytes | None:
        payload = self._get("edits", entry_prefix(list_number, version, self._codes[hash_type]) + key)
        if payload is None:
            raise damaged("an edit of a hash list is missing")
        return None if EntryRecord.FromString(payload).removed else payload

    def entry(self, list_number: int, version: VersionRecord, hash_type: str, key: bytes) -> EntryRecord | None:
        """The entry under exactly this key, where the version lists one; it may be the canary."""
        code = self._get("types", hash_type.encode())  # not from all codes: look-ups wait for this
        if code is None:
            return None
        if version.lineage_edits:
            prefix = VERSION.pack(list_number, version.base) + code + key
            versions = (NUMBER.unpack(touched[-NUMBER.size :])[0] for touched, _ in self._scan("touched", prefix))
            newest = max((v for v in versions if on_lineage(version, v)), default=0)
            if newest:
                payload = self._edited_to(list_number, newest, hash_type, key)
                return None if payload is None else EntryRecord.FromString(payload)
        payload = self._get("entries", VERSION.pack(list_number, version.base) + code + key)
        return None if payload is None else EntryRecord.FromString(payload)

    def base_version(self, list_number: int, version: VersionRecord) -> VersionRecord:
        """The version that a version's base was written as: the parent of the first edit on its lineage."""
        while version.parent:
            first = version.lineage[0].first
            version = self.version(list_number, first if first != version.version else version.parent)
        return version

    def edits(self, list_number: int, version: VersionRecord) -> list[Edit]:
        """What a version changed on its parent, by hash type and key, once all of it was verified.

        Raises:
            Corrupt: a row, their digest or their number is not what was written.
        """
        if not version.parent:
            return []
        names = {code: name for name, code in self._codes.items()}
        parent = self.version(list_number, version.parent)
        digest = root_digest()
        digest.update(parent.edits_digest or parent.root_digest)
        found = []
        for key, stored in self._raw("edits", VERSION.pack(list_number, version.version)):
            digest.update(key)
            digest.update(stored)
            payload = codec.unseal(key, stored, "edits")
            (code,) = CODE.unpack_from(key, VERSION.size)
            if code not in names:
                raise damaged("a hash type is missing")
            gone = EntryRecord.FromString(payload).removed
            found.append(Edit(names[code], key[KEY_AT:], None if gone else payload))
        if digest.digest() != version.edits_digest or len(found) != version.edits:
            raise damaged("the edits of a hash list do not have their digest")
        return found

    def touches(self, list_number: int, version: VersionRecord, hash_type: str, key: bytes) -> bool:
        """Whether the derived table knows that a version edited a key."""
        prefix = entry_prefix(list_number, version.base, self._codes[hash_type])
        return self._get("touched", prefix + key + NUMBER.pack(version.version)) is not None

    def differing(self, list_number: int, old: VersionRecord, new: VersionRecord) -> Iterable[Edit]:
        """The keys that may differ between two versions on one base, each as `new` has it.

        Raises:
            Corrupt: an edit is not what was written.
        """
        before, after = set(lineage(old)), set(lineage(new))
        if before <= after:
            last: dict[tuple[str, bytes], Edit] = {}
            for number in sorted(after - before):
                for edit in self.edits(list_number, self.version(list_number, number)):
                    last[edit.hash_type, edit.key] = edit
            return last.values()
        keys = {
            (edit.hash_type, edit.key)
            for number in before ^ after
            for edit in self.edits(list_number, self.version(list_number, number))
        }
        return [self._as_listed(list_number, new, hash_type, key) for hash_type, key in sorted(keys)]

    def _as_listed(self, list_number: int, version: VersionRecord, hash_type: str, key: bytes) -> Edit:
        entry = self.entry(list_number, version, hash_type, key)
        return Edit(hash_type, key, None if entry is None else entry.SerializeToString())

    def tombstone(self, list_number: int, hash_type: str, key: bytes) -> TombstoneRecord | None:
        """Who removed this key by hand, where somebody did and nobody has added it since."""
        code = self._codes.get(hash_type)
        payload = None if code is None else self._get("tombstones", NUMBER.pack(list_number) + CODE.pack(code) + key)
        return None if payload is None else TombstoneRecord.FromString(payload)

    def tombstones(self, list_number: int, hash_type: str) -> set[bytes]:
        """The keys of one hash type that were removed by hand."""
        code = self._codes.get(hash_type)
        if code is None:
            return set()
        prefix = NUMBER.pack(list_number) + CODE.pack(code)
        return {key[len(prefix) :] for key, _ in self._scan("tombstones", prefix)}


def _overlaid(base: Iterator[Row], edited: Iterator[tuple[bytes, bytes | None]]) -> Iterator[Row]:
    """Rows of a base with edits in place of theirs; both in ascending order."""
    row, edit = next(base, None), next(edited, None)
    while edit is not None:
        key, payload = edit
        while row is not None and row[0] < key:
            yield row
            row = next(base, None)
        if row is not None and row[0] == key:
            row = next(base, None)
        if payload is not None:
            yield key, payload
        edit = next(edited, None)
    if row is not None:
        yield row
        yield from base


__all__ = ["Edit", "ListView", "Row"]
