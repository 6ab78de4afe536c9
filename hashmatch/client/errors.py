"""gRPC's statuses as our errors, the server's words kept: Overloaded with its delay, Malformed with its field."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from google.rpc import code_pb2, error_details_pb2, status_pb2

from hashmatch import errors
from hashmatch.v1 import match_pb2

DELAY = 0.1  # seconds to wait, where an overloaded server does not say how long

_BY_STATUS: dict[str, type[errors.HashmatchError]] = {
    "INVALID_ARGUMENT": errors.Malformed,
    "NOT_FOUND": errors.NotFound,
    "ALREADY_EXISTS": errors.Conflict,
    "FAILED_PRECONDITION": errors.Refused,
    "UNAUTHENTICATED": errors.Unauthenticated,
    "PERMISSION_DENIED": errors.Forbidden,
    "RESOURCE_EXHAUSTED": errors.Overloaded,
    "UNAVAILABLE": errors.Unavailable,
    "CANCELLED": errors.Unavailable,  # not by us: gRPC sheds calls so while it works a flood off
    "DEADLINE_EXCEEDED": errors.DeadlinePassed,
    "DATA_LOSS": errors.Corrupt,
}


@contextmanager
def translated() -> Iterator[None]:
    """Raises our errors for gRPC's."""
    try:
        yield
    except grpc.RpcError as e:
        raise _error(e.code().name, _status(e)) from e


def outcome_of(answer: match_pb2.MatchStreamResponse) -> match_pb2.MatchResponse:
    """The verdict in an answer of a stream.

    Raises:
        HashmatchError: the item was answered with an error.
    """
    if answer.WhichOneof("outcome") == "error":
        raise _error(_code(answer.error.code), answer.error)
    return answer.response


def _code(number: int) -> str:
    """The name of a status."""
    return str(code_pb2.Code.Name(code_pb2.Code.ValueType(number)))


def _status(error: Any) -> status_pb2.Status:
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            return status_pb2.Status.FromString(value)
    return status_pb2.Status(message=str(error.details()))


def _error(code: str, status: status_pb2.Status) -> errors.HashmatchError:
    kind = _BY_STATUS.get(code, errors.HashmatchError)
    retry, bad = error_details_pb2.RetryInfo(), error_details_pb2.BadRequest()
    info = error_details_pb2.ErrorInfo()
    for detail in status.details:
        for message in (retry, bad, info):
            detail.Unpack(message)
    if kind is errors.Overloaded:
        delay = retry.retry_delay.ToTimedelta().total_seconds() or DELAY
        over_budget = info.reason == errors.OverBudget.reason
        return (errors.OverBudget if over_budget else errors.Overloaded)(status.message, retry_after=delay)
    if kind is errors.Malformed and bad.field_violations:
        violation = bad.field_violations[0]
        return errors.Malformed(violation.description, field=violation.field)
    return kind(status.message)
