"""What makes two requests the same question, and what names their input. Pure, so that a replay asks the same."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from hashmatch import convert
from hashmatch.convert import records
from hashmatch.types import Examination, Hashed, Subject, Submission
from hashmatch.v1.audit_pb2 import VerdictRecord


def input_digest(submission: Submission, examination: Examination | None = None) -> bytes:
    """SHA-256 of the media, from the examination where it has one; of the fingerprints where there is no media."""
    if submission.media is None:
        return of_fingerprints(submission.fingerprints)
    found = of_media(examination.hashed if examination else submission.digests)
    return hashlib.sha256(submission.media).digest() if found is None else found


def of_fingerprints(fingerprints: Iterable[Hashed]) -> bytes:
    """The digest of an input that is fingerprints: SHA-256 (32 bytes) of all of them as the caller gave them."""
    return hashlib.sha256(
        b"".join(
            b"%s:%d:%d:"
            % (h.fingerprint.hash_type.encode(), -1 if h.quality is None else h.quality, len(h.fingerprint.value))
            + h.fingerprint.value
            for h in fingerprints
        )
    ).digest()


def of_media(hashed: Iterable[Hashed]) -> bytes | None:
    """The digest of an input that is media: its SHA-256 among its fingerprints; None where that is not there."""
    return next((h.fingerprint.value for h in hashed if h.fingerprint.hash_type == "sha256"), None)


def digest(input_digest: bytes, *, media: bool, subject: Subject, lists: Iterable[str]) -> bytes:
    """The question: the input, whether it is media, the lists asked, and whose content it is.

    Content and uploader count, since a request id reused for another person's upload must not swallow that case.
    """
    parts = ("media" if media else "fingerprints", subject.content_id, subject.uploader_id, *sorted(lists))
    framed = b"".join(b"%d:%s" % (len(p.encode()), p.encode()) for p in parts)
    return hashlib.sha256(input_digest + framed).digest()


def digest_of(submission: Submission, input_digest: bytes) -> bytes:
    """As `digest`, of a submission."""
    return digest(input_digest, media=submission.media is not None, subject=submission.subject, lists=submission.lists)


def input_digest_of(record: VerdictRecord) -> bytes | None:
    """The digest of a whole record's input, by which its question has the digest that it has; None where none does."""
    hashed, subject = records.fingerprints(record), convert.subject_from_wire(record.subject)
    for media, found in ((True, of_media(hashed)), (False, of_fingerprints(hashed))):
        asked = found and digest(found, media=media, subject=subject, lists=record.asked_lists)
        if found and asked == record.question_digest:
            return found
    return None
