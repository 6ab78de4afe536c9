"""Mails over a real exchange: only under a verified certificate, never for long, and no header of another's making."""

from __future__ import annotations

import email
import socket
import time
from datetime import UTC, datetime
from email.policy import default

import pytest
from delivery.paging.services import HERE, HOST, SECONDS, here, note, posting
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hashmatch.delivery.addresses import Egress
from hashmatch.delivery.dispatch import NotTaken, RefusedForGood
from hashmatch.delivery.paging.email import Email, address, mail_of
from hashmatch.delivery.paging.note import Note
from hashmatch.delivery.paging.smtp import Smtp
from hashmatch.errors import Malformed
from hashmatch.workflow.paging import drill, raise_page, wording

LOGIN = ("user", "correct horse")
SENDER, ANA = "hashmatch@example.com", "ana@example.com"
NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
HEADERS = {
    "From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "Importance", "MIME-Version", "Content-Type",
    "Content-Transfer-Encoding",
}  # fmt: skip


@pytest.fixture(params=[False, True], ids=["starttls", "implicit"])
def post(request, tls):
    with posting(tls, implicit=request.param) as found:
        yield found


def send(post, ca, told=None, **options):
    given = {"egress": HERE, "ca": ca, "resolver": here, "seconds": 5.0} | options
    host = given.pop("host", HOST)
    smtp = Smtp(host, post.port, hello="example.com", implicit_tls=post.implicit, login=LOGIN, **given)
    Email(smtp, SENDER, now=lambda: NOW).send(told or note(to=ANA))


def hang_up(connection, said):
    connection.sendall(said)
    connection.shutdown(socket.SHUT_RDWR)
    raise ConnectionAbortedError  # what still comes is not read: it is not in the clear any more


def test_a_mail_arrives(post, ca):
    text = f"T0 case {'c' * 64} wants somebody now (page {'p' * 64})"
    told = note(to=ANA, text=text, url="https://console.example/cases/c_1")
    send(post, ca, told)
    assert post.logins == [[one.encode() for one in LOGIN]]
    assert [line.split(" ")[:2] for line in post.envelopes] == [["mail", f"FROM:<{SENDER}>"], ["rcpt", f"TO:<{ANA}>"]]
    mail = email.message_from_bytes(post.mails[0], policy=default)
    assert set(mail.keys()) == HEADERS
    assert (mail["From"], mail["To"], mail["Subject"]) == (SENDER, ANA, text)
    assert (mail["Auto-Submitted"], mail["Importance"]) == ("auto-generated", "high")
    assert mail["Date"].datetime == NOW
    assert mail.get_content_type() == "text/plain"
    assert mail.get_content().splitlines() == [text, "https://console.example/cases/c_1"]
    assert all(secure for verb, secure in post.said if verb not in ("EHLO", "STARTTLS"))


def test_a_repeat_is_the_same_mail_and_nothing_else_is(post, ca):
    for told in (
        note(to=ANA),
        note(to=ANA),
        note(to="bo@example.com"),
        note(to=ANA, round=1),
        note(to=ANA, page_id="x"),
    ):
        send(post, ca, told)
    ids = [email.message_from_bytes(mail, policy=default)["Message-ID"] for mail in post.mails]
    assert ids[0] == ids[1]
    assert len(set(ids[1:])) == 4


@pytest.mark.parametrize(
    "options",
    [
        {"host": "other.example"},
        {"ca": None},
        {"egress": Egress()},
        {"resolver": lambda _host, _port: ["127.0.0.1", "192.168.0.1"]},
        {"resolver": lambda _host, _port: []},
    ],
    ids=["another's certificate", "an unknown authority", "a private address", "one private address of two", "none"],
)
def test_nobody_else_is_told(post, ca, options):
    with pytest.raises(NotTaken) as refused:
        send(post, **({"ca": ca} | options))
    assert ("certificate" in str(refused.value)) == ("host" in options or "ca" in options)
    assert {verb for verb, _ in post.said} <= {"EHLO", "STARTTLS"}


def test_without_tls_nothing_is_said(tls, ca):
    for replies in ({"EHLO": b"250-me\r\n250 AUTH PLAIN\r\n"}, {"STARTTLS": b"454 not now\r\n"}):
        with posting(tls) as post:
            post.replies = replies
            with pytest.raises(NotTaken):
                send(post, ca)
            assert {verb for verb, _ in post.said} <= {"EHLO", "STARTTLS"}


def test_what_was_said_before_tls_counts_for_nothing(tls, ca):
    with posting(tls) as post:
        post.replies["STARTTLS"] = b"220 go on\r\n250-me\r\n250 AUTH CRAM-MD5\r\n"
        send(post, ca)
    assert len(post.logins) == len(post.mails) == 1


@pytest.mark.parametrize(
    ("what", "says", "kind_of_error"),
    [
        ("HELLO", b"554 not here\r\n", NotTaken),
        ("HELLO", b"rubbish\r\n", NotTaken),
        ("AUTH", b"535 " + LOGIN[1].encode() + b"\r\n", NotTaken),  # somebody may put it right
        ("AUTH", b"334 no base64!\r\n", NotTaken),
        ("MAIL", b"451 " + LOGIN[1].encode() + b"\r\n", NotTaken),
        ("MAIL", b"550 " + LOGIN[1].encode() + b"\r\n", RefusedForGood),
        ("RCPT", b"450 " + LOGIN[1].encode() + b"\r\n", NotTaken),
        ("RCPT", b"550 " + LOGIN[1].encode() + b"\r\n", RefusedForGood),
        ("DATA", b"452 full\r\n", NotTaken),
        ("END", b"554 " + LOGIN[1].encode() + b"\r\n", RefusedForGood),
        ("END", b"\xff\xfe\r\n", NotTaken),
        ("END", lambda connection: hang_up(connection, b"250"), NotTaken),  # and who knows what more
        ("END", b"250" + b"x" * 9000 + b"\r\n", NotTaken),
    ],
)
def test_what_an_answer_means(post, ca, what, says, kind_of_error):
    post.replies[what] = says
    with pytest.raises(kind_of_error) as refused:
        send(post, ca)
    assert LOGIN[1] not in str(refused.value)


def test_whoever_hangs_up_after_the_mail_has_it(post, ca):
    post.replies["END"] = lambda connection: hang_up(connection, b"250 taken\r\n")
    send(post, ca)
    assert len(post.mails) == 1


@pytest.mark.parametrize("what", ["HELLO", "STARTTLS", "EHLO", "END"])
@pytest.mark.parametrize("how", ["hang", "drip"])
def test_who_hangs_or_says_a_byte_at_a_time_is_cut_off(tls, ca, what, how):
    with posting(tls) as post:
        post.replies[what] = getattr(post, how)
        began = time.monotonic()
        with pytest.raises(NotTaken, match="too long"):
            send(post, ca, seconds=SECONDS / 2)
        assert time.monotonic() - began < 4 * SECONDS


def test_who_never_stops_is_not_listened_to(post, ca):
    post.replies["EHLO"] = post.flood
    began = time.monotonic()
    with pytest.raises(NotTaken):
        send(post, ca)
    assert time.monotonic() - began < 2


HOSTILE = st.text(st.sampled_from('\r\n\0\u2028\x85,;:<>@"() ab.é'), max_size=20)


@given(HOSTILE, HOSTILE)
@example("\r\nBcc: eve@example.com", "")
@example(">, <eve@example.com", "")
@settings(max_examples=50)
def test_no_header_can_be_smuggled_in(before, after):
    for name in ("to", "text", "url"):
        hostile = f"{before}ana@example.com{after}"
        try:
            mail = mail_of(note(**{"to": ANA, name: hostile}), SENDER, NOW)
        except Malformed:
            continue
        read = email.message_from_bytes(mail.as_bytes(), policy=default)
        assert set(read.keys()) == HEADERS
        assert [one.addr_spec for one in read["To"].addresses] == [hostile if name == "to" else ANA]


NO_ADDRESSES = (
    "", "ana", "ana@", "@example.com", "a@b", "ana@example.com\n", "a b@example.com", "ana@example.com,eve@example.com",
    "Ana <ana@example.com>", "ana@[127.0.0.1]", "a" * 250 + "@example.com",
)  # fmt: skip


@pytest.mark.parametrize("text", NO_ADDRESSES)
def test_what_is_no_address(text):
    with pytest.raises(Malformed):
        address(text)


IDS = st.text("ABCxyz019_-", min_size=1, max_size=64)


@given(IDS, IDS, st.integers(0, 3), st.booleans())
@settings(max_examples=50)
def test_a_mail_holds_nothing_but_ids(page_id, case_id, tier, is_drill):
    page = drill(page_id, case_id, NOW, tier=tier) if is_drill else raise_page(page_id, case_id, tier, NOW)
    told = Note(page_id=page.id, case_id=page.case_id, tier=tier, drill=is_drill, text=wording(page), to=ANA)
    read = email.message_from_bytes(mail_of(told, SENDER, NOW).as_bytes(), policy=default)
    assert read["Subject"] == wording(page)
    assert read.get_content().splitlines() == [wording(page)]
    assert read["Message-ID"] == f"<{told.message}@example.com>"
