"""What users and agencies ask: held at once, answered once checked, by people who do not check themselves."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hashmatch.errors import HashmatchError, Malformed, NotFound, Refused
from hashmatch.roles import Role
from hashmatch.v1.common_pb2 import Subject
from hashmatch.workflow import inquiry as rules
from hashmatch.workflow.case import State as CaseState
from hashmatch.workflow.case_facts import state_of
from hashmatch.workflow.inquiries import Asked, Inquiries, take
from hashmatch.workflow.inquiry import NEXT, OPEN, RULES, Kind, State, Step

from .conftest import START, plan_of

AGENCY = {
    "agency": "County Police", "contact": "desk@police.example", "jurisdiction": "US", "reference": "LE-7",
    "legal_basis": "18 USC 2703", "scope": "account u1",
}  # fmt: skip
ALL = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def inquiries(work):
    return Inquiries(work.ledger.env, work.cases)


def receive(work, inquiries, kind, **given):
    with work.ledger.changing() as log:
        return inquiries.receive(log, Asked(kind=kind, **AGENCY | given), by="liaison")


def step(work, inquiries, row, name, by, said="by telephone", **more):
    with work.ledger.changing() as log:
        return take(inquiries, log, row.id, name, by=by, said=said, **more)


def told(work):
    return [
        (e.inquiry_step.step, e.inquiry_step.state)
        for e in work.ledger.events(limit=1000)
        if e.HasField("inquiry_step")
    ]


def test_an_order_is_held_for_at_once_and_answered_after_two_checked(work, inquiries):
    case = work.match("u1")
    row = receive(work, inquiries, Kind.LE_PROCESS, case_ids=[case.id])
    with work.ledger.env.read() as txn:
        assert [h.kind for h in work.cases.store.holds(txn, case.id)] == ["LE_REQUEST"]
    with pytest.raises(Refused, match="APPROVED"):
        step(work, inquiries, row, "FULFIL", "liaison")
    step(work, inquiries, row, "VERIFY", "liaison")
    with pytest.raises(Refused, match="another person"):
        step(work, inquiries, row, "APPROVE", "LIAISON")
    step(work, inquiries, row, "APPROVE", "lead")
    done = step(work, inquiries, row, "FULFIL", "liaison", "package sent")
    assert (done.state, done.outcome, done.verified_by, done.approved_by) == (
        "FULFILLED", "package sent", "liaison", "lead",
    )  # fmt: skip
    assert told(work) == [
        ("RECEIVE", "RECEIVED"), ("VERIFY", "VERIFIED"), ("APPROVE", "APPROVED"), ("FULFIL", "FULFILLED"),
    ]  # fmt: skip


def test_an_emergency_makes_its_case_t0_and_pages_whoever_has_it(work, inquiries):
    case = work.match("u1")
    work.do("claim", case.id, by="ann")
    receive(work, inquiries, Kind.LE_EMERGENCY, case_ids=[case.id])
    now = work.get(case.id)
    assert (now.tier, state_of(now), now.assignee) == (1, CaseState.ESCALATED, "")
    assert [d.verb for d in work.dispatches(case.id)].count("page") == 1


def test_a_user_who_tells_of_danger_opens_a_case_that_pages_and_does_nothing_else(work, inquiries):
    row = receive(work, inquiries, Kind.USER, subject=Subject(content_id="post-9"), imminent=True)
    (case_id,) = row.case_ids
    case = work.get(case_id)
    assert (case.tier, case.told_by, case.items) == (1, row.id, 1)
    assert [d.verb for d in work.dispatches(case_id)] == ["page"]
    work.do("claim", case_id, by="ann")
    work.do("decide", case_id, confirm=True, by="ann", roles=frozenset(Role), reason_codes=["SEEN"])
    assert sorted(d.verb for d in work.dispatches(case_id)) == ["page", "preserve", "remove"]
    with pytest.raises(Refused, match="by its case"):
        step(work, inquiries, row, "VERIFY", "liaison")


def test_a_takedown_joins_the_open_case_of_its_subject(work, inquiries):
    case = work.match("u1")
    row = receive(work, inquiries, Kind.LE_TAKEDOWN, subject=Subject(uploader_id="u1", content_id="c9"))
    assert list(row.case_ids) == [case.id]
    assert work.get(case.id).items == 2


@pytest.mark.parametrize("kind", [k for k in Kind if RULES[k].wants])
def test_what_its_kind_wants_must_be_given(work, inquiries, kind):
    case = work.match("u1")
    for field in RULES[kind].wants:
        with pytest.raises(Malformed, match=field):
            receive(work, inquiries, kind, case_ids=[case.id], **{field: " "})
    with work.ledger.env.read() as txn:
        assert inquiries.page(txn, every=True, after="", limit=10) == ([], "")
        assert work.cases.store.holds(txn, case.id) == []


def test_bad_inquiries_leave_nothing_behind(work, inquiries):
    with pytest.raises(NotFound):
        receive(work, inquiries, Kind.LE_PRESERVATION, case_ids=["c_none"])
    with pytest.raises(Malformed, match="case_ids"):
        receive(work, inquiries, Kind.LE_PRESERVATION)
    with pytest.raises(Malformed, match="whose media"):
        receive(work, inquiries, Kind.LE_DESTROY, subject=Subject(uploader_id="u1"))
    with pytest.raises(Malformed, match="due_by"):
        receive(work, inquiries, Kind.USER, subject=Subject(uploader_id="u1"), due_by=START)
    assert told(work) == []


def test_the_first_due_is_listed_first_and_what_is_late_is_told_once(work, inquiries):
    case = work.match("u1")
    slow = receive(work, inquiries, Kind.LE_PROCESS, case_ids=[case.id])
    fast = receive(work, inquiries, Kind.LE_PROCESS, case_ids=[case.id], due_by=START + timedelta(hours=3))
    with work.ledger.env.read() as txn:
        first, token = inquiries.page(txn, every=False, after="", limit=1)
        second, last = inquiries.page(txn, every=False, after=token, limit=1)
    assert ([r.id for r in first], [r.id for r in second], last) == ([fast.id], [slow.id], "")
    work.now += timedelta(hours=4)
    with work.ledger.changing() as log:
        assert inquiries.breaches(log, 10) == 1
        assert inquiries.breaches(log, 10) == 0
    assert told(work)[-1] == ("BREACH", "RECEIVED")


@ALL
@given(st.sampled_from(Kind), st.lists(st.tuples(st.sampled_from(Step), st.sampled_from(["a", "b"])), max_size=8))
def test_no_walk_reaches_an_illegal_state(work, inquiries, kind, walk):
    case = work.match("u1")
    row = receive(work, inquiries, kind, case_ids=[case.id])
    for name, by in walk:
        was = State(row.state)
        try:
            row = step(work, inquiries, row, name, by, counsel="di")
        except HashmatchError:
            with work.ledger.env.read() as txn:
                assert inquiries.get(txn, row.id).state == was
            continue
        assert row.state == NEXT[was, name]
        if row.state == State.FULFILLED:
            needs = RULES[kind].needs
            assert OPEN.index(was) >= OPEN.index(needs)
            assert needs is State.RECEIVED or row.verified_by
            assert needs is not State.APPROVED or row.approved_by != row.verified_by


def test_the_table_renders():
    assert len(rules.table()) == len(Kind)


def test_a_letter_about_an_uploader_keeps_all_that_there_is_of_them(work, inquiries):
    old = work.match("u1")
    work.do("claim", old.id, by="ann")
    work.do("decide", old.id, confirm=True, by="ann", roles=frozenset(Role), reason_codes=["SEEN"])
    work.confirm_all(old.id)
    row = receive(work, inquiries, Kind.LE_PRESERVATION, subject=Subject(uploader_id="u1"))
    assert old.id not in row.case_ids
    with work.ledger.env.read() as txn:
        assert [h.kind for h in work.cases.store.holds(txn, old.id)] == ["LE_PRESERVATION"]


def test_an_emergency_about_a_decided_case_of_any_tier_pages(work, inquiries):
    work.plan = plan_of(tier=3, instructions=())
    case = work.match("u1")
    work.do("claim", case.id, by="ann")
    work.do("decide", case.id, confirm=True, by="ann", roles=frozenset(Role), reason_codes=["SEEN"])
    receive(work, inquiries, Kind.LE_EMERGENCY, case_ids=[case.id])
    assert [(d.verb, d.tier) for d in work.dispatches(case.id)] == [("page", 1)]


def closed(work, uploader):
    """A case of an uploader, worked and over."""
    case = work.match(uploader)
    work.do("claim", case.id, by="ann")
    work.do("decide", case.id, confirm=False, by="ann", roles=frozenset(Role), reason_codes=["X"])
    work.confirm_all(case.id)
    return case.id


def held(work, case_ids):
    with work.ledger.env.read() as txn:
        return [bool(work.cases.store.holds(txn, case_id)) for case_id in case_ids]


@pytest.mark.parametrize("named", [0, 1, 2])
def test_a_letter_keeps_all_cases_of_its_uploader_whichever_it_names(work, inquiries, named):
    made = [closed(work, "u1") for _ in range(3)]
    other = closed(work, "u2")
    row = receive(work, inquiries, Kind.LE_PRESERVATION, case_ids=[made[named]])
    assert held(work, [*made, other]) == [True] * 3 + [False]
    assert row.unheld_from == ""


def test_what_is_too_many_to_be_held_at_once_is_told_and_held_for_the_next_inquiry(
    work, inquiries, monkeypatch, caplog
):
    monkeypatch.setattr("hashmatch.workflow.inquiries.MAX_HELD", 2)
    made = [closed(work, "u1") for _ in range(4)]
    row = receive(work, inquiries, Kind.LE_PRESERVATION, case_ids=[made[3]])
    assert (held(work, made), row.unheld_from) == ([False, False, True, True], made[1])
    assert f"case {made[1]}" in caplog.text
    row = receive(work, inquiries, Kind.LE_PRESERVATION, case_ids=[row.unheld_from])
    assert held(work, made) == [True] * 4
