"""Cases over a real ledger: opened with the verdict, worked by people, undone whole."""

from __future__ import annotations

from contextlib import closing, suppress
from datetime import UTC, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hashmatch.audit.ledger import Ledger
from hashmatch.errors import Forbidden, Malformed, NotFound, Refused
from hashmatch.roles import Role
from hashmatch.store.check import Report
from hashmatch.v1 import cases_pb2
from hashmatch.v1.audit_pb2 import NO_CASE_FAILED, NO_CASE_SHADOW
from hashmatch.workflow import intake
from hashmatch.workflow.case import NEXT, State, Step
from hashmatch.workflow.case_facts import state_of
from hashmatch.workflow.case_store import CaseStore
from hashmatch.workflow.check import check_cases
from hashmatch.workflow.plan import Instruction

from .conftest import START, Work, match, plan_of

REVIEWER, LEAD = frozenset({Role.REVIEWER}), frozenset({Role.REVIEWER, Role.LEAD})


def decide(work, case_id, by, confirm=True, roles=REVIEWER):
    work.do("claim", case_id, by=by)
    return work.do("decide", case_id, confirm=confirm, by=by, roles=roles, reason_codes=["KNOWN_MATERIAL"])


def test_a_match_opens_a_case_in_its_own_transaction(work):
    case = work.match("u1", "e1", content="c1")
    assert (state_of(case), case.tier, case.items, case.clusters) == (State.NEW, cases_pb2.TIER_T1, 1, 1)
    assert case.decide_by.ToDatetime(START.tzinfo) == START + timedelta(hours=4)
    (one,) = work.dispatches(case.id)
    assert (one.verb, one.destination, one.subject.content_id) == ("restrict", "platform", "c1")
    verdict, step = work.ledger.events(limit=10)
    assert (verdict.verdict.case_id, step.case_step.step) == (case.id, "OPEN")
    assert list(step.case_step.verdict_ids) == [verdict.verdict.verdict_id]
    assert not verdict.verdict.no_case


def test_matches_of_one_subject_join_its_open_case_and_copies_are_one_cluster(work):
    first, second, other = work.match("u1", "e1"), work.match("u1", "e1"), work.match("u1", "e2")
    assert first.id == second.id == other.id
    assert (other.items, other.clusters) == (3, 2)
    assert work.match("u2", "e1").id != first.id
    with work.ledger.env.read() as txn:
        assert [item.cluster for item in work.cases.store.items(txn, first.id)] == [2, 1, 1]


def test_who_is_not_named_has_a_case_by_content(work):
    assert work.match("", content="c1").id == work.match("", content="c1").id != work.match("", content="c2").id


def test_shadow_lists_open_nothing_and_say_so(work):
    record = match(shadow=True)
    work.ledger.append(record, log=True, remember=False).result()
    assert (record.case_id, record.no_case) == ("", NO_CASE_SHADOW)


def test_it_is_contained_once_the_platform_says_so(work):
    case = work.match()
    (one,) = work.dispatches(case.id)
    work.now += timedelta(minutes=3)
    work.confirm(one.id)
    case = work.get(case.id)
    assert state_of(case) is State.CONTAINED
    assert case.contained_at.ToDatetime(START.tzinfo) == work.now
    work.confirm(one.id)  # again: nothing changes
    assert work.get(case.id) == case


def test_with_nowhere_to_send_the_answer_is_the_containment(work):
    work.destinations = []
    assert state_of(work.match()) is State.CONTAINED


def test_a_confirmed_case_sends_what_was_deferred_and_closes_once_all_is_done(work):
    case = work.match()
    work.match()
    case = decide(work, case.id, "ann")
    assert state_of(case) is State.CONFIRMED
    assert [one.verb for one in work.dispatches(case.id)] == ["restrict", "restrict", "suspend"]
    work.confirm_all(case.id)
    assert state_of(work.get(case.id)) is State.CLOSED
    assert work.steps(case.id) == ["OPEN", "JOIN", "CLAIM", "CONFIRM", "CLOSE"]


def test_a_report_is_queued_once_and_closes_the_case_when_it_is_finished(work):
    work.plan = plan_of(authority="NCMEC")
    case = work.match()
    assert work.reported == []
    decide(work, case.id, "ann")
    work.confirm_all(case.id)
    assert (work.reported, state_of(work.get(case.id))) == ([case.id], State.CONFIRMED)
    assert state_of(work.do("reported", case.id)) is State.CLOSED


def test_a_report_without_review_goes_out_with_the_match_and_may_be_finished_first(work):
    work.plan = plan_of(authority="NCMEC", report_unreviewed=True)
    case = work.match()
    assert work.reported == [case.id]
    assert state_of(work.do("reported", case.id)) is State.NEW
    decide(work, case.id, "ann")
    assert work.reported == [case.id]
    work.confirm_all(case.id)
    assert state_of(work.get(case.id)) is State.CLOSED


def test_clearing_undoes_everything_that_was_asked_for(work):
    work.plan = plan_of(instructions=(Instruction("restrict", "r"), Instruction("suspend", "r")))
    case = work.match("u1", content="c1")
    work.match("u1", content="c2")
    decide(work, case.id, "ann", confirm=False)
    undone = [(d.verb, d.subject.content_id) for d in work.dispatches(case.id) if d.reason == "cleared"]
    assert sorted(undone) == [
        ("reinstate", "c1"), ("restore", "c1"), ("restore", "c2"),
    ]  # fmt: skip
    work.confirm_all(case.id)
    assert state_of(work.get(case.id)) is State.CLOSED


def test_what_an_entry_made_elsewhere_is_worked_again_once_it_was_wrong_here(work):
    sibling, unrelated = work.match("u2", "e1"), work.match("u3", "e9")
    for one in (sibling, unrelated):
        decide(work, one.id, "ann")
    case = work.match("u1", "e1")
    decide(work, case.id, "bob", confirm=False)
    assert work.do("work_siblings_again")
    assert not work.do("work_siblings_again")
    assert state_of(work.get(sibling.id)) is State.NEW
    assert work.steps(sibling.id)[-1] == "REOPEN"
    assert work.steps(unrelated.id)[-1] == "CONFIRM"


def test_two_persons_agree_or_a_lead_decides(work):
    work.plan = plan_of(second_review=("near the threshold",))
    case = work.match()
    assert state_of(decide(work, case.id, "ann")) is State.SECOND_REVIEW
    with pytest.raises(Refused, match="decided already"):
        work.do("claim", case.id, by="ann")
    assert state_of(decide(work, case.id, "bob", confirm=False)) is State.ESCALATED
    work.do("claim", case.id, by="cid")
    with pytest.raises(Forbidden, match="lead"):
        work.do("decide", case.id, confirm=True, by="cid", roles=REVIEWER, reason_codes=["X"])
    done = work.do("decide", case.id, confirm=True, by="cid", roles=LEAD, reason_codes=["X"])
    assert state_of(done) is State.CONFIRMED


def test_claims_are_exclusive_and_lapse(work):
    case = work.match()
    work.do("claim", case.id, by="ann", lease=timedelta(minutes=5))
    for step, more in (("claim", {}), ("escalate", {"reason_codes": ["X"]})):
        with pytest.raises(Refused, match="ann has it until"):
            work.do(step, case.id, by="bob", **more)
    with pytest.raises(Refused, match="claim it first: ann has it"):
        work.do("decide", case.id, confirm=True, by="bob", roles=LEAD, reason_codes=["X"])
    work.now += timedelta(minutes=5)
    with pytest.raises(Refused, match="lapsed"):
        work.do("decide", case.id, confirm=True, by="ann", roles=LEAD, reason_codes=["X"])
    work.do("claim", case.id, by="bob")
    work.do("unclaim", case.id, by="bob")
    assert work.get(case.id).assignee == ""


def test_a_reversal_is_anothers_and_undoes_what_was_done(work):
    case = work.match("u1", content="c1")
    decide(work, case.id, "ann")
    work.confirm_all(case.id)
    with pytest.raises(Refused, match="another person"):
        work.do("reopen", case.id, by="ann", roles=LEAD, reason_codes=["APPEAL"], clear=True)
    with pytest.raises(Forbidden):
        work.do("reopen", case.id, by="bob", roles=REVIEWER, reason_codes=["APPEAL"], clear=True)
    case = work.do("reopen", case.id, by="bob", roles=LEAD, reason_codes=["APPEAL"], clear=True)
    assert state_of(case) is State.CLEARED
    assert {d.verb for d in work.dispatches(case.id) if d.reason == "cleared"} == {"restore", "reinstate"}
    with pytest.raises(Refused, match="cleared already"):
        work.do("reopen", case.id, by="cid", roles=LEAD, reason_codes=["APPEAL"], clear=True)


@pytest.mark.parametrize(
    ("step", "given", "error"),
    [
        ("claim", {"lease": timedelta(days=2)}, Malformed),
        ("decide", {"confirm": True, "roles": LEAD, "reason_codes": []}, Malformed),
        ("decide", {"confirm": True, "roles": LEAD, "reason_codes": ["no spaces please"]}, Malformed),
        ("decide", {"confirm": True, "roles": LEAD, "reason_codes": ["X"]}, Refused),
        ("escalate", {"reason_codes": ["X"], "tier": 3}, Refused),
        ("reopen", {"reason_codes": ["X"], "roles": LEAD}, Refused),
    ],
)
def test_what_is_refused_changes_nothing(work, step, given, error):
    case = work.match()
    before = work.ledger.last_sequence()
    with pytest.raises(error):
        work.do(step, case.id, by="ann", **given)
    assert (work.get(case.id), work.ledger.last_sequence()) == (case, before)


def test_a_case_that_is_not_there(work):
    with pytest.raises(NotFound):
        work.do("claim", "c_nowhere", by="ann")


def test_notes_are_sealed(work):
    case = work.match()
    work.do("escalate", case.id, by="ann", reason_codes=["X"], note="a note about somebody")
    last = next(e for e in work.ledger.events(limit=100) if e.case_step.step == "ESCALATE")
    assert b"a note about somebody" not in last.SerializeToString()
    with work.ledger.env.read() as txn:
        assert work.ledger.sealing.text(txn, last.sealed) == "a note about somebody"


def test_clocks_that_pass_are_told_once(work):
    case = work.match()
    work.now += timedelta(hours=2)
    with work.ledger.env.read() as txn:
        due = [(case.id, "contain"), (case.id, "acknowledge")]
        assert work.cases.store.clocks_due(txn, work.now, 10) == due
    for _, clock in due:
        work.do("breach", case.id, clock)
    with work.ledger.env.read() as txn:
        assert work.cases.store.clocks_due(txn, work.now, 10) == []
    assert work.steps(case.id).count("BREACH") == 2
    assert "page" in {d.verb for d in work.dispatches(case.id)}


def test_pages_are_the_most_urgent_first(work):
    later = [work.match(f"u{n}").id for n in range(3)]
    work.plan = plan_of(tier=0)
    urgent = work.match("u9").id
    with work.ledger.env.read() as txn:
        found, after = work.cases.store.page(txn, limit=3)
        assert [case.id for case in found] == [urgent, *later[:2]]
        found, after = work.cases.store.page(txn, limit=3, after=after)
        assert ([case.id for case in found], after) == (later[2:], b"")


PEOPLE = ("ann", "bob", "cid")
MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("match"), st.sampled_from("uv"), st.sampled_from("ef")),
        st.tuples(st.just("claim"), st.sampled_from(PEOPLE)),
        st.tuples(st.just("decide"), st.sampled_from(PEOPLE), st.booleans()),
        st.tuples(st.just("escalate"), st.sampled_from(PEOPLE)),
        st.tuples(st.just("reopen"), st.sampled_from(PEOPLE), st.booleans()),
        st.tuples(st.just("confirm"), st.booleans()),
        st.tuples(
            st.just("reported"),
        ),
        st.tuples(st.just("wait"), st.integers(1, 90)),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(MOVES, st.booleans(), st.booleans())
def test_no_walk_reaches_an_illegal_state(tmp_path_factory, moves, second, authority):
    work = Work(tmp_path_factory.mktemp("walk"))
    work.plan = plan_of(second_review=("sample",) if second else (), authority="NCMEC" if authority else "")
    with closing(work.ledger):
        cases = [work.match("u").id]
        for name, *more in moves:
            case_id = cases[-1]
            with suppress(Refused, Forbidden):  # as they should be: what follows looks at what was done
                if name == "match":
                    cases.append(work.match(*more).id)
                elif name == "claim":
                    work.do("claim", case_id, by=more[0])
                elif name == "decide":
                    work.do("decide", case_id, by=more[0], confirm=more[1], roles=LEAD, reason_codes=["X"])
                elif name == "escalate":
                    work.do("escalate", case_id, by=more[0], reason_codes=["X"])
                elif name == "reopen":
                    work.do("reopen", case_id, by=more[0], clear=more[1], roles=LEAD, reason_codes=["X"])
                elif name == "confirm":
                    for one in work.dispatches(case_id):
                        work.confirm(one.id, failed=more[0] and one.verb != "restrict")
                elif name == "reported":
                    work.do("reported", case_id)
                else:
                    work.now += timedelta(minutes=more[0])
        holds_together(work, set(cases))


def holds_together(work, cases):
    """What the log tells of every case is a way through the table, and ends where the case is."""
    at = {}
    for event in work.ledger.events(limit=10_000):
        if event.HasField("case_step"):
            said = event.case_step
            step, state = Step(said.step), State(said.state)
            if step is Step.OPEN:
                assert said.case_id not in at
            else:
                assert NEXT[at[said.case_id], step] is state
            at[said.case_id] = state
    assert set(at) == cases
    for case_id, state in at.items():
        case, dispatches = work.get(case_id), work.dispatches(case_id)
        assert state_of(case) is state
        open_ = [d for d in dispatches if d.state != cases_pb2.DISPATCH_STATE_CONFIRMED]
        assert case.unsettled == len(open_)
        assert case.uncontained == sum(d.verb == "restrict" for d in open_)
        if state is State.CLOSED:
            assert not open_


def test_what_is_made_more_urgent_is_to_be_taken_and_decided_sooner(work):
    case = work.match()
    work.do("claim", case.id, by="ann")
    work.now += timedelta(minutes=1)
    case = work.do("escalate", case.id, by="ann", reason_codes=["IMMINENT_HARM"], tier=0)
    assert (case.tier, case.HasField("acknowledged_at"), case.assignee) == (cases_pb2.TIER_T0, False, "")
    assert case.acknowledge_by.ToDatetime(START.tzinfo) == work.now + timedelta(minutes=5)
    assert case.decide_by.ToDatetime(START.tzinfo) == work.now + timedelta(minutes=15)
    assert "page" in {d.verb for d in work.dispatches(case.id)}


def test_what_was_cleared_and_is_confirmed_after_all_is_done_again(work):
    case = work.match("u1", content="c1")
    decide(work, case.id, "ann", confirm=False)
    work.confirm_all(case.id)
    work.do("reopen", case.id, by="bob", roles=LEAD, reason_codes=["LOOKED_AGAIN"])
    decide(work, case.id, "ann")
    verbs = [(one.verb, one.subject.content_id) for one in work.dispatches(case.id)]
    assert verbs == [("restrict", "c1"), ("restore", "c1"), ("restrict", "c1"), ("suspend", "")]
    work.confirm_all(case.id)
    assert state_of(work.get(case.id)) is State.CLOSED


def test_rules_that_fail_lose_no_match(work, caplog):
    del work.plan
    case = work.match()
    assert (list(case.rules), case.tier, state_of(case)) == (["the policy failed"], cases_pb2.TIER_T1, State.CONTAINED)
    assert "the policy failed on verdict" in caplog.text


def test_what_cannot_be_done_is_accepted_by_a_person_and_keeps_no_case_open(work, tmp_path):
    work.plan = plan_of(instructions=(Instruction("restrict", "r"), Instruction("remove", "r", True)))
    case = work.match()
    decide(work, case.id, "ann")
    restrict, remove = (f"{case.id}.{number:06d}" for number in (1, 2))
    with pytest.raises(Refused, match="given up"):
        work.do("accept", remove, by="lea", why="the account is gone")
    work.do("confirm", restrict, failed=False)
    work.do("confirm", remove, failed=True, problem="no such account")
    assert state_of(work.get(case.id)) is State.CONFIRMED
    with pytest.raises(Malformed):
        work.do("accept", remove, by="lea", why=" ")
    work.do("accept", remove, by="lea", why="the account is gone")
    assert state_of(work.get(case.id)) is State.CLOSED
    assert work.get(case.id).uncontained == 1
    with pytest.raises(Refused, match="lea has said so"):
        work.do("accept", remove, by="lea", why="again")
    work.do("confirm", remove, failed=False)
    assert (work.get(case.id).uncontained, work.get(case.id).unsettled) == (0, 0)
    (said,) = [e.delivered for e in work.ledger.events(limit=100) if e.delivered.outcome == "ACCEPTED"]
    assert (said.dispatch_id, said.by) == (remove, "lea")
    work.ledger.close()
    report = Report()
    check_cases(report, tmp_path)
    assert report.problems == []


def test_the_check_derives_every_case_again(work, tmp_path):
    case = work.match()
    decide(work, case.id, "ann")
    work.ledger.close()
    report = Report()
    check_cases(report, tmp_path)
    assert (report.problems, report.checked["cases"]) == ([], 1)
    with closing(Ledger(tmp_path)) as ledger:
        store = CaseStore(ledger.env, ledger.sealing)
        with ledger.env.write() as txn:
            before = store.get(txn, case.id)
            changed = cases_pb2.Case()
            changed.CopyFrom(before)
            changed.state, changed.unsettled = cases_pb2.CASE_STATE_CLOSED, 7
            store.put(txn, changed, before)
    check_cases(report, tmp_path)
    assert sorted(problem.what.partition(": ")[2] for problem in report.problems) == [
        "its state is not the log's", "what is unsettled is not what it says",
    ]  # fmt: skip


def test_a_case_that_is_full_is_followed_by_another(work, monkeypatch):
    monkeypatch.setattr(intake, "MAX_ITEMS", 3)
    ids = [work.match("u1", content=f"c{number}").id for number in range(5)]
    assert ids == [ids[0]] * 3 + [ids[3]] * 2
    assert work.get(ids[3]).prior_case_id == ids[0]


def test_what_is_about_the_whole_case_is_sent_once(work):
    work.plan = plan_of(instructions=(Instruction("restrict", "r"), Instruction("page", "r")))
    case = work.match("u1")
    work.match("u1")
    assert [one.verb for one in work.dispatches(case.id)] == ["restrict", "page", "restrict"]


def test_each_item_is_done_to_what_its_own_rule_wants(work):
    work.plan = plan_of(instructions=(Instruction("restrict", "r"), Instruction("remove", "r", deferred=True)))
    case = work.match("u1", content="a")
    work.plan = plan_of(instructions=(Instruction("restrict", "r"),))
    work.match("u1", content="b")
    decide(work, case.id, "ann")
    removed = [one.subject.content_id for one in work.dispatches(case.id) if one.verb == "remove"]
    assert removed == ["a"]


def test_nothing_is_decided_that_was_not_seen(work):
    case = work.match("u1")
    work.do("claim", case.id, by="ann")
    work.match("u1")
    given_ = {"confirm": False, "by": "ann", "roles": LEAD, "reason_codes": ["X"]}
    with pytest.raises(Refused, match="1 items came since"):
        work.do("decide", case.id, items_seen=1, **given_)
    assert state_of(work.do("decide", case.id, items_seen=2, **given_)) is not State.NEW


def test_who_escalates_does_not_decide_alone_where_two_are_wanted(work):
    work.plan = plan_of(second_review=("sample",))
    case = work.match()
    work.do("escalate", case.id, by="ann", reason_codes=["X"])
    work.do("claim", case.id, by="ann")
    with pytest.raises(Refused, match="ann escalated it"):
        work.do("decide", case.id, by="ann", confirm=True, roles=LEAD, reason_codes=["X"])


def test_a_newcomer_is_to_be_contained_too(work):
    case = work.match("u1")
    work.confirm_all(case.id)
    assert state_of(work.get(case.id)) is State.CONTAINED
    later = work.match("u1")
    assert (state_of(later), later.HasField("contained_at")) == (State.NEW, False)
    work.confirm_all(case.id)
    assert state_of(work.get(case.id)) is State.CONTAINED


def test_a_more_urgent_match_has_the_case_taken_and_paged_about_anew(work):
    work.plan = plan_of(tier=2, instructions=(Instruction("page", "r"),))
    case = work.match("u1")
    work.do("claim", case.id, by="ann")
    work.plan = plan_of(tier=0, instructions=(Instruction("page", "r"),))
    case = work.match("u1")
    assert (case.assignee, case.HasField("acknowledged_at")) == ("", False)
    assert [one.verb for one in work.dispatches(case.id)] == ["page", "page"]


def test_a_report_that_is_finished_after_all_has_its_duty_whatever_became_of_the_case(work):
    work.plan = plan_of(authority="NCMEC", report_unreviewed=True, instructions=())
    case = work.match()
    decide(work, case.id, "ann", confirm=False)
    assert state_of(work.get(case.id)) is State.CLOSED
    assert state_of(work.do("reported", case.id, receipt="4711")) is State.CLOSED
    with work.ledger.env.read() as txn:
        assert [hold.kind for hold in work.cases.store.holds(txn, case.id)] == ["US_REPORT"]


def test_what_was_undone_is_not_sent_again(work):
    case = work.match("u1", content="a")
    (one,) = work.dispatches(case.id)
    with work.ledger.changing() as log:
        work.cases.dispatched(log, lambda box: box.not_delivered(log, one.id, "no", None), one.id)
    decide(work, case.id, "ann", confirm=False)
    with pytest.raises(Refused, match="undone since"):
        work.do("retry", one.id)


@pytest.mark.parametrize("verb", ["page"])
def test_the_platform_says_nothing_of_what_was_not_asked_of_it(work, verb):
    work.plan = plan_of(instructions=(Instruction(verb, "r"),))
    case = work.match("u1")
    with pytest.raises(Refused, match="not asked of the platform"):
        work.do("confirm", work.dispatches(case.id)[0].id, failed=False)


def test_a_reopened_case_has_clocks_that_run(work):
    case = work.match("u1")
    decide(work, case.id, "ann")
    work.confirm_all(case.id)
    work.now += timedelta(days=30)
    case = work.do("reopen", case.id, by="bob", roles=LEAD, reason_codes=["X"])
    assert case.decide_by.ToDatetime(START.tzinfo) > work.now
    with work.ledger.env.read() as txn:
        assert work.cases.store.clocks_due(txn, work.now, 10) == []
        later = work.now + timedelta(days=2)
        assert len(work.cases.store.clocks_due(txn, later, 10)) == 2


def test_however_many_cases_an_entry_made_all_are_worked_again(work):
    siblings = [work.match(f"s{number}", "e1").id for number in range(7)]
    for one in siblings:
        decide(work, one, "ann")
    decide(work, work.match("u1", "e1").id, "bob", confirm=False)
    rounds = 0
    while work.do("work_siblings_again", limit=3):
        rounds += 1
    assert rounds == 3
    assert {state_of(work.get(one)) for one in siblings} == {State.NEW}


def test_a_match_whose_case_cannot_be_written_is_written_without_one(work):
    good = work.match("u1")
    with work.ledger.env.write() as txn:  # damage it
        txn.put(good.id.encode(), b"nonsense", db=work.ledger.env.table("cases"))
    record, beside = match("u1"), match("u2")
    written = [work.ledger.append(one, log=True, remember=False) for one in (record, beside)]
    assert all(one.result() for one in written)
    assert (record.case_id, record.no_case) == ("", NO_CASE_FAILED)
    assert beside.case_id
    assert work.ledger.healthy
    assert work.ledger.verdict(record.verdict_id).verdict.no_case == NO_CASE_FAILED


def test_what_was_filed_is_noted_once_the_rest_is_called_off(work):
    work.plan = plan_of(authority="NCMEC", report_unreviewed=True)
    case = work.match()
    work.receipts[case.id] = "4711"
    cleared = decide(work, case.id, "ann", confirm=False)
    assert cleared.HasField("reported_at")
    with work.ledger.env.read() as txn:
        assert [hold.authority_reference for hold in work.cases.store.holds(txn, case.id)] == ["4711"]


def test_a_second_authority_is_told_of_once_with_its_own_duty(work):
    work.plan = plan_of(authority="NCMEC")
    case = work.match()
    decide(work, case.id, "ann")
    told = {"receipt": "1", "by": "lead"}
    work.do("record_report", case.id, authority="NCMEC", **told)
    with pytest.raises(Refused, match="already"):
        work.do("record_report", case.id, authority="NCMEC", **told)
    work.do("record_report", case.id, authority="NCA", duty="UK_REPORT", **told)
    for again in ("ncmec", "nca"):
        with pytest.raises(Refused, match="already"):
            work.do("record_report", case.id, authority=again, **told)
    with work.ledger.env.read() as txn:
        begun = {h.kind: h.until.ToDatetime(UTC).year - work.now.year for h in work.cases.store.holds(txn, case.id)}
    assert begun == {"US_REPORT": 1, "UK_REPORT": 1, "UK_REFERENCE": 5}
    for kind in ("LITIGATION", "UK_REFERENCE", "OPEN_CASE"):  # nothing that a finished report begins
        with pytest.raises(Malformed, match="US_REPORT, UK_REPORT"):
            work.do("record_report", case.id, authority="Interpol", duty=kind, **told)
    said = [e.reported.authority for e in work.ledger.events(limit=100) if e.HasField("reported")]
    assert said == ["NCMEC", "NCA"]


def test_which_match_of_an_entry_was_the_first_is_known_later(work):
    records = [match(uploader) for uploader in ("u1", "u2")]
    for record in records:
        work.ledger.append(record, log=True, remember=False).result()
    (entry,) = {(m.list, m.entry_id) for record in records for m in record.matches}
    with work.ledger.env.read() as txn:
        assert [work.cases.store.first_matched(txn, record) for record in records] == [[entry], []]


def test_clearing_lifts_what_is_our_own_and_nothing_that_others_want(work):
    case = work.match()
    for kind in ("OPEN_CASE", "LITIGATION"):
        work.do("place_hold", case.id, kind=kind, ground="g", by="lea", jurisdiction="US", reference="r")
    decide(work, case.id, "ann", confirm=False)
    with work.ledger.env.read() as txn:
        assert {h.kind: list(h.released_by) for h in work.cases.store.holds(txn, case.id)} == {
            "OPEN_CASE": ["ann"], "LITIGATION": [],
        }  # fmt: skip


def test_one_person_spelled_two_ways_is_one(work):
    work.plan = plan_of(second_review=("near the threshold",))
    case = work.match()
    decide(work, case.id, "ada")
    with pytest.raises(Refused, match="another person"):
        work.do("claim", case.id, by="Ada ")
