"""Rules held against a loop over all that there can be, and the policy that comes with hashmatch against practice."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashmatch.errors import BadConfig, Malformed
from hashmatch.workflow import policy_file
from hashmatch.workflow.plan import Clocks
from hashmatch.workflow.policy import (
    ON_ACCOUNTS,
    TRUST,
    Band,
    Basis,
    Fact,
    Filing,
    Policy,
    Rule,
    decide,
    explain,
)
from hashmatch.workflow.policy_file import check, load, parse

NOW = datetime(2026, 5, 1, tzinfo=UTC)
DEFAULT = load(None)
HOUR = Clocks(timedelta(hours=1), timedelta(hours=2))


def fact(trust="verified", *, distance=0, hash_type="pdq", surface="chat", region="US", label="", list_="known"):
    return Fact(list_, trust, label, hash_type, distance, hash_type == "sha256", surface, region)


def plan(*facts, policy=DEFAULT, seed="v1", now=NOW):
    return decide(policy, facts, case_seed=seed, now=now).plan


def verbs(found, *, deferred):
    return [one.verb for one in found.instructions if one.deferred is deferred]


def test_a_verified_file_is_blocked_and_reported_at_once_and_the_account_waits_for_a_person():
    found = plan(fact(hash_type="sha256"))
    assert (found.tier, found.authority, found.report_unreviewed) == (1, "NCMEC", True)
    assert verbs(found, deferred=False) == ["block", "preserve"]
    assert verbs(found, deferred=True) == ["remove_copies", "suspend"]


def test_near_the_threshold_two_persons_look_before_anything_is_reported():
    found = plan(fact(distance=25))
    assert (found.report_unreviewed, found.second_review) == (False, ("near the threshold",))
    assert verbs(found, deferred=False) == ["restrict", "preserve"]


def test_what_nobody_verified_is_contained_and_reviewed():
    for trust in ("single_member", "self_reported", "internal", "unspecified"):
        found = plan(fact(trust, distance=3))
        assert (found.tier, found.report_unreviewed) == (2, False)
        assert verbs(found, deferred=False) == ["restrict", "preserve"]


def test_a_live_stream_pages_at_once():
    found = plan(fact("unspecified", surface="live"))
    assert found.tier == 0
    assert "page" in verbs(found, deferred=False)
    assert found.acknowledge == timedelta(minutes=5)


def test_the_strictest_of_several_matches_wins():
    found = plan(fact("internal", distance=30), fact(hash_type="sha256"))
    assert found.tier == 1
    assert {"block", "restrict"} <= set(verbs(found, deferred=False))


def test_no_match_that_counts_means_nothing():
    decision = decide(DEFAULT, [], case_seed="v", now=NOW)
    assert (decision.plan, decision.why_nothing) == (None, "no list that counts has matched")


def test_without_a_legal_basis_nothing_follows_and_it_is_said():
    basis = Basis("interim", frozenset({"chat"}), frozenset({"EU"}), NOW, NOW + timedelta(days=1))
    policy = replace(DEFAULT, bases=(basis,))
    assert plan(fact(region="EU"), policy=policy) is not None
    assert plan(fact(region="EU"), policy=policy, now=NOW + timedelta(days=1)) is None
    decision = decide(policy, [fact(region="EU")], case_seed="v", now=NOW - timedelta(seconds=1))
    assert "no legal basis is in force for this surface and region: interim" in explain(decision)[-1]
    assert plan(fact(region="US"), policy=policy, now=NOW + timedelta(days=1)) is not None


def test_an_explanation_names_the_rule_and_those_passed_over():
    told = explain(decide(DEFAULT, [fact("internal", distance=3)], case_seed="v", now=NOW))
    assert any("'unverified': one organisation's label" in line for line in told)
    assert any("not 'verified, exact': trust is 'internal', not verified" in line for line in told)


def test_the_sample_is_of_the_stated_size_and_the_same_every_time():
    policy = replace(DEFAULT, sample=(0, 100, 0, 0))
    drawn = [bool(plan(fact(hash_type="sha256"), policy=policy, seed=f"v{n}").second_review) for n in range(5000)]
    assert 400 < sum(drawn) < 600
    assert drawn == [
        bool(plan(fact(hash_type="sha256"), policy=policy, seed=f"v{n}").second_review) for n in range(5000)
    ]


# ── properties ──────────────────────────────────────────────────────────────────────────────────────────────────────

FACTS = st.builds(
    fact, st.sampled_from(TRUST), distance=st.integers(0, 60), hash_type=st.sampled_from(["pdq", "sha256", "phash"]),
    surface=st.sampled_from(["chat", "live"]), region=st.sampled_from(["US", "EU"]),
)  # fmt: skip


@given(st.lists(FACTS, min_size=1, max_size=5), st.randoms())
def test_every_match_gives_a_plan_and_their_order_does_not_matter(facts, draw):
    same_place = [replace(one, surface=facts[0].surface, region=facts[0].region) for one in facts]
    shuffled = list(same_place)
    draw.shuffle(shuffled)
    first, second = plan(*same_place), plan(*shuffled)
    assert first is not None
    assert (first.tier, {(i.verb, i.deferred) for i in first.instructions}) == (
        second.tier, {(i.verb, i.deferred) for i in second.instructions},
    )  # fmt: skip
    assert set(first.rules) == set(second.rules)


@given(st.lists(FACTS, min_size=1, max_size=4), FACTS)
def test_another_match_makes_nothing_milder(facts, more):
    same_place = [replace(one, surface=more.surface, region=more.region) for one in facts]
    before, after = plan(*same_place), plan(*same_place, more)
    assert after.tier <= before.tier
    assert set(verbs(before, deferred=False)) <= set(verbs(after, deferred=False))
    assert after.report_unreviewed >= before.report_unreviewed


@given(st.lists(FACTS, min_size=1, max_size=4))
def test_no_account_is_touched_without_a_second_signal(facts):
    policy = replace(DEFAULT, rules=(Rule(name="all", reason="r", when={}, tier=1, now=("suspend",)),))
    found = plan(*facts, policy=policy)
    signal = any(one.exact for one in facts) or len({one.hash_type for one in facts}) > 1
    assert [one.deferred for one in found.instructions if one.verb in ON_ACCOUNTS] == [not signal]


CLOSED = {"trust": TRUST, "bands": tuple(Band)}
WHEN = st.fixed_dictionaries(
    {},
    optional={name: st.sets(st.sampled_from(values), min_size=1).map(frozenset) for name, values in CLOSED.items()},
)


@settings(max_examples=200)
@given(st.lists(WHEN, min_size=1, max_size=5))
def test_a_rule_covered_by_one_before_it_is_found_and_so_is_a_match_that_meets_none(whens):
    rules = tuple(Rule(name=f"r{n}", reason="r", when=when, tier=2) for n, when in enumerate(whens))
    policy = Policy(rules=rules, clocks=(HOUR,) * 4, near={"pdq": 20})
    told = [one.what for one in check(policy)]
    reached, lost = set(), False
    for trust, distance, hash_type in product(TRUST, (0, 30), ("pdq", "sha256")):
        (reason,) = decide(policy, [fact(trust, distance=distance, hash_type=hash_type)], case_seed="", now=NOW).reasons
        reached.add(reason.rule.name if reason.rule else "")
        lost = lost or reason.rule is None
    assert lost == any("meet no rule" in what for what in told)
    for number, when in enumerate(whens):
        alone = [
            set(product(earlier.get("trust", TRUST), earlier.get("bands", Band))) for earlier in whens[:number]
        ]  # fmt: skip
        own = set(product(when.get("trust", TRUST), when.get("bands", Band)))
        covered = own <= set().union(*alone)
        findings = [one for one in check(policy) if one.where == f"rule 'r{number}'" and "never reached" in one.what]
        assert bool(findings) == covered
        if covered:
            assert f"r{number}" not in reached


# ── files ───────────────────────────────────────────────────────────────────────────────────────────────────────────

TEXT = """
[clocks.T0]
acknowledge = "5m"
decide = "15m"
[clocks.T1]
acknowledge = "1h"
decide = "4h"
[clocks.T2]
acknowledge = "8h"
decide = "24h"
[clocks.T3]
acknowledge = "24h"
decide = "3d"
[[rule]]
name = "all"
reason = "everything"
tier = 2
"""


def test_the_default_is_without_a_finding():
    assert check(DEFAULT, lists=()) == []
    assert len(DEFAULT.version) == 64


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("= = =", "policy: "),
        ("surprise = 1", "surprise: unknown; known"),
        ("[[rule]]\nname = 'x'\nreason = 'y'\ntier = 9", "rule 2 ('x'): tier: want 0..3"),
        ("[[rule]]\nname = 'x'\nreason = 'y'\ntier = 1\nnow = ['explode']", "'explode' is not one of restrict"),
        ("[[rule]]\nname = 'x'\nreason = 'y'\ntier = 1\ntrust = ['alleged']", "trust: 'alleged' is not one of"),
        ("[[rule]]\nname = 'x'\ntier = 1", "rule 2 ('x'): reason: want a text of 1"),
        ("[[rule]]\nname = 'x'\nreason = 'y'\ntier = 1\nreport = 'soon'", "report: want one of never"),
        ("[near]\npdq = 'close'", "near: want bits"),
        ("[sample]\nT9 = 1", "sample.T9: unknown"),
        ("[[basis]]\nname = 'b'\nuntil = 'then'", "basis 1: until: want a date"),
    ],
)
def test_a_file_that_is_wrong_says_where(change, says):
    head = "" if change.startswith("[") else change + "\n"
    tail = "" if head else change
    with pytest.raises(Malformed) as refused:
        parse(head + TEXT + tail)
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ("name = 'all'\nreason = 'r'\ntier = 1", "several of that name"),
        ("name = 'x'\nreason = 'r'\ntier = 1", "never reached: 'all'"),
        ("name = 'x'\nreason = 'r'\ntier = 1\nnow = ['restrict', 'restore']", "undo each other"),
        ("name = 'x'\nreason = 'r'\ntier = 1\nlog_only = true\nnow = ['restrict']", "says log_only"),
        ("name = 'x'\nreason = 'r'\ntier = 1\nreport = 'confirmed'", "names no authority"),
        (
            "name = 'x'\nreason = 'r'\ntier = 1\nnow = ['block']\nconfirmed = ['block']",
            "block at once and once",
        ),
    ],
)
def test_what_contradicts_itself_is_not_put_into_force(tmp_path, rule, says):
    file = tmp_path / "policy.toml"
    file.write_text(TEXT + "[[rule]]\n" + rule)
    with pytest.raises(BadConfig) as refused:
        load(file)
    assert says in str(refused.value)


def test_a_list_that_is_not_there_is_told_and_keeps_nothing_from_force():
    policy = parse(TEXT.replace("tier = 2", "tier = 2\nlists = ['gone']"))
    found = [one for one in check(policy, lists={"here"}) if "gone" in one.what]
    assert [one.error for one in found] == [False]


def test_a_basis_that_ends_before_it_begins():
    policy = parse(TEXT + "[[basis]]\nname = 'b'\nsince = 2026-04-03\nuntil = 2026-04-03")
    assert any(one.what == "ends before it begins" for one in check(policy))
    assert policy_file.parse(TEXT).rules[0].report is Filing.NEVER
