"""HTTP and JSON for callers that have no gRPC: match media, look fingerprints up. Off unless the settings say where.

The same judge, the same permissions, the same budgets as over gRPC; callers show a bearer key. Answers are the JSON
form of the wire's messages (protobuf's own mapping), errors google.rpc.Status in JSON under the matching HTTP status.
`/openapi.json` describes it. It is no console: it sets no cookie, and no browser may call it from another origin.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable

from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from google.protobuf.message import Message
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from hashmatch.app import Service
from hashmatch.errors import HashmatchError, Malformed, Overloaded
from hashmatch.server.errors import status_of
from hashmatch.server.forms import MAX_JSON_BYTES, Form
from hashmatch.server.gate import Gate
from hashmatch.server.judge import Judge
from hashmatch.server.openapi import document
from hashmatch.server.service import capabilities
from hashmatch.server.upload import Upload, in_time
from hashmatch.v1 import common_pb2, match_pb2

DEFAULT_SECONDS = 10.0  # for an answer, where the caller does not say
TIMEOUT_HEADER = "x-timeout-seconds"  # how long the caller waits

HTTP = {
    "INVALID_ARGUMENT": 400, "UNAUTHENTICATED": 401, "PERMISSION_DENIED": 403, "NOT_FOUND": 404, "ALREADY_EXISTS": 409,
    "FAILED_PRECONDITION": 412, "RESOURCE_EXHAUSTED": 429, "UNAVAILABLE": 503, "DEADLINE_EXCEEDED": 504,
}  # fmt: skip
"""gRPC's statuses in HTTP, as google/rpc/code.proto maps them; any other is 500."""

_MATCH = "/hashmatch.v1.MatchService/"
Endpoint = Callable[[Request], Awaitable[Message]]


def application(service: Service, judge: Judge, gate: Gate) -> Starlette:
    """The gateway over a running service."""

    def guarded(method: str, endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            with gate.call(method, request.headers) as told:
                try:
                    peer = request.client.host if request.client else ""
                    gate.enter(method, request.headers.get("authorization", ""), [], f"http:{peer}")
                    return JSONResponse(
                        MessageToDict(await endpoint(request), preserving_proto_field_name=True), headers=_HEADERS
                    )
                except (asyncio.CancelledError, ClientDisconnect):
                    told["code"] = "CANCELLED"
                    raise
                except HTTPException as e:
                    error: Exception = Malformed(str(e.detail), field="body")
                except Exception as e:
                    error = e
                told["code"] = gate.refusal(error)
                return _refusal(error)

        return answer

    async def match(request: Request) -> Message:
        with judge.upload() as upload:
            header = await _received(request, judge, upload)
            return await judge.uploaded(header, _timeout(request), upload)

    async def lookup(request: Request) -> Message:
        wanted = _parsed(await _body(request), "fingerprints")
        if wanted.WhichOneof("input") != "fingerprints":
            raise Malformed("give fingerprints", field="fingerprints")
        return await judge.one(wanted, _timeout(request))

    async def able(request: Request) -> Message:
        return capabilities(service)

    async def described(request: Request) -> Response:
        return JSONResponse(document(judge.settings), headers=_HEADERS)

    return Starlette(
        routes=[
            Route("/v1/match", guarded(f"{_MATCH}Match", match), methods=["POST"]),
            Route("/v1/lookup", guarded(f"{_MATCH}Match", lookup), methods=["POST"]),
            Route("/v1/capabilities", guarded(f"{_MATCH}GetCapabilities", able), methods=["GET"]),
            Route("/openapi.json", described, methods=["GET"]),
        ],
        exception_handlers={HTTPException: _unrouted},
    )


_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}


async def _received(request: Request, judge: Judge, upload: Upload) -> match_pb2.MatchRequest:
    """What is asked about the media, which goes into `upload`: a form of `request` and `media`, or bare bytes."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    declared = request.headers.get("content-length", "")
    if declared.isdigit():
        judge.bound(max(0, int(declared) - MAX_JSON_BYTES), "media")
    if kind != "multipart/form-data":
        if kind in ("", "application/x-www-form-urlencoded", "application/json"):
            raise Malformed(
                "want multipart/form-data with 'media', or the bytes themselves as application/octet-stream",
                field="content-type",
            )
        async for chunk in _chunks(request):
            await upload.receive(chunk, "media")
        if not upload.size:
            raise Malformed("the body is empty", field="media")
        return match_pb2.MatchRequest(request_id=request.headers.get("x-request-id", ""))
    form = Form(request.headers["content-type"])
    async for chunk in _chunks(request):
        for piece in form.write(chunk):
            await upload.receive(piece, "media")
    given = form.finish()
    header = _parsed(given, "request") if given else match_pb2.MatchRequest()
    if not upload.size:
        raise Malformed("give the file 'media'", field="media")
    return header


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in _chunks(request):
        body += chunk
        if len(body) > MAX_JSON_BYTES:
            raise Malformed(f"more than {MAX_JSON_BYTES} bytes", field="body")
    return bytes(body)


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    async for chunk in in_time(request.stream(), "body"):
        if chunk:  # the last one is empty
            yield chunk


def _parsed(body: bytes, field: str) -> match_pb2.MatchRequest:
    """The request in JSON, whose fingerprints' values are hexadecimal: protobuf's base64 is what no list is written in.

    Raises:
        Malformed: names the field; never quotes a value.
    """
    try:
        given = json.loads(body)
    except (ValueError, RecursionError) as e:
        raise Malformed("not JSON", field=field) from e
    if not isinstance(given, dict):
        raise Malformed("want a JSON object", field=field)
    rows = given.pop("fingerprints", None)
    try:
        request = ParseDict(given, match_pb2.MatchRequest(), max_recursion_depth=10)
    except (ParseError, TypeError, ValueError, AttributeError, RecursionError) as e:
        raise Malformed("not a MatchRequest: an unknown field, or a value of the wrong kind", field=field) from e
    if request.WhichOneof("input") == "media":
        raise Malformed("media goes beside the JSON, not inside", field="media")
    if rows is None:
        return request
    if not isinstance(rows, list):
        raise Malformed("want an array", field="fingerprints")
    for i, row in enumerate(rows):
        try:
            quality = row.get("quality")
            one = common_pb2.Fingerprint(hash_type=row["hash_type"], value=bytes.fromhex(row["value"]), quality=quality)
        except (KeyError, TypeError, ValueError, AttributeError) as e:
            raise Malformed(
                "want an object of hash_type, value in hexadecimal and, where known, quality",
                field=f"fingerprints[{i}]",
            ) from e
        request.fingerprints.fingerprints.append(one)
    request.fingerprints.SetInParent()
    return request


def _timeout(request: Request) -> float:
    given = request.headers.get(TIMEOUT_HEADER, "")
    try:
        seconds = float(given) if given else DEFAULT_SECONDS
    except ValueError:
        seconds = -1.0
    if not 0 < seconds <= 600:
        raise Malformed("want seconds, at most 600", field=TIMEOUT_HEADER)
    return seconds


def _refusal(error: Exception) -> Response:
    status = status_of(error)
    name = error.status if isinstance(error, HashmatchError) else "INTERNAL"
    headers = dict(_HEADERS)
    if isinstance(error, Overloaded):
        headers["Retry-After"] = str(max(1, round(error.retry_after)))
    elif name == "UNAVAILABLE":
        headers["Retry-After"] = "1"
    elif name == "UNAUTHENTICATED":
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(
        MessageToDict(status, preserving_proto_field_name=True), status_code=HTTP.get(name, 500), headers=headers
    )


async def _unrouted(request: Request, error: Exception) -> Response:
    code = error.status_code if isinstance(error, HTTPException) else 500
    text = {404: "there is nothing here; see /openapi.json", 405: "not with this method; see /openapi.json"}
    return JSONResponse({"code": 5, "message": text.get(code, "refused")}, status_code=code, headers=_HEADERS)
