"""A file that can be looked into before it is read: to tell its format, and to take many lines at once."""

from __future__ import annotations

from typing import BinaryIO


class Ahead:
    """Reads a file, some of it in advance. For one pass, by one thread."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._held = b""
        self._at = 0  # what of `_held` was read already

    def peek(self, size: int) -> bytes:
        """The next `size` bytes, fewer only at the end, without reading them."""
        while len(self._held) - self._at < size and (more := self._file.read(size)):
            self._held = self._held[self._at :] + more
            self._at = 0
        return self._held[self._at : self._at + size]

    def read(self, size: int = -1) -> bytes:
        """The next bytes, at most `size`; all of them where it is negative."""
        if self._at < len(self._held):
            end = len(self._held) if size < 0 else min(len(self._held), self._at + size)
            taken = self._held[self._at : end]
            self._at = end
            return taken if size >= 0 else taken + self._file.read()
        return self._file.read(size)

    def readline(self, size: int) -> bytes:
        """The next line with its end, cut off after `size` bytes."""
        end = self._held.find(b"\n", self._at, self._at + size)
        if end < 0:
            self.peek(size)
            end = self._held.find(b"\n", self._at, self._at + size)
        end = end + 1 if end >= 0 else min(len(self._held), self._at + size)
        line = self._held[self._at : end]
        self._at = end
        return line
