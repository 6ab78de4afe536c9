"""Where each fact of the ledger lies: tables of STATE/ledger, their keys and values.

    events         sequence u64                     → Event          verdicts that are logged whole: from 1, no gaps
    verdict_ids    verdict id                       → sequence u64
    requests       BLAKE2b-256 of request id        → RequestRecord  what a retry is answered
    request_times  minute u32, key in requests      → nothing        the same by age, so that the old are found
    counts         minute u32, finding u8, surface  → CountRecord    answers that are not logged whole
    entry_counts   list, 0, entry id                → EntryCountRecord  how often an entry matched, and lately whom
    guard          "from"                           → sequence u64   the first event whose matches are counted
                   "held"                           → keys of entry_counts, one a line, of what is held

Numbers are big-endian, so that key order is number order. Minutes are whole minutes since 1970-01-01 UTC.
Every value is sealed by `store.codec`.
"""

from __future__ import annotations

import hashlib
import struct
from datetime import UTC, datetime
from typing import Final

VERDICTS: Final = ("events", "verdict_ids", "requests", "request_times", "counts")
ENTRIES: Final = ("entry_counts", "guard")
NAMES: Final = (*VERDICTS, *ENTRIES)
FROM, HELD = b"from", b"held"  # keys in `guard`
MAX_MINUTE = (1 << 32) - 1  # year 10136; clocks beyond either end are held there
_SEQUENCE, _MINUTE, _COUNT = struct.Struct(">Q"), struct.Struct(">I"), struct.Struct(">IB")


def sequence_key(sequence: int) -> bytes:
    """Key in `events`; also the value in `verdict_ids`."""
    return _SEQUENCE.pack(sequence)


def sequence_of(key: bytes) -> int:
    """The sequence in a key of `events`."""
    return int(_SEQUENCE.unpack(key)[0])


def request_key(request_id: str) -> bytes:
    """Key in `requests`: of one length for every id, and no caller's text."""
    return hashlib.blake2b(request_id.encode(), digest_size=32).digest()


def minute_of(at: datetime) -> int:
    """Whole minutes since 1970-01-01 UTC."""
    return min(max(int(at.timestamp()) // 60, 0), MAX_MINUTE)


def minute_start(minute: int) -> datetime:
    """When a minute begins, UTC."""
    return datetime.fromtimestamp(minute * 60, UTC)


def minute_key(minute: int) -> bytes:
    """The first key of a minute in `request_times` and `counts`."""
    return _MINUTE.pack(minute)


def request_time_key(minute: int, request: bytes) -> bytes:
    """Key in `request_times`."""
    return _MINUTE.pack(minute) + request


def split_request_time(key: bytes) -> tuple[int, bytes]:
    """Minute and key in `requests`."""
    return int(_MINUTE.unpack_from(key)[0]), key[_MINUTE.size :]


def count_key(minute: int, finding: int, surface: str) -> bytes:
    """Key in `counts`."""
    return _COUNT.pack(minute, finding) + surface.encode()


def entry_key(list_name: str, entry_id: str) -> bytes:
    """Key in `entry_counts`. List names and entry ids hold neither the 0 between them nor the end of a line."""
    return f"{list_name}\0{entry_id}".encode()


def split_entry(key: bytes) -> tuple[str, str]:
    """List name and entry id in a key of `entry_counts`."""
    list_name, _, entry_id = key.decode().partition("\0")
    return list_name, entry_id
