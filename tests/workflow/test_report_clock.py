"""Reports under a clock that is set: none waits longer than it ever would, or is given up without a chance."""

from __future__ import annotations

from datetime import timedelta

import pytest

from hashmatch.workflow.report import FURTHEST, GIVE_UP_AFTER, Call, State, Step, after, next_step

from .reporting import filed, office, state_of
from .reports import RETRY, SUBMIT, T0, queued, success, went

KEPT = {"a": b"benign a" * 1000}


def test_a_clock_that_was_set_back_makes_nothing_wait_longer_than_it_ever_would():
    ahead = T0 + timedelta(days=2)
    record = went(queued(), RETRY, now=ahead)
    assert next_step(record, ahead).call is Call.WAIT
    assert next_step(record, T0) == SUBMIT
    assert next_step(record, record.next_attempt_at - FURTHEST).call is Call.WAIT
    assert next_step(record, record.next_attempt_at - FURTHEST - timedelta(microseconds=1)) == SUBMIT


def test_a_clock_that_jumps_past_the_thirty_days_leaves_every_report_its_chance():
    jumped = T0 + 2 * GIVE_UP_AFTER
    fresh, tried = queued(), went(queued(), RETRY)
    for record in (fresh, tried):
        assert next_step(record, jumped) == SUBMIT
        assert next_step(after(record, SUBMIT, RETRY, jumped, jitter=0), jumped) == Step(Call.ASK_A_PERSON)
    record, now = fresh, jumped
    while record.state is not State.FINISHED:  # the way is open: none of it is too late
        step = next_step(record, now)
        record = after(record, step, success(step), now, jitter=0)


@pytest.mark.parametrize("turned_away", [True, False])
def test_a_clock_that_jumps_past_the_month_leaves_a_report_its_chance(tmp_path, turned_away):
    with office(tmp_path, faults="submit:429=60", kept=KEPT) as one:
        row = one.confirm(one.match("u1", "a"))
        one.tipline.clock.advance(timedelta(days=60))
        if not turned_away:
            one.tipline.faults.clear()
        one.drain(one.tipline.clock.advance)
        assert state_of(one.row(row.id)) is (State.FAILED if turned_away else State.FINISHED)
        assert one.tipline.requests


def test_a_clock_that_is_set_back_delays_no_report(tmp_path):
    with office(tmp_path, faults="submit:429=60", kept=KEPT) as one:
        one.tipline.clock.advance(timedelta(days=2))
        row = one.confirm(one.match("u1", "a"))
        one.reporting.run_due()
        assert one.row(row.id).attempts == 1
        one.tipline.faults.clear()
        one.tipline.clock.advance(-timedelta(days=2))
        one.reporting.run_due()
        assert len(filed(one.tipline)) == 1
