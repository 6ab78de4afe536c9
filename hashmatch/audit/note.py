"""Signed notes and checkpoints, as C2SP writes them: c2sp.org/signed-note, /tlog-checkpoint, /tlog-cosignature.

A note is text and lines of signatures. Whoever verifies knows some keys; lines of other keys are none of their
business, which is how keys are rotated and witnesses added, and how a new algorithm will come: C2SP now recommends
ML-DSA-44.
A line of a known key that does not verify makes the whole note worthless.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from hashmatch.errors import Malformed

ED25519, COSIGNATURE = 0x01, 0x04  # c2sp.org/signed-note, "Signature types"
MAX_NOTE_BYTES = 64 << 10  # of text and signatures: hundreds of witnesses
MAX_SIGNATURES = 100
_HASH_BYTES, _TIME_BYTES, _KEY_BYTES = 4, 8, 32
_DASH = "\u2014 "  # begins a line of signature


class Signature(NamedTuple):
    """One line under a note: whose key, and the bytes after the key's hash."""

    name: str
    key_hash: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Note:
    """A text, and who is said to have signed it."""

    text: bytes
    signatures: tuple[Signature, ...]


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key and the name that goes with it."""

    name: str
    algorithm: int
    public: bytes

    @classmethod
    def parse(cls, text: str) -> VerifierKey:
        """The key that `name+hash+base64` stands for.

        Raises:
            Malformed: it does not, or the hash is not that of name and key.
        """
        parts = text.strip().split("+", 2)
        try:
            name, key_hash, encoded = parts
            raw = _base64(encoded)
            key = cls(_checked(name), raw[0], raw[1:])
            if bytes.fromhex(key_hash) != key.hash or len(key_hash) != 2 * _HASH_BYTES:
                raise ValueError
        except (ValueError, IndexError, binascii.Error) as e:
            raise Malformed("want a verifier key as name+hash+base64, of one piece", field="key") from e
        if key.algorithm in (ED25519, COSIGNATURE) and len(key.public) != _KEY_BYTES:
            raise Malformed(f"{len(key.public)} bytes, an Ed25519 key has {_KEY_BYTES}", field="key")
        return key

    @property
    def hash(self) -> bytes:
        """What its signatures are found by, 4 bytes."""
        return hashlib.sha256(self.name.encode() + b"\n" + bytes([self.algorithm]) + self.public).digest()[:_HASH_BYTES]

    def __str__(self) -> str:
        encoded = base64.b64encode(bytes([self.algorithm]) + self.public).decode()
        return f"{self.name}+{self.hash.hex()}+{encoded}"

    def verify(self, text: bytes, signature: bytes) -> bool:
        """Whether it signed the text; False for an algorithm that is not known here."""
        if self.algorithm == COSIGNATURE:
            if len(signature) < _TIME_BYTES:
                return False
            text, signature = _cosigned(signature[:_TIME_BYTES], text), signature[_TIME_BYTES:]
        elif self.algorithm != ED25519:
            return False
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text)
        except (InvalidSignature, ValueError):
            return False
        return True


class Signer:
    """A private key and its name."""

    def __init__(self, name: str, key: Ed25519PrivateKey) -> None:
        """Raises Malformed where the name cannot be a key's."""
        try:
            self._key, public = key, key.public_key().public_bytes_raw()
            self.verifier = VerifierKey(_checked(name), ED25519, public)
        except ValueError as e:
            raise Malformed("a key's name is not empty, and has neither white space nor a plus", field="name") from e

    @property
    def name(self) -> str:
        return self.verifier.name

    @property
    def verifier_key(self) -> str:
        """The public half, `name+hash+base64`."""
        return str(self.verifier)

    def sign(self, text: bytes) -> bytes:
        """The line of signature for a text that ends with a line feed."""
        return signature_line(Signature(self.name, self.verifier.hash, self._key.sign(text)))


def signature_line(signature: Signature) -> bytes:
    """A signature as it stands under a note."""
    encoded = base64.b64encode(signature.key_hash + signature.signature).decode()
    return f"{_DASH}{signature.name} {encoded}\n".encode()


def parse_note(note: bytes) -> Note:
    """A note's text and its signatures, none of which is verified.

    Raises:
        Malformed: it is not a signed note.
    """
    text, middle, lines = note.rpartition(b"\n\n")
    if not middle or len(note) > MAX_NOTE_BYTES or not lines.endswith(b"\n"):
        raise Malformed("not a signed note: want text, an empty line, lines of signatures", field="note")
    try:
        decoded = note.decode()
        if any(c < " " and c != "\n" for c in decoded):
            raise ValueError
        signatures = tuple(map(_signature, lines.decode()[:-1].split("\n")))
    except ValueError as e:
        raise Malformed("not a signed note: a line of signature, or a character, that cannot be", field="note") from e
    if len(signatures) > MAX_SIGNATURES:
        raise Malformed(f"more than {MAX_SIGNATURES} signatures", field="note")
    return Note(text + b"\n", signatures)


def verified(note: Note, keys: Iterable[VerifierKey]) -> list[VerifierKey]:
    """The keys that signed a note; none where only strangers did.

    Raises:
        Malformed: a signature of a known key does not verify.
    """
    known = {(key.name, key.hash): key for key in keys}
    found: list[VerifierKey] = []
    for signature in note.signatures:
        key = known.get((signature.name, signature.key_hash))
        if key is None or key in found:
            continue
        if not key.verify(note.text, signature.signature):
            raise Malformed(f"the signature of '{key.name}' is not one of this text", field="note")
        found.append(key)
    return found


def cosigned_at(signature: Signature) -> int:
    """When a witness cosigned, in seconds since 1970."""
    return int.from_bytes(signature.signature[:_TIME_BYTES])


def cosign(name: str, key: Ed25519PrivateKey, text: bytes, at: int) -> bytes:
    """A witness's line of signature under a checkpoint, made at a time in seconds since 1970."""
    time = at.to_bytes(_TIME_BYTES)
    verifier = VerifierKey(_checked(name), COSIGNATURE, key.public_key().public_bytes_raw())
    return signature_line(Signature(name, verifier.hash, time + key.sign(_cosigned(time, text))))


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What is signed of a tree."""

    origin: str
    size: int
    root: bytes

    def text(self) -> bytes:
        """As it is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n".encode()

    @classmethod
    def parse(cls, text: bytes) -> Checkpoint:
        """What a note's text says; extension lines after it are left aside, as c2sp.org/tlog-checkpoint asks.

        Raises:
            Malformed: it is no checkpoint.
        """
        try:
            origin, size, root = text.decode().split("\n")[:3]
            found = cls(origin, int(size), _base64(root))
            if not origin or str(found.size) != size or len(found.root) != hashlib.sha256().digest_size:
                raise ValueError
        except ValueError as e:
            raise Malformed("not a checkpoint: want a line each of origin, size and root", field="note") from e
        return found


def _cosigned(time: bytes, text: bytes) -> bytes:
    return f"cosignature/v1\ntime {int.from_bytes(time)}\n".encode() + text


def _signature(line: str) -> Signature:
    if not line.startswith(_DASH):
        raise ValueError(line)
    name, encoded = line.removeprefix(_DASH).split(" ")
    raw = _base64(encoded)
    if len(raw) <= _HASH_BYTES:
        raise ValueError(line)
    return Signature(_checked(name), raw[:_HASH_BYTES], raw[_HASH_BYTES:])


def _base64(encoded: str) -> bytes:
    """The bytes, where this is the one way to write them: else a bit could be flipped unseen."""
    decoded = base64.b64decode(encoded, validate=True)
    if base64.b64encode(decoded).decode() != encoded:
        raise ValueError(encoded)
    return decoded


def _checked(name: str) -> str:
    if not name or "+" in name or any(c.isspace() for c in name):
        raise ValueError(name)
    return name
