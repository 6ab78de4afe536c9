"""Standard Webhooks 1.0.0: what is signed, and how a receiver knows that it is ours.

`webhook-signature` holds one signature for each secret, so that secrets can be exchanged without a gap: `v1` is
HMAC-SHA256 over `id.timestamp.body`, `v1a` Ed25519 over the same. https://www.standardwebhooks.com
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from hashmatch.errors import Malformed

SECRET, PRIVATE, PUBLIC = "whsec_", "whsk_", "whpk_"
TOLERANCE = timedelta(minutes=5)
MIN_SECRET_BYTES, MAX_SECRET_BYTES = 24, 64


class Secret:
    """One secret of an endpoint; never shown."""

    def __init__(self, text: str) -> None:
        """
        Raises:
            Malformed: it is not whsec_ or whsk_ with base64 of the right length.
        """
        prefix = next((one for one in (SECRET, PRIVATE) if text.startswith(one)), None)
        if prefix is None:
            raise Malformed(f"want {SECRET}… or {PRIVATE}…", field="secret")
        try:
            key = base64.b64decode(text.removeprefix(prefix), validate=True)
        except (binascii.Error, ValueError):
            raise Malformed("not base64", field="secret") from None
        if prefix == SECRET and not MIN_SECRET_BYTES <= len(key) <= MAX_SECRET_BYTES:
            raise Malformed(f"want {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} bytes", field="secret")
        if prefix == PRIVATE and len(key) not in (32, 64):
            raise Malformed("want the 32 bytes of an Ed25519 key", field="secret")
        self._key = key if prefix == SECRET else b""
        self._private = Ed25519PrivateKey.from_private_bytes(key[:32]) if prefix == PRIVATE else None

    def __repr__(self) -> str:
        return "<secret>"

    def signature(self, signed: bytes) -> str:
        """One signature, with its version."""
        if self._private is not None:
            return "v1a," + base64.b64encode(self._private.sign(signed)).decode()
        return "v1," + base64.b64encode(hmac.digest(self._key, signed, "sha256")).decode()


def new_secret() -> str:
    """A secret for a new endpoint."""
    return SECRET + base64.b64encode(os.urandom(32)).decode()


def new_key_pair() -> tuple[str, str]:
    """An Ed25519 key for a new endpoint, to sign with; and the public one, by which the endpoint verifies."""
    key = Ed25519PrivateKey.generate()
    public = base64.b64encode(key.public_key().public_bytes_raw()).decode()
    return PRIVATE + base64.b64encode(key.private_bytes_raw()).decode(), PUBLIC + public


def headers(secrets: Iterable[Secret], *, id: str, at: datetime, body: bytes) -> dict[str, str]:
    """The three headers of one attempt. The id is the same in every attempt, the time is this one's."""
    timestamp = str(int(at.timestamp()))
    signed = f"{id}.{timestamp}.".encode() + body
    return {
        "webhook-id": id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(secret.signature(signed) for secret in secrets),
    }


def verify(key: str, given: Mapping[str, str], body: bytes, *, now: datetime) -> str:
    """The id of a message that a receiver may believe. `key`: the shared secret, or whpk_ and a public key.

    Raises:
        Malformed: a header is missing, the time is more than five minutes off, or no signature is right.
    """
    lower = {name.lower(): value for name, value in given.items()}
    try:
        id_, timestamp, signatures = (lower[f"webhook-{name}"] for name in ("id", "timestamp", "signature"))
        at = datetime.fromtimestamp(int(timestamp), UTC)
    except (KeyError, ValueError, OverflowError, OSError):
        raise Malformed("the three headers of a webhook are wanted", field="webhook-timestamp") from None
    if abs(now - at) > TOLERANCE:
        raise Malformed("more than five minutes off", field="webhook-timestamp")
    signed = f"{id_}.{timestamp}.".encode() + body
    for one in signatures.split():
        version, _, text = one.partition(",")
        if _right(key, version, text, signed):
            return id_
    raise Malformed("no signature is of the secret that is known here", field="webhook-signature")


def _right(key: str, version: str, text: str, signed: bytes) -> bool:
    try:
        if version == "v1a" and key.startswith(PUBLIC):
            public = Ed25519PublicKey.from_public_bytes(base64.b64decode(key.removeprefix(PUBLIC)))
            public.verify(base64.b64decode(text), signed)
            return True
        return version == "v1" and hmac.compare_digest(Secret(key).signature(signed).encode(), f"v1,{text}".encode())
    except (InvalidSignature, ValueError, Malformed):
        return False
