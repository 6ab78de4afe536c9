"""Which service is called, as whom, and how long it may take."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

import httpx

from hashmatch.delivery.cybertip.terms import Environment
from hashmatch.errors import BadConfig

BASE = {
    Environment.TEST: "https://exttest.cybertip.org/ispws",
    Environment.PRODUCTION: "https://report.cybertip.org/ispws",
}

_NAME = re.compile(r"[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.?")


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. An upload may last for hours as long as its bytes move."""

    connect: float = 10.0
    write: float = 60.0  # for one piece to be taken
    first_byte: float = 180.0  # ours: of the answer; the service may copy a large file before it answers
    answer: float = 60.0  # for the rest of it


TIMEOUTS = Timeouts()


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """What NCMEC issued, for one environment.

    Raises:
        BadConfig: what HTTP Basic cannot carry.
    """

    environment: Environment
    user: str
    password: str

    def __post_init__(self) -> None:
        if not self.user or not self.password or ":" in self.user:
            raise BadConfig("want a user, without ':', and a password")

    def __repr__(self) -> str:
        return f"<credentials for {self.environment.value}>"


def address(environment: Environment, base_url: str | None) -> str:
    """Where an environment is. Only TEST may be elsewhere than NCMEC says: a simulator's address, say.

    Raises:
        BadConfig: `base_url` is none that may be used.
    """
    if base_url is None:
        return BASE[environment]
    if environment is not Environment.TEST:
        raise BadConfig("base_url: only the test environment has another address")
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL as e:
        raise BadConfig("base_url: want a URL") from e
    if url.userinfo or url.query or url.fragment or not (_NAME.fullmatch(url.host) or _is_ip(url.host)):
        raise BadConfig("base_url: want a host and a path, and nothing else")
    if url.host.rstrip(".") == httpx.URL(BASE[Environment.PRODUCTION]).host:
        raise BadConfig("base_url: this is the production environment's")
    if url.scheme != "https" and not (url.scheme == "http" and _on_loopback(url.host)):
        raise BadConfig("base_url: want https; http on loopback only")
    return base_url


def _on_loopback(host: str) -> bool:
    return host == "localhost" or (_is_ip(host) and ipaddress.ip_address(host).is_loopback)


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
