"""Who may look at evidence: by a claim, blurred; else by a grant of another's; and every look is in the log."""

from __future__ import annotations

from datetime import timedelta

import pytest

from hashmatch.errors import Forbidden, Malformed, NotFound, Refused
from hashmatch.media.levels import Level
from hashmatch.workflow.viewing import MAX_MINUTES, Viewing


@pytest.fixture
def viewing(work):
    work.asked = set()
    return Viewing(work.ledger.env, work.cases.store, lambda _txn, case_id, name: (case_id, name) in work.asked)


def do(work, call, *args, **kwargs):
    with work.ledger.changing() as log:
        return call(log, *args, **kwargs)


def item_of(work, case):
    with work.ledger.env.read() as txn:
        return next(work.cases.store.items(txn, case.id))


def events(work, name):
    return [getattr(e, name) for e in work.ledger.events(limit=1000) if e.HasField(name)]


def test_who_has_claimed_the_case_sees_it_blurred_and_has_not_viewed_it(work, viewing):
    case = work.match("u1")
    item = item_of(work, case)
    with pytest.raises(Forbidden, match="claim"):
        do(work, viewing.look, case.id, item.verdict_id, level=Level.BLURRED, by="ann")
    work.do("claim", case.id, by="ann")
    grant = do(work, viewing.look, case.id, item.verdict_id, level=Level.BLURRED, by="ann")
    (granted,), (look,) = events(work, "granted"), events(work, "revealed")
    assert (look.grant_id, look.level, look.verdict_id) == (granted.grant_id, "blurred", item.verdict_id)
    assert grant.id == granted.grant_id
    assert list(item_of(work, case).viewed_by) == []
    do(work, viewing.look, case.id, item.verdict_id, level=Level.BLURRED, by="ann")
    assert len(events(work, "granted")) == 1


def test_a_look_by_a_claim_ends_with_it_and_with_what_is_destroyed(work, viewing):
    case = work.match("u1")
    item = item_of(work, case)
    work.do("claim", case.id, by="ann")
    do(work, viewing.look, case.id, item.verdict_id, level=Level.BLURRED, by="ann")
    work.do("unclaim", case.id, by="ann")
    with pytest.raises(Forbidden, match="claim"):
        do(work, viewing.look, case.id, item.verdict_id, level=Level.BLURRED, by="ann")
    work.do("claim", case.id, by="ann")
    item.destroyed_at.GetCurrentTime()
    with work.ledger.changing() as log:
        work.cases.store.put_items(log.txn, case.id, {item.verdict_id: item})
    with pytest.raises(NotFound, match="destroyed"):
        do(work, viewing.look, case.id, item.verdict_id, level=Level.BLURRED, by="ann")


def test_more_takes_a_grant_of_another_person_and_counts_as_viewed(work, viewing):
    case = work.match("u1")
    item = item_of(work, case)
    work.do("claim", case.id, by="ann")
    asked = do(work, viewing.ask, case.id, level="grey", purpose="cannot tell", by="ann", minutes=10)
    with pytest.raises(Forbidden, match="grant"):
        do(work, viewing.look, case.id, item.verdict_id, level=Level.GREY, by="ann")
    with pytest.raises(Refused, match="another person"):
        do(work, viewing.approve, case.id, asked.id, by="Ann")
    do(work, viewing.approve, case.id, asked.id, by="bob")
    with pytest.raises(Refused, match="already"):
        do(work, viewing.approve, case.id, asked.id, by="cy")
    do(work, viewing.look, case.id, item.verdict_id, level=Level.GREY, by="ann")
    assert list(item_of(work, case).viewed_by) == ["ann"]
    for level, by in ((Level.FULL, "ann"), (Level.GREY, "bob")):
        with pytest.raises(Forbidden):
            do(work, viewing.look, case.id, item.verdict_id, level=level, by=by)
    work.now += timedelta(minutes=11)
    with pytest.raises(Forbidden):
        do(work, viewing.look, case.id, item.verdict_id, level=Level.GREY, by="ann")


def granted(work, viewing, case, by="ann"):
    work.do("claim", case.id, by=by)
    asked = do(work, viewing.ask, case.id, level="grey", purpose="cannot tell", by=by)
    do(work, viewing.approve, case.id, asked.id, by="bob")


def test_who_has_not_seen_every_frame_has_not_viewed_it(work, viewing):
    case = work.match("u1")
    verdict_id = item_of(work, case).verdict_id
    granted(work, viewing, case)
    for frame in (0, 2, 2):
        do(work, viewing.look, case.id, verdict_id, level=Level.GREY, by="ann", frame=frame, frames=3)
    assert list(item_of(work, case).viewed_by) == []
    assert list(item_of(work, case).frames_seen["ann"].numbers) == [0, 2]
    do(work, viewing.look, case.id, verdict_id, level=Level.GREY, by="ann", frame=1, frames=3)
    assert list(item_of(work, case).viewed_by) == ["ann"]
    assert not item_of(work, case).frames_seen
    assert [(look.frame, look.frames) for look in events(work, "revealed")] == [(0, 3), (2, 3), (2, 3), (1, 3)]


def test_who_can_see_only_a_sample_has_not_viewed_it(work, viewing):
    case = work.match("u1")
    verdict_id = item_of(work, case).verdict_id
    granted(work, viewing, case)
    for frame in range(2):
        do(
            work, viewing.look, case.id, verdict_id, level=Level.GREY, by="ann", frame=frame, frames=2,
            all_frames=False,
        )  # fmt: skip
    assert list(item_of(work, case).viewed_by) == []


def test_who_is_asked_for_a_second_look_sees_it_without_a_claim(work, viewing):
    case = work.match("u1")
    work.asked.add((case.id, "dee"))
    do(work, viewing.look, case.id, item_of(work, case).verdict_id, level=Level.BLURRED, by="dee")
    assert events(work, "granted")[0].purpose == "a second look"


def test_what_is_no_grant(work, viewing):
    case = work.match("u1")
    for wrong in ({"level": "blurred"}, {"level": "x"}, {"purpose": " "}, {"minutes": MAX_MINUTES + 1}):
        with pytest.raises(Malformed):
            do(work, viewing.ask, case.id, **{"level": "full", "purpose": "p", "by": "ann"} | wrong)
    with pytest.raises(NotFound):
        do(work, viewing.ask, "c_none", level="full", purpose="p", by="ann")
    with pytest.raises(NotFound):
        do(work, viewing.approve, case.id, "g_none", by="ann")
    work.do("claim", case.id, by="ann")
    with pytest.raises(NotFound):
        do(work, viewing.look, case.id, "v_none", level=Level.BLURRED, by="ann")
    assert events(work, "revealed") == []
