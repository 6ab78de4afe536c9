"""Policies in force: taken over once, changed by two, followed at once by whoever decides, and told in the log."""

from __future__ import annotations

import pytest

from hashmatch.errors import BadConfig, Malformed, NotFound, Refused
from hashmatch.workflow import policy_file
from hashmatch.workflow.policy_store import ClocksInForce, PolicyInForce, PolicyStore, check_in_force, start

from .conftest import match

BUILT_IN = policy_file.text_of(None)
OTHER = BUILT_IN.replace('acknowledge = "1h"', 'acknowledge = "30m"')
LATE = BUILT_IN.replace('acknowledge = "1h"', 'acknowledge = "30d"')  # longer than that of what is less urgent
WRONG = BUILT_IN.replace('report = "unreviewed"', 'report = "at once"', 1)


@pytest.fixture
def store(work):
    return PolicyStore(work.ledger.env)


def do(work, call, *args, **kwargs):
    with work.ledger.changing() as log:
        return call(log, *args, **kwargs)


def changes(work):
    return [e.policy_changed for e in work.ledger.events(limit=100) if e.HasField("policy_changed")]


def test_what_a_server_is_started_with_first_is_taken_over_and_later_stays(work, store):
    for named in (False, True, False):
        do(work, start, store, BUILT_IN, named=named, alone=False)
    (first,) = changes(work)
    assert (first.by, first.previous) == ("settings", "")
    do(work, start, store, OTHER, named=False, alone=False)  # another version of hashmatch comes with other rules
    assert len(changes(work)) == 1
    with pytest.raises(BadConfig, match="propose"):
        do(work, start, store, OTHER, named=True, alone=False)
    do(work, start, store, OTHER, named=True, alone=True)
    assert changes(work)[1].previous == first.version


def test_two_persons_change_it_and_it_counts_at_once(work, store):
    do(work, start, store, BUILT_IN, named=False, alone=False)
    live = PolicyInForce(work.ledger.env, policy_file.load(None))
    clocks = ClocksInForce(live)
    before = clocks[1].acknowledge
    waits = do(work, store.propose, OTHER, by="ann", reason="quicker")
    with pytest.raises(NotFound):
        do(work, store.approve, "0" * 12, by="bob")
    with pytest.raises(Refused, match="another person"):
        do(work, store.approve, waits.version[:12], by="Ann")
    assert clocks[1].acknowledge == before
    do(work, store.approve, waits.version[:12], by="bob")
    assert clocks[1].acknowledge == before / 2
    assert live(match(), work.now).version == waits.version
    said = changes(work)[-1]
    assert (said.by, said.approver, said.reason, said.version) == ("ann", "bob", "quicker", waits.version)
    assert [one.step for one in changes(work)] == ["", "PROPOSED", ""]
    with work.ledger.env.read() as txn:
        assert (store.proposal(txn), store.text(txn, changes(work)[0].version)) == (None, BUILT_IN)


def test_what_is_wrong_or_in_force_already_is_not_proposed(work, store):
    do(work, start, store, BUILT_IN, named=False, alone=False)
    for text in (WRONG, "nonsense", ""):
        with pytest.raises(BadConfig):
            do(work, store.propose, text, by="ann", reason="r")
    with pytest.raises(Malformed):
        do(work, store.propose, OTHER, by="ann", reason=" ")
    with pytest.raises(Refused):
        do(work, store.propose, BUILT_IN, by="ann", reason="r")
    with pytest.raises(NotFound):
        do(work, store.withdraw, by="ann")
    do(work, store.propose, OTHER, by="ann", reason="r")
    do(work, store.withdraw, by="ann")
    with work.ledger.env.read() as txn:
        assert store.proposal(txn) is None
        with pytest.raises(NotFound):
            store.text(txn, "none")
    assert [(one.step, one.by) for one in changes(work)[1:]] == [("PROPOSED", "ann"), ("WITHDRAWN", "ann")]


def test_before_one_is_in_force_the_settings_count(work):
    live = PolicyInForce(work.ledger.env, policy_file.load(None))
    assert live.now.version == policy_file.load(None).version
    assert live.reports_to("US")[0] == "NCMEC"


def test_what_is_in_force_and_cannot_be_read_is_told_at_the_start_and_not_replaced_in_silence(work, store):
    do(work, start, store, BUILT_IN, named=False, alone=False)
    version = changes(work)[0].version
    with work.ledger.changing() as log:
        store._rows.put(log.txn, b"text\0" + version.encode(), "of = 'another version'")
    with pytest.raises(BadConfig, match="cannot read what is in force"):
        do(work, start, store, BUILT_IN, named=False, alone=False)


def test_what_is_in_force_is_followed_and_only_a_start_holds_it_against_the_rules_of_this_version(work, store):
    check_in_force(work.ledger.env)  # before there is one
    do(work, start, store, BUILT_IN, named=False, alone=False)
    live, version = PolicyInForce(work.ledger.env, policy_file.load(None)), policy_file.parse(LATE).version
    with work.ledger.changing() as log:
        for key, value in ((b"text\0" + version.encode(), LATE), (b"active", version)):
            store._rows.put(log.txn, key, value)
    assert live.now.version == version
    check_in_force(work.ledger.env)
    with pytest.raises(BadConfig, match="longer than"):
        do(work, start, store, BUILT_IN, named=False, alone=False)
