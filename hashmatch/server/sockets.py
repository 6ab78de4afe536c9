"""Sockets that we bind ourselves; gRPC binds its own."""

from __future__ import annotations

import socket

from hashmatch.address import Address
from hashmatch.errors import BadConfig


def bound(address: Address, *options: int) -> socket.socket:
    """A socket at an address, not listening yet; `options` are those of SOL_SOCKET to switch on before.

    Raises:
        BadConfig: the address cannot be used.
    """
    made = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        for option in options:
            made.setsockopt(socket.SOL_SOCKET, option, 1)
        made.bind((address.host, address.port))
    except OSError as e:
        made.close()
        raise BadConfig(f"cannot listen on {address}: {e.strerror}") from e
    return made
