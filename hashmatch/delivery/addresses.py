"""Which addresses instructions may be sent to: public ones, and those that an operator names.

The standard library's `is_global` alone is not enough: it lets NAT64 and 6to4 forms of loopback and metadata addresses
pass, IPv4-compatible ones, site-local and multicast. So every form that holds an IPv4 address is unwrapped first, and
the blocks are our own list: IANA's special-purpose registries (RFC 6890 and its successors), and multicast.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from hashmatch.errors import Malformed

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_CLOSED: Final = tuple(
    ip_network(block)
    for block in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24",
        "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
        # Of IPv6 nothing outside 2000::/3 is public; of that, these are not.
        "2001::/23", "2001:db8::/32", "2620:4f:8000::/48", "3fff::/20",
    )
)  # fmt: skip
_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")
_NAT64: Final = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
_COMPATIBLE: Final = IPv6Network("::/96")


def unwrapped(address: Address) -> Address:
    """The IPv4 address that another form stands for, else the address itself."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if any(address in block for block in _NAT64) or (address in _COMPATIBLE and int(address) > 1):
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def public(address: Address) -> bool:
    """Whether an address is one of the public internet, in every form that it may have."""
    for one in {address, unwrapped(address)}:
        if isinstance(one, IPv6Address) and one not in _GLOBAL_UNICAST and unwrapped(one) == one:
            return False
        if any(one.version == block.version and one in block for block in _CLOSED):
            return False
        if isinstance(one, IPv6Address) and one.scope_id is not None:
            return False
    # A wrapped form is never how a public host is reached from here.
    return unwrapped(address) == address or address.version == 4


class Egress:
    """What may be reached: the public internet, and networks that an operator allows by name."""

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        """
        Raises:
            Malformed: not a network, such as 10.1.0.0/16.
        """
        try:
            self._allowed: tuple[Network, ...] = tuple(ip_network(one) for one in allowed)
        except ValueError as e:
            raise Malformed(f"{e}; want a network such as 10.1.0.0/16", field="allow") from e

    def named(self, address: Address) -> bool:
        """Whether an operator has allowed it by name."""
        plain = unwrapped(address)
        return any(plain.version == block.version and plain in block for block in self._allowed)

    def named_text(self, text: str) -> bool:
        """As `named`, of an address as a resolver gives it."""
        try:
            return self.named(ip_address(text))
        except ValueError:
            return False

    def permits(self, text: str) -> bool:
        """Whether an address, as a resolver gives it, may be connected to."""
        try:
            address = ip_address(text)
        except ValueError:
            return False
        return self.named(address) or public(address)
