"""Verdicts' records, whole, back to what was judged."""

from __future__ import annotations

from collections.abc import Iterator

from hashmatch.convert.submissions import REASON_TO_WIRE
from hashmatch.errors import Malformed
from hashmatch.types import Examination, Fingerprint, Hashed, Reason, Unhashable
from hashmatch.v1.audit_pb2 import VerdictRecord
from hashmatch.v1.common_pb2 import Match

_REASONS = {number: reason for reason, number in REASON_TO_WIRE.items()}


def is_whole(record: VerdictRecord) -> bool:
    """Whether the record has its fingerprints: sealed ones are there only once they were opened."""
    return all(row.unhashable or row.fingerprint.value for row in record.hashed)


def fingerprints(record: VerdictRecord) -> tuple[Hashed, ...]:
    """What was searched, in the record's order."""
    return tuple(
        Hashed(
            Fingerprint(row.hash_type, row.fingerprint.value),
            row.fingerprint.quality if row.fingerprint.HasField("quality") else None,
            row.variant,
            row.frame_ms,
        )
        for row in record.hashed
        if not row.unhashable
    )


def examination(record: VerdictRecord) -> Examination:
    """What the media turned out to be, as it was before it was judged: NOT_COVERED is a verdict's word.

    Raises:
        Malformed: a hash type is missing for a reason that is not one of ours.
    """
    if any(row.unhashable not in _REASONS for row in record.hashed if row.unhashable):
        raise Malformed("not a reason that is known here", field="hashed.unhashable")
    hashed = fingerprints(record)
    if not record.HasField("retro"):
        # A record has the plain readings first; the search had each frame's together, by which it settles ties.
        hashed = tuple(sorted(hashed, key=lambda one: one.frame_ms))
    absent = (Unhashable(row.hash_type, _REASONS[row.unhashable]) for row in record.hashed if row.unhashable)
    return Examination(
        media_type=record.media_type,
        width=record.width,
        height=record.height,
        frames=record.frames,
        hashed=hashed,
        unhashable=tuple(one for one in absent if one.reason is not Reason.NOT_COVERED),
    )


def named(record: VerdictRecord) -> Iterator[Match]:
    """The entries that the record names, counting or set aside."""
    yield from record.matches
    for aside in record.set_aside:
        yield aside.match
