"""The imitated CyberTipline over HTTP/1.1, with whatever is to go wrong. On loopback only.

Every reply that is given has a `Request-ID`. A connection that a fault ends gets no byte of a reply.
"""

from __future__ import annotations

import secrets
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol

from hashmatch.errors import Unavailable
from hashmatch.simulate.answers import Answer
from hashmatch.simulate.bodies import PIECE, Body, CutOff
from hashmatch.simulate.faults import Fault, Kind
from hashmatch.simulate.spoiling import instead, spoilt

HOST = "127.0.0.1"
OTHER_NAME = "localhost"  # the same machine, and to a client another host
ELSEWHERE = "/elsewhere"  # where redirects lead
SECONDS = 60  # that a silent connection is kept


class Service(Protocol):
    """What is served. For any thread."""

    def arrived(self, path: str) -> Fault | None:
        """A request came, of which no more than its path is known; what is to go wrong with it."""

    def answer(self, method: str, path: str, *, authorization: str, content_type: str, body: Body, peer: str) -> Answer:
        """Do what is asked, and say how it went."""


class Server(ThreadingHTTPServer):
    """One listening socket and its connections."""

    block_on_close = False
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, service: Service, port: int) -> None:
        """
        Args:
            port: 0 takes a free one.

        Raises:
            Unavailable: the port is taken.
        """
        self.service = service
        self.stopping = threading.Event()
        self._connections: set[socket.socket] = set()  # guarded by _lock
        self._lock = threading.Lock()
        try:
            super().__init__((HOST, port), _Handler)
        except (OSError, OverflowError) as e:
            raise Unavailable(f"port {port}: {e}") from e

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        with self._lock:
            self._connections.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), (OSError, CutOff)):  # clients go away; that is theirs to do
            super().handle_error(request, client_address)

    def stop(self) -> None:
        """End it, with every connection that is open."""
        self.stopping.set()
        self.shutdown()
        self.server_close()
        with self._lock:
            for connection in self._connections:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue  # it ended meanwhile


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    timeout = SECONDS
    wbufsize = -1  # headers and body leave together

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def end_headers(self) -> None:
        self.send_header("Request-ID", secrets.token_hex(16))
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass  # a path or a header may hold what is nobody's business

    def _serve(self) -> None:
        try:
            body = Body(self.rfile, self.headers)
            path = self.path.partition("?")[0]
            fault = self.server.service.arrived(path)
            if fault is not None and fault.kind is Kind.DROPPED:
                self.close_connection = True
                return
            answer = self._answer(path, body, fault)
            body.drain()
            if fault is not None:
                if fault.kind is Kind.LOST_REPLY:
                    self.close_connection = True
                    return
                if fault.kind is Kind.SLOW and self.server.stopping.wait(fault.amount):
                    self.close_connection = True
                    return
                answer = spoilt(answer, fault)
            self._write(answer)
        except (CutOff, OSError):
            self.close_connection = True

    def _answer(self, path: str, body: Body, fault: Fault | None) -> Answer:
        if fault is not None:
            other = instead(fault, elsewhere=f"http://{OTHER_NAME}:{self.server.server_port}{ELSEWHERE}")
            if other is not None:
                return other
        return self.server.service.answer(
            self.command,
            path,
            authorization=self.headers.get("Authorization", ""),
            content_type=self.headers.get("Content-Type", ""),
            body=body,
            peer=str(self.client_address[0]),
        )

    def _write(self, answer: Answer) -> None:
        self.send_response(answer.status)
        if answer.body:
            self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body) + answer.padding))
        for name, value in answer.headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body[: answer.pad_at])
        for sent in range(0, answer.padding, PIECE):
            self.wfile.write(b" " * min(PIECE, answer.padding - sent))
        self.wfile.write(answer.body[answer.pad_at :])
        self.wfile.flush()
