"""How files reach the disk: written beside their name, synced, renamed, and then the directory is synced.

Without the last the rename itself may not survive a power cut. Local disks only, never NFS.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from hashmatch.errors import StoreFailed, StoreFull

NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})  # disk, quota, file size limit


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turns what the system refuses about `path` into StoreFull or StoreFailed."""
    try:
        yield
    except OSError as e:
        if e.errno in NO_ROOM:
            raise StoreFull(f"no room left on the disk of {path}") from e
        raise StoreFailed(f"{path}: {e.strerror or e}") from e


def sync_directory(path: Path) -> None:
    """Makes the names in a directory last."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write(path: Path, pieces: Iterable[bytes]) -> None:
    """A new file that only its owner may read, synced; none where that fails. Its name does not last yet."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def overwrite(file: BinaryIO) -> None:
    """Puts zeros in the place of what a file holds, synced.

    On a disk that writes in place nothing of it is left. Flash and copying file systems may keep the old blocks for a
    while: so what is worth destroying is small, and of no use to who has no master key.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    file.write(bytes(size))
    file.flush()
    os.fsync(file.fileno())


def remove(path: Path) -> bool:
    """Takes a name away; whether it was there."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return False
    return True


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Waits until no thread and no process holds the lock file, and holds it. It is free again when a holder dies."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        with contextlib.suppress(OSError):
            os.close(fd)
