"""What a decode worker and its parent say to each other: length-prefixed JSON, bounded in length.

    to the worker      request   what is asked, lengths of what follows, more of what is asked (EXAMINE: the wanted hash
                                 types and variants; VIEW: the level and the frame), the media as it is
    from the worker    READY     once: the walls that stand, and those that are missing
                       FAILED    once, instead: why it cannot start
                       DIGESTS   to EXAMINE, before anything is decoded, so that a crash does not cost them;
                                 not where the parent has them
                       EXAMINED  to EXAMINE
                       VIEWED    to VIEW: a byte that says how many frames there are, one whether these are all, and a
                                 picture; no JSON
                       UNVIEWED  to VIEW, instead: a reason, or how many frames there are where that one is not
                       RAISED    to either, instead: the reason why the job could not be done, where it raised an error

A worker has touched hostile bytes, so the parent reads what it says strictly: as promised here, or Malformed. Views
are read by viewed.py.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from hashmatch.errors import Malformed
from hashmatch.media.levels import Level
from hashmatch.types import Examination, Fingerprint, Hashed, Reason, Unhashable, Wanted

REQUEST = struct.Struct(">BIQ")  # what is asked, bytes of JSON that says more of it, bytes of media
EXAMINE, VIEW = 1, 2

HEAD = struct.Struct(">BI")  # kind, bytes of JSON
READY, FAILED, DIGESTS, EXAMINED, RAISED, VIEWED, UNVIEWED = 1, 2, 3, 4, 5, 6, 7

MAX_ANSWER_BYTES = 2 << 20  # of one message: twice 64 frames × 6 hash types × 20 readings and variants × 110 bytes
MAX_VIEW_BYTES = 2 + Level.FULL.most_bytes  # of a message that carries a view; the level may allow less
MAX_UNREAD_BYTES = 2 * max(MAX_ANSWER_BYTES, MAX_VIEW_BYTES)  # of what a worker said; one that says more is sent away
MAX_TEXT = 64  # characters of a media type, a variant, the name of a hash type
MAX_NUMBER = 2**31 - 1  # pixels, frames, milliseconds: what the wire's fields carry with room

OUT_OF_MEMORY = 12  # exit status of a worker when not even the media fits; ENOMEM's number

DIGEST_BYTES = {"md5": 16, "sha1": 20, "sha256": 32}
"""The exact digests that every answer carries, with their lengths."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a worker is started with."""

    socket: int  # file descriptor
    parent: int  # process id
    job: str  # name of a module
    hash_types: tuple[str, ...]  # that will be wanted
    memory_bytes: int  # resident at most, the interpreter and the loaded job included
    cpu_seconds: int  # of one submission
    require_walls: bool

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Settings:
        said = json.loads(text)  # the parent's own words
        return cls(**said | {"hash_types": tuple(said["hash_types"])})


def message(kind: int, content: object) -> bytes:
    """What a worker sends: `content` as JSON, headed by its kind and length."""
    return headed(kind, json.dumps(content, separators=(",", ":")).encode())


def headed(kind: int, body: bytes) -> bytes:
    """As `message`, of a body as it is."""
    return HEAD.pack(kind, len(body)) + body


def take_message(received: bytearray) -> tuple[int, bytes] | None:
    """Kind and body of the message that `received` starts with, taken out of it; None where it is not all there yet.

    Raises:
        Malformed: it is longer than an answer can be.
    """
    if len(received) < HEAD.size:
        return None
    kind, length = HEAD.unpack_from(received)
    end = HEAD.size + length
    if length > (MAX_VIEW_BYTES if kind == VIEWED else MAX_ANSWER_BYTES):
        raise Malformed("a worker's answer is too long")
    if len(received) < end:
        return None
    body = bytes(received[HEAD.size : end])
    del received[:end]
    return kind, body


def perceptual(wanted: Wanted) -> tuple[str, ...]:
    """The wanted hash types, each once, without the exact digests."""
    return tuple(t for t in dict.fromkeys(wanted.hash_types) if t not in DIGEST_BYTES)


def wanted_to_json(wanted: Wanted, *, digests: bool) -> bytes:
    """What a request says of itself; `digests`: the exact ones too."""
    return json.dumps([list(wanted.hash_types), sorted(wanted.variants), digests]).encode()


def wanted_from_json(body: bytes) -> tuple[Wanted, bool]:
    hash_types, variants, digests = json.loads(body)  # the parent's own words
    return Wanted(tuple(hash_types), frozenset(variants)), digests


def view_to_json(level: Level, frame: int) -> bytes:
    """What a request for a view says of itself."""
    return json.dumps([level, frame]).encode()


def view_from_json(body: bytes) -> tuple[Level, int]:
    level, frame = json.loads(body)  # the parent's own words
    return Level(level), frame


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
    """The examination: each wanted hash type is hashed, is unhashable once, or both; no other is, no exact digest.

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
    missed = {u.hash_type for u in found.unhashable}
    told = missed | {h.fingerprint.hash_type for h in found.hashed}
    if len(missed) != len(found.unhashable) or told != set(perceptual(wanted)):
        raise Malformed("a worker's answer is not about the wanted hash types")
    return found


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
