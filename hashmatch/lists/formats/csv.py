"""Tables with a header: any columns, some mapped to fields, separated by comma, semicolon, tab, | or as it is asked.

A field is a hash type ("pdq": the column holds that type's values; several such columns give several entries), or one
of FIELDS. Quoting is RFC 4180's and strict, because a quote that is never closed swallows the rows that follow it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter

from hashmatch.errors import Malformed
from hashmatch.lists.formats import Raw, Reject, photodna, squeeze
from hashmatch.lists.formats.lines import MAX_LINE_BYTES, Lines
from hashmatch.v1.lists_pb2 import Entry

SAID = ("label", "source_id", "quality", "source", "first_seen", "last_seen", "expires_at", "notes")  # as `Raw` has it
FIELDS = ("fingerprint", "hash_type", *SAID)
COLUMNS = ("hash_type", "fingerprint", *(name for name in SAID if name != "quality"))  # as `write` names them
ALIASES = {"pdna": "photodna", "sha": "sha1"}  # columns and types by other names
MAX_ROW_LINES = 64  # ours: a comment of several lines passes; a quote left open is found before it has swallowed much
_DELIMITERS = ",;\t|"


@dataclass(frozen=True, slots=True)
class _Columns:
    """Where the fields stand in a row, from 0; -1: nowhere."""

    count: int
    hashes: tuple[tuple[int, str], ...]  # column, and its hash type; "" where the row names it
    hash_type: int
    said: tuple[int, ...]  # of SAID


def read(
    lines: Lines,
    hash_type: str,
    columns: Mapping[str, str],
    hash_types: Iterable[str],
    *,
    delimiter: str = "",
    opaque: bool = False,
) -> Iterator[Raw | Reject]:
    """The rows of a file below its header.

    Args:
        hash_type: of a `fingerprint` column where nothing names it.
        columns: column name → field; empty: columns called like a field or a hash type are taken.
        hash_types: those that are known.
        delimiter: between cells; empty: found out.
        opaque: a column may be mapped to a hash type that is not known.
    Raises:
        Malformed: field "columns": the header does not have what is mapped, or nothing in it is a fingerprint.
    """
    if len(delimiter) > 1 or delimiter in ('"', "\r", "\n"):
        raise Malformed("want one character", field="delimiter")
    text = _Text(lines)
    rows = csv.reader(text, delimiter=delimiter or _delimiter(text.peek(), columns, hash_types), strict=True)
    try:
        header = next(rows, [])
    except csv.Error as e:
        raise Malformed(f"the header cannot be read: {e}", field="columns") from e
    mapped = _map(header, columns, hash_types, opaque)
    told = itemgetter(*mapped.said)
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
        else:
            cells = [cell.strip() for cell in row]
            if any(cells):
                cells += [""] * (mapped.count - len(row) + 1)  # the last one is what -1 finds
                said, found = told(cells), False
                for column, named in mapped.hashes:
                    if cells[column]:
                        found = True
                        of_type = named or cells[mapped.hash_type] or hash_type
                        value = photodna(cells[column]) if of_type == "photodna" else cells[column]
                        yield Raw._make((begins, of_type, value, *said))
                if not found:
                    yield Reject(begins, "no fingerprint in this row")


class _Text:
    """Lines as text. Bytes that are not UTF-8 stay apart as surrogates: they harm only a column that is used."""

    def __init__(self, lines: Lines) -> None:
        self._lines = (line.decode("utf-8", "surrogateescape") for line in lines)
        self._first = next(self._lines, "")

    def peek(self) -> str:
        return self._first

    def __iter__(self) -> Iterator[str]:
        return chain([self._first] if self._first else [], self._lines)


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


def _map(header: list[str], columns: Mapping[str, str], hash_types: Iterable[str], opaque: bool) -> _Columns:
    # Names of columns are never repeated in errors but as the caller gave them: a file without a header has
    # fingerprints in its first line.
    known = {squeeze(name): name for name in (*FIELDS, *hash_types)}
    known |= {other: name for other, name in ALIASES.items() if name in hash_types}
    names = [squeeze(name) for name in header]
    wanted = {}
    for column, field in columns.items():
        if squeeze(field) not in known and not (opaque and field.isidentifier()):
            raise Malformed(f"'{field[:64]}' is not a hash type or one of {', '.join(FIELDS)}", field="columns")
        if names.count(squeeze(column)) != 1:
            raise Malformed(f"{names.count(squeeze(column))} columns are named '{column[:64]}'", field="columns")
        wanted[squeeze(column)] = known.get(squeeze(field), field)
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
    return _Columns(len(header), tuple(hashes), place["hash_type"], tuple(place[name] for name in SAID))


def write(entries: Iterable[Entry]) -> Iterator[str]:
    """Lines, header first, that `read` reads back with all that is said of an entry."""
    buffer = io.StringIO()
    rows = csv.writer(buffer, lineterminator="\n")
    rows.writerow(COLUMNS)
    for entry in entries:
        times = (_iso(entry, name) for name in ("first_seen", "last_seen", "expires_at"))
        fingerprint = entry.fingerprint
        said = (entry.label, entry.source_id, entry.source)
        rows.writerow((fingerprint.hash_type, fingerprint.value.hex(), *said, *times, entry.notes))
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
    yield buffer.getvalue()


def _iso(entry: Entry, name: str) -> str:
    at: str = getattr(entry, name).ToJsonString() if entry.HasField(name) else ""  # type: ignore[arg-type]
    return at
