"""What the client sends, and what it does not."""

from __future__ import annotations

import hashlib
import io
import random
import re
import socket
from base64 import b64encode
from contextlib import closing

import pytest
from delivery.cybertip.answering import CALLS, FILE, ID, MD5, PASSWORD, USER, done, server, told, uploaded
from delivery.cybertip.samples import PRODUCTION, TEST, full_details, maximal, minimal, viewed

from hashmatch.delivery.cybertip.body import PIECE
from hashmatch.delivery.cybertip.client import CyberTipline
from hashmatch.delivery.cybertip.errors import AlreadyFinished, AlreadyRetracted, RetryLater
from hashmatch.delivery.cybertip.outcomes import Finished, Opened, Retracted, Uploaded
from hashmatch.delivery.cybertip.service import BASE, Credentials, Timeouts
from hashmatch.delivery.cybertip.terms import ReportId
from hashmatch.errors import BadConfig, Malformed, Refused, StoreFailed

__all__ = ["server"]  # a fixture

# ── sent ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_status_is_asked_with_basic_authentication(server):
    with server.answers(body=told(description="Remote User : esp-user, Remote Ip : 192.0.2.1")) as seen:
        answer = server.client().status()
    (request,) = seen
    assert (request.method, request.path, request.body) == ("GET", "/ispws/status", b"")
    assert request.headers["Authorization"] == "Basic " + b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    assert (answer.code, answer.request_id) == (0, "r-17")
    assert answer.description.startswith("Remote User")


def test_a_report_is_opened(server):
    with server.answers(body=told(reportId=2**63 - 1)) as seen:
        assert server.client().submit(maximal(), [full_details()]) == Opened(ReportId(2**63 - 1, TEST), "r-17")
    (request,) = seen
    assert (request.method, request.path) == ("POST", "/ispws/submit")
    assert request.headers["Content-Type"] == "text/xml; charset=utf-8"
    assert request.body.startswith(b"<?xml version='1.0' encoding='UTF-8'?>\n<report><incidentSummary>")


def test_a_file_is_uploaded_piece_by_piece(server):
    class Reading(io.BytesIO):
        largest = 0

        def read(self, size=-1):
            self.largest = max(self.largest, size)
            return super().read(size)

    content = random.Random(1).randbytes(3 * PIECE + 17)
    md5 = hashlib.md5(content, usedforsecurity=False)
    file = Reading(content)
    with server.answers(body=uploaded(hash=md5.hexdigest().upper())) as seen:
        want = Uploaded("f" * 32, md5.digest(), "r-17")
        assert server.client().upload(ID, file, size=len(content), name="1.jpg") == want
    assert file.largest == PIECE
    (request,) = seen
    assert request.path == "/ispws/upload"
    boundary = re.fullmatch("multipart/form-data; boundary=([0-9a-f]{32})", request.headers["Content-Type"])[1]
    first, second, third, last = request.body.split(b"--" + boundary.encode())
    assert (first, last) == (b"", b"--\r\n")
    assert second == b'\r\nContent-Disposition: form-data; name="id"\r\n\r\n7855771\r\n'
    head, _, sent = third.partition(b"\r\n\r\n")
    assert b'name="file"; filename="1.jpg"' in head
    assert sent == content + b"\r\n"


def test_what_was_uploaded_shows_no_fingerprint(server):
    with server.answers(body=uploaded()):
        assert MD5.hexdigest()[:8] not in repr(CALLS["upload"](server.client()))


def test_a_file_is_told_of(server):
    with server.answers(body=told(reportId=ID.number, fileId="f" * 32)) as seen:
        assert server.client().detail(ID, "f" * 32, full_details()).request_id == "r-17"
    (request,) = seen
    assert request.path == "/ispws/fileinfo"
    assert b"<fileDetails><reportId>7855771</reportId><fileId>ffff" in request.body


def test_a_report_is_finished_with_a_receipt(server):
    with server.answers(body=done("a", "12")) as seen:
        assert server.client().finish(ID) == Finished(done("a", "12"), ("a", "12"), "r-17")
    (request,) = seen
    assert (request.path, request.body) == ("/ispws/finish", b"id=7855771")
    assert request.headers["Content-Type"] == "application/x-www-form-urlencoded"


def test_a_report_is_retracted(server):
    with server.answers(body=told(reportId=ID.number)) as seen:
        assert server.client().retract(ID) == Retracted("r-17")
    assert (seen[0].path, seen[0].body) == ("/ispws/retract", b"id=7855771")


def test_a_second_finish_or_retract_is_what_was_wanted(server):
    already = told(5102, "finished")
    with server.answers(body=already):
        assert server.client().finish(ID) == Finished(already, None, "r-17")
        with pytest.raises(AlreadyFinished):
            server.client().retract(ID)
    with server.answers(body=told(5101)):
        assert server.client().retract(ID) == Retracted("r-17")
        with pytest.raises(AlreadyRetracted):
            server.client().finish(ID)


def test_every_call_has_a_connection_of_its_own(server):
    ports = []

    def act(handler):
        ports.append(handler.client_address[1])
        handler.protocol_version = "HTTP/1.1"  # and so would be kept
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(told())))
        handler.end_headers()
        handler.wfile.write(told())

    with server.answers(act=act):
        server.client().status()
        server.client().status()
    assert len(set(ports)) == 2


# ── not sent ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("do", "field"),
    [
        (lambda one: one.submit(minimal(additional_info="secret\x00"), []), "report/additionalInfo"),
        (lambda one: one.submit(minimal(), [viewed(location_of_file="secret")]), "fileDetails[1]/locationOfFile"),
        (lambda one: one.detail(ID, "f", viewed(location_of_file="secret")), "fileDetails/locationOfFile"),
        (lambda one: one.upload(ID, io.BytesIO(), size=0), "size"),
        (lambda one: one.upload(ID, io.BytesIO(b"a"), size=1, name='a"\r\nb: c'), "name"),
    ],
)
def test_what_is_wrong_is_named_and_not_sent(server, do, field):
    with server.answers(body=told(reportId=1)) as seen, pytest.raises(Malformed) as raised:
        do(server.client())
    assert raised.value.field == field
    assert "secret" not in str(raised.value)
    assert seen == []


def test_a_report_of_the_other_environment_is_left_alone(server):
    theirs, one = ReportId(ID.number, PRODUCTION), server.client()
    with server.answers(body=told()) as seen:
        for do in (
            lambda: one.upload(theirs, io.BytesIO(FILE), size=len(FILE)),
            lambda: one.detail(theirs, "f", viewed()),
            lambda: one.finish(theirs),
            lambda: one.retract(theirs),
        ):
            with pytest.raises(Refused, match="production"):
                do()
    assert seen == []


class Broken(io.RawIOBase):
    def read(self, size=-1):
        raise OSError(5, "Input/output error")


@pytest.mark.parametrize("content", [FILE[:-1], FILE + b"x", None])
def test_a_file_that_cannot_be_read_whole_is_not_sent_whole(server, content):
    file = Broken() if content is None else io.BytesIO(content)
    with server.answers(body=uploaded()) as seen, pytest.raises(StoreFailed):
        server.client().upload(ID, file, size=len(FILE))
    assert all(len(request.body) < int(request.headers["Content-Length"]) for request in seen)


def test_what_was_never_sent_may_be_sent_again():
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with CyberTipline(Credentials(TEST, USER, PASSWORD), base_url=url) as one:
        for call in CALLS.values():
            with pytest.raises(RetryLater, match="not sent"):
                call(one)


def test_a_server_that_takes_no_more_has_not_got_it():
    size = 64 << 20  # more than the system's buffers hold
    credentials, timeouts = Credentials(TEST, USER, PASSWORD), Timeouts(connect=1, write=0.2)
    with closing(socket.create_server(("127.0.0.1", 0))) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        one = CyberTipline(credentials, base_url=url, timeouts=timeouts)
        with one, pytest.raises(RetryLater, match="not sent"):
            one.upload(ID, io.BytesIO(bytes(size)), size=size)


# ── where to ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("environment", "theirs", "url"),
    [
        (PRODUCTION, PRODUCTION, "https://tipline.example/ispws"),
        (PRODUCTION, TEST, None),
        (TEST, PRODUCTION, None),
        (TEST, TEST, "http://tipline.example/ispws"),
        (TEST, TEST, "http://192.0.2.1/ispws"),
        (TEST, TEST, "http://127.0.0.1.example/ispws"),
        (TEST, TEST, "https://report.cybertip.org/ispws"),
        (TEST, TEST, "https://REPORT.cybertip.org./ispws"),
        (TEST, TEST, "https://user@tipline.example/ispws"),
        (TEST, TEST, "https://tipline.example/ispws?a=b"),
        (TEST, TEST, "https://tipline.example:0x1/"),
        (TEST, TEST, "ftp://127.0.0.1/"),
        (TEST, TEST, "/ispws"),
        (TEST, TEST, "https://[x"),
        (TEST, TEST, ""),
    ],
)
def test_addresses_and_credentials_that_must_not_be_used(environment, theirs, url):
    with pytest.raises(BadConfig) as raised:
        CyberTipline(Credentials(theirs, USER, PASSWORD), environment=environment, base_url=url)
    assert PASSWORD not in str(raised.value)


@pytest.mark.parametrize(("user", "password"), [("", "p"), ("u", ""), ("a:b", "p")])
def test_credentials_that_cannot_be(user, password):
    with pytest.raises(BadConfig):
        Credentials(TEST, user, password)


def test_credentials_show_their_environment_only():
    assert repr(Credentials(PRODUCTION, USER, PASSWORD)) == "<credentials for production>"


def test_the_test_environment_is_where_reports_go_unless_two_things_say_otherwise():
    with CyberTipline(Credentials(TEST, USER, PASSWORD)) as one:
        assert str(one._http.base_url) == BASE[TEST] + "/" == "https://exttest.cybertip.org/ispws/"
    with CyberTipline(Credentials(PRODUCTION, USER, PASSWORD), environment=PRODUCTION) as one:
        assert str(one._http.base_url) == "https://report.cybertip.org/ispws/"


@pytest.mark.parametrize("url", ["http://localhost:1/", "http://[::1]:1/x", "https://tipline.example/ispws"])
def test_a_simulator_may_be_elsewhere(url):
    CyberTipline(Credentials(TEST, USER, PASSWORD), base_url=url).close()


def test_proxies_of_the_environment_are_not_used(server, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with (
        server.answers(body=told()) as seen,
        CyberTipline(Credentials(TEST, USER, PASSWORD), base_url=server.url) as one,
    ):
        one.status()
    assert len(seen) == 1
