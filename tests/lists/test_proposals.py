"""Changes that want two persons: nothing happens before the second one, and never by the first."""

from __future__ import annotations

from datetime import timedelta

import pytest

from hashmatch import clock, convert
from hashmatch.errors import Malformed, NotFound, Refused
from hashmatch.lists.proposals import LASTS, Proposals
from hashmatch.v1 import lists_pb2


@pytest.fixture
def released():
    return []


@pytest.fixture
def proposals(store, keeper, released):
    return Proposals(store, keeper, release=lambda name, entry, **_: released.append((name, entry)))


@pytest.fixture
def strict(keeper):
    return keeper.create("ours", policy=lists_pb2.Policy(two_person=True, thresholds={"pdq": 20}), by="ann")


def wider(reason="fewer misses", **policy):
    wanted = {"two_person": True, "thresholds": {"pdq": 28}, **policy}
    return lists_pb2.SetPolicyRequest(name="ours", policy=lists_pb2.Policy(**wanted), reason=reason)


def threshold(keeper):
    return keeper.get("ours").policy.thresholds["pdq"]


def test_a_threshold_changes_once_another_person_approves(proposals, keeper, store, strict):
    proposal = proposals.propose(wider(), by="ann")
    assert threshold(keeper) == 20
    with pytest.raises(Refused, match="ann proposed this"):
        proposals.approve(proposal.id, by="ann")
    assert threshold(keeper) == 20
    proposals.approve(proposal.id, by="bob")
    assert threshold(keeper) == 28
    assert proposals.waiting() == []
    with store.view() as view:
        change = view.changes(view.revision - 1, 1)[0]
    assert (change.by, change.approver, change.reason) == ("ann", "bob", "fewer misses")
    with pytest.raises(NotFound):
        proposals.approve(proposal.id, by="bob")


def test_the_rule_itself_cannot_be_switched_off_by_one(proposals, keeper, strict):
    off = wider(two_person=False)
    with pytest.raises(Refused, match="another person"):
        keeper.set_policy("ours", off.policy, by="ann")
    with pytest.raises(Refused, match="another person"):
        keeper.set_policy("ours", off.policy, by="ann", approver="ann")
    assert proposals.propose(off, by="ann") is not None
    assert keeper.get("ours").policy.two_person


def test_a_list_that_wants_one_person_waits_for_nobody(proposals, keeper):
    keeper.create("ours", by="ann")
    assert proposals.propose(wider(), by="ann") is None


def test_a_proposal_is_void_once_the_policy_is_another(proposals, keeper, strict):
    first, second = proposals.propose(wider(), by="ann"), proposals.propose(wider(shadow=True), by="ann")
    proposals.approve(first.id, by="bob")
    with pytest.raises(Refused, match="has changed since"):
        proposals.approve(second.id, by="bob")
    proposals.withdraw(second.id, by="ann")
    assert proposals.waiting() == []


def test_release_and_suppression_wait_too(proposals, keeper, released, strict, fingerprint):
    added = keeper.add("ours", fingerprint(1), reason="r", by="ann")
    keeper.activate("ours", by="bob")
    entry = added.entry.entry_id
    release = proposals.propose(lists_pb2.ReleaseEntryRequest(name="ours", entry_id=entry, reason="viral"), by="ann")
    expires = convert.timestamp(clock.now() + timedelta(days=1))
    asked = lists_pb2.SuppressEntryRequest(name="ours", entry_id=entry, reason="a logo", expires_at=expires)
    suppress = proposals.propose(asked, by="ann")
    assert released == []
    assert keeper.suppressions("ours") == []
    assert {p.id for p in proposals.waiting("ours")} == {release.id, suppress.id}
    proposals.approve(release.id, by="bob")
    proposals.approve(suppress.id, by="bob")
    assert released == [("ours", entry)]
    (found,) = keeper.suppressions("ours")
    assert (found.by, found.approver) == ("ann", "bob")


def test_what_could_not_be_done_is_not_proposed(proposals, strict):
    with pytest.raises(Malformed, match="unknown hash type"):
        proposals.propose(wider(thresholds={"nope": 1}), by="ann")
    with pytest.raises(Malformed) as refused:
        proposals.propose(wider(reason=""), by="ann")
    assert refused.value.field == "reason"
    with pytest.raises(NotFound):
        proposals.propose(lists_pb2.ReleaseEntryRequest(name="none", entry_id="x", reason="r"), by="ann")


def test_a_proposal_expires(store, keeper, strict, released):
    now = [clock.now()]
    proposals = Proposals(store, keeper, release=lambda *_, **__: None, now=lambda: now[0])
    proposal = proposals.propose(wider(), by="ann")
    now[0] += LASTS
    assert proposals.waiting() == []
    with pytest.raises(NotFound):
        proposals.approve(proposal.id, by="bob")
    proposals.propose(wider(shadow=True), by="ann")
    with store.view() as view:
        assert len(view.proposals()) == 1  # the expired one is gone


def test_going_back_waits_too_and_goes_where_it_said(proposals, keeper, store, strict, fingerprint):
    for n in range(3):
        keeper.activate("ours", keeper.add("ours", fingerprint(n), reason="r", by="ann").staged_version, by="bob")
    back = lists_pb2.RollBackListRequest(name="ours", reason="matches too much")
    proposal = proposals.propose(back, by="ann")
    assert (keeper.get("ours").active_version, proposal.roll_back.version) == (3, 2)
    for alone in ("", "ann"):
        with pytest.raises(Refused, match="another person"):
            keeper.roll_back("ours", by="ann", approver=alone)
    with pytest.raises(Refused, match="roll back to it"):
        keeper.activate("ours", 1, by="ann")
    with pytest.raises(Refused, match="ann proposed this"):
        proposals.approve(proposal.id, by="ann")
    proposals.approve(proposal.id, by="bob")
    assert keeper.get("ours").active_version == 2
    with store.view() as view:
        change = view.changes(view.revision - 1, 1)[0]
    assert (change.by, change.approver, change.reason) == ("ann", "bob", "matches too much")


def test_a_version_that_never_acted_cannot_be_gone_back_to(proposals, keeper, strict, fingerprint):
    with pytest.raises(Refused, match="no version active before"):
        proposals.propose(lists_pb2.RollBackListRequest(name="ours", reason="r"), by="ann")
    keeper.add("ours", fingerprint(1), reason="r", by="ann")
    with pytest.raises(Refused, match="never active"):
        proposals.propose(lists_pb2.RollBackListRequest(name="ours", version=1, reason="r"), by="ann")
