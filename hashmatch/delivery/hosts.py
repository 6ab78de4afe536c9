"""Hosts of a message bus: as they are written down, and the addresses of them that may be reached."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from hashmatch.delivery.addresses import Egress
from hashmatch.delivery.guarded_http import Resolve, Unreachable
from hashmatch.errors import Malformed


@dataclass(frozen=True, slots=True)
class Host:
    """A name or an address, without brackets, and a port."""

    name: str
    port: int

    @classmethod
    def parse(cls, text: str, *, port: int) -> Self:
        """What HOST or HOST:PORT says; `port` where it says none.

        Raises:
            Malformed: it is neither.
        """
        try:
            parts = urlsplit(f"//{text}")
            name, given = parts.hostname, parts.port
        except ValueError:
            name = given = None
        # A comma would make two of one, where a library takes a list as text.
        if not name or parts.netloc != text or "@" in text or "," in text or any(one.isspace() for one in text):
            raise Malformed(f"{text[:100]}: want HOST:PORT")
        return cls(name, given or port)

    def __str__(self) -> str:
        return f"[{self.name}]:{self.port}" if ":" in self.name else f"{self.name}:{self.port}"

    def addresses(self, egress: Egress, resolver: Resolve, *, clear: bool) -> list[str]:
        """All of its addresses, every one of which may be reached, in the resolver's order. `clear`: without TLS.

        Raises:
            Unreachable: it has none, or one that may not be reached: a private one beside a public one is somebody's
                trick; or it would be spoken to in clear outside of the networks that the settings allow by name.
        """
        try:
            found = list(resolver(self.name, self.port))
        except OSError as e:
            raise Unreachable(f"{self.name} cannot be resolved") from e
        if not found or not all(egress.permits(one) for one in found):
            raise Unreachable(f"{self.name} has addresses that may not be reached")
        if clear and not all(egress.named_text(one) for one in found):
            raise Unreachable("in clear only networks are reached that the settings allow by name")
        return found
