"""What a list file is, by its first 64 KB. Never by its name: names are mistyped, and files are renamed."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable

from hashmatch.errors import Malformed
from hashmatch.lists.formats import squeeze, tables
from hashmatch.lists.formats.csv import ALIASES, FIELDS
from hashmatch.lists.formats.nsrl import MAGIC
from hashmatch.lists.formats.threatexchange import NOT_MEDIA, TYPES
from hashmatch.v1 import lists_pb2

HEAD_BYTES = 1 << 16
LINES = 50  # of text looked at; a file whose first 50 lines are of one form is of that form
_VICS = re.compile(rb'"@?odata\.(?:context|metadata)"\s*:')
_VPDQ = re.compile(rb"\s*[0-9]+\s*,\s*[0-9]+\s*,\s*[0-9a-fA-F]{64}\s*,\s*[0-9.]+\s*")
_HEX = re.compile(rb"(?:[A-Za-z][A-Za-z0-9_]{0,31}\s+)?[0-9a-fA-F]{2,}")
_DUMP = re.compile(rb"[0-9]+,\s*[0-9a-fA-F]{32,},.*")


def detect(head: bytes, hash_types: Iterable[str]) -> lists_pb2.ImportFormat.ValueType:
    """The format of a file that begins like this; UTF-8, whatever its encoding was.

    Raises:
        Malformed: field "format": it is none of those that are known, or nothing.
    """
    if head.startswith(MAGIC):
        return lists_pb2.IMPORT_FORMAT_NSRL_SQLITE
    text = head.lstrip()
    if text.startswith((b"{", b"[")):
        return _json(text)
    whole = text.splitlines()[: LINES + 1]
    if len(head) == HEAD_BYTES:
        whole = whole[:-1] or whole  # the last one was cut off
    lines = [line for line in (raw.partition(b"#")[0].strip() for raw in whole[:LINES]) if line]
    if not lines:
        raise Malformed("there is nothing in it", field="format")
    if all(_VPDQ.fullmatch(line) for line in lines):
        return lists_pb2.IMPORT_FORMAT_VPDQ
    header = _header(whole, hash_types)
    if header is not None:
        return header
    if all(_DUMP.fullmatch(line) for line in lines):
        return lists_pb2.IMPORT_FORMAT_THREATEXCHANGE
    kinds = {line.split()[0].decode("latin-1").casefold() for line in lines if len(line.split()) > 1}
    if kinds & (TYPES.keys() | NOT_MEDIA):
        return lists_pb2.IMPORT_FORMAT_THREATEXCHANGE
    if any(_HEX.fullmatch(line) for line in lines):  # the others are told of as rejects
        return lists_pb2.IMPORT_FORMAT_HEX
    raise Malformed(
        "it is not like any format that is known; name one with --format, and for a table what its columns are",
        field="format",
    )


def _json(text: bytes) -> lists_pb2.ImportFormat.ValueType:
    if _VICS.search(text) or (b'"MediaID"' in text and b'"Category"' in text):
        return lists_pb2.IMPORT_FORMAT_VICS
    if re.search(rb'"(?:raw_)?indicator"\s*:', text):
        return lists_pb2.IMPORT_FORMAT_THREATEXCHANGE
    if re.match(rb'\{\s*"[0-9]+"\s*:\s*\{', text) and b'"hash"' in text:
        return lists_pb2.IMPORT_FORMAT_VPDQ
    raise Malformed("it is JSON, and neither VICS nor ThreatExchange nor vPDQ", field="format")


def _header(lines: list[bytes], hash_types: Iterable[str]) -> lists_pb2.ImportFormat.ValueType | None:
    """The format of a table by its first line; None where that names no columns that are known."""
    first = next((line for line in lines if line.strip()), b"").decode("utf-8", "replace")
    for delimiter in ",;\t|":
        try:
            header = next(csv.reader([first], delimiter=delimiter), [])
        except csv.Error:
            continue
        names = {squeeze(name) for name in header}
        if len(header) > 1 and names >= tables.HASHKEEPER_SET:
            raise Malformed(
                "this is a HashKeeper .hke, which describes a set; the fingerprints are in the .hsh beside it",
                field="format",
            )
        for table, kind in (
            (tables.HASHKEEPER, lists_pb2.IMPORT_FORMAT_HASHKEEPER),
            (tables.ICSE, lists_pb2.IMPORT_FORMAT_ICSE),
            (tables.NSRL, lists_pb2.IMPORT_FORMAT_NSRL_CSV),
        ):
            if table.is_of(header):
                return kind
        known = {squeeze(name) for name in (*FIELDS, *hash_types)} | ALIASES.keys()
        if names & known:
            return lists_pb2.IMPORT_FORMAT_CSV
    return None
