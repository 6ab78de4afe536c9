"""Signatures held against the standard's own library, both ways."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from hashmatch.delivery.standard_webhooks import PRIVATE, PUBLIC, SECRET, Secret, headers, new_secret, verify
from hashmatch.errors import Malformed

SECRETS = st.binary(min_size=24, max_size=64).map(lambda key: SECRET + base64.b64encode(key).decode())
IDS = st.text("abcdefghij_0123456789.", min_size=1, max_size=40)


@given(SECRETS, IDS, st.text(max_size=300))
def test_what_we_sign_the_reference_verifies_and_the_other_way_round(secret, id_, text):
    now = datetime.now(UTC)
    body = text.encode()
    ours = headers([Secret(secret)], id=id_, at=now, body=body)
    reference = Webhook(secret)
    assert reference.sign(id_, now, text) == ours["webhook-signature"]
    assert verify(secret, ours, body, now=now) == id_


def test_several_secrets_sign_while_they_are_exchanged():
    old, new, other = new_secret(), new_secret(), new_secret()
    now = datetime.now(UTC)
    given_ = headers([Secret(old), Secret(new)], id="a", at=now, body=b"{}")
    for secret in (old, new):
        Webhook(secret).verify(b"{}", given_)
        assert verify(secret, given_, b"{}", now=now) == "a"
    with pytest.raises(WebhookVerificationError):
        Webhook(other).verify(b"{}", given_)
    with pytest.raises(Malformed, match="no signature"):
        verify(other, given_, b"{}", now=now)


def test_a_key_of_ones_own_signs_with_ed25519():
    key = Ed25519PrivateKey.generate()
    private = PRIVATE + base64.b64encode(key.private_bytes_raw()).decode()
    public = PUBLIC + base64.b64encode(key.public_key().public_bytes_raw()).decode()
    now = datetime.now(UTC)
    given_ = headers([Secret(private)], id="a", at=now, body=b"body")
    assert given_["webhook-signature"].startswith("v1a,")
    assert verify(public, given_, b"body", now=now) == "a"
    with pytest.raises(Malformed):
        verify(public, given_, b"bodY", now=now)


@pytest.mark.parametrize("off", [timedelta(minutes=6), -timedelta(minutes=6)])
def test_what_is_old_or_of_the_future_is_not_believed(off):
    secret, now = new_secret(), datetime.now(UTC)
    given_ = headers([Secret(secret)], id="a", at=now + off, body=b"")
    with pytest.raises(Malformed, match="five minutes"):
        verify(secret, given_, b"", now=now)


@pytest.mark.parametrize("change", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_what_lacks_a_header_is_not_believed(change):
    secret, now = new_secret(), datetime.now(UTC)
    given_ = headers([Secret(secret)], id="a", at=now, body=b"")
    del given_[change]
    with pytest.raises(Malformed, match="three headers"):
        verify(secret, given_, b"", now=now)


@pytest.mark.parametrize("text", ["", "hunter2", SECRET, SECRET + "c2hvcnQ=", SECRET + "%%%", PRIVATE + "c2hvcnQ="])
def test_what_is_no_secret(text):
    with pytest.raises(Malformed) as refused:
        Secret(text)
    assert text.removeprefix(SECRET) == "" or text.removeprefix(SECRET) not in str(refused.value)


def test_a_secret_is_never_shown():
    text = new_secret()
    assert text.removeprefix(SECRET) not in repr(Secret(text))
