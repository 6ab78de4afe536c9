"""From a confirmed case to a filed report: a real ledger, the real client, an imitation of the service over HTTP."""

from __future__ import annotations

import hashlib
import threading
import time
from dataclasses import replace
from datetime import UTC, timedelta

import pytest
from lxml import etree

from hashmatch.delivery.cybertip.client import CyberTipline
from hashmatch.delivery.cybertip.service import Credentials
from hashmatch.delivery.cybertip.terms import Environment
from hashmatch.errors import BadConfig, Refused
from hashmatch.simulate.faults import Kind, parse
from hashmatch.simulate.state import Stage
from hashmatch.workflow.case_facts import state_of as case_state
from hashmatch.workflow.plan import Instruction
from hashmatch.workflow.report import State

from .reporting import LEAD, at, filed, office, state_of

KEPT = {"a": b"benign a" * 1000, "b": b"benign b" * 2000}


def two(one, **attributes):
    """A confirmed case of two items, and its report."""
    case_id = one.match("u1", "a", **attributes)
    assert one.match("u1", "b") == case_id
    return one.confirm(case_id)


def test_a_confirmed_case_is_reported_with_its_files_and_the_clock_of_keeping_begins(tmp_path):
    with office(tmp_path, kept=KEPT) as one:
        row = two(one)
        assert state_of(row) is State.QUEUED
        one.drain(one.tipline.clock.advance)
        row = one.row(row.id)
        assert state_of(row) is State.FINISHED
        assert one.states(row.id) == ["QUEUED", "OPENED", "UPLOADED", "DETAILED", "FINISHED"]
        (held,) = one.tipline.reports.values()
        assert held.stage is Stage.FINISHED
        assert [f.md5 for f in held.files] == [hashlib.md5(KEPT[n], usedforsecurity=False).hexdigest() for n in "ab"]
        assert list(row.receipt.file_ids) == [f.file_id for f in held.files]
        assert str(held.report_id).encode() in row.receipt.body
        last = one.events(row.id)[-1]
        assert (last.authority, last.receipt) == ("NCMEC (test)", f"{held.report_id} (test)")
        case = one.case(row.case_id)
        assert case.HasField("reported_at")
        assert case_state(case) in ("REPORTED", "CLOSED")
        assert [hold.kind for hold in one.holds(row.case_id)] == ["US_REPORT"]
        assert (row.problem, row.restarts) == ("", 0)


def test_before_it_is_filed_no_event_names_a_number(tmp_path):
    with office(tmp_path, kept=KEPT) as one:
        row = two(one)
        one.drain(one.tipline.clock.advance)
        assert [bool(e.receipt) for e in one.events(row.id)] == [False] * 4 + [True]


def test_a_second_call_finds_the_first_report_and_another_round_makes_another_once_that_is_called_off(tmp_path):
    with office(tmp_path, kept=KEPT) as one:
        row = two(one)
        with one.ledger.changing() as log:
            case = one.cases.store.get(log.txn, row.case_id)
            assert one.queue(log, case).id == row.id
            case.reviews_before = 1
            assert one.queue(log, case).id == row.id
            one.call_off(log, case, "ann")
            other = one.queue(log, case)
        assert other.id != row.id
        assert one.states(row.id) == ["QUEUED", "RETRACTED"]


@pytest.mark.parametrize("confirmed", [True, False])
def test_an_account_is_told_as_disabled_once_the_platform_has_confirmed_that(tmp_path, confirmed):
    with office(tmp_path, kept=KEPT) as one:
        one.plan = replace(one.plan, instructions=(Instruction("suspend", "known"),))
        one.cases._route = lambda _verb: ["platform"]
        case_id = one.match("u1", "a")
        if confirmed:
            with one.ledger.env.read() as txn:
                (suspend,) = one.cases.outbox.of_case(txn, case_id)
            with one.ledger.changing() as log:
                one.cases.confirm(log, suspend.id, failed=False)
        one.confirm(case_id)
        one.drain(one.tipline.clock.advance)
        (held,) = filed(one.tipline)
        said = etree.fromstring(held.xml).findtext(".//accountTemporarilyDisabled")
        assert said == ("true" if confirmed else None)


def test_what_was_filed_is_not_filed_again_by_whoever_confirms_it_again(tmp_path):
    with office(tmp_path, kept=KEPT) as one:
        row = two(one)
        one.drain(one.tipline.clock.advance)
        reported = one.case(row.case_id).reported_at
        with one.ledger.changing() as log:
            one.cases.reopen(log, row.case_id, by="lea", roles=LEAD, reason_codes=["X"])
        one.confirm(row.case_id, by="bob")
        one.drain(one.tipline.clock.advance)
        assert len(filed(one.tipline)) == 1
        case = one.case(row.case_id)
        assert (case.reported_at, case_state(case)) == (reported, "CLOSED")
        assert [hold.kind for hold in one.holds(row.case_id)] == ["US_REPORT"]


def test_of_a_case_that_is_confirmed_again_only_what_came_since_is_filed(tmp_path):
    with office(tmp_path, kept=KEPT | {"c": b"benign c"}) as one:
        row = two(one)
        one.drain(one.tipline.clock.advance)
        with one.ledger.changing() as log:
            one.cases.reopen(log, row.case_id, by="lea", roles=LEAD, reason_codes=["X"])
        one.match("u1", "c")
        later = one.confirm(row.case_id, by="bob")
        assert len(later.files) == 1
        one.drain(one.tipline.clock.advance)
        assert sorted(len(held.files) for held in filed(one.tipline)) == [1, 2]
        assert [hold.kind for hold in one.holds(row.case_id)] == ["US_REPORT", "US_REPORT"]


def test_an_item_goes_with_the_report_before_anything_was_sent_and_afterwards_in_another(tmp_path):
    with office(tmp_path, kept=KEPT) as one:
        one.plan = replace(one.plan, report_unreviewed=True)
        case_id = one.match("u1", "a")
        one.match("u1", "b")
        row = one.of_case(case_id)
        assert len(row.files) == 2
        one.reporting.run_due(1)
        one.match("u1", "c")
        assert len(one.of_case(case_id).files) == 1  # of the latest
        one.drain(one.tipline.clock.advance)
        assert sorted(len(held.files) for held in filed(one.tipline)) == [0, 2]  # of the last one nothing is kept
        assert case_state(one.case(case_id)) in ("NEW", "CONTAINED")
        assert one.case(case_id).HasField("reported_at")


def test_an_item_that_comes_while_the_report_is_being_written_goes_with_it_too(tmp_path):
    with office(tmp_path, kept=KEPT) as one:
        one.plan = replace(one.plan, report_unreviewed=True)
        case_id = one.match("u1", "a")
        one.shelf.meanwhile.append(lambda: one.match("u1", "b"))
        one.drain(one.tipline.clock.advance)
        assert [file.without_file for file in one.of_case(case_id).files] == [False, False]
        assert [len(held.files) for held in filed(one.tipline)] == [2]


def test_what_has_no_file_is_told_by_the_platforms_id(tmp_path):
    with office(tmp_path, kept={"b": KEPT["b"]}) as one:
        row = two(one)
        one.drain(one.tipline.clock.advance)
        row = one.row(row.id)
        (held,) = filed(one.tipline)
        assert [f.without_file for f in row.files] == [True, False]
        assert len(held.files) == 1
        assert "a, 2026-01-01T00:00:00+00:00" in etree.fromstring(held.xml).findtext("additionalInfo")


def test_without_evidence_at_all_the_report_has_no_files(tmp_path):
    with office(tmp_path) as one:
        row = two(one)
        one.drain(one.tipline.clock.advance)
        assert one.states(row.id) == ["QUEUED", "DETAILED", "FINISHED"]


def test_views_count_only_as_far_as_they_were_before_filing(tmp_path):
    with office(tmp_path, kept=KEPT) as one:
        row = two(one)
        with one.ledger.changing() as log:
            items = {item.verdict_id: item for item in one.cases.store.items(log.txn, row.case_id)}
            seen = items[row.files[0].verdict_id]
            seen.viewed_by.append("ann")
            one.cases.store.put_items(log.txn, row.case_id, {seen.verdict_id: seen})
        one.drain(one.tipline.clock.advance)
        (held,) = filed(one.tipline)
        told = [etree.fromstring(file.details[0]).findtext("fileViewedByEsp") for file in held.files]
        assert told == ["true", "false"]
        assert [(f.viewed, f.exif_viewed) for f in one.row(row.id).files] == [(True, False), (False, False)]


def test_evidence_that_goes_while_the_report_is_open_begins_it_again_without(tmp_path):
    with office(tmp_path, kept=dict(KEPT)) as one:
        row = two(one)
        one.reporting.run_due(1)
        del one.shelf.kept["a"]
        one.drain(one.tipline.clock.advance)
        assert [len(held.files) for held in filed(one.tipline)] == [1]
        assert len(at(one.tipline, Stage.RETRACTED)) == 1
        assert one.row(row.id).restarts == 1


def test_evidence_that_cannot_be_read_now_is_tried_again(tmp_path):
    with office(tmp_path, kept=KEPT) as one:
        row = two(one)
        one.shelf.locked = 1
        one.reporting.run_due(1)
        assert one.row(row.id).problem == "the shelf is locked"
        one.drain(one.tipline.clock.advance)
        assert len(filed(one.tipline)) == 1


# ── what a person must mend ─────────────────────────────────────────────────────────────────────────────────────────


def test_what_cannot_be_told_waits_for_a_person_with_the_path_and_nothing_is_sent(tmp_path):
    with office(tmp_path, kept=KEPT) as one:
        row = two(one, ip="300.1.2.3", ip_port="many", email="nobody")
        one.drain(one.tipline.clock.advance)
        row = one.row(row.id)
        assert state_of(row) is State.FAILED
        for path in ("attributes/ip_port", "ipCaptureEvent[1]/ipAddress", "personOrUserReportedPerson/email[1]"):
            assert path in row.problem
        assert not any(value in row.problem for value in ("300.1", "many", "nobody"))
        assert not one.tipline.requests
        one.do("resume", row.id, by="ann", omit=["ip", "ip_port", "email"])
        one.drain(one.tipline.clock.advance)
        assert one.states(row.id)[-1] == "FINISHED"
        assert list(one.row(row.id).omitted) == ["email", "ip", "ip_port"]
        (held,) = filed(one.tipline)
        assert etree.fromstring(held.xml).find(".//ipAddress") is None


def test_what_is_withdrawn_before_it_is_sent_is_never_sent(tmp_path):
    with office(tmp_path, kept=KEPT) as one:
        row = one.do("withdraw", two(one).id, by="ann")
        one.drain(one.tipline.clock.advance)
        assert one.states(row.id) == ["QUEUED", "RETRACTED"]
        assert not one.tipline.requests
        with pytest.raises(Refused):
            one.do("withdraw", row.id, by="ann")
        with pytest.raises(Refused):
            one.do("resume", row.id, by="ann")


@pytest.mark.parametrize("steps", range(1, 6))
def test_what_is_withdrawn_while_open_is_retracted(tmp_path, steps):
    with office(tmp_path, kept=KEPT) as one:
        row = two(one)
        one.reporting.run_due(steps)
        one.do("withdraw", row.id, by="ann")
        one.drain(one.tipline.clock.advance)
        assert one.states(row.id)[-1] == "RETRACTED"
        assert [held.stage for held in one.tipline.reports.values()] == [Stage.RETRACTED]
        assert not one.case(row.case_id).HasField("reported_at")


@pytest.mark.parametrize("call", ["submit", "upload", "detail", "finish"])
def test_a_person_may_withdraw_in_the_midst_of_a_call(tmp_path, call):
    with office(tmp_path, kept=KEPT) as one:
        row = two(one)
        real, done = one.client_of, []

        class Interrupted:
            def __init__(self, client):
                self._client = client

            def __getattr__(self, name):
                def called(*args, **kwargs):
                    if name == call and not done:
                        done.append(one.do("withdraw", row.id, by="ann"))
                    return getattr(self._client, name)(*args, **kwargs)

                return called

        one.client_of = lambda environment: Interrupted(real(environment))
        one.drain(one.tipline.clock.advance)
        state = one.states(row.id)[-1]
        if call == "finish":  # what was filed cannot be taken back
            assert (state, len(filed(one.tipline))) == ("FINISHED", 1)
        else:
            assert (state, filed(one.tipline)) == ("RETRACTED", [])


def test_a_case_that_does_not_take_it_loses_no_receipt(tmp_path):
    def refuse(_log, _case_id):
        raise Refused("the case is gone")

    with office(tmp_path, kept=KEPT, casework_reported=refuse) as one:
        row = two(one)
        one.drain(one.tipline.clock.advance)
        row = one.row(row.id)
        assert state_of(row) is State.FINISHED
        assert row.receipt.body
        assert "the case is gone" in row.problem
        assert one.states(row.id).count("FINISHED") == 1


# ── environments ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_test_environment_is_the_default_and_production_wants_the_switch(tmp_path):
    asked = []

    def client_of(environment):
        asked.append(environment)
        raise BadConfig("no credentials")

    with office(tmp_path / "off", environment=Environment.PRODUCTION, client_of=client_of) as one:
        row = two(one)
        one.drain(one.tipline.clock.advance)
        assert state_of(one.row(row.id)) is State.FAILED
        assert "production is not switched on" in one.row(row.id).problem
        assert asked == []
        assert [e.authority for e in one.events(row.id)] == ["NCMEC", "NCMEC"]
    with office(tmp_path / "on", environment=Environment.PRODUCTION, client_of=client_of, production=True) as one:
        row = two(one)
        one.drain(one.tipline.clock.advance)
        assert asked == [Environment.PRODUCTION]
        assert "no credentials" in one.row(row.id).problem
    with pytest.raises(BadConfig):
        CyberTipline(Credentials(Environment.PRODUCTION, "u", "p"), environment=Environment.TEST)


def production(_environment):
    """A client that is never called: what is wrong is found before."""
    return CyberTipline(Credentials(Environment.PRODUCTION, "u", "p"), environment=Environment.PRODUCTION)


def test_production_refuses_test_numbers_and_test_leaves_productions_out(tmp_path):
    options = {"environment": Environment.PRODUCTION, "client_of": production, "production": True}
    with office(tmp_path / "production", **options) as one:
        row = two(one, prior_reports="test:77")
        one.drain(one.tipline.clock.advance)
        row = one.row(row.id)
        assert state_of(row) is State.FAILED
        assert "priorCTReports[1]: is a report of the test environment" in row.problem
    with office(tmp_path / "test", kept=KEPT, known_reports=frozenset({77})) as one:
        two(one, prior_reports="test:77, 4711")
        one.drain(one.tipline.clock.advance)
        (held,) = filed(one.tipline)
        assert etree.fromstring(held.xml).xpath("//priorCTReports/text()") == ["77"]


def test_a_later_report_about_the_same_subject_names_the_earlier_one(tmp_path):
    with office(tmp_path, kept=KEPT) as one:
        first = two(one)
        one.drain(one.tipline.clock.advance)
        second = two(one)
        assert second.case_id != first.case_id
        one.drain(one.tipline.clock.advance)
        held = {h.report_id: h for h in filed(one.tipline)}
        later = held[one.row(second.id).number]
        assert etree.fromstring(later.xml).xpath("//priorCTReports/text()") == [str(one.row(first.id).number)]


# ── faults and time ─────────────────────────────────────────────────────────────────────────────────────────────────

FILED = [
    # fault, how often it was begun again
    ("submit:lost-reply@1", 0), ("upload:lost-reply@2", 1), ("fileinfo:lost-reply@1", 1), ("finish:lost-reply@1", 0),
    ("upload:lost-reply@1;retract:lost-reply@1", 1), ("upload:wrong-md5@2", 1), ("submit:dropped@1", 0),
    ("upload:dropped@1", 1), ("finish:dropped@1", 0), ("*:500@1", 0), ("*:503@1", 0), ("*:429=30@1", 0),
    ("*:code=1100@2", 0), ("*:latin1", 0), ("submit:truncated@1;finish:truncated@1", 0), ("upload:truncated@1", 1),
    ("fileinfo:rubbish@1", 1), ("submit:slow=0.6@1;upload:slow=0.6@1", 1), ("finish:huge=8@1", 0),
    ("upload:code=5001@2", 1), ("fileinfo:code=5002@1", 1), ("finish:missing-file@1", 0),
]  # fmt: skip
FOR_A_PERSON = [
    "submit:401-empty@1", "upload:401-xml@1", "finish:401-xml@1", "fileinfo:redirect@1", "upload:code=3000@1",
    "submit:code=4100@1", "finish:code=4100@1", "fileinfo:code=5101@1", "submit:500x11",
]  # fmt: skip


def test_every_fault_there_is_is_tried():
    tried = {fault.kind for spec in [*(spec for spec, _ in FILED), *FOR_A_PERSON] for fault in parse(spec)}
    assert tried == set(Kind)


@pytest.mark.parametrize(("faults", "restarts"), FILED)
def test_it_is_filed_once_and_whole_in_spite_of(tmp_path, faults, restarts):
    patience = {"first_byte": 0.3} if "slow" in faults else {}
    with office(tmp_path, faults=faults, kept=KEPT, timeouts=patience) as one:
        row = two(one)
        one.drain(one.tipline.clock.advance)
        row = one.row(row.id)
        assert (state_of(row), row.restarts) == (State.FINISHED, restarts)
        (held,) = filed(one.tipline)
        assert held.report_id == row.number
        assert [f.file_id for f in held.files] == [f.file_id for f in row.files]
        assert all(len(f.details) == 1 for f in held.files)
        assert one.states(row.id).count("FINISHED") == 1
        assert len(one.holds(row.case_id)) == 1
        # A finish that does not say what it filed, or says something else, is told to a person.
        assert bool(row.problem) == (faults.startswith(("finish:lost", "finish:huge", "finish:missing"))
                                     or "finish:truncated" in faults)  # fmt: skip


@pytest.mark.parametrize("faults", FOR_A_PERSON)
def test_it_waits_for_a_person_and_then_goes_on_where_it_stopped(tmp_path, faults):
    with office(tmp_path, faults=faults, kept=KEPT) as one:
        row = two(one)
        while state_of(one.row(row.id)) is not State.FAILED:
            if not one.reporting.run_due(1):
                one.tipline.clock.advance(one.wait() + timedelta(milliseconds=1))
        assert one.row(row.id).problem
        assert not filed(one.tipline)
        one.do("resume", row.id, by="ann")
        one.drain(one.tipline.clock.advance)
        assert one.states(row.id)[-1] == "FINISHED"
        assert len(filed(one.tipline)) == 1


def test_a_report_that_expires_is_begun_again_and_people_are_told_before(tmp_path):
    with office(tmp_path, kept=KEPT) as one:
        row = two(one)
        one.reporting.run_due(2)
        one.tipline.faults.add("upload:429=9000")  # asked for patience until it is too late
        told = {}
        opened = one.row(row.id).opened_at.ToDatetime(UTC)
        while "OVER" not in told:
            one.tipline.clock.advance(timedelta(minutes=5))
            while one.reporting.run_due(1):
                pass
            for _, name in one.alerts:
                told.setdefault(name, (one.now() - opened) / timedelta(hours=24))
        assert list(told) == ["SOON", "NOW", "OVER"]
        assert all(0 <= told[name] - share < 0.01 for name, share in (("SOON", 0.75), ("NOW", 0.9), ("OVER", 1)))
        assert list(one.row(row.id).alerts_told) == [75, 90, 100]
        one.tipline.faults.clear()
        one.drain(one.tipline.clock.advance)
        assert "EXPIRED" in one.states(row.id)
        assert one.states(row.id)[-1] == "FINISHED"
        assert [held.stage for held in one.tipline.reports.values()] == [Stage.EXPIRED, Stage.FINISHED]
        assert list(one.row(row.id).alerts_told) == []


def test_one_that_waits_for_a_person_while_open_is_told_of_too(tmp_path):
    with office(tmp_path, faults="upload:code=3000@1", kept=KEPT) as one:
        row = two(one)
        one.drain(one.tipline.clock.advance)
        assert [name for _, name in one.alerts] == ["person", "SOON", "NOW", "OVER"]
        one.do("resume", row.id, by="ann")
        one.drain(one.tipline.clock.advance)
        assert len(filed(one.tipline)) == 1


# ── claims ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_taken_is_nobody_elses_and_who_lost_it_writes_nothing(tmp_path):
    with office(tmp_path, kept=KEPT) as one:
        row = two(one)
        now = one.now()
        with one.ledger.changing() as log:
            (mine,) = one.store.take(log.txn, now, 9, timedelta(minutes=5))
            assert one.store.take(log.txn, now, 9, timedelta(minutes=5)) == []
            assert one.store.renew(log.txn, row.id, mine.claim, now + timedelta(minutes=9))
            assert one.store.take(log.txn, now + timedelta(minutes=8), 9, timedelta(minutes=5)) == []
            (theirs,) = one.store.take(log.txn, now + timedelta(minutes=10), 9, timedelta(minutes=5))
            assert not one.store.renew(log.txn, row.id, mine.claim, now)
            assert one.store.held(log.txn, row.id, mine.claim) is None
            assert one.store.held(log.txn, row.id, theirs.claim) is not None


def test_a_call_whose_lease_was_lost_is_not_counted_and_its_end_is_not_doubled(tmp_path):
    with office(tmp_path, kept=KEPT) as one:
        row = two(one)
        one.reporting.run_due(5)  # all but the finish
        real, done = one.client_of, []

        class Stolen:
            def __init__(self, client):
                self._client = client

            def finish(self, report_id):
                finished = self._client.finish(report_id)
                if not done:
                    done.append(True)
                    one.tipline.clock.advance(timedelta(minutes=6))
                    assert one.reporting.run_due(1) == 1  # finds a call that began and did not end
                return finished

        one.client_of = lambda environment: Stolen(real(environment))
        one.reporting.run_due(1)
        assert one.states(row.id)[-1] == "DETAILED"
        one.drain(one.tipline.clock.advance)
        assert one.states(row.id).count("FINISHED") == 1
        assert len(filed(one.tipline)) == 1
        assert len(one.holds(row.case_id)) == 1


def test_a_call_that_lasts_longer_than_its_lease_keeps_it(tmp_path):
    lease = timedelta(seconds=0.3)
    with office(tmp_path, faults="upload:slow=1.2@1", kept=KEPT, lease=lease) as one:
        row = two(one)
        one.reporting.run_due(1)
        slow = threading.Thread(target=one.reporting.run_due, args=(1,))
        slow.start()
        while not one.row(row.id).HasField("calling"):
            time.sleep(0.01)
        taken = 0
        while slow.is_alive():
            taken += one.reporting.run_due(1) if one.row(row.id).HasField("calling") else 0
            time.sleep(0.05)
        assert taken == 0
        one.drain(one.tipline.clock.advance)
        assert one.row(row.id).restarts == 0


def test_several_at_once_file_each_report_once(tmp_path):
    with office(tmp_path, kept=KEPT) as one:
        rows = []
        for number in range(4):
            rows.append(one.confirm(one.match(f"u{number}", "a")))
        stopping = threading.Event()
        threads = [threading.Thread(target=one.reporting.run, args=(stopping,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        until = time.monotonic() + 20
        while len(filed(one.tipline)) < 4 and time.monotonic() < until:
            time.sleep(0.02)
        stopping.set()
        for thread in threads:
            thread.join()
        one.drain(one.tipline.clock.advance)
        assert sorted(one.row(row.id).number for row in rows) == sorted(one.tipline.reports)
        assert len(filed(one.tipline)) == 4
        assert [one.states(row.id).count("FINISHED") for row in rows] == [1] * 4


def test_a_case_that_is_cleared_after_all_calls_its_report_off(tmp_path):
    with office(tmp_path, kept=KEPT) as one:
        row = two(one)
        one.reporting.run_due(2)
        assert [r.id for r in one.do("call_off", row.case_id, by="lead")] == [row.id]
        one.drain(one.tipline.clock.advance)
        assert [held.stage for held in one.tipline.reports.values()] == [Stage.RETRACTED]
        assert one.do("call_off", row.case_id, by="lead") == []


@pytest.mark.parametrize("steps", [0, 2, 5])
def test_a_case_that_a_lead_reverses_is_not_reported_any_more(tmp_path, steps):
    with office(tmp_path, kept=KEPT) as one:
        row = two(one)
        one.reporting.run_due(steps)
        with one.ledger.changing() as log:
            one.cases.reopen(log, row.case_id, by="lead", roles=LEAD, reason_codes=["ERROR"], clear=True)
        one.drain(one.tipline.clock.advance)
        assert one.states(row.id)[-1] == "RETRACTED"
        assert not filed(one.tipline)
        assert not one.case(row.case_id).HasField("reported_at")


def test_what_is_never_taken_is_given_up_after_a_month_and_can_be_set_going(tmp_path):
    with office(tmp_path, faults="submit:429=86400", kept=KEPT) as one:
        row = two(one)
        one.tipline.clock.advance(timedelta(days=29, hours=12))
        assert one.reporting.run_due() == 1
        one.drain(one.tipline.clock.advance)
        row = one.row(row.id)
        assert state_of(row) is State.QUEUED
        assert "given up" in row.problem
        assert len(one.tipline.requests) == 1
        one.tipline.faults.clear()
        one.do("resume", row.id, by="ann")
        one.drain(one.tipline.clock.advance)
        assert len(filed(one.tipline)) == 1


def test_an_adapters_own_mistake_waits_where_a_person_sees_it(tmp_path):
    with office(tmp_path, kept=KEPT) as one:
        row = two(one)
        one.shelf.kept = None  # as a broken adapter would have it
        one.drain(one.tipline.clock.advance)
        assert state_of(one.row(row.id)) is State.FAILED
        assert one.row(row.id).problem == "submit: unforeseen: AttributeError"
        one.shelf.kept = KEPT
        one.do("resume", row.id, by="ann")
        one.drain(one.tipline.clock.advance)
        assert len(filed(one.tipline)) == 1
