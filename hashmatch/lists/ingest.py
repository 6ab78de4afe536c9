"""A list file → sorted rows of a version, and a reckoning of every row that is not among them.

The whole file is read and sorted before anything is written, so that a malformed one changes nothing. Memory is
bounded however long the file is: see `sorting`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import numpy as np

from hashmatch import convert
from hashmatch.errors import Malformed
from hashmatch.index import recipe as recipes_
from hashmatch.index.recipe import Recipe
from hashmatch.lists import guards, terms
from hashmatch.lists.contents import LINE_BYTES, lined
from hashmatch.lists.formats import Asked, Block, Raw, Reject, Skipped, squeeze
from hashmatch.lists.formats.reading import open_list
from hashmatch.lists.sorting import Sorted
from hashmatch.store.lists import Row
from hashmatch.v1 import lists_pb2
from hashmatch.v1.store_pb2 import EntryRecord

MAX_LINES = 100_000_000  # the entries that one machine holds in memory
MAX_REJECTS_TOLD = 1000  # as ImportListResponse.rejects says; all are counted
DEFAULT_HASH_TYPE = "pdq"
MAX_OPAQUE_BYTES = 1 << 20  # of an opaque value: TMK's are 256 KB
MAX_TYPE_CHARS = 32  # of the name of a hash type without a recipe
_ORDER_BYTES = 6  # of a row's line between key and entry, so that the first of equal keys sorts first
_TELL_EVERY = 1 << 14  # rows between two calls of `progress`
_BATCH = 1 << 12  # rows handed to the sorter at once
_SAID_AT = Raw._fields.index("label")
ENTRIES_REMEMBERED = 1 << 14  # of what rows say: a few megabytes

Progress = Callable[[str, int, int], None]
"""Called now and then with what is being done, how far it is, and how far that goes (0: not known)."""


@dataclass(slots=True)
class Ingested:
    """What a file holds. `rejects` are the first of `rejected`; `duplicates` are equal to an earlier row."""

    directory: Path
    lines: int = 0
    rejected: int = 0
    rejects: list[Reject] = field(default_factory=list)
    poison: int = 0  # of the rejected: values that would match everything or nothing real
    skipped: int = 0
    duplicates: int = 0
    held_back: int = 0
    format: lists_pb2.ImportFormat.ValueType = lists_pb2.IMPORT_FORMAT_UNSPECIFIED
    counts: dict[str, int] = field(default_factory=dict)  # distinct keys per hash type, once settled
    _sorted: dict[str, Sorted] = field(default_factory=dict)
    _batches: dict[str, list[bytes]] = field(default_factory=dict)

    @property
    def accepted(self) -> int:
        return sum(self.counts.values())

    def rows(self, hash_type: str) -> Iterator[Row]:
        """Keys and serialised entries of one hash type, in ascending order."""
        return self._sorted[hash_type].rows(_ORDER_BYTES) if hash_type in self._sorted else iter(())

    def keys(self, hash_type: str) -> Iterator[bytes]:
        """The keys of one hash type, joined, in ascending order, some hundred thousand at a time."""
        return self._sorted[hash_type].keys() if hash_type in self._sorted else iter(())

    def take(self, recipe: Recipe, key: bytes, line: int, entry: bytes) -> None:
        """Counts a row in; `entry` is its serialised entry."""
        batch = self._batches.setdefault(recipe.hash_type, [])
        batch.append(key + line.to_bytes(_ORDER_BYTES, "big") + entry)
        if len(batch) >= _BATCH:
            self.take_all(recipe, batch)
            self._batches[recipe.hash_type] = []

    def take_all(self, recipe: Recipe, rows: Collection[bytes]) -> None:
        """Counts rows in that are key, line and entry already."""
        if recipe.hash_type not in self._sorted:
            folder = self.directory / f"{len(self._sorted)}"
            self._sorted[recipe.hash_type] = Sorted(folder, recipe.key_bytes)
        self._sorted[recipe.hash_type].take(rows)

    def reject(self, line: int, why: str, number: int = 1) -> None:
        """Counts rows out."""
        self.rejected += number
        if len(self.rejects) < MAX_REJECTS_TOLD:
            self.rejects.append(Reject(line, why))

    def settle(
        self,
        recipes: Mapping[str, Recipe],
        removed_by_hand: Callable[[str], Collection[bytes]],
        progress: Progress | None = None,
    ) -> None:
        """Sorts, and leaves out all but the first of equal keys and those removed by hand. Ends the taking."""
        for hash_type, batch in self._batches.items():
            self.take_all(recipes.get(hash_type) or recipes_.opaque(hash_type), batch)
        self._batches = {}
        for done, (hash_type, rows) in enumerate(sorted(self._sorted.items())):
            if progress is not None:
                progress("sorting", done, len(self._sorted))
            kept, duplicates, held_back = rows.settle(removed_by_hand(hash_type))
            self.counts[hash_type] = kept
            self.duplicates += duplicates
            self.held_back += held_back

    def close(self) -> None:
        """Deletes what lies on disk."""
        for rows in self._sorted.values():
            rows.close()


def ingest(
    file: BinaryIO,
    header: lists_pb2.ImportHeader,
    recipes: Mapping[str, Recipe],
    canary: Mapping[str, bytes],
    directory: Path,
    *,
    benign: bool = False,
    progress: Progress | None = None,
) -> Ingested:
    """Everything in a list file that may be listed, and why the rest may not. `settle` it before its rows are read.

    Args:
        canary: the list's own, which nobody else can have in a file.
        directory: where what does not fit into memory goes; need not be there.
        benign: the list is one of known-benign media.
    Raises:
        Malformed: the header or the file as a whole cannot be used; names the field of ImportHeader.
    """
    widths = {name: recipe.value_bytes for name, recipe in recipes.items()}
    reading = open_list(file, _asked(header, recipes, benign), widths)
    found = Ingested(directory)
    rows = _Rows(found, recipes, canary, header)
    until = _TELL_EVERY
    for row in reading:
        if isinstance(row, Raw):
            rows.raw(row)
            until -= 1
        elif isinstance(row, Block):
            rows.block(row)
            until -= row.number
        elif isinstance(row, Skipped):
            found.skipped += 1
            until -= 1
        else:
            found.reject(row.line, row.why)
            until -= 1
        if until <= 0:
            until = _TELL_EVERY
            if reading.lines > MAX_LINES:
                raise Malformed(
                    f"more than {MAX_LINES} lines; split it, and import the parts with merge", field="chunk"
                )
            if progress is not None:
                progress("reading", reading.bytes, header.bytes)
    if progress is not None:
        progress("reading", reading.bytes, header.bytes)
    found.lines = reading.lines
    found.format = reading.format
    return found


def _asked(header: lists_pb2.ImportHeader, recipes: Mapping[str, Recipe], benign: bool) -> Asked:
    hash_type = header.hash_type or DEFAULT_HASH_TYPE
    if hash_type not in recipes and not header.opaque:
        raise Malformed(f"unknown hash type; known: {', '.join(sorted(recipes))}", field="hash_type")
    return Asked(
        format=header.format,
        hash_type=hash_type,
        columns=dict(header.columns),
        hash_types=tuple(recipes),
        delimiter=header.delimiter,
        encoding=header.encoding,
        labels=dict(header.labels),
        opaque=header.opaque,
        benign=benign,
    )


class _Rows:
    """Lets rows pass that may be listed."""

    def __init__(
        self,
        found: Ingested,
        recipes: Mapping[str, Recipe],
        canary: Mapping[str, bytes],
        header: lists_pb2.ImportHeader,
    ) -> None:
        self._found, self._canary, self._opaque = found, canary, header.opaque
        self._known = {squeeze(name): recipe for name, recipe in recipes.items()} | dict(recipes)
        self._source = terms.text(header.source, "source", limit=terms.MAX_LABEL_CHARS)
        self._silent = EntryRecord(source=self._source).SerializeToString()
        self._entry = lru_cache(ENTRIES_REMEMBERED)(self._said)  # many rows say the same

    def raw(self, row: Raw) -> None:
        """Counts one row in or out."""
        try:
            recipe = self._known.get(row.hash_type) or self._recipe(row.hash_type)
            value = guards.packed(row.text, recipe)
            if recipe.opaque and len(value) > MAX_OPAQUE_BYTES:
                raise Malformed(f"{recipe.hash_type}: {len(value)} bytes, at most {MAX_OPAQUE_BYTES}")
            if row.quality:
                guards.accept_quality(guards.quality(row.quality, recipe), recipe)
            key = recipe.key(value)
            if self._canary.get(recipe.hash_type) == key:
                raise Malformed(f"{recipe.hash_type}: this list's own canary")
            entry = self._entry(row[_SAID_AT:])
            if recipe.opaque:
                entry += EntryRecord(value=value).SerializeToString()
        except Malformed as e:
            self._found.reject(row.line, str(e))
            return
        try:
            guards.accept(value, recipe)
        except Malformed as e:
            self._found.poison += recipe.enabled
            self._found.reject(row.line, str(e))
            return
        self._found.take(recipe, key, row.line, lined(row.line) + entry)

    def block(self, block: Block) -> None:
        """Counts a run of bare values in, those that may be listed, at a tenth of the cost."""
        recipe = self._recipe(block.hash_type)
        width = recipe.value_bytes
        values = np.frombuffer(block.values, np.uint8).reshape(-1, width)
        ones = np.bitwise_count(values).sum(axis=1, dtype=np.uint16)
        good = (ones >= recipe.min_ones) & (ones <= recipe.max_ones)
        for unusable in (guards.EMPTY_FILE.get(recipe.hash_type), self._canary.get(recipe.hash_type)):
            if unusable is not None:
                good &= (values != np.frombuffer(unusable, np.uint8)).any(axis=1)
        if not (good.all() and recipe.enabled):
            for at in np.flatnonzero(~good) if recipe.enabled else range(len(values)):
                line = block.first_line + int(at)
                self.raw(Raw(line, block.hash_type, values[at].tobytes().hex()))
        if not recipe.enabled:
            return
        lines = np.arange(block.first_line, block.first_line + len(values), dtype=np.uint64)
        rows = np.empty((len(values), width + _ORDER_BYTES + LINE_BYTES), np.uint8)
        rows[:, :width] = values
        rows[:, width : width + _ORDER_BYTES] = lines.astype(">u8").view(np.uint8).reshape(-1, 8)[:, 8 - _ORDER_BYTES :]
        rows[:, width + _ORDER_BYTES] = lined(0)[0]
        for i in range(LINE_BYTES - 1):  # as `lined` has it
            more = 128 if i < LINE_BYTES - 2 else 0
            rows[:, width + _ORDER_BYTES + 1 + i] = (lines >> np.uint64(7 * i)).astype(np.uint8) & 127 | more
        packed, size = rows[good].tobytes(), rows.shape[1]
        if self._silent:
            self._found.take_all(recipe, [packed[i : i + size] + self._silent for i in range(0, len(packed), size)])
        else:
            self._found.take_all(recipe, [packed[i : i + size] for i in range(0, len(packed), size)])

    def _recipe(self, hash_type: str) -> Recipe:
        recipe = self._known.get(hash_type) or self._known.get(squeeze(hash_type))
        if recipe is None and self._opaque and hash_type.isidentifier() and len(hash_type) <= MAX_TYPE_CHARS:
            recipe = self._known[hash_type] = recipes_.opaque(hash_type)
        if recipe is None:
            raise Malformed("unknown hash type")  # not repeated: where columns are swapped it is a fingerprint
        return recipe

    def _said(self, said: tuple[str, ...]) -> bytes:
        """What a row says of its entry, serialised, but for the line; `said` is as `Raw` has it, from the label on."""
        label, source_id, _, source, first, last, expires, notes = said
        entry = EntryRecord(source=self._source)
        for name, text in (("label", label), ("source_id", source_id), ("source", source)):
            if text:
                setattr(entry, name, terms.text(text, name, limit=terms.MAX_LABEL_CHARS))
        if notes:
            entry.notes = terms.text(notes, "notes")
        for name, text in (("first_seen", first), ("last_seen", last), ("expires_at", expires)):
            if text:
                getattr(entry, name).CopyFrom(convert.timestamp(_moment(text, name)))
        return entry.SerializeToString()


def _moment(text: str, field: str) -> datetime:
    """An ISO 8601 time; UTC where it names no zone."""
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError as e:
        raise Malformed("not a time as ISO 8601 has it", field=field) from e
    return at if at.tzinfo else at.replace(tzinfo=UTC)


__all__ = ["Ingested", "Progress", "ingest"]
