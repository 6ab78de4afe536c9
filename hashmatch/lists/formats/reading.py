"""A list file → its rows, whatever its format: the one way into this folder."""

from __future__ import annotations

import codecs
import csv as csv_
from collections.abc import Iterable, Iterator, Mapping
from typing import BinaryIO, Protocol, cast

from hashmatch.errors import Malformed
from hashmatch.lists.formats import Asked, Raw, Reject, Row, Skipped, csv, hex, tables, vics
from hashmatch.lists.formats.ahead import Ahead
from hashmatch.lists.formats.detect import HEAD_BYTES, detect
from hashmatch.lists.formats.lines import Lines
from hashmatch.lists.formats.nsrl import MAGIC, Rds
from hashmatch.lists.formats.threatexchange import Indicators
from hashmatch.lists.formats.vpdq import Frames
from hashmatch.v1 import lists_pb2

_BOMS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
TABLES = {
    lists_pb2.IMPORT_FORMAT_NSRL_CSV: tables.NSRL,
    lists_pb2.IMPORT_FORMAT_HASHKEEPER: tables.HASHKEEPER,
    lists_pb2.IMPORT_FORMAT_ICSE: tables.ICSE,
}


class Counting(Protocol):
    """How far a reader is."""

    @property
    def number(self) -> int: ...
    @property
    def bytes(self) -> int: ...


class Reading:
    """One pass over a list file."""

    def __init__(
        self, form: lists_pb2.ImportFormat.ValueType, rows: Iterable[Row], count: Counting, labels: Mapping[str, str]
    ) -> None:
        self.format = form  # what the file was taken for
        self._rows, self._count, self._labels = rows, count, labels

    @property
    def lines(self) -> int:
        """Lines or records read so far."""
        return self._count.number

    @property
    def bytes(self) -> int:
        """Read so far."""
        return self._count.bytes

    def __iter__(self) -> Iterator[Row]:
        """The rows.

        Raises:
            Malformed: the file as a whole cannot be used.
        """
        if not self._labels:
            return iter(self._rows)
        return map(self._relabelled, self._rows)

    def _relabelled(self, row: Row) -> Row:
        if not isinstance(row, Raw) or row.label not in self._labels:
            return row
        label = self._labels[row.label]
        return row._replace(label=label) if label else Skipped(row.line, "its label is left out")


def open_list(file: BinaryIO, asked: Asked, widths: Mapping[str, int]) -> Reading:
    """The rows of a file as it is asked for; `widths` are the bytes of a value per hash type, 0 where they differ.

    Raises:
        Malformed: the header or the file cannot be used; names the field of ImportHeader.
    """
    form = asked.format
    if form not in lists_pb2.ImportFormat.values() or form == lists_pb2.IMPORT_FORMAT_UNSPECIFIED:
        raise Malformed("want one of the formats that ImportFormat names", field="format")
    ahead = Ahead(_recoded(file, asked.encoding))
    if ahead.peek(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8:
        ahead.read(len(codecs.BOM_UTF8))
    if form == lists_pb2.IMPORT_FORMAT_AUTO:
        # Whoever says what the columns hold has a table, whatever its columns are called.
        mapped = bool(asked.columns)
        form = lists_pb2.IMPORT_FORMAT_CSV if mapped else detect(ahead.peek(HEAD_BYTES), asked.hash_types)
    if asked.columns and form not in (lists_pb2.IMPORT_FORMAT_CSV, *TABLES):
        raise Malformed("only a table has columns", field="columns")
    rows, count = _reader(form, ahead, asked, widths)
    return Reading(form, rows, count, asked.labels)


def _reader(
    form: lists_pb2.ImportFormat.ValueType, file: Ahead, asked: Asked, widths: Mapping[str, int]
) -> tuple[Iterable[Row], Counting]:
    lines = Lines(file)
    if form == lists_pb2.IMPORT_FORMAT_HEX:
        return hex.blocks(file, lines, asked.hash_type, widths), lines
    if form == lists_pb2.IMPORT_FORMAT_CSV:
        return _csv(lines, asked, asked.columns, asked.delimiter), lines
    if form in TABLES:
        return _table(file, lines, asked, TABLES[form]), lines
    if form == lists_pb2.IMPORT_FORMAT_VICS:
        read = vics.read(file, asked.hash_types, benign=asked.benign)
        return read, read.records
    if form == lists_pb2.IMPORT_FORMAT_NSRL_SQLITE:
        _only_benign(asked, "NSRL")
        rds = Rds(file, asked.hash_types)
        return rds, rds
    if form == lists_pb2.IMPORT_FORMAT_THREATEXCHANGE:
        indicators = Indicators(file, asked.hash_type, benign=asked.benign)
        return indicators, indicators
    frames = Frames(file)
    return frames, frames


def _csv(lines: Lines, asked: Asked, columns: Mapping[str, str], delimiter: str) -> Iterator[Raw | Reject]:
    return csv.read(lines, asked.hash_type, columns, list(asked.hash_types), delimiter=delimiter, opaque=asked.opaque)


def _table(file: Ahead, lines: Lines, asked: Asked, table: tables.Table) -> Iterator[Raw | Reject]:
    if table.benign:
        _only_benign(asked, table.source)
    first = file.peek(HEAD_BYTES).partition(b"\n")[0].decode("utf-8", "replace")
    delimiter = asked.delimiter or table.delimiter or ","
    try:
        header = next(csv_.reader([first.strip()], delimiter=delimiter), [])
    except csv_.Error as e:
        raise Malformed(f"the header cannot be read: {e}", field="columns") from e
    if not table.is_of(header):
        raise Malformed(f"the first line does not name the columns that {table.source} has", field="columns")
    columns = asked.columns or table.columns(header, asked.hash_types)
    rows = _csv(lines, asked, columns, delimiter)
    return (row._replace(source=row.source or table.source) if isinstance(row, Raw) else row for row in rows)


def _only_benign(asked: Asked, source: str) -> None:
    if not asked.benign:
        raise Malformed(f"{source} lists known software, not abuse: make a list for it with --benign", field="format")


def _recoded(file: BinaryIO, encoding: str) -> BinaryIO:
    """The file as UTF-8. What cannot be decoded becomes a mark, which harms only a column that is used."""
    if not encoding:
        ahead = Ahead(file)
        head = ahead.peek(len(MAGIC))
        encoding = next((name for mark, name in _BOMS.items() if head.startswith(mark)), "")
        if not encoding:
            return cast(BinaryIO, ahead)
        file = cast(BinaryIO, ahead)
    try:
        codec = codecs.lookup(encoding)
    except LookupError as e:
        raise Malformed("not an encoding that is known", field="encoding") from e
    if codec.name == "utf-8":
        return file
    if not codec._is_text_encoding:
        raise Malformed("not an encoding of text", field="encoding")
    return cast(
        BinaryIO,
        codecs.StreamRecoder(
            file,
            codecs.getencoder("utf-8"),
            codecs.getdecoder("utf-8"),
            codec.streamreader,
            codec.streamwriter,
            "replace",
        ),
    )
