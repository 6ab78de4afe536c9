"""The gateway's OpenAPI document, drawn from the wire's own descriptors so that the two cannot differ."""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from hashmatch import __version__
from hashmatch.config import Settings
from hashmatch.v1 import match_pb2

_SCALARS: dict[int, dict[str, Any]] = {
    FieldDescriptor.TYPE_STRING: {"type": "string"},
    FieldDescriptor.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
    FieldDescriptor.TYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.TYPE_UINT32: {"type": "integer", "minimum": 0},
    FieldDescriptor.TYPE_INT32: {"type": "integer"},
    # protobuf's JSON writes 64 bits as text, since JavaScript's numbers do not hold them
    FieldDescriptor.TYPE_UINT64: {"type": "string", "pattern": "^[0-9]+$"},
    FieldDescriptor.TYPE_INT64: {"type": "string", "pattern": "^-?[0-9]+$"},
}
_TIMESTAMP = {"type": "string", "format": "date-time"}
_REFUSALS = {
    "400": "the request is wrong; names the field",
    "401": "no key, or none that is known",
    "403": "the key may not do this",
    "409": "the request id was used for another question",
    "429": "too much at once, or the key's budget is used; Retry-After says when",
    "503": "verdicts may not be given now; Retry-After says when",
    "504": "the caller's own time is over",
}


def document(settings: Settings) -> dict[str, Any]:
    """OpenAPI 3.1."""
    schemas: dict[str, Any] = {"Status": _status()}
    response = _message(match_pb2.MatchResponse.DESCRIPTOR, schemas)
    able = _message(match_pb2.GetCapabilitiesResponse.DESCRIPTOR, schemas)
    asked = _asked(schemas)
    media = {"type": "string", "contentMediaType": "application/octet-stream", "maxLength": settings.max_media_bytes}
    form = {
        "type": "object",
        "properties": {"media": media, "request": asked},
        "required": ["media"],
        "additionalProperties": False,
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "hashmatch",
            "version": __version__,
            "description": "Match media against lists of known-abuse hashes. What callers without the permission "
            "'detail' are not told is left out of answers.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{"key": []}],
        "paths": {
            "/v1/match": {
                "post": _operation(
                    "match",
                    "Judge one file",
                    {"multipart/form-data": {"schema": form}, "application/octet-stream": {"schema": media}},
                    response,
                )
            },
            "/v1/lookup": {
                "post": _operation(
                    "lookup",
                    "Judge fingerprints made elsewhere",
                    {"application/json": {"schema": _lookup(schemas)}},
                    response,
                )
            },
            "/v1/capabilities": {
                "get": _operation("capabilities", "Formats, hash types, limits, versions", None, able)
            },
        },
        "components": {
            "schemas": schemas,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "bearerFormat": "hm_ID_SECRET"}},
        },
    }


def _operation(name: str, summary: str, body: dict[str, Any] | None, answer: dict[str, Any]) -> dict[str, Any]:
    refused = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Status"}}}}
    operation: dict[str, Any] = {
        "operationId": name,
        "summary": summary,
        "parameters": [
            {
                "name": "x-timeout-seconds",
                "in": "header",
                "description": "how long the caller waits",
                "schema": {"type": "number", "exclusiveMinimum": 0, "maximum": 600, "default": 10},
            }
        ],
        "responses": {
            "200": {"description": "the answer", "content": {"application/json": {"schema": answer}}},
            **{code: {"description": text, **refused} for code, text in _REFUSALS.items()},
        },
    }
    if body is not None:
        operation["requestBody"] = {"required": True, "content": body}
    return operation


def _asked(schemas: dict[str, Any]) -> dict[str, Any]:
    """A MatchRequest without its input."""
    _message(match_pb2.MatchRequest.DESCRIPTOR, schemas)
    whole = schemas.pop("MatchRequest")
    schemas.pop("FingerprintSet", None)
    properties = {name: s for name, s in whole["properties"].items() if name not in ("media", "fingerprints")}
    schemas["MatchRequest"] = {"type": "object", "properties": properties, "additionalProperties": False}
    return {"$ref": "#/components/schemas/MatchRequest"}


def _lookup(schemas: dict[str, Any]) -> dict[str, Any]:
    fingerprint = {
        "type": "object",
        "properties": {
            "hash_type": {"type": "string"},
            "value": {"type": "string", "pattern": "^([0-9A-Fa-f]{2})+$", "description": "hexadecimal"},
            "quality": {"type": "integer", "minimum": 0, "maximum": 100},
        },
        "required": ["hash_type", "value"],
    }
    given = {"fingerprints": {"type": "array", "items": fingerprint, "minItems": 1}}
    properties = schemas["MatchRequest"]["properties"] | given
    return {"type": "object", "properties": properties, "required": ["fingerprints"], "additionalProperties": False}


def _message(descriptor: Descriptor, schemas: dict[str, Any]) -> dict[str, Any]:
    """A reference to the schema of a message, which is made with those inside it."""
    if descriptor.full_name == "google.protobuf.Timestamp":
        return dict(_TIMESTAMP)
    if descriptor.name not in schemas:
        schemas[descriptor.name] = {}  # so that a message which holds itself ends
        properties = {field.name: _field(field, schemas) for field in descriptor.fields}
        schemas[descriptor.name] = {"type": "object", "properties": properties}
    return {"$ref": f"#/components/schemas/{descriptor.name}"}


def _field(field: FieldDescriptor, schemas: dict[str, Any]) -> dict[str, Any]:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        value = field.message_type.fields_by_name["value"]
        return {"type": "object", "additionalProperties": _single(value, schemas)}
    single = _single(field, schemas)
    return {"type": "array", "items": single} if field.is_repeated else single


def _single(field: FieldDescriptor, schemas: dict[str, Any]) -> dict[str, Any]:
    if field.enum_type is not None:
        return {"type": "string", "enum": [value.name for value in field.enum_type.values]}
    if field.message_type is not None:
        return _message(field.message_type, schemas)
    return dict(_SCALARS[field.type])


def _status() -> dict[str, Any]:
    return {
        "type": "object",
        "description": "google.rpc.Status",
        "properties": {
            "code": {"type": "integer"},
            "message": {"type": "string"},
            "details": {"type": "array", "items": {"type": "object"}},
        },
    }
