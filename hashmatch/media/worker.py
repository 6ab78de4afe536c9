"""A decode worker's own side: raise the walls, then answer one submission after another until the parent hangs up.

Run as a fresh interpreter by `sandbox.py`, with one socket. Everything the worker needs is imported and tried before
the walls stand, and no untrusted byte is read before they do. What it sends is never trusted by the parent, so the
frames both sides speak are defined here beside each other: length-prefixed JSON, parsed strictly, bounded in length.

    to the worker      request   lengths of what follows, the wanted hash types and variants, the media as it is
    from the worker    READY     once: the walls that stand
                       FAILED    once, instead: why it cannot start
                       DIGESTS   per request, before anything is decoded, so that a crash does not cost them
                       EXAMINED  per request
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import importlib
import json
import os
import socket
import struct
import sys
import traceback
from dataclasses import asdict, dataclass
from typing import Protocol

from hashmatch.errors import Malformed
from hashmatch.media import walls
from hashmatch.types import Examination, Fingerprint, Hashed, Reason, Unhashable, Wanted

REQUEST = struct.Struct(">IQ")  # bytes of JSON that says what is wanted, bytes of media
FRAME = struct.Struct(">BI")  # kind, bytes of JSON
READY, FAILED, DIGESTS, EXAMINED = 1, 2, 3, 4

MAX_ANSWER_BYTES = 2 << 20  # of one frame: twice 64 frames × 6 hash types × 20 readings and variants × 110 bytes
MAX_VALUE_BYTES = 1 << 10  # of one fingerprint; the longest known hash type has 32
MAX_TEXT = 64  # characters of a media type, a variant, the name of a hash type
MAX_NUMBER = 2**31 - 1  # pixels, frames, milliseconds: what the wire's fields carry with room

OUT_OF_MEMORY = 12  # exit status when not even the media fits; ENOMEM's number
KEPT_BYTES = 4 << 20  # a buffer this big stays between requests: most pictures fit; above it memory is given back

DIGEST_BYTES = {"md5": 16, "sha1": 20, "sha256": 32}
"""The exact digests that every answer carries, with their lengths."""


class Job(Protocol):
    """What a worker does with media; the module that `Settings.job` names."""

    def prepare(self) -> None:
        """Imports, opens and tries whatever will ever be needed. Raises when it does not work."""

    def digests(self, media: memoryview) -> tuple[Hashed, ...]:
        """The exact digests, one of each in DIGEST_BYTES."""

    def examine(self, media: memoryview, wanted: Wanted) -> Examination:
        """What the media turned out to be. `media` is valid until this returns."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a worker is started with."""

    socket: int  # file descriptor
    parent: int  # process id
    job: str  # name of a module
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
        job: Job = importlib.import_module(settings.job)  # type: ignore[assignment]  # the loop below is its user
        job.prepare()
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
    kept = bytearray(KEPT_BYTES)
    head = bytearray(REQUEST.size)
    while _receive(peer, memoryview(head)):
        wanted_bytes, media_bytes = REQUEST.unpack(head)
        said = bytearray(wanted_bytes)
        _receive(peer, memoryview(said))
        media = memoryview(kept if media_bytes <= KEPT_BYTES else bytearray(media_bytes))[:media_bytes]
        _receive(peer, media)
        walls.limit_cpu(cpu_seconds)
        _send(peer, DIGESTS, digests_to_json(job.digests(media.toreadonly())))
        examination = _examine(job, media.toreadonly(), wanted_from_json(bytes(said)))
        del media
        _send(peer, EXAMINED, examination_to_json(examination))


def _examine(job: Job, media: memoryview, wanted: Wanted) -> Examination:
    try:
        return job.examine(media, wanted)
    except MemoryError:
        reason = Reason.TOO_LARGE
    except Exception:
        with contextlib.suppress(OSError):
            traceback.print_exc()
        reason = Reason.UNDECODABLE
    return Examination(unhashable=tuple(Unhashable(hash_type, reason) for hash_type in wanted.hash_types))


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


# What follows is the language of both sides. Every `…_from_json` is strict: it returns what its type promises or raises Malformed.


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
    found = {}
    for row in _array(_parsed(body)):
        hash_type, value = _array(row, 2)
        found[_text(hash_type)] = _value(value)
    if {name: len(value) for name, value in found.items()} != DIGEST_BYTES:
        raise Malformed("a worker's digests are not those asked for")
    return tuple(Hashed(Fingerprint(name, value)) for name, value in found.items())


def examination_to_json(e: Examination) -> object:
    hashed = [
        [h.fingerprint.hash_type, h.fingerprint.value.hex(), h.quality, h.variant, h.frame_ms]
        for h in e.hashed
        if h.fingerprint.hash_type not in DIGEST_BYTES  # those were sent before
    ]
    return [e.media_type, e.width, e.height, e.frames, hashed, [[u.hash_type, u.reason.value] for u in e.unhashable]]


def examination_from_json(body: bytes, wanted: Wanted) -> Examination:
    """The examination, in which each wanted hash type is hashed, or is unhashable once; the exact digests are not in it.

    Raises:
        Malformed: it is anything else.
    """
    media_type, width, height, frames, hashed, unhashable = _array(_parsed(body), 6)
    found = Examination(
        media_type=_text(media_type),
        width=_number(width),
        height=_number(height),
        frames=_number(frames),
        hashed=tuple(_hashed(row) for row in _array(hashed)),
        unhashable=tuple(_unhashable(row) for row in _array(unhashable)),
    )
    named = {h.fingerprint.hash_type for h in found.hashed}
    told = sorted([*named, *(u.hash_type for u in found.unhashable)])
    if told != sorted(set(wanted.hash_types)):
        raise Malformed("a worker's answer is not about the wanted hash types")
    return found


def _hashed(row: object) -> Hashed:
    hash_type, value, quality, variant, frame_ms = _array(row, 5)
    return Hashed(
        Fingerprint(_text(hash_type), _value(value)),
        None if quality is None else _number(quality, most=100),
        _text(variant),
        _number(frame_ms),
    )


def _unhashable(row: object) -> Unhashable:
    hash_type, reason = _array(row, 2)
    try:
        return Unhashable(_text(hash_type), Reason(_text(reason)))
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


def _value(value: object) -> bytes:
    if not isinstance(value, str) or not 0 < len(value) <= 2 * MAX_VALUE_BYTES:
        raise Malformed("a worker's answer: not a fingerprint")
    try:
        return bytes.fromhex(value)
    except ValueError as e:
        raise Malformed("a worker's answer: not a fingerprint") from e
