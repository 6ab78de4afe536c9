"""Where the rows of the hash lists lie: tables of STATE/lists and their keys.

    lists         name                                          → ListRecord
    numbers       list u32                                      → name
    versions      list u32, version u32                         → VersionRecord
    types         hash type                                     → its code u16, which keys carry instead of the name
    entries       list u32, base u32, type u16, key             → EntryRecord
    edits         list u32, version u32, type u16, key          → EntryRecord: what that version changed on its parent
    touched       list u32, base u32, type u16, key, version    → nothing: which versions edited that key
    tombstones    list u32, type u16, key                       → TombstoneRecord: removed by hand
    suppressions  list u32, entry's digest                      → Suppression
    drafts        list u32, base u32                            → DraftRecord: rows of no version yet
    proposals     id                                            → Proposal: what waits for a second person
    changes       revision u64                                  → ChangeRecord, append-only
    totals        "totals"                                      → Totals, "entry-id-key" → digest of that key

A row's key is the fingerprint's value, or the value's digest where values of a type differ in length or are too long
for a key; so keys of one hash type have one length, and a base's rows joined are unambiguous and can be digested as
they lie. Numbers are big-endian, so key order is numeric order. Every value is sealed (see codec). `touched` is derived
from `edits`; `hashmatch check` derives it again.
"""

from __future__ import annotations

import hashlib
import struct
from typing import NamedTuple

from hashmatch.v1.store_pb2 import EntryRecord, VersionRecord

TABLES = (
    "lists", "numbers", "versions", "types", "entries", "edits", "touched", "tombstones", "suppressions", "drafts",
    "proposals", "changes", "totals",
)  # fmt: skip

NUMBER = struct.Struct(">I")
VERSION = struct.Struct(">II")  # list, version; of an entry's key: list, base
CODE = struct.Struct(">H")
REVISION = struct.Struct(">Q")
BASE_PREFIX = VERSION.size  # bytes of an entry's key before the type's code
KEY_AT = BASE_PREFIX + CODE.size  # bytes of an entry's key before the row's own

TOTALS_KEY = b"totals"
ID_KEY_KEY = b"entry-id-key"

CANARY = EntryRecord(canary=True).SerializeToString()  # the whole payload of a canary's row

_TOTALS = struct.Struct(">QII")


class Totals(NamedTuple):
    """What the tables must add up to, so that rows which vanish whole are missed.

    A checksum guards what a row says, not that it is there: one flipped bit in a page's header hides rows, and one in
    a page's number shows an older copy of a table. Every step raises `revision`, here and in the list it touches.
    """

    revision: int = 0
    lists: int = 0
    types: int = 0

    def pack(self) -> bytes:
        return _TOTALS.pack(*self)

    @classmethod
    def unpack(cls, packed: bytes) -> Totals:
        return cls(*_TOTALS.unpack(packed))


def entry_prefix(list_number: int, base: int, code: int) -> bytes:
    """What the keys of one hash type's rows in one base, or one version's edits, begin with."""
    return VERSION.pack(list_number, base) + CODE.pack(code)


def root_digest() -> hashlib.blake2b:
    """The digest that a base's root is taken with: over key and stored value of every row, in key order."""
    return hashlib.blake2b(digest_size=32)


def content_digest(version: VersionRecord) -> bytes:
    """What tells a version's content from any other: its base's root, and its edits' digest, which chains to those
    before."""
    return version.edits_digest or version.root_digest


def on_lineage(version: VersionRecord, edited: int) -> bool:
    """Whether the edits of version `edited` count for `version`."""
    return any(span.first <= edited <= span.last for span in version.lineage)


def spans(version: VersionRecord) -> list[tuple[int, int]]:
    """A version's lineage as first and last versions."""
    return [(span.first, span.last) for span in version.lineage]


def extended(older: list[tuple[int, int]], version: int) -> list[tuple[int, int]]:
    """A lineage that goes on with one more version."""
    if older and older[-1][1] == version - 1:
        return [*older[:-1], (older[-1][0], version)]
    return [*older, (version, version)]


def lineage(version: VersionRecord) -> list[int]:
    """The versions whose edits count for this one, ascending."""
    return [number for span in version.lineage for number in range(span.first, span.last + 1)]
