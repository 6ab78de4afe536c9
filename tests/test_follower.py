"""Which lists are warned of, and how often."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import timedelta

import pytest
from judging import NOON, state

from hashmatch.follower import StaleReminder

HOUR = timedelta(hours=1)


def refreshed(name: str, ago: timedelta | None, expected: int = 3600):
    return replace(state(name, refresh_seconds=expected), refreshed_at=None if ago is None else NOON - ago)


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    names = [record.args[0] for record in caplog.records if record.levelno == logging.WARNING]
    caplog.clear()
    return names


def test_a_stale_list_is_warned_of_once_an_hour(caplog: pytest.LogCaptureFixture) -> None:
    states = [
        refreshed("old", 3 * HOUR), refreshed("fresh", HOUR), refreshed("late", 2 * HOUR),
        refreshed("by hand", None), refreshed("whenever", 900 * HOUR, 0),
    ]  # fmt: skip
    reminder = StaleReminder()
    for _ in range(3):
        reminder.look(states, NOON)
    assert warned(caplog) == ["old"]
    reminder.look(states, NOON + timedelta(minutes=59))
    assert warned(caplog) == ["late"]
    reminder.look(states, NOON + HOUR)
    assert warned(caplog) == ["old"]


def test_a_list_that_was_refreshed_and_grows_old_again_is_warned_of_at_once(caplog: pytest.LogCaptureFixture) -> None:
    reminder = StaleReminder()
    for ago in (3 * HOUR, HOUR, 3 * HOUR):
        reminder.look([refreshed("a", ago)], NOON)
    assert warned(caplog) == ["a", "a"]
