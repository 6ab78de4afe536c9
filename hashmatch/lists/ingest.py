"""A list file → sorted rows of a base, and a reckoning of every line that is not among them.

The whole file is read before anything is written, so that the writer's lock is held for the writing alone. Memory is
about 130 bytes per entry plus its label.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

from hashmatch.errors import Malformed
from hashmatch.index.recipe import Recipe
from hashmatch.lists import guards, terms
from hashmatch.lists.formats import Raw, Reject, csv, hex, squeeze
from hashmatch.lists.formats.lines import Lines
from hashmatch.store.lists import Row
from hashmatch.v1 import lists_pb2
from hashmatch.v1.store_pb2 import EntryRecord

MAX_LINES = 100_000_000  # the entries that one machine holds in memory
MAX_REJECTS_TOLD = 1000  # as ImportListResponse.rejects says; all are counted
DEFAULT_HASH_TYPE = "pdq"
_LINE_BYTES = 6  # of a line's number between value and entry, so that the first of equal values sorts first
_TELL_EVERY = 1 << 14  # rows between two calls of `progress`

Progress = Callable[[int], None]
"""Called now and then with the bytes read so far."""


@dataclass(slots=True)
class Ingested:
    """What a file holds. `rejects` are the first of `rejected`; `duplicates` are equal to an earlier row."""

    lines: int = 0
    rejected: int = 0
    rejects: list[Reject] = field(default_factory=list)
    duplicates: int = 0
    counts: dict[str, int] = field(default_factory=dict)  # distinct fingerprints per hash type
    _widths: dict[str, int] = field(default_factory=dict)
    _packed: dict[str, list[bytes]] = field(default_factory=dict)  # value, line, entry; settled: sorted and distinct

    @property
    def accepted(self) -> int:
        return sum(self.counts.values())

    def rows(self, hash_type: str) -> Iterator[Row]:
        """Values and serialised entries of one hash type, in ascending order."""
        width = self._widths.get(hash_type, 0)
        entry_at = width + _LINE_BYTES
        return ((packed[:width], packed[entry_at:]) for packed in self._packed.get(hash_type, ()))

    def take(self, hash_type: str, value: bytes, entry: EntryRecord) -> None:
        """Counts a row in. All values of one hash type have one length."""
        if hash_type not in self._packed:
            self._packed[hash_type], self._widths[hash_type] = [], len(value)
        self._packed[hash_type].append(value + entry.line.to_bytes(_LINE_BYTES, "big") + entry.SerializeToString())

    def reject(self, line: int, why: str) -> None:
        """Counts a row out."""
        self.rejected += 1
        if len(self.rejects) < MAX_REJECTS_TOLD:
            self.rejects.append(Reject(line, why))

    def settle(self) -> None:
        """Sorts, and leaves out all but the first of equal values. Ends the taking."""
        for hash_type, rows in self._packed.items():
            width = self._widths[hash_type]
            rows.sort()
            distinct: list[bytes] = []
            last = b""
            for row in rows:
                if row[:width] != last:
                    last = row[:width]
                    distinct.append(row)
            self.duplicates += len(rows) - len(distinct)
            self.counts[hash_type] = len(distinct)
            self._packed[hash_type] = distinct


def ingest(
    file: BinaryIO,
    header: lists_pb2.ImportHeader,
    recipes: Mapping[str, Recipe],
    canary: Mapping[str, bytes],
    progress: Progress | None = None,
) -> Ingested:
    """Everything in a list file that may be listed, and why the rest may not.

    Args:
        canary: the list's own, which nobody else can have in a file.
    Raises:
        Malformed: the header or the file as a whole cannot be used; names the field of ImportHeader.
    """
    lines = Lines(file)
    known = {squeeze(name): recipe for name, recipe in recipes.items()}
    found = Ingested()
    for seen, row in enumerate(_rows(lines, header, recipes), 1):
        if isinstance(row, Reject):
            found.reject(row.line, row.why)
        else:
            try:
                recipe, value = _value(row, known, canary)
                found.take(recipe.hash_type, value, _entry(row))
            except Malformed as e:
                found.reject(row.line, str(e))
        if seen % _TELL_EVERY == 0:
            if lines.number > MAX_LINES:
                raise Malformed(
                    f"more than {MAX_LINES} lines; split it, and import the parts with merge", field="chunk"
                )
            if progress is not None:
                progress(lines.bytes)
    if progress is not None:
        progress(lines.bytes)
    found.lines = lines.number
    found.settle()
    return found


def _rows(lines: Lines, header: lists_pb2.ImportHeader, recipes: Mapping[str, Recipe]) -> Iterator[Raw | Reject]:
    hash_type = header.hash_type or DEFAULT_HASH_TYPE
    if hash_type not in recipes:
        raise Malformed(f"unknown hash type; known: {', '.join(sorted(recipes))}", field="hash_type")
    if header.format == lists_pb2.IMPORT_FORMAT_HEX:
        if header.columns:
            raise Malformed("a hex file has no columns", field="columns")
        return hex.read(lines, hash_type)
    if header.format == lists_pb2.IMPORT_FORMAT_CSV:
        return csv.read(lines, hash_type, header.columns, list(recipes))
    raise Malformed("want IMPORT_FORMAT_HEX or IMPORT_FORMAT_CSV", field="format")


def _value(row: Raw, known: Mapping[str, Recipe], canary: Mapping[str, bytes]) -> tuple[Recipe, bytes]:
    recipe = known.get(row.hash_type) or known.get(squeeze(row.hash_type))
    if recipe is None:
        raise Malformed("unknown hash type")  # not repeated: where columns are swapped it is a fingerprint
    value = guards.packed(row.text, recipe)
    guards.accept(value, recipe)
    guards.accept_quality(guards.quality(row.quality, recipe), recipe)
    if canary.get(recipe.hash_type) == value:
        raise Malformed(f"{recipe.hash_type}: this list's own canary")
    return recipe, value


def _entry(row: Raw) -> EntryRecord:
    entry = EntryRecord(line=row.line)
    if row.label:
        entry.label = terms.text(row.label, "label", limit=terms.MAX_LABEL_CHARS)
    if row.source_id:
        entry.source_id = terms.text(row.source_id, "source_id", limit=terms.MAX_LABEL_CHARS)
    return entry
