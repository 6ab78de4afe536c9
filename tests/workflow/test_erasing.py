"""Nothing that a case or a hold keeps is erased, by request or by retention; and once nothing does, all of it goes."""

from __future__ import annotations

from datetime import timedelta

import pytest

from hashmatch.audit import erasure
from hashmatch.errors import Refused
from hashmatch.roles import Role
from hashmatch.v1.common_pb2 import Subject
from hashmatch.workflow.case import State
from hashmatch.workflow.case_facts import state_of
from hashmatch.workflow.subjects import Subjects

from .conftest import match, plan_of

WHO = Subject(uploader_id="uploader-1")
TERMS = {"ground": "GDPR Art. 17", "by": "ann"}


def close(work, *, clear=False):
    work.destinations = []
    work.plan = plan_of(instructions=())
    case = work.match("uploader-1", content="content-1")
    work.do("claim", case.id, by="ann")
    work.do("decide", case.id, by="ann", confirm=not clear, roles=frozenset(Role), reason_codes=["X"])
    assert state_of(work.get(case.id)) is State.CLOSED
    return case.id


def erase(work):
    return erasure.erase(work.ledger, WHO, kept=Subjects(work.cases), **TERMS)


def expire(work):
    now = work.now + timedelta(days=800)
    return erasure.expire(work.ledger, days=31, now=now, kept=Subjects(work.cases), **TERMS)


def opened(work):
    """Whether the verdicts can still be read."""
    verdicts = [e.verdict for e in work.ledger.events(limit=1000) if e.HasField("verdict")]
    return [one.subject.uploader_id for one in verdicts]


@pytest.mark.parametrize("way", [erase, expire])
def test_an_open_case_keeps_everything(work, way):
    case = work.match("uploader-1")
    if way is expire:
        assert way(work) == 0
    else:
        with pytest.raises(Refused, match=f"case {case.id} is kept: the case is open"):
            way(work)
    assert opened(work) == ["uploader-1"]


@pytest.mark.parametrize("way", [erase, expire])
@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("LITIGATION", {"jurisdiction": "US", "reference": "17/26"}),
        ("LE_PRESERVATION", {"reference": "letter"}),
        ("US_REPORT", {"reference": "4711"}),
        ("UK_REFERENCE", {"reference": "4711"}),
    ],
)
def test_a_hold_keeps_everything_until_it_ends(work, way, kind, more):
    case_id = close(work)
    since = {"since": work.now} if "REPORT" in kind or "UK" in kind else {}
    hold = work.do("place_hold", case_id, kind=kind, ground="g", by="ann", **more, **since)
    if way is expire:
        assert way(work) == 0
    else:
        with pytest.raises(Refused, match=f"is kept: {kind}"):
            way(work)
    assert opened(work) == ["uploader-1"]
    if hold.HasField("until"):
        work.now = hold.until.ToDatetime(work.now.tzinfo) + timedelta(seconds=1)
    else:
        for by in ("ann", "bob"):
            work.do("release_hold", case_id, hold.id, by=by, reason="over")
    assert way(work) >= 1
    assert opened(work) == [""]


def test_an_earlier_case_keeps_as_the_latest_does(work):
    first = close(work)
    work.do("place_hold", first, kind="LITIGATION", ground="g", by="ann", jurisdiction="US", reference="1")
    assert close(work) != first
    with pytest.raises(Refused, match=first):
        erase(work)


def test_what_is_erased_is_gone_from_the_cases_too(work):
    case_id = close(work)
    erase(work)
    rows = b"".join(
        bytes(value)
        for name in ("cases", "case_items", "dispatches")
        for value in _values(work, name)
    )  # fmt: skip
    assert b"uploader-1" not in rows
    assert b"content-1" not in rows
    assert state_of(work.get(case_id)) is State.CLOSED


def _values(work, name):
    with work.ledger.env.read() as txn, txn.cursor(db=work.ledger.env.table(name)) as cursor:
        return [value for _, value in cursor]


def test_one_person_alone_ends_no_order(work):
    case_id = close(work)
    hold = work.do("place_hold", case_id, kind="LITIGATION", ground="g", by="ann", jurisdiction="US", reference="1")
    asked = work.do("release_hold", case_id, hold.id, by="bob", reason="over")
    assert (asked.release_asked_by, asked.HasField("released_at")) == ("bob", False)
    for by in ("bob", "BOB"):
        with pytest.raises(Refused, match="another person"):
            work.do("release_hold", case_id, hold.id, by=by, reason="over")
    ended = work.do("release_hold", case_id, hold.id, by="cid", reason="over")
    assert list(ended.released_by) == ["bob", "cid"]
    with pytest.raises(Refused):
        work.do("release_hold", case_id, hold.id, by="dan", reason="over")
    told = [e.hold_changed for e in work.ledger.events(limit=100) if e.HasField("hold_changed")]
    assert [(one.released, list(one.by)) for one in told] == [(False, ["ann"]), (True, ["bob", "cid"])]


def test_a_case_of_nobody_keeps_the_keys_of_its_verdicts(work):
    record = match("")
    record.subject.Clear()
    work.ledger.append(record, log=True, remember=False).result()
    work.now += timedelta(days=400)
    assert erasure.expire(work.ledger, days=31, now=work.now, ground="g", by="h", kept=Subjects(work.cases)) == 0
    work.do("claim", record.case_id, by="ann")
    work.do("decide", record.case_id, confirm=True, by="ann", roles=frozenset(Role), reason_codes=["SEEN"])
    work.confirm_all(record.case_id)
    assert erasure.expire(work.ledger, days=31, now=work.now, ground="g", by="h", kept=Subjects(work.cases)) == 1
