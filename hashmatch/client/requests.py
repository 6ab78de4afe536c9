"""What is asked: the messages of a call, and what it tells about itself beforehand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, BinaryIO

from hashmatch import clock, convert
from hashmatch.client.channel import Metadata
from hashmatch.types import Fingerprint, Subject
from hashmatch.v1 import common_pb2, match_pb2

WINDOW = 16  # items of a stream under way; what the server judges of one stream at once
CHUNK_BYTES = 256 << 10  # of an upload: large enough to cost little, small enough to be taken as it comes


def match_request(
    media: bytes | None = None,
    fingerprints: Iterable[Fingerprint] = (),
    *,
    request_id: str = "",
    subject: Subject | None = None,
    lists: Iterable[str] = (),
    min_revision: int = 0,
) -> match_pb2.MatchRequest:
    """The request to judge `media`, or `fingerprints` made elsewhere."""
    request = match_pb2.MatchRequest(request_id=request_id or clock.new_id("r"), lists=lists, min_revision=min_revision)
    if subject is not None:
        request.subject.CopyFrom(convert.subject_to_wire(subject))
    if media is not None:
        request.media = media
    else:
        request.fingerprints.fingerprints.extend(
            common_pb2.Fingerprint(hash_type=f.hash_type, value=f.value) for f in fingerprints
        )
    return request


def media_bytes(request: match_pb2.MatchRequest) -> Metadata:
    """Tells the server how much media a call carries, so that it can refuse it before it is sent."""
    return (("hashmatch-media-bytes", str(len(request.media))),)


def upload_parts(file: BinaryIO, **question: Any) -> Iterator[match_pb2.MatchUploadRequest]:
    """What MatchUpload is sent: a header of `match_request`'s keyword arguments, then the file in chunks."""
    header = match_request(None, **question)
    header.ClearField("fingerprints")
    return chain((match_pb2.MatchUploadRequest(header=header),), _chunks(file))


def _chunks(file: BinaryIO) -> Iterator[match_pb2.MatchUploadRequest]:
    while chunk := file.read(CHUNK_BYTES):
        yield match_pb2.MatchUploadRequest(chunk=chunk)
