"""Every non-public form that a URL can lead to is refused, and what an operator allows is not."""

from __future__ import annotations

import socket
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashmatch.delivery.addresses import Egress, public
from hashmatch.errors import Malformed

NOT_PUBLIC = (
    (
        "0.0.0.0/8 10.0.0.1 100.64.0.1 127.0.0.1 127.1.2.3 169.254.169.254 172.16.0.1 192.0.0.8 192.0.2.1 192.88.99.1 "
        "192.168.1.1 198.18.0.1 198.51.100.1 203.0.113.1 224.0.0.1 240.0.0.1 255.255.255.255 "
        ":: ::1 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::ffff:0:127.0.0.1 "
        "64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 64:ff9b:1::1 64:ff9b::808:808 100::1 2001::1 2001:10::1 2001:20::1 "
        "2001:db8::1 2002:7f00:1:: 2002:a00:1:: 3fff::1 5f00::1 fc00::1 fd00:ec2::254 fe80::1 fe80::1%eth0 fec0::1 "
        "ff02::1 4000::1 1::1"
    )
    .replace("/8", "")
    .split(" ")
)
PUBLIC = ["8.8.8.8", "1.1.1.1", "93.184.216.34", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a00:1450:4001::1"]


@pytest.mark.parametrize("text", NOT_PUBLIC)
def test_what_is_not_public_is_refused(text):
    assert not public(ip_address(text))
    assert not Egress().permits(text)


@pytest.mark.parametrize("text", PUBLIC)
def test_what_is_public_is_not(text):
    assert Egress().permits(text)
    assert not Egress().permits(f"::ffff:{text}")  # no public host is reached in that form


@pytest.mark.parametrize("text", ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "①②⑦.⓪.⓪.①", "localhost", ""])
def test_odd_spellings_lead_to_addresses_that_are_refused(text):
    """They never reach us as addresses: what a resolver makes of them does."""
    assert not Egress().permits(text)
    try:
        found = {one[4][0] for one in socket.getaddrinfo(text, 443)}
    except (OSError, UnicodeError):
        return
    assert not any(map(Egress().permits, found))


def test_what_an_operator_names_may_be_reached_in_every_form_and_nothing_beside_it():
    egress = Egress(["10.1.0.0/16", "fd00::/8"])
    assert all(map(egress.permits, ("10.1.2.3", "::ffff:10.1.2.3", "fd12::1")))
    assert not any(map(egress.permits, ("10.2.0.1", "127.0.0.1", "fe80::1")))
    with pytest.raises(Malformed, match="such as"):
        Egress(["10.1.0.1/16"])


@given(st.ip_addresses(v=4))
def test_no_wrapping_of_a_closed_address_is_open(address):
    number = int(address)
    wrapped = [f"::ffff:{address}", f"::{address}", f"64:ff9b::{address}"]
    wrapped.append(f"2002:{number >> 16:x}:{number & 0xFFFF:x}::1")
    if not public(address):
        assert not any(map(Egress().permits, wrapped))
