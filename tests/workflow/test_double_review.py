"""Blind second reviews: drawn the same every time, as often as was asked, and never by whoever saw the case."""

import hashlib
from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashmatch.errors import Malformed, Refused
from hashmatch.workflow.double_review import Decided, Draw, Sampling, draw, second_reviewer

SAMPLING = Sampling(key=b"sixteen bytes, or more")
PLAIN = Decided(
    digest=b"\1" * 32, reviewer_decisions=5000, list_age=timedelta(days=400), bits_within=None, high_impact=False
)
MANY = [hashlib.sha256(b"%d" % number).digest() for number in range(4000)]
PEOPLE = ["ana", "bo", "cy", "di"]
RISKS = {
    "new reviewer": ({"reviewer_decisions": 199}, {"reviewer_decisions": 200}, 200),
    "new list": ({"list_age": timedelta(days=29)}, {"list_age": timedelta(days=30)}, 100),
    "near the threshold": ({"bits_within": 4}, {"bits_within": 5}, 100),
    "high impact": ({"high_impact": True}, {"high_impact": False}, 500),
}
KINDS = {
    "confirmed": ({"confirmed": True}, {"confirmed": False}),
    "cleared": ({"confirmed": False}, {"confirmed": None}),
    **{f"T{tier}": ({"tier": tier}, {"tier": (tier + 1) % 4}) for tier in range(4)},
}
DECIDED = st.builds(
    Decided, digest=st.binary(min_size=1), reviewer_decisions=st.integers(0, 400),
    bits_within=st.none() | st.integers(0, 9),
    list_age=st.none() | st.integers(0, 60).map(lambda n: timedelta(days=n)), high_impact=st.booleans(),
)  # fmt: skip


@pytest.mark.parametrize("risk", sorted(RISKS))
def test_each_risk_adds_its_share_and_says_so(risk):
    risky, plain, share = RISKS[risk]
    found = draw(replace(PLAIN, **risky), SAMPLING)
    assert (found.permille, found.why) == (20 + share, ("drawn from all", risk))
    assert draw(replace(PLAIN, **plain), SAMPLING).why == ("drawn from all",)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_kinds_of_decisions_and_tiers_have_shares_where_they_are_given_one(kind):
    that, other = KINDS[kind]
    given_one = replace(SAMPLING, **{kind.lower(): 300})
    assert draw(replace(PLAIN, **that), SAMPLING).permille == 20
    assert draw(replace(PLAIN, **that), given_one).why == ("drawn from all", kind)
    assert draw(replace(PLAIN, **other), given_one).permille == 20


def test_shares_add_up_to_all_at_most():
    all_risks = {key: value for risky, _, _ in RISKS.values() for key, value in risky.items()}
    assert draw(replace(PLAIN, **all_risks), SAMPLING).permille == 920
    certain = draw(replace(PLAIN, **all_risks), replace(SAMPLING, base=900))
    assert (certain.permille, certain.second) == (1000, True)


@pytest.mark.parametrize("permille", [0, 20, 250, 1000])
def test_as_many_are_drawn_as_was_asked(permille):
    sampling = replace(SAMPLING, base=permille)
    drawn = sum(draw(replace(PLAIN, digest=digest), sampling).second for digest in MANY)
    spread = (len(MANY) * permille / 1000 * (1 - permille / 1000)) ** 0.5
    assert abs(drawn - len(MANY) * permille / 1000) <= 4 * spread
    if not permille:
        assert draw(PLAIN, sampling) == Draw(False, 0, ())


@given(DECIDED, st.integers(0, 1000), st.integers(0, 1000))
def test_raising_a_share_keeps_what_was_drawn_and_a_retry_draws_the_same(decided, one, other):
    low, high = (replace(SAMPLING, base=share) for share in sorted((one, other)))
    assert draw(decided, low).second <= draw(decided, high).second
    assert draw(decided, low) == draw(decided, low)


def test_another_key_draws_others():
    other = replace(SAMPLING, base=500, key=b"another key, also long")
    drawn = [draw(replace(PLAIN, digest=digest), other).second for digest in MANY]
    before = [draw(replace(PLAIN, digest=digest), replace(SAMPLING, base=500)).second for digest in MANY]
    assert 0.4 < sum(a == b for a, b in zip(drawn, before, strict=True)) / len(MANY) < 0.6


@given(st.binary(min_size=1), st.lists(st.sampled_from(PEOPLE), min_size=1), st.sets(st.sampled_from(PEOPLE)))
def test_never_the_same_person_twice(digest, seen, candidates):
    spelt = [name.upper() for name in seen]
    if candidates <= set(seen):
        with pytest.raises(Refused):
            second_reviewer(digest, SAMPLING, candidates, spelt)
    else:
        found = second_reviewer(digest, SAMPLING, candidates, spelt)
        assert found in candidates - set(seen)
        assert found == second_reviewer(digest, SAMPLING, sorted(candidates, reverse=True), spelt)
        rest = candidates - {next(iter(candidates - {found}), "")}
        assert found == second_reviewer(digest, SAMPLING, rest, spelt)  # stays where another leaves


def test_the_second_reviews_are_spread_evenly():
    counts = Counter(second_reviewer(d, SAMPLING, PEOPLE, ["ana"]) for d in MANY)
    assert set(counts) == {"bo", "cy", "di"}
    assert max(counts.values()) - min(counts.values()) < 4 * (len(MANY) / 3) ** 0.5 * 1.5


def test_what_cannot_be_drawn():
    for field, changed in [("key", {"key": b"short"}), ("base", {"base": -1}), ("high_impact", {"high_impact": 1001})]:
        with pytest.raises(Malformed) as raised:
            replace(SAMPLING, **changed)
        assert raised.value.field == field
    with pytest.raises(Malformed):
        draw(replace(PLAIN, digest=b""), SAMPLING)
    for candidates, seen in [(PEOPLE, []), (PEOPLE, [" "]), ([""], ["ana"])]:
        with pytest.raises(Malformed):
            second_reviewer(PLAIN.digest, SAMPLING, candidates, seen)


def test_no_repr_tells_the_key_or_the_case():
    assert "sixteen" not in repr(SAMPLING)
    assert "\\x01" not in repr(PLAIN)
