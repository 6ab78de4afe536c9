"""Files of secrets: made for a new endpoint, and followed while they are used, so that secrets are exchanged without a
restart. A file that is changed to something wrong changes nothing, and the trace says so."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path

from hashmatch.delivery.standard_webhooks import Secret, new_key_pair, new_secret
from hashmatch.errors import Conflict, Malformed
from hashmatch.evidence import durable

Stamp = tuple[int, int, int, int]

trace = logging.getLogger(__name__)


class SecretFile:
    """What signs for one endpoint: a secret a line, all of which sign. For any thread."""

    def __init__(self, file: Path) -> None:
        """Reads the file.

        Raises:
            Malformed: it cannot be read, others may read it, or it is wrong.
        """
        self._file, self._lock = file, threading.Lock()
        self._seen = _stamp(file)  # before it is read: what changes meanwhile is another; guarded by `_lock`
        self._secrets = _read(file)  # exchanged whole

    def __repr__(self) -> str:
        return f"<secrets of {self._file}>"

    def __iter__(self) -> Iterator[Secret]:
        """Those of the file as it is now; where that is wrong, as it last was right."""
        with self._lock:
            stamp = _stamp(self._file)
            if stamp != self._seen:
                self._seen = stamp
                self._take_over()
            return iter(self._secrets)

    def _take_over(self) -> None:
        try:
            self._secrets = _read(self._file)
        except Malformed as e:
            trace.error("secrets were not taken over, the old ones stay: %s", e)
            return
        trace.info("reloaded: %d secrets of %s", len(self._secrets), self._file)


def private(file: Path, key: str) -> str:
    """The text of a file that nobody else may read.

    Raises:
        Malformed: others may, or it cannot be read.
    """
    try:
        if file.stat().st_mode & 0o077:
            raise Malformed(f"others may read {file}: chmod 600", field=key)
        return file.read_text("ascii")
    except (OSError, UnicodeDecodeError) as e:
        raise Malformed(f"cannot read {file}: {getattr(e, 'strerror', None) or 'not ASCII'}", field=key) from None


def made(*, ed25519: bool = False) -> tuple[str, str]:
    """A new secret to sign with, and what its endpoint verifies by: the same, or the public key."""
    if ed25519:
        return new_key_pair()
    secret = new_secret()
    return secret, secret


def create(file: Path, secret: str) -> None:
    """Makes a file with one secret, which nobody else may read. It is on disk, whole, when this returns.

    Raises:
        Conflict: there is a file already.
        StoreFull, StoreFailed: it cannot be written; there is none then.
    """
    with durable.translated(file):
        try:
            durable.write(file, [secret.encode() + b"\n"])
        except FileExistsError as e:
            raise Conflict(f"{file} is there already") from e
        durable.sync_directory(file.absolute().parent)


def _read(file: Path) -> tuple[Secret, ...]:
    lines = private(file, "secrets").split()
    if not lines:
        raise Malformed(f"{file} is empty; `hashmatch outbox secret` makes one", field="secrets")
    return tuple(Secret(line) for line in lines)


def _stamp(file: Path) -> Stamp | None:
    """Another after any change, that of who may read it too; None where it is not there."""
    try:
        stat = file.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino, stat.st_size
