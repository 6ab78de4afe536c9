"""Other people's services, over real sockets and TLS: they answer as told, and keep what they were told."""

from __future__ import annotations

import base64
import json
import socket
import threading
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from hashmatch.delivery.addresses import Egress
from hashmatch.delivery.paging.note import Note

HOST = "pager.example"
HERE = Egress(["127.0.0.0/8"])
SECONDS = 0.25  # that the tests give a service which hangs


def here(_host, _port):
    """Where every name is."""
    return ["127.0.0.1"]


def note(**changed):
    given = {"page_id": "pg_1", "case_id": "c_1", "tier": 0, "drill": False, "text": "T0 case c_1", "to": "ana"}
    return Note(**given | changed)


@dataclass
class Service:
    """A service over HTTPS. `body` may be a function of what was asked."""

    status: int = 202
    headers: dict = field(default_factory=dict)
    body: bytes = b""
    raw: object = None  # writes its own answer, whatever it is, given the request
    asked: list = field(default_factory=list)  # path, headers, JSON
    released: threading.Event = field(default_factory=threading.Event)
    port: int = 0

    def hang(self, _handler, _body):
        self.released.wait(10)

    @property
    def url(self):
        return f"https://{HOST}:{self.port}"

    @property
    def told(self):
        return [body for _, _, body in self.asked]


@contextmanager
def serving(tls):
    service = Service()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            service.asked.append((self.path, dict(self.headers), json.loads(body)))
            if service.raw:
                self.close_connection = True
                service.raw(self, body)
                return
            self.send_response(service.status)
            for name, value in {"content-length": str(len(service.body)), **service.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(service.body)

        def log_message(self, *_):
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_):
            pass

    server = Server(("127.0.0.1", 0), Handler)
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    service.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.005})
    thread.start()
    try:
        yield service
    finally:
        service.released.set()
        server.shutdown()
        thread.join()
        server.server_close()


class Post:
    """A server of mail. `replies` has, by verb, what it says instead, or a function that says it; END: after a mail."""

    def __init__(self, tls, *, implicit):
        self.tls, self.implicit = tls, implicit
        self.replies, self.said, self.mails, self.logins = {}, [], [], []
        self.envelopes = []
        self.released = threading.Event()
        self.port = 0

    def hang(self, _connection):
        self.released.wait(10)

    def drip(self, connection):
        with suppress(OSError):
            while not self.released.wait(0.02):
                connection.sendall(b"2")

    def flood(self, connection):
        with suppress(OSError):
            while not self.released.is_set():
                connection.sendall(b"250-more\r\n" * 1000)

    def talk(self, connection):
        with ExitStack() as opened:
            self._talk(connection, opened)

    def _talk(self, connection, opened):
        secure = self.implicit
        if secure:
            connection = opened.enter_context(self.tls.wrap_socket(connection, server_side=True))
        lines = opened.enter_context(connection.makefile("rb"))
        self.say(connection, "HELLO", b"220 at your service\r\n")
        while line := lines.readline():
            verb = line.split()[0].decode().upper()
            self.said.append((verb, secure))
            if verb == "EHLO":
                self.say(connection, verb, b"250-me\r\n250 AUTH PLAIN\r\n" if secure else b"250-me\r\n250 STARTTLS\r\n")
            elif verb == "STARTTLS":
                self.say(connection, verb, b"220 go on\r\n")
                connection, secure = opened.enter_context(self.tls.wrap_socket(connection, server_side=True)), True
                lines = opened.enter_context(connection.makefile("rb"))
            elif verb == "AUTH":
                self.logins.append(base64.b64decode(line.split()[2]).split(b"\0")[1:])
                self.say(connection, verb, b"235 welcome\r\n")
            elif verb == "DATA":
                self.say(connection, verb, b"354 go on\r\n")
                mail = b""
                while (more := lines.readline()) not in (b".\r\n", b""):
                    mail += more.removeprefix(b".")
                self.mails.append(mail)
                self.say(connection, "END", b"250 taken\r\n")
            elif verb == "QUIT":
                break
            else:
                self.envelopes.append(line.decode().strip())
                self.say(connection, verb, b"250 well\r\n")

    def say(self, connection, what, usual):
        reply = self.replies.get(what, usual)
        if callable(reply):
            reply(connection)
        else:
            connection.sendall(reply)


@contextmanager
def posting(tls, *, implicit=False):
    post = Post(tls, implicit=implicit)
    with socket.create_server(("127.0.0.1", 0)) as server:
        post.port = server.getsockname()[1]
        server.settimeout(0.005)
        stop = threading.Event()

        def serve():
            while not stop.is_set():
                try:
                    connection, _ = server.accept()
                except TimeoutError:
                    continue
                connection.settimeout(5)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
                with connection, suppress(OSError):
                    post.talk(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield post
        finally:
            post.released.set()
            stop.set()
            thread.join()
