"""Rounds of decision: what voids one, who decides it, what follows where a case is worked again or its clocks pass."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashmatch.errors import Forbidden, Refused
from hashmatch.v1.cases_pb2 import Case
from hashmatch.v1.common_pb2 import Subject
from hashmatch.workflow.case import State
from hashmatch.workflow.case_facts import cluster, state_of
from hashmatch.workflow.case_steps import SERVICE
from hashmatch.workflow.hold_table import Kind
from hashmatch.workflow.plan import Instruction, Jurisdiction

from .conftest import START, plan_of
from .test_casework import LEAD, decide

TWO = plan_of(second_review=("sample",))


def said(work, case_id, step):
    return [list(e.case_step.reason_codes) for e in work.ledger.events(limit=1000) if e.case_step.step == step]


# ── two persons decide the same ─────────────────────────────────────────────────────────────────────────────────────


def test_what_joins_between_two_opinions_voids_the_first_unless_it_is_a_copy(work):
    work.plan = TWO
    case = work.match("u1", "e1")
    decide(work, case.id, "ann")
    assert state_of(work.match("u1", "e1")) is State.SECOND_REVIEW  # a copy of what ann saw
    case = work.match("u1", "e2")
    assert (state_of(case), case.reviews_before) == (State.NEW, 1)
    assert said(work, case.id, "VOID") == [["SOMETHING_ELSE_JOINED"]]
    assert state_of(decide(work, case.id, "bob")) is State.SECOND_REVIEW
    assert state_of(decide(work, case.id, "ann")) is State.CONFIRMED  # who has seen it all by now


def escalated(work, **plan):
    """A case that the service escalated since an inquiry says that somebody is in danger."""
    work.plan = plan_of(second_review=("sample",), **plan)
    case = work.match()
    return work.do("escalate", case.id, by=SERVICE, reason_codes=["INQUIRY"], tier=0, claimed=True)


def test_what_the_service_escalated_is_not_decided_by_one_where_two_are_wanted(work):
    case = escalated(work)
    assert state_of(decide(work, case.id, "ann")) is State.ESCALATED  # a reviewer may be the first
    with pytest.raises(Refused, match="another person"):
        work.do("claim", case.id, by="ann")
    with pytest.raises(Forbidden, match="lead"):
        decide(work, case.id, "bob")
    assert state_of(decide(work, case.id, "bob", roles=LEAD)) is State.CONFIRMED


def test_where_those_two_differ_a_third_decides(work):
    case = escalated(work)
    decide(work, case.id, "ann", confirm=False)
    assert state_of(decide(work, case.id, "lea", roles=LEAD)) is State.ESCALATED
    assert work.steps(case.id)[-1] == "DISAGREE"
    assert state_of(decide(work, case.id, "lou", roles=LEAD)) is State.CONFIRMED


def test_what_a_person_escalated_is_decided_by_one_lead(work):
    work.plan = TWO
    case = work.match()
    work.do("escalate", case.id, by="ann", reason_codes=["X"])
    assert state_of(decide(work, case.id, "lea", roles=LEAD)) is State.CONFIRMED


def test_what_one_decided_before_the_service_escalated_it_counts(work):
    work.plan = TWO
    case = work.match()
    decide(work, case.id, "ann")
    work.do("escalate", case.id, by=SERVICE, reason_codes=["INQUIRY"], tier=0, claimed=True)
    assert state_of(decide(work, case.id, "lea", roles=LEAD)) is State.CONFIRMED


def test_what_joins_voids_the_first_opinion_on_what_the_service_escalated_too(work):
    case = escalated(work)
    decide(work, case.id, "ann")
    case = work.match("u1", "e2")
    assert (state_of(case), case.reviews_before) == (State.ESCALATED, 1)
    assert state_of(decide(work, case.id, "lea", roles=LEAD)) is State.ESCALATED
    assert state_of(decide(work, case.id, "lou", roles=LEAD)) is State.CONFIRMED


@pytest.mark.parametrize("way", ["differed", "escalated"])
def test_who_decides_alone_sees_what_joined(work, way):
    work.plan = TWO
    case = work.match("u1", "e1")
    if way == "differed":
        decide(work, case.id, "ann")
        decide(work, case.id, "bob", confirm=False)
    else:
        work.do("escalate", case.id, by="ann", reason_codes=["X"])
    work.match("u1", "e2")
    assert said(work, case.id, "VOID") == []
    assert state_of(decide(work, case.id, "lea", roles=LEAD)) is State.CONFIRMED


# ── worked again ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_urgent_case_that_is_worked_again_calls_somebody(work):
    work.plan = plan_of(tier=0)
    case = work.match()
    decide(work, case.id, "ann")
    assert "page" not in {d.verb for d in work.dispatches(case.id)}
    work.do("reopen", case.id, by="lea", roles=LEAD, reason_codes=["X"])
    assert [d.reason for d in work.dispatches(case.id) if d.verb == "page"] == ["worked again"]


def test_who_was_told_of_a_match_is_told_once_that_it_was_cleared(work):
    work.plan = plan_of(instructions=(Instruction("notify", "known"), Instruction("restrict", "known")))
    case = work.match()
    decide(work, case.id, "ann", confirm=False)
    told = [(d.verb, d.reason) for d in work.dispatches(case.id)]
    assert told == [("notify", "known"), ("restrict", "known"), ("restore", "cleared"), ("notify", "cleared")]
    work.do("reopen", case.id, by="lea", roles=LEAD, reason_codes=["X"])
    decide(work, case.id, "bob", confirm=False)
    assert [(d.verb, d.reason) for d in work.dispatches(case.id)] == told


# ── clocks after the decision ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("clock", ["contain", "report"])
def test_a_duty_that_is_not_met_after_the_decision_is_told_and_paged_about(work, clock):
    work.plan = plan_of(authority="NCMEC")
    case = work.match()
    decide(work, case.id, "ann")
    work.now += timedelta(days=2)
    with work.ledger.env.read() as txn:
        assert (case.id, clock) in work.cases.store.clocks_due(txn, work.now, 10)
    work.do("breach", case.id, clock)
    assert said(work, case.id, "BREACH") == [[clock.upper()]]
    assert "page" in {d.verb for d in work.dispatches(case.id)}


def test_a_report_that_a_cleared_case_does_not_need_is_no_breach(work):
    work.plan = plan_of(authority="NCMEC")
    case = work.match()
    decide(work, case.id, "ann", confirm=False)
    work.now += timedelta(days=2)
    work.do("breach", case.id, "report")
    assert said(work, case.id, "BREACH") == []


# ── where nobody is asked, and where the law has its own time ───────────────────────────────────────────────────────


def test_what_no_destination_takes_stands_with_the_case(work):
    work.destinations = []
    case = decide(work, work.match().id, "ann")
    assert list(case.unrouted) == ["restrict", "suspend"]
    work.destinations = ["platform"]
    work.do("reopen", case.id, by="lea", roles=LEAD, reason_codes=["X"])
    assert list(work.match().unrouted) == ["suspend"]


def test_what_a_person_told_of_has_the_duty_and_the_time_of_its_jurisdiction(work):
    row = Jurisdiction(
        name="Utopia", regions=frozenset({"UT"}), authority="HOTLINE", duty=Kind.UK_REPORT,
        deadlines=(timedelta(hours=1), None, None, None),
    )  # fmt: skip
    work.cases._reports_to = {"UT": ("HOTLINE", row)}.get
    case = work.do("tell", Subject(uploader_id="u1", region="UT"), told_by="q1", tier=0)
    assert (case.authority, case.duty) == ("HOTLINE", "UK_REPORT")
    assert case.report_by.ToDatetime(START.tzinfo) == START + timedelta(hours=1)


# ── clusters ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_a_copy_of_two_makes_them_one():
    case = Case()
    assert cluster(case, ["a"]) == (1, {})
    assert cluster(case, ["b"]) == (2, {})
    assert cluster(case, ["c"]) == (3, {})
    assert cluster(case, ["b", "a"]) == (1, {2: 1, 3: 2})
    assert (case.clusters, dict(case.cluster_of)) == (2, {"a": 1, "b": 1, "c": 2})
    assert cluster(case, ["d"]) == (3, {})


@given(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=3), max_size=25))
def test_clusters_are_what_shares_an_entry_by_way_of_others(matches):
    case, clusters, found, groups = Case(), [], [], []
    for entries in matches:
        number, called = cluster(case, [str(entry) for entry in entries])
        found = [called.get(one, one) for one in found] + [number]
        joined = [group for group in groups if group & set(entries)]
        groups = [group for group in groups if not group & set(entries)] + [set(entries).union(*joined)]
        clusters = [next(n for n, group in enumerate(groups) if set(one) <= group) for one in matches[: len(found)]]
    assert len(set(zip(found, clusters, strict=True))) == len(set(found)) == len(set(clusters)) == case.clusters
    assert set(found) == set(range(1, case.clusters + 1))


def test_items_before_are_called_as_their_clusters_are(work):
    for entry in ("e1", "e2", "e3"):
        work.match("u1", entry)
    case_id = work.join("u1", ["e2", "e1"]).id
    with work.ledger.env.read() as txn:
        assert [item.cluster for item in work.cases.store.items(txn, case_id)] == [1, 2, 1, 1]
    assert work.get(case_id).clusters == 2


def test_a_lead_alone_is_refused_what_two_must_agree_on_however_it_was_escalated(work):
    case = escalated(work)
    assert state_of(decide(work, case.id, "lea", roles=LEAD)) is State.ESCALATED
    with pytest.raises(Refused, match="another person"):
        decide(work, case.id, "lea", roles=LEAD)
