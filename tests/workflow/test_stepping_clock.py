"""Instructions under a clock that is set: what waits is not put off for longer, and nothing is given up at once."""

from __future__ import annotations

from datetime import timedelta

from hashmatch.delivery.dispatch import Receipt
from hashmatch.workflow.outbox import state_of

from .platforms import Platform, down, sending

DAY = timedelta(days=1)


def states(work, case):
    return [state_of(one).value for one in work.dispatches(case.id)]


def test_a_retry_does_not_wait_for_a_clock_that_was_set_back(work):
    platform = Platform()
    platform.answer = down
    with sending(work, platform) as sender:
        work.now += DAY
        case = work.match()
        assert sender.send("platform") == 1
        platform.answer = lambda _dispatch: Receipt(confirmed=True)
        assert sender.send("platform") == 0
        work.now -= DAY
        assert sender.send("platform") == 1
        assert states(work, case) == ["CONFIRMED"]


def test_what_was_taken_by_who_died_does_not_wait_for_a_clock_that_was_set_back(work):
    platform = Platform()
    with sending(work, platform) as sender:
        work.now += DAY
        case = work.match()
        with work.ledger.changing() as log:
            assert work.cases.outbox.take(log.txn, "platform", log.at, 9, timedelta(minutes=2))
        assert sender.send("platform") == 0
        work.now -= DAY
        assert sender.send("platform") == 1
        assert states(work, case) == ["DELIVERED"]


def test_an_endpoint_is_not_left_alone_until_a_clock_is_where_it_was(work):
    platform = Platform()
    platform.answer = down
    with sending(work, platform) as sender:
        work.now += DAY
        cases = [work.match(f"u{number}") for number in range(9)]
        sender.send("platform")
        platform.answer = lambda _dispatch: Receipt(confirmed=True)
        assert sender.send("platform") == 0
        work.now -= DAY
        assert sender.send("platform") == 1  # a probe
        assert sender.send("platform") == 8
        assert [states(work, case) for case in cases] == [["CONFIRMED"]] * 9


def test_a_confirmation_has_its_hour_anew_where_the_clock_was_set_back(work):
    platform = Platform()
    with sending(work, platform) as sender:
        work.now += DAY
        case = work.match()
        for _ in range(4):  # after the next hour it is a person's
            assert sender.send("platform") == 1
            work.now += timedelta(hours=1)
        work.now -= DAY + timedelta(minutes=59)
        assert sender.send("platform") == 0
        assert states(work, case) == ["DELIVERED"]
        work.now += timedelta(minutes=59)
        assert sender.send("platform") == 0
        work.now += timedelta(minutes=1)
        assert sender.send("platform") == 1
        assert states(work, case)[0] == "TIMED_OUT"


def test_a_clock_that_jumps_costs_one_attempt_and_gives_nothing_up(work):
    platform = Platform()
    with sending(work, platform) as sender:
        delivered = work.match("u1")
        assert sender.send("platform") == 1
        platform.answer = down
        waiting = work.match("u2")
        assert sender.send("platform") == 1
        work.now += 2 * DAY
        assert sender.send("platform") == 2
        assert sender.send("platform") == 0
        assert (states(work, delivered), states(work, waiting)) == (["DELIVERED"], ["REQUESTED"])
        assert [one.attempts for case in (delivered, waiting) for one in work.dispatches(case.id)] == [2, 2]
        platform.answer = lambda _dispatch: Receipt(confirmed=True)
        work.now += timedelta(minutes=1)
        assert sender.send("platform") == 2
        assert (states(work, delivered), states(work, waiting)) == (["CONFIRMED"], ["CONFIRMED"])


def test_however_many_were_put_off_each_is_taken_once(work):
    platform = Platform()
    platform.answer = down
    with sending(work, platform) as sender:
        work.now += DAY
        early = [work.match(f"u{number}") for number in range(4)]
        sender.send("platform")
        work.now -= DAY
        late = [work.match(f"v{number}") for number in range(2)]
        with work.ledger.changing() as log:
            taken = work.cases.outbox.take(log.txn, "platform", log.at, 9, timedelta(minutes=2))
            again = work.cases.outbox.take(log.txn, "platform", log.at, 9, timedelta(minutes=2))
    assert sorted(one.case_id for one in taken) == sorted(case.id for case in early + late)
    assert [one.case_id for one in taken[:2]] == [case.id for case in late]  # by their time
    assert again == []
