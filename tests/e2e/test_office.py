"""The office of a real server, as each of its people uses it: evidence, grants, pages, inquiries, second looks."""

from __future__ import annotations

import io
import json
import ssl
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import grpc
import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from pictures import png
from PIL import Image
from workflow.receivers import SECRET

from hashmatch.evidence.master import create_master_file
from hashmatch.evidence.package import read_package
from hashmatch.types import Subject
from hashmatch.v1 import cases_pb2, cases_pb2_grpc

KEY = rsa.generate_private_key(65537, 2048)
CONFIRM = cases_pb2.DECISION_CONFIRM
PEOPLE = {
    "app": ("uploader",), "ann": ("reviewer",), "rita": ("reviewer",), "bob": ("reviewer", "lead"),
    "lea": ("le-liaison",), "max": ("le-liaison",),
}  # fmt: skip


@pytest.fixture(scope="module")
def telephone(tmp_path_factory):
    """Where it is, the authority of its certificate, and what rang."""
    rang, authority = [], trustme.CA()
    trusted = tmp_path_factory.mktemp("telephone") / "ca.pem"
    authority.cert_pem.write_to_path(trusted)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            rang.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"https://127.0.0.1:{server.server_address[1]}/ring", trusted, rang
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def office(shared, telephone):
    yield from opened(shared, shared.state.parent, telephone)


def opened(deployment, tmp_path, telephone):
    url, trusted, rang = telephone
    (tmp_path / "secrets").write_text(SECRET)
    (tmp_path / "secrets").chmod(0o600)
    create_master_file(tmp_path / "master")
    people = "".join(
        f'[paging.contacts.{name}]\nwebhook = "{url}"\nwebhook_secrets = "{tmp_path / "secrets"}"\n'
        for name in ("ann", "bob", "cy", "dana")
    )
    (tmp_path / "workflow.toml").write_text(
        f'[evidence]\nvault = true\nmaster = "{tmp_path / "master"}"\n'
        '[paging.channels.webhook]\nallow = ["127.0.0.0/8"]\n'
        f'ca = "{trusted}"\n'
        '[paging.rota]\nlast_resort = "dana"\n'
        '[[paging.rota.shifts]]\nname = "all"\nbegins = "00:00"\nuntil = "00:00"\ntime_zone = "UTC"\n'
        f'primary = "ann"\nsecondary = "bob"\nduty_manager = "cy"\n{people}'
    )
    deployment.environ["HASHMATCH_WORKFLOW"] = str(tmp_path / "workflow.toml")
    deployment.list_known((1, "pdq"))
    deployment.run("lists", "policy", "known", "--trust", "verified", "--disposition", "block", "--reason", "theirs")
    deployment.keys = {}
    for name, roles in PEOPLE.items():
        deployment.keys[name] = deployment.key(name, *roles)
    deployment.serve("--workers", "1")
    deployment.rang = rang
    with grpc.insecure_channel(deployment.address) as channel:
        stub = cases_pb2_grpc.CaseServiceStub(channel)

        def ask(name, method, **fields):
            request = getattr(cases_pb2, f"{method}Request")(**fields)
            key = (("authorization", f"Bearer {deployment.keys[name]}"),)
            return getattr(stub, method)(request, metadata=key, timeout=20)

        deployment.ask = ask
        yield deployment


def upload(office):
    with office.client(key=office.keys["app"]) as client:
        return client.match(png(1), subject=Subject(content_id="c1", uploader_id="u1"))


def certificate():
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "an agency")]), datetime.now(UTC)
    since, until = now - timedelta(days=1), now + timedelta(days=1)
    return x509.CertificateBuilder(name, name, KEY.public_key(), 7, since, until).sign(KEY, hashes.SHA256())


def refused(code, call, *args, **fields):
    with pytest.raises(grpc.RpcError) as e:
        call(*args, **fields)
    assert e.value.code() is code, e.value.details()
    return e.value.details()


def until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_evidence_is_sealed_shown_sparingly_and_kept(office):
    answer, ask = upload(office), office.ask
    about = {"case_id": answer.case_id, "verdict_id": answer.verdict_id}
    (item,) = ask("ann", "GetCase", case_id=answer.case_id).items
    assert item.evidence
    stored = b"".join(path.read_bytes() for path in (office.state / "evidence").rglob("*") if path.is_file())
    assert png(1)[40:80] not in stored
    assert "claim" in refused(grpc.StatusCode.PERMISSION_DENIED, ask, "ann", "ViewEvidence", **about)
    ask("ann", "ClaimCase", case_id=answer.case_id)
    blurred = ask("ann", "ViewEvidence", **about)
    shown = Image.open(io.BytesIO(blurred.picture))
    assert (shown.mode, max(shown.size) <= 160, blurred.level) == ("L", True, "blurred")
    refused(grpc.StatusCode.PERMISSION_DENIED, ask, "ann", "ViewEvidence", level="full", **about)
    asked = ask("ann", "AskGrant", case_id=answer.case_id, level="full", purpose="cannot tell").grant
    refused(grpc.StatusCode.PERMISSION_DENIED, ask, "ann", "ApproveGrant", case_id=answer.case_id, grant_id=asked.id)
    ask("bob", "ApproveGrant", case_id=answer.case_id, grant_id=asked.id)
    assert Image.open(io.BytesIO(ask("ann", "ViewEvidence", level="full", **about).picture)).mode == "RGB"
    (item,) = ask("ann", "GetCase", case_id=answer.case_id).items
    assert list(item.viewed_by) == ["ann"]
    assert "open" in refused(
        grpc.StatusCode.FAILED_PRECONDITION, ask, "lea", "DestroyEvidence", case_id=answer.case_id, ground="over"
    )


def test_a_user_who_tells_of_danger_makes_somebody_s_telephone_ring(office):
    ask = office.ask
    office.rang.clear()
    told = ask("app", "OpenInquiry", kind="USER", subject={"content_id": "post-1"}, imminent=True).inquiry
    refused(
        grpc.StatusCode.PERMISSION_DENIED, ask, "app", "OpenInquiry", kind="LE_DESTROY", case_ids=list(told.case_ids)
    )
    until(lambda: office.rang)
    assert office.rang[0]["case_id"] == told.case_ids[0]
    assert set(office.rang[0]) <= {"type", "page_id", "case_id", "tier", "drill", "text", "to", "url"}
    (page,) = ask("ann", "ListPages").pages
    ask("ann", "AcknowledgePage", page_id=page.id)
    (given,) = ask("ann", "HandOver", taker="bob", note="my shift is over").pages
    assert given.acknowledged_by == "bob"
    ask("ann", "ClaimCase", case_id=told.case_ids[0])
    ask("ann", "DecideCase", case_id=told.case_ids[0], decision=CONFIRM, reason_codes=["SEEN"])
    until(lambda: not ask("ann", "ListPages").pages)
    office.rang.clear()


def counted(office):
    found = json.loads(office.run("kpi", "--json", expect=None))
    return [found[name] for name in ("cases", "copies", "reconciliation", "instructions", "outbox")]


def test_a_drill_is_called_taken_and_cleared_as_if_it_were_real(office):
    ask = office.ask
    figures = counted(office)
    office.rang.clear()
    drill = ask("bob", "RaiseDrill").page
    until(lambda: office.rang)
    (rang,) = office.rang
    assert (rang["drill"], rang["case_id"], rang["page_id"]) == (True, drill.case_id, drill.id)
    assert rang["text"] == f"DRILL, nothing has happened: T0 case {drill.case_id} wants somebody now (page {drill.id})"
    ask("ann", "AcknowledgePage", page_id=drill.id)
    assert not ask("ann", "ListPages").pages
    assert f"{drill.case_id}  T0 DRILL" in office.run("cases", "list")
    assert "DRILL: nothing has happened; somebody had it after 0:" in office.run("cases", "show", drill.case_id)
    ask("ann", "ClaimCase", case_id=drill.case_id)
    problem = refused(
        grpc.StatusCode.FAILED_PRECONDITION, ask, "ann", "DecideCase", case_id=drill.case_id, decision=CONFIRM,
        reason_codes=["SEEN"],
    )  # fmt: skip
    assert "it is a drill" in problem
    done = ask("ann", "DecideCase", case_id=drill.case_id, decision=cases_pb2.DECISION_CLEAR, reason_codes=["SEEN"])
    assert (done.case.state, done.case.drill) == (cases_pb2.CASE_STATE_CLOSED, True)
    assert counted(office) == figures


def test_a_drill_is_ended_by_who_began_it(office):
    office.rang.clear()
    case_id = json.loads(office.run("pages", "drill", "--tier", "1", "--json"))["case_id"]
    until(lambda: office.rang)
    ended = json.loads(office.run("pages", "drill", "--end", case_id, "--json"))
    assert (ended["case"]["state"], ended["acknowledged_after_seconds"]) == ("closed", None)
    assert ended["case"]["reviews"][0]["reason_codes"] == ["DRILL"]
    until(lambda: not office.ask("ann", "ListPages").pages)
    assert "the drill is over" in office.run("pages", "drill", "--end", case_id, expect=None) + office.stderr
    office.run("check")


def test_an_order_is_held_for_checked_by_two_and_answered(office):
    answer, ask = upload(office), office.ask
    row = ask(
        "lea", "OpenInquiry", kind="LE_PROCESS", agency="Police", contact="a@p.example", jurisdiction="US",
        reference="7", legal_basis="warrant", scope="all", case_ids=[answer.case_id],
    ).inquiry  # fmt: skip
    assert [hold.kind for hold in ask("ann", "GetCase", case_id=answer.case_id).holds] == ["LE_REQUEST"]
    ask("lea", "StepInquiry", inquiry_id=row.id, step="VERIFY", text="called back")
    refused(grpc.StatusCode.FAILED_PRECONDITION, ask, "lea", "StepInquiry", inquiry_id=row.id, step="APPROVE")
    ask("max", "StepInquiry", inquiry_id=row.id, step="APPROVE")
    assert row.id in [one.id for one in ask("lea", "ListInquiries").inquiries]
    with pytest.raises(grpc.RpcError, match="another person"):
        list(ask("max", "DiscloseInquiry", inquiry_id=row.id, recipient=certificate().public_bytes(Encoding.PEM)))
    *pieces, last = ask("lea", "DiscloseInquiry", inquiry_id=row.id, recipient=certificate().public_bytes(Encoding.PEM))
    assert last.packages == 1
    package = read_package(b"".join(piece.chunk for piece in pieces), certificate(), KEY)
    assert package.parts[f"{answer.case_id}/media/{answer.verdict_id}"] == png(1)
    assert package.manifest_digest == last.manifest_digest
    ask("lea", "StepInquiry", inquiry_id=row.id, step="FULFIL", text="package handed over")
    (hold,) = ask("ann", "GetCase", case_id=answer.case_id).holds
    assert "no end" in refused(
        grpc.StatusCode.FAILED_PRECONDITION, ask, "lea", "RenewHold", case_id=answer.case_id, hold_id=hold.id,
        reference="8",
    )  # fmt: skip
    assert not ask("bob", "ListReports", case_id=answer.case_id).reports
    refused(grpc.StatusCode.NOT_FOUND, ask, "bob", "WithdrawReport", report_id="r_none.0")
    refused(grpc.StatusCode.NOT_FOUND, ask, "bob", "ResumeReport", report_id="r_none.0")
    assert row.id not in [one.id for one in ask("lea", "ListInquiries").inquiries]
    assert {one.id: one.state for one in ask("lea", "ListInquiries", all=True).inquiries}[row.id] == "FULFILLED"


def test_a_second_look_does_not_tell_the_first(office):
    ask = office.ask
    for _ in range(12):  # a new reviewer is looked at at every fifth decision or oftener
        case_id = upload(office).case_id
        ask("ann", "ClaimCase", case_id=case_id)
        ask("ann", "DecideCase", case_id=case_id, decision=CONFIRM, reason_codes=["SEEN"])
        if reviews := ask("rita", "ListBlindReviews").reviews:
            break
    review, *_ = reviews
    told = ask("rita", "GetCase", case_id=review.case_id)
    assert not told.case.reviews
    assert not told.case.state
    assert not told.dispatches
    every = [state for state in cases_pb2.CaseState.values() if state]
    assert review.case_id not in [c.id for c in ask("rita", "ListCases", states=every).cases]
    assert review.case_id in [c.id for c in ask("ann", "ListCases", states=every).cases]
    # Who is told of decisions by other ways is not asked.
    assert not ask("bob", "ListBlindReviews").reviews
    assert ask("rita", "ReviewBlind", review_id=review.id, decision=CONFIRM).review.first == CONFIRM
    assert review.id not in [one.id for one in ask("rita", "ListBlindReviews").reviews]


def test_a_lost_master_key_is_told_at_the_start(office):
    upload(office)
    office.stop()
    (office.state.parent / "master").unlink()
    create_master_file(office.state.parent / "master")
    with pytest.raises(AssertionError, match="not open it"):
        office.serve("--workers", "1")
