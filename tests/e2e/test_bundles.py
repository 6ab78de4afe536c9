"""A bundle for an authority without an API, from a real server, as the verb writes it."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from contextlib import closing

import grpc
import pytest
from pictures import png

from hashmatch.audit.ledger import Ledger
from hashmatch.evidence.master import create_master_file
from hashmatch.types import Subject
from hashmatch.v1 import cases_pb2, cases_pb2_grpc

PEOPLE = {
    "app": ("uploader",), "ann": ("reviewer",), "bob": ("reviewer", "lead"), "lea": ("le-liaison",),
}  # fmt: skip
WHO = {"authority": "nca", "declared_by": "Ana Lee, head of safety", "company": "Example", "email": "a@example.com"}


@pytest.fixture
def office(deployment, tmp_path):
    create_master_file(tmp_path / "master")
    (tmp_path / "workflow.toml").write_text(f'[evidence]\nvault = true\nmaster = "{tmp_path / "master"}"\n')
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
        list(call(*args, "BundleReport", **fields))
    assert e.value.code() is code, e.value.details()
    return e.value.details()


def test_a_lead_who_did_not_confirm_has_the_bundle_that_the_verb_writes(office, tmp_path):
    ask = office.ask
    with office.client(key=office.keys["app"]) as client:
        answer = client.match(png(1), subject=Subject(content_id="c1", uploader_id="u1"))
    about = {"case_id": answer.case_id, **WHO}
    for who in ("ann", "lea", "app"):
        refused(grpc.StatusCode.PERMISSION_DENIED, ask, who, **about)
    refused(grpc.StatusCode.UNAUTHENTICATED, ask, "", **about)
    refused(grpc.StatusCode.NOT_FOUND, ask, "bob", **about | {"case_id": "c_none"})
    assert "not confirmed" in refused(grpc.StatusCode.FAILED_PRECONDITION, ask, "bob", **about)
    for field, wrong in (("authority", "fbi"), ("declared_by", " "), ("company", ""), ("email", "")):
        assert field in refused(grpc.StatusCode.INVALID_ARGUMENT, ask, "bob", **about | {field: wrong})
    ask("ann", "ClaimCase", case_id=answer.case_id)
    ask("ann", "DecideCase", case_id=answer.case_id, decision=cases_pb2.DECISION_CONFIRM, reason_codes=["SEEN"])

    *pieces, last = ask("bob", "BundleReport", **about)
    archive = zipfile.ZipFile(io.BytesIO(b"".join(piece.chunk for piece in pieces)))
    assert archive.read(f"media/{answer.verdict_id}") == png(1)
    assert hashlib.sha256(archive.read("manifest.json")).digest() == last.manifest_digest
    told = json.loads(archive.read("report.json"))
    assert (told["case"], told["authority"], len(archive.namelist()) - 1) == (answer.case_id, "nca", last.files)
    assert list(last.without_media) == []
    with closing(Ledger(office.state, readonly=True)) as ledger:
        logged = [event.disclosed for event in ledger.events(limit=1000) if event.HasField("disclosed")]
    assert [(list(said.by), said.manifest_digest) for said in logged] == [(["ann", "bob"], last.manifest_digest)]

    (made,) = office.json(
        "reports", "bundle", answer.case_id, "--authority", "nca", "--to", tmp_path / "r.zip", "--declare",
        WHO["declared_by"], "--company", WHO["company"], "--email", WHO["email"],
    )  # fmt: skip
    assert (made["files"], made["missing"]) == (last.files, list(last.missing))


def test_whoever_confirmed_it_is_not_handed_the_bundle(office):
    ask = office.ask
    with office.client(key=office.keys["app"]) as client:
        case_id = client.match(png(1), subject=Subject(content_id="c1", uploader_id="u1")).case_id
    ask("bob", "ClaimCase", case_id=case_id)
    ask("bob", "DecideCase", case_id=case_id, decision=cases_pb2.DECISION_CONFIRM, reason_codes=["SEEN"])
    said = refused(grpc.StatusCode.FAILED_PRECONDITION, ask, "bob", case_id=case_id, **WHO)
    assert "another person" in said
