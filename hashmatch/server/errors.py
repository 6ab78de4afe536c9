"""Our errors as gRPC statuses with google.rpc details; anything else as INTERNAL without a word of what it was."""

from __future__ import annotations

import logging
from typing import Any, NoReturn

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2, error_details_pb2, status_pb2

from hashmatch import clock
from hashmatch.errors import HashmatchError, Malformed, Overloaded

DOMAIN = "hashmatch"
UNAVAILABLE_RETRY_SECONDS = 1.0  # a generation loads, or a full disk is noticed, within about this
LONG_SECONDS = 10.0  # until a retry: no client should make it by itself

trace = logging.getLogger(__name__)


def status_of(error: Exception) -> status_pb2.Status:
    """The whole answer to a failed call: code, message for people, details for programs."""
    if not isinstance(error, HashmatchError):
        # The text of an unforeseen error may hold anything, so the caller gets an id to quote and the trace the text.
        incident = clock.new_id("i")
        trace.error("unforeseen error, incident %s", incident, exc_info=error)
        return status_pb2.Status(code=code_pb2.INTERNAL, message=f"internal error; quote incident {incident}")
    status = status_pb2.Status(code=code_pb2.Code.Value(error.status), message=str(error))
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN))
    if isinstance(error, Malformed):
        violation = error_details_pb2.BadRequest.FieldViolation(field=error.field, description=error.problem)
        status.details.add().Pack(error_details_pb2.BadRequest(field_violations=[violation]))
    retry = error.retry_after if isinstance(error, Overloaded) else UNAVAILABLE_RETRY_SECONDS
    if error.status in ("RESOURCE_EXHAUSTED", "UNAVAILABLE"):
        delay = Duration(seconds=int(retry), nanos=round(retry % 1 * 1e9))
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    return status


_CODES = {code.value[0]: code for code in grpc.StatusCode}


async def abort(context: grpc.aio.ServicerContext[Any, Any], error: Exception) -> NoReturn:
    """Ends a call with an error's status."""
    status = status_of(error)
    more = [("grpc-status-details-bin", status.SerializeToString())]
    if isinstance(error, Overloaded) and error.retry_after > LONG_SECONDS:
        more.append(("grpc-retry-pushback-ms", "-1"))  # gRFC A6: not to be retried, whatever the client's policy
    await context.abort(_CODES[status.code], status.message, tuple(more))
    raise AssertionError("abort returned")  # pragma: no cover - it always raises
