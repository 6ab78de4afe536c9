from __future__ import annotations

import contextlib

import pytest
from simulate.clients import Client

from hashmatch.simulate.cybertipline import Settings, serving


@pytest.fixture(scope="module")
def tipline():
    """One service for what sets no faults and moves no clock."""
    with serving() as served:
        yield served


@pytest.fixture(scope="module")
def client(tipline):
    one = Client(tipline)
    with one.http:
        yield one


@pytest.fixture(scope="module")
def open_report(client):
    return client.opened()


@pytest.fixture
def own():
    """Starts a service of one test's own, and gives a client of it; faults and settings are arguments."""
    with contextlib.ExitStack() as stack:

        def start(faults="", clock=None, **options):
            one = Client(stack.enter_context(serving(settings=Settings(**options), faults=faults, clock=clock)))
            stack.enter_context(one.http)
            return one

        yield start


@pytest.fixture
def ready(own):
    """A client of an own service, an open report, and a file in it."""
    client = own()
    report_id = client.opened()
    return client, report_id, client.uploaded(report_id)
