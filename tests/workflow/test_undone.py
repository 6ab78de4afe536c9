"""What was undone since is never sent after what undid it, whatever became of it; and what undoes it goes out."""

from __future__ import annotations

from datetime import timedelta

import pytest

from hashmatch.delivery.dispatch import NotTaken, Receipt, RefusedForGood
from hashmatch.errors import Refused
from hashmatch.roles import Role
from hashmatch.store.check import Report
from hashmatch.v1.cases_pb2 import DispatchRecord
from hashmatch.workflow.case import State
from hashmatch.workflow.case_facts import state_of as case_state
from hashmatch.workflow.check import check_cases
from hashmatch.workflow.outbox import state_of, undone

from .platforms import Platform, down, sending

HOUR = timedelta(hours=1)


def confirmed(_dispatch):
    return Receipt(confirmed=True)


def decide(work, case, by="ann", *, confirm):
    work.do("claim", case.id, by=by)
    work.do("decide", case.id, confirm=confirm, by=by, roles=frozenset(Role), reason_codes=["X"])


def fates(work, case):
    return [(one.verb, state_of(one).value, one.accepted_by) for one in work.dispatches(case.id)]


def rest(work, sender, hours=48):
    """Sends for so long as anything could be tried again."""
    until = work.now + timedelta(hours=hours)
    while work.now < until:
        if not sender.send("platform"):
            work.now += timedelta(minutes=10)


def verbs(platform):
    return [one.verb for one in platform.calls]


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


def test_what_was_delivered_is_not_asked_for_again_once_it_was_undone(work, platform):
    case = work.match("u1", content="a")
    with sending(work, platform) as sender:
        sender.send("platform")
        decide(work, case, confirm=False)
        platform.answer = confirmed
        rest(work, sender)
    assert verbs(platform) == ["restrict", "restore"]
    (one, restore) = work.dispatches(case.id)
    assert fates(work, case) == [("restrict", "TIMED_OUT", "hashmatch"), ("restore", "CONFIRMED", "")]
    assert one.problem == one.accepted_why == f"undone since by {restore.id}"
    assert case_state(work.get(case.id)) is State.CLOSED
    told = [e.delivered for e in work.ledger.events(limit=99) if e.HasField("delivered")]
    assert [(e.outcome, e.by) for e in told if e.dispatch_id == one.id] == [
        ("DELIVERED", ""), ("TIMED_OUT", ""), ("ACCEPTED", "hashmatch"),
    ]  # fmt: skip


def test_what_was_never_sent_is_not_sent_once_it_was_undone(work, platform):
    case = work.match("u1", content="a")
    decide(work, case, confirm=False)
    platform.answer = confirmed
    with sending(work, platform) as sender:
        rest(work, sender, 1)
    assert verbs(platform) == ["restore"]
    assert fates(work, case) == [("restrict", "BURIED", "hashmatch"), ("restore", "CONFIRMED", "")]
    assert not work.get(case.id).HasField("contained_at")


def test_what_undoes_it_does_not_wait_until_what_failed_would_be_tried_again(work, platform):
    case = work.match("u1", content="a")
    platform.answer = down
    with sending(work, platform) as sender:
        while work.dispatches(case.id)[0].attempts < 6:
            if not sender.send("platform"):
                work.now += timedelta(minutes=10)
        assert work.dispatches(case.id)[0].due_at.ToDatetime(work.now.tzinfo) > work.now + 4 * HOUR
        decide(work, case, confirm=False)
        platform.answer = confirmed
        rest(work, sender, 1)
    assert verbs(platform) == ["restrict"] * 6 + ["restore"]
    assert fates(work, case)[0] == ("restrict", "BURIED", "hashmatch")


@pytest.mark.parametrize("problem", [None, NotTaken("later"), RefusedForGood("never")])
def test_what_is_being_sent_while_it_is_undone_is_not_sent_once_more(work, platform, problem):
    case = work.match("u1", content="a")

    def meanwhile(dispatch):
        if dispatch.verb == "restrict":
            decide(work, case, confirm=False)
            if problem is not None:
                raise problem
        return Receipt()

    platform.answer = meanwhile
    with sending(work, platform) as sender:
        rest(work, sender, 3)
    assert verbs(platform)[:2] == ["restrict", "restore"]
    assert verbs(platform).count("restrict") == 1
    assert "page" not in [one.verb for one in work.dispatches(case.id)]


def test_what_undoes_it_is_not_sent_beside_it_by_another_process(work, platform):
    case = work.match("u1", content="a")
    other = Platform()
    with sending(work, platform) as sender, sending(work, other) as another:
        sender.send("platform")
        work.now += HOUR

        def meanwhile(_dispatch):  # it is asked for again
            decide(work, case, confirm=False)
            assert another.send("platform") == 0
            return Receipt()

        platform.answer = meanwhile
        sender.send("platform")
        assert verbs(platform) == ["restrict", "restrict"]
        platform.answer = other.answer = confirmed
        work.now += timedelta(minutes=2)
        another.send("platform")
    assert verbs(other) == ["restore"]


@pytest.mark.parametrize(("asks", "state"), [(1, "BURIED"), (9, "TIMED_OUT")])
def test_what_was_given_up_is_not_sent_again_and_wants_nobody_once_it_was_undone(work, platform, asks, state):
    case = work.match("u1", content="a")
    if state == "BURIED":
        platform.answer = lambda _dispatch: (_ for _ in ()).throw(RefusedForGood("never"))
    with sending(work, platform) as sender:
        for _ in range(asks):
            sender.send("platform")
            work.now += HOUR
        assert fates(work, case)[0] == ("restrict", state, "")
        decide(work, case, confirm=False)
        one, restore = (work.dispatches(case.id)[n] for n in (0, -1))
        assert fates(work, case)[0] == ("restrict", state, "hashmatch")
        with pytest.raises(Refused, match=f"undone since by {restore.id}"):
            work.do("retry", one.id)
        with pytest.raises(Refused, match="said so already"):
            work.do("accept", one.id, by="ann", why="x")
        platform.answer = confirmed
        sent = verbs(platform).count("restrict")
        rest(work, sender)
    assert verbs(platform).count("restrict") == sent
    assert fates(work, case)[-1] == ("restore", "CONFIRMED", "")


def test_what_the_platform_said_it_could_not_do_is_not_asked_for_once_the_case_was_cleared(work, platform):
    case = work.match("u1", content="a")
    with sending(work, platform) as sender:
        sender.send("platform")
        (one,) = work.dispatches(case.id)
        work.confirm(one.id, failed=True)
        decide(work, case, confirm=False)
        assert fates(work, case) == [("restrict", "FAILED", "hashmatch")]
        with pytest.raises(Refused, match="case was cleared"):
            work.do("retry", one.id)
        work.confirm(one.id)  # it was done after all
        assert fates(work, case)[-1] == ("restore", "REQUESTED", "")


def test_what_undid_it_is_not_sent_after_it_was_asked_for_anew(work, platform):
    case = work.match("u1", content="a")
    with sending(work, platform) as sender:
        sender.send("platform")
        decide(work, case, confirm=False)
        sender.send("platform")
        work.do("reopen", case.id, by="lea", roles=frozenset(Role), reason_codes=["X"])
        decide(work, case, "bob", confirm=True)
        platform.answer = confirmed
        rest(work, sender)
    told = [one.verb for one in platform.calls if one.verb != "suspend"]
    assert told == ["restrict", "restore", "restrict"]
    assert [(verb, state) for verb, state, _ in fates(work, case)[:3]] == [
        ("restrict", "TIMED_OUT"), ("restore", "TIMED_OUT"), ("restrict", "CONFIRMED"),
    ]  # fmt: skip
    assert work.get(case.id).uncontained == 0


def test_what_the_platform_says_late_still_counts(work, platform):
    case = work.match("u1", content="a")
    decide(work, case, confirm=False)
    with sending(work, platform) as sender:
        rest(work, sender, 1)
    one, restore = work.dispatches(case.id)
    work.confirm(one.id, failed=True)
    work.confirm(one.id)
    work.confirm(restore.id)
    assert [state for _, state, _ in fates(work, case)] == ["CONFIRMED", "CONFIRMED"]
    assert case_state(work.get(case.id)) is State.CLOSED


def test_nobody_is_called_since_a_cleared_case_is_not_contained(work):
    case = work.match("u1", content="a")
    decide(work, case, confirm=False)
    work.now += 24 * HOUR
    with work.ledger.env.read() as txn:
        assert (case.id, "contain") not in work.cases.store.clocks_due(txn, work.now, 10)
    assert "contain" not in work.do("breach", case.id, "contain").breached


def instruction(number, verb, content="a", **given):
    one = DispatchRecord(id=f"c.{number:06d}", verb=verb, destination="platform", **given)
    one.subject.content_id = content
    return one


def test_only_what_undoes_the_very_same_is_its_undoing():
    sent = [
        instruction(1, "restrict"), instruction(2, "restrict", "b"), instruction(3, "remove"),
        instruction(4, "restore"), instruction(5, "reinstate", "b"), instruction(6, "restrict"),
        instruction(7, "suppress", "", entry="l/1"), instruction(8, "unsuppress", "", entry="l/2"),
        instruction(9, "unsuppress", "", entry="l/1"), instruction(10, "page"),
    ]  # fmt: skip
    assert undone(sent) == {
        "c.000001": "c.000004", "c.000003": "c.000004", "c.000004": "c.000006", "c.000007": "c.000009",
    }  # fmt: skip
