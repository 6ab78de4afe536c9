"""Exact digests of a submission's bytes, as lists carry them. Keys to look up, not for our own integrity."""

from __future__ import annotations

import hashlib
from typing import Final

from hashmatch.types import Fingerprint, Hashed

DIGESTS: Final = {"md5": 16, "sha1": 20, "sha256": 32}
"""Hash type → bytes of a value."""


def digests(media: bytes | memoryview) -> tuple[Hashed, ...]:
    """MD5 (RFC 1321), SHA-1 and SHA-256 (FIPS 180-4) of the bytes, in that order."""
    return tuple(
        # MD5 and SHA-1 are what lists hold; a collision made on purpose earns its maker a match.
        Hashed(Fingerprint(name, hashlib.new(name, media, usedforsecurity=False).digest()))
        for name in DIGESTS
    )
