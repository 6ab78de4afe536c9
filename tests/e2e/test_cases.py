"""From an upload to its outcome, as a platform and its people see it: real server, real webhooks, real keys."""

from __future__ import annotations

import time

import grpc
import pytest
from pictures import png
from workflow.receivers import SECRET, receiving

from hashmatch.client import Finding
from hashmatch.types import Subject
from hashmatch.v1 import cases_pb2, cases_pb2_grpc

CONFIRM, CLEAR = cases_pb2.DECISION_CONFIRM, cases_pb2.DECISION_CLEAR


@pytest.fixture
def platform(deployment, tmp_path):
    with receiving() as receiver:
        (tmp_path / "secrets").write_text(SECRET)
        (tmp_path / "secrets").chmod(0o600)
        (tmp_path / "workflow.toml").write_text(
            f'[[destination]]\nname = "platform"\nurl = "{receiver.url}"\nsecrets = "{tmp_path / "secrets"}"\n'
            'allow = ["127.0.0.0/8"]\ncaller = "app"\n'
        )
        deployment.environ["HASHMATCH_WORKFLOW"] = str(tmp_path / "workflow.toml")
        deployment.list_known((1, "pdq"))
        deployment.run(
            "lists", "policy", "known", "--trust", "verified", "--disposition", "block", "--reason", "theirs"
        )
        deployment.keys = {}
        for name, *roles in (
            ("app", "uploader"), ("other", "uploader"), ("ann", "reviewer"), ("bob", "reviewer", "lead"),
            ("lea", "le-liaison"),
        ):  # fmt: skip
            deployment.keys[name] = deployment.key(name, *roles)
        deployment.serve("--workers", "1")
        deployment.receiver = receiver
        yield deployment


@pytest.fixture
def call(platform):
    with grpc.insecure_channel(platform.address) as channel:
        stub = cases_pb2_grpc.CaseServiceStub(channel)

        def ask(name, method, *args, **fields):
            request = getattr(cases_pb2, f"{method}Request")(**fields)
            key = (("authorization", f"Bearer {platform.keys[name]}"),)
            return getattr(stub, method)(request, metadata=key, timeout=10)

        yield ask


def upload(platform, request_id=""):
    subject = Subject(content_id="c1", uploader_id="u1")
    with platform.client(key=platform.keys["app"]) as client:
        return client.match(png(1), subject=subject, request_id=request_id)


def until(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_an_upload_is_contained_decided_and_closed(platform, call):
    answer = upload(platform, request_id="r1")
    assert answer.case_id
    assert upload(platform, request_id="r1").case_id == answer.case_id
    until(lambda: sorted(platform.receiver.verbs()) == ["preserve", "restrict"])
    assert {content for _, _, content in platform.receiver.calls} == {"c1"}
    for dispatch_id in list(platform.receiver.done):
        call("app", "ConfirmDispatch", dispatch_id=dispatch_id)
    found = call("ann", "GetCase", case_id=answer.case_id)
    assert (found.case.state, found.case.items) == (cases_pb2.CASE_STATE_CONTAINED, 1)
    assert [one.containment for one in found.items] == [cases_pb2.CONTAINMENT_CONFIRMED]
    assert [one.state for one in found.dispatches] == [cases_pb2.DISPATCH_STATE_CONFIRMED] * 2
    call("ann", "ClaimCase", case_id=answer.case_id)
    done = call("ann", "DecideCase", case_id=answer.case_id, decision=CONFIRM, reason_codes=["KNOWN_MATERIAL"])
    assert done.case.state == cases_pb2.CASE_STATE_CONFIRMED
    until(lambda: {"remove", "suspend", "remove_copies"} <= set(platform.receiver.verbs()))
    for dispatch_id in list(platform.receiver.done):
        call("app", "ConfirmDispatch", dispatch_id=dispatch_id)
    done = call("bob", "RecordReport", case_id=answer.case_id, authority="NCMEC", receipt="4711")
    assert done.case.state == cases_pb2.CASE_STATE_CLOSED
    (hold,) = call("ann", "GetCase", case_id=answer.case_id).holds
    assert hold.kind == "US_REPORT"
    with pytest.raises(grpc.RpcError, match="nobody can release"):
        call("lea", "ReleaseHold", case_id=answer.case_id, hold_id=hold.id, reason="no longer wanted")
    assert platform.stop() == 0
    platform.run("check")


def test_an_appeal_undoes_it(platform, call):
    case_id = upload(platform).case_id
    call("ann", "ClaimCase", case_id=case_id)
    call("ann", "DecideCase", case_id=case_id, decision=CONFIRM, reason_codes=["KNOWN_MATERIAL"])
    until(lambda: {"restrict", "remove", "suspend"} <= set(platform.receiver.verbs()))
    with pytest.raises(grpc.RpcError) as refused:
        call("ann", "ReopenCase", case_id=case_id, reason_codes=["APPEAL"], clear=True)
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
    call("bob", "ReopenCase", case_id=case_id, reason_codes=["APPEAL"], clear=True)
    until(lambda: {"restore", "reinstate"} <= set(platform.receiver.verbs()))
    order = [verb for _, verb, _ in platform.receiver.calls]
    assert order.index("restore") > max(order.index(verb) for verb in ("restrict", "remove"))


def test_an_entry_that_was_wrong_is_set_aside_until_it_is_right_after_all(platform, call):
    platform.receiver.body = b'{"status": "confirmed"}'
    case_id = upload(platform).case_id
    until(lambda: "restrict" in platform.receiver.verbs())
    call("ann", "ClaimCase", case_id=case_id)
    call("ann", "DecideCase", case_id=case_id, decision=CLEAR, reason_codes=["NOT_WHAT_IT_SEEMED"])
    until(lambda: call("ann", "GetCase", case_id=case_id).case.state == cases_pb2.CASE_STATE_CLOSED)
    until(lambda: upload(platform).finding == Finding.FINDING_NO_MATCH)
    call("bob", "ReopenCase", case_id=case_id, reason_codes=["LOOKED_AGAIN"])
    call("ann", "ClaimCase", case_id=case_id)
    call("ann", "DecideCase", case_id=case_id, decision=CONFIRM, reason_codes=["KNOWN_MATERIAL"])
    until(lambda: upload(platform).finding == Finding.FINDING_MATCH)
    until(lambda: platform.receiver.verbs().count("restrict") >= 2)  # what was restored is contained again


def test_who_may_not_is_refused(platform, call):
    case_id = upload(platform).case_id
    for name, method, fields in (
        ("app", "ListCases", {}), ("lea", "ClaimCase", {"case_id": case_id}),
        ("ann", "HoldCase", {"case_id": case_id, "kind": "LITIGATION", "ground": "g"}),
        ("ann", "ListDispatches", {}), ("bob", "ConfirmDispatch", {"dispatch_id": f"{case_id}.000001"}),
        ("other", "ConfirmDispatch", {"dispatch_id": f"{case_id}.000001"}),
    ):  # fmt: skip
        with pytest.raises(grpc.RpcError) as refused:
            call(name, method, **fields)
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED, method
    with pytest.raises(grpc.RpcError) as refused:
        call("ann", "DecideCase", case_id=case_id, decision=CLEAR, reason_codes=["X"])
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "claim it first" in refused.value.details()


def test_several_processes_send_each_instruction_once(platform):
    assert platform.stop() == 0
    platform.serve("--workers", "2", "--processes", "2")
    case_ids = {upload(platform).case_id for _ in range(8)}
    assert len(case_ids) == 1
    until(lambda: len(platform.receiver.done) == 16, 30)
    time.sleep(0.5)
    assert len(platform.receiver.calls) == 16
    contents = [content for _, verb, content in platform.receiver.calls if verb == "restrict"]
    assert len(contents) == 8


def test_a_receiver_that_comes_back_gets_what_waited_across_a_kill(platform, call):
    platform.receiver.behave = lambda _number: 503
    case_id = upload(platform).case_id
    until(lambda: call("ann", "GetCase", case_id=case_id).dispatches[0].attempts)
    platform.stop(9)
    platform.receiver.behave = lambda _number: 200
    platform.serve("--workers", "1")
    until(lambda: len(platform.receiver.done) == 2, 30)
    assert all(id_.startswith(case_id) for id_ in platform.receiver.done)
