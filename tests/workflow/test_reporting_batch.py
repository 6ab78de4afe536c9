"""Reports of many cases filed as one: a real ledger, the real client, an imitation of the service over HTTP."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta

import pytest
from lxml import etree

from hashmatch.delivery.cybertip.terms import Environment
from hashmatch.errors import Refused
from hashmatch.simulate.state import Stage
from hashmatch.v1.cases_pb2 import CaseItem
from hashmatch.workflow.case_facts import state_of as case_state
from hashmatch.workflow.report import State
from hashmatch.workflow.report_batch import Batching
from hashmatch.workflow.report_rows import is_batch, receipt_of
from hashmatch.workflow.reporting import Reporting

from .reporting import LEAD, REPORTER, at, filed, office, state_of

KEPT = {"a": b"benign a" * 1000}
TWO = Batching(at_least=2, at_most=2)  # full with two: filed at once
THREE = Batching(at_least=2, at_most=3)


def viral(one, *numbers, labels=("viral",), **attributes):
    """Confirmed cases of these uploaders, of one viral thing each."""
    return [one.confirm(one.match(f"u{number}", "a", labels=labels, **attributes)).case_id for number in numbers]


def clear(one, case_id):
    with one.ledger.changing() as log:
        one.cases.reopen(log, case_id, by="lead", roles=LEAD, reason_codes=["ERROR"], clear=True)


def gather(one, count):
    assert one.reporting.run_due(count) == count
    assert one.reporting.run_due(1) == 0


def batches(one):
    with one.ledger.env.read() as txn:
        return [row for row in one.store.page(txn, limit=999)[0] if is_batch(row)]


def suspects(held):
    return [s.findtext("espIdentifier") for s in etree.fromstring(held.xml).findall("personOrUserReported")]


def check(one, case_ids, held):
    """That each of these cases was reported once, in that report."""
    for case_id in case_ids:
        row = one.of_case(case_id)
        assert (state_of(row), receipt_of(row)) == (State.FINISHED, f"{held.report_id} (test)")
        assert str(held.report_id).encode() in row.receipt.body
        assert one.states(row.id) == ["QUEUED", "FINISHED_IN_BATCH"]
        assert case_state(one.case(case_id)) in ("REPORTED", "CLOSED")
        assert [hold.kind for hold in one.holds(case_id)] == ["US_REPORT"]


def test_twelve_wait_for_a_day_and_one_report_is_filed_without_the_one_that_was_cleared(tmp_path):
    with office(tmp_path, kept=KEPT, batch=Batching()) as one:
        case_ids = viral(one, *range(13))
        gather(one, 13)
        assert not one.tipline.requests
        assert one.wait() > timedelta(hours=20)
        clear(one, cleared := case_ids.pop(4))
        assert one.states(one.of_case(cleared).id) == ["QUEUED", "RETRACTED"]
        one.drain(one.tipline.clock.advance)
        (held,) = one.tipline.reports.values()
        assert held.stage is Stage.FINISHED
        assert held.batched
        assert suspects(held) == [f"u{number}" for number in range(13) if number != 4]
        assert [len(file.details) for file in held.files] == [1]
        check(one, case_ids, held)
        assert not one.case(cleared).HasField("reported_at")
        (batch,) = batches(one)
        assert one.states(batch.id) == ["QUEUED", "OPENED", "UPLOADED", "DETAILED", "FINISHED"]
        assert (batch.problem, batch.restarts) == ("", 0)


def test_a_full_batch_is_filed_at_once_and_the_next_begins(tmp_path):
    with office(tmp_path, kept=KEPT, batch=THREE) as one:
        case_ids = viral(one, *range(5))
        while one.reporting.run_due(1):
            pass
        (held,) = filed(one.tipline)
        check(one, case_ids[:3], held)
        one.drain(one.tipline.clock.advance)
        assert [suspects(held) for held in filed(one.tipline)] == [["u0", "u1", "u2"], ["u3", "u4"]]
        assert [row.id[-6:] for row in batches(one)] == ["000001", "000002"]


def test_too_few_are_filed_each_by_itself_in_full(tmp_path):
    with office(tmp_path, kept=KEPT, batch=Batching(at_least=3)) as one:
        case_ids = viral(one, 1, 2, email="a@example.net")
        one.drain(one.tipline.clock.advance)
        found = filed(one.tipline)
        assert [held.batched for held in found] == [False, False]
        assert all(b"a@example.net" in held.xml for held in found)
        assert [one.states(one.of_case(case_id).id)[-1] for case_id in case_ids] == ["FINISHED"] * 2
        (batch,) = batches(one)
        assert state_of(batch) is State.RETRACTED
        assert "too few" in batch.problem


def test_what_is_urgent_other_or_not_viral_is_filed_at_once_by_itself(tmp_path):
    with office(tmp_path, kept=KEPT, batch=TWO) as one:
        usual = one.plan
        one.plan = replace(usual, tier=0)
        apart = viral(one, "t0")
        one.plan = replace(usual, report_unreviewed=True)
        apart.append(one.match("unreviewed", "a", labels=["viral"]))
        one.plan = usual
        apart += viral(one, "infant", labels=["viral", "infant"]) + viral(one, "plain", labels=[])
        mixed = one.match("mixed", "a", labels=["viral"])
        one.match("mixed", "b")
        apart.append(one.confirm(mixed).case_id)
        one.plan = replace(usual, authority="OTHER")
        waits = viral(one, "other")
        one.plan = usual
        waits += viral(one, "waits")
        while one.reporting.run_due(1):
            pass
        assert len(filed(one.tipline)) == len(apart)
        assert not any(held.batched for held in filed(one.tipline))
        assert all(one.case(case_id).HasField("reported_at") for case_id in apart)
        found = {row.authority: [file.report_id for file in row.files] for row in batches(one)}
        assert found == {"OTHER": [one.of_case(waits[0]).id], "NCMEC": [one.of_case(waits[1]).id]}


def test_test_and_production_are_never_in_one_batch(tmp_path):
    with office(tmp_path, kept=KEPT, batch=THREE) as one:
        viral(one, 1, 2)
        one.environment = Environment.PRODUCTION
        viral(one, 3, 4)
        one.drain(one.tipline.clock.advance)
        assert [suspects(held) for held in filed(one.tipline)] == [["u1", "u2"]]
        assert sorted((row.environment, len(row.files), state_of(row).name) for row in batches(one)) == [
            (1, 2, "FINISHED"), (2, 2, "FAILED")
        ]  # fmt: skip
        assert {e.authority for e in one.events() if e.state == "FINISHED_IN_BATCH"} == {"NCMEC (test)"}


def test_switched_off_what_was_not_begun_is_filed_case_by_case(tmp_path):
    with office(tmp_path, kept=KEPT, batch=Batching(at_least=2)) as one:
        viral(one, 1, 2)
        gather(one, 2)
        one.reporting = Reporting(
            one.ledger, one.store, one.cases.report_over, one.client_of, one.shelf, REPORTER, one.now
        )
        one.drain(one.tipline.clock.advance)
        assert [held.batched for held in filed(one.tipline)] == [False, False]


def test_several_at_once_file_each_case_in_one_batch(tmp_path):
    with office(tmp_path, kept=KEPT, batch=THREE) as one:
        case_ids = viral(one, *range(9))

        def work():
            while one.reporting.run_due(1):
                pass

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        one.drain(one.tipline.clock.advance)
        assert sorted(who for held in filed(one.tipline) for who in suspects(held)) == [f"u{n}" for n in range(9)]
        assert len(one.tipline.reports) == len(batches(one)) == 3
        numbers = [one.of_case(case_id).number for case_id in case_ids]
        assert all(numbers.count(held.report_id) == 3 for held in filed(one.tipline))


# ── who leaves ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("steps", range(1, 4))
def test_who_is_cleared_while_the_batch_is_open_is_not_in_the_one_that_is_filed(tmp_path, steps):
    with office(tmp_path, kept=KEPT, batch=THREE) as one:
        case_ids = viral(one, 1, 2, 3)
        one.reporting.run_due(3 + steps)
        clear(one, cleared := case_ids.pop(0))  # whose file it was
        one.drain(one.tipline.clock.advance)
        (held,) = filed(one.tipline)
        assert suspects(held) == ["u2", "u3"]
        check(one, case_ids, held)
        assert len(at(one.tipline, Stage.RETRACTED)) == 1
        assert one.states(one.of_case(cleared).id) == ["QUEUED", "RETRACTED"]
        assert not one.case(cleared).HasField("reported_at")
        assert batches(one)[0].restarts == 1


@pytest.mark.parametrize("call", ["submit", "upload", "detail", "finish"])
def test_who_is_cleared_in_the_midst_of_a_call_is_only_in_what_was_filed_by_then(tmp_path, call):
    with office(tmp_path, kept=KEPT, batch=THREE) as one:
        case_ids = viral(one, 1, 2, 3)
        real, done = one.client_of, []

        class Interrupted:
            def __init__(self, client):
                self._client = client

            def __getattr__(self, name):
                def called(*args, **kwargs):
                    if name == call and not done:
                        done.append(clear(one, case_ids[1]))
                    return getattr(self._client, name)(*args, **kwargs)

                return called

        one.client_of = lambda environment: Interrupted(real(environment))
        one.drain(one.tipline.clock.advance)
        (held,) = filed(one.tipline)
        cleared = one.of_case(case_ids[1])
        if call == "finish":  # what was filed cannot be taken back, and is noted
            assert (suspects(held), state_of(cleared)) == (["u1", "u2", "u3"], State.FINISHED)
            assert one.case(cleared.case_id).HasField("reported_at")
        else:
            assert (suspects(held), state_of(cleared)) == (["u1", "u3"], State.RETRACTED)
            check(one, [case_ids[0], case_ids[2]], held)
            assert not one.case(cleared.case_id).HasField("reported_at")
        assert len(one.tipline.reports) == (1 if call == "finish" else 2)


def test_the_last_one_left_is_filed_by_itself_and_nothing_where_none_is(tmp_path):
    with office(tmp_path, kept=KEPT, batch=THREE) as one:
        case_ids = viral(one, 1, 2, 3)
        one.reporting.run_due(5)
        for case_id in case_ids[:2]:
            clear(one, case_id)
        one.drain(one.tipline.clock.advance)
        assert [(suspects(held), held.batched) for held in filed(one.tipline)] == [(["u3"], False)]
        case_ids = viral(one, 4, 5, 6)
        one.reporting.run_due(3)
        for case_id in case_ids:
            clear(one, case_id)
        one.drain(one.tipline.clock.advance)
        assert len(filed(one.tipline)) == 1
        assert [state_of(row) for row in batches(one)] == [State.RETRACTED] * 2


def test_who_may_not_be_in_it_any_more_is_filed_by_itself_before_it_is_sent(tmp_path):
    with office(tmp_path, kept=KEPT, batch=THREE) as one:
        case_ids = viral(one, 1, 2, 3)
        gathered = one.reporting.run_due(3)
        with one.ledger.changing() as log:
            before = one.cases.store.get(log.txn, case_ids[1])
            urgent = one.cases.store.get(log.txn, case_ids[1])
            urgent.tier = 1
            one.cases.store.put(log.txn, urgent, before)
        one.drain(one.tipline.clock.advance)
        assert gathered == 3
        assert sorted((suspects(held), held.batched) for held in filed(one.tipline)) == [
            (["u1", "u3"], True), (["u2"], False)
        ]  # fmt: skip


def test_what_comes_to_a_case_that_waits_in_a_batch_is_in_a_report_of_its_own_and_neither_is_batched(tmp_path):
    with office(tmp_path, kept=KEPT, batch=Batching(at_least=2)) as one:
        (case_id,) = viral(one, 1)
        gather(one, 1)
        with one.ledger.changing() as log:
            case, late = one.cases.store.get(log.txn, case_id), CaseItem(verdict_id="v_late")
            row = one.store.queue(log, case, [*one.cases.store.items(log.txn, case_id), late])
        assert ([file.verdict_id for file in row.files], row.batch_id) == (["v_late"], "")
        assert one.row(row.id.removesuffix("-2")).batch_id
        one.do("withdraw", row.id, by="ann")
        one.drain(one.tipline.clock.advance)
        assert [(suspects(held), held.batched) for held in filed(one.tipline)] == [(["u1"], False)]


# ── what goes wrong ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("kept", "attributes", "problem"),
    [({}, {}, "without a file"), (KEPT, {"publicly_available": "who knows"}, "attributes/publicly_available")],
)
def test_what_cannot_be_told_of_as_one_is_told_of_case_by_case(tmp_path, kept, attributes, problem):
    with office(tmp_path, kept=kept, batch=TWO) as one:
        (first,) = viral(one, 1, **attributes)
        (second,) = viral(one, 2)
        one.drain(one.tipline.clock.advance)
        assert problem in batches(one)[0].problem
        assert not any(held.batched for held in one.tipline.reports.values())
        assert state_of(one.of_case(second)) is State.FINISHED
        assert state_of(one.of_case(first)) is (State.FAILED if attributes else State.FINISHED)


@pytest.mark.parametrize(
    "faults", ["submit:lost-reply@1", "upload:lost-reply@1", "fileinfo:lost-reply@1", "finish:lost-reply@1",
               "submit:500@1; finish:500@1"],
)  # fmt: skip
def test_whatever_is_lost_on_the_way_each_case_is_reported_once(tmp_path, faults):
    with office(tmp_path, faults=faults, kept=KEPT, batch=THREE) as one:
        case_ids = viral(one, 1, 2, 3)
        one.drain(one.tipline.clock.advance)
        (held,) = filed(one.tipline)
        for case_id in case_ids:
            assert one.of_case(case_id).number == held.report_id
            assert [hold.kind for hold in one.holds(case_id)] == ["US_REPORT"]


def test_a_batch_that_the_service_will_not_have_waits_for_a_person_who_may_give_it_up(tmp_path):
    with office(tmp_path, faults="finish:code=4100@1", kept=KEPT, batch=TWO) as one:
        case_ids = viral(one, 1, 2)
        one.drain(one.tipline.clock.advance)
        (batch,) = batches(one)
        assert state_of(batch) is State.FAILED
        assert {one.row(r).case_id for r, name in one.alerts if name == "SOON"} == {case_ids[0]}  # open for too long
        with pytest.raises(Refused, match=batch.id):
            one.do("resume", one.of_case(case_ids[0]).id, by="ann")
        with one.ledger.changing() as log:  # as a person does it at the console
            one.store.withdraw(log, batch.id, by="ann")
            one.cases.report_over(log, batch.case_id)
        one.drain(one.tipline.clock.advance)
        assert [(suspects(held), held.batched) for held in filed(one.tipline)] == [(["u1"], False), (["u2"], False)]
        assert not at(one.tipline, Stage.OPEN)
        assert all(one.case(case_id).HasField("reported_at") for case_id in case_ids)


def test_a_case_that_does_not_take_it_keeps_no_other_from_its_receipt(tmp_path):
    told = []

    def picky(log, case_id):
        told.append(case_id)
        if case_id == case_ids[0]:
            raise Refused("the case is gone")
        one.cases.report_over(log, case_id)

    with office(tmp_path, kept=KEPT, batch=TWO, casework_reported=picky) as one:
        case_ids = viral(one, 1, 2)
        one.drain(one.tipline.clock.advance)
        (batch,) = batches(one)
        assert "the case is gone" in batch.problem
        assert [one.of_case(case_id).number for case_id in case_ids] == [batch.number] * 2
        assert [one.case(case_id).HasField("reported_at") for case_id in case_ids] == [False, True]
