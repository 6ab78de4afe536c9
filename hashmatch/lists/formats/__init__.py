"""List files, one module per format: each reads bytes into `Raw` rows, `Reject`s and `Skipped` ones.

Formats know columns and lines, not hash types: whether a value may be listed is for `lists.guards` to say.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from hashmatch.v1 import lists_pb2


class Raw(NamedTuple):
    """One fingerprint as a file gives it. `line` is where its row begins, from 1; "" is what the file does not say."""

    line: int
    hash_type: str
    text: str | bytes  # the value in hexadecimal, or whatever stands in its place
    label: str = ""
    source_id: str = ""
    quality: str = ""
    source: str = ""
    first_seen: str = ""  # ISO 8601, as are the next two
    last_seen: str = ""
    expires_at: str = ""
    notes: str = ""


class Block(NamedTuple):
    """A run of lines that hold nothing but a value each, all of one hash type: what most of a large file is."""

    first_line: int
    hash_type: str
    values: bytes  # joined
    number: int


class Reject(NamedTuple):
    """A row that cannot be used, and why. The reason never repeats what the row holds."""

    line: int
    why: str


class Skipped(NamedTuple):
    """A row that the file itself, or who imports it, leaves out."""

    line: int
    why: str


Row = Raw | Block | Reject | Skipped


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """How a file is to be read."""

    format: lists_pb2.ImportFormat.ValueType
    hash_type: str = "pdq"  # of what does not name its own
    columns: Mapping[str, str] = field(default_factory=dict)  # column → field
    hash_types: tuple[str, ...] = ()  # those that are known
    delimiter: str = ""  # "": found out
    encoding: str = ""  # "": UTF-8, or UTF-16 by its byte order mark
    labels: Mapping[str, str] = field(default_factory=dict)  # in the file → kept; "": leave such rows out
    opaque: bool = False  # hash types that are not known are passed on
    benign: bool = False  # the list is one of known-benign media


PHOTODNA_BYTES = 144


def squeeze(name: str) -> str:
    """A column's or hash type's name without case and punctuation, so that "SHA-256" is "sha256"."""
    return "".join(c for c in name.casefold() if c.isalnum())


def photodna(text: str) -> str:
    """PhotoDNA's value in hexadecimal, whether it stands in that or in base64 (192 characters); else as it is."""
    if len(text) == PHOTODNA_BYTES * 4 // 3:
        try:
            return base64.b64decode(text, validate=True).hex()
        except ValueError:  # not base64, or not even ASCII
            return text
    return text
