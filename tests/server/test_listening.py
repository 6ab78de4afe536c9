"""Addresses that are listened on, of either family: metrics answer there, and one that is taken is refused by name."""

from __future__ import annotations

import socket
import urllib.request

import pytest

from hashmatch.address import Address
from hashmatch.errors import BadConfig
from hashmatch.server.monitor import Monitor
from hashmatch.server.sockets import bound


@pytest.fixture(params=["127.0.0.1", "::1"])
def free(request):
    address = Address(request.param, 0)
    try:
        bound(address).close()
    except BadConfig:
        pytest.skip("this machine has no such address")
    return address


def test_the_monitor_answers_at_the_address_it_tells(free):
    monitor = Monitor(str(free), text=lambda: b"m 1\n", live=lambda: "", ready=lambda: "")
    try:
        assert Address.parse(monitor.address).host == free.host
        with urllib.request.urlopen(f"http://{monitor.address}/metrics", timeout=5) as answer:
            assert answer.read() == b"m 1\n"
    finally:
        monitor.close()


def test_an_address_that_is_taken_is_refused_by_name(free):
    with bound(free) as holder:
        taken = free.at(holder.getsockname()[1])
        with pytest.raises(BadConfig, match="in use") as refused:
            bound(taken)
        assert str(taken) in str(refused.value)
        with pytest.raises(BadConfig, match="cannot serve metrics"):
            Monitor(str(taken), text=lambda: b"", live=lambda: "", ready=lambda: "")


def test_processes_share_an_address_that_is_held_for_them(free):
    with bound(free, socket.SO_REUSEPORT) as holder:
        bound(free.at(holder.getsockname()[1]), socket.SO_REUSEPORT).close()
