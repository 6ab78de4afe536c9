"""Puts checkpoints where whoever runs this machine cannot quietly take them back.

A directory (of another owner, another disk, a share that only grows) gets a file for each; an https URL gets each by
POST, or by PUT where it ends with a slash, as object stores take it, at that URL and the checkpoint's name. Nothing
that was put is ever replaced. What could not be put is tried again with the next one.
"""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

from hashmatch.errors import StoreFailed, Unavailable
from hashmatch.store.env import failure, sync_directory

SECONDS = 10.0  # for one place to answer
TYPE = "text/plain; charset=utf-8"


def name_of(size: int) -> str:
    """A checkpoint's file: names sort by size."""
    return f"{size:020}.note"


def put(place: str, size: int, note: bytes) -> None:
    """Puts one checkpoint in one place, where it is not there already.

    Raises:
        StoreFailed: a directory refused; or it has another checkpoint of that size, which only a forked log has.
        Unavailable: a URL did not take it.
    """
    if place.startswith("/"):
        _file(Path(place), size, note)
    else:
        _send(place, size, note)


def _file(folder: Path, size: int, note: bytes) -> None:
    path = folder / name_of(size)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "wb") as file:
                file.write(note)
                file.flush()
                os.fsync(file.fileno())
            sync_directory(folder)
            return
        there = path.read_bytes()
    except OSError as e:
        raise failure(folder, e) from e
    if there.partition(b"\n\n")[0] != note.partition(b"\n\n")[0]:
        raise StoreFailed(f"{path} is another checkpoint of the same size: this log, or that one, was rewritten")


def _send(url: str, size: int, note: bytes) -> None:
    stored = url.endswith("/")
    asked = urllib.request.Request(  # noqa: S310 - the settings allow https, and http on loopback
        url + name_of(size) if stored else url,
        data=note,
        method="PUT" if stored else "POST",
        headers={"Content-Type": TYPE, "If-None-Match": "*"} if stored else {"Content-Type": TYPE},
    )
    try:
        with opener.open(asked, timeout=SECONDS):
            return
    except urllib.error.HTTPError as e:
        with e:
            if stored and e.code == 412:  # it is there already: RFC 9110, If-None-Match
                return
            raise Unavailable(f"a checkpoint was refused: HTTP {e.code}") from e
    except (OSError, ValueError) as e:
        raise Unavailable(f"a checkpoint could not be sent: {e}") from e


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A checkpoint goes where the settings say, and nowhere else."""

    def redirect_request(self, *_: object, **__: object) -> None:
        return None


opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect())
