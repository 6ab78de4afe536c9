"""What may go wrong with the imitated CyberTipline, and on which call.

A fault is written `endpoint:kind[=amount][@nth | xcount]`, and several are parted by `;` or by lines:

    submit:lost-reply@1          the first call from now on, and no other
    finish:500x2                 the next two calls
    upload:slow=2s               every call until it is cleared
    *:503                        whatever endpoint it is

Where several faults are due for a call, the one that was set first is drawn.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import count
from pathlib import Path

from hashmatch.errors import BadConfig

ENDPOINTS = frozenset({"status", "xsd", "submit", "upload", "fileinfo", "finish", "retract"})
ANY = "*"


class Kind(Enum):
    """What goes wrong. The first eight happen before the service has done anything, the others after it has."""

    SERVER_ERROR = "500"  # with response code 1000
    UNAVAILABLE = "503"  # not XML, as a proxy in front says it
    TOO_MANY = "429"  # with Retry-After of `amount` seconds
    DROPPED = "dropped"  # the connection ends before the request is read
    UNAUTHORISED_EMPTY = "401-empty"
    UNAUTHORISED_XML = "401-xml"
    REDIRECT = "redirect"  # to another host name, which would be glad of the credentials
    CODE = "code"  # response code `amount`, with HTTP 200
    LOST_REPLY = "lost-reply"  # done, and the connection ends without a word
    LATIN1 = "latin1"  # UTF-8, said to be ISO-8859-1
    TRUNCATED = "truncated"  # the XML ends in its middle; HTTP is in order
    RUBBISH = "rubbish"  # HTTP 200, and something else altogether
    SLOW = "slow"  # done, and told `amount` seconds later
    WRONG_MD5 = "wrong-md5"  # of /upload
    MISSING_FILE = "missing-file"  # of /finish: the last file's id is left out
    HUGE = "huge"  # an answer of `amount` MB


ONLY = {Kind.WRONG_MD5: "upload", Kind.MISSING_FILE: "finish"}
AMOUNTS = {Kind.TOO_MANY: 1.0, Kind.SLOW: 1.0, Kind.HUGE: 64.0, Kind.CODE: 1000.0}
"""Kinds that have an amount, and what it is where none is given."""
UNITS = {Kind.TOO_MANY: "s", Kind.SLOW: "s", Kind.HUGE: "MB", Kind.CODE: ""}

_FAULT = re.compile(
    r"(?P<endpoint>\*|[a-z]+):(?P<kind>[a-z0-9-]+?)"
    r"(?:=(?P<amount>[0-9]+(?:\.[0-9]+)?)(?P<unit>s|MB)?)?"
    r"(?:@(?P<nth>[0-9]+)|x(?P<times>[0-9]+))?"
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One switch. Calls are counted from 1, from the moment it was set."""

    endpoint: str  # or ANY
    kind: Kind
    first: int = 1
    last: int | None = None  # inclusive; None: until cleared
    amount: float = 0.0  # seconds, megabytes or a response code, as the kind says

    def due(self, call: int) -> bool:
        """Whether the fault happens on that call."""
        return self.first <= call and (self.last is None or call <= self.last)


class Faults:
    """The faults that are set. For any thread."""

    def __init__(self, spec: str = "") -> None:
        """
        Raises:
            BadConfig: the spec is not one.
        """
        self._lock = threading.Lock()
        self._set: list[tuple[Fault, Iterator[int]]] = []  # with the calls it has yet to count; guarded by _lock
        self.add(spec)

    def add(self, spec: str) -> None:
        """Set further faults.

        Raises:
            BadConfig: the spec is not one; then none of it is set.
        """
        added = parse(spec)
        with self._lock:
            self._set += [(fault, count(1)) for fault in added]

    def clear(self) -> None:
        """Nothing goes wrong any more."""
        with self._lock:
            self._set.clear()

    def draw(self, endpoint: str) -> Fault | None:
        """Count one call of an endpoint; what goes wrong with it."""
        drawn = None
        with self._lock:
            for fault, calls in self._set:
                if fault.endpoint in (ANY, endpoint) and fault.due(next(calls)) and drawn is None:
                    drawn = fault
        return drawn


def parse(spec: str) -> list[Fault]:
    """The faults that a text spells. Lines that begin with `#` say nothing.

    Raises:
        BadConfig: names the part that cannot be read.
    """
    lines = (line for line in spec.splitlines() if not line.lstrip().startswith("#"))
    parts = (part.strip() for line in lines for part in line.split(";"))
    return [_parse_one(part) for part in parts if part]


def spec_of(option: str) -> str:
    """The spec that a command's option means: the text of the file of that name where there is one, else itself.

    Raises:
        BadConfig: there is such a file, and it cannot be read.
    """
    path = Path(option)
    try:
        if not path.is_file():
            return option
    except (OSError, ValueError):  # nothing that a file could be called
        return option
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as e:
        raise BadConfig(f"faults: {e}") from e


def _parse_one(part: str) -> Fault:
    read = _FAULT.fullmatch(part)
    if read is None:
        raise BadConfig(f"faults: '{part}' is not endpoint:kind[=amount][@nth|xcount]")
    endpoint = read["endpoint"]
    if endpoint != ANY and endpoint not in ENDPOINTS:
        raise BadConfig(f"faults: '{endpoint}' is no endpoint; there are {', '.join(sorted(ENDPOINTS))}")
    try:
        kind = Kind(read["kind"])
    except ValueError as e:
        raise BadConfig(f"faults: '{read['kind']}' is no fault; there are {', '.join(k.value for k in Kind)}") from e
    if ONLY.get(kind, endpoint) != endpoint:
        raise BadConfig(f"faults: {kind.value} is for {ONLY[kind]} only")
    if read["amount"] and (kind not in AMOUNTS or (read["unit"] or UNITS[kind]) != UNITS[kind]):
        raise BadConfig(f"faults: '{part}': no such amount of {kind.value}")
    amount = float(read["amount"]) if read["amount"] else AMOUNTS.get(kind, 0.0)
    first, last = 1, None
    if read["nth"]:
        first = last = int(read["nth"])
    elif read["times"]:
        last = int(read["times"])
    if first < 1 or last == 0:
        raise BadConfig(f"faults: '{part}': calls are counted from 1")
    return Fault(endpoint, kind, first, last, amount)
