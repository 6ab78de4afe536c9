"""Drills: the real path from the ledger to a decision, and no other path: nothing reports, restricts or counts one."""

from __future__ import annotations

from datetime import timedelta

import pytest

from hashmatch.errors import Refused
from hashmatch.roles import Role
from hashmatch.server.metrics import Metrics
from hashmatch.v1.cases_pb2 import DECISION_CLEAR
from hashmatch.workflow import bundling, figures, policy_file
from hashmatch.workflow.blind import Blind
from hashmatch.workflow.bundle_fields import Authority, Sender
from hashmatch.workflow.case import State
from hashmatch.workflow.case_facts import state_of
from hashmatch.workflow.double_review import Sampling
from hashmatch.workflow.drills import acknowledged_after
from hashmatch.workflow.inquiries import Asked, Inquiries
from hashmatch.workflow.inquiry import Kind
from hashmatch.workflow.pager import NAME, Pager, Pages
from hashmatch.workflow.sender import Line
from hashmatch.workflow.sender import Sender as Sending

from .test_pager import ROTA, Phones, open_pages

EVERYBODY = frozenset(Role)


@pytest.fixture
def phones():
    return Phones()


@pytest.fixture
def pager(work, phones):
    work.destinations = ["platform", NAME]  # so that whatever is routed goes out to the platform, too
    work.pages = Pages(work.ledger, work.cases.store)
    return Pager(work.ledger, work.pages, ROTA, phones, now=lambda: work.now)


def opened(work, tier=0):
    return work.do("open_drill", tier=tier, by="lead")[0]


def send(work, pager):
    sender = Sending(work.ledger, work.cases, {NAME: Line(pager)}, now=lambda: work.now)
    while sender.send(NAME):
        pass
    sender.close()


def test_it_is_paged_claimed_cleared_and_closed(work, pager, phones):
    case = opened(work)
    assert (case.drill, case.subject.content_id, case.items, state_of(case)) == (
        True, f"drill:{case.id}", 0, State.CONTAINED,
    )  # fmt: skip
    assert [(one.verb, one.destination) for one in work.dispatches(case.id)] == [("page", NAME)]
    send(work, pager)
    pager.tell_due()
    (row,) = open_pages(work)
    assert phones.rang == [
        ("ana", f"DRILL, nothing has happened: T0 case {case.id} wants somebody now (page {row.id})")
    ]
    work.now += timedelta(seconds=42)
    work.do("claim", case.id, by="ana")
    pager.tell_due()
    assert (open_pages(work), phones.resolved) == ([], [row.id])
    case = work.do("decide", case.id, confirm=False, by="ana", roles=EVERYBODY, reason_codes=["SEEN"])
    assert (state_of(case), list(case.reviews[-1].reason_codes)) == (State.CLOSED, ["SEEN", "DRILL"])
    assert acknowledged_after(case) == timedelta(seconds=42)
    steps = [e.case_step for e in work.ledger.events(limit=1000) if e.HasField("case_step")]
    assert [one.step for one in steps] == ["OPEN", "CONTAIN", "CLAIM", "CLEAR", "CLOSE"]
    assert all("DRILL" in one.reason_codes for one in steps)
    assert [e.paged.step for e in work.ledger.events(limit=1000) if e.HasField("paged")] == [
        "DRILL", "TELL", "ACKNOWLEDGE", "DECIDE",
    ]  # fmt: skip


def test_who_takes_its_page_has_taken_it_and_the_page_is_over(work, pager):
    case = opened(work)
    send(work, pager)
    pager.tell_due()
    (row,) = open_pages(work)
    with work.ledger.changing() as log, pytest.raises(Refused):
        work.pages.acknowledge(log, row.id, by="eve")
    with work.ledger.changing() as log:
        assert work.pages.acknowledge(log, row.id, by="ana").state == "OVER"
    assert acknowledged_after(work.get(case.id)) == timedelta()
    assert state_of(work.get(case.id)) is State.CONTAINED


def test_it_is_ended_by_who_began_it_and_a_page_that_was_not_out_yet_rings_nobody(work, pager, phones):
    case = opened(work)
    ended = work.do("end_drill", case.id, by="lead")
    assert (state_of(ended), list(ended.reviews[0].reason_codes)) == (State.CLEARED, ["DRILL"])
    send(work, pager)
    pager.tell_due()
    assert (state_of(work.get(case.id)), open_pages(work), phones.rang) == (State.CLOSED, [], [])
    with pytest.raises(Refused, match="over"):
        work.do("end_drill", case.id, by="lead")
    with pytest.raises(Refused, match="no drill"):
        work.do("end_drill", work.match("u1").id, by="lead")


def test_a_clock_that_it_misses_pages_again_and_tells_the_platform_nothing(work, pager):
    case = opened(work)
    work.now += timedelta(hours=1)
    for clock in ("acknowledge", "decide"):
        work.do("breach", case.id, clock)
    work.do("escalate", case.id, by="lead", reason_codes=["X"])
    work.do("page", case.id, "again")
    assert {(one.verb, one.destination) for one in work.dispatches(case.id)} == {("page", NAME)}
    assert not work.get(case.id).HasField("report_by")


# ── what never happens to it ────────────────────────────────────────────────────────────────────────────────────────


def confirmed(work, case, _tmp_path):
    work.do("claim", case.id, by="ana")
    work.do("decide", case.id, confirm=True, by="ana", roles=EVERYBODY, reason_codes=["SEEN"])


def recorded(work, case, _tmp_path):
    work.do("record_report", case.id, authority="NCMEC", receipt="1", by="lea")


def recorded_once_it_is_over(work, case, tmp_path):
    work.do("end_drill", case.id, by="lead")
    recorded(work, case, tmp_path)


def filed(work, case, _tmp_path):
    work.do("reported", case.id, receipt="1")


def reversed_(work, case, _tmp_path):
    work.do("end_drill", case.id, by="lead")
    work.do("reopen", case.id, by="bob", roles=EVERYBODY, reason_codes=["APPEAL"])


def bundled(work, case, tmp_path):
    sender = Sender(company="c", email="e@example.org", declared_by="lea")
    target = tmp_path / "report.zip"
    bundling.hand(work.ledger, work.cases, None, case.id, Authority("nca"), sender=sender, target=target, by="lea")


def held(work, case, _tmp_path):
    work.do("place_hold", case.id, kind="LITIGATION", ground="g", by="lea", jurisdiction="US", reference="1")


def asked_about(work, case, _tmp_path):
    asked = Asked(
        kind=Kind.LE_EMERGENCY, agency="a", contact="c", jurisdiction="US", scope="s", imminent=True, case_ids=[case.id]
    )
    with work.ledger.changing() as log:
        Inquiries(work.ledger.env, work.cases).receive(log, asked, by="lea")


@pytest.mark.parametrize("authority", ["", "NCMEC"])
@pytest.mark.parametrize(
    "path", [confirmed, recorded, recorded_once_it_is_over, filed, reversed_, bundled, held, asked_about]
)
def test_nothing_reports_confirms_holds_or_reopens_it(work, pager, tmp_path, path, authority):
    case = opened(work)
    if authority:  # as no path sets it
        with work.ledger.changing() as log:
            changed = work.cases.store.get(log.txn, case.id)
            changed.authority = authority
            work.cases.store.put(log.txn, changed, case)
    with pytest.raises(Refused):
        path(work, case, tmp_path)
    case = work.get(case.id)
    assert work.reported == []
    assert not case.HasField("reported_at")
    assert {one.destination for one in work.dispatches(case.id)} == {NAME}
    assert not any(e.HasField("reported") for e in work.ledger.events(limit=1000))
    with work.ledger.env.read() as txn:
        assert work.cases.store.holds(txn, case.id) == []


def test_no_upload_joins_it_or_follows_it(work, pager):
    drill = opened(work)
    case = work.match("", content=f"drill:{drill.id}")
    assert (case.id != drill.id, case.drill, case.prior_case_id) == (True, False, "")


def test_it_counts_in_no_figure_no_metric_and_no_sample(work, pager):
    metrics = Metrics()
    work.cases.watch = metrics.stepped
    work.cases.blind = Blind(
        work.ledger.env, work.cases.store, Sampling(key=bytes(16), base=1000), lambda: ["ana", "bo", "cy"]
    )
    shown = metrics.text()
    before = figures.told(figures.figures(work.ledger, policy_file.load(None), work.now))
    case = opened(work)
    send(work, pager)
    with work.ledger.env.read() as txn:
        assert sum(work.cases.store.open_by_tier(txn).values()) == 0
    work.do("claim", case.id, by="ana")
    work.do("decide", case.id, confirm=False, by="ana", roles=EVERYBODY, reason_codes=["SEEN"])
    late = opened(work)
    work.now += timedelta(hours=1)
    work.do("breach", late.id, "acknowledge")
    assert work.get(case.id).reviews[-1].decision == DECISION_CLEAR
    assert figures.told(figures.figures(work.ledger, policy_file.load(None), work.now)) == before
    assert metrics.text() == shown
    with work.ledger.env.read() as txn:
        assert [row for name in ("ana", "bo", "cy") for row in work.cases.blind.waiting(txn, name)] == []
        assert work.cases.store.first_chore(txn) is None
        assert list(work.cases.store.feedback(txn, "known")) == []
