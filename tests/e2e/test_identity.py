"""Who may call a real server: TLS, certificates that change and that are wrong, keys, and what each is told."""

from __future__ import annotations

import os
import time

import pytest
import trustme
from pictures import png

from hashmatch import errors
from hashmatch.client import Client, Finding, Fingerprint


@pytest.fixture
def authority(tmp_path):
    """An authority, and `write(ca)` that puts a server's certificate of it where the settings say."""
    folder = tmp_path / "tls"
    folder.mkdir()

    def write(ca):
        issued = ca.issue_cert("localhost", "127.0.0.1")
        for name, blobs in (("key.pem", [issued.private_key_pem]), ("chain.pem", issued.cert_chain_pems)):
            (folder / "new").write_bytes(b"".join(blob.bytes() for blob in blobs))
            os.replace(folder / "new", folder / name)
        (folder / "ca.pem").write_bytes(ca.cert_pem.bytes())
        return folder

    return write


def settings(deployment, folder, tmp_path, **more):
    lines = {"tls_certificate": folder / "chain.pem", "tls_key": folder / "key.pem", "auth": "required", **more}
    path = tmp_path / "hashmatch.toml"
    path.write_text("".join(f"{name} = {str(value)!r}\n" for name, value in lines.items()))
    return path


def key_of(deployment, name, *roles, more=()):
    options = [part for role in roles for part in ("--role", role)]
    return deployment.run("keys", "create", name, *options, *more).strip()


def listed(deployment, tmp_path):
    (tmp_path / "1.png").write_bytes(png(1))
    deployment.run("lists", "create", "known", "--disposition", "block")
    deployment.run("lists", "import", "known", "-", "--activate", given=deployment.run("hash", tmp_path / "1.png"))


def test_keys_over_tls_and_what_each_caller_is_told(deployment, authority, tmp_path):
    ca = trustme.CA()
    folder = authority(ca)
    listed(deployment, tmp_path)
    plain = key_of(deployment, "eu", "uploader")
    detailed = key_of(deployment, "ann", "uploader", "detail")
    auditor = key_of(deployment, "carl", "auditor")
    deployment.serve("--config", str(settings(deployment, folder, tmp_path)))
    pem = ca.cert_pem.bytes()

    with deployment.client(ca=pem, key=detailed) as client:
        answer = client.match(png(1))
        assert (answer.finding, answer.matches[0].list) == (Finding.FINDING_MATCH, "known")
    with deployment.client(ca=pem, key=plain) as client:
        answer = client.match(png(1))
        assert answer.finding == Finding.FINDING_MATCH
        assert answer.disposition
        assert answer.coverage.revision
        assert not answer.matches
        assert not answer.hashed
        assert not answer.matches_found
        assert not answer.coverage.lists
        unknown = client.match(b"no picture")
        assert [row.hash_type for row in unknown.hashed] == ["pdq"]  # why it is UNKNOWN, everyone is told
    with deployment.client(ca=pem, key=auditor) as client, pytest.raises(errors.Forbidden, match="'uploader'"):
        client.match(png(1))
    for wrong in ("", "nonsense", plain[:-1] + "x", "hm_" + "0" * 12 + "_" + "0" * 64):
        with deployment.client(ca=pem, key=wrong) as client, pytest.raises(errors.Unauthenticated):
            client.match(png(1))
    with deployment.client(key=plain, timeout=3) as client, pytest.raises((errors.Unavailable, errors.DeadlinePassed)):
        client.match(png(1))  # no TLS, no answer

    key = next(row for row in deployment.json("keys", "list") if row["name"] == "eu")
    deployment.run("keys", "revoke", key["id"])
    with deployment.client(ca=pem, key=plain) as client, pytest.raises(errors.Unauthenticated):
        client.match(png(1))
    trace = (tmp_path / "trace").read_text()
    for secret in (plain, detailed, plain.rpartition("_")[2], png(1).hex()[:64]):
        assert secret not in trace

    key_file = tmp_path / "key"
    key_file.write_text(detailed + "\n")
    reach = ("--server", deployment.address, "--ca", folder / "ca.pem", "--key-file", key_file)
    deployment.run("match", *reach, tmp_path / "1.png", expect=1)
    deployment.run("match", "--server", deployment.address, "--ca", folder / "ca.pem", tmp_path / "1.png", expect=77)


def test_a_renewed_certificate_is_used_without_a_restart_and_a_torn_one_is_not(deployment, authority, tmp_path):
    first, second = trustme.CA(), trustme.CA()
    folder = authority(first)
    key = key_of(deployment, "eu", "uploader")
    deployment.serve("--config", str(settings(deployment, folder, tmp_path)))

    def reachable(ca):
        with Client(deployment.address, ca=ca.cert_pem.bytes(), key=key, timeout=2) as client:
            try:
                client.capabilities()
            except (errors.Unavailable, errors.DeadlinePassed):
                return False
        return True

    with Client(deployment.address, ca=first.cert_pem.bytes(), key=key) as standing:
        standing.capabilities()
        good = (folder / "chain.pem").read_bytes()
        (folder / "chain.pem").write_bytes(b"torn")
        time.sleep(1.5)
        assert reachable(first)  # the old one stays
        (folder / "chain.pem").write_bytes(good)
        authority(second)
        deadline = time.monotonic() + 10
        while not reachable(second):
            assert time.monotonic() < deadline
        assert not reachable(first)
        standing.capabilities()  # a connection that stands is not touched
    assert "was not reloaded" in (tmp_path / "trace").read_text()


def test_client_certificates_are_callers_and_those_of_others_are_not(deployment, authority, tmp_path):
    ca, stranger = trustme.CA(), trustme.CA()
    folder = authority(ca)
    key_of(deployment, "gateway", "uploader", more=("--certificate", "gateway.example.org"))
    key_of(deployment, "old", "uploader", more=("--certificate", "old.example.org"))
    deployment.run("keys", "revoke", next(r["id"] for r in deployment.json("keys", "list") if r["name"] == "old"))
    config = settings(deployment, folder, tmp_path, tls_client_ca=folder / "ca.pem")
    deployment.serve("--config", str(config))

    def client_of(issuer, name):
        own = issuer.issue_cert(name)
        chain = b"".join(pem.bytes() for pem in own.cert_chain_pems)
        return deployment.client(
            ca=ca.cert_pem.bytes(), certificate=chain, certificate_key=own.private_key_pem.bytes(), timeout=3
        )

    with client_of(ca, "gateway.example.org") as client:
        assert client.match(png(1)).finding
    for name in ("old.example.org", "nobody.example.org"):
        with client_of(ca, name) as client, pytest.raises(errors.Unauthenticated):
            client.match(png(1))
    gone = (errors.Unavailable, errors.DeadlinePassed)
    with client_of(stranger, "gateway.example.org") as client, pytest.raises(gone):
        client.match(png(1))
    with deployment.client(ca=ca.cert_pem.bytes(), timeout=3) as client, pytest.raises(gone):
        client.match(png(1))  # none at all


def test_an_expired_client_certificate_is_not_let_in(deployment, authority, tmp_path):
    from datetime import UTC, datetime, timedelta

    ca = trustme.CA()
    folder = authority(ca)
    key_of(deployment, "gateway", "uploader", more=("--certificate", "gateway.example.org"))
    deployment.serve("--config", str(settings(deployment, folder, tmp_path, tls_client_ca=folder / "ca.pem")))
    past = datetime.now(UTC) - timedelta(days=1)
    own = ca.issue_cert("gateway.example.org", not_before=past - timedelta(days=1), not_after=past)
    chain = b"".join(pem.bytes() for pem in own.cert_chain_pems)
    with (
        deployment.client(
            ca=ca.cert_pem.bytes(), certificate=chain, certificate_key=own.private_key_pem.bytes(), timeout=3
        ) as client,
        pytest.raises((errors.Unavailable, errors.DeadlinePassed)),
    ):
        client.match(png(1))


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--listen", "0.0.0.0:0"), "needs TLS and authentication"),
        (("--listen", "0.0.0.0:0", "--auth", "required"), "needs TLS and authentication"),
        (("--http-listen", "[::]:0"), "needs TLS and authentication"),
    ],
)
def test_beyond_loopback_nothing_is_served_in_clear_or_to_anybody(deployment, flags, says):
    deployment.run("serve", *flags, expect=78)
    assert says in deployment.stderr


def test_files_that_are_wrong_are_named(deployment, authority, tmp_path):
    folder = authority(trustme.CA())
    config = settings(deployment, folder, tmp_path)
    (folder / "key.pem").write_bytes(b"none")
    deployment.run("serve", "--config", config, expect=78)
    assert "are not a certificate and its key" in deployment.stderr
    (folder / "key.pem").unlink()
    deployment.run("serve", "--config", config, expect=78)
    assert "tls_key: cannot read" in deployment.stderr


def test_probing_raises_an_alarm_and_the_budget_ends_it(deployment, tmp_path):
    listed(deployment, tmp_path)
    key = key_of(deployment, "curious", "uploader", more=("--per-day", "60"))
    deployment.serve()
    line = deployment.run("hash", "--type", "pdq", tmp_path / "1.png").split()[1]
    base = int(line, 16)
    asked = 0
    with deployment.client(key=key) as client, pytest.raises(errors.OverBudget):
        for bits in [*range(20, 60, 2), *range(100)]:
            value = (base ^ ((1 << bits) - 1)).to_bytes(32, "big")
            answer = client.match(fingerprints=[Fingerprint("pdq", value)])
            assert not answer.matches
            asked += 1
            if asked == 20:
                assert "alarm 'probing': caller 'curious'" in (tmp_path / "trace").read_text()
    assert asked == 60
    assert line not in (tmp_path / "trace").read_text()
