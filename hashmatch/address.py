"""HOST:PORT, as settings and messages write it: an IPv6 address stands in brackets there, and only there."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass, replace
from typing import Self


@dataclass(frozen=True, slots=True)
class Address:
    """Where something listens: `host` is an IP address without brackets, or localhost; port 0 means any free one."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """What `text` says.

        Raises:
            ValueError: it is no such address; says what is wanted.
        """
        host, _, port = text.rpartition(":")
        if not (port.isascii() and port.isdigit()) or int(port) > 65535:
            raise ValueError("want HOST:PORT")
        bracketed = host.startswith("[") and host.endswith("]")
        bare = host[1:-1] if bracketed else host
        if host != "localhost":
            try:
                version = ipaddress.ip_address(bare).version
            except ValueError as e:
                raise ValueError("want an IP address or localhost") from e
            if bracketed != (version == 6):
                raise ValueError("want brackets round an IPv6 address, and round no other: [::1]:50051")
        return cls(bare, int(port))

    def at(self, port: int) -> Self:
        """The same host's other port: the one that was free."""
        return replace(self, port=port)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def family(self) -> socket.AddressFamily:
        return socket.AF_INET6 if ":" in self.host else socket.AF_INET

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback
