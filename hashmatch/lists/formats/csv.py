"""Tables with a header: any columns, some mapped to fields. UTF-8, separated by comma, semicolon, tab or |.

A field is a hash type ("pdq": the column holds that type's values; several such columns give several entries), or one
of FIELDS. Quoting is RFC 4180's and strict, because a quote that is never closed swallows the rows that follow it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from hashmatch.errors import Malformed
from hashmatch.lists.formats import Raw, Reject, squeeze
from hashmatch.lists.formats.lines import MAX_LINE_BYTES, Lines
from hashmatch.v1.lists_pb2 import Entry

FIELDS = ("fingerprint", "hash_type", "label", "source_id", "quality")
COLUMNS = ("hash_type", "fingerprint", "label", "source_id")  # as `write` names them
MAX_ROW_LINES = 64  # ours: a comment of several lines passes; a quote left open is found before it has swallowed much
_DELIMITERS = ",;\t|"


@dataclass(frozen=True, slots=True)
class _Columns:
    """Where the fields stand in a row, from 0; -1: nowhere."""

    count: int
    hashes: tuple[tuple[int, str], ...]  # column, and its hash type; "" where the row names it
    hash_type: int
    label: int
    source_id: int
    quality: int


def read(lines: Lines, hash_type: str, columns: Mapping[str, str], hash_types: Iterable[str]) -> Iterator[Raw | Reject]:
    """The rows of a file below its header.

    Args:
        hash_type: of a `fingerprint` column where nothing names it.
        columns: column name → field; empty: columns called like a field or a hash type are taken.
        hash_types: those that are known.
    Raises:
        Malformed: field "columns": the header does not have what is mapped, or nothing in it is a fingerprint.
    """
    text = _Text(lines)
    rows = csv.reader(text, delimiter=_delimiter(text.peek(), columns, hash_types), strict=True)
    try:
        header = next(rows, [])
    except csv.Error as e:
        raise Malformed(f"the header cannot be read: {e}", field="columns") from e
    mapped = _map(header, columns, hash_types)
    while True:
        begins = rows.line_num + 1
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as e:
            yield Reject(begins, f"not CSV: {e}")
            continue
        if lines.overlong >= begins:
            yield Reject(begins, f"a line longer than {MAX_LINE_BYTES} bytes")
        elif rows.line_num - begins >= MAX_ROW_LINES:
            yield Reject(begins, f"a quote is still open after {MAX_ROW_LINES} lines")
        elif len(row) > mapped.count:
            yield Reject(begins, f"{len(row)} columns, the header has {mapped.count}")
        elif any(cell.strip() for cell in row):
            yield from _raws(row, mapped, begins, hash_type)


def _raws(row: list[str], mapped: _Columns, line: int, hash_type: str) -> Iterator[Raw | Reject]:
    cells = [cell.strip() for cell in row] + [""] * (mapped.count - len(row) + 1)  # the last one is what -1 finds
    found = False
    for column, named in mapped.hashes:
        if cells[column]:
            found = True
            of_type = named or cells[mapped.hash_type] or hash_type
            yield Raw(line, of_type, cells[column], cells[mapped.label], cells[mapped.source_id], cells[mapped.quality])
    if not found:
        yield Reject(line, "no fingerprint in this row")


class _Text:
    """Lines as text. Bytes that are not UTF-8 stay apart as surrogates: they harm only a column that is used."""

    def __init__(self, lines: Lines) -> None:
        self._lines = (line.decode("utf-8", "surrogateescape") for line in lines)
        self._first: str | None = next(self._lines, "")

    def peek(self) -> str:
        return self._first or ""

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self._first is not None:
            first, self._first = self._first, None
            if first:
                return first
        return next(self._lines)


def _delimiter(header: str, columns: Mapping[str, str], hash_types: Iterable[str]) -> str:
    """The separator under which the header names most of what is wanted, then the one that gives most columns."""
    wanted = {squeeze(name) for name in columns} or {squeeze(name) for name in (*FIELDS, *hash_types)}

    def fit(delimiter: str) -> tuple[int, int]:
        try:
            names = next(csv.reader([header], delimiter=delimiter), [])
        except csv.Error:
            return 0, 0
        return sum(squeeze(name) in wanted for name in names), len(names)

    return max(_DELIMITERS, key=fit)


def _map(header: list[str], columns: Mapping[str, str], hash_types: Iterable[str]) -> _Columns:
    # Names of columns are never repeated in errors but as the caller gave them: a file without a header has
    # fingerprints in its first line.
    known = {squeeze(name): name for name in (*FIELDS, *hash_types)}
    names = [squeeze(name) for name in header]
    wanted = {}
    for column, field in columns.items():
        if squeeze(field) not in known:
            raise Malformed(f"'{field[:64]}' is not a hash type or one of {', '.join(FIELDS)}", field="columns")
        if names.count(squeeze(column)) != 1:
            raise Malformed(f"{names.count(squeeze(column))} columns are named '{column[:64]}'", field="columns")
        wanted[squeeze(column)] = known[squeeze(field)]
    fields = [wanted.get(name, "") if columns else known.get(name, "") for name in names]
    for name in FIELDS:
        if fields.count(name) > 1:
            raise Malformed(f"{fields.count(name)} columns are '{name}'", field="columns")
    hashes = [(i, "" if f == "fingerprint" else f) for i, f in enumerate(fields) if f and f not in FIELDS[1:]]
    if not hashes:
        raise Malformed(
            f"none of the {len(header)} columns is a fingerprint: the first line must name the columns, and one must "
            f"be called like a hash type ({', '.join(hash_types)}) or be mapped to one",
            field="columns",
        )
    place = {name: fields.index(name) if name in fields else -1 for name in FIELDS}
    return _Columns(
        len(header), tuple(hashes), place["hash_type"], place["label"], place["source_id"], place["quality"]
    )


def write(entries: Iterable[Entry]) -> Iterator[str]:
    """Lines, header first, that `read` reads back with labels and source ids."""
    buffer = io.StringIO()
    rows = csv.writer(buffer, lineterminator="\n")
    rows.writerow(COLUMNS)
    for entry in entries:
        rows.writerow((entry.fingerprint.hash_type, entry.fingerprint.value.hex(), entry.label, entry.source_id))
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
    yield buffer.getvalue()
