"""The log as an auditor meets it: over gRPC and by the command line, from a real server that is killed and goes on."""

from __future__ import annotations

import base64
import contextlib
import http.server
import os
import signal
import threading
from pathlib import Path

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pictures import png

from hashmatch.audit import note, tree, verify
from hashmatch.audit.export import write
from hashmatch.audit.ledger import Ledger
from hashmatch.client import Client, Finding
from hashmatch.v1 import log_pb2, log_pb2_grpc
from hashmatch.v1.audit_pb2 import Event


@contextlib.contextmanager
def audit(deployment):
    with grpc.insecure_channel(deployment.address) as channel:
        yield log_pb2_grpc.AuditServiceStub(channel)


def facts(deployment) -> list[str]:
    with contextlib.closing(Ledger(deployment.state, readonly=True)) as ledger:
        return [event.WhichOneof("fact") for event in ledger.events(limit=10_000)]


def matched(client, *requests: str) -> list[str]:
    answers = [client.match(png(1), request_id=request) for request in requests]
    assert {answer.finding for answer in answers} == {Finding.FINDING_MATCH}
    return [answer.verdict_id for answer in answers]


def test_an_auditor_trusts_nobody(deployment, tmp_path):
    deployment.list_known((1, "pdq"), (2, "sha256"))
    deployment.run("keys", "create", "eu", "--role", "uploader")
    deployment.environ["HASHMATCH_AUTH"] = "open"
    deployment.environ["HASHMATCH_LOG_PUBLISH"] = str(tmp_path / "public")
    deployment.serve()
    with Client(deployment.address) as client, audit(deployment) as log:
        ids = matched(client, "a", "b", "c")
        client.match(png(9))
        kept = log.GetCheckpoint(log_pb2.GetCheckpointRequest(fresh=True))
        key = note.VerifierKey.parse(kept.key)
        signed = note.parse_note(kept.checkpoint)
        assert note.verified(signed, [key]) == [key]
        checkpoint = note.Checkpoint.parse(signed.text)

        proof = log.ProveInclusion(log_pb2.ProveInclusionRequest(verdict_id=ids[0], size=checkpoint.size))
        leaf = tree.leaf_hash(proof.leaf)
        assert tree.verify_inclusion(leaf, proof.sequence - 1, proof.size, proof.proof, checkpoint.root)
        event = Event.FromString(proof.leaf)
        assert (event.verdict.verdict_id, event.verdict.HasField("subject")) == (ids[0], False)
        assert not any(hashed.fingerprint.value for hashed in event.verdict.hashed)
        assert all(hashed.digest for hashed in event.verdict.hashed if not hashed.unhashable)

        matched(client, "d")
        newer = log.GetCheckpoint(log_pb2.GetCheckpointRequest(fresh=True))
        size = note.Checkpoint.parse(note.parse_note(newer.checkpoint).text).size
        between = log.ProveConsistency(log_pb2.ProveConsistencyRequest(old_size=checkpoint.size, new_size=size))
        assert tree.verify_consistency(checkpoint.size, checkpoint.root, size, between.new_root, between.proof)

        replayed = log.ReplayVerdict(log_pb2.ReplayVerdictRequest(verdict_id=ids[1]))
        assert (list(replayed.differences), replayed.unreplayable) == ([], "")
        deployment.run(
            "lists",
            "suppress",
            "known",
            *suppressed(deployment),
            "--expires",
            "30d",
            "--reason",
            "mistaken",
            "--approver",
            "bob",
        )
        deployment.wait_for(lambda: today(log, ids[1]).finding == Finding.FINDING_NO_MATCH)
        assert list(log.ReplayVerdict(log_pb2.ReplayVerdictRequest(verdict_id=ids[1])).differences) == []

        parts = log.ExportLog(log_pb2.ExportLogRequest(first=1))
        write(((part.path, part.piece) for part in parts), tmp_path / "export")
        pages = paged(log, log_pb2.ListEventsRequest(types=["verdict"], page_size=2))
        assert [event.verdict.verdict_id for event in pages][:3] == ids
        reads = paged(log, log_pb2.ListEventsRequest(types=["log_read"]))
        assert [event.log_read.how for event in reads].count("ListEvents") == 2  # not one for each page
    report = verify.verify(tmp_path / "export", [verify.key_of(kept.key)], since=kept.checkpoint)
    assert report.problems == []
    assert {verify.VERDICT, verify.LIST_CHANGED, verify.CREDENTIAL, verify.STARTED} <= report.facts.keys()
    deployment.wait_for(lambda: list((tmp_path / "public").glob("*.note")))
    published = max((tmp_path / "public").glob("*.note"))
    assert note.verified(note.parse_note(published.read_bytes()), [key]) == [key]
    assert deployment.stop() == 0
    assert facts(deployment)[-2:] == ["counted", "stopped"]


def today(log, verdict_id):
    return log.ReplayVerdict(log_pb2.ReplayVerdictRequest(verdict_id=verdict_id, today=True))


def suppressed(deployment) -> list[str]:
    return [row["entry_id"] for row in deployment.json("lists", "browse", "known") if row.get("hash_type", "pdq")][:1]


def paged(log, request) -> list[Event]:
    found = []
    while True:
        answer = log.ListEvents(request)
        found += answer.events
        if not answer.next_page_token:
            return found
        request.page_token = answer.next_page_token


def test_what_cannot_be_asked(deployment):
    deployment.list_known((1, "pdq"))
    deployment.serve()
    with audit(deployment) as log:
        for call, request in (
            (log.ListEvents, log_pb2.ListEventsRequest(page_token="x")),  # noqa: S106 - no password
            (log.ListEvents, log_pb2.ListEventsRequest(page_size=1001)),
            (log.ListEvents, log_pb2.ListEventsRequest(types=["nothing"])),
            (log.ListEvents, log_pb2.ListEventsRequest(least_distance=9, most_distance=3)),
            (log.GetCheckpoint, log_pb2.GetCheckpointRequest(size=10**9)),
            (log.ProveInclusion, log_pb2.ProveInclusionRequest(sequence=10**9)),
            (log.ProveConsistency, log_pb2.ProveConsistencyRequest(old_size=5, new_size=10**9)),
        ):
            with pytest.raises(grpc.RpcError) as e:
                call(request)
            assert e.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        with pytest.raises(grpc.RpcError) as e:
            log.ReplayVerdict(log_pb2.ReplayVerdictRequest(verdict_id="v_0"))
        assert e.value.code() == grpc.StatusCode.NOT_FOUND
        with pytest.raises(grpc.RpcError) as e:
            list(log.ExportLog(log_pb2.ExportLogRequest(first=10**9)))
        assert e.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_a_crash_is_a_gap_and_the_log_still_verifies(deployment, tmp_path):
    deployment.list_known((1, "pdq"))
    for crash in range(3):
        deployment.serve()
        with Client(deployment.address) as client:
            ids = matched(client, f"{crash}a", f"{crash}b")
        deployment.process.send_signal(signal.SIGKILL)
        deployment.process.wait(30)
        deployment.process.stdout.close()
        deployment.trace.close()
    assert facts(deployment).count("gap") == 2
    deployment.serve()
    deployment.stop()
    assert facts(deployment).count("gap") == 3
    (tmp_path / "key").write_text(deployment.run("log", "checkpoint", "--verifier-key"))
    deployment.run("log", "export", tmp_path / "export")
    told = deployment.json("log", "verify", tmp_path / "export", "--key", tmp_path / "key")[0]
    assert (told["sound"], len([one for one in told["notes"] if "crashed" in one])) == (True, 3)
    (tmp_path / "proof").write_text(deployment.run("log", "prove", ids[0]))
    deployment.run("log", "verify", tmp_path / "proof", "--key", tmp_path / "key")
    deployment.run("log", "replay", "--since", 1)
    deployment.run("check")


class Taking(http.server.BaseHTTPRequestHandler):
    """An object store that takes what it has not."""

    def do_PUT(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.headers["If-None-Match"] == "*"
        status = 412 if self.path in self.server.taken else self.server.status
        if status == 201:
            self.server.taken[self.path] = body
        self.send_response(status)
        self.end_headers()

    def log_message(self, *_):
        pass


def test_checkpoints_are_published_once_the_place_is_there(deployment, tmp_path):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Taking) as store:
        store.taken, store.status = {}, 503
        threading.Thread(target=store.serve_forever, daemon=True).start()
        deployment.list_known((1, "pdq"))
        deployment.environ["HASHMATCH_LOG_PUBLISH"] = f"http://127.0.0.1:{store.server_port}/log/"
        deployment.serve()
        deployment.wait_for(lambda: "was not published: a checkpoint was refused: HTTP 503" in trace(deployment))
        store.status = 201
        deployment.wait_for(lambda: store.taken)
        deployment.wait_for(lambda: "published again" in trace(deployment))
        (path, body), *_ = store.taken.items()
        assert path == f"/log/{note.Checkpoint.parse(note.parse_note(body).text).size:020}.note"
        deployment.stop()
        store.shutdown()


class Witnessing(http.server.BaseHTTPRequestHandler):
    """A witness as c2sp.org/tlog-witness says: it signs what continues what it has seen."""

    KEY = Ed25519PrivateKey.from_private_bytes(bytes([9]) * 32)

    def do_POST(self):
        assert self.path == "/w/add-checkpoint"
        body = self.rfile.read(int(self.headers["Content-Length"]))
        head, _, checkpoint = body.partition(b"\n\n")
        old, *proof = head.decode().split("\n")
        text = note.parse_note(checkpoint).text
        new = note.Checkpoint.parse(text)
        size, root = self.server.seen
        if old != f"old {size}":
            return self._answer(409, f"{size}\n".encode(), "text/x.tlog.size")
        steps = [base64.b64decode(step) for step in proof]
        if size and not tree.verify_consistency(size, root, new.size, new.root, steps):
            return self._answer(422)
        self.server.seen = new.size, new.root
        return self._answer(200, note.cosign("witness.example", self.KEY, text, 1_795_000_000))

    def _answer(self, code, body=b"", kind="text/plain"):
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def test_witnesses_cosign_what_continues_what_they_saw(deployment, tmp_path):
    key = note.VerifierKey("witness.example", note.COSIGNATURE, Witnessing.KEY.public_key().public_bytes_raw())
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Witnessing) as witness:
        witness.seen = 0, b""
        threading.Thread(target=witness.serve_forever, daemon=True).start()
        deployment.list_known((1, "pdq"))
        (tmp_path / "hashmatch.toml").write_text(
            f'log_witnesses = ["http://127.0.0.1:{witness.server_port}/w {key}"]\n'
        )
        for _ in range(2):  # the second process does not know how far the witness is, and is told
            begun = witness.seen[0]
            deployment.serve("--config", str(tmp_path / "hashmatch.toml"))
            deployment.wait_for(lambda begun=begun: witness.seen[0] > begun)
            deployment.wait_for(lambda: cosigned(deployment, witness.seen[0], key))
            deployment.stop()
        witness.shutdown()


def cosigned(deployment, size, key) -> bool:
    with contextlib.closing(Ledger(deployment.state, readonly=True)) as ledger, ledger.reading() as log:
        return note.verified(note.parse_note(log.checkpoint(size)), [key]) == [key]


def trace(deployment) -> str:
    return Path(deployment.trace.name).read_text()


def test_a_key_that_others_may_read_signs_nothing(deployment):
    deployment.list_known((1, "pdq"))
    deployment.serve()
    deployment.stop()
    key = deployment.state / "keys" / "log.key"
    key.chmod(0o644)
    deployment.run("serve", "--listen", "127.0.0.1:0", expect=78)
    assert "chmod 600" in deployment.stderr
    key.chmod(0o600)
    key.write_bytes(os.urandom(32))
    deployment.run("serve", "--listen", "127.0.0.1:0", expect=70)
    assert "not the key that this log is signed by" in deployment.stderr


def test_a_proof_of_another_event_does_not_verify(deployment, tmp_path):
    deployment.list_known((1, "pdq"))
    deployment.serve()
    with Client(deployment.address) as client:
        first, second = matched(client, "a", "b")
    (tmp_path / "key").write_text(deployment.run("log", "checkpoint", "--verifier-key"))
    proofs = [deployment.run("log", "prove", one).split("\n") for one in (first, second)]
    proofs[0][1] = proofs[1][1]  # the other's leaf
    assert base64.b64decode(proofs[0][1].removeprefix("extra "))
    (tmp_path / "proof").write_text("\n".join(proofs[0]))
    deployment.run("log", "verify", tmp_path / "proof", "--key", tmp_path / "key", expect=1)
    deployment.stop()
