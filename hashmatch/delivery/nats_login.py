"""Who we are to a NATS server: what its credentials files and seed files hold, and what is signed with them.

A seed is base32 of two bytes of kind, the 32 of an Ed25519 key, and CRC-16; a public key of one byte, 32, and CRC-16.
https://docs.nats.io/running-a-nats-service/configuration/securing_nats/auth_intro/nkey_auth
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from typing import Final, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hashmatch.errors import Malformed

# As nsc writes it.
_CREDENTIALS: Final = re.compile(
    r"^-+BEGIN NATS USER JWT-+\n(\S+)\n-+END NATS USER JWT-+\n.*^-+BEGIN USER NKEY SEED-+\n(\S+)\n", re.DOTALL | re.M
)


_SEED, _USER = 18 << 3, 20 << 3  # kinds, as NATS numbers them


@dataclass(frozen=True, slots=True)
class Login:
    """Who we are to the servers: a JWT and the seed it names, a seed alone, or nobody."""

    jwt: str = field(default="", repr=False)
    seed: str = field(default="", repr=False)

    @property
    def public(self) -> str:
        """The public key of the seed, U…"""
        raw = _key(self.seed).public_key().public_bytes_raw()
        return _written(bytes([_USER]) + raw)

    def signed(self, nonce: str) -> bytes:
        """The server's nonce, signed, in base64."""
        return base64.b64encode(_key(self.seed).sign(nonce.encode()))

    @classmethod
    def of_credentials(cls, text: str) -> Self:
        """
        Raises:
            Malformed: it is no credentials file.
        """
        lines = "\n".join(text.splitlines()) + "\n"
        found = _CREDENTIALS.search(lines)
        if found is None:
            raise Malformed("want a credentials file, as `nsc generate creds` writes it")
        _key(found[2])
        return cls(found[1], found[2])

    @classmethod
    def of_seed(cls, text: str) -> Self:
        """
        Raises:
            Malformed: it is no seed of a user.
        """
        _key(text.strip())
        return cls(seed=text.strip())


def _key(seed: str) -> Ed25519PrivateKey:
    """The key of a seed.

    Raises:
        Malformed: it is no seed of a user.
    """
    try:
        given = base64.b32decode(seed + "=" * (-len(seed) % 8))
    except ValueError:
        given = b""
    kind = bytes([_SEED | _USER >> 5, (_USER & 31) << 3])
    if len(given) != 36 or given[:2] != kind or _written(given[:-2]) != seed:
        raise Malformed("want the seed of a user, SU…")
    return Ed25519PrivateKey.from_private_bytes(given[2:34])


def _written(raw: bytes) -> str:
    return base64.b32encode(raw + binascii.crc_hqx(raw, 0).to_bytes(2, "little")).decode().rstrip("=")
