"""Rows of any number in order and without duplicates, in bounded memory.

LMDB appends a million sorted rows a second and a tenth of that in random order, so an import sorts first. Rows are
bytes that begin with a key of one length and go on with what tells equal keys apart; the first of equal keys stays.
Up to SPILL_ROWS lie in memory. More are sorted by so many, split by their next byte and written to one file per byte
(most significant digit first); a file that is still too large is split again by the byte after. What is written is
private to this process and trusted for that alone.
"""

from __future__ import annotations

import contextlib
import marshal
import shutil
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

SPILL_ROWS = 250_000  # held in memory at once: 30 to 60 MB
_TOGETHER = 4_096  # rows taken apart at once
SPLIT_ROWS = 1_000_000  # of a file that is sorted as a whole: at most 200 MB


class Sorted:
    """Rows of one hash type: `take` them all, `settle` once, then `rows` as often as wanted."""

    def __init__(self, directory: Path, key_bytes: int) -> None:
        """Writes under `directory`, which need not be there and belongs to this alone."""
        self._directory = directory
        self._key_bytes = key_bytes
        self._held: list[bytes] = []
        self._files: list[Path] = []  # settled, in order
        self.taken = 0

    def take(self, rows: Collection[bytes]) -> None:
        """Takes rows in any order."""
        self._held.extend(rows)
        self.taken += len(rows)
        if len(self._held) >= SPILL_ROWS:
            self._spill()

    def settle(self, leave_out: Collection[bytes] = frozenset()) -> tuple[int, int, int]:
        """Ends the taking: how many rows stay, how many were duplicates, and how many had a key to be left out."""
        if not self._directory.exists():
            self._held = self._distinct(sorted(self._held))
            distinct = len(self._held)
            self._held = self._kept(self._held, leave_out)
            return len(self._held), self.taken - distinct, distinct - len(self._held)
        if self._held:
            self._spill()
        kept = distinct = 0
        for file in sorted(self._directory.iterdir()):
            for number, rows in enumerate(self._merged(file, 1)):
                distinct += len(rows)
                rows = self._kept(rows, leave_out)
                kept += len(rows)
                settled = file.with_name(f"{file.name}.{number:08}")
                with open(settled, "wb") as out:
                    marshal.dump(rows, out)
                self._files.append(settled)
            file.unlink()
        return kept, self.taken - distinct, distinct - kept

    def rows(self, skip: int = 0) -> Iterator[tuple[bytes, bytes]]:
        """Key and rest of every row, in order of key; the rest without its first `skip` bytes."""
        width, rest = self._key_bytes, self._key_bytes + skip
        for rows in self._settled():
            for at in range(0, len(rows), _TOGETHER):
                yield from [(row[:width], row[rest:]) for row in rows[at : at + _TOGETHER]]

    def keys(self) -> Iterator[bytes]:
        """The keys alone, joined, some hundred thousand at a time."""
        width = self._key_bytes
        for rows in self._settled():
            yield b"".join([row[:width] for row in rows])

    def _settled(self) -> Iterator[list[bytes]]:
        if self._held:
            yield self._held
        for file in self._files:
            with open(file, "rb") as settled:
                yield marshal.load(settled)  # noqa: S302 - written by `settle` in a directory of our own

    def close(self) -> None:
        """Deletes what was written."""
        self._held = []
        shutil.rmtree(self._directory, ignore_errors=True)

    def _spill(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._split(self._distinct(sorted(self._held)), self._directory, 0)
        self._held = []

    def _split(self, rows: list[bytes], to: Path, at: int) -> None:
        """Appends sorted rows, alike in all bytes before `at`, to one file per byte there."""
        begin = 0
        while begin < len(rows):
            alike, byte = rows[begin][:at], rows[begin][at]
            end = len(rows) if byte == 0xFF else bisect_left(rows, alike + bytes([byte + 1]), lo=begin)
            with open(to / f"{byte:02x}", "ab") as out:
                marshal.dump(rows[begin:end], out)
            begin = end

    def _merged(self, file: Path, at: int) -> Iterator[list[bytes]]:
        """The rows of a file, alike in all bytes before `at`, sorted and distinct; more than one list where it is
        large."""
        rows: list[bytes] = []
        for part in _slices(file):
            rows += part
            # Where all bytes are alike each slice has one row, so there is nothing to split.
            if len(rows) > SPLIT_ROWS and at < self._key_bytes:
                break
        else:
            yield self._distinct(sorted(rows))
            return
        del rows
        folder = file.with_name(f"{file.name}.split")
        folder.mkdir(mode=0o700)
        for part in _slices(file):
            self._split(part, folder, at)
        for finer in sorted(folder.iterdir()):
            yield from self._merged(finer, at + 1)
        shutil.rmtree(folder)

    def _distinct(self, rows: Iterable[bytes]) -> list[bytes]:
        """Sorted rows, the first of each key."""
        width = self._key_bytes
        distinct: list[bytes] = []
        last = b""
        for row in rows:
            if row[:width] != last:
                last = row[:width]
                distinct.append(row)
        return distinct

    def _kept(self, rows: list[bytes], leave_out: Collection[bytes]) -> list[bytes]:
        if not leave_out:
            return rows
        return [row for row in rows if row[: self._key_bytes] not in leave_out]


def _slices(file: Path) -> Iterator[list[bytes]]:
    with open(file, "rb") as parts, contextlib.suppress(EOFError):
        while True:
            yield marshal.load(parts)  # noqa: S302 - as in `_settled`
