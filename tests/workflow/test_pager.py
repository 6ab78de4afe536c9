"""Pages over a real ledger: raised by the outbox, told by the rota, taken by a claim, over with the case."""

from __future__ import annotations

from datetime import time, timedelta

import pytest

from hashmatch.errors import NotFound
from hashmatch.roles import Role
from hashmatch.workflow.page_record import page_of, page_to_record
from hashmatch.workflow.pager import NAME, Pager, Pages
from hashmatch.workflow.plan import Instruction
from hashmatch.workflow.rota import Rota, Shift
from hashmatch.workflow.sender import Line, Sender

from .conftest import plan_of

ROTA = Rota(
    shifts=(
        Shift(
            name="all", primary="ana", secondary="bo", duty_manager="cy", begins=time(0), until=time(0), time_zone="UTC"
        ),
    ),
    last_resort="dana",
)


class Phones:
    """Other people's telephones."""

    def __init__(self):
        self.rang, self.resolved, self.dead = [], [], set()

    def reach(self, send, page, _round):
        if send.to in self.dead:
            return False, "no answer"
        self.rang.append((send.to, send.text))
        return True, ""

    def resolve(self, page):
        self.resolved.append(page.id)


@pytest.fixture
def phones():
    return Phones()


@pytest.fixture
def pager(work, phones):
    work.destinations = [NAME]
    work.plan = plan_of(tier=0, instructions=(Instruction("page", "danger"),))
    work.pages = Pages(work.ledger, work.cases.store)
    return Pager(work.ledger, work.pages, ROTA, phones, now=lambda: work.now)


def raised(work, pager, uploader="u1"):
    case = work.match(uploader)
    sender = Sender(work.ledger, work.cases, {NAME: Line(pager)}, now=lambda: work.now)
    while sender.send(NAME):
        pass
    sender.close()
    return case


def open_pages(work):
    with work.ledger.env.read() as txn:
        return work.pages.open(txn)


def to(phones):
    return [name for name, _ in phones.rang]


def test_a_page_goes_up_the_chain_until_who_was_told_claims_the_case(work, pager, phones):
    case = raised(work, pager)
    assert [row.case_id for row in open_pages(work)] == [case.id]
    assert pager.tell_due() == 1
    assert pager.tell_due() == 0
    work.now += timedelta(minutes=5)
    pager.tell_due()
    assert to(phones) == ["ana", "bo"]
    assert {text for _, text in phones.rang} == {
        f"T0 case {case.id} wants somebody now (page {open_pages(work)[0].id})"
    }
    work.do("claim", case.id, by="bo")
    work.now += timedelta(minutes=5)
    pager.tell_due()
    assert to(phones) == ["ana", "bo"]
    (row,) = open_pages(work)
    assert (row.state, row.acknowledged_by) == ("ACKNOWLEDGED", "bo")
    work.do("decide", case.id, confirm=True, by="bo", roles=frozenset(Role), reason_codes=["SEEN"])
    pager.tell_due()
    assert (open_pages(work), phones.resolved) == ([], [row.id])
    steps = [e.paged.step for e in work.ledger.events(limit=1000) if e.HasField("paged")]
    assert steps == ["RAISE", "TELL", "TELL", "ACKNOWLEDGE", "DECIDE"]


def test_a_page_about_a_decided_case_rings_until_somebody_takes_it(work, pager, phones):
    case = raised(work, pager)
    work.do("claim", case.id, by="bo")
    work.do("decide", case.id, confirm=True, by="bo", roles=frozenset(Role), reason_codes=["SEEN"])
    while pager.tell_due():
        pass
    assert open_pages(work) == []
    before = len(phones.rang)
    work.do("page", case.id, "its report waits for a person", any_tier=True)
    sender = Sender(work.ledger, work.cases, {NAME: Line(pager)}, now=lambda: work.now)
    while sender.send(NAME):
        pass
    sender.close()
    (row,) = open_pages(work)
    assert row.after_decision
    for _ in range(3):
        pager.tell_due()
        work.now += timedelta(minutes=6)
    assert len(phones.rang) - before >= 2
    with work.ledger.changing() as log:
        work.pages.acknowledge(log, row.id, by="ana")
    pager.tell_due()
    assert open_pages(work) == []


def test_one_case_has_one_page_however_often_it_is_asked_for(work, pager):
    case = raised(work, pager)
    work.do("page", case.id, "again")
    sender = Sender(work.ledger, work.cases, {NAME: Line(pager)}, now=lambda: work.now)
    while sender.send(NAME):
        pass
    sender.close()
    assert len(open_pages(work)) == 1


def test_who_cannot_be_reached_is_tried_again_and_the_next_is_called_in_time(work, pager, phones):
    phones.dead.add("ana")
    raised(work, pager)
    assert pager.tell_due() == 0
    assert open_pages(work)[0].problem == "ana: no answer"
    work.now += timedelta(minutes=5)
    pager.tell_due()
    assert to(phones) == ["bo"]
    phones.dead.clear()
    work.now += timedelta(minutes=5)
    pager.tell_due()
    assert set(to(phones)) == {"ana", "bo", "cy"}


def test_what_is_open_is_handed_over_with_a_note(work, pager):
    raised(work, pager)
    pager.tell_due()
    page_id = open_pages(work)[0].id
    with work.ledger.changing() as log:
        work.pages.acknowledge(log, page_id, by="ana")
    with work.ledger.changing() as log:
        given = work.pages.hand_over(log, ROTA, giver="ana", taker="bo", note="call back at nine")
    assert [page.acknowledged_by for page in given.open] == ["bo"]
    assert open_pages(work)[0].acknowledged_by == "bo"
    pager.tell_due()
    assert open_pages(work)[0].note == "ana: call back at nine"


def test_who_takes_the_page_has_taken_the_case(work, pager):
    case = raised(work, pager)
    pager.tell_due()
    with work.ledger.changing() as log:
        work.pages.acknowledge(log, open_pages(work)[0].id, by="ana")
    assert work.get(case.id).HasField("acknowledged_at")
    assert not work.get(case.id).assignee


def test_a_page_is_kept_as_it_is(work, pager):
    raised(work, pager)
    pager.tell_due()
    row = open_pages(work)[0]
    assert page_to_record(page_of(row)) == row
    with work.ledger.env.read() as txn:
        assert [one.id for one in work.pages.all(txn)] == [row.id]
        with pytest.raises(NotFound):
            work.pages.get(txn, "p_none")


def test_of_several_processes_that_look_at_once_one_tells(work, pager, phones):
    raised(work, pager)
    other = Pager(work.ledger, work.pages, ROTA, phones, now=lambda: work.now)
    real, meanwhile = phones.reach, []

    def reach(send, page, round_):
        meanwhile.append(other.tell_due())
        return real(send, page, round_)

    phones.reach = reach
    assert pager.tell_due() == 1
    assert meanwhile == [0]
    assert to(phones) == ["ana"]


def test_who_dies_while_telling_delays_it_by_a_minute(work, pager, phones):
    raised(work, pager)
    assert work.pages.take(open_pages(work)[0], work.ledger, timedelta(minutes=1))  # and dies
    assert pager.tell_due() == 0
    work.now += timedelta(minutes=1)
    assert pager.tell_due() == 1
