"""A server that answers as it is told to, and breaks in ways that no imitation of the service does."""

from __future__ import annotations

import hashlib
import io
import threading
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
from delivery.cybertip.samples import NOW, TEST, minimal, viewed

from hashmatch.delivery.cybertip.client import CyberTipline
from hashmatch.delivery.cybertip.errors import Undelivered
from hashmatch.delivery.cybertip.service import TIMEOUTS, Credentials
from hashmatch.delivery.cybertip.terms import ReportId

USER, PASSWORD = "esp-user", "pass-word-1"
ID = ReportId(7855771, TEST)
FILE = b"benign bytes" * 100
MD5 = hashlib.md5(FILE, usedforsecurity=False)

CALLS = {
    "status": lambda one: one.status(),
    "submit": lambda one: one.submit(minimal(), [viewed()]),
    "upload": lambda one: one.upload(ID, io.BytesIO(FILE), size=len(FILE)),
    "fileinfo": lambda one: one.detail(ID, "f" * 32, viewed()),
    "finish": lambda one: one.finish(ID),
    "retract": lambda one: one.retract(ID),
}


def told(code=0, description="Success", **more):
    inside = "".join(f"<{name}>{value}</{name}>" for name, value in more.items())
    text = f"<responseCode>{code}</responseCode><responseDescription>{description}</responseDescription>{inside}"
    return f"<?xml version='1.0' encoding='UTF-8'?><reportResponse>{text}</reportResponse>".encode()


def done(*file_ids, report_id=ID.number):
    files = "".join(f"<fileId>{one}</fileId>" for one in file_ids)
    text = f"<responseCode>0</responseCode><reportId>{report_id}</reportId><files>{files}</files>"
    return f"<reportDoneResponse>{text}</reportDoneResponse>".encode()


def uploaded(**changes):
    return told(**{"reportId": ID.number, "fileId": "f" * 32, "hash": MD5.hexdigest(), **changes})


class Server:
    """One port; what it answers is set for each test."""

    def __init__(self):
        self.seen, self.script = [], None
        self._clients, self._open = {}, ExitStack()
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"owner": self}))
        server.handle_error = lambda *_: None  # clients leave early, as some tests want
        self.url = f"http://127.0.0.1:{server.server_port}/ispws"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        self._open.callback(server.server_close)
        self._open.callback(thread.join)
        self._open.callback(server.shutdown)

    def client(self, timeouts=TIMEOUTS):
        """A client of this server; making one is what takes time, so it is kept."""
        if timeouts not in self._clients:
            made = CyberTipline(
                Credentials(TEST, USER, PASSWORD), base_url=self.url, timeouts=timeouts, now=lambda: NOW
            )
            self._clients[timeouts] = self._open.enter_context(made)
        return self._clients[timeouts]

    @contextmanager
    def answers(self, *, status=200, body=b"", headers=(), act=None):
        """Every request gets one answer, or `act` does with its handler what it likes. Yields the requests."""
        self.seen, self.script = [], (status, body, headers, act)
        yield self.seen

    def failure_of(self, name, timeouts=TIMEOUTS, **answer):
        """The error that a call ends with."""
        with self.answers(**answer), pytest.raises(Undelivered) as raised:
            CALLS[name](self.client(timeouts))
        return raised.value

    def close(self):
        self._open.close()


class _Handler(BaseHTTPRequestHandler):
    owner: Server

    def _answer(self):
        seen, (status, body, headers, act) = self.owner.seen, self.owner.script
        sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        seen.append(SimpleNamespace(method=self.command, path=self.path, headers=self.headers, body=sent))
        if act is not None:
            act(self)
            return
        self.send_response(status)
        for name, value in (("Content-Length", str(len(body))), ("Request-ID", "r-17"), *headers):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = _answer  # noqa: N815

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server():
    one = Server()
    yield one
    one.close()
