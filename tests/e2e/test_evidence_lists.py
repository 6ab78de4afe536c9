"""What is listed of evidence by a real server: who may see it, and what nothing keeps any more."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from pictures import png

from hashmatch.evidence.master import FileMaster, create_master_file
from hashmatch.evidence.vault import Vault
from hashmatch.types import Subject
from hashmatch.v1 import cases_pb2, cases_pb2_grpc

SHIFTED = Path(__file__).parent / "shifted_clock.py"
PEOPLE = {
    "app": ("uploader",), "ann": ("reviewer",), "bob": ("reviewer", "lead"), "lea": ("le-liaison",),
    "adam": ("admin",), "eve": ("admin",),
}  # fmt: skip


@pytest.fixture
def office(deployment, tmp_path):
    create_master_file(tmp_path / "master")
    (tmp_path / "workflow.toml").write_text(
        f'[evidence]\nvault = true\nmaster = "{tmp_path / "master"}"\nkeep_days = 1\n'
    )
    deployment.shift = tmp_path / "shift"
    deployment.shift.write_text("0")
    deployment.program = [sys.executable, SHIFTED, deployment.shift]
    deployment.environ["HASHMATCH_WORKFLOW"] = str(tmp_path / "workflow.toml")
    deployment.list_known((1, "pdq"))
    deployment.run("lists", "policy", "known", "--trust", "verified", "--disposition", "block", "--reason", "theirs")
    deployment.keys = {name: deployment.key(name, *roles) for name, roles in PEOPLE.items()}
    deployment.serve("--workers", "1")
    with grpc.insecure_channel(deployment.address) as channel:
        stub = cases_pb2_grpc.CaseServiceStub(channel)

        def ask(name, method, **fields):
            request = getattr(cases_pb2, f"{method}Request")(**fields)
            key = (("authorization", f"Bearer {deployment.keys[name]}"),) if name else ()
            return getattr(stub, method)(request, metadata=key, timeout=20)

        deployment.ask = ask
        yield deployment


def refused(code, call, *args, **fields):
    with pytest.raises(grpc.RpcError) as e:
        call(*args, **fields)
    assert e.value.code() is code, e.value.details()
    return e.value.details()


def test_grants_and_what_is_due_are_listed_for_those_who_act_on_them(office):
    ask = office.ask
    with office.client(key=office.keys["app"]) as client:
        case_id = client.match(png(1), subject=Subject(content_id="c1", uploader_id="u1")).case_id
    ask("ann", "ClaimCase", case_id=case_id)
    asked = ask("ann", "AskGrant", case_id=case_id, level="grey", purpose="cannot tell").grant
    for who, method in (("ann", "ListGrants"), ("lea", "ListGrants"), ("bob", "ListDueEvidence")):
        refused(grpc.StatusCode.PERMISSION_DENIED, ask, who, method)
    refused(grpc.StatusCode.UNAUTHENTICATED, ask, "", "ListGrants")
    assert [one.id for one in ask("bob", "ListGrants").grants] == [asked.id]
    ask("bob", "ApproveGrant", case_id=case_id, grant_id=asked.id)
    (given,) = ask("bob", "ListGrants", case_id=case_id, to="ann").grants
    assert (given.to, given.level, given.approver) == ("ann", "grey", "bob")
    assert given.until.seconds > 0
    assert not ask("bob", "ListGrants", to="bob", all=True).grants
    refused(grpc.StatusCode.NOT_FOUND, ask, "bob", "ListGrants", case_id="c_none")
    for method, who in (("ListGrants", "bob"), ("ListDueEvidence", "lea")):
        wrong = {"page_token": "zz"}
        assert "page_token" in refused(grpc.StatusCode.INVALID_ARGUMENT, ask, who, method, **wrong)
        assert "page_size" in refused(grpc.StatusCode.INVALID_ARGUMENT, ask, who, method, page_size=1001)
    (row,) = office.json("evidence", "grants", "--case", case_id)
    assert (row["id"], row["approver"], row["standing"]) == (asked.id, "bob", "given")
    assert office.json("evidence", "grants", "--to", "nobody", "--all") == []
    assert asked.id in office.run("evidence", "grants")

    assert not ask("lea", "ListDueEvidence").due
    assert "open" in refused(
        grpc.StatusCode.FAILED_PRECONDITION, ask, "lea", "DestroyEvidence", case_id=case_id, ground="over"
    )
    ask("ann", "DecideCase", case_id=case_id, decision=cases_pb2.DECISION_CLEAR, reason_codes=["BENIGN"])
    closed = cases_pb2.CASE_STATE_CLOSED  # once the list is corrected
    office.wait_for(lambda: ask("ann", "GetCase", case_id=case_id).case.state == closed)
    assert not ask("lea", "ListDueEvidence").due
    office.shift.write_text("86410")
    (due,) = ask("lea", "ListDueEvidence").due
    assert (due.case.id, due.items, due.bytes, due.rule) == (case_id, 1, len(png(1)), "our own retention")
    assert due.since.seconds - due.case.closed_at.seconds == 86400
    assert not ask("bob", "ListGrants").grants
    assert [one.id for one in ask("bob", "ListGrants", all=True).grants] == [asked.id]
    (row,) = office.json("evidence", "due")
    assert (row["id"], row["due"]["rule"]) == (case_id, "our own retention")
    assert "our own retention" in office.run("evidence", "due")


def test_what_no_case_names_two_persons_destroy(office, tmp_path):
    ask, vault = office.ask, Vault(office.state / "evidence", FileMaster(tmp_path / "master"))
    assert not ask("adam", "ListOrphans").orphans
    assert "nothing" in refused(grpc.StatusCode.FAILED_PRECONDITION, ask, "adam", "DestroyOrphans", ground="over")
    now = datetime.now(UTC)
    for name, age in (("v_old", timedelta(hours=2)), ("v_new", timedelta())):
        vault.seal(name, png(1), media_type="image/png", at=now - age)
    for method in ("ListOrphans", "DestroyOrphans"):
        for who in ("ann", "bob", "lea", "app"):
            refused(grpc.StatusCode.PERMISSION_DENIED, ask, who, method)
    (orphan,) = ask("adam", "ListOrphans").orphans
    assert (orphan.item_id, orphan.bytes) == ("v_old", len(png(1)))
    assert [row["item"] for row in office.json("evidence", "orphans")] == ["v_old"]
    assert "ground" in refused(grpc.StatusCode.INVALID_ARGUMENT, ask, "adam", "DestroyOrphans")
    asked = ask("adam", "DestroyOrphans", ground="the server died")
    assert (asked.destroyed, asked.waiting) == (0, 1)
    assert "another person" in refused(
        grpc.StatusCode.FAILED_PRECONDITION, ask, "adam", "DestroyOrphans", ground="the server died"
    )
    agreed = ask("eve", "DestroyOrphans", ground="the server died")
    assert (agreed.destroyed, agreed.waiting) == (1, 0)
    office.wait_for(lambda: vault.describe("v_old") is None)
    assert vault.describe("v_new") is not None


def test_without_a_vault_there_are_no_orphans_to_tell_of(deployment):
    key = deployment.key("adam", "admin")
    deployment.serve("--workers", "1")
    with grpc.insecure_channel(deployment.address) as channel, pytest.raises(grpc.RpcError, match="no vault") as e:
        cases_pb2_grpc.CaseServiceStub(channel).ListOrphans(
            cases_pb2.ListOrphansRequest(), metadata=(("authorization", f"Bearer {key}"),), timeout=20
        )
    assert e.value.code() is grpc.StatusCode.FAILED_PRECONDITION
