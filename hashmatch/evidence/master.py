"""Master keys: what the keys of items are wrapped by. One is a file, or a command that asks a key service.

Who has the vault's disk and not the master key can read nothing. So keep it elsewhere, and back it up: with the last
copy of it all evidence is lost.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from hashmatch.errors import BadConfig, Conflict, Corrupt
from hashmatch.evidence import durable

KEY_BYTES: Final = 32
MAX_KEYS: Final = 64  # lines of a file: years of rotation
_ID_BYTES, _NONCE_BYTES = 8, 12  # NIST SP 800-38D, 8.2.2: a random nonce of 96 bits
_MAX_FILE_BYTES = 64 << 10


class Master(Protocol):
    """Wraps the keys of items. For any thread."""

    @property
    def id(self) -> str:
        """Which key wraps now; another one after it was changed."""

    def wrap(self, key: bytes, context: bytes) -> bytes:
        """The key, of no use to who cannot unwrap it. The context is printable ASCII, and no secret.

        Raises:
            StoreFailed: it cannot be asked now.
        """

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """The key again.

        Raises:
            BadConfig: it was wrapped by a key that is not there.
            Corrupt: these bytes were not wrapped, or not in this context.
            StoreFailed: it cannot be asked now, or refuses.
        """


class FileMaster:
    """Keys of 32 bytes in a file, a line of base64 each; lines with # are remarks.

    The first wraps. The others are older ones, which still unwrap what they had wrapped: AES-256-GCM, the context as
    associated data, and the key's id in front. A file that changes is read again, so that a server that runs goes over
    to a new key; one that is gone or wrong by then changes nothing until the next start.
    """

    def __init__(self, path: Path) -> None:
        """Reads the file.

        Raises:
            BadConfig: it cannot be read, others than its owner may, or it holds something else.
        """
        self._path = path
        self._seen = _stamp(path)
        self._keys = _by_id(_read(path))  # exchanged whole, never changed: for any thread

    @property
    def id(self) -> str:
        return next(iter(self._current())).hex()

    def wrap(self, key: bytes, context: bytes) -> bytes:
        by, cipher = next(iter(self._current().items()))
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return by + nonce + cipher.encrypt(nonce, key, context)

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        by, rest = wrapped[:_ID_BYTES], wrapped[_ID_BYTES:]
        cipher = self._current().get(by)
        if cipher is None:
            raise BadConfig(f"key {by.hex()} is not in {self._path}")
        try:
            return cipher.decrypt(rest[:_NONCE_BYTES], rest[_NONCE_BYTES:], context)
        except (InvalidTag, ValueError):
            raise Corrupt(f"a key wrapped by {by.hex()} is damaged, or another item's") from None

    def _current(self) -> dict[bytes, AESGCM]:
        stamp = _stamp(self._path)
        if stamp not in (None, self._seen):
            with suppress(BadConfig):
                self._keys = _by_id(_read(self._path))
            self._seen = stamp
        return self._keys


def create_master_file(path: Path) -> str:
    """Makes a file with one new key; returns the key's id. The file is on disk when this returns.

    Raises:
        Conflict: there is a file already.
        StoreFull, StoreFailed: it cannot be written; there is none then.
    """
    key = secrets.token_bytes(KEY_BYTES)
    with durable.translated(path):
        try:
            durable.write(path, [base64.b64encode(key) + b"\n"])
        except FileExistsError as e:
            raise Conflict(f"{path} is there already") from e
        durable.sync_directory(path.absolute().parent)
    return _id(key).hex()


def rotate_master_file(path: Path) -> str:
    """Puts a new key in front of those of a file; returns its id. The older ones still unwrap what they had wrapped.

    Raises:
        BadConfig: what is there is not a file of keys, or a full one.
        StoreFull, StoreFailed: it cannot be written; it is as it was then.
    """
    keys = [secrets.token_bytes(KEY_BYTES), *_read(path)]
    if len(keys) > MAX_KEYS:
        raise BadConfig(f"{path}: {len(keys) - 1} keys already; remove those that wrap nothing any more")
    draft = path.absolute().with_name(f".{path.name}.{secrets.token_hex(8)}")
    with durable.translated(path):
        durable.write(draft, [base64.b64encode(key) + b"\n" for key in keys])
        try:
            draft.replace(path)
        finally:
            durable.remove(draft)
        durable.sync_directory(draft.parent)
    return _id(keys[0]).hex()


def _read(path: Path) -> list[bytes]:
    try:
        with open(path, "rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise BadConfig(f"{path}: others than its owner may read it, and open all evidence; chmod 600")
            lines = file.read(_MAX_FILE_BYTES + 1).splitlines()
    except OSError as e:
        raise BadConfig(f"cannot read the master key {path}: {e.strerror}") from e
    keys: list[bytes] = []
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.startswith(b"#"):
            keys.append(_key(line.strip(), f"{path}: line {number}"))
    if not 1 <= len(keys) <= MAX_KEYS:
        raise BadConfig(f"{path}: {len(keys)} keys, want 1 to {MAX_KEYS}")
    return keys


def _key(text: bytes, where: str) -> bytes:
    try:
        key = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise BadConfig(f"{where} is not base64") from None  # the cause might show some of it
    if len(key) != KEY_BYTES:
        raise BadConfig(f"{where}: {len(key)} bytes, want {KEY_BYTES}")
    return key


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What changes when a file does; None: it is not there. To be taken before the file is read."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _by_id(keys: list[bytes]) -> dict[bytes, AESGCM]:
    return {_id(key): AESGCM(key) for key in keys}


def _id(key: bytes) -> bytes:
    return hashlib.sha256(b"hashmatch master key\0" + key).digest()[:_ID_BYTES]
