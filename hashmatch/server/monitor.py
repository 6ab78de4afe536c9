"""Metrics and probes over HTTP, on an address of their own: for a scraper and for whoever restarts and routes.

    /metrics   Prometheus' text format
    /livez     200 while a restart would cure nothing; 503 with the reason once only a restart does
    /readyz    200 while verdicts may be given; 503 with the reason

Plain HTTP from the standard library, on threads of its own: a probe is answered while the event loop is busy, which is
how a loop that hangs is noticed at all. There is nothing here about media, entries or subjects.
"""

from __future__ import annotations

import logging
import socketserver
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CONTENT_TYPE_LATEST

from hashmatch.address import Address
from hashmatch.errors import BadConfig

PREFERRED = Address("127.0.0.1", 9464)  # the port that OpenTelemetry's Prometheus exporters use
REQUEST_SECONDS = 5.0  # for a request to arrive

trace = logging.getLogger(__name__)


class Monitor:
    """Serves until closed."""

    def __init__(
        self, listen: str, *, text: Callable[[], bytes], live: Callable[[], str], ready: Callable[[], str]
    ) -> None:
        """Starts listening. `live` and `ready` say why not, "" where all is well; they are called on other threads.

        Raises:
            BadConfig: the address cannot be used.
        """

        class Handler(BaseHTTPRequestHandler):
            timeout = REQUEST_SECONDS
            server_version, sys_version = "hashmatch", ""

            def do_GET(self) -> None:
                if self.path == "/metrics":
                    self._answer(200, text(), CONTENT_TYPE_LATEST)
                elif self.path in ("/livez", "/readyz"):
                    why = (live if self.path == "/livez" else ready)()
                    self._answer(503 if why else 200, (why or "ok").encode() + b"\n", "text/plain; charset=utf-8")
                else:
                    self._answer(404, b"there are /metrics, /livez and /readyz\n", "text/plain; charset=utf-8")

            def _answer(self, code: int, body: bytes, content_type: str) -> None:
                self.send_response(code)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("X-Content-Type-Options", "nosniff")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass  # a scraper every few seconds is no news

        self._server = _listening(listen, Handler)
        host, port = self._server.server_address[:2]
        self.address = str(Address(str(host), int(port)))
        self._thread = threading.Thread(target=self._server.serve_forever, name="monitor", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: Address, handler: Callable[..., socketserver.BaseRequestHandler]) -> None:
        self.address_family = address.family
        super().__init__((address.host, address.port), handler)

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a scraper that hung up


def _listening(listen: str, handler: Callable[..., socketserver.BaseRequestHandler]) -> ThreadingHTTPServer:
    if listen == "auto":
        try:
            return _Server(PREFERRED, handler)
        except OSError:
            return _Server(PREFERRED.at(0), handler)
    try:
        return _Server(Address.parse(listen), handler)
    except OSError as e:
        raise BadConfig(f"cannot serve metrics on {listen}: {e.strerror}") from e
