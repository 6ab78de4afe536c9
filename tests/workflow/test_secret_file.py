"""Files of secrets: made whole and for their owner alone, followed, and never exchanged for something wrong."""

from __future__ import annotations

import base64
import logging
import stat
from datetime import UTC, datetime

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from hashmatch.delivery.standard_webhooks import PRIVATE, PUBLIC, SECRET, headers, new_key_pair, new_secret, verify
from hashmatch.errors import Conflict, Malformed, StoreFailed
from hashmatch.workflow import secret_file
from hashmatch.workflow.secret_file import SecretFile

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def signed(secrets, body=b"{}"):
    return headers(secrets, id="m1", at=NOW, body=body)


def verifies(key, given, body=b"{}"):
    try:
        return verify(key, given, body, now=NOW) == "m1"
    except Malformed:
        return False


def put(file, *secrets):
    file.write_text("\n".join(secrets))
    file.chmod(0o600)


@pytest.mark.parametrize("ed25519", [False, True])
def test_a_file_is_made_for_its_owner_alone_and_never_over_another(tmp_path, ed25519):
    file = tmp_path / "secrets"
    signing, verifying = secret_file.made(ed25519=ed25519)
    assert signing.startswith(PRIVATE if ed25519 else SECRET)
    secret_file.create(file, signing)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert verifies(verifying, signed(SecretFile(file)))
    with pytest.raises(Conflict, match="already"):
        secret_file.create(file, new_secret())
    assert file.read_text().strip() == signing
    with pytest.raises(StoreFailed):
        secret_file.create(tmp_path / "none" / "secrets", signing)


def test_what_a_made_key_signs_the_public_one_alone_verifies(tmp_path):
    private, public = new_key_pair()
    put(tmp_path / "secrets", private)
    given = signed(SecretFile(tmp_path / "secrets"), b"body")
    version, _, signature = given["webhook-signature"].partition(",")
    assert version == "v1a"
    assert len(base64.b64decode(private.removeprefix(PRIVATE))) == 32
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public.removeprefix(PUBLIC)))
    message = f"m1.{int(NOW.timestamp())}.".encode()
    key.verify(base64.b64decode(signature), message + b"body")
    with pytest.raises(InvalidSignature):
        key.verify(base64.b64decode(signature), message + b"bodY")
    assert not verifies(new_key_pair()[1], given, b"body")


def test_secrets_are_exchanged_while_they_are_used(tmp_path):
    file, old, (private, public) = tmp_path / "secrets", new_secret(), new_key_pair()
    put(file, old)
    secrets = SecretFile(file)
    assert verifies(old, signed(secrets))
    put(file, old, private)
    both = signed(secrets)
    assert (verifies(old, both), verifies(public, both)) == (True, True)
    put(file, private)
    new = signed(secrets)
    assert (verifies(old, new), verifies(public, new)) == (False, True)
    assert private not in repr(secrets)


@pytest.mark.parametrize("wrong", ["empty", "spoilt", "gone", "readable"])
def test_a_file_that_is_wrong_changes_nothing_and_is_told_once(tmp_path, caplog, wrong):
    file, old = tmp_path / "secrets", new_secret()
    put(file, old)
    secrets = SecretFile(file)
    match wrong:
        case "empty":
            put(file)
        case "spoilt":
            put(file, old, "whsec_!!" + old.removeprefix(SECRET))
        case "gone":
            file.unlink()
        case "readable":
            file.chmod(0o640)
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            assert verifies(old, signed(secrets))
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "the old ones stay" in caplog.text
    assert old.removeprefix(SECRET) not in caplog.text
    new = new_secret()
    put(file, new)
    assert (verifies(old, signed(secrets)), verifies(new, signed(secrets))) == (False, True)
    with pytest.raises(Malformed):
        file.unlink()
        SecretFile(file)
