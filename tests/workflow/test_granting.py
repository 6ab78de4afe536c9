"""Grants are listed as they stand: those that wait, run or are over; of a case, of a person, a page at a time."""

from __future__ import annotations

from datetime import timedelta

import pytest

from hashmatch.errors import Malformed
from hashmatch.media.levels import Level
from hashmatch.workflow import granting
from hashmatch.workflow.case_steps import SERVICE
from hashmatch.workflow.granting import Standing, standing
from hashmatch.workflow.viewing import Viewing


@pytest.fixture
def viewing(work):
    return Viewing(work.ledger.env, work.cases.store, lambda *_: False)


def do(work, call, *args, **kwargs):
    with work.ledger.changing() as log:
        return call(log, *args, **kwargs)


def listed(work, **wanted):
    wanted = {"limit": 100} | wanted
    with work.ledger.env.read() as txn:
        return granting.page(work.ledger.env, txn, work.now, **wanted)


def test_grants_are_listed_as_they_stand(work, viewing):
    first, second = work.match("u1"), work.match("u2")
    asked = do(work, viewing.ask, first.id, level="grey", purpose="p", by="ann")
    given = do(work, viewing.ask, second.id, level="full", purpose="p", by="Bo", minutes=5)
    do(work, viewing.approve, second.id, given.id, by="lea")
    found, more = listed(work)
    assert ([one.id for one in found], more) == ([given.id, asked.id], "")
    assert [standing(one, work.now) for one in found] == [Standing.GIVEN, Standing.ASKED]
    assert (found[0].approver, found[0].level, found[0].to) == ("lea", "full", "Bo")
    assert [one.id for one in listed(work, case_id=first.id)[0]] == [asked.id]
    assert [one.id for one in listed(work, to="bo")[0]] == [given.id]  # a name is one, however it is written
    assert listed(work, to="nobody") == ([], "")
    work.now += timedelta(minutes=5, seconds=1)
    assert [one.id for one in listed(work)[0]] == [asked.id]
    both = listed(work, every=True)[0]
    assert [standing(one, work.now) for one in both] == [Standing.OVER, Standing.ASKED]


def test_what_goes_with_a_claim_is_listed_too(work, viewing):
    case = work.match("u1")
    work.do("claim", case.id, by="ann")
    with work.ledger.env.read() as txn:
        item = next(work.cases.store.items(txn, case.id))
    do(work, viewing.look, case.id, item.verdict_id, level=Level.BLURRED, by="ann")
    ((grant,), _) = listed(work)
    assert (grant.to, grant.level, grant.approver) == ("ann", "blurred", SERVICE)


def test_pages_hold_each_grant_once(work, viewing):
    case = work.match("u1")
    made = [do(work, viewing.ask, case.id, level="grey", purpose="p", by=f"p{n}").id for n in range(7)]
    found, after = [], ""
    for _ in range(10):
        page, after = listed(work, after=after, limit=3, case_id=case.id)
        found += [one.id for one in page]
        if not after:
            break
    assert found == sorted(made, reverse=True)
    for wrong, wanted in (("zz", ""), (b"other\0g".hex(), case.id)):
        with pytest.raises(Malformed, match="page"):
            listed(work, after=wrong, case_id=wanted)


def test_a_look_up_ends_however_few_it_finds(work, viewing, monkeypatch):
    case = work.match("u1")
    for number in range(5):
        do(work, viewing.ask, case.id, level="grey", purpose="p", by=f"p{number}")
    monkeypatch.setattr(granting, "READ", 2)
    pages, after = [], ""
    while True:
        page, after = listed(work, to="p0", after=after)
        pages.append(page)
        if not after:
            break
    assert [one.to for page in pages for one in page] == ["p0"]
    assert len(pages) == 3
