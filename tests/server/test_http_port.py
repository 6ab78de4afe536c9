"""The gateway's port over real sockets: who is silent, slow or one too many, and how it ends."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from hashmatch import config
from hashmatch.server import http_port

POST = b"POST /echo HTTP/1.1\r\nhost: h\r\ncontent-length: %d\r\n\r\n"
HEAD = 0.3  # seconds for a head, here
OPENED: list[asyncio.StreamWriter] = []


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(http_port, "HEAD_SECONDS", HEAD)


async def echo(request: Request) -> PlainTextResponse:
    return PlainTextResponse(await request.body())


@asynccontextmanager
async def front(tmp_path, connections=1000):
    found = config.load(None, {"HASHMATCH_STATE": str(tmp_path)}, {}).settings
    settings = replace(found, http_listen="127.0.0.1:0", connections=connections)
    app = Starlette(routes=[Route("/echo", echo, methods=["POST"])])
    async with http_port.serving(app, settings, shared_port=False) as served:
        yield served
        for writer in OPENED:
            writer.close()
        OPENED.clear()


async def connect(served):
    host, _, port = served.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    OPENED.append(writer)
    return reader, writer


async def closed(reader, seconds):
    """Whether the server hangs up within so many seconds."""
    try:
        async with asyncio.timeout(seconds):
            while await reader.read(1000):
                pass
    except TimeoutError:
        return False
    except ConnectionError:
        pass
    return True


async def a_silent_peer(tmp_path):
    async with front(tmp_path) as served:
        reader, _ = await connect(served)
        assert await closed(reader, 10 * HEAD)


async def a_head_by_drips(tmp_path):
    async with front(tmp_path) as served:
        reader, writer = await connect(served)

        async def drip():
            for byte in POST:
                writer.write(bytes([byte]))
                await asyncio.sleep(HEAD / 5)

        dripping = asyncio.create_task(drip())
        assert await closed(reader, 10 * HEAD)
        dripping.cancel()


async def a_second_head_by_drips(tmp_path):
    async with front(tmp_path) as served:
        reader, writer = await connect(served)
        writer.write(POST % 2 + b"ab")
        assert b"200" in await reader.readline()
        await asyncio.sleep(HEAD / 2)
        writer.write(b"P")
        assert await closed(reader, 10 * HEAD)


async def a_slow_body_is_another_clocks_business(tmp_path):
    async with front(tmp_path) as served:
        reader, writer = await connect(served)
        writer.write(POST % 2 + b"a")
        await asyncio.sleep(3 * HEAD)
        writer.write(b"b")
        assert b"200" in await reader.readline()


async def one_too_many(tmp_path):
    async with front(tmp_path, connections=8) as served:  # of which the gateway has a fourth
        held = [await connect(served) for _ in range(2)]
        await asyncio.sleep(HEAD / 10)
        extra, _ = await connect(served)
        assert await closed(extra, HEAD / 2)
        reader, writer = held[0]
        writer.write(POST % 2 + b"ab")
        assert b"200" in await reader.readline()


async def a_stop_finishes_what_is_in_flight_and_no_more(tmp_path):
    async with front(tmp_path) as served:
        reader, writer = await connect(served)
        _, stuck_writer = await connect(served)
        writer.write(POST % 2 + b"a")
        stuck_writer.write(POST % 2 + b"a")
        await asyncio.sleep(HEAD / 3)
        stopping = asyncio.create_task(served.stop(2))
        await asyncio.sleep(HEAD)
        writer.write(b"b")
        assert b"200" in await reader.readline()
        began = asyncio.get_running_loop().time()
        await stopping
        assert asyncio.get_running_loop().time() - began < 4


SCENARIOS = [
    a_silent_peer, a_head_by_drips, a_second_head_by_drips, a_slow_body_is_another_clocks_business, one_too_many,
    a_stop_finishes_what_is_in_flight_and_no_more,
]  # fmt: skip


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_what_a_peer_may_do(scenario, tmp_path):
    asyncio.run(scenario(tmp_path))
