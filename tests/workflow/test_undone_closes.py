"""What was undone since wants nobody: nobody is paged, its case closes and is contained, however it came about."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest

from hashmatch.delivery.dispatch import NotTaken, Receipt, RefusedForGood
from hashmatch.roles import Role
from hashmatch.store.check import Report
from hashmatch.workflow.case import State
from hashmatch.workflow.case_facts import state_of as case_state
from hashmatch.workflow.check import check_cases
from hashmatch.workflow.outbox import ASKED_AGAIN, CONFIRM_WITHIN, state_of

from .platforms import Platform, sending

LEAD = {"roles": frozenset(Role), "reason_codes": ["X"]}


def confirmed(_dispatch):
    return Receipt(confirmed=True)


def never(_dispatch):
    raise RefusedForGood("never")


def decide(work, case, by="ann", *, confirm):
    work.do("claim", case.id, by=by)
    work.do("decide", case.id, confirm=confirm, by=by, **LEAD)


def reopen(work, case):
    work.do("reopen", case.id, by="lea", **LEAD)


def fates(work, case):
    return [(one.verb, state_of(one).value, one.accepted_by) for one in work.dispatches(case.id)]


def send_all(work, sender):
    """Sends until nothing is due, nor will be once a lease has ended."""
    for _ in range(3):
        while sender.send("platform"):
            pass
        work.now += timedelta(minutes=2)


def to_the_last_ask(work, sender):
    """Delivers, and asks for a confirmation until it is to be asked for once more."""
    for _ in range(1 + ASKED_AGAIN):
        sender.send("platform")
        work.now += CONFIRM_WITHIN


@pytest.fixture
def platform():
    return Platform()


@pytest.fixture(autouse=True)
def _whole(work, tmp_path):
    yield
    work.ledger.close()
    report = Report()
    check_cases(report, tmp_path)
    assert report.problems == []


def test_what_is_undone_while_it_is_asked_for_the_last_time_wants_nobody(work, platform):
    case = work.match("u1", content="a")
    with sending(work, platform) as sender:
        to_the_last_ask(work, sender)

        def meanwhile(dispatch):
            if dispatch.verb == "restrict":
                decide(work, case, confirm=False)
                return Receipt()
            return confirmed(dispatch)

        platform.answer = meanwhile
        send_all(work, sender)
    assert fates(work, case) == [("restrict", "TIMED_OUT", "hashmatch"), ("restore", "CONFIRMED", "")]
    assert case_state(work.get(case.id)) is State.CLOSED


@pytest.mark.parametrize("problem", [NotTaken("later"), RefusedForGood("never")])
def test_what_fails_while_it_is_undone_ends_at_once_and_the_attempt_counts(work, platform, problem):
    case = work.match("u1", content="a")

    def meanwhile(_dispatch):
        decide(work, case, confirm=False)
        raise problem

    platform.answer = meanwhile
    with sending(work, platform) as sender:
        sender.send("platform")
    assert fates(work, case) == [("restrict", "BURIED", "hashmatch"), ("restore", "REQUESTED", "")]
    assert work.dispatches(case.id)[0].attempts == 1


@pytest.mark.parametrize("last", [lambda _dispatch: Receipt(), never])
def test_nobody_is_paged_about_what_was_confirmed_while_it_was_asked_for_again(work, platform, last):
    case = work.match("u1", content="a")
    with sending(work, platform) as sender:
        to_the_last_ask(work, sender)

        def meanwhile(dispatch):
            work.confirm(dispatch.key)
            return last(dispatch)

        platform.answer = meanwhile
        sender.send("platform")
    assert fates(work, case) == [("restrict", "CONFIRMED", "")]


def test_a_case_is_read_once_for_all_that_failed_of_it(work, platform):
    for number in range(8):
        case = work.match("u1", content=f"c{number}")
    reads, of_case, decided = [], work.cases.outbox.of_case, threading.Lock()

    def counted(*given):
        reads.append(threading.current_thread())
        return of_case(*given)

    def meanwhile(_dispatch):
        if decided.acquire(blocking=False):
            decide(work, case, confirm=False)
        raise NotTaken("later")

    with sending(work, platform) as sender:
        while sender.send("platform"):
            pass
        work.now += CONFIRM_WITHIN
        platform.answer = meanwhile
        work.cases.outbox.of_case = counted
        assert sender.send("platform") == 8  # all at once, since all are asked for again
    assert reads.count(threading.current_thread()) == 1  # the person decides in another
    assert fates(work, case)[:8] == [("restrict", "TIMED_OUT", "hashmatch")] * 8


def test_what_a_person_accepted_and_the_service_undid_counts_no_more(work, platform):
    case = work.match("u1", content="a")
    with sending(work, platform) as sender:
        to_the_last_ask(work, sender)
        sender.send("platform")
        one = work.dispatches(case.id)[0]
        work.do("accept", one.id, by="lea", why="it has no such item")
        assert (work.get(case.id).unsettled, work.get(case.id).uncontained) == (1, 1)  # the page; and the item
        decide(work, case, confirm=False)
        platform.answer = confirmed
        send_all(work, sender)
        assert fates(work, case)[0] == ("restrict", "TIMED_OUT", "hashmatch")
        reopen(work, case)
        decide(work, case, "bob", confirm=True)
        send_all(work, sender)
    found = work.get(case.id)
    assert (case_state(found), found.unsettled, found.uncontained) == (State.CLOSED, 0, 0)
    assert found.HasField("contained_at")


@pytest.mark.parametrize("accepted", [False, True])
def test_nobody_need_look_at_what_could_not_be_done_once_its_case_was_cleared(work, accepted):
    case = work.match("u1", content="a")
    one = work.dispatches(case.id)[0]
    work.confirm(one.id, failed=True, problem="no such item")
    if accepted:
        work.do("accept", one.id, by="lea", why="it has no such item")
    decide(work, case, confirm=False)
    assert fates(work, case) == [("restrict", "FAILED", "hashmatch")]
    one = work.dispatches(case.id)[0]
    assert (one.problem, one.accepted_why) == ("no such item", "its case was cleared: there is nothing to undo")
    assert case_state(work.get(case.id)) is State.CLOSED
    work.confirm(one.id)  # it was done after all
    assert fates(work, case) == [("restrict", "CONFIRMED", "hashmatch"), ("restore", "REQUESTED", "")]


def test_nobody_need_look_at_what_the_platform_cannot_do_since_it_was_undone(work, platform):
    case = work.match("u1", content="a")
    with sending(work, platform) as sender:
        sender.send("platform")
        decide(work, case, confirm=False)
        one, restore = work.dispatches(case.id)
        work.confirm(restore.id)
        assert case_state(work.get(case.id)) is State.CLEARED
        work.confirm(one.id, failed=True)
    assert fates(work, case)[0] == ("restrict", "FAILED", "hashmatch")
    assert work.dispatches(case.id)[0].accepted_why == f"undone since by {restore.id}"
    assert case_state(work.get(case.id)) is State.CLOSED


def test_what_could_not_be_undone_waits_for_a_person(work):
    case = work.match("u1", content="a")
    work.confirm_all(case.id)
    decide(work, case, confirm=False)
    work.confirm(work.dispatches(case.id)[1].id, failed=True)
    assert fates(work, case)[1] == ("restore", "FAILED", "")
    assert case_state(work.get(case.id)) is State.CLEARED


def test_what_could_not_be_done_is_asked_for_anew_where_the_case_is_confirmed_after_all(work):
    case = work.match("u1", content="a")
    work.confirm(work.dispatches(case.id)[0].id, failed=True)
    decide(work, case, confirm=False)
    reopen(work, case)
    decide(work, case, "bob", confirm=True)
    assert fates(work, case)[:2] == [("restrict", "FAILED", "hashmatch"), ("restrict", "REQUESTED", "")]
    assert work.get(case.id).uncontained == 1
    assert not work.get(case.id).HasField("contained_at")
    for one in work.dispatches(case.id)[1:]:
        work.confirm(one.id)
    assert case_state(work.get(case.id)) is State.CLOSED


def test_what_still_stands_is_undone_where_undoing_it_and_asking_anew_both_came_to_nothing(work, platform):
    case = work.match("u1", content="a")
    work.confirm_all(case.id)
    decide(work, case, confirm=False)
    platform.answer = never
    with sending(work, platform) as sender:
        sender.send("platform")
    assert fates(work, case)[1] == ("restore", "BURIED", "")
    reopen(work, case)
    decide(work, case, "bob", confirm=True)
    assert fates(work, case)[1] == ("restore", "BURIED", "hashmatch")
    again = next(one for one in work.dispatches(case.id)[2:] if one.verb == "restrict")
    work.confirm(again.id, failed=True)
    work.do("reopen", case.id, by="lea", clear=True, **LEAD)
    assert ("restore", "REQUESTED", "") in fates(work, case)


def test_what_is_matched_again_in_a_reopened_case_does_not_wait_for_what_undid_it(work, platform):
    case = work.match("u1", content="a")
    work.confirm_all(case.id)
    decide(work, case, confirm=False)
    reopen(work, case)

    def later(_dispatch):
        raise NotTaken("later", retry_after=6 * 3600)

    platform.answer = later
    with sending(work, platform) as sender:
        sender.send("platform")
        work.match("u1", content="a")
        platform.answer = confirmed
        send_all(work, sender)
    assert fates(work, case)[1:3] == [("restore", "BURIED", "hashmatch"), ("restrict", "CONFIRMED", "")]
