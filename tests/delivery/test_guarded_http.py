"""Calls over real sockets: only to addresses that were checked, never for longer than said, never elsewhere."""

from __future__ import annotations

import socket
import ssl
import sys
import threading
import time
from contextlib import ExitStack, contextmanager

import pytest
import trustme

from hashmatch.delivery.addresses import Egress
from hashmatch.delivery.guarded_http import MAX_ANSWER_BYTES, GuardedHttp, Unreachable
from hashmatch.errors import BadConfig

LOOPBACK = Egress(["127.0.0.0/8"])
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@contextmanager
def canary(answer=lambda peer: peer.sendall(OK), context=None):
    """A listener that counts its connections, and says how it was spoken to."""
    heard = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)
        stop = threading.Event()

        def serve():
            while not stop.is_set():
                try:
                    peer, _ = server.accept()
                except TimeoutError:
                    continue
                with peer:
                    peer.settimeout(5)
                    try:
                        talking = context.wrap_socket(peer, server_side=True) if context else peer
                        said = b""
                        while b"body" not in said and (more := talking.recv(65536)):
                            said += more
                        heard.append(said)
                        answer(talking)
                        if context:
                            talking.close()
                    except OSError as e:
                        heard.append(repr(e).encode())

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1], heard
        finally:
            stop.set()
            thread.join()


def post(url, egress=LOOPBACK, **options):
    client = GuardedHttp(url, egress, **{"seconds": 2.0, **options})
    try:
        return client.post(b"body", {"content-type": "text/plain"})
    finally:
        client.close()


def test_an_answer_comes_back():
    with canary() as (port, heard):
        answer = post(f"http://127.0.0.1:{port}/path")
    assert (answer.status, answer.body) == (200, b"ok")
    assert heard[0].startswith(b"POST /path HTTP/1.1\r\n")


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "2130706433", "0x7f000001", "127.1", "[::1]", "[::ffff:127.0.0.1]", "0.0", "[::]"],
)
def test_no_spelling_of_this_machine_is_reached(host):
    with canary() as (port, heard), pytest.raises(Unreachable):
        post(f"https://{host}:{port}/", Egress())
    assert heard == []


def test_a_name_that_changes_between_look_and_call_leads_nowhere_else():
    """Rebinding: public first, loopback afterwards. The address that was looked at is the one that is connected to."""
    with canary() as (port, heard):
        answers = iter([["192.0.2.1"], ["127.0.0.1"], ["127.0.0.1"]])
        for _ in range(2):
            with pytest.raises(Unreachable):
                post(f"https://rebound.example:{port}/", Egress(), resolver=lambda _host, _port: next(answers))
    assert heard == []


def test_a_name_with_one_private_address_among_public_ones_is_not_reached():
    with canary() as (port, heard), pytest.raises(Unreachable, match="may not be reached"):
        post(f"https://both.example:{port}/", Egress(), resolver=lambda _host, _port: ["8.8.8.8", "127.0.0.1"])
    assert heard == []


@contextmanager
def swallowing(port):
    """A listener on 127.0.0.2 that has so many waiting that it answers no connection any more."""
    with socket.create_server(("127.0.0.2", port), backlog=0) as server, ExitStack() as waiting:
        for _ in range(4):
            one = waiting.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(server.getsockname())
        time.sleep(0.05)
        yield


@pytest.mark.parametrize("dead", ["::1", "127.0.0.2", "127.0.0.3"])
def test_where_one_address_is_dead_the_next_is_tried(dead):
    reached = Egress(["127.0.0.0/8", "::1/128"])
    with canary() as (port, heard):
        answer = post(f"http://both.example:{port}/", reached, resolver=lambda _host, _port: [dead, "127.0.0.1"])
        assert (answer.status, len(heard)) == (200, 1)
        assert f"Host: both.example:{port}".encode().lower() in heard[0].lower()
        assert post(f"http://both.example:{port}/", reached, resolver=lambda _h, _p: ["127.0.0.1", dead]).status == 200


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere this machine has one loopback address")
def test_an_address_that_swallows_everything_leaves_time_for_the_next_and_all_of_them_have_the_time_of_one_call():
    with canary() as (port, _), swallowing(port):
        url = f"http://both.example:{port}/"
        assert post(url, resolver=lambda _host, _port: ["127.0.0.2", "127.0.0.1"], seconds=1.0).status == 200
        began = time.monotonic()
        with pytest.raises(Unreachable):
            post(url, resolver=lambda _host, _port: ["127.0.0.2"] * 5, seconds=0.5)
        assert time.monotonic() - began < 1.5


def test_the_second_address_is_not_reached_where_the_first_is_forbidden():
    with canary() as (port, heard), pytest.raises(Unreachable, match="may not be reached"):
        post(f"http://both.example:{port}/", resolver=lambda _host, _port: ["10.0.0.1", "127.0.0.1"])
    assert heard == []


def test_in_clear_only_what_is_allowed_by_name():
    with pytest.raises(Unreachable, match="in clear"):
        post("http://public.example/", Egress(), resolver=lambda _host, _port: ["8.8.8.8"])


def test_tls_speaks_to_the_name_at_the_address_that_was_checked(tmp_path):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("platform.example").configure_cert(context)
    with canary(context=context) as (port, heard):
        url = f"https://platform.example:{port}/"
        answer = post(url, ca=tmp_path / "ca.pem", resolver=lambda _host, _port: ["127.0.0.1"])
        assert answer.status == 200
        assert f"Host: platform.example:{port}".encode().lower() in heard[0].lower()
        with pytest.raises(Unreachable):  # another name's certificate
            post(f"https://other.example:{port}/", ca=tmp_path / "ca.pem", resolver=lambda _h, _p: ["127.0.0.1"])
        with pytest.raises(Unreachable):  # an authority that nobody named
            post(url, resolver=lambda _host, _port: ["127.0.0.1"])


def test_a_redirect_is_an_answer_and_leads_nowhere():
    with canary() as (elsewhere, heard):
        moved = f"HTTP/1.1 307 Moved\r\nlocation: http://127.0.0.1:{elsewhere}/\r\ncontent-length: 0\r\n\r\n".encode()
        with canary(lambda peer: peer.sendall(moved)) as (port, _):
            assert post(f"http://127.0.0.1:{port}/").status == 307
    assert heard == []


def drip(peer):
    peer.sendall(b"HTTP/1.1 200 OK\r\n")
    for _ in range(100):
        peer.sendall(b"x-a: b\r\n")
        time.sleep(0.1)


def drip_body(peer):
    peer.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
    for _ in range(100):
        peer.sendall(b"x")
        time.sleep(0.1)


@pytest.mark.parametrize("answer", [drip, drip_body, lambda peer: time.sleep(3)], ids=["head", "body", "silence"])
def test_who_answers_a_byte_at_a_time_or_not_at_all_is_cut_off(answer):
    with canary(answer) as (port, _):
        began = time.monotonic()
        with pytest.raises(Unreachable):
            post(f"http://127.0.0.1:{port}/", seconds=0.5)
        assert time.monotonic() - began < 2


def test_a_resolver_that_hangs_is_not_waited_for():
    began = time.monotonic()
    with pytest.raises(Unreachable, match="not resolved in time"):
        post("https://slow.example/", seconds=0.3, resolver=lambda _host, _port: time.sleep(3) or ["127.0.0.1"])
    assert time.monotonic() - began < 2


def test_of_a_huge_answer_only_the_beginning_is_read():
    def flood(peer):
        peer.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n")
        for _ in range(200):
            peer.sendall(bytes(1 << 20))

    with canary(flood) as (port, _):
        answer = post(f"http://127.0.0.1:{port}/")
    assert len(answer.body) == MAX_ANSWER_BYTES


@pytest.mark.parametrize("answer", [b"rubbish\r\n\r\n", b"\x00" * 100, b""])
def test_what_does_not_speak_http_is_no_answer(answer):
    with canary(lambda peer: peer.sendall(answer)) as (port, _), pytest.raises(Unreachable):
        post(f"http://127.0.0.1:{port}/", seconds=1.0)


@pytest.mark.parametrize("url", ["ftp://a.example/", "https://", "https://user:pw@a.example/", "file:///etc", "x"])
def test_what_is_no_url_of_an_endpoint(url):
    with pytest.raises(BadConfig):
        GuardedHttp(url, Egress())


def test_no_proxy_of_the_environment_is_used(monkeypatch):
    with canary() as (port, heard), canary() as (proxy, proxied):
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy}")
        post(f"http://127.0.0.1:{port}/")
    assert heard
    assert proxied == []
