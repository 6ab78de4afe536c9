"""What one field's value may be. A rule says what is wrong in words that hold nothing of the value.

Lengths are the service's documented ones (Reporting API, 2026-10), counted in UTF-16 units as its platform counts
characters, so that what passes here passes whichever way it counts. Bounds marked "ours" have no documented one.
"""

from __future__ import annotations

import ipaddress
import math
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Protocol
from urllib.parse import urlsplit

MAX_FREE_CHARS = 100_000  # ours: of a text without a documented limit; a long conversation belongs into a file
MAX_URL_CHARS = 2083
MAX_EMAIL_CHARS = 255
MAX_LOCAL_CHARS = 64
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)  # ours: what is older is a clock or a unit that is wrong
EARLIEST_BIRTH = date(1850, 1, 1)  # ours: the service takes ages up to 150

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LOCAL = re.compile(r"""[^\s.@"(),:;<>\[\]\\\x00-\x1f\x7f]+(?:\.[^\s.@"(),:;<>\[\]\\\x00-\x1f\x7f]+)*""")
_LABEL = r"[^\W_](?:(?:[^\W_]|-){0,61}[^\W_])?"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})+")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def legible(text: str) -> str:
    """The text with U+FFFD for every character that XML cannot hold: what users write may hold any."""
    return _NOT_XML.sub("\ufffd", text)


class Rule(Protocol):
    """Judges one value."""

    def problem(self, value: object, now: datetime) -> str:
        """What is wrong with it; "" where nothing is. `now` is aware."""
        ...


@dataclass(frozen=True, slots=True)
class Text:
    """Text that is not blank: what is not known is left out."""

    limit: int = MAX_FREE_CHARS  # UTF-16 units

    def problem(self, value: object, now: datetime) -> str:
        if not isinstance(value, str):
            return "want text"
        if _NOT_XML.search(value):
            return "holds a character that XML cannot"
        if not value.strip():
            return "is blank; leave it out"
        size = len(value.encode("utf-16-le")) // 2
        return f"{size} characters, at most {self.limit}" if size > self.limit else ""


@dataclass(frozen=True, slots=True)
class Like:
    """Text of one shape."""

    pattern: str
    limit: int
    want: str  # in words

    def problem(self, value: object, now: datetime) -> str:
        if wrong := Text(self.limit).problem(value, now):
            return wrong
        return "" if re.fullmatch(self.pattern, str(value)) else f"want {self.want}"


@dataclass(frozen=True, slots=True)
class OneOf:
    """A code out of a list."""

    codes: frozenset[str]
    want: str  # in words

    def problem(self, value: object, now: datetime) -> str:
        return "" if isinstance(value, str) and value in self.codes else f"want {self.want}"


class Url:
    """A URL with a scheme and a host. White space and control characters in one have been declined."""

    def problem(self, value: object, now: datetime) -> str:
        if wrong := Text(MAX_URL_CHARS).problem(value, now):
            return wrong
        url = str(value)
        if not url.isprintable() or any(character.isspace() for character in url):
            return "holds white space or a control character; percent-encode it"
        try:
            host = urlsplit(url).hostname
        except ValueError:
            host = None
        return "" if host and _SCHEME.match(url) else "want a URL with scheme and host"


class EmailAddress:
    """An e-mail address, without a display name. Letters beyond ASCII are left to the service."""

    def problem(self, value: object, now: datetime) -> str:
        if wrong := Text(MAX_EMAIL_CHARS).problem(value, now):
            return wrong
        local, _, domain = str(value).rpartition("@")
        if len(local) > MAX_LOCAL_CHARS:
            return f"{len(local)} characters before the @, at most {MAX_LOCAL_CHARS}"
        return "" if _LOCAL.fullmatch(local) and _DOMAIN.fullmatch(domain) else "want an e-mail address"


class IpAddress:
    """An IPv4 or IPv6 address, IPv4-mapped ones too; no scope, which means something on one machine only."""

    def problem(self, value: object, now: datetime) -> str:
        if not isinstance(value, str) or "%" in value:
            return "want an IPv4 or IPv6 address"
        try:
            ipaddress.ip_address(value)
        except ValueError:
            return "want an IPv4 or IPv6 address"
        return ""


class Past:
    """A time that has been, with its zone: the schema takes one without, and then nobody knows when it was."""

    def problem(self, value: object, now: datetime) -> str:
        if not isinstance(value, datetime):
            return "want a time"
        if value.utcoffset() is None:
            return "has no zone"
        if value < EARLIEST:
            return f"is before {EARLIEST.year}"
        return "" if value < now else "is not in the past"


class BirthDate:
    """A day, without a time."""

    def problem(self, value: object, now: datetime) -> str:
        if not isinstance(value, date) or isinstance(value, datetime):
            return "want a date"
        if value < EARLIEST_BIRTH:
            return f"is before {EARLIEST_BIRTH.year}"
        return "" if value <= now.date() else "is not in the past"


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number, both ends included."""

    low: int
    high: int

    def problem(self, value: object, now: datetime) -> str:
        whole = isinstance(value, int) and not isinstance(value, bool)
        return "" if whole and self.low <= value <= self.high else f"want a whole number {self.low}..{self.high}"  # type: ignore[operator]


@dataclass(frozen=True, slots=True)
class Degrees:
    """An angle on the globe, both ends included."""

    limit: int

    def problem(self, value: object, now: datetime) -> str:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if number and math.isfinite(value) and abs(value) <= self.limit:  # type: ignore[arg-type]
            return ""
        return f"want degrees, -{self.limit}..{self.limit}"
