"""Bytes of any length under one key, in chunks that can be read alone and cannot be moved, dropped or added unseen.

The STREAM construction (Hoang, Reyhanitabar, Rogaway, Vizár: Online Authenticated-Encryption and its Nonce-Reuse
Misuse-Resistance, CRYPTO 2015), as age uses it: AES-256-GCM, and a nonce of the chunk's number, 11 bytes, and of one
byte that says whether it is the last. A key seals one stream only, so no nonce comes twice.

A file is MAGIC and the chunks, each CHUNK_BYTES and a tag; the last may be shorter, and is empty for no bytes at all.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import BinaryIO, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from hashmatch.errors import Corrupt, StoreFailed

MAGIC: Final = b"hmseal1\n"
CHUNK_BYTES: Final = 1 << 20  # of media, in memory at once
TAG_BYTES: Final = 16
KEY_BYTES: Final = 32


def length(size: int) -> int:
    """Bytes of the file for that many bytes of media."""
    return len(MAGIC) + size + TAG_BYTES * _chunks(size)


def chunks(source: BinaryIO) -> Iterator[bytes]:
    """What a file still has, in pieces of CHUNK_BYTES, the last of which may be shorter; none is empty."""
    piece = bytearray()
    while got := source.read(CHUNK_BYTES - len(piece)):
        piece += got
        if len(piece) == CHUNK_BYTES:
            yield bytes(piece)
            piece.clear()
    if piece:
        yield bytes(piece)


def seal(key: bytes, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The file, piece by piece. Pieces are those of `chunks`; the key must never have sealed anything."""
    cipher = AESGCM(key)
    yield MAGIC
    number, held = 0, b""
    for piece in pieces:
        if held:
            yield cipher.encrypt(_nonce(number, last=False), held, None)
            number += 1
        held = piece
    yield cipher.encrypt(_nonce(number, last=True), held, None)


class Opened(io.RawIOBase):
    """The media of a sealed file: read-only, seekable, one chunk in memory. Closing it closes the file.

    Raises, when made and when read:
        Corrupt: the file is not what was written.
        StoreFailed: it cannot be read.
    """

    def __init__(self, file: BinaryIO, key: bytes, size: int) -> None:
        """`size`: bytes of media, from where it cannot be forged."""
        super().__init__()
        self._file, self._cipher, self.size = file, AESGCM(key), size
        self._at, self._number, self._chunk = 0, -1, b""
        found = file.seek(0, io.SEEK_END)
        file.seek(0)
        if found != length(size):
            raise Corrupt(f"a sealed file has {found} bytes, want {length(size)}")
        if file.read(len(MAGIC)) != MAGIC:
            raise Corrupt("a sealed file does not begin as one")
        self._load(0)  # so that damage of a small one is told before anything is handed out

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        if base + offset < 0:
            raise ValueError("before the beginning")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        if self._at >= self.size or not len(buffer):
            return 0
        number, start = divmod(self._at, CHUNK_BYTES)
        self._load(number)
        piece = self._chunk[start : start + len(buffer)]
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)

    def close(self) -> None:
        self._file.close()
        self._chunk = b""
        super().close()

    def _load(self, number: int) -> None:
        if number == self._number:
            return
        try:
            self._file.seek(len(MAGIC) + number * (CHUNK_BYTES + TAG_BYTES))
            stored = self._file.read(CHUNK_BYTES + TAG_BYTES)
            last = number == _chunks(self.size) - 1
            self._chunk, self._number = self._cipher.decrypt(_nonce(number, last=last), stored, None), number
        except OSError as e:
            raise StoreFailed(f"a sealed file cannot be read: {e.strerror or e}") from e
        except (InvalidTag, ValueError):
            raise Corrupt(f"chunk {number} of a sealed file is not what was written") from None


def _chunks(size: int) -> int:
    return max(1, -(-size // CHUNK_BYTES))


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11, "big") + (b"\1" if last else b"\0")
