"""Where an import keeps on disk what does not fit into memory: a directory of its own, gone when the import ends.

A directory whose process was killed stays locked by nobody, and the next import deletes it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from hashmatch.store.env import failure

_LOCK = "lock"


@contextlib.contextmanager
def directory(state: Path) -> Iterator[Path]:
    """A new private directory under STATE/lists/drafts.

    Raises:
        StoreFull, StoreFailed: it could not be made, or what was written in it.
    """
    drafts = state / "lists" / "drafts"
    own: Path | None = None
    try:
        drafts.mkdir(parents=True, exist_ok=True, mode=0o700)
        for old in drafts.iterdir():
            _sweep(old)
        own = Path(tempfile.mkdtemp(dir=drafts))
        with open(own / _LOCK, "wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield own / "rows"
    except OSError as e:
        raise failure(state / "lists", e) from e
    finally:
        if own is not None:
            shutil.rmtree(own, ignore_errors=True)


def _sweep(old: Path) -> None:
    # Between its making and its locking a directory of a live process is empty, and an empty one costs nothing.
    with contextlib.suppress(OSError), open(old / _LOCK, "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(old, ignore_errors=True)
    with contextlib.suppress(OSError):
        os.rmdir(old)
