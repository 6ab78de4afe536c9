"""What stands in an item's key file: which bytes are sealed, and the key to them, wrapped.

One line of JSON and its SHA-256. That finds accidents; against forgery the facts are part of the context that the key
is wrapped in, so that a key does not unwrap for facts that it was not sealed with.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from hashmatch.errors import Corrupt, Malformed

FORMAT: Final = 1
MAX_RECORD_BYTES: Final = 64 << 10  # of a key file; a key service's answer is the most of it
MAX_MEDIA_TYPE: Final = 127  # RFC 6838 §4.2 bounds either half of one so; whole ones in use have under 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """One sealed item. Its digests are fingerprints of what is sealed, so `repr` shows none."""

    item_id: str
    key_id: bytes  # 16, random
    sha256: bytes
    md5: bytes
    size: int  # bytes of media
    media_type: str
    sealed_at: datetime
    master_id: str  # of the master key that wraps its key

    def __repr__(self) -> str:
        return f"<sealed {self.item_id}: {self.size} bytes>"

    def context(self) -> bytes:
        """What its key is wrapped in: a digest of all of this but the master key. Printable ASCII."""
        facts = json.dumps([FORMAT, *_facts(self).values()], separators=(",", ":"))
        return b"hashmatch/evidence/" + hashlib.sha256(facts.encode()).hexdigest().encode()


@dataclass(frozen=True, slots=True)
class Record:
    """A key file."""

    sealed: Sealed
    wrapped: bytes

    def __repr__(self) -> str:
        return f"<key of {self.sealed!r}>"

    def encode(self) -> bytes:
        """The file's bytes."""
        whole = {"format": FORMAT} | _facts(self.sealed)
        whole |= {"master_id": self.sealed.master_id, "wrapped": base64.b64encode(self.wrapped).decode()}
        line = json.dumps(whole).encode() + b"\n"
        return line + hashlib.sha256(line).hexdigest().encode() + b"\n"


def parse(stored: bytes, item_id: str) -> Record:
    """The record of that item.

    Raises:
        Corrupt: the bytes are not what was written, or another item's.
    """
    line, _, digest = stored.partition(b"\n")
    if digest != hashlib.sha256(line + b"\n").hexdigest().encode() + b"\n":
        raise Corrupt(f"the key file of {item_id} is damaged; restore it from a backup")
    try:
        held = json.loads(line)
        if held["format"] != FORMAT:
            raise Corrupt(f"the key file of {item_id} has format {held['format']}; this hashmatch reads {FORMAT}")
        sealed = Sealed(
            item_id=held["item_id"], key_id=bytes.fromhex(held["key_id"]), sha256=bytes.fromhex(held["sha256"]),
            md5=bytes.fromhex(held["md5"]), size=held["size"], media_type=held["media_type"],
            sealed_at=datetime.fromisoformat(held["sealed_at"]), master_id=held["master_id"],
        )  # fmt: skip
        wrapped = base64.b64decode(held["wrapped"], validate=True)
    except (ValueError, KeyError, TypeError, binascii.Error) as e:
        raise Corrupt(f"the key file of {item_id} does not parse") from e
    if sealed.item_id != item_id:
        raise Corrupt(f"the key file of {item_id} is another item's")
    return Record(sealed, wrapped)


def described(media_type: str, at: datetime) -> tuple[str, datetime]:
    """A media type and a time as records hold them.

    Raises:
        Malformed: names the field.
    """
    if len(media_type) > MAX_MEDIA_TYPE or not (media_type.isascii() and media_type.isprintable()):
        raise Malformed(f"want at most {MAX_MEDIA_TYPE} printable ASCII characters", field="media_type")
    if at.tzinfo is None:
        raise Malformed("want a time with its zone", field="at")
    return media_type, at.astimezone(UTC)


def _facts(sealed: Sealed) -> dict[str, str | int]:
    return {
        "item_id": sealed.item_id, "key_id": sealed.key_id.hex(), "sha256": sealed.sha256.hex(),
        "md5": sealed.md5.hex(), "size": sealed.size, "media_type": sealed.media_type,
        "sealed_at": sealed.sealed_at.isoformat(),
    }  # fmt: skip
