"""A decode worker's own side: raise the walls, then answer one submission after another until the parent hangs up.

Run as a fresh interpreter by `sandbox.py`, with one socket. Everything the worker needs is imported and tried before
the walls stand, and no untrusted byte is read before they do. What it sends is never trusted by the parent, so the
frames both sides speak are defined here beside each other: length-prefixed JSON, parsed strictly, bounded in length.

    to the worker      request   lengths of what follows, the wanted hash types and variants, the media as it is
    from the worker    READY     once: the walls that stand
                       FAILED    once, instead: why it cannot start
                       DIGESTS   per request, before anything is decoded, so that a crash does not cost them
                       EXAMINED  per request, or
                       RAISED    the reason why the job could not be done, where it raised an error
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import gc
import importlib
import json
import os
import socket
import struct
import traceback
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Protocol

from hashmatch.errors import Malformed
from hashmatch.media import walls
from hashmatch.types import Examination, Fingerprint, Hashed, Reason, Unhashable, Wanted

REQUEST = struct.Struct(">IQ")  # bytes of JSON that says what is wanted, bytes of media
FRAME = struct.Struct(">BI")  # kind, bytes of JSON
READY, FAILED, DIGESTS, EXAMINED, RAISED = 1, 2, 3, 4, 5

MAX_ANSWER_BYTES = 2 << 20  # of one frame: twice 64 frames × 6 hash types × 20 readings and variants × 110 bytes
MAX_TEXT = 64  # characters of a media type, a variant, the name of a hash type
MAX_NUMBER = 2**31 - 1  # pixels, frames, milliseconds: what the wire's fields carry with room

OUT_OF_MEMORY = 12  # exit status when not even the media fits; ENOMEM's number
KEPT_BYTES = 4 << 20  # a buffer this big stays between requests: most pictures fit; above it memory is given back

DIGEST_BYTES = {"md5": 16, "sha1": 20, "sha256": 32}
"""The exact digests that every answer carries, with their lengths."""


STALE_BYTES = 16 << 20  # of heap that earlier media left; with less, another try would fail as the first did

_LIBC = ctypes.CDLL(None)
_LIBC.sbrk.restype = ctypes.c_ssize_t


class Job(Protocol):
    """What a worker does with media; the module that `Settings.job` names."""

    def prepare(self, hash_types: Collection[str]) -> None:
        """Imports, opens and tries whatever `hash_types` will ever need. Raises when it does not work."""

    def digests(self, media: memoryview) -> tuple[Hashed, ...]:
        """The exact digests, one of each in DIGEST_BYTES."""

    def look(self, media: memoryview, wanted: Wanted) -> Examination:
        """What the media turned out to be, without the exact digests. `media` is valid until this returns."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a worker is started with."""

    socket: int  # file descriptor
    parent: int  # process id
    job: str  # name of a module
    hash_types: tuple[str, ...]  # that will be wanted
    memory_bytes: int
    cpu_seconds: int
    require_walls: bool

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def main(settings_json: str) -> None:
    """Serves until the socket ends."""
    settings = Settings(**json.loads(settings_json))
    faulthandler.enable()  # a crash leaves its Python stack on stderr, which the parent keeps the end of
    peer = socket.socket(fileno=settings.socket)
    try:
        walls.die_with_parent(settings.parent)
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
        _send(peer, FAILED, f"{type(e).__name__}: {e}" if not isinstance(e, walls.WallMissing) else str(e))
        return
    _send(peer, READY, [list(standing), list(missing)])
    try:
        _serve(peer, job, settings.cpu_seconds)
    except MemoryError:
        os._exit(OUT_OF_MEMORY)


def _serve(peer: socket.socket, job: Job, cpu_seconds: int) -> None:
    heap_end = _heap_end()
    kept = bytearray(KEPT_BYTES)
    head = bytearray(REQUEST.size)
    while _receive(peer, memoryview(head)):
        wanted_bytes, media_bytes = REQUEST.unpack(head)
        said = bytearray(wanted_bytes)
        _receive(peer, memoryview(said))
        buffer = kept if media_bytes <= KEPT_BYTES else bytearray(media_bytes)
        media = memoryview(buffer)[:media_bytes]
        _receive(peer, media)
        walls.limit_cpu(cpu_seconds)
        _send(peer, DIGESTS, digests_to_json(job.digests(media.toreadonly())))
        stale = _heap_end() - heap_end > STALE_BYTES
        _send(peer, *_look(job, media.toreadonly(), wanted_from_json(bytes(said)), stale))
        del buffer, media


def _look(job: Job, media: memoryview, wanted: Wanted, stale: bool) -> tuple[int, object]:
    """The frame to answer with. `stale`: earlier media have left much free memory in the heap."""
    while True:
        try:
            return EXAMINED, examination_to_json(job.look(media, wanted))
        except MemoryError:
            if not stale:
                return RAISED, Reason.TOO_LARGE.value
        except Exception:
            with contextlib.suppress(OSError):
                traceback.print_exc()
            return RAISED, Reason.UNDECODABLE.value
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


def _send(peer: socket.socket, kind: int, content: object) -> None:
    body = json.dumps(content, separators=(",", ":")).encode()
    peer.sendall(FRAME.pack(kind, len(body)) + body)


# What follows is the language of both sides. What the parent reads, it reads strictly: as promised, or Malformed.


def wanted_to_json(wanted: Wanted) -> bytes:
    return json.dumps([list(wanted.hash_types), sorted(wanted.variants)]).encode()


def wanted_from_json(body: bytes) -> Wanted:
    hash_types, variants = json.loads(body)  # the parent's own words
    return Wanted(tuple(hash_types), frozenset(variants))


def digests_to_json(digests: tuple[Hashed, ...]) -> object:
    return [[d.fingerprint.hash_type, d.fingerprint.value.hex()] for d in digests]


def digests_from_json(body: bytes) -> tuple[Hashed, ...]:
    """One of each exact digest.

    Raises:
        Malformed: it is anything else.
    """
    rows = [_array(row, 2) for row in _array(_parsed(body), len(DIGEST_BYTES))]
    found = tuple(Hashed(_fingerprint(hash_type, value, DIGEST_BYTES)) for hash_type, value in rows)
    if len({digest.fingerprint.hash_type for digest in found}) != len(DIGEST_BYTES):
        raise Malformed("a worker's digests: one is there twice")
    return found


def examination_to_json(e: Examination) -> object:
    hashed = [[h.fingerprint.hash_type, h.fingerprint.value.hex(), h.quality, h.variant, h.frame_ms] for h in e.hashed]
    return [e.media_type, e.width, e.height, e.frames, hashed, [[u.hash_type, u.reason.value] for u in e.unhashable]]


def examination_from_json(body: bytes, wanted: Wanted, value_bytes: Mapping[str, int]) -> Examination:
    """The examination: each wanted hash type is hashed, or is unhashable once, and nothing else is. No exact digests.

    `value_bytes` says how long the values of a hash type are; others than those in it cannot be hashed.

    Raises:
        Malformed: it is anything else.
    """
    media_type, width, height, frames, hashed, unhashable = _array(_parsed(body), 6)
    found = Examination(
        media_type=_text(media_type),
        width=_number(width),
        height=_number(height),
        frames=_number(frames),
        hashed=tuple(_hashed(row, value_bytes) for row in _array(hashed)),
        unhashable=tuple(_unhashable(row) for row in _array(unhashable)),
    )
    told = [*{h.fingerprint.hash_type for h in found.hashed}, *(u.hash_type for u in found.unhashable)]
    if sorted(told) != sorted(perceptual(wanted)):
        raise Malformed("a worker's answer is not about the wanted hash types")
    return found


def perceptual(wanted: Wanted) -> tuple[str, ...]:
    """The wanted hash types, each once, without the exact digests."""
    return tuple(t for t in dict.fromkeys(wanted.hash_types) if t not in DIGEST_BYTES)


def reason_from_json(body: bytes) -> Reason:
    """The reason.

    Raises:
        Malformed: it is anything else.
    """
    return _reason(_parsed(body))


def _hashed(row: object, value_bytes: Mapping[str, int]) -> Hashed:
    hash_type, value, quality, variant, frame_ms = _array(row, 5)
    return Hashed(
        _fingerprint(hash_type, value, value_bytes),
        None if quality is None else _number(quality, most=100),
        _text(variant),
        _number(frame_ms),
    )


def _unhashable(row: object) -> Unhashable:
    hash_type, reason = _array(row, 2)
    return Unhashable(_text(hash_type), _reason(reason))


def _fingerprint(hash_type: object, value: object, value_bytes: Mapping[str, int]) -> Fingerprint:
    name = _text(hash_type)
    if not isinstance(value, str) or len(value) != 2 * value_bytes.get(name, -1):
        raise Malformed("a worker's answer: not a fingerprint")
    try:
        return Fingerprint(name, bytes.fromhex(value))
    except ValueError as e:
        raise Malformed("a worker's answer: not a fingerprint") from e


def _reason(value: object) -> Reason:
    try:
        return Reason(_text(value))
    except ValueError as e:
        raise Malformed("a worker's answer: not a reason") from e


def _parsed(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as e:
        raise Malformed("a worker's answer: not JSON") from e


def _array(value: object, length: int | None = None) -> list[object]:
    if not isinstance(value, list) or (length is not None and len(value) != length):
        raise Malformed("a worker's answer: not the array expected")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT or not (value.isascii() and value.isprintable()):
        raise Malformed("a worker's answer: not a short text")
    return value


def _number(value: object, most: int = MAX_NUMBER) -> int:
    if type(value) is not int or not 0 <= value <= most:  # bool is an int to isinstance
        raise Malformed("a worker's answer: not a number in range")
    return value
