"""Full disks, flipped bits and dying workers, seen from outside the server."""

from __future__ import annotations

import random
import signal
import socket
import threading
import time

import grpc
import psutil
import pytest
from pictures import draw, encoded, jpeg, png

from hashmatch import errors
from hashmatch.address import Address
from hashmatch.client import Finding
from hashmatch.v1 import lists_pb2, lists_pb2_grpc, match_pb2_grpc


def list_picture(deployment, tmp_path, seed=1):
    (tmp_path / f"{seed}.png").write_bytes(png(seed))
    lines = deployment.run("hash", "--type", "pdq,sha256", tmp_path / f"{seed}.png")
    deployment.run("lists", "create", "known")
    deployment.run("lists", "import", "known", "-", "--activate", given=lines)


def test_a_full_disk_refuses_matches_and_the_server_recovers_when_there_is_room(deployment, small_disk, tmp_path):
    list_picture(deployment, tmp_path)
    deployment.serve("--workers", "1")
    with deployment.client(timeout=5) as client:
        first = client.match(png(1), request_id="before")
        small_disk.fill()
        with pytest.raises(errors.Unavailable, match="no room"):
            for number in range(200):  # pages already allocated may take a few more
                client.match(png(1), request_id=f"full-{number}")
        assert client.match(png(50)).finding == Finding.FINDING_NO_MATCH  # what needs no disk is still answered
        small_disk.free()
        after = client.match(png(1), request_id="after")
        assert after.finding == Finding.FINDING_MATCH
        assert client.match(png(1), request_id="before") == first
    deployment.stop()
    logged = set(deployment.recorded().values())
    assert {first.verdict_id, after.verdict_id} <= logged
    deployment.run("check")


def test_a_worker_that_dies_costs_nothing_but_itself(deployment, tmp_path):
    list_picture(deployment, tmp_path)
    deployment.serve("--workers", "2")
    findings = []

    def ask():
        with deployment.client() as client:
            for i in range(60):
                findings.append(client.match(jpeg(1, 50 + i % 40)).finding)

    asking = [threading.Thread(target=ask) for _ in range(2)]
    for thread in asking:
        thread.start()
    server = psutil.Process(deployment.process.pid)
    for _ in range(5):
        time.sleep(0.15)
        for worker in random.Random(2).sample(server.children(), 1):
            worker.kill()
    for thread in asking:
        thread.join()
    assert len(findings) == 120
    unknown = findings.count(Finding.FINDING_UNKNOWN)
    assert findings.count(Finding.FINDING_MATCH) == 120 - unknown  # never NO_MATCH
    assert unknown <= 5
    with deployment.client() as client:
        assert client.serving()


def test_a_damaged_list_is_not_served(deployment, tmp_path):
    list_picture(deployment, tmp_path)
    data = deployment.state / "lists" / "data.mdb"
    stored = bytearray(data.read_bytes())
    value = next(
        bytes.fromhex(r["fingerprint"]) for r in deployment.json("hash", "--type", "sha256", tmp_path / "1.png")
    )
    places = [i for i in range(len(stored)) if stored.startswith(value, i)]
    assert places
    for place in places:
        stored[place] ^= 1
    data.write_bytes(stored)
    assert "root digest" in deployment.run("check", expect=70)
    with pytest.raises(AssertionError):
        deployment.serve("--workers", "1")


def test_sigterm_finishes_what_is_in_flight_and_exits_0(deployment, tmp_path):
    list_picture(deployment, tmp_path)
    deployment.serve("--workers", "1", fresh=True)
    media = encoded(draw(1).resize((6000, 4500)), "JPEG", quality=95)
    findings = []

    def ask():
        with deployment.client(timeout=30) as client:
            findings.append(client.match(media).finding)

    asking = threading.Thread(target=ask)
    server = psutil.Process(deployment.process.pid)
    before = server.memory_info().rss
    asking.start()
    while server.memory_info().rss < before + len(media) // 2:  # the media is arriving
        time.sleep(0.001)
    assert deployment.stop(signal.SIGTERM) == 0
    asking.join()
    assert findings == [Finding.FINDING_MATCH]


def test_sigterm_waits_for_slow_senders_no_longer_than_stated(deployment):
    deployment.environ["HASHMATCH_DRAIN_SECONDS"] = "1"
    deployment.serve("--workers", "1", "--http-listen", "127.0.0.1:0")
    http = Address.parse((deployment.state.parent / "trace").read_text().partition("gateway listens on ")[2].split()[0])
    head = b"POST /v1/match HTTP/1.1\r\nhost: h\r\ncontent-type: image/png\r\ncontent-length: 1000\r\n\r\n"
    with (
        socket.create_connection((http.host, http.port)) as slow,
        socket.create_connection((http.host, http.port)) as silent,
        grpc.insecure_channel(deployment.address) as channel,
    ):
        slow.sendall(head + bytes(100))
        left = threading.Event()
        call = match_pb2_grpc.MatchServiceStub(channel).MatchStream(iter(lambda: left.wait(20) and None, None))
        time.sleep(0.2)
        began = time.monotonic()
        assert deployment.stop(signal.SIGTERM) == 0
        assert time.monotonic() - began < 1 + 5
        left.set()
        assert silent.recv(1) == b""
        assert call.code() is not None


def test_sigterm_in_the_middle_of_an_import_changes_nothing_and_exits_0(deployment, tmp_path):
    list_picture(deployment, tmp_path)
    deployment.environ["HASHMATCH_DRAIN_SECONDS"] = "0.5"
    deployment.serve("--workers", "1")
    before = deployment.json("lists", "show", "known")
    sent, done = threading.Event(), threading.Event()

    def requests():
        header = lists_pb2.ImportHeader(name="known", format=lists_pb2.IMPORT_FORMAT_HEX, activate=True)
        yield lists_pb2.ImportListRequest(header=header)
        yield lists_pb2.ImportListRequest(chunk=b"# more to come\n" * 1000)
        sent.set()
        done.wait(20)

    with grpc.insecure_channel(deployment.address) as channel:
        call = lists_pb2_grpc.ListServiceStub(channel).ImportList.future(requests())
        assert sent.wait(10)
        assert deployment.stop(signal.SIGTERM) == 0
        done.set()
        assert call.exception(10) is not None
    assert deployment.json("lists", "show", "known") == before
    deployment.run("check")
