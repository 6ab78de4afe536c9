"""Where the rows of the hash lists lie: tables of STATE/lists and their keys.

    lists     name                                       → ListRecord
    numbers   list u32                                   → name
    versions  list u32, version u32                      → VersionRecord
    types     hash type                                  → its code u16, which keys carry instead of the name
    entries   list u32, base u32, type u16, value        → EntryRecord
    changes   revision u64                               → ChangeRecord, append-only
    totals    "totals"                                   → Totals, "entry-id-key" → digest of that key

Numbers are big-endian, so key order is numeric order. Values of one hash type have one length, so a base's rows joined
are unambiguous and can be digested as they lie. Every value is sealed (see codec).
"""

from __future__ import annotations

import hashlib
import struct
from typing import NamedTuple

from hashmatch.v1.store_pb2 import EntryRecord

TABLES = ("lists", "numbers", "versions", "types", "entries", "changes", "totals")

NUMBER = struct.Struct(">I")
VERSION = struct.Struct(">II")  # list, version; of an entry's key: list, base
CODE = struct.Struct(">H")
REVISION = struct.Struct(">Q")
BASE_PREFIX = VERSION.size  # bytes of an entry's key before the type's code
VALUE_AT = BASE_PREFIX + CODE.size  # bytes of an entry's key before the value

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
    """What the keys of one hash type's rows in one base begin with."""
    return VERSION.pack(list_number, base) + CODE.pack(code)


def root_digest() -> hashlib.blake2b:
    """The digest that a base's root is taken with: over key and stored value of every row, in key order."""
    return hashlib.blake2b(digest_size=32)
