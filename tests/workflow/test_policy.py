"""Rules held against a loop over all that there can be, and the policy that comes with hashmatch against practice."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashmatch.errors import Malformed
from hashmatch.types import EXACT_DIGESTS, Disposition
from hashmatch.v1.lists_pb2 import TRUST_TIER_VERIFIED
from hashmatch.workflow.facts import decision_on, facts_of, plan_by, seed_of
from hashmatch.workflow.hold_table import Kind
from hashmatch.workflow.policy import (
    ON_ACCOUNTS,
    TRUST,
    Basis,
    Fact,
    Filing,
    Rule,
    SecondReview,
    decide,
    drawn,
    explain,
)
from hashmatch.workflow.policy_check import check
from hashmatch.workflow.policy_file import load, parse

from .conftest import match

NOW = datetime(2026, 5, 1, tzinfo=UTC)
SHIPPED = load(None)


def extended():
    """What is shipped, with the rows for elsewhere that its comments show, and answers as strict as what it does."""
    head, _, rest = (files("hashmatch.workflow") / "default_policy.toml").read_text().partition("# Who is established")
    rows, _, tail = rest.partition("\n\n")
    policy = parse(head + "\n".join(line.removeprefix("# ") for line in rows.splitlines()[2:]) + "\n\n" + tail)
    least = {True: Disposition.BLOCK, False: Disposition.RESTRICT}
    return replace(policy, rules=tuple(replace(one, disposition=least["block" in one.now]) for one in policy.rules))


DEFAULT = extended()


def fact(
    trust="verified", *, distance=0, hash_type="pdq", surface="chat", region="US", label="", list_="known", **more
):  # fmt: skip
    return Fact(list_, trust, label, hash_type, distance, hash_type in EXACT_DIGESTS, surface, region, **more)


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


EU = Basis("EU", frozenset({"chat"}), frozenset({"EU"}), None, NOW)  # over


@pytest.mark.parametrize(("surface", "region"), [("chat", ""), ("", "EU"), ("", "")])
def test_where_the_place_is_not_known_nothing_is_done_by_itself_that_may_lack_a_basis(surface, region):
    policy = replace(DEFAULT, bases=(EU,))
    decision = decide(
        policy, [fact(hash_type="sha256", surface=surface, region=region)], case_seed="v", now=NOW
    )  # fmt: skip
    assert (verbs(decision.plan, deferred=False), decision.plan.report_unreviewed) == ([], False)
    assert decision.plan.disposition is Disposition.REVIEW
    assert any("nothing by itself: the surface or the region is not known" in line for line in explain(decision))
    page = plan(fact(surface="live", region=""), policy=replace(policy, bases=(replace(EU, surfaces=frozenset()),)))
    assert verbs(page, deferred=False) == ["page"]


def test_where_whatever_the_place_may_be_a_basis_is_in_force_or_none_is_wanted_all_is_done():
    newer = replace(EU, name="newer", since=NOW, until=None)
    for policy, place in [
        (replace(DEFAULT, bases=(EU, newer)), {"region": ""}),
        (replace(DEFAULT, bases=(EU,)), {"surface": "public", "region": ""}),
        (replace(DEFAULT, bases=(EU,)), {"surface": "", "region": "US"}),
    ]:
        assert plan(fact(hash_type="sha256", **place), policy=policy).report_unreviewed
    whole = replace(EU, surfaces=frozenset(), regions=frozenset())
    assert plan(fact(region=""), policy=replace(DEFAULT, bases=(whole,))) is None


LOGGED = Rule(name="log", reason="r", when={"lists": frozenset({"trial"})}, tier=3, log_only=True)
SUSPEND = Rule(name="known", reason="r", when={"lists": frozenset({"known"})}, tier=1, now=("suspend",))


@pytest.mark.parametrize("rules", [(LOGGED, SUSPEND), (SUSPEND,)])
@pytest.mark.parametrize("hash_type", ["sha256", "phash"])
def test_what_is_only_logged_and_what_meets_no_rule_is_no_second_signal(rules, hash_type):
    found = plan(fact(), fact(list_="trial", hash_type=hash_type), policy=replace(DEFAULT, rules=rules))
    assert [one.deferred for one in found.instructions] == [True]
    assert found.instructions[0].why_deferred == "there is no second signal"
    assert found.rules == ("known",)


def test_what_the_collision_guard_holds_hurts_nobody_and_is_no_second_signal():
    held = plan(fact(hash_type="sha256", held=True))
    assert (verbs(held, deferred=False), held.report_unreviewed) == (["preserve"], False)
    assert held.disposition is Disposition.REVIEW
    policy = replace(DEFAULT, rules=(SUSPEND,))
    assert verbs(plan(fact(), fact(hash_type="sha256", held=True), policy=policy), deferred=False) == []
    assert plan(fact(hash_type="sha256", held=True), fact(hash_type="sha256")).report_unreviewed


def test_why_nothing_follows():
    for rules, why in [((LOGGED,), "every rule that applies says: log only"), ((SUSPEND,), "no rule applies")]:
        decision = decide(replace(DEFAULT, rules=rules), [fact(list_="trial")], case_seed="v", now=NOW)
        assert (decision.plan, decision.why_nothing) == (None, why)


def test_an_explanation_names_the_rule_and_those_passed_over():
    told = explain(decide(DEFAULT, [fact("internal", distance=3)], case_seed="v", now=NOW))
    assert any("'unverified': one organisation's label" in line for line in told)
    assert any("not 'verified, exact': trust is 'internal', not verified" in line for line in told)
    assert any("the answer asks for RESTRICT at least" in line for line in told)
    assert any("report to NCMEC, which 'United States' of the jurisdictions names, once confirmed" in s for s in told)
    assert any("a finished report begins the duty US_REPORT" in line for line in told)


def test_a_rule_asks_for_bits_and_for_attributes():
    close = Rule(name="close", reason="r", when={}, tier=1, max_distance=4, attributes={"livestream": "true"})
    rest = Rule(name="rest", reason="r", when={}, tier=2)
    policy = replace(DEFAULT, rules=(close, rest))
    live = {"livestream": "true", "ip": "192.0.2.1"}
    assert plan(fact(distance=4, attributes=live), policy=policy).tier == 1
    assert plan(fact(hash_type="sha256", attributes=live), policy=policy).tier == 1
    for one, why in [
        (fact(distance=5, attributes=live), "distance is 5 bits, more than 4"),
        (fact(attributes={"livestream": "secret"}), "the attribute 'livestream' is not 'true'"),
    ]:
        decision = decide(policy, [one], case_seed="v", now=NOW)
        assert (decision.plan.tier, decision.reasons[0].passed_over) == (2, (("close", why),))


def test_a_stream_that_the_platform_names_in_an_attribute_is_as_urgent_as_one_by_its_surface():
    found = plan(fact("unspecified", attributes={"livestream": "true"}))
    assert (found.tier, found.disposition) == (0, Disposition.BLOCK)
    assert (found.contain, found.report) == (timedelta(minutes=1), timedelta(hours=1))


def test_what_is_shipped_answers_as_the_lists_say_and_reports_to_one_authority():
    assert {rule.disposition for rule in SHIPPED.rules} == {None}
    assert {plan(fact(region=region), policy=SHIPPED).authority for region in ("US", "GB", "DE", "")} == {"NCMEC"}


def test_the_strictest_disposition_wins_and_none_is_none():
    assert plan(fact("internal"), fact(hash_type="sha256")).disposition is Disposition.BLOCK
    assert plan(fact(), policy=replace(DEFAULT, rules=(SUSPEND,))).disposition is None


@pytest.mark.parametrize(
    ("region", "told"),
    [
        ("US", ("NCMEC", "United States", Kind.US_REPORT, timedelta(hours=24))),
        ("GB", ("NCA", "United Kingdom", Kind.UK_REPORT, timedelta(hours=4))),
        ("DE", ("DSA Art. 18 authority", "European Union", None, timedelta(hours=24))),
        ("JP", ("NCMEC", "United States", Kind.US_REPORT, timedelta(hours=24))),
        ("", ("NCMEC", "United States", Kind.US_REPORT, timedelta(hours=24))),
    ],
)
def test_the_region_says_who_is_told_by_when_and_what_duty_begins(region, told):
    found = plan(fact(hash_type="sha256", region=region))
    assert (found.authority, found.jurisdiction, found.duty, found.report) == told


def test_two_persons_must_agree_where_a_switch_says_so():
    switches = SecondReview(first_of_entry=True, high_impact=True, near_threshold=True)
    policy, off = replace(DEFAULT, second_review=switches), replace(DEFAULT, sample=(0, 0, 0, 0))
    for one, why in [
        (fact("internal", distance=3, within=28, first_of_entry=True), ("first match of an entry",)),
        (fact(hash_type="sha256"), ("high impact",)),
        (fact("internal", distance=27, within=4), ("near the threshold",)),
        (fact("internal", distance=26, within=5), ()),
    ]:
        assert plan(one, policy=replace(policy, sample=off.sample)).second_review == why
        assert plan(one, policy=off).second_review == ()
    nearer = fact("internal", distance=3, within=28)
    assert (
        plan(fact("internal", distance=27, within=4), nearer, policy=replace(policy, sample=off.sample)).second_review
        == ()
    )


def test_the_sample_is_of_the_stated_size_and_the_same_every_time():
    policy = replace(DEFAULT, sample=(0, 100, 0, 0))
    drawn = [bool(plan(fact(hash_type="sha256"), policy=policy, seed=f"v{n}").second_review) for n in range(5000)]
    assert 400 < sum(drawn) < 600
    assert drawn == [
        bool(plan(fact(hash_type="sha256"), policy=policy, seed=f"v{n}").second_review) for n in range(5000)
    ]


def record_of(uploader="u1", **more):
    record = match(uploader, **more)
    record.policies["known"].trust = TRUST_TIER_VERIFIED
    record.matches[0].distance = 25
    return record


def test_the_sample_is_drawn_by_the_case_and_not_by_the_verdict():
    policy = replace(DEFAULT, sample=(0, 500, 500, 0), rules=(Rule(name="all", reason="r", when={}, tier=2),))

    def looked_at(uploader):
        return {bool(plan_by(policy, record_of(uploader), NOW).second_review) for _ in range(8)}

    assert [looked_at(f"u{n}") for n in range(30)].count({True}) in range(5, 26)
    assert all(len(looked_at(f"u{n}")) == 1 for n in range(30))
    assert seed_of(record_of("", content="c1")) != seed_of(record_of("c1"))
    given = {bool(plan_by(policy, record_of(), NOW, case_seed=f"c{n}").second_review) for n in range(30)}
    assert given == {True, False}


def test_the_facts_are_those_of_the_record():
    record = record_of()
    record.subject.attributes["livestream"] = "true"
    record.subject.region = "GB"
    record.matches[0].held = True
    record.matches.add(list="known", entry_id="e2", hash_type="sha256")
    record.matches.add(list="known", entry_id="e3", hash_type="pdq", shadow=True)
    near, exact = facts_of(record, [("known", "e2")])
    assert (near.attributes, near.within, near.held, near.first_of_entry) == ({"livestream": "true"}, 6, True, False)
    assert (exact.exact, exact.within, exact.held, exact.first_of_entry) == (True, None, False, True)
    assert decision_on(DEFAULT, record, NOW).plan.authority == "NCA"


# ── properties ──────────────────────────────────────────────────────────────────────────────────────────────────────

FACTS = st.builds(
    fact, st.sampled_from(TRUST), distance=st.integers(0, 60), hash_type=st.sampled_from(["pdq", "sha256", "phash"]),
    surface=st.sampled_from(["chat", "live"]), region=st.sampled_from(["US", "EU"]),
)  # fmt: skip


MANY = tuple(
    Rule(
        name=name,
        reason=name,
        when={"lists": frozenset({name})},
        tier=2,
        now=("restrict",),
        report=Filing.CONFIRMED,
        authority=name,
        second_review=f"since {name}",
    )
    for name in ("c", "a", "b")
)


@settings(max_examples=50)
@given(st.lists(st.sampled_from("abc").map(lambda name: fact(list_=name)) | FACTS, min_size=1, max_size=4))
def test_the_order_of_matches_changes_nothing(facts):
    policy = replace(DEFAULT, rules=(*MANY, *DEFAULT.rules))
    first, *others = {repr(decide(policy, some, case_seed="v", now=NOW)) for some in permutations(facts)}
    assert others == []
    assert "Decision(plan=Plan(" in first


@given(st.lists(FACTS, min_size=1, max_size=4), FACTS)
def test_another_match_makes_nothing_milder(facts, more):
    same_place = [replace(one, surface=more.surface, region=more.region) for one in facts]
    before, after = plan(*same_place), plan(*same_place, more)
    assert after.tier <= before.tier
    assert set(verbs(before, deferred=False)) <= set(verbs(after, deferred=False))
    assert after.report_unreviewed >= before.report_unreviewed
    assert (after.disposition, -after.contain, -after.report) >= (before.disposition, -before.contain, -before.report)


@given(st.lists(FACTS, min_size=1, max_size=4))
def test_no_account_is_touched_without_a_second_signal(facts):
    policy = replace(DEFAULT, rules=(Rule(name="all", reason="r", when={}, tier=1, now=("suspend",)),))
    found = plan(*facts, policy=policy)
    signal = any(one.exact for one in facts) or len({one.hash_type for one in facts}) > 1
    assert [one.deferred for one in found.instructions if one.verb in ON_ACCOUNTS] == [not signal]


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
    assert check(DEFAULT, lists=(), now=NOW) == []
    assert (len(DEFAULT.version), len(DEFAULT.meaning)) == (64, 64)


def test_the_example_of_a_basis_can_be_put_into_force(tmp_path):
    text = (files("hashmatch.workflow") / "default_policy.toml").read_text("utf-8")
    example = text[text.index("# [[basis]]") : text.index("[[rule]]")]
    policy = parse(text + "\n".join(line.removeprefix("# ") for line in example.splitlines()))
    assert check(policy, now=NOW) == []
    known = fact(hash_type="sha256", region="DE")
    assert plan(known, policy=policy, now=datetime(2026, 7, 31, tzinfo=UTC)) is None
    assert plan(known, policy=policy, now=datetime(2026, 8, 1, tzinfo=UTC)) is not None
    assert plan(known, policy=policy, now=datetime(2028, 4, 3, tzinfo=UTC)) is None


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (("tier = 2", "tier = 2 # a comment"), True),
        (('reason = "everything"', 'reason = "all of it"\nreport = "never"\nlog_only = false'), True),
        (('name = "all"', 'name = "whatever"'), True),
        (('"72h"', '"3d"'), True),
        (("[[rule]]", "[near]\npdq = 20\n[[rule]]"), False),
        (("tier = 2", "tier = 1"), False),
        (("tier = 2", "tier = 2\nmax_distance = 256"), False),
        (('"72h"', '"73h"'), False),
    ],
)
def test_the_meaning_is_what_is_decided_and_the_version_is_the_file(change, same):
    text = TEXT.replace('"3d"', '"72h"')
    one, other = parse(text), parse(text.replace(*change))
    assert one.version != other.version
    assert (one.meaning == other.meaning) is same
    draws = [[drawn(replace(of, sample=(0, 0, 500, 0)), 2, f"c{n}") for n in range(99)] for of in (one, other)]
    assert (draws[0] == draws[1]) is same


def test_clocks_that_nobody_states_follow_from_those_that_are_stated():
    (clocks, *_) = parse(TEXT).clocks
    assert (clocks.contain, clocks.report) == (timedelta(minutes=5), timedelta(minutes=30))


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
        ("[near]\npdq = 'close'", "near.pdq: want bits"),
        ("[sample]\nT9 = 1", "sample.T9: unknown"),
        ("[[basis]]\nname = 'b'\nuntil = 'then'", "basis 1: until: want a date"),
        ("[[basis]]\nname = 'b'\nregions = ['']", "basis 1: regions: want no empty text"),
        ("[[rule]]\nname = 'x'\nreason = 'y'\ntier = 1\nmax_distance = 257", "max_distance: want bits 0..256"),
        ("[[rule]]\nname = 'x'\nreason = 'y'\ntier = 1\nattributes = { a = 1 }", "attributes: want texts by name"),
        ("[[rule]]\nname = 'x'\nreason = 'y'\ntier = 1\ndisposition = 'allow'", "want one of review, restrict, block"),
        ("[[rule]]\nname = 'x'\nreason = 'y'\ntier = 1\nlists = " + str(["l"] * 501), "lists: want at most 500"),
        ("[[rule]]\nname = 'x'\nreason = 'y'\ntier = 1\n" * 200, "rule: 201, want at most 200"),
        ("[[jurisdiction]]\nname = 'j'\nauthority = 'a'\nduty = 'OPEN_CASE'", "duty: want one of US_REPORT"),
        ("[[jurisdiction]]\nname = 'j'\nauthority = 'a'\ndeadline = { T4 = '1h' }", "deadline.T4: unknown"),
        ("[[jurisdiction]]\nname = 'j'", "jurisdiction 1 ('j'): authority: want a text of 1"),
        ("[[jurisdiction]]\nname = 'j'\nauthority = 'a'\ndefault = 1", "default: want true or false"),
        ("[second_review]\nhigh_impact = 'yes'", "second_review.high_impact: want true or false"),
        ("[second_review]\nnear_bits = -1", "second_review.near_bits: want bits"),
        ("[clocks.T4]\ncontain = '1m'", "clocks.T4: unknown"),
    ],
)
def test_a_file_that_is_wrong_says_where(change, says):
    head = "" if change.startswith("[") else change + "\n"
    tail = "" if head else change
    with pytest.raises(Malformed) as refused:
        parse(head + TEXT + tail)
    assert says in str(refused.value)
