"""Kafka as a destination, against librdkafka's mock cluster: Kafka's protocol on real sockets, without SASL or TLS."""

from __future__ import annotations

import json
import logging
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import trustme
from delivery.buses import Brokers, Relay, free_port, instruction, lanes, refusing_broker, silence

from hashmatch.delivery.addresses import Egress
from hashmatch.delivery.dispatch import NotTaken, Receipt, RefusedForGood
from hashmatch.delivery.hosts import Host
from hashmatch.delivery.kafka import Kafka, Security, key_of
from hashmatch.errors import BadConfig

LOOPBACK = Egress(["127.0.0.0/8"])
CLEAR = Security(tls=False)
LOGIN = {"mechanism": "SCRAM-SHA-256", "user": "hashmatch", "password": "hunter2"}


@pytest.fixture(scope="module")
def brokers():
    return Brokers()


@contextmanager
def sending(port, topic="other", egress=LOOPBACK, host="127.0.0.1", name="bus", **options):
    facts = {"security": CLEAR, "seconds": 4.0, **options}
    bus = Kafka(name, [Host(host, port)], egress, topic=topic, **facts)
    try:
        yield bus
    finally:
        bus.close()


@pytest.fixture(scope="module")
def bus(brokers):
    with sending(brokers.ports[0], "hashmatch") as found:
        yield found


def not_taken(bus):
    """What is said of an instruction that is not taken."""
    with pytest.raises(NotTaken) as told:
        bus.deliver(instruction())
    return str(told.value)


def test_a_record_is_the_event_that_a_webhook_gets(bus, brokers):
    one = instruction()
    assert bus.deliver(one) == Receipt(confirmed=False)
    (record,) = brokers.records("hashmatch", 1)
    assert (record.key(), record.value()) == (b"uploader-1", one.body())
    assert record.headers() == [("content-type", b"application/cloudevents+json")]
    assert b"entry-1" not in record.value()  # nothing of the lists


def test_those_of_one_uploader_are_in_one_partition_in_order(bus, brokers):
    sent = lanes(10, "acegik")
    with ThreadPoolExecutor(3) as threads:
        list(threads.map(lambda lane: [bus.deliver(one) for one in lane], sent))
    came = brokers.records("hashmatch", 61)
    for lane in sent:
        mine = [one for one in came if one.key().decode() == lane[0].uploader_id]
        assert [json.loads(one.value())["id"] for one in mine] == [one.key for one in lane]
        assert len({one.partition() for one in mine}) == 1
    assert len({one.partition() for one in came}) > 1


def test_a_key_is_whose_it_is_and_of_a_page_the_case_alone():
    assert key_of(instruction()) == "uploader-1"
    assert key_of(instruction(uploader_id="")) == "content-1"
    assert key_of(instruction(uploader_id="", content_id="")) == "case-1"
    assert key_of(instruction(verb="page")) == "case-1"


def test_what_is_too_large_never_will_be_taken(bus):
    with pytest.raises(RefusedForGood, match="MSG_SIZE_TOO_LARGE"):
        bus.deliver(instruction(reason="r" * 1_100_000))


def test_a_cluster_that_was_down_is_used_once_it_is_up(brokers):
    port = free_port()
    with sending(port, "later", seconds=0.6) as bus:
        assert "did not take it" in not_taken(bus)
        with Relay(brokers.ports[0], port):
            until = time.monotonic() + 5
            while time.monotonic() < until:  # librdkafka waits before it looks again
                try:
                    bus.deliver(instruction())
                    break
                except NotTaken:
                    pass
    assert len(brokers.records("later", 1)) == 1


def test_a_login_that_is_refused_is_told_and_never_shown(caplog):
    caplog.set_level(logging.DEBUG)
    security = Security(tls=False, **LOGIN)
    with refusing_broker() as (port, heard), sending(port, security=security, seconds=0.6) as bus:
        assert not_taken(bus).startswith("the brokers refuse the credentials")
    assert b"n=hashmatch" in b"".join(heard)
    assert "hunter2" not in caplog.text + repr(security)


def test_a_certificate_of_another_authority_is_not_believed(tmp_path):
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)

    def serve(one):
        while True:
            try:
                peer, _ = one.accept()
                context.wrap_socket(peer, server_side=True).close()
            except TimeoutError:
                continue
            except ssl.SSLError:
                continue
            except OSError:
                return

    with silence() as one:
        thread = threading.Thread(target=serve, args=(one,))
        thread.start()
        with sending(one.getsockname()[1], security=Security(ca=tmp_path / "other.pem"), seconds=0.6) as bus:
            assert not_taken(bus).startswith("TLS with the brokers fails")
        one.close()
        thread.join()


def test_addresses_that_may_not_be_reached_are_not():
    with silence() as one:
        port = one.getsockname()[1]
        with sending(port, egress=Egress()) as bus:
            assert "may not be reached" in not_taken(bus)
        for security, found, says in (
            (CLEAR, ["93.184.215.14"], "in clear only"),
            (Security(), ["93.184.215.14", "127.0.0.1"], "may not be reached"),
        ):
            facts = {"security": security, "resolver": lambda *_, found=found: found}
            with sending(port, egress=Egress(), host="bus.example", **facts) as bus:
                assert says in not_taken(bus)
        with pytest.raises(TimeoutError):
            one.accept()


def test_nor_are_those_that_a_cluster_names(brokers):
    def resolver(_, port):
        return ["127.0.0.1"] if port == relay.port else ["10.0.0.1"]

    with Relay(brokers.ports[0]) as relay, sending(relay.port, resolver=resolver) as bus:
        assert "may not be reached" in not_taken(bus)
    assert brokers.records("other", 0) == []


def test_a_name_that_moves_to_where_nothing_may_be_reached_is_left(brokers):
    found = ["127.0.0.1"]
    with sending(brokers.ports[0], "moved", resolver=lambda *_: found, name="moved") as bus:
        bus.deliver(instruction())
        (serving,) = [one for one in threading.enumerate() if one.name == "kafka-moved"]
        found = ["169.254.169.254"]
        assert "may not be reached" in not_taken(bus)
        serving.join(5)
        assert not serving.is_alive()
        found = ["127.0.0.1"]
        bus.deliver(instruction())
    assert len(brokers.records("moved", 2)) == 2


def test_nobody_waits_longer_than_said():
    with silence() as one, sending(one.getsockname()[1], seconds=0.6) as bus, ThreadPoolExecutor(4) as threads:
        began = time.monotonic()
        assert all("did not take it" in told for told in threads.map(not_taken, [bus] * 4))
        assert time.monotonic() - began < 0.6 + 0.5


def test_what_is_closed_takes_nothing_and_leaves_no_thread():
    with sending(free_port(), name="brief", seconds=0.1) as bus:
        not_taken(bus)
        assert "kafka-brief" in [one.name for one in threading.enumerate()]
    assert not_taken(bus) == "it was closed"
    assert "kafka-brief" not in [one.name for one in threading.enumerate()]


def test_files_of_its_security_must_be_readable_and_a_password_goes_never_in_clear(tmp_path):
    with pytest.raises(BadConfig, match="in clear"):
        Security(tls=False, **LOGIN | {"mechanism": "PLAIN"}).settings()
    with pytest.raises(BadConfig, match="cannot read"):
        Security(ca=tmp_path / "none.pem").settings()
    with pytest.raises(BadConfig, match="cannot read"):
        Security(cert=tmp_path / "none.pem", key=tmp_path / "none.pem").settings()
    made = trustme.CA().issue_cert("hashmatch.example")
    made.private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    found = Security(cert=tmp_path / "both.pem", key=tmp_path / "both.pem", **LOGIN).settings()
    assert found["security.protocol"] == "SASL_SSL"
    assert found["ssl.key.location"] == str(tmp_path / "both.pem")
