"""List files, one module per format: each reads bytes into `Raw` rows and `Reject`s, and writes entries as text.

Formats know columns and lines, not hash types: whether a value may be listed is for `lists.guards` to say.
"""

from __future__ import annotations

from typing import NamedTuple


class Raw(NamedTuple):
    """One fingerprint as a file gives it. `line` is where its row begins, from 1; "" is what the file does not say."""

    line: int
    hash_type: str
    text: str | bytes  # the value in hexadecimal, or whatever stands in its place
    label: str = ""
    source_id: str = ""
    quality: str = ""


class Reject(NamedTuple):
    """A row that cannot be used, and why. The reason never repeats what the row holds."""

    line: int
    why: str


def squeeze(name: str) -> str:
    """A column's or hash type's name without case and punctuation, so that "SHA-256" is "sha256"."""
    return "".join(c for c in name.casefold() if c.isalnum())
