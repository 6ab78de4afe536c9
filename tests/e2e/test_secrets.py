"""Secrets of a destination, made by the verb and exchanged under a real server that sends."""

from __future__ import annotations

import importlib
import json
import os
import stat
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from pictures import png

from hashmatch.delivery.standard_webhooks import verify
from hashmatch.errors import Malformed
from hashmatch.types import Subject

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture
def arrived():
    """Where a platform is, and the headers and bodies that came."""
    came = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            came.append((dict(self.headers), self.rfile.read(int(self.headers["content-length"]))))
            answer = b'{"status": "confirmed"}'
            self.send_response(200)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/", came
    server.shutdown()
    thread.join()
    server.server_close()


def verifies(key, headers, body):
    try:
        return bool(verify(key, headers, body, now=datetime.now(UTC)))
    except Malformed:
        return False


def test_the_verb_makes_a_pair_whose_public_key_the_sample_receiver_verifies_by(
    deployment, tmp_path, arrived, monkeypatch
):
    monkeypatch.syspath_prepend(TOOLS)
    receiver_of = importlib.import_module("demo_outside").Platform
    url, came = arrived
    file = tmp_path / "platform.secrets"
    (made,) = deployment.json("outbox", "secret", "--ed25519", "--to", file)
    public = made["public"]
    assert "secret" not in made
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    deployment.run("outbox", "secret", "--to", file, expect=65)  # it is there already
    (tmp_path / "workflow.toml").write_text(
        f'[[destination]]\nname = "platform"\nurl = "{url}"\nsecrets = "{file}"\nallow = ["127.0.0.0/8"]\n'
    )
    deployment.environ["HASHMATCH_WORKFLOW"] = str(tmp_path / "workflow.toml")
    deployment.list_known((1, "pdq"))
    deployment.run("lists", "policy", "known", "--trust", "verified", "--disposition", "block", "--reason", "theirs")
    deployment.serve("--workers", "1")
    trace = tmp_path / "trace"

    def about(number):
        return [one for one in list(came) if json.loads(one[1])["data"]["content_id"] == f"c{number}"]

    def next_delivery(number):
        """The first that was asked for since: what was asked for earlier may come between."""
        with deployment.client() as client:
            client.match(png(1), subject=Subject(content_id=f"c{number}", uploader_id=f"u{number}"))
        deployment.wait_for(lambda: about(number))
        return about(number)[0]

    headers, body = next_delivery(1)
    receiver = receiver_of(public)
    assert receiver.receive(headers, body)[0] == 200
    assert list(receiver.done.values()) == [(json.loads(body)["data"]["verb"], "c1")]
    assert receiver.receive(headers, body + b" ")[0] == 401

    (shared,) = deployment.json("outbox", "secret")
    with file.open("a") as opened:
        opened.write(shared["secret"] + "\n")
    headers, body = next_delivery(2)
    assert (verifies(public, headers, body), verifies(shared["secret"], headers, body)) == (True, True)

    old = file.read_text()
    file.write_text("whsec_short")
    headers, body = next_delivery(3)
    assert (verifies(public, headers, body), verifies(shared["secret"], headers, body)) == (True, True)
    assert "the old ones stay" in trace.read_text()
    assert shared["secret"].removeprefix("whsec_") not in trace.read_text()

    draft = tmp_path / "draft"
    draft.write_text(old.splitlines()[1])
    draft.chmod(0o600)
    os.replace(draft, file)
    headers, body = next_delivery(4)
    assert (verifies(public, headers, body), verifies(shared["secret"], headers, body)) == (False, True)


def test_without_a_file_the_private_key_is_on_standard_output_alone(deployment):
    private = deployment.run("outbox", "secret", "--ed25519")
    assert private.startswith("whsk_")
    assert "whpk_" not in private
    assert "whpk_" in deployment.stderr
