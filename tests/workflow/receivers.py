"""A platform's side of a webhook, over real HTTP: verifies with the standard's own library, does what it is told."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks import Webhook as Reference

SECRET = "whsec_" + "c2VjcmV0IG9mIHRoZSB0ZXN0cyBvbmx5ISE="


class Receiver:
    """What came, by id; answers as `behave` says: a status, or a function of the number of the call."""

    def __init__(self):
        self.behave = lambda _number: 200
        self.body = b""
        self.headers = {}
        self.calls = []  # id, verb, content
        self.done = {}  # what an idempotent receiver has done: the event by id
        self.lock = threading.Lock()
        self.url = ""

    def verbs(self):
        return [verb for _, verb, _ in self.calls]


@contextmanager
def receiving():
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            Reference(SECRET).verify(body, dict(self.headers))
            event = json.loads(body)
            with receiver.lock:
                number = len(receiver.calls)
                receiver.calls.append((self.headers["webhook-id"], event["data"]["verb"], event["data"]["content_id"]))
            status = receiver.behave(number)
            if status == "hang":
                time.sleep(30)
            if status == "reset":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.close_connection = True
                return
            if 200 <= status < 300:
                with receiver.lock:
                    receiver.done[self.headers["webhook-id"]] = event
            self.send_response(status)
            for name, value in receiver.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(receiver.body)))
            self.end_headers()
            self.wfile.write(receiver.body)

        def log_message(self, *_):
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_):
            pass

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    receiver.url = f"http://127.0.0.1:{server.server_address[1]}/hook"
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
