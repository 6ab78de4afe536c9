"""When something is sent again, and when an endpoint is left alone, under a clock that may be set."""

from datetime import UTC, datetime, timedelta

import pytest

from hashmatch.delivery.schedule import DELAYS, FAILURES, LONGEST, LONGEST_PAUSE, Breaker, again, is_time

T0 = datetime(2026, 1, 1, tzinfo=UTC)
MOMENT = timedelta(microseconds=1)


def opened(at=T0, probes=0):
    breaker = Breaker()
    for _ in range(FAILURES):
        breaker = breaker.failed(at)
    for _ in range(probes):
        breaker = breaker.failed(breaker.until)
    return breaker


@pytest.mark.parametrize(
    ("at", "due"),
    [
        (T0 - timedelta(days=9), True), (T0, True), (T0 + MOMENT, False), (T0 + LONGEST, False),
        (T0 + LONGEST + MOMENT, True), (T0 + timedelta(days=9), True),
    ],
)  # fmt: skip
def test_it_is_time_for_what_is_over_and_for_what_is_later_than_it_can_be(at, due):
    assert is_time(at, T0) is due


def test_nothing_is_put_off_for_longer_than_the_longest_delay():
    for attempts in range(1, len(DELAYS) + 1):
        for wanted in (None, 1e9):
            assert T0 < again(attempts, now=T0, jitter=0.999, retry_after=wanted) <= T0 + LONGEST
    assert again(len(DELAYS) + 1, now=T0, jitter=0.0) is None


def test_a_breaker_is_open_for_as_long_as_it_says():
    breaker = opened()
    assert not breaker.lets_through(T0)
    assert not breaker.lets_through(breaker.until - MOMENT)
    assert breaker.lets_through(breaker.until)
    assert breaker.failed(T0) is breaker  # a call that was under way


@pytest.mark.parametrize("probes", [0, 1, 9])
def test_a_breaker_that_would_be_open_for_too_long_tries_one_message(probes):
    breaker = opened(T0 + timedelta(days=1), probes)
    assert breaker.lets_through(T0)
    failed = breaker.failed(T0)
    assert T0 < failed.until <= T0 + LONGEST_PAUSE  # by the clock as it is now
    assert not failed.lets_through(T0)


def test_a_breaker_whose_clock_jumps_tries_one_message():
    breaker = opened()
    later = T0 + timedelta(days=2)
    assert breaker.lets_through(later)
    assert not breaker.failed(later).lets_through(later)
