"""What a version holds, in order of value, and how two such sequences compare or merge. Canaries are left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from hashmatch.store.list_tables import CANARY
from hashmatch.store.lists import ListView, Row
from hashmatch.v1.lists_pb2 import Diff
from hashmatch.v1.store_pb2 import EntryRecord, VersionRecord


class Contents:
    """One version of a list: its base's rows with the edits laid over them.

    It keeps no transaction: every call is given the view to read in, and any view answers alike.
    """

    def __init__(self, view: ListView, list_number: int, version: int) -> None:
        self.list_number = list_number
        self.version = view.version(list_number, version)
        self.base: VersionRecord = view.version(list_number, self.version.base)
        edits = view.edits(list_number, version)
        self.edits = len(edits)
        # Rows of an import leave it to their version to say who added them and when.
        self._attribution = EntryRecord(
            added_by=self.base.created_by, added_at=self.base.created_at
        ).SerializeToString()
        self._edited: dict[str, dict[bytes, EntryRecord | None]] = {}
        for edit in edits:
            self._edited.setdefault(edit.hash_type, {})[edit.value] = edit.entry if edit.HasField("entry") else None

    def hash_types(self) -> list[str]:
        """The hash types that have entries."""
        return sorted(self.version.entries)

    def rows(self, view: ListView, hash_type: str, after: bytes | None = None) -> Iterator[Row]:
        """Values and serialised entries in ascending order; from the first value above `after` where given."""
        base = view.scan(self.list_number, self.version.base, hash_type, after)
        edited = self._edited.get(hash_type)
        if not edited:
            return (row for row in base if row[1] != CANARY)
        laid_over = sorted(value for value in edited if after is None or value > after)
        return self._overlaid(base, ((value, b"") for value in laid_over), edited)

    @staticmethod
    def _overlaid(
        base: Iterator[Row], laid_over: Iterator[Row], edited: dict[bytes, EntryRecord | None]
    ) -> Iterator[Row]:
        for value, below, above in aligned(base, laid_over):
            if above is not None:
                entry = edited[value]
                if entry is not None:
                    yield value, entry.SerializeToString()
            elif below is not None and below != CANARY:
                yield value, below

    def entry(self, view: ListView, hash_type: str, value: bytes) -> EntryRecord | None:
        """The entry under exactly this value, where it is listed."""
        if value in self._edited.get(hash_type, {}):
            return self._edited[hash_type][value]
        entry = view.entry(self.list_number, self.version.base, hash_type, value)
        return None if entry is None or entry.canary else entry

    def attributed(self, payload: bytes) -> bytes:
        """A serialised entry that says itself who added it and when."""
        # Messages of one kind joined are those messages merged, and nothing here is set twice.
        return payload if EntryRecord.FromString(payload).added_by else payload + self._attribution


def aligned(old: Iterable[Row], new: Iterable[Row]) -> Iterator[tuple[bytes, bytes | None, bytes | None]]:
    """Every value of two ascending sequences with its payload in each, None where it is not in that one."""
    older, newer = iter(old), iter(new)
    a, b = next(older, None), next(newer, None)
    while a is not None and b is not None:
        if a[0] < b[0]:
            yield a[0], a[1], None
            a = next(older, None)
        elif b[0] < a[0]:
            yield b[0], None, b[1]
            b = next(newer, None)
        else:
            yield a[0], a[1], b[1]
            a, b = next(older, None), next(newer, None)
    while a is not None:
        yield a[0], a[1], None
        a = next(older, None)
    while b is not None:
        yield b[0], None, b[1]
        b = next(newer, None)


def diff(old: Iterable[Row], new: Iterable[Row]) -> Diff:
    """What `new` has against `old`. Where an entry came from, and when, is no change of it."""
    added = removed = changed = unchanged = 0
    for _, before, after in aligned(old, new):
        if before is None:
            added += 1
        elif after is None:
            removed += 1
        elif before == after or _says(before) == _says(after):
            unchanged += 1
        else:
            changed += 1
    return Diff(added=added, removed=removed, changed=changed, unchanged=unchanged)


def _says(payload: bytes) -> tuple[str, str]:
    entry = EntryRecord.FromString(payload)
    return entry.label, entry.source_id


def merged(
    old: Iterable[Row], new: Iterable[Row], kept: Callable[[bytes], bytes] = lambda payload: payload
) -> Iterator[Row]:
    """The rows of `old` and of `new`; what stays of the old goes through `kept`.

    Where both have a value the old entry stays, unless the new one says something else about it: a file of bare
    fingerprints must not wipe the labels of those that are listed already.
    """
    for value, before, after in aligned(old, new):
        if before is None:
            yield value, after or b""
        elif after is None or before == after or _says(after) in (("", ""), _says(before)):
            yield value, kept(before)
        else:
            yield value, after


def with_canary(rows: Iterable[Row], canary: bytes) -> Iterator[Row]:
    """`rows` and the canary's, in order of value."""
    for value, payload, is_canary in aligned(rows, [(canary, CANARY)]):
        yield value, is_canary or payload or b""
