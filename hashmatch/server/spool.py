"""Uploads in chunks, while they come: digests are made as bytes arrive, and what is long does not stay in memory.

Past a threshold the bytes go to a file that has no name (on macOS: none after a moment), so that nothing is left of an
upload that is abandoned, nor of any where this process is killed. They are encrypted on the way (AES-256 in counter
mode, a fresh key per upload that exists in memory alone), so that nothing can be read off the disk afterwards either.
"""

from __future__ import annotations

import hashlib
import secrets
import tempfile
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from hashmatch.errors import StoreFailed
from hashmatch.hashing.digests import DIGESTS
from hashmatch.store.env import failure
from hashmatch.types import Fingerprint, Hashed


class Spool:
    """The bytes of one upload. Leaving it frees everything."""

    def __init__(self, directory: Path, threshold: int) -> None:
        """At most `threshold` bytes stay in memory; the rest goes to a file on the disk of `directory`."""
        self._directory, self._threshold = directory, threshold
        self._held = bytearray()
        self._file: BinaryIO | None = None
        self._cipher = Cipher(algorithms.AES(secrets.token_bytes(32)), modes.CTR(secrets.token_bytes(16)))
        self._encryptor = self._cipher.encryptor()
        self._hashes = [hashlib.new(name, usedforsecurity=False) for name in DIGESTS]
        self.size = 0

    @property
    def in_memory(self) -> int:
        """Bytes that are held in memory."""
        return len(self._held)

    @property
    def on_disk(self) -> int:
        """Bytes that are held on the disk."""
        return self.size - len(self._held)

    def stays(self, length: int) -> bool:
        """Whether the next `length` bytes will stay in memory."""
        return self._file is None and len(self._held) + length <= self._threshold

    def write(self, chunk: bytes) -> None:
        """Takes the next bytes.

        Raises:
            StoreFull, StoreFailed: the disk refused them.
        """
        stays = self.stays(len(chunk))
        for one in self._hashes:
            one.update(chunk)
        self.size += len(chunk)
        if stays:
            self._held += chunk
            return
        try:
            if self._file is None:
                self._directory.mkdir(exist_ok=True, mode=0o700)
                self._file = tempfile.TemporaryFile(dir=self._directory)  # noqa: SIM115 - closed by __exit__
                self._file.write(self._encryptor.update(bytes(self._held)))
                self._held = bytearray()
            self._file.write(self._encryptor.update(chunk))
        except OSError as e:
            raise failure(self._directory, e) from e

    def media(self) -> bytes:
        """Everything that was written, in memory.

        Raises:
            StoreFailed: the disk does not give it back.
        """
        if self._file is None:
            return bytes(self._held)
        try:
            self._file.seek(0)
            stored = self._file.read()
        except OSError as e:
            raise StoreFailed(f"a spooled upload cannot be read: {e}") from e
        media = self._cipher.decryptor().update(stored)
        if len(media) != self.size:
            raise StoreFailed("a spooled upload has lost bytes")
        return media

    def digests(self) -> tuple[Hashed, ...]:
        """The exact digests of what was written."""
        return tuple(Hashed(Fingerprint(h.name, h.digest())) for h in self._hashes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._file is not None:
            self._file.close()
