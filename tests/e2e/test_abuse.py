"""Abusive peers at the real port: whatever they do, others are answered in time and memory is bounded."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status
from pictures import png

from hashmatch.address import Address
from hashmatch.client import Finding, Fingerprint
from hashmatch.server.gate import MAX_LONG_CALLS, MEDIA_BYTES
from hashmatch.v1 import match_pb2, match_pb2_grpc

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADERS, RST, SETTINGS, PING, CONTINUATION = 1, 3, 4, 6, 9
FLOOD = 1.5  # seconds
IDLE = 3000  # connections; the descriptors of a test's own process are the limit


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


@pytest.fixture(scope="module")
def served(shared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("listed")
    (folder / "1.png").write_bytes(png(1))
    shared.run("lists", "create", "known", "--disposition", "block")
    shared.run("lists", "import", "known", "-", "--activate", given=shared.run("hash", folder / "1.png"))
    shared.serve("--workers", "2", fresh=True)
    return shared


@pytest.fixture
def bystander(served):
    """Asks as others do; afterwards the verdict is right, in time, and memory has not grown past a bound."""
    server = psutil.Process(served.process.pid)
    before = server.memory_info().rss
    with served.client() as client:
        yield lambda: timed(client)
        assert client.match(png(1)).finding == Finding.FINDING_MATCH
        assert timed(client) < 2
    assert server.memory_info().rss - before < 200 << 20


def timed(client):
    began = time.monotonic()
    client.match(fingerprints=[Fingerprint("pdq", bytes(range(32)))])
    return time.monotonic() - began


def connected(served, timeout=5):
    address = Address.parse(served.address)
    return socket.create_connection((address.host, address.port), timeout)


def opened(served):
    peer = connected(served)
    peer.sendall(PREFACE + frame(SETTINGS))
    return peer


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00" + bytes(512),  # a TLS hello to a port in clear
        PREFACE + b"\xff" * 4096,
        PREFACE + frame(SETTINGS, payload=b"\0" * 5),
        PREFACE + frame(SETTINGS) + frame(HEADERS, 4, 1, b"\xff" * 200),
        PREFACE + frame(SETTINGS) + frame(0, 0, 99, b"x" * 100),
        PREFACE + frame(SETTINGS) + struct.pack(">I", 0xFFFFFF)[1:] + bytes(6),
    ],
)
def test_malformed_frames(served, bystander, sent):
    for _ in range(20):
        with contextlib.suppress(OSError), connected(served) as peer:
            peer.settimeout(0.2)  # some of it is left unanswered, and the connection open
            peer.sendall(sent)
            while peer.recv(4096):
                pass
    bystander()


def flood(served, seconds, make):
    """Sends what `make` gives for each stream number until the time is over, on a new connection where one is cut."""
    until, stream, peer = time.monotonic() + seconds, 1, opened(served)
    while time.monotonic() < until:
        try:
            peer.sendall(b"".join(make(stream + 2 * i) for i in range(50)))
            stream += 100
            peer.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                peer.recv(1 << 16)
            peer.setblocking(True)
        except OSError:
            peer.close()
            stream, peer = 1, opened(served)
    peer.close()


# :method POST, :scheme http, :path and :authority literal, as HPACK spells them without a table
BLOCK = (
    b"\x83\x86\x04" + bytes([len(b"/hashmatch.v1.MatchService/Match")]) + b"/hashmatch.v1.MatchService/Match"
    b"\x01\x01a\x00\x0ccontent-type\x10application/grpc\x00\x02te\x08trailers"
)


@pytest.mark.parametrize(
    "make",
    [
        lambda stream: frame(HEADERS, 4, stream, BLOCK) + frame(RST, 0, stream, struct.pack(">I", 8)),
        lambda stream: frame(PING, 0, 0, bytes(8)),
        lambda stream: frame(SETTINGS),
        lambda stream: frame(HEADERS, 0, stream, b"") + 20 * frame(CONTINUATION, 0, stream, b"\x00\x01a\x01b" * 100),
    ],
    ids=["rapid reset", "pings", "settings", "continuations"],
)
def test_floods(served, bystander, make):
    flooding = threading.Thread(target=flood, args=(served, FLOOD, make))
    flooding.start()
    taken = []
    while flooding.is_alive():
        taken.append(bystander())
    flooding.join()
    assert len(taken) > 10  # and not one was refused, or cancelled
    assert sorted(taken)[len(taken) // 2] < 0.2


def test_slow_and_half_open_senders_starve_nobody(served, bystander):
    slow = [opened(served) for _ in range(200)]
    for peer in slow:
        peer.sendall(frame(HEADERS, 4, 1, BLOCK) + frame(0, 0, 1, b"\0\0\1\0\0" + bytes(100)))  # of 64 KiB promised
    assert bystander() < 1
    for peer in slow[:100]:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # reset instead of goodbye
    for peer in slow:
        peer.close()


def test_idle_connections_cost_little_and_are_bounded(served, bystander):
    server = psutil.Process(served.process.pid)
    before = server.memory_info().rss
    idle = [connected(served) for _ in range(IDLE)]
    try:
        assert bystander() < 2
        assert (server.memory_info().rss - before) / IDLE < 100_000  # bytes each
    finally:
        for peer in idle:
            peer.close()


def test_nobody_holds_more_than_a_few_streams(served, bystander):
    """A watch of the health service wants no key and never ends: without a bound of our own they use up all calls."""
    with grpc.insecure_channel(served.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        watching = [health.Watch(health_pb2.HealthCheckRequest()) for _ in range(MAX_LONG_CALLS)]
        assert {next(one).status for one in watching} == {health_pb2.HealthCheckResponse.SERVING}
        with pytest.raises(grpc.RpcError) as e:
            next(health.Watch(health_pb2.HealthCheckRequest()))
        assert e.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert any(detail.TypeName() == "google.rpc.RetryInfo" for detail in rpc_status.from_call(e.value).details)
        bystander()
        for one in watching:
            one.cancel()
        served.wait_for(lambda: next(health.Watch(health_pb2.HealthCheckRequest()), None) is not None)


def test_more_than_was_announced_is_refused(served, bystander):
    with grpc.insecure_channel(served.address) as channel:
        match = match_pb2_grpc.MatchServiceStub(channel).Match
        request = match_pb2.MatchRequest(media=png(1))
        assert match(request, metadata=((MEDIA_BYTES, str(len(png(1)))),)).finding == Finding.FINDING_MATCH
        for said in ("1", str(1 << 40)):
            with pytest.raises(grpc.RpcError) as e:
                match(request, metadata=((MEDIA_BYTES, said),))
            assert e.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        bystander()
