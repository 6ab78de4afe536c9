"""A decode worker's own side: raise the walls, then answer one submission after another until the parent hangs up.

Run as a fresh interpreter by `process.py`, with one socket, over which it speaks as `protocol.py` says. Everything the
worker needs is imported and tried before the walls stand, and no untrusted byte is read before they do.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import gc
import importlib
import os
import socket
import traceback
from collections.abc import Callable, Collection
from functools import partial
from typing import Protocol

from hashmatch.media import protocol, walls
from hashmatch.media.levels import Level, NoFrame, Unviewable, View, Viewed
from hashmatch.types import Examination, Hashed, Reason, Wanted

KEPT_BYTES = 4 << 20  # a buffer this big stays between requests: most pictures fit; above it memory is given back
NICENESS = 10  # of 19: where cores are short, the server that refuses, answers and records goes before decoding
STALE_BYTES = 16 << 20  # of heap that earlier media left; with less, another try would fail as the first did

_LIBC = ctypes.CDLL(None)
_LIBC.sbrk.restype = ctypes.c_ssize_t


class Job(Protocol):
    """What a worker does with media; the module that `protocol.Settings.job` names."""

    def prepare(self, hash_types: Collection[str]) -> None:
        """Imports, opens and tries whatever `hash_types` will ever need. Raises when it does not work."""

    def digests(self, media: memoryview) -> tuple[Hashed, ...]:
        """The exact digests, one of each in `protocol.DIGEST_BYTES`."""

    def look(self, media: memoryview, wanted: Wanted) -> Examination:
        """What the media turned out to be, without the exact digests. `media` is valid until this returns."""

    def view(self, media: memoryview, level: Level, frame: int) -> Viewed:
        """A frame of the media, for a person to look at. `media` is valid until this returns."""


def main(settings_json: str) -> None:
    """Serves until the socket ends."""
    settings = protocol.Settings.from_json(settings_json)
    faulthandler.enable()  # a crash leaves its Python stack on stderr, which the parent keeps the end of
    peer = socket.socket(fileno=settings.socket)
    try:
        walls.die_with_parent(settings.parent)
        os.nice(NICENESS)
        job: Job = importlib.import_module(settings.job)
        job.prepare(settings.hash_types)
        gc.collect()
        gc.freeze()  # what is loaded by now stays for good: never look through it again
        standing, missing = walls.raise_walls(
            memory_bytes=settings.memory_bytes, cpu_seconds=settings.cpu_seconds, parent=settings.parent
        )
        if missing and settings.require_walls:
            raise walls.WallMissing("missing walls: " + ", ".join(missing))
    except Exception as e:
        traceback.print_exc()
        why = str(e) if isinstance(e, walls.WallMissing) else f"{type(e).__name__}: {e}"
        peer.sendall(protocol.message(protocol.FAILED, why))
        return
    peer.sendall(protocol.message(protocol.READY, [standing, missing]))
    try:
        _serve(peer, job, settings.cpu_seconds)
    except MemoryError:
        os._exit(protocol.OUT_OF_MEMORY)


def _serve(peer: socket.socket, job: Job, cpu_seconds: int) -> None:
    heap_end = _heap_end()
    kept = bytearray(KEPT_BYTES)
    head = bytearray(protocol.REQUEST.size)
    while _receive(peer, memoryview(head)):
        asked, said_bytes, media_bytes = protocol.REQUEST.unpack(head)
        said = bytearray(said_bytes)
        _receive(peer, memoryview(said))
        buffer = kept if media_bytes <= KEPT_BYTES else bytearray(media_bytes)
        media = memoryview(buffer)[:media_bytes]
        _receive(peer, media)
        walls.limit_cpu(cpu_seconds)
        act: Callable[[], tuple[bytes, bool]]
        if asked == protocol.VIEW:
            act = partial(_view, job, media.toreadonly(), *protocol.view_from_json(bytes(said)))
        else:
            wanted, with_digests = protocol.wanted_from_json(bytes(said))
            if with_digests:
                digests = job.digests(media.toreadonly())
                peer.sendall(protocol.message(protocol.DIGESTS, protocol.digests_to_json(digests)))
            act = partial(_look, job, media.toreadonly(), wanted)
        peer.sendall(_answer(act, stale=_heap_end() - heap_end > STALE_BYTES))
        del act, buffer, media


def _look(job: Job, media: memoryview, wanted: Wanted) -> tuple[bytes, bool]:
    """The message to answer with, and whether anything was TOO_LARGE."""
    found = job.look(media, wanted)
    message = protocol.message(protocol.EXAMINED, protocol.examination_to_json(found))
    return message, any(u.reason is Reason.TOO_LARGE for u in found.unhashable)


def _view(job: Job, media: memoryview, level: Level, frame: int) -> tuple[bytes, bool]:
    """As `_look`."""
    match job.view(media, level, frame):
        case View(png=png, frames=frames, all_frames=all_frames):
            return protocol.headed(protocol.VIEWED, bytes([frames, all_frames]) + png), False
        case Unviewable(reason=reason):
            return protocol.message(protocol.UNVIEWED, reason.value), reason is Reason.TOO_LARGE
        case NoFrame(frames=frames):
            return protocol.message(protocol.UNVIEWED, frames), False


def _answer(act: Callable[[], tuple[bytes, bool]], *, stale: bool) -> bytes:
    """The message that `act` makes. `stale`: earlier media have left much free memory in the heap."""
    while True:
        try:
            message, too_large = act()
            if not (stale and too_large):
                return message
        except MemoryError:
            if not stale:
                return protocol.message(protocol.RAISED, Reason.TOO_LARGE.value)
        except Exception:
            with contextlib.suppress(OSError):
                traceback.print_exc()
            return protocol.message(protocol.RAISED, Reason.UNDECODABLE.value)
        # That counts against the limit, and an answer must not depend on what came before.
        stale = False
        gc.collect()
        _LIBC.malloc_trim(0)


def _heap_end() -> int:
    """Address where the C library's heap ends; 0 where it is not glibc's, which alone keeps much of it."""
    return int(_LIBC.sbrk(0)) if hasattr(_LIBC, "malloc_trim") else 0


def _receive(peer: socket.socket, into: memoryview) -> bool:
    """Whether `into` was filled; false when the parent has hung up."""
    while into.nbytes:
        count = peer.recv_into(into)
        if count == 0:
            return False
        into = into[count:]
    return True
