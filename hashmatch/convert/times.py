"""Timestamps of the wire ↔ moments in UTC."""

from __future__ import annotations

from datetime import UTC, datetime

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from hashmatch.errors import Malformed


def timestamp(at: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(at)
    return stamp


def moment(stamp: Timestamp) -> datetime:
    return stamp.ToDatetime(tzinfo=UTC)


def moment_in(request: Message, field: str) -> datetime | None:
    """The time in a field of a request; None where it is not given.

    Raises:
        Malformed: it is none that there can be; names the field.
    """
    if not request.HasField(field):
        return None
    try:
        return moment(getattr(request, field))
    except (ValueError, OverflowError) as e:
        raise Malformed("not a time between the years 1 and 9999", field=field) from e
