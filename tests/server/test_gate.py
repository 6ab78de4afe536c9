"""The gate over a real connection: every RPC for every role, and what every refusal looks like."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, closing

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from hashmatch.access.callers import CALLER, Callers
from hashmatch.access.credentials import Credentials
from hashmatch.config import Settings
from hashmatch.errors import Malformed
from hashmatch.roles import RPCS, Open, Role
from hashmatch.server.gate import Gate
from hashmatch.server.metrics import Metrics
from hashmatch.server.tracing import Tracing

DUMMY = "/hashmatch.v1.MatchService/Undeclared"


async def _echo(request, context):
    if request == b"divide":
        return 1 // 0
    if request == b"malformed":
        raise Malformed("too long", field="media")
    if request == b"wait":
        await asyncio.sleep(10)
    return CALLER.get().name.encode()


@asynccontextmanager
async def gated(callers, metrics=None):
    """A server whose every RPC, and one that no table names, answers who called; a channel to it."""
    gate = Gate(callers, metrics or Metrics(), Tracing(Settings()))
    server = grpc.aio.server(interceptors=[gate])
    by_service = {}
    for method in (*RPCS, DUMMY):
        _, service, name = method.split("/")
        by_service.setdefault(service, {})[name] = grpc.unary_unary_rpc_method_handler(_echo)
    server.add_generic_rpc_handlers(
        tuple(grpc.method_handlers_generic_handler(service, handlers) for service, handlers in by_service.items())
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel
    finally:
        await server.stop(None)


@pytest.fixture
def credentials(tmp_path):
    with closing(Credentials(tmp_path)) as opened:
        yield opened


async def code_of(channel, method, key=None, request=b"x", metadata=(), timeout=None):
    shown = (("authorization", f"Bearer {key}"),) if key else ()
    try:
        await channel.unary_unary(method)(request, metadata=(*shown, *metadata), timeout=timeout)
    except grpc.aio.AioRpcError as e:
        return e.code().name
    return "OK"


def test_every_rpc_for_every_role_and_for_nobody(credentials):
    keys = {role: credentials.create(role.value, [role.value], by="t")[1] for role in Role}

    async def conversation():
        async with gated(Callers(credentials, auth="required")) as channel:
            for method, permission in (*RPCS.items(), (DUMMY, None)):
                for role, key in keys.items():
                    allowed = permission is role or isinstance(permission, Open)
                    found = await code_of(channel, method, key)
                    assert found == ("OK" if allowed else "PERMISSION_DENIED"), (method, role)
                nobody = await code_of(channel, method)
                assert nobody == ("OK" if permission is Open.ANYONE else "UNAUTHENTICATED"), method

    asyncio.run(conversation())


def test_a_key_that_is_revoked_between_two_calls(credentials):
    made, key = credentials.create("a", ["uploader"], by="t")

    async def conversation():
        async with gated(Callers(credentials)) as channel:
            assert await code_of(channel, "/hashmatch.v1.MatchService/Match", key) == "OK"
            credentials.revoke(made.id, by="t")
            assert await code_of(channel, "/hashmatch.v1.MatchService/Match", key) == "UNAUTHENTICATED"

    asyncio.run(conversation())


def test_a_budget_is_refused_with_its_reason_and_a_delay(credentials):
    _, key = credentials.create("a", ["uploader"], by="t", per_second=1)

    async def conversation():
        async with gated(Callers(credentials)) as channel:
            call = channel.unary_unary("/hashmatch.v1.MatchService/Match")
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                for _ in range(4):
                    await call(b"x", metadata=(("authorization", f"Bearer {key}"),))
        status = rpc_status.from_call(refused.value)
        info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
        assert [status.details[0].Unpack(info), status.details[1].Unpack(retry)] == [True, True]
        assert (refused.value.code().name, info.reason) == ("RESOURCE_EXHAUSTED", "OVER_BUDGET")
        assert 0 < retry.retry_delay.ToTimedelta().total_seconds() <= 1

    asyncio.run(conversation())


def test_what_goes_wrong_inside_is_not_told(credentials, caplog):
    async def conversation():
        async with gated(Callers(credentials, auth="open")) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await channel.unary_unary("/hashmatch.v1.MatchService/Match")(b"divide")
        return failed.value

    error = asyncio.run(conversation())
    assert error.code().name == "INTERNAL"
    assert "division" not in error.details()
    assert error.details().rpartition(" ")[2] in caplog.text  # the incident's id leads to what it was


def test_calls_are_counted_by_method_and_code(credentials):
    metrics = Metrics()

    async def conversation():
        async with gated(Callers(credentials, auth="open"), metrics) as channel:
            for request in (b"x", b"x", b"malformed", b"divide"):
                await code_of(channel, "/hashmatch.v1.MatchService/Hash", request=request)
            await code_of(channel, "/hashmatch.v1.MatchService/Hash", key="nonsense")
            await code_of(channel, DUMMY)

    asyncio.run(conversation())
    text = metrics.text().decode()
    for code, count in (("OK", 2), ("INVALID_ARGUMENT", 1), ("INTERNAL", 1), ("UNAUTHENTICATED", 1)):
        assert f'hashmatch_requests_total{{code="{code}",method="Hash"}} {count}.0' in text
    assert 'hashmatch_denied_total{reason="malformed"} 1.0' in text
    assert 'hashmatch_requests_total{code="PERMISSION_DENIED",method="other"} 1.0' in text or (
        'hashmatch_requests_total{code="PERMISSION_DENIED",method="Undeclared"} 1.0' in text
    )


def test_a_deadline_that_passes_is_counted_as_such_and_a_hang_up_as_another(credentials):
    metrics = Metrics()

    async def conversation():
        async with gated(Callers(credentials, auth="open"), metrics) as channel:
            hash_ = "/hashmatch.v1.MatchService/Hash"
            assert await code_of(channel, hash_, request=b"wait", timeout=0.2) == "DEADLINE_EXCEEDED"
            hung_up = channel.unary_unary(hash_)(b"wait", timeout=5)
            await asyncio.sleep(0.1)
            hung_up.cancel()
            await asyncio.sleep(0.3)

    asyncio.run(conversation())
    text = metrics.text().decode()
    for code in ("DEADLINE_EXCEEDED", "CANCELLED"):
        assert f'hashmatch_requests_total{{code="{code}",method="Hash"}} 1.0' in text


def test_headers_past_the_limit_and_odd_ones_harm_nobody_else(credentials):
    async def conversation():
        async with gated(Callers(credentials, auth="open")) as channel:
            odd = (("authorization", ""), ("x-request-id", "a b;c" * 20), ("traceparent", "00-zz"))
            assert await code_of(channel, "/hashmatch.v1.MatchService/Match", metadata=odd) == "OK"
            huge = (("x-padding", "a" * 200_000),)
            assert await code_of(channel, "/hashmatch.v1.MatchService/Match", metadata=huge) in (
                "RESOURCE_EXHAUSTED",
                "UNAVAILABLE",
                "INTERNAL",
            )
            assert await code_of(channel, "/hashmatch.v1.MatchService/Match") == "OK"

    asyncio.run(conversation())
