"""What a version holds, in order of key, and how two such sequences compare or merge. Canaries are left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from hashmatch.store.lists import ListStore, ListView, Row
from hashmatch.v1.store_pb2 import EntryRecord


class Contents:
    """One version of a list.

    It keeps no transaction: every call is given the view to read in, and any view answers alike.
    """

    def __init__(self, view: ListView, list_number: int, version: int) -> None:
        self.list_number = list_number
        self.version = view.version(list_number, version)
        base = view.base_version(list_number, self.version)
        # Rows of a base leave it to the version it was written as to say who added them and when.
        self._attribution = EntryRecord(added_by=base.created_by, added_at=base.created_at).SerializeToString()

    def hash_types(self) -> list[str]:
        """The hash types that have entries."""
        return sorted(self.version.entries)

    def rows(self, view: ListView, hash_type: str, after: bytes | None = None) -> Iterator[Row]:
        """Keys and serialised entries in ascending order; from the first key above `after` where given."""
        return view.rows(self.list_number, self.version, hash_type, after)

    def all_rows(self, store: ListStore, hash_type: str) -> Iterator[Row]:
        """As `rows`, in short transactions."""
        return store.rows(self.list_number, self.version, hash_type)

    def entry(self, view: ListView, hash_type: str, key: bytes) -> EntryRecord | None:
        """The entry under exactly this key, where it is listed."""
        entry = view.entry(self.list_number, self.version, hash_type, key)
        return None if entry is None or entry.canary else entry

    def attributed(self, payload: bytes) -> bytes:
        """A serialised entry that says itself who added it and when."""
        # Messages of one kind joined are those messages merged, and nothing here is set twice.
        return payload if EntryRecord.FromString(payload).added_by else payload + self._attribution


def aligned(old: Iterable[Row], new: Iterable[Row]) -> Iterator[tuple[bytes, bytes | None, bytes | None]]:
    """Every key of two ascending sequences with its payload in each, None where it is not in that one."""
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


Said = tuple[str, str, str, str, int, int]


def says(payload: bytes) -> Said:
    """What an entry says about its media. Where it came from, when, and on which line, is no part of that."""
    entry = EntryRecord.FromString(payload)
    return (
        entry.label, entry.source_id, entry.source, entry.notes, entry.first_seen.seconds, entry.expires_at.seconds,
    )  # fmt: skip


SILENT: Said = ("", "", "", "", 0, 0)


def _same(before: bytes, given: bytes) -> bool:
    # Most rows of a list that comes again differ in their line alone, and those need no parsing.
    return before == given or (before[:1] == given[:1] == LINED and before[LINE_BYTES:] == given[LINE_BYTES:])


def lined(line: int) -> bytes:
    """The beginning of a serialised entry that came from a file: its line, always in LINE_BYTES bytes."""
    # A varint may be longer than it must, and every parser of protobuf reads it (encoding.md, "Base 128 Varints").
    return LINED + bytes(
        (line & 127 | 128, line >> 7 & 127 | 128, line >> 14 & 127 | 128, line >> 21 & 127 | 128, line >> 28)
    )


LINED = bytes((EntryRecord.LINE_FIELD_NUMBER << 3,))  # the tag of `line`, a varint
LINE_BYTES = 6
MAX_LINE = (1 << 35) - 1


def after_merge(before: bytes, given: bytes) -> bytes | None:
    """What a merge makes of an entry that is listed already; None where it stays.

    A file of bare fingerprints must not wipe the labels of those that are listed, so only what it says replaces.
    """
    return None if _same(before, given) or says(given) in (SILENT, says(before)) else given


def after_replacement(before: bytes, given: bytes) -> bytes | None:
    """What a file that replaces the list makes of an entry that is listed already; None where it stays."""
    return None if _same(before, given) or says(before) == says(given) else given


def merged(
    old: Iterable[Row], new: Iterable[Row], kept: Callable[[bytes], bytes] = lambda payload: payload
) -> Iterator[Row]:
    """The rows of `old` and of `new`, as `after_merge` has them; what stays of the old goes through `kept`."""
    for key, before, given in aligned(old, new):
        if before is None:
            yield key, given or b""
        elif given is None:
            yield key, kept(before)
        else:
            changed = after_merge(before, given)
            yield key, kept(before) if changed is None else changed
