"""Every RPC of a real server against messages made from its own descriptors: hostile fields, and bytes that are none.

    FUZZ_EXAMPLES=20000 pytest tests/e2e/test_fuzz.py      for hours of it

Messages that were answered in a way not seen before are kept in tests/vectors/fuzz, and asked in every run. Whatever
comes, the answer is a verdict or a refusal that says whose fault it is; never INTERNAL, never UNKNOWN.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message_factory import GetMessageClass
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hashmatch.roles import Role
from hashmatch.v1 import cases_pb2, lists_pb2, log_pb2, match_pb2

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "40"))
KEEPING = "FUZZ_EXAMPLES" in os.environ  # a usual run changes nothing in the tree
KEY = []  # of somebody who may do everything, as metadata
CORPUS = Path(__file__).parent.parent / "vectors" / "fuzz"
MOST_KEPT, MOST_KEPT_BYTES = 40, 2000  # of one method; of one case
FINE = {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS", "FAILED_PRECONDITION", "UNAVAILABLE",
        "RESOURCE_EXHAUSTED"}  # fmt: skip
METHODS = [
    method
    for file, name in (
        (match_pb2, "MatchService"),
        (lists_pb2, "ListService"),
        (log_pb2, "AuditService"),
        (cases_pb2, "CaseService"),
    )
    for method in file.DESCRIPTOR.services_by_name[name].methods
]
TEXTS = st.one_of(
    st.sampled_from(["", "known", "pdq", "md5", "none", "\0", "a" * 300, "../..", "p_0", "ü€", "0" * 64]),
    st.text(max_size=20),
)
NUMBERS = {
    FieldDescriptor.TYPE_UINT32: st.one_of(st.sampled_from([0, 1, 2**31, 2**32 - 1]), st.integers(0, 300)),
    FieldDescriptor.TYPE_UINT64: st.one_of(st.sampled_from([0, 1, 2**63, 2**64 - 1]), st.integers(0, 300)),
    FieldDescriptor.TYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_INT64: st.one_of(st.sampled_from([-(2**63), 0, 2**63 - 1]), st.integers(-9, 9)),
}


def value_of(field, depth):
    if field.type == FieldDescriptor.TYPE_STRING:
        return TEXTS
    if field.type == FieldDescriptor.TYPE_BYTES:
        return st.one_of(st.binary(max_size=40), st.sampled_from([bytes(32), bytes(16), b"\xff" * 32, bytes(5000)]))
    if field.type == FieldDescriptor.TYPE_BOOL:
        return st.booleans()
    if field.type == FieldDescriptor.TYPE_ENUM:
        return st.one_of(st.sampled_from([v.number for v in field.enum_type.values]), st.integers(-5, 99))
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        return messages(field.message_type, depth + 1)
    return NUMBERS[field.type]


@st.composite
def messages(draw, descriptor, depth=0):
    message = GetMessageClass(descriptor)()
    if depth > 4:
        return message
    for field in descriptor.fields:
        if not draw(st.booleans()):
            continue
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            key, value = (value_of(field.message_type.fields_by_name[n], depth + 1) for n in ("key", "value"))
            for k, v in draw(st.lists(st.tuples(key, value), max_size=3)):
                getattr(message, field.name)[k] = v
        elif field.is_repeated:
            getattr(message, field.name).extend(draw(st.lists(value_of(field, depth), max_size=3)))
        elif field.type == FieldDescriptor.TYPE_MESSAGE:
            getattr(message, field.name).CopyFrom(draw(value_of(field, depth)))
        else:
            setattr(message, field.name, draw(value_of(field, depth)))
    return message


@pytest.fixture(scope="module")
def channel(shared):
    shared.run("lists", "create", "known", "--disposition", "block", "--two-person")
    shared.run("lists", "create", "other")
    roles = [word for role in Role for word in ("--role", role)]
    KEY[:] = [("authorization", f"Bearer {shared.run('keys', 'create', 'everybody', *roles).strip()}")]
    shared.serve()
    with grpc.insecure_channel(shared.address) as opened:
        yield opened


def code_of(channel, method, requests):
    service = method.containing_service.full_name
    path = f"/{service}/{method.name}"
    arity = (method.client_streaming, method.server_streaming)
    make = {(False, False): channel.unary_unary, (True, False): channel.stream_unary,
            (False, True): channel.unary_stream, (True, True): channel.stream_stream}[arity]  # fmt: skip
    call = make(path)
    given_ = iter(requests) if method.client_streaming else requests[0]
    try:
        answer = call(given_, timeout=20, metadata=KEY)
        if method.server_streaming:
            list(answer)
    except grpc.RpcError as e:
        return e.code().name, e.details()
    return "OK", ""


class Corpus:
    """The cases of one method: requests in hex, by what they were answered."""

    def __init__(self, method):
        self._file = CORPUS / f"{method.name}.json"
        self._cases = json.loads(self._file.read_text()) if self._file.exists() else {}

    def cases(self):
        return [[bytes.fromhex(request) for request in requests] for requests in self._cases.values()]

    def keep(self, requests, code, details):
        shape = re.sub(r"['\"].*['\"]|\d+", "…", details)
        name = f"{code} {hashlib.sha256(shape.encode()).hexdigest()[:8]}"
        if name in self._cases or len(self._cases) >= MOST_KEPT or sum(map(len, requests)) > MOST_KEPT_BYTES:
            return
        self._cases[name] = [request.hex() for request in requests]
        CORPUS.mkdir(exist_ok=True)
        self._file.write_text(json.dumps(self._cases, indent=1, sort_keys=True) + "\n")


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_what_was_found_before(channel, method):
    for requests in Corpus(method).cases():
        code, details = code_of(channel, method, requests)
        assert code in FINE, (code, details)


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_no_message_makes_a_server_fail(channel, method):
    few = EXAMPLES // 4 if method.name in ("CreateList", "ImportList", "RetroMatchList", "PreflightList") else EXAMPLES

    corpus = Corpus(method)

    @settings(max_examples=few, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(messages(method.input_type), min_size=1, max_size=3 if method.client_streaming else 1))
    def asked(requests):
        sent = [request.SerializeToString() for request in requests]
        code, details = code_of(channel, method, sent)
        assert code in FINE, (code, details)
        if KEEPING:
            corpus.keep(sent, code, details)

    asked()


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_bytes_that_are_no_message_harm_nobody(channel, method):
    for rubbish in (b"\xff" * 20, b"\x0a\xff\xff\xff\xff\x0f", os.urandom(200)):
        code, _ = code_of(channel, method, [rubbish])
        assert code in FINE | {"INTERNAL", "UNKNOWN"}  # gRPC's own: it could not parse them
    assert code_of(channel, METHODS[4], [b""])[0] == "OK"  # GetCapabilities
