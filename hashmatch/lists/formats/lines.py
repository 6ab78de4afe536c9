"""A list file as numbered lines of bounded length."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import Protocol

from hashmatch.errors import Malformed

MAX_LINE_BYTES = 1 << 16  # ours: a row of many columns is a few hundred; a file without line ends must not fill memory
_BOMS_OF_OTHERS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class Readable(Protocol):
    """What lines are read from."""

    def readline(self, size: int, /) -> bytes: ...


class Lines:
    """Iterates a file's lines with their line ends, a UTF-8 byte order mark left out. For one pass, by one thread.

    A line that is too long comes truncated to MAX_LINE_BYTES, and `overlong` is then its number.
    """

    def __init__(self, file: Readable) -> None:
        self._file = file
        self.number = 0  # of the line last given, from 1
        self.bytes = 0  # read so far
        self.overlong = 0

    def __iter__(self) -> Iterator[bytes]:
        """The lines.

        Raises:
            Malformed: the file is UTF-16.
        """
        read = self._file.readline
        while line := read(MAX_LINE_BYTES):
            self.number += 1
            self.bytes += len(line)
            if self.number == 1:
                if line.startswith(_BOMS_OF_OTHERS):
                    raise Malformed("the file is UTF-16; save it as UTF-8", field="chunk")
                line = line.removeprefix(codecs.BOM_UTF8)
            if len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
                self.overlong = self.number
                self._skip_rest()
            yield line

    def passed(self, lines: int, size: int) -> None:
        """Counts lines that were read beside this."""
        self.number += lines
        self.bytes += size

    def _skip_rest(self) -> None:
        while rest := self._file.readline(MAX_LINE_BYTES):
            self.bytes += len(rest)
            if rest.endswith(b"\n"):
                return
