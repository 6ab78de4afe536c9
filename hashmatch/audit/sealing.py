"""What is personal in the log, sealed so that it can be erased and the tree still verifies.

An event's bytes stay in the tree for ever. So whose media it was, what the caller called it, and its fingerprints (of a
MATCH: those of listed media) stand in it only sealed, AES-256-GCM under a key that lies in a table beside the tree. A
subject has one key for each class of facts and each month: destroying those of a subject erases the subject, and those
of old months are how retention ends. What is left then is a random key id and keyed digests.

A subject is the uploader; where none is named, the content; where neither is, the one verdict.
"""

from __future__ import annotations

import hmac
import os
import struct
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from enum import IntEnum
from itertools import islice, takewhile

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from hashmatch.audit import tables
from hashmatch.errors import Corrupt
from hashmatch.store import codec
from hashmatch.store.env import Env, Txn
from hashmatch.v1.audit_pb2 import Event, Sealed, SealedText, SealedVerdict, VerdictRecord
from hashmatch.v1.common_pb2 import Subject
from hashmatch.v1.store_pb2 import SubjectKeyRecord

NONCE_BYTES = 12  # NIST SP 800-38D, 8.2.2: random, of 96 bits
_KEY_ID = struct.Struct(">BH13s")  # class, months since 1970, random
_DIGEST_BYTES = 16  # of a fingerprint's keyed digest, and of a subject's


class Class(IntEnum):
    """Of facts that are kept equally long. The number is the first byte of their keys' ids."""

    VERDICTS = 1
    CASES = 2


class Sealing:
    """Seals and opens, inside transactions that the caller opened."""

    def __init__(self, env: Env, subject_key: bytes, fingerprint_key: bytes) -> None:
        """`subject_key` and `fingerprint_key` are what subjects and fingerprints are digested with; where nothing will
        be sealed they may be empty."""
        self._subjects, self._keys = map(env.table, tables.SEALING)
        self._subject_key, self._fingerprint_key = subject_key, fingerprint_key

    # ── sealing ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def seal_verdict(self, txn: Txn, event: Event, at: datetime) -> None:
        """Moves what is personal in an event's verdict into its sealed part."""
        verdict = event.verdict
        sealed = SealedVerdict(request_id=verdict.request_id, question_digest=verdict.question_digest)
        about = whose(verdict.subject) or _nobodys(verdict.verdict_id)
        if verdict.HasField("subject"):
            surface, region = verdict.subject.surface, verdict.subject.region
            sealed.subject.CopyFrom(verdict.subject)
            verdict.ClearField("subject")
            if surface or region:
                verdict.subject.surface, verdict.subject.region = surface, region
        verdict.ClearField("request_id")
        verdict.ClearField("question_digest")
        for hashed in verdict.hashed:
            value = hashed.fingerprint.value
            sealed.values.append(value)
            if value:
                hashed.digest = self.fingerprint_digest(hashed.hash_type, value)
                hashed.fingerprint.ClearField("value")
        self._seal(txn, event, Class.VERDICTS, about, at, sealed.SerializeToString())

    def seal_text(self, txn: Txn, event: Event, about: Subject, text: str, at: datetime) -> None:
        """Seals what a person wrote about a subject, as the sealed part of an event."""
        self._seal(txn, event, Class.CASES, whose(about), at, SealedText(text=text).SerializeToString())

    def fingerprint_digest(self, hash_type: str, value: bytes) -> bytes:
        """What stands for a fingerprint in the log: the same for the same one, and of no use to who has no key."""
        return hmac.digest(self._fingerprint_key, hash_type.encode() + b"\0" + value, "sha256")[:_DIGEST_BYTES]

    def _seal(self, txn: Txn, event: Event, kind: Class, whose: bytes, at: datetime, plain: bytes) -> None:
        key_id, key = self._key(txn, kind, whose, _month(at))
        nonce = os.urandom(NONCE_BYTES)
        event.sealed.key_id = key_id
        event.sealed.box = nonce + AESGCM(key).encrypt(nonce, plain, key_id)

    def _key(self, txn: Txn, kind: Class, whose: bytes, month: int) -> tuple[bytes, bytes]:
        """The key of a subject for a class and a month, and its id; a new one where there is none."""
        subject = b""
        if whose:
            row = self._subject_row(kind, whose, month)
            subject = row[:_DIGEST_BYTES]
            stored = txn.get(row, db=self._subjects)
            if stored is not None:
                key_id = codec.unseal(row, stored, "subjects")
                known = self._record(txn, key_id)
                if known is None:
                    raise Corrupt("a subject's key is missing; restore the state directory from a backup")
                return key_id, known.key
        key_id = _KEY_ID.pack(kind, month, os.urandom(13))
        record = SubjectKeyRecord(key=os.urandom(32), subject=subject, month=month)
        txn.put(key_id, codec.seal(key_id, record.SerializeToString()), db=self._keys)
        if whose:
            txn.put(row, codec.seal(row, key_id), db=self._subjects)
        return key_id, record.key

    def subject_digest(self, subject: Subject) -> bytes:
        """What a subject's rows are found by; empty where nobody is named."""
        about = whose(subject)
        return self._subject_digest(about) if about else b""

    def verdict_digest(self, verdict_id: str) -> bytes:
        """What the rows of a verdict are found by whose subject nobody named."""
        return self._subject_digest(_nobodys(verdict_id))

    def _subject_row(self, kind: Class, whose: bytes, month: int) -> bytes:
        return self._subject_digest(whose) + struct.pack(">BH", kind, month)

    def _subject_digest(self, whose: bytes) -> bytes:
        return hmac.digest(self._subject_key, whose, "sha256")[:_DIGEST_BYTES]

    # ── opening ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def open(self, txn: Txn, event: Event) -> bool:
        """Puts what is sealed of a verdict back into its place; False where its key was destroyed.

        Raises:
            Corrupt: the sealed part or its key is damaged.
        """
        if not event.HasField("sealed"):
            return True
        plain = self._opened(txn, event.sealed)
        if plain is None:
            return False
        if event.WhichOneof("fact") == "verdict":
            _restore(event.verdict, SealedVerdict.FromString(plain))
            event.ClearField("sealed")
        return True

    def text(self, txn: Txn, sealed: Sealed) -> str | None:
        """What a person wrote; None where its key was destroyed."""
        plain = self._opened(txn, sealed)
        return None if plain is None else SealedText.FromString(plain).text

    def _opened(self, txn: Txn, sealed: Sealed) -> bytes | None:
        record = self._record(txn, sealed.key_id)
        if record is None:
            return None
        box = sealed.box
        try:
            return AESGCM(record.key).decrypt(box[:NONCE_BYTES], box[NONCE_BYTES:], sealed.key_id)
        except InvalidTag:
            raise Corrupt("the sealed part of an event is not what was written; restore from a backup") from None

    def _record(self, txn: Txn, key_id: bytes) -> SubjectKeyRecord | None:
        stored = txn.get(key_id, db=self._keys) if key_id else None
        return None if stored is None else codec.read(key_id, stored, "subject_keys", SubjectKeyRecord)

    # ── erasing ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def key_ids(self, txn: Txn, subject: Subject) -> list[bytes]:
        """The ids of a subject's keys, of every class and month."""
        prefix = self._subject_digest(whose(subject))
        found = []
        with txn.cursor(db=self._subjects) as cursor:
            if cursor.set_range(prefix):
                for row, stored in cursor:
                    if not row.startswith(prefix):
                        break
                    found.append(codec.unseal(row, stored, "subjects"))
        return found

    def older(
        self, txn: Txn, kind: Class, before: datetime, limit: int, after: bytes = b""
    ) -> list[tuple[bytes, bytes]]:
        """At most `limit` keys of a class, of months that ended before then: their ids, and the digests of their
        subjects, empty of nobody; those that follow the key `after`."""
        start, end = _KEY_ID.pack(kind, 0, b""), _KEY_ID.pack(kind, _month(before), b"")
        with txn.cursor(db=self._keys) as cursor:
            if not cursor.set_range(after + b"\0" if after else start):
                return []
            rows = takewhile(lambda row: row[0] < end, islice(cursor, limit))
            return [(key, codec.read(key, stored, "subject_keys", SubjectKeyRecord).subject) for key, stored in rows]

    def destroy(self, txn: Txn, key_ids: Iterable[bytes]) -> Iterator[bytes]:
        """Destroys keys, and returns the ids of those that were there."""
        for key_id in key_ids:
            record = self._record(txn, key_id)
            if record is None:
                continue
            if record.subject:
                kind, month, _ = _KEY_ID.unpack(key_id)
                txn.delete(record.subject + struct.pack(">BH", kind, month), db=self._subjects)
            txn.delete(key_id, db=self._keys)
            yield key_id


def whose(subject: Subject) -> bytes:
    """What a subject's keys are found by; empty where neither an uploader nor a content is named."""
    if subject.uploader_id:
        return b"u\0" + subject.uploader_id.encode()
    return b"c\0" + subject.content_id.encode() if subject.content_id else b""


def _nobodys(verdict_id: str) -> bytes:
    return b"v\0" + verdict_id.encode()


def _month(at: datetime) -> int:
    at = at.astimezone(UTC)
    return min(max((at.year - 1970) * 12 + at.month - 1, 0), (1 << 16) - 1)


def _restore(verdict: VerdictRecord, sealed: SealedVerdict) -> None:
    verdict.request_id, verdict.question_digest = sealed.request_id, sealed.question_digest
    verdict.ClearField("subject")
    if sealed.HasField("subject"):
        verdict.subject.CopyFrom(sealed.subject)
    for hashed, value in zip(verdict.hashed, sealed.values, strict=False):
        hashed.ClearField("digest")
        if value:
            hashed.fingerprint.value = value
