"""The disk under several server processes fills up: what they say meanwhile, and that room is all they need."""

from __future__ import annotations

import concurrent.futures
import time

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from pictures import png

from hashmatch.client import Finding, match_request
from hashmatch.v1 import match_pb2_grpc

CONNECTIONS = 8  # spread over the processes by the kernel


@pytest.fixture
def stubs(deployment, small_disk):
    """Stubs that retry nothing, a connection each."""
    deployment.list_known((1, "pdq"))
    deployment.serve("--processes", "2", "--workers", "2", "--metrics-listen", "127.0.0.1:0")
    options = (("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1))
    channels = [grpc.insecure_channel(deployment.address, options) for _ in range(CONNECTIONS)]
    yield [match_pb2_grpc.MatchServiceStub(channel) for channel in channels]
    for channel in channels:
        channel.close()


def ask(stub, request_id, media):
    """The finding, or the error."""
    try:
        return stub.Match(match_request(media, request_id=request_id), timeout=20).finding
    except grpc.RpcError as e:
        return e


def test_what_must_be_recorded_is_refused_and_the_rest_answered(deployment, small_disk, stubs):
    servers = deployment.servers()
    answers = {}

    def ask_all(round_, media):
        with concurrent.futures.ThreadPoolExecutor(CONNECTIONS) as pool:
            asked = [f"{round_}-{n}" for n in range(CONNECTIONS)]
            found = list(pool.map(lambda n: ask(stubs[n], asked[n], media), range(CONNECTIONS)))
        answers.update(zip(asked, found, strict=True))
        return found

    assert set(ask_all("before", png(1))) == {Finding.FINDING_MATCH}
    small_disk.fill()
    for number in range(200):  # pages already allocated may take a few more
        refused = [answer for answer in ask_all(f"full-{number}", png(1)) if isinstance(answer, grpc.RpcError)]
        if len(refused) == CONNECTIONS:
            break
    for error in refused:
        assert error.code() == grpc.StatusCode.UNAVAILABLE
        told = {any_.TypeName(): any_ for any_ in rpc_status.from_call(error).details}
        info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
        told["google.rpc.ErrorInfo"].Unpack(info)
        told["google.rpc.RetryInfo"].Unpack(retry)
        assert info.reason == "STORE_FULL"
        assert retry.retry_delay.ToMilliseconds() > 0
    time.sleep(2.5)  # two tries for room: pages that the file has free inside are none
    assert not deployment.ready()
    assert set(ask_all("other", png(50))) == {Finding.FINDING_NO_MATCH}  # what needs no disk is still answered
    ask_all("unknown", b"no picture")  # asks for a person: refused, or recorded where it still fitted in
    if small_disk.mounted:  # a command is a process of its own, which a limit of the servers does not bind
        deployment.run("lists", "add", "known", "--type", "md5", "0" * 31 + "1", "--reason", "drawn", expect=73)
    assert deployment.recorded()  # reading goes on
    small_disk.free()
    deployment.wait_for(deployment.ready)
    deployment.wait_for(lambda: set(ask_all("after", png(1))) == {Finding.FINDING_MATCH})
    assert {server.pid for server in servers} == {server.pid for server in deployment.servers()}  # none was restarted
    deployment.stop()
    logged = (Finding.FINDING_MATCH, Finding.FINDING_UNKNOWN)
    acknowledged = {request_id for request_id, answer in answers.items() if answer in logged}
    assert deployment.recorded().keys() == acknowledged  # and nothing that was refused
    deployment.run("check")
