"""What is said of each item's containment, against instructions that go every way."""

from __future__ import annotations

import pytest

from hashmatch.roles import Role
from hashmatch.workflow.containment import tell_containment, word
from hashmatch.workflow.plan import Instruction

from .conftest import plan_of

LEAD = frozenset(Role)


def of(work, case_id):
    """Of each item, the oldest first."""
    with work.ledger.env.read() as txn:
        items = list(work.cases.store.items(txn, case_id))
    tell_containment(items, work.dispatches(case_id))
    return [word(item.containment) for item in reversed(items)]


def test_where_nothing_was_asked_the_answer_was_all(work):
    work.destinations = []
    assert of(work, work.match().id) == ["by answer"]


def test_what_is_asked_is_contained_once_all_of_it_is_confirmed(work):
    work.plan = plan_of(instructions=(Instruction("restrict", "r"), Instruction("remove", "r")))
    case = work.match("u1", content="a")
    work.match("u1", content="b")
    assert of(work, case.id) == ["asked", "asked"]
    first, second, *_ = work.dispatches(case.id)
    work.confirm(first.id)
    assert of(work, case.id) == ["asked", "asked"]
    work.confirm(second.id)
    assert of(work, case.id) == ["confirmed", "asked"]


@pytest.mark.parametrize("how", ["failed", "given up", "never confirmed"])
def test_what_could_not_be_done_is_not_contained(work, how):
    case = work.match("u1", content="a")
    (one,) = work.dispatches(case.id)
    if how == "failed":
        work.confirm(one.id, failed=True)
    elif how == "given up":
        with work.ledger.changing() as log:
            work.cases.dispatched(log, lambda box: box.not_delivered(log, one.id, "no", None), one.id)
    else:
        with work.ledger.changing() as log:
            work.cases.dispatched(log, lambda box: box.delivered(log, one.id, work.now), one.id)
            work.cases.dispatched(log, lambda box: box.missed(log, one.id), one.id)
    assert of(work, case.id) == ["failed"]


def test_what_was_cleared_is_undone_and_what_is_confirmed_after_all_is_asked_again(work):
    case = work.match("u1", content="a")
    work.confirm_all(case.id)
    work.do("claim", case.id, by="ann")
    work.do("decide", case.id, confirm=False, by="ann", roles=LEAD, reason_codes=["X"])
    assert of(work, case.id) == ["undone"]
    work.do("reopen", case.id, by="lea", roles=LEAD, reason_codes=["X"])
    work.do("claim", case.id, by="bob")
    work.do("decide", case.id, confirm=True, by="bob", roles=LEAD, reason_codes=["X"])
    assert of(work, case.id) == ["asked"]
    work.confirm_all(case.id)
    assert of(work, case.id) == ["confirmed"]


def test_an_account_that_is_suspended_contains_no_item(work):
    work.plan = plan_of(instructions=(Instruction("suspend", "r"),))
    assert of(work, work.match().id) == ["by answer"]
