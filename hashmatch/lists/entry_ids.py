"""Entry ids: stable names for listed fingerprints that say nothing about them.

An id is a keyed digest of list name and fingerprint, so it stays the same from version to version, differs between
lists and between installations, and cannot be tried out by somebody who holds a fingerprint but not the key.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from hashmatch.errors import Malformed
from hashmatch.store import keys
from hashmatch.types import Fingerprint

ID_BYTES = 10  # 80 bits: two of 100 M entries share an id with a chance of 4 in 10^9
ID_CHARS = 16  # as base32


class EntryIds:
    """Names entries of one state directory: `ids(list name, fingerprint)`."""

    def __init__(self, state: Path, *, create: bool = True) -> None:
        """Reads STATE/keys/entry-id.key; where there is none it is made, if `create` says so.

        Raises:
            BadConfig: it cannot be read or made.
            Corrupt: it is not a key, or it is lost.
        """
        self._key = keys.kept(state, "entry-id", create=create)

    def __call__(self, list_name: str, fingerprint: Fingerprint) -> str:
        """The id of a fingerprint in a list: 16 characters of base32 in lower case."""
        return base64.b32encode(self.digest(list_name, fingerprint)).decode().lower()

    def digest(self, list_name: str, fingerprint: Fingerprint) -> bytes:
        """What an id is the base32 of: 10 bytes, in half the time."""
        # Names hold no NUL and a type's values have one length, so the three parts cannot run into each other.
        text = f"{list_name}\0{fingerprint.hash_type}\0".encode() + fingerprint.value
        return hashlib.blake2b(text, digest_size=ID_BYTES, key=self._key).digest()

    @staticmethod
    def parse(entry_id: str) -> bytes:
        """The digest in an id.

        Raises:
            Malformed: it is not an id.
        """
        try:
            digest = base64.b32decode(entry_id.upper())
        except ValueError as e:
            raise Malformed("not an entry id", field="entry_id") from e
        if len(digest) != ID_BYTES:
            raise Malformed(f"{len(entry_id)} characters, want {ID_CHARS}", field="entry_id")
        return digest

    def key_digest(self) -> bytes:
        """What the store remembers of the key that its ids were made with: tells keys apart, gives none away."""
        return hashlib.blake2b(b"hashmatch entry-id key", digest_size=16, key=self._key).digest()
