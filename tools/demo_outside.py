"""What lies outside in the demonstration: a platform that takes instructions, and an imitation of the CyberTipline."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from hashmatch import clock
from hashmatch.delivery import standard_webhooks
from hashmatch.errors import Malformed
from hashmatch.simulate.cybertipline import CyberTipline, Settings
from hashmatch.simulate.cybertipline import serving as simulated


class Platform:
    """A sample receiver: verifies each instruction, does it once, and confirms it in its answer."""

    def __init__(self, key: str) -> None:
        """`key`: the shared secret (whsec_), or the public key (whpk_) of what signs."""
        self._key = key
        self._lock = threading.Lock()
        self.done: dict[str, tuple[str, str]] = {}  # verb and content, by webhook-id

    def receive(self, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        """Status and answer."""
        try:
            id_ = standard_webhooks.verify(self._key, headers, body, now=clock.now())
        except Malformed:
            return 401, b""
        data = json.loads(body)["data"]
        with self._lock:  # the same id again is the same instruction: it is done already
            self.done.setdefault(id_, (data["verb"], data["content_id"] or "the account"))
        return 200, b'{"status": "confirmed"}'


@contextmanager
def outside(folder: Path) -> Iterator[tuple[Platform, CyberTipline, Path]]:
    """The platform, the imitation, and the workflow's file that names both."""
    secret, public = standard_webhooks.new_key_pair()
    platform = Platform(public)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            status, answer = platform.receive(dict(self.headers), body)
            self.send_response(status)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Says nothing: the table does."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    known = Settings()
    for name, text in (("platform.secrets", secret), ("ncmec", f"{known.user}\n{known.password}")):
        (folder / name).touch(mode=0o600)
        (folder / name).write_text(text)
    try:
        with simulated() as authority:
            file = folder / "workflow.toml"
            file.write_text(
                f'[[destination]]\nname = "platform"\nurl = "http://127.0.0.1:{server.server_address[1]}/"\n'
                f'secrets = "{folder / "platform.secrets"}"\nallow = ["127.0.0.0/8"]\n\n'
                f'[reporting]\ncredentials = "{folder / "ncmec"}"\nurl = "{authority.url}"\n'
                'company = "Demonstration"\nemail = "reports@example.com"\n'
            )
            yield platform, authority, file
    finally:
        server.shutdown()
        server.server_close()
