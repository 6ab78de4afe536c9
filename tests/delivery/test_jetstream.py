"""JetStream as a destination, against a real nats-server."""

from __future__ import annotations

import json
import logging
import ssl
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import trustme
from delivery.buses import (
    ACCOUNT,
    Nkey,
    Relay,
    add_stream,
    answering,
    credentials_file,
    free_port,
    instruction,
    kept,
    lanes,
    nats_server,
    operated,
    silence,
    user_key,
)  # fmt: skip

from hashmatch.delivery.addresses import Egress
from hashmatch.delivery.dispatch import NotTaken, Receipt, RefusedForGood
from hashmatch.delivery.jetstream import JetStream, Server
from hashmatch.delivery.nats_login import Login
from hashmatch.errors import BadConfig, Malformed

LOOPBACK = Egress(["127.0.0.0/8"])


@contextmanager
def sending(port, egress=LOOPBACK, url="nats://127.0.0.1", **options):
    facts = {"stream": "HASHMATCH", "subject": "hashmatch.{verb}", "seconds": 5.0, **options}
    stream = JetStream("bus", [Server.parse(f"{url}:{port}")], egress, **facts)
    try:
        yield stream
    finally:
        stream.close()


def not_taken(stream, key="case-1.000001"):
    """What is said of an instruction that is not taken."""
    with pytest.raises(NotTaken) as told:
        stream.deliver(instruction(key))
    return str(told.value)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with nats_server(tmp_path_factory.mktemp("nats"), "max_payload: 8KB") as port:
        add_stream(port)
        add_stream(port, "SMALL", "small", max_msg_size=100)
        yield port


def test_what_is_sent_twice_is_there_once_as_the_event_that_a_webhook_gets(server):
    one = instruction("case-9.000001", verb="remove_copies")
    with sending(server) as stream:
        assert stream.deliver(one) == stream.deliver(one) == Receipt(confirmed=False)
    with sending(server) as another:  # and after a restart
        another.deliver(one)
    (message,) = [found for found in kept(server) if found.subject == "hashmatch.remove_copies"]
    assert message.data == one.body()
    assert message.headers["content-type"] == "application/cloudevents+json"
    assert message.headers["Nats-Msg-Id"] == json.loads(message.data)["id"] == "case-9.000001"
    assert "entry-1" not in f"{message.data} {message.headers}"  # nothing of the lists


def test_those_of_one_uploader_stay_in_order_whoever_sends_at_once(server):
    sent = lanes(20, "abc")
    with sending(server) as stream, ThreadPoolExecutor(3) as threads:
        list(threads.map(lambda lane: [stream.deliver(one) for one in lane], sent))
    came = [json.loads(one.data) for one in kept(server)]
    for lane in sent:
        mine = [event["id"] for event in came if event["data"]["uploader_id"] == lane[0].uploader_id]
        assert mine == [one.key for one in lane]


def test_without_its_stream_nothing_is_taken(server):
    with sending(server, subject="elsewhere.{verb}") as stream:
        assert not_taken(stream) == "there is no JetStream stream that has the subject elsewhere.restrict"
    with sending(server, stream="OTHER") as stream:
        assert not_taken(stream) == "another stream than OTHER has the subject hashmatch.restrict"
    with answering(server, "plain.>"), sending(server, subject="plain.{verb}") as stream:
        assert not_taken(stream) == "what has the subject plain.restrict does not answer as JetStream does"


def test_what_is_too_large_never_will_be_taken(server):
    with sending(server) as stream, pytest.raises(RefusedForGood, match="the server takes"):
        stream.deliver(instruction(reason="r" * 9000))
    with sending(server, stream="SMALL", subject="small") as stream, pytest.raises(RefusedForGood, match="the stream"):
        stream.deliver(instruction())


def test_where_one_address_of_a_server_is_dead_the_next_is_tried(server):
    reached = Egress(["127.0.0.0/8", "::1/128"])
    for dead in ("::1", "127.0.0.2"):
        named = {"url": "nats://bus.example", "resolver": lambda _host, _port, dead=dead: [dead, "127.0.0.1"]}
        with sending(server, reached, **named) as stream:
            assert stream.deliver(instruction("case-7.000001")) == Receipt(confirmed=False)
    forbidden = {"url": "nats://bus.example", "resolver": lambda _host, _port: ["127.0.0.1", "::1"]}
    with sending(server, **forbidden) as stream:
        assert "may not be reached" in not_taken(stream)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere this machine has one loopback address")
def test_an_address_of_a_server_that_is_silent_leaves_time_for_the_next(server):
    with silence("127.0.0.2", server):
        named = {"url": "nats://bus.example", "resolver": lambda _host, _port: ["127.0.0.2", "127.0.0.1"]}
        with sending(server, **named) as stream:
            assert stream.deliver(instruction("case-7.000001")) == Receipt(confirmed=False)


def test_a_server_that_was_down_is_used_once_it_is_up(tmp_path):
    port = free_port()
    with sending(port) as stream:
        assert "cannot be reached" in not_taken(stream)
        with nats_server(tmp_path, port=port):
            add_stream(port)
            stream.deliver(instruction())
        assert "cannot be reached" in not_taken(stream, "case-1.000002")
        with nats_server(tmp_path, port=port):
            stream.deliver(instruction("case-1.000002"))
            assert [one.headers["Nats-Msg-Id"] for one in kept(port)] == ["case-1.000001", "case-1.000002"]


def test_only_the_right_seed_is_taken_and_what_it_may_not_do_is_told(tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    right, wrong, bound = user_key(1), user_key(2), user_key(3)
    users = f'{{ nkey: {right.public} }}, {{ nkey: {bound.public}, permissions: {{ publish: "other" }} }}'
    users += ", { user: adm, password: pw }"
    with nats_server(tmp_path, f"authorization {{ users: [ {users} ] }}") as port:
        add_stream(port, login={"user": "adm", "password": "pw"})
        with sending(port, login=Login.of_seed(right.seed)) as stream:
            stream.deliver(instruction())
        for login in (Login.of_seed(wrong.seed), Login()):
            with sending(port, login=login) as stream:
                assert not_taken(stream) == "the server refuses the credentials"
        with sending(port, login=Login.of_seed(bound.seed), seconds=0.3) as stream:
            assert "may not publish" in not_taken(stream)
    assert right.seed not in caplog.text + repr(Login.of_seed(right.seed))


def test_credentials_files_are_taken(tmp_path):
    settings, text = operated()
    with nats_server(tmp_path, settings) as port:
        known = Login.of_credentials(text)
        add_stream(port, login={"user_jwt_cb": lambda: bytearray(known.jwt.encode()), "signature_cb": known.signed})
        with sending(port, login=Login.of_credentials(text.replace("\n", "\r\n"))) as stream:
            stream.deliver(instruction())
        forged = text.replace(user_key(3).seed, user_key(9).seed)
        with sending(port, login=Login.of_credentials(forged)) as stream:
            assert not_taken(stream) == "the server refuses the credentials"


def test_what_is_no_login_is_refused():
    seed, account = user_key(1).seed, Nkey(1, ACCOUNT).seed
    text = credentials_file("head.body.signature", seed)
    assert Login.of_credentials(text) == Login("head.body.signature", seed)
    for wrong in ("", seed, text.replace("JWT", "JWS"), text.replace(seed, account), text.replace("NKEY SEED", "SEED")):
        with pytest.raises(Malformed, match="want"):
            Login.of_credentials(wrong)
    for wrong in ("", "SU", account, seed[:20] + "A" + seed[21:], seed[:-1], "é"):
        with pytest.raises(Malformed, match="want the seed of a user") as told:
            Login.of_seed(wrong)
        assert len(wrong) < 5 or wrong not in str(told.value)


def test_tls_is_demanded_and_its_certificate_must_be_of_the_name(tmp_path, server):
    ca, other = trustme.CA(), trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    other.cert_pem.write_to_path(tmp_path / "other.pem")
    made = ca.issue_cert("bus.example")
    made.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    made.private_key_pem.write_to_path(tmp_path / "key.pem")
    trusted = {"tls": ssl.create_default_context(cafile=tmp_path / "ca.pem"), "tls_hostname": "bus.example"}

    def asked(port, name, authority):
        return sending(port, url=f"tls://{name}", ca=tmp_path / authority, resolver=lambda *_: ["127.0.0.1"])

    with nats_server(tmp_path, f'tls {{ cert_file: "{tmp_path}/cert.pem", key_file: "{tmp_path}/key.pem" }}') as port:
        add_stream(port, login=trusted)
        with asked(port, "bus.example", "ca.pem") as stream:
            stream.deliver(instruction())
        for name, authority in (("bus.example", "other.pem"), ("bus2.example", "ca.pem")):
            with asked(port, name, authority) as stream:
                assert "CERTIFICATE_VERIFY_FAILED" in not_taken(stream)
    with asked(server, "bus.example", "ca.pem") as stream:  # one without TLS
        assert not_taken(stream, "case-2.000001") == "Unreachable: bus.example offers no TLS"
    assert "case-2.000001" not in [one.headers["Nats-Msg-Id"] for one in kept(server)]


@pytest.mark.parametrize(
    ("egress", "url", "found", "says"),
    [
        (Egress(), "nats://127.0.0.1", ["127.0.0.1"], "may not be reached"),
        (Egress(), "tls://bus.example", ["127.0.0.1", "93.184.215.14"], "may not be reached"),
        (Egress(), "tls://bus.example", ["::ffff:127.0.0.1"], "may not be reached"),
        (Egress(), "tls://bus.example", [], "may not be reached"),
        (Egress(), "nats://bus.example", ["93.184.215.14"], "in clear only"),
    ],
)
def test_addresses_that_may_not_be_reached_are_not(egress, url, found, says):
    with silence() as one:
        with sending(one.getsockname()[1], egress, url, resolver=lambda *_: found) as stream:
            assert says in not_taken(stream)
        with pytest.raises(TimeoutError):
            one.accept()


def test_nobody_waits_longer_than_said():
    with silence() as one, sending(one.getsockname()[1], seconds=0.3) as stream, ThreadPoolExecutor(4) as threads:
        began = time.monotonic()
        assert set(threads.map(not_taken, [stream] * 4)) == {"JetStream did not answer in time"}
        assert time.monotonic() - began < 0.3 + 0.5


def test_a_server_that_falls_silent_gets_a_new_connection(tmp_path):
    with nats_server(tmp_path) as port, Relay(port) as relay, sending(relay.port, seconds=0.5) as stream:
        add_stream(port)
        stream.deliver(instruction())
        relay.silent = True
        assert "in time" in not_taken(stream, "case-1.000002")
        relay.silent = False
        stream.deliver(instruction("case-1.000002"))
        assert len(kept(port)) == 2


def test_it_ends_with_what_waits():
    with silence() as one, ThreadPoolExecutor(1) as threads:
        with sending(one.getsockname()[1], seconds=30.0) as stream:
            waiting = threads.submit(not_taken, stream)
            one.settimeout(5)
            peer, _ = one.accept()
        with peer:
            assert waiting.result(5) == "it was closed meanwhile"
    assert not_taken(stream) == "it was closed"
    assert "nats-bus" not in [one.name for one in threading.enumerate()]
    with sending(1):
        pass  # it never began


@pytest.mark.parametrize(
    "url", ["http://a", "nats://", "nats:a", "tls://a:b", "tls://u:p@a", "tls://a,b", "tls://a/x", "tls://a b", "a"]
)
def test_servers_are_urls_without_secrets(url):
    with pytest.raises(Malformed, match="want"):
        Server.parse(url)
    assert str(Server.parse("tls://[::1]").host) == "[::1]:4222"


def test_names_that_cannot_be_are_refused(tmp_path):
    for wrong in (
        {"subject": "a.*"},
        {"subject": "a..b"},
        {"subject": "a b"},
        {"subject": "{case}"},
        {"stream": "a.b"},
    ):
        with pytest.raises(Malformed, match="want"), sending(1, **wrong):
            pass
    with pytest.raises(BadConfig, match="authority"), sending(1, ca=tmp_path / "none.pem"):
        pass
