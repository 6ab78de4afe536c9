"""What the client makes of answers, and of everything that is none."""

from __future__ import annotations

import logging
import socket
import time
from datetime import timedelta
from email.utils import format_datetime

import pytest
from delivery.cybertip.answering import CALLS, ID, MD5, PASSWORD, done, server, told, uploaded
from delivery.cybertip.samples import NOW

from hashmatch.delivery.cybertip.errors import Gone, RefusedForGood, ReplyLost, RetryLater, failed
from hashmatch.delivery.cybertip.outcomes import Failed, Failure
from hashmatch.delivery.cybertip.service import Timeouts
from hashmatch.delivery.cybertip.xml import MAX_ANSWER_BYTES, parse_answer
from hashmatch.errors import BadConfig, Malformed, StoreFailed, Unavailable

__all__ = ["server"]  # a fixture

QUICK = Timeouts(first_byte=0.2, answer=0.2)
call = pytest.mark.parametrize("name", CALLS)


@call
@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ({"body": told(1000)}, RetryLater),
        ({"body": told(1000), "status": 500}, RetryLater),
        ({"body": told(1110)}, RetryLater),
        ({"body": told(1999), "status": 503}, RetryLater),
        ({"status": 429}, RetryLater),
        ({"status": 429, "body": told(4000)}, RetryLater),
        ({"status": 503, "body": b"Service Unavailable"}, RetryLater),
        ({"body": told(2000)}, RefusedForGood),
        ({"body": told(3100)}, RefusedForGood),
        ({"body": told(4100)}, RefusedForGood),
        ({"body": told(4100), "status": 400}, RefusedForGood),
        ({"body": told(6000)}, RefusedForGood),
        ({"body": told(-1)}, RefusedForGood),
        ({"status": 401}, RefusedForGood),
        ({"status": 401, "body": told(1000, "Authentication Required")}, RefusedForGood),
        ({"status": 403, "body": told(1000)}, RefusedForGood),
        ({"status": 404, "body": b"<html>"}, RefusedForGood),
        ({"status": 413}, RefusedForGood),
        ({"body": told(5001)}, Gone),
        ({"body": told(5002), "status": 404}, Gone),
    ],
)
def test_what_an_answer_comes_to(server, name, answer, kind):
    error = server.failure_of(name, **answer)
    assert type(error) is kind
    assert error.request_id == "r-17"
    code = parse_answer(answer["body"]).code if b"responseCode" in answer.get("body", b"") else None
    assert error.failed == failed(error) == Failed(kind.failure, code, None, "r-17")


@call
@pytest.mark.parametrize(
    "answer",
    [
        {"body": b""},
        {"body": b"<!doctype html><title>secret</title>"},
        {"body": told()[:-9]},
        {"body": done("a")[:-9]},
        {"body": told(), "status": 500},
        {"status": 502, "body": b"Bad Gateway"},
        {"status": 504},
        {"body": told(), "headers": (("Content-Encoding", "gzip"),)},
    ],
)
def test_what_says_nothing_of_how_it_went_is_a_lost_reply(server, name, answer):
    # Asking for the status changes nothing, so nothing is lost with it.
    assert type(server.failure_of(name, **answer)) is (RetryLater if name == "status" else ReplyLost)


def hang(handler):
    time.sleep(0.4)


def drop(handler):
    handler.connection.shutdown(socket.SHUT_RDWR)


def half(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(told()[:20])


def drip(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    for _ in range(8):  # quicker than the time for a byte, slower than that for all of them
        handler.wfile.write(b" ")
        time.sleep(0.05)


def endless(handler):
    handler.send_response(200)
    handler.end_headers()
    for _ in range(1 + MAX_ANSWER_BYTES // (1 << 20)):
        handler.wfile.write(b" " * (1 << 20))


def babble(handler):
    handler.wfile.write(b"\x00\xffnot HTTP\r\n\r\n")


@pytest.mark.parametrize("name", ["status", "upload", "finish"])
@pytest.mark.parametrize("act", [hang, drop, half, drip, endless, babble])
def test_whatever_breaks_after_it_was_sent_is_a_lost_reply(server, name, act):
    started = time.monotonic()
    error = server.failure_of(name, QUICK, act=act)
    assert type(error) is (RetryLater if name == "status" else ReplyLost)
    assert time.monotonic() - started < 3


@call
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(server, name, status):
    error = server.failure_of(name, status=status, headers=(("Location", server.url + "/elsewhere"),))
    assert type(error) is RefusedForGood
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    ("given", "want"),
    [
        ("120", timedelta(seconds=120)),
        ("999999999999", timedelta(hours=24)),
        (format_datetime(NOW + timedelta(minutes=5), usegmt=True), timedelta(minutes=5)),
        (format_datetime(NOW - timedelta(minutes=5), usegmt=True), timedelta()),
        ("Fri, 16 Oct 2026 09:00:00 -0000", timedelta(hours=1)),
        ("soon", None),
        ("-1", None),
        ("", None),
    ],
)
def test_the_service_may_say_when_to_come_again(server, given, want):
    error = server.failure_of("submit", status=429, headers=(("Retry-After", given),))
    assert error.failed.retry_after == want


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("submit", told()),
        ("submit", told(reportId=0)),
        ("upload", uploaded(reportId=1)),
        ("upload", uploaded(hash="0" * 32)),
        ("upload", told(reportId=ID.number, fileId="f")),
        ("upload", told(reportId=ID.number, hash=MD5.hexdigest())),
        ("fileinfo", told(reportId=1)),
        ("fileinfo", told(reportId=ID.number, fileId="a")),
        ("finish", done("a", report_id=1)),
        ("retract", told(reportId=1)),
    ],
)
def test_an_answer_that_does_not_fit_the_call_is_a_lost_reply(server, name, body):
    assert type(server.failure_of(name, body=body)) is ReplyLost


def test_the_header_may_name_another_encoding(server):
    headers = (("Content-Type", "application/xml;charset=ISO-8859-1"),)
    with server.answers(body=told(description="erledigt ü"), headers=headers):
        assert server.client().status().description == "erledigt ü"


# ── what nobody else is to see ──────────────────────────────────────────────────────────────────────────────────────


@call
def test_the_request_id_is_traced_and_nothing_of_what_was_said(server, name, caplog):
    caplog.set_level(logging.DEBUG, logger="hashmatch")
    error = server.failure_of(name, body=told(4100, "secret-words"))
    assert error.answer.description == "secret-words"
    for shown in (str(error), repr(error), repr(error.answer), caplog.text):
        assert "secret" not in shown
        assert PASSWORD not in shown
    assert f"{name}: HTTP 200, code 4100, Request-ID r-17" in caplog.text
    assert server.failure_of(name, body=b"secret-words").request_id == "r-17"
    assert "secret" not in caplog.text


@pytest.mark.parametrize("given", ["a b", "\x1b[2J", "x" * 129, "\xfc"])
def test_a_request_id_that_could_act_on_a_terminal_is_none(server, given):
    def act(handler):
        handler.wfile.write(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\nRequest-ID: %s\r\n\r\n" % given.encode("latin-1"))

    assert server.failure_of("finish", act=act).request_id == ""


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (Malformed("x"), Failure.REFUSED),
        (BadConfig("x"), Failure.REFUSED),
        (StoreFailed("x"), Failure.RETRY),
        (Unavailable("x"), Failure.RETRY),
        (ReplyLost("x"), Failure.LOST),
    ],
)
def test_every_error_of_a_call_comes_to_something(error, failure):
    assert failed(error) == Failed(failure)
