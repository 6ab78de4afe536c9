"""HOST:PORT: what is one, what is refused, and that it is written as it was read."""

from __future__ import annotations

import socket

import pytest

from hashmatch.address import Address


@pytest.mark.parametrize(
    ("text", "host", "port", "family", "on_loopback"),
    [
        ("127.0.0.1:50051", "127.0.0.1", 50051, socket.AF_INET, True),
        ("localhost:0", "localhost", 0, socket.AF_INET, True),
        ("192.0.2.7:65535", "192.0.2.7", 65535, socket.AF_INET, False),
        ("[::1]:9464", "::1", 9464, socket.AF_INET6, True),
        ("[::]:1", "::", 1, socket.AF_INET6, False),
        ("[2001:db8::5]:50051", "2001:db8::5", 50051, socket.AF_INET6, False),
    ],
)
def test_an_address_is_read_and_written(text, host, port, family, on_loopback):
    address = Address.parse(text)
    assert (address.host, address.port) == (host, port)
    assert (address.family, address.on_loopback) == (family, on_loopback)
    assert str(address) == text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "want HOST:PORT"),
        ("127.0.0.1", "want HOST:PORT"),
        ("127.0.0.1:", "want HOST:PORT"),
        ("127.0.0.1:-1", "want HOST:PORT"),
        ("127.0.0.1:٣", "want HOST:PORT"),
        ("127.0.0.1:65536", "want HOST:PORT"),
        ("[::1]", "want HOST:PORT"),
        (":50051", "want an IP address or localhost"),
        ("example.org:5", "want an IP address or localhost"),
        ("[localhost]:5", "want an IP address or localhost"),
        ("[::1:5", "want an IP address or localhost"),
        ("[[::1]]:5", "want an IP address or localhost"),
        ("::1:5", "want brackets"),
        ("[127.0.0.1]:5", "want brackets"),
    ],
)
def test_what_is_no_address_is_refused(text, says):
    with pytest.raises(ValueError, match=says):
        Address.parse(text)
