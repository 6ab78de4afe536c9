"""What is found wrong with a policy, held against a loop over all the matches that its rules tell apart."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashmatch.audit.ledger import Ledger
from hashmatch.cli.main import main
from hashmatch.errors import BadConfig
from hashmatch.hashing.registry import REGISTRY
from hashmatch.types import EXACT_DIGESTS
from hashmatch.workflow.plan import BY_REGION, Clocks, Jurisdiction
from hashmatch.workflow.policy import TRUST, Band, Basis, Fact, Filing, Policy, Rule, decide
from hashmatch.workflow.policy_check import check
from hashmatch.workflow.policy_file import load, parse
from hashmatch.workflow.policy_reach import Space, of_rules, of_the_rest

from .test_policy import DEFAULT, NOW, TEXT, record_of

HOURS = (Clocks(timedelta(hours=1), timedelta(hours=2)),) * 4


def policy_of(*rules, **more):
    return Policy(rules=rules, clocks=HOURS, near={"pdq": 20}, **more)


def rule(name="x", tier=2, *, max_distance=None, attributes=None, more=None, **when):
    return Rule(
        name=name, reason="r", when={key: frozenset(one) for key, one in when.items()}, tier=tier,
        max_distance=max_distance, attributes=attributes or {}, **more or {},
    )  # fmt: skip


def told(policy, **asked):
    return [(one.where, one.what, one.error) for one in check(policy, **asked)]


def test_the_types_found_by_equality_are_those_of_the_registry():
    assert {name for name, hash_type in REGISTRY.items() if hash_type.exact} == EXACT_DIGESTS


# ── rules that are never reached ────────────────────────────────────────────────────────────────────────────────────

CLOSENESS = [  # on, below and above whatever a rule names
    (hash_type, distance)
    for hash_type in ("pdq", "other", "sha256", "md5")
    for distance in ((0,) if hash_type in EXACT_DIGESTS else (0, 1, 4, 5, 20, 21, 256))
]
NAMED = {  # by rules; what matches have is that and, where it is open, one value more
    "trust": TRUST, "lists": ["a", "b"], "labels": ["x", ""], "closeness": CLOSENESS, "surfaces": ["chat", ""],
    "regions": ["US", "GB"], "attributes": [{}, {"k": "1"}, {"l": "1"}, {"k": "2", "l": "1"}, {"k": "1", "l": "1"}],
}  # fmt: skip
CLOSED = {"trust", "closeness", "attributes"}


def texts(name):
    return st.sets(st.sampled_from(NAMED[name]), min_size=1, max_size=4)


ASKED = {name: texts(name).map(lambda found, name=name: {name: found}) for name in NAMED if name not in CLOSED}
ASKED |= {
    "trust": texts("trust").map(lambda found: {"trust": found}),
    "closeness": st.fixed_dictionaries(
        {},
        optional={
            "hash_types": st.sets(st.sampled_from(["pdq", "sha256", "md5"]), min_size=1),
            "bands": st.sets(st.sampled_from([*Band]), min_size=1),
            "max_distance": st.sampled_from([0, 4, 20, 256]),
        },
    ),
    "attributes": st.sampled_from([{"attributes": one} for one in NAMED["attributes"]]),
}


@st.composite
def policies(draw):
    """A policy whose rules look at few things, and every match that these tell apart."""
    seen = draw(st.sets(st.sampled_from(sorted(NAMED)), min_size=1, max_size=3))
    rules = []
    for number in range(draw(st.integers(1, 6))):
        asked = [draw(ASKED[name]) for name in sorted(seen) if draw(st.booleans())]
        rules.append(rule(f"r{number}", **{key: value for one in asked for key, value in one.items()}))
    has = {name: [*values, *["other"] * (name not in CLOSED)] for name, values in NAMED.items()}
    every = product(*(has[name] if name in seen else has[name][-1:] for name in NAMED))
    facts = [
        Fact(list_, trust, label, *close, close[0] in EXACT_DIGESTS, surface, region, attributes)
        for trust, list_, label, close, surface, region, attributes in every
    ]
    return policy_of(*rules), facts


@settings(max_examples=50)
@given(policies())
def test_a_rule_is_called_unreachable_where_no_match_decides_by_it_and_only_there(given_):
    policy, facts = given_
    reasons = decide(policy, facts, case_seed="", now=NOW).reasons
    deciding = {reason.rule.name if reason.rule else None for reason in reasons}
    space = Space(policy)
    assert [one.reached for one in of_rules(policy, space)] == [one.name in deciding for one in policy.rules]
    assert of_the_rest(policy, space).reached is (None in deciding)
    never = {where for where, what, _ in told(policy) if "never reached" in what}
    assert never == {f"rule '{one.name}'" for one in policy.rules if one.name not in deciding}
    for limit in (0, 1, 5):  # what is not decided is not called wrong
        for found, sure in zip(of_rules(policy, space, limit=limit), of_rules(policy, space), strict=True):
            assert found.reached in (None, sure.reached)


def test_it_is_said_which_rules_leave_nothing_and_which_match_meets_none():
    parted = [rule("a", surfaces=["chat"], trust=TRUST[:2]), rule("b", trust=TRUST[2:]), rule("c", trust=TRUST[:2])]
    found = told(policy_of(*parted, rule("never", surfaces=["chat"], bands=["far"]), rule("far", bands=["far"])))
    assert ("rule 'never'", "is never reached: 'a', 'b' before it take all that it would", True) in found
    assert ("rule 'far'", "is never reached: 'a', 'b', 'c' before it take all that it would", True) in found
    (found,) = told(policy_of(*parted[:1], rule("b", max_distance=3), rule("c", hash_types=["pdq"])))
    assert found[1].startswith("some matches meet no rule, such as ")
    assert "another hash type at distance 4 to 256: end with one that takes them" in found[1]


@pytest.mark.parametrize(
    "odd",
    [
        rule(lists=[]),
        rule(hash_types=["sha256"], bands=["near", "far"]),
        rule(hash_types=["pdq"], bands=["exact"]),
        rule(hash_types=["pdq"], bands=["far"], max_distance=20),
    ],
)
def test_a_rule_that_no_match_can_meet(odd):
    found = told(policy_of(odd, rule("rest")))
    assert found == [("rule 'x'", "is never reached: no match can meet all its conditions", True)]


def test_what_takes_too_much_work_is_not_decided_and_no_error():
    rules = [rule(f"r{n}", attributes={"k": str(n)}, surfaces=["chat"], regions=["US"]) for n in range(3)]
    whole = [rule("surface", surfaces=["chat"]), rule("region", regions=["US"]), rule("both", attributes={"k": "1"})]
    found = told(policy_of(*rules, *whole, rule("rest")), limit=1)
    assert [error for _, _, error in found] == [False] * len(found)
    assert (
        "rule 'both'",
        "whether it is ever reached is not decided: it takes more than 1 boxes to tell",
        False,
    ) in found
    assert told(policy_of(*rules, *whole, rule("rest"))) == []


def test_many_rules_are_checked_in_bounded_time():
    rules = [
        rule(
            f"r{n}", lists=[f"l{n % 7}", f"l{n % 11}"], surfaces=[f"s{n % 5}"], regions=[f"g{n % 3}", f"g{n % 4}"],
            labels=[f"{n}"], trust=TRUST[n % 4 :], max_distance=n,
        )
        for n in range(200)
    ]  # fmt: skip
    assert told(policy_of(*rules, rule("rest"))) == []


# ── contradictions ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name = 'all'\nreason = 'r'\ntier = 1", "rule 'all': there are several of that name"),
        ("name = 'x'\nreason = 'r'\ntier = 1", "rule 'x': is never reached: 'all'"),
        (
            "name = 'x'\nreason = 'r'\ntier = 1\nnow = ['restrict', 'restore']",
            "rule 'x': asks for restore and restrict",
        ),
        ("name = 'x'\nreason = 'r'\ntier = 1\nlog_only = true\nnow = ['restrict']", "rule 'x': says log_only"),
        ("name = 'x'\nreason = 'r'\ntier = 1\nlog_only = true\ndisposition = 'block'", "rule 'x': says log_only"),
        ("name = 'x'\nreason = 'r'\ntier = 1\nreport = 'confirmed'", "rule 'x': wants a report, and names no"),
        (
            "name = 'x'\nreason = 'r'\ntier = 1\nauthority = 'NCMEC'",
            "rule 'x': names the authority NCMEC, and wants no",
        ),
        ("name = 'x'\nreason = 'r'\ntier = 1\nnow = ['block']\nconfirmed = ['block']", "block at once and once"),
        (
            "name = 'x'\nreason = 'r'\ntier = 1\nreport = 'unreviewed'\nauthority = 'A'\nsecond_review = 'w'",
            "reports without review, and wants a second",
        ),
    ],
)
def test_what_contradicts_itself_is_not_put_into_force(tmp_path, text, says):
    file = tmp_path / "policy.toml"
    file.write_text(TEXT + "[[rule]]\n" + text)
    with pytest.raises(BadConfig) as refused:
        load(file)
    assert says in str(refused.value)


def test_rules_that_undo_each_other_within_one_verdict():
    restrict, restore = {"now": ("restrict",)}, {"confirmed": ("restore",)}
    near = rule("near", lists=["a"], surfaces=["chat"], more=restrict)
    says = "and rule 'near' ask for restore and restrict, which undo each other in one verdict"
    clash = rule("back", lists=["b"], more=restore)
    assert told(policy_of(near, clash, rule("rest"))) == [("rule 'back'", says, True)]
    for apart in ({"surfaces": ["live"]}, {"lists": ["b"], "surfaces": ["live"]}):
        assert told(policy_of(near, rule("back", more=restore, **apart), rule("rest"))) == []
    flagged = [rule("near", attributes={"k": "1"}, more=restrict), rule("back", attributes={"k": "2"}, more=restore)]
    assert told(policy_of(*flagged, rule("rest"))) == []
    assert told(policy_of(near, replace(clash, now=(), confirmed=(), log_only=True), rule("rest"))) == []


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ((0, "acknowledge", 61), ("clocks.T0", "acknowledge is longer than that of T1, which is less urgent")),
        ((2, "contain", 16), ("clocks.T2", "contain is longer than that of T3, which is less urgent")),
        ((3, "acknowledge", 121), ("clocks.T3", "acknowledge is longer than decide")),
        ((1, "report", 24 * 60 + 1), ("clocks.T1", "report is longer than that of T2, which is less urgent")),
    ],
)
def test_clocks_that_run_the_wrong_way(change, found):
    tier, name, minutes = change
    clocks = [replace(one, **{name: timedelta(minutes=minutes)} if n == tier else {}) for n, one in enumerate(HOURS)]
    policy = replace(policy_of(rule()), clocks=tuple(clocks))
    assert told(policy) == [(*found, True)]


def test_a_report_that_is_due_before_the_decision_is_noted():
    clocks = tuple(replace(one, report=timedelta(hours=1)) for one in HOURS)
    found = told(replace(policy_of(rule()), clocks=clocks))
    assert [(where, error) for where, _, error in found] == [(f"clocks.T{n}", False) for n in range(4)]


# ── who is told, and what else there is ─────────────────────────────────────────────────────────────────────────────


def test_the_table_of_jurisdictions_must_name_one_row_for_every_region():
    reports = rule(more={"report": Filing.CONFIRMED, "authority": BY_REGION})
    day, hour = timedelta(days=1), timedelta(hours=1)
    one = Jurisdiction(name="one", regions=frozenset({"US"}), authority="A", default=True)
    two = Jurisdiction(name="two", regions=frozenset({"GB"}), authority="B", deadlines=(None, hour, None, day))
    assert told(policy_of(reports, jurisdictions=(one, two))) == []
    for rows, where, what in [
        ((), "jurisdictions", "a report by region wants one row to be the default, for regions that none names"),
        ((two,), "jurisdictions", "a report by region wants one row to be the default, for regions that none names"),
        ((one, replace(two, default=True)), "jurisdictions", "'one', 'two' are each the default: one may be"),
        ((one, replace(two, regions=one.regions)), "jurisdictions", "'one', 'two' each name the region US"),
        (
            (one, replace(one, name="two", default=False, regions=frozenset())),
            "jurisdiction 'two'",
            "names no region and is not the default",
        ),
        ((one, replace(two, deadlines=(day, None, hour, None))), "jurisdiction 'two'", "gives T0 longer than T2"),
        ((one, replace(two, name="one")), "jurisdiction 'one'", "there are several of that name"),
    ]:
        assert told(policy_of(reports, jurisdictions=rows)) == [(where, what, True)]
    unasked = "no rule has the authority 'by region': they are never asked"
    assert told(policy_of(rule(), jurisdictions=(one,))) == [("jurisdictions", unasked, False)]
    other = replace(rule("other", lists=["a"]), report=Filing.CONFIRMED, authority="C")
    clash = told(policy_of(other, reports, jurisdictions=(one,)))
    assert clash == [("rules", "name C and by region: a case goes to one authority", True)]


def test_a_list_that_is_not_there_is_told_and_keeps_nothing_from_force():
    policy = parse(TEXT + "[[rule]]\nname = 'x'\nreason = 'r'\ntier = 1\nlists = ['gone']")
    policy = replace(policy, rules=policy.rules[::-1])
    assert told(policy, lists={"here"}) == [("rule 'x'", "there is no list 'gone'", False)]
    assert told(policy) == told(policy, lists=["gone"]) == []


def test_a_basis_that_ends_before_it_begins_is_refused_and_one_that_is_over_is_noted():
    policy = parse(TEXT + "[[basis]]\nname = 'b'\nsince = 2026-04-03\nuntil = 2026-04-03")
    assert told(policy) == [("basis 'b'", "ends before it begins", True)]
    over = Basis("over", frozenset(), frozenset(), None, datetime(2026, 4, 3, tzinfo=UTC))
    policy = policy_of(rule(), bases=(over, over))
    says = "is over since 2026-04-03: where it covers and none is in force, nothing follows"
    assert told(replace(policy, bases=(over,)), now=NOW) == [("basis 'over'", says, False)]
    assert (
        told(replace(policy, bases=(over,))) == told(replace(policy, bases=(over,)), now=NOW - timedelta(days=99)) == []
    )
    assert told(policy) == [("basis 'over'", "there are several of that name", True)]


def test_the_default_is_decided_within_the_bound():
    assert all(one.reached for one in of_rules(DEFAULT, Space(DEFAULT), limit=100))
    assert of_the_rest(DEFAULT, Space(DEFAULT), limit=100).reached is False


# ── on the command line ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_policy_is_checked_before_it_is_in_force(tmp_path, capsys):
    file = tmp_path / "policy.toml"
    check_it = ["policy", "check", "--state", str(tmp_path / "state"), str(file)]
    file.write_text(TEXT + "[[basis]]\nname = 'b'\nuntil = 2020-01-01")
    assert main(check_it) == 0
    noted, fine = capsys.readouterr().out.splitlines()
    assert noted.startswith("note: basis 'b': is over since 2020-01-01")
    read = parse(file.read_text())
    assert fine == f"1 rules, version {read.version[:12]}, meaning {read.meaning[:12]}: it can be put into force"
    file.write_text(TEXT + "[[rule]]\nname = 'x'\nreason = 'r'\ntier = 1")
    assert main([*check_it, "--json"]) == 65
    found = json.loads(capsys.readouterr().out)
    assert found == {
        "where": "rule 'x'",
        "what": "is never reached: 'all' before it take all that it would",
        "error": True,
    }


@pytest.mark.parametrize("asked", [("--version", "deadbeef"), ("--proposed",)])
def test_where_no_policy_ever_was_none_other_is_shown(tmp_path, capsys, asked):
    assert main(["policy", "show", "--state", str(tmp_path), *asked]) == 65
    assert "ever in force or proposed here" in capsys.readouterr().err


def test_a_verdict_of_the_log_is_explained(tmp_path, capsys):
    record = record_of()
    with closing(Ledger(tmp_path)) as ledger:
        ledger.append(record, log=True, remember=False).result()
    explain_it = ["policy", "explain", "--state", str(tmp_path), record.verdict_id]
    assert main(explain_it) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "  'verified, far': near the threshold, structure alone can match" in "\n".join(lines)
    assert "  the first match of its entry" in lines
    told = "  report to NCMEC, which 'United States' of the jurisdictions names, once confirmed, within 1 day, 0:00:00"
    assert told in lines
    assert main([*explain_it, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["tier"], said["disposition"], said["authority"]) == ("T1", None, "NCMEC")
    assert said["policy_meaning"] == load(None).meaning
