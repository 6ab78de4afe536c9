"""Streams and uploads over a real connection: back-pressure, abandoned ones, overload, callers who vanish."""

from __future__ import annotations

import asyncio
import io
import json
import signal
import time
import urllib.request

import grpc
import psutil
import pytest
from pictures import draw, encoded, png

from hashmatch import errors
from hashmatch.client import AsyncClient, Finding, Fingerprint, match_request, outcome_of
from hashmatch.v1 import match_pb2, match_pb2_grpc


@pytest.fixture(scope="module")
def served(shared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("listed")
    (folder / "1.png").write_bytes(png(1))
    shared.run("lists", "create", "known", "--disposition", "block")
    lines = shared.run("hash", "--type", "pdq,sha256", folder / "1.png")
    shared.run("lists", "import", "known", "-", "--activate", given=lines)
    shared.environ["HASHMATCH_LOG_FORMAT"] = "json"
    shared.environ["HASHMATCH_SPOOL_BYTES"] = "65536"
    shared.serve("--metrics-listen", "127.0.0.1:0", "--workers", "2")
    shared.metrics = shared.line.rpartition("metrics on ")[2].strip()
    return shared


def photograph(seed, width, height):
    """A large picture, enlarged: to draw it as large takes longer than to judge it."""
    return encoded(draw(seed).resize((width, height)), "JPEG", quality=80)


def metric(served, start):
    text = urllib.request.urlopen(f"http://{served.metrics}/metrics", timeout=10).read().decode()
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(start))


def test_a_stream_answers_each_item_and_one_bad_item_ends_nothing(served):
    requests = [match_request(png(1 if i % 3 == 0 else 100 + i), request_id=f"s{i}") for i in range(40)]
    requests[7] = match_request(png(1), request_id="s7", lists=["none"])
    requests[8] = match_request(fingerprints=[Fingerprint("pdq", b"short")], request_id="s8")
    with served.client() as client:
        answers = {a.request_id: a for a in client.stream(requests, window=8)}
    assert set(answers) == {f"s{i}" for i in range(40)}
    with pytest.raises(errors.NotFound):
        outcome_of(answers["s7"])
    with pytest.raises(errors.Malformed) as refused:
        outcome_of(answers["s8"])
    assert refused.value.field == "fingerprints.fingerprints[0].value"
    found = {name: outcome_of(a).finding for name, a in answers.items() if name not in ("s7", "s8")}
    assert all(found[f"s{i}"] == Finding.FINDING_MATCH for i in range(0, 40, 3))


def test_a_stream_waits_where_single_calls_are_refused(served):
    """More than there is room for: items of streams are slowed down, not refused."""

    async def conversation():
        async with AsyncClient(served.address, timeout=60) as client:

            async def requests(s):
                for i in range(30):
                    yield match_request(photograph(1000 + s * 100 + i, 1000, 750), request_id=f"w{s}-{i}")

            async def stream(s):
                return [outcome_of(a).finding async for a in client.stream(requests(s), window=64)]

            return await asyncio.gather(*(stream(s) for s in range(4)))

    for found in asyncio.run(conversation()):
        assert len(found) == 30
        assert set(found) == {Finding.FINDING_NO_MATCH}


def test_an_upload_from_a_file_object(served):
    big = png(1) + bytes(5 << 20)  # past the spool's threshold, and a PNG all the same
    with served.client() as client:
        answer = client.upload(io.BytesIO(big), request_id="u1")
        assert {m.hash_type for m in answer.matches} == {"pdq"}
        assert client.upload(io.BytesIO(png(1))).finding == Finding.FINDING_MATCH
        assert client.upload(io.BytesIO(big), request_id="u1").verdict_id == answer.verdict_id
        with pytest.raises(errors.Malformed, match="at most"):
            client.upload(io.BytesIO(bytes(33 << 20)))


def test_the_client_for_asyncio_asks_and_uploads_as_its_twin_does(served):
    async def conversation():
        async with AsyncClient(served.address) as client:
            assert await client.serving()
            assert "pdq" in {h.hash_type for h in (await client.capabilities()).hash_types}
            assert (await client.hash(png(1))).hashed
            with pytest.raises(TypeError):
                await client.upload(io.BytesIO(png(1)), no_such="argument")
            return await client.upload(io.BytesIO(png(1)), request_id="au1")

    assert asyncio.run(conversation()).finding == Finding.FINDING_MATCH


def test_abandoned_uploads_leave_nothing(served):
    server = psutil.Process(served.process.pid)
    before = server.num_fds()

    def parts():
        yield match_pb2.MatchUploadRequest(header=match_pb2.MatchRequest())
        for _ in range(20):
            yield match_pb2.MatchUploadRequest(chunk=bytes(100_000))
        time.sleep(5)

    for _ in range(10):
        channel = grpc.insecure_channel(served.address)
        call = match_pb2_grpc.MatchServiceStub(channel).MatchUpload.future(parts())
        time.sleep(0.1)
        call.cancel()
        channel.close()
    deadline = time.monotonic() + 10
    while server.num_fds() > before + 2:
        assert time.monotonic() < deadline, (before, server.num_fds())
        time.sleep(0.05)
    assert list((served.state / "spool").iterdir()) == []
    while metric(served, "hashmatch_in_flight_bytes"):  # a gauge, brought to what is true every second
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_past_what_can_be_done_calls_are_refused_at_once_and_look_ups_flow(served):
    media = [photograph(500 + i, 2400, 1800) for i in range(8)]

    async def conversation():
        refused, answered, looked = [], [], []
        channel = grpc.aio.insecure_channel(served.address)
        stub = match_pb2_grpc.MatchServiceStub(channel)

        async def one(i):
            began = time.monotonic()
            try:
                await stub.Match(match_pb2.MatchRequest(media=media[i % 8]), timeout=30)
                answered.append(time.monotonic() - began)
            except grpc.aio.AioRpcError as e:
                refused.append(e.code())

        async def look_ups(until):
            async with AsyncClient(served.address) as client:
                while not until.done():
                    began = time.monotonic()
                    await client.match(fingerprints=[Fingerprint("pdq", bytes(range(32)))])
                    looked.append(time.monotonic() - began)
                    await asyncio.sleep(0.01)

        async def wave_after_wave():
            while len(answered) < 30 or len(refused) < 30 or len(looked) < 10:
                await asyncio.gather(*(one(i) for i in range(60)))

        flood = asyncio.create_task(wave_after_wave())
        await asyncio.wait_for(asyncio.gather(flood, look_ups(flood)), 60)
        await channel.close()
        return refused, answered, looked

    refused, answered, looked = asyncio.run(conversation())
    assert set(refused) == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert max(answered) < 5
    assert sorted(looked)[len(looked) // 2] < 0.5
    assert metric(served, 'hashmatch_refused_total{reason="') >= len(refused)
    with served.client() as client:
        assert client.match(png(1)).finding == Finding.FINDING_MATCH


def test_the_trace_is_json_and_names_no_secret(served):
    with served.client() as client:
        client.match(png(1), request_id="t1")
    lines = [json.loads(line) for line in (served.state.parent / "trace").read_text().splitlines()]
    assert {"time", "level", "logger", "message"} <= set(lines[0])


def test_probes_tell_the_truth_while_it_stops(served):
    ready = urllib.request.urlopen(f"http://{served.metrics}/readyz", timeout=5)
    live = urllib.request.urlopen(f"http://{served.metrics}/livez", timeout=5)
    assert (ready.status, live.status) == (200, 200)
    assert served.stop(signal.SIGTERM) == 0
