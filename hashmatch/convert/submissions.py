"""What callers send: fingerprints, subjects, submissions; and examinations, answered in the same messages."""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from hashmatch.convert.times import moment, timestamp
from hashmatch.errors import Malformed
from hashmatch.types import Examination, Fingerprint, Hashed, Reason, Revision, Subject, Submission, Unhashable
from hashmatch.v1 import common_pb2, match_pb2

MAX_REQUEST_ID_CHARS = 128  # the public contract
MAX_SUBJECT_CHARS = 512  # ours: ids and surfaces are short; keeps a ledger record within a page or two
MAX_ATTRIBUTES = 32  # ours
MAX_FINGERPRINTS = 1024  # ours: a long video's key frames in one question
MAX_LISTS = 256  # ours
MAX_OPAQUE_BYTES = 1 << 20  # ours: of a value whose type has no fixed length; TMK's are 256 KB

REASON_TO_WIRE = {
    reason: common_pb2.UnhashableReason.Value(f"UNHASHABLE_REASON_{reason.name}") for reason in Reason
}  # fmt: skip


# ── fingerprints and examinations ───────────────────────────────────────────────────────────────────────────────────


def fingerprint_to_wire(hashed: Hashed) -> common_pb2.Fingerprint:
    return common_pb2.Fingerprint(
        hash_type=hashed.fingerprint.hash_type, value=hashed.fingerprint.value, quality=hashed.quality
    )


def hashed_to_wire(hashed: Hashed) -> common_pb2.Hashed:
    return common_pb2.Hashed(
        hash_type=hashed.fingerprint.hash_type,
        fingerprint=fingerprint_to_wire(hashed),
        variant=hashed.variant,
        frame_ms=hashed.frame_ms,
    )


def unhashable_to_wire(absent: Unhashable) -> common_pb2.Hashed:
    return common_pb2.Hashed(hash_type=absent.hash_type, unhashable=REASON_TO_WIRE[absent.reason])


def examination_to_wire(examination: Examination, *, every_variant: bool) -> list[common_pb2.Hashed]:
    """One row per fingerprint, the plain reading first, then what could not be hashed.

    Without `every_variant` only the plain reading of each frame: what a caller needs to see.
    """
    rows = [h for h in examination.hashed if every_variant or not h.variant]
    return [
        *(hashed_to_wire(h) for h in sorted(rows, key=lambda h: h.variant != "")),
        *(unhashable_to_wire(u) for u in examination.unhashable),
    ]


# ── submissions ─────────────────────────────────────────────────────────────────────────────────────────────────────


def refuse_unknown_fields(request: Message, path: str = "") -> None:
    """Refuses a request that carries fields we do not know: the caller believes that they mean something.

    Raises:
        Malformed: names the message and the field's number.
    """
    unknown = UnknownFieldSet(request)
    if len(unknown):
        raise Malformed(
            f"{request.DESCRIPTOR.name} has no field number {unknown[0].field_number}", field=path or "request"
        )
    for descriptor, value in request.ListFields():
        if descriptor.message_type is None or descriptor.message_type.GetOptions().map_entry:
            continue
        for part in value if descriptor.is_repeated else [value]:
            refuse_unknown_fields(part, f"{path}.{descriptor.name}".lstrip("."))


def submission_from_wire(
    request: match_pb2.MatchRequest,
    *,
    request_id: str,
    widths: Mapping[str, int],
    media: bytes | None = None,
    digests: tuple[Hashed, ...] = (),
) -> Submission:
    """A valid submission.

    Args:
        request_id: used where the caller gave none.
        widths: value length in bytes per hash type that may be looked up.
        media: the media where it did not come inside the request, and its exact `digests` where they are known.
    Raises:
        Malformed: names the field.
    """
    refuse_unknown_fields(request)
    if len(request.request_id) > MAX_REQUEST_ID_CHARS:
        raise Malformed(f"{len(request.request_id)} characters, at most {MAX_REQUEST_ID_CHARS}", field="request_id")
    if len(request.lists) > MAX_LISTS:
        raise Malformed(f"{len(request.lists)} lists, at most {MAX_LISTS}", field="lists")
    which = request.WhichOneof("input")
    if media is not None:
        if which is not None:
            raise Malformed("the header of an upload carries no input", field=which)
    elif which is None:
        raise Malformed("give media or fingerprints", field="input")
    elif which == "media":
        media = request.media
    fingerprints = fingerprints_from_wire(request.fingerprints, widths) if which == "fingerprints" else ()
    return Submission(
        request_id=request.request_id or request_id,
        media=media,
        fingerprints=fingerprints,
        subject=subject_from_wire(request.subject),
        lists=tuple(dict.fromkeys(request.lists)),
        min_revision=Revision(request.min_revision),
        given_id=bool(request.request_id),
        digests=digests,
    )


def fingerprints_from_wire(given: common_pb2.FingerprintSet, widths: Mapping[str, int]) -> tuple[Hashed, ...]:
    """The caller's fingerprints, each of a known type and its width.

    Raises:
        Malformed: names the field, never the value.
    """
    if not given.fingerprints:
        raise Malformed("give at least one fingerprint", field="fingerprints.fingerprints")
    if len(given.fingerprints) > MAX_FINGERPRINTS:
        raise Malformed(
            f"{len(given.fingerprints)} fingerprints, at most {MAX_FINGERPRINTS}", field="fingerprints.fingerprints"
        )
    return tuple(
        fingerprint_from_wire(one, widths, f"fingerprints.fingerprints[{i}]")
        for i, one in enumerate(given.fingerprints)
    )


def fingerprint_from_wire(given: common_pb2.Fingerprint, widths: Mapping[str, int], path: str) -> Hashed:
    """One fingerprint of a known hash type.

    Raises:
        Malformed: names the field under `path`, never the value.
    """
    if given.hash_type not in widths:
        known = ", ".join(sorted(widths))
        raise Malformed(
            f"unknown hash type {given.hash_type[:32]!r}; this server knows {known}", field=f"{path}.hash_type"
        )
    width = widths[given.hash_type]
    if not width and not 0 < len(given.value) <= MAX_OPAQUE_BYTES:
        raise Malformed(
            f"{given.hash_type}: {len(given.value)} bytes, want 1..{MAX_OPAQUE_BYTES}", field=f"{path}.value"
        )
    if width and len(given.value) != width:
        raise Malformed(
            f"{given.hash_type}: {len(given.value)} bytes, want {widths[given.hash_type]}", field=f"{path}.value"
        )
    quality = given.quality if given.HasField("quality") else None
    if quality is not None and quality > 100:
        raise Malformed(f"quality {quality}, want 0..100", field=f"{path}.quality")
    return Hashed(Fingerprint(given.hash_type, given.value), quality)


def subject_from_wire(subject: common_pb2.Subject) -> Subject:
    for name in ("content_id", "uploader_id", "surface", "region"):
        if len(getattr(subject, name)) > MAX_SUBJECT_CHARS:
            raise Malformed(f"more than {MAX_SUBJECT_CHARS} characters", field=f"subject.{name}")
    if len(subject.attributes) > MAX_ATTRIBUTES:
        raise Malformed(f"more than {MAX_ATTRIBUTES} attributes", field="subject.attributes")
    if any(len(k) + len(v) > MAX_SUBJECT_CHARS for k, v in subject.attributes.items()):
        raise Malformed(f"more than {MAX_SUBJECT_CHARS} characters in one attribute", field="subject.attributes")
    try:
        occurred_at = moment(subject.occurred_at) if subject.HasField("occurred_at") else None
    except (ValueError, OverflowError) as e:
        raise Malformed("not a time between the years 1 and 9999", field="subject.occurred_at") from e
    return Subject(
        content_id=subject.content_id,
        uploader_id=subject.uploader_id,
        surface=subject.surface,
        region=subject.region,
        occurred_at=occurred_at,
        attributes=dict(subject.attributes),
    )


def subject_to_wire(subject: Subject) -> common_pb2.Subject:
    return common_pb2.Subject(
        content_id=subject.content_id,
        uploader_id=subject.uploader_id,
        surface=subject.surface,
        region=subject.region,
        occurred_at=timestamp(subject.occurred_at) if subject.occurred_at else None,
        attributes=dict(subject.attributes),
    )
