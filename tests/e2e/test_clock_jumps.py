"""The wall clock of a running server jumps, forward and back: at the seam where hashmatch reads it.

Order comes from sequences, and waiting from the monotonic clock; only what is said in times of day follows this one.
"""

from __future__ import annotations

import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest
from pictures import png

from hashmatch import errors
from hashmatch.client import Finding, match_request
from hashmatch.v1 import match_pb2_grpc

SHIFTED = Path(__file__).parent / "shifted_clock.py"
HOUR = 3600
DAY = 24 * HOUR


@pytest.fixture(scope="module")
def served(shared, tmp_path_factory):
    """A server whose clock `jump(seconds)` sets to that long after noon; `ask(name)` says what a look-up comes to."""
    folder = tmp_path_factory.mktemp("clock")
    noon = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)

    def jump(seconds):
        (folder / "new").write_text(str((noon - datetime.now(UTC)).total_seconds() + seconds))
        os.replace(folder / "new", folder / "shift")

    jump(0)
    shared.jump = jump
    shared.program = [sys.executable, SHIFTED, folder / "shift"]
    known = shared.list_known((1, "pdq"))
    options = {"plain": (), "brief": ("--expires", "30m"), "rated": ("--per-second", "1"), "daily": ("--per-day", "3")}
    shared.keys = {
        name: shared.run("keys", "create", name, "--role", "uploader", *more).strip() for name, more in options.items()
    }
    shared.serve("--metrics-listen", "127.0.0.1:0", "--workers", "1")
    request = match_request(None, known)
    request.request_id = ""
    with grpc.insecure_channel(shared.address, (("grpc.enable_retries", 0),)) as channel:
        stub = match_pb2_grpc.MatchServiceStub(channel)

        def ask(name):
            metadata = (("authorization", f"Bearer {shared.keys[name]}"),)
            try:
                stub.Match(request, metadata=metadata, timeout=20)
            except grpc.RpcError as e:
                return e.code().name
            return "OK"

        shared.ask = ask
        yield shared


@pytest.fixture
def jump(served):
    served.jump(0)
    return served.jump


def test_verdicts_go_on_in_order_whatever_the_clock_says(served, jump):
    with served.client(key=served.keys["plain"], timeout=20) as client:
        first = client.match(png(1), request_id="first")
        ids = {0: first.verdict_id}
        for number, hours in enumerate((1, -1, 0, 1, 30, -1, 2)):
            jump(hours * HOUR)
            answer = client.match(png(1), request_id=f"after {number}")
            assert answer.finding == Finding.FINDING_MATCH
            assert client.match(png(1), request_id="first") == first  # a retry has its verdict
            assert client.serving()
            assert served.ready()
            ids[hours] = answer.verdict_id
        by_hours = [ids[hours] for hours in sorted(ids)]
        assert by_hours == sorted(by_hours)  # an id says when it was made, and is unique at any time
    events = served.json("log", "tail", "-n", "100")
    assert [int(event["sequence"]) for event in events] == list(range(1, len(events) + 1))
    asked = [one for one in served.recorded() if one == "first" or one.startswith("after ")]
    assert asked == ["first", *(f"after {number}" for number in range(7))]  # in the order in which they came
    served.run("check")


def test_a_key_expires_by_the_clock(served, jump):
    assert served.ask("brief") == "OK"
    jump(HOUR)
    assert served.ask("brief") == "UNAUTHENTICATED"
    assert served.ask("plain") == "OK"
    jump(-HOUR)
    assert served.ask("brief") == "OK"  # the clock is believed: it is the only one there is


def test_a_limit_per_second_neither_opens_nor_locks(served, jump):
    began, allowed = time.monotonic(), 0
    for hours in (0, 1, -1, 1, 0):
        jump(hours * HOUR)
        allowed += [served.ask("rated") for _ in range(5)].count("OK")
    assert 2 <= allowed <= 2 + (time.monotonic() - began)  # a burst, and one a second
    served.wait_for(lambda: served.ask("rated") == "OK")


def test_a_budget_of_a_day_neither_opens_nor_locks(served, jump):
    def day():
        return [served.ask("daily") for _ in range(4)]

    once, used_up = ["OK", "OK", "OK", "RESOURCE_EXHAUSTED"], ["RESOURCE_EXHAUSTED"] * 4
    assert day() == once
    with served.client(key=served.keys["daily"]) as client, pytest.raises(errors.OverBudget) as refused:
        client.match(png(1))
    assert 11 * HOUR < refused.value.retry_after <= 12 * HOUR  # to midnight
    for hours in (1, -1, 11.5):
        jump(hours * HOUR)
        assert day() == used_up
    jump(12.5 * HOUR)  # past midnight
    assert day() == once
    jump(11.5 * HOUR)
    assert day() == used_up  # a budget is never given twice
    jump(DAY + 11.5 * HOUR)
    assert day() == used_up
    jump(DAY + 12.5 * HOUR)  # and the next midnight opens it
    assert day() == once
