"""Second looks: drawn, asked of somebody who has not seen the case, and a lead is asked where the two differ."""

from __future__ import annotations

from datetime import timedelta

import pytest

from hashmatch.errors import Forbidden, Malformed, NotFound, Refused
from hashmatch.roles import Role
from hashmatch.v1.cases_pb2 import DECISION_CLEAR, DECISION_CONFIRM
from hashmatch.workflow import figures, policy_file
from hashmatch.workflow.blind import DEADLINE, Blind, pairs
from hashmatch.workflow.case import State
from hashmatch.workflow.case_facts import state_of
from hashmatch.workflow.double_review import Sampling
from hashmatch.workflow.plan import Instruction

from .conftest import plan_of

EVERY = Sampling(key=bytes(16), base=1000)


@pytest.fixture
def people(work):
    found = ["ann", "bob", "dee"]
    work.cases.blind = Blind(work.ledger.env, work.cases.store, EVERY, lambda: found)
    return found


def decided(work, by="ann", confirm=True, **plan):
    work.plan = plan_of(instructions=(Instruction("restrict", "r"),), **plan)
    case = work.match("u1")
    work.do("claim", case.id, by=by)
    return work.do("decide", case.id, confirm=confirm, by=by, roles=frozenset(Role), reason_codes=["SEEN"])


def waiting(work, name):
    with work.ledger.env.read() as txn:
        return list(work.cases.blind.waiting(txn, name))


def asked(work, people):
    (found,) = [(name, row) for name in people for row in waiting(work, name)]
    return found


def test_another_is_asked_and_is_not_told_what_was_decided(work, people):
    case = decided(work)
    name, row = asked(work, people)
    assert name != "ann"
    assert (row.case_id, row.first, row.first_by) == (case.id, 0, "")
    done = work.do("review_blind", row.id, by=name, decision=DECISION_CONFIRM)
    assert (done.first, done.second) == (DECISION_CONFIRM, DECISION_CONFIRM)
    assert state_of(work.get(case.id)) is State.CONFIRMED
    assert waiting(work, name) == []
    with pytest.raises(Refused):
        work.do("review_blind", row.id, by=name, decision=DECISION_CLEAR)
    with work.ledger.env.read() as txn:
        assert list(pairs(work.ledger.env, txn)) == [("DECISION_CONFIRM", "DECISION_CONFIRM")]


def test_where_the_two_differ_a_lead_is_asked(work, people):
    case = decided(work)
    name, row = asked(work, people)
    work.do("review_blind", row.id, by=name, decision=DECISION_CLEAR)
    assert state_of(work.get(case.id)) is State.ESCALATED
    assert work.steps(case.id)[-2:] == ["REOPEN", "ESCALATE"]
    assert work.get(case.id).reviews_before == 1
    work.do("claim", case.id, by="ann")
    with pytest.raises(Refused, match="another person"):  # who decided it the first time
        work.do("decide", case.id, confirm=True, by="ann", roles=frozenset(Role), reason_codes=["SEEN"])


def test_who_is_asked_for_a_second_look_works_the_case_in_no_other_way(work, people):
    case = decided(work)
    name, _ = asked(work, people)
    for step, more in (("claim", {}), ("escalate", {"reason_codes": ["X"]}),
                       ("reopen", {"reason_codes": ["X"], "roles": frozenset(Role)})):  # fmt: skip
        with pytest.raises(Refused, match="second look"):
            work.do(step, case.id, by=name, **more)


def test_what_is_reopened_is_not_looked_at_twice_as_it_was(work, people):
    case = decided(work)
    name, row = asked(work, people)
    work.do("reopen", case.id, by="lead", roles=frozenset(Role), reason_codes=["APPEAL"])
    assert waiting(work, name) == []
    with pytest.raises(NotFound):
        work.do("review_blind", row.id, by=name, decision=DECISION_CLEAR)
    assert state_of(work.get(case.id)) is State.NEW


def test_nobody_is_asked_who_is_alone_or_where_two_decide_anyway(work, people):
    people[:] = ["ann"]
    decided(work)
    assert waiting(work, "ann") == []
    people[:] = ["ann", "bob"]
    decided(work, second_review=("near the threshold",))
    assert waiting(work, "bob") == []


def test_only_who_is_asked_says_it(work, people):
    decided(work)
    name, row = asked(work, people)
    other = next(one for one in people if one != name)
    with pytest.raises(Forbidden):
        work.do("review_blind", row.id, by=other, decision=DECISION_CLEAR)
    with pytest.raises(Malformed):
        work.do("review_blind", row.id, by=name, decision=0)
    with pytest.raises(NotFound):
        work.do("review_blind", "c_none.0", by=name, decision=DECISION_CLEAR)


# ── in time ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def pass_on(work):
    with work.ledger.changing() as log:
        return work.cases.blind.breaches(log, 100)


def late(work):
    found = figures.figures(work.ledger, policy_file.load(None), work.now)
    return found.unsaid, [(one.review_id, one.asked_of, one.seconds) for one in found.late]


def test_what_is_not_said_in_time_is_asked_of_another_and_told_as_overdue(work, people):
    case = decided(work)
    name, row = asked(work, people)
    assert row.due_by.seconds - row.asked_at.seconds == DEADLINE.total_seconds()
    work.now += DEADLINE - timedelta(seconds=1)
    assert (pass_on(work), late(work)) == (0, (1, []))
    work.now += timedelta(seconds=1)
    assert late(work) == (1, [(row.id, name, 0.0)])
    assert pass_on(work) == 1
    other, again = asked(work, people)
    assert (other not in ("ann", name), list(again.lapsed), again.id) == (True, [name], row.id)
    assert again.due_by.seconds - again.asked_at.seconds == DEADLINE.total_seconds()
    work.now += timedelta(hours=1)
    assert (pass_on(work), late(work)) == (0, (1, [(row.id, other, 3600.0)]))
    with pytest.raises(Forbidden):
        work.do("review_blind", row.id, by=name, decision=DECISION_CONFIRM)
    work.do("review_blind", row.id, by=other, decision=DECISION_CONFIRM)
    assert late(work) == (0, [])
    work.now += 10 * DEADLINE
    assert pass_on(work) == 0
    assert state_of(work.get(case.id)) is State.CONFIRMED


def test_where_nobody_else_is_there_it_stays_theirs_and_overdue_until_somebody_comes(work, people):
    people[:] = ["ann", "bob"]
    decided(work)
    for _ in range(2):
        work.now += DEADLINE
        assert pass_on(work) == 1
        ((name, row),) = [(name, row) for name in people for row in waiting(work, name)]
        assert (name, list(row.lapsed)) == ("bob", [])
    assert late(work)[1] == [(row.id, "bob", DEADLINE.total_seconds())]
    people.append("dee")
    work.now += DEADLINE
    pass_on(work)
    assert [one.id for one in waiting(work, "dee")] == [row.id]
    assert waiting(work, "bob") == []


def test_what_is_reopened_is_not_overdue(work, people):
    case = decided(work)
    work.do("reopen", case.id, by="lead", roles=frozenset(Role), reason_codes=["APPEAL"])
    work.now += DEADLINE
    assert (pass_on(work), late(work)) == (0, (0, []))


def test_how_likely_it_was_to_be_drawn_is_not_told_to_who_is_asked(work, people):
    decided(work)
    assert asked(work, people)[1].permille == 0


def test_a_decision_by_a_new_list_is_drawn_as_often_as_is_set(work):
    since = {"known": work.now - timedelta(days=29)}
    only_new = Sampling(key=bytes(16), base=0, new_reviewer=0, high_impact=0, near_threshold=0, new_list=1000)
    work.cases.blind = Blind(
        work.ledger.env, work.cases.store, only_new, lambda: ["ann", "bob"], listed_since=since.get
    )
    decided(work)
    assert len(waiting(work, "bob")) == 1
    since["known"] -= timedelta(days=1)
    work.plan = plan_of(instructions=())
    for uploader, made in (("u2", since["known"]), ("u3", None)):
        since["known"] = made
        case = work.match(uploader)
        work.do("claim", case.id, by="ann")
        work.do("decide", case.id, confirm=True, by="ann", roles=frozenset(Role), reason_codes=["SEEN"])
    assert len(waiting(work, "bob")) == 1
