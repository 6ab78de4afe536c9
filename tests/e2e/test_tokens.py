"""Keys and certificates that are malformed, spliced, expired, revoked, forged or played back: none is let in."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
from datetime import UTC, datetime, timedelta

import grpc
import pytest
import trustme
from google.rpc import code_pb2
from pictures import png

from hashmatch import errors
from hashmatch.access.credentials import Credentials
from hashmatch.address import Address
from hashmatch.client import Finding, match_request
from hashmatch.v1 import match_pb2_grpc

NAME = "gateway.example.org"
AUTHORITY = {"organization_name": "ours", "organization_unit_name": "certificates"}


@pytest.fixture(scope="module")
def served(shared, tmp_path_factory):
    """A server that wants a certificate of every caller, and keys or a certificate's name to know them by."""
    folder = tmp_path_factory.mktemp("tls")
    shared.ca = trustme.CA(**AUTHORITY)
    own = shared.ca.issue_cert("localhost", "127.0.0.1")
    own.private_key_pem.write_to_path(folder / "key.pem")
    (folder / "chain.pem").write_bytes(chain_of(own))
    shared.ca.cert_pem.write_to_path(folder / "ca.pem")
    shared.list_known((1, "pdq"))
    shared.credentials = Credentials(shared.state)
    shared.credentials.create("gateway", ["uploader"], by="tests", certificate=NAME)
    settings = {"tls_certificate": "chain.pem", "tls_key": "key.pem", "tls_client_ca": "ca.pem"}
    lines = [f"{name} = '{folder / file}'\n" for name, file in settings.items()]
    (folder / "hashmatch.toml").write_text("".join((*lines, "auth = 'required'\n")))
    shared.serve("--config", str(folder / "hashmatch.toml"))
    yield shared
    shared.credentials.close()


def chain_of(certificate):
    return b"".join(pem.bytes() for pem in certificate.cert_chain_pems)


def channel_of(served, certificate, address=""):
    """A channel of somebody with this certificate, on which nothing is tried again."""
    credentials = grpc.ssl_channel_credentials(
        served.ca.cert_pem.bytes(), certificate.private_key_pem.bytes(), chain_of(certificate)
    )
    return grpc.secure_channel(address or served.address, credentials, (("grpc.enable_retries", 0),))


def key_of(served, name):
    """A key and its id."""
    credential, key = served.credentials.create(name, ["uploader"], by="tests")
    return key, credential.id


@pytest.fixture(scope="module")
def call(served):
    """`call(headers)`: the code and the words that a call with these headers comes to; nothing is tried again.

    Its certificate is of the right authority and names nobody who is known, so that the headers decide.
    """
    with channel_of(served, served.ca.issue_cert("nobody.example.org")) as channel:
        stub = match_pb2_grpc.MatchServiceStub(channel)

        def call(*headers):
            try:
                stub.Match(match_request(png(1)), metadata=headers, timeout=20)
            except grpc.RpcError as e:
                return e.code().name, e.details()
            return "OK", ""

        yield call


def test_malformed_and_spliced_keys_are_all_refused_alike(served, call):
    (one, _), (other, _) = key_of(served, "one"), key_of(served, "other")
    prefix, id_, secret = one.split("_")
    assert call(("authorization", f"Bearer {one}"))[0] == "OK"
    wrong = [
        one, f"Basic {one}", "Bearer", "Bearer ", f"Bearer {one} {other}", f"Bearer {one}, Bearer {other}",
        f"Bearer {one[:-1]}", f"Bearer {one}0", f"Bearer {one.upper()}", f"Bearer {prefix}_{id_}_{secret}_{secret}",
        f"Bearer {prefix}_{id_}_{other.split('_')[2]}", f"Bearer {prefix}_{other.split('_')[1]}_{secret}",
        f"Bearer {prefix}_{id_}_{'0' * 64}", f"Bearer {prefix}_{'0' * 12}_{secret}", f"Bearer {prefix}__",
        f"Bearer {prefix}_{id_}_{secret[:-2]}%00", "Bearer " + "_" * 100, "Bearer " + "a" * 8000,
    ]  # fmt: skip
    told = {call(("authorization", value)) for value in wrong}
    told.add(call())
    told.add(call(("authorization", "nonsense"), ("authorization", f"Bearer {one[:-1]}")))
    told.add(call(("authorization-bin", f"Bearer {one}".encode())))
    told.add(call(("proxy-authorization", f"Bearer {one}")))
    assert len(told) == 1  # nobody learns what was wrong
    [(code, _)] = told
    assert code == "UNAUTHENTICATED"
    assert call(("authorization", "Bearer " + "a" * 60_000))[0] == "RESOURCE_EXHAUSTED"  # more than headers may have
    assert call(("authorization", f"bearer {one}"))[0] == "OK"  # RFC 9110 §11.1: the scheme's case does not matter


def test_a_key_that_is_used_again_is_refused_once_it_is_revoked(served, call):
    key, key_id = key_of(served, "revoked")
    assert [call(("authorization", f"Bearer {key}"))[0] for _ in range(3)] == ["OK"] * 3
    served.credentials.revoke(key_id, by="tests")
    assert call(("authorization", f"Bearer {key}"))[0] == "UNAUTHENTICATED"  # on a connection that stands


def test_a_stream_that_stands_ends_with_its_key(served):
    key, key_id = key_of(served, "streaming")
    asked = queue.SimpleQueue()
    with channel_of(served, served.ca.issue_cert("nobody.example.org")) as channel:
        answers = match_pb2_grpc.MatchServiceStub(channel).MatchStream(
            iter(asked.get, None), metadata=(("authorization", f"Bearer {key}"),), timeout=30
        )
        asked.put(match_request(png(1)))
        assert next(answers).response.finding == Finding.FINDING_MATCH
        served.credentials.revoke(key_id, by="tests")
        for _ in range(2):
            asked.put(match_request(png(1)))
            assert next(answers).error.code == code_pb2.UNAUTHENTICATED
        asked.put(None)
        assert not list(answers)


def test_a_key_without_a_certificate_is_of_no_use_where_both_are_wanted(served):
    key, _ = key_of(served, "stolen")
    with (
        served.client(ca=served.ca.cert_pem.bytes(), key=key, timeout=3) as client,
        pytest.raises((errors.Unavailable, errors.DeadlinePassed)),
    ):
        client.match(png(1))


def test_certificates_of_a_wrong_authority_or_a_wrong_time_are_not_let_in(served):
    now, day = datetime.now(UTC), timedelta(days=1)
    wrong = {
        "a stranger's": trustme.CA().issue_cert(NAME),
        "a namesake's": trustme.CA(**AUTHORITY).issue_cert(NAME),
        "a stranger's child's": trustme.CA().create_child_ca().issue_cert(NAME),
        "expired": served.ca.issue_cert(NAME, not_before=now - 2 * day, not_after=now - day),
        "not yet valid": served.ca.issue_cert(NAME, not_before=now + day, not_after=now + 2 * day),
    }
    for why, certificate in wrong.items():
        with channel_of(served, certificate) as channel, pytest.raises(grpc.RpcError) as refused:
            match_pb2_grpc.MatchServiceStub(channel).Match(match_request(png(1)), timeout=20)
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE, why
    with channel_of(served, served.ca.create_child_ca().issue_cert(NAME)) as channel:
        answer = match_pb2_grpc.MatchServiceStub(channel).Match(match_request(png(1)), timeout=20)
    assert answer.finding == Finding.FINDING_MATCH


def test_a_connection_that_is_played_back_asks_nothing(served):
    """What a caller sent, recorded and sent again byte for byte: TLS takes no part of it for a caller."""
    address = Address.parse(served.address)
    sent = bytearray()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def relay():
            near, _ = listening.accept()
            with near, socket.create_connection((address.host, address.port)) as far:
                back = threading.Thread(target=pump, args=(far, near, bytearray()))
                back.start()
                pump(near, far, sent)
                back.join()

        relaying = threading.Thread(target=relay)
        relaying.start()
        there = f"127.0.0.1:{listening.getsockname()[1]}"
        with channel_of(served, served.ca.issue_cert(NAME), there) as channel:
            answer = match_pb2_grpc.MatchServiceStub(channel).Match(match_request(png(1)), timeout=20)
        relaying.join()
    assert answer.finding == Finding.FINDING_MATCH
    assert len(sent) > len(png(1))
    before = served.json("status")[0]["events"]
    with socket.create_connection((address.host, address.port), 10) as peer, contextlib.suppress(OSError):
        peer.sendall(sent)
        while peer.recv(1 << 16):
            pass
    assert served.json("status")[0]["events"] == before


def pump(source, to, kept):
    """Passes on what comes, and keeps it, until there is no more."""
    with contextlib.suppress(OSError):
        while some := source.recv(1 << 16):
            kept += some
            to.sendall(some)
    with contextlib.suppress(OSError):
        to.shutdown(socket.SHUT_WR)
