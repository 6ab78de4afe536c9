"""What does not count and why; what is held; whom a list is rolled out to."""

from __future__ import annotations

import hashlib
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from judging import BLANK, HASHED, NOON, candidate, decide, state, suppression

from hashmatch import verdict
from hashmatch.hashing.registry import REGISTRY
from hashmatch.types import (
    EXACT_DIGESTS,
    Disposition,
    Finding,
    Policy,
    SetAsideReason,
    Subject,
)

SECOND = timedelta(seconds=1)


def reasons(found):
    return [(one.match.list, one.reason) for one in found.set_aside]


def test_the_exact_digests_are_the_registrys():
    assert {name for name, hash_type in REGISTRY.items() if hash_type.exact} == EXACT_DIGESTS


# ── one by one ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("expires_at", "counts"), [(NOON - SECOND, False), (NOON, False), (NOON + SECOND, True)])
def test_an_entry_counts_until_its_expiry(expires_at, counts):
    found = decide(HASHED, [state()], [candidate(expires_at=expires_at)])
    assert (found.finding is Finding.MATCH) == counts
    assert reasons(found) == ([] if counts else [("a", SetAsideReason.EXPIRED)])


@pytest.mark.parametrize(("expires_at", "counts"), [(NOON, True), (NOON + SECOND, False), (None, False)])
def test_a_suppression_is_in_force_until_its_expiry(expires_at, counts):
    found = decide(HASHED, [state()], [candidate()], suppressions=(suppression(expires_at=expires_at),))
    assert (found.finding is Finding.MATCH) == counts
    assert reasons(found) == ([] if counts else [("a", SetAsideReason.SUPPRESSED)])
    assert all("ann and bob" in one.why and "mistaken" in one.why for one in found.set_aside)


def test_a_suppression_is_of_one_entry_of_one_list():
    others = (suppression("b", "e1"), suppression("a", "e2"))
    assert decide(HASHED, [state()], [candidate()], suppressions=others).finding is Finding.MATCH


@pytest.mark.parametrize(
    ("subject", "counts"),
    [
        (Subject(surface="chat", region="de"), True),
        (Subject(surface="Chat", region="de"), False),
        (Subject(surface="chat", region="fr"), False),
        (Subject(surface="mail"), False),
        (Subject(surface="chat"), True),  # what is not known is not waved through
        (Subject(), True),
    ],
)
def test_a_list_is_for_the_surfaces_and_regions_it_names(subject, counts):
    scoped = state(surfaces=frozenset({"chat", "posts"}), regions=frozenset({"de"}))
    found = decide(HASHED, [scoped, state("b")], [candidate()], subject=subject)
    assert (found.finding is Finding.MATCH) == counts
    assert found.coverage.out_of_scope == (frozenset() if counts else {"a"})
    assert found.coverage.outside_rollout == frozenset()


def test_a_match_that_does_not_count_asks_for_nothing_and_unknown_stays_unknown():
    blocked = [state(disposition=Disposition.BLOCK)]
    found = decide(HASHED, blocked, [candidate()], suppressions=(suppression(),))
    assert (found.finding, found.disposition, found.matches_found) == (Finding.NO_MATCH, Disposition.ALLOW, 0)
    found = decide(BLANK, blocked, [candidate(hash_type="md5")], suppressions=(suppression(),))
    assert (found.finding, found.disposition) == (Finding.UNKNOWN, Disposition.REVIEW)


def test_what_was_not_looked_at_behind_what_was_set_aside_is_not_no_match():
    aside = [candidate(expires_at=NOON)]
    assert decide(HASHED, [state()], aside, found=1).finding is Finding.NO_MATCH
    assert decide(HASHED, [state()], aside, found=2).finding is Finding.UNKNOWN
    whole = decide(HASHED, [state(rollout_permille=0)], [candidate()], found=2)
    assert (whole.finding, whole.matches_found) == (Finding.NO_MATCH, 0)


# ── known-benign lists ──────────────────────────────────────────────────────────────────────────────────────────────

NSRL = state("nsrl", Disposition.ALLOW, benign=True, accepts=("", "flip"))
LISTED = state("a", Disposition.BLOCK, accepts=("", "flip"))


@pytest.mark.parametrize(
    ("benign", "listed", "counts"),
    [
        (candidate("nsrl", 0, "sha256"), candidate("a", 0), False),
        (candidate("nsrl", 0, "sha256"), candidate("a", 0, variant="flip", frame_ms=40), False),
        (candidate("nsrl", 0, "sha256"), candidate("a", 0, "sha256"), False),
        (candidate("nsrl", 0, "md5"), candidate("a", 0, "sha256"), True),
        (candidate("nsrl", 9), candidate("a", 9), False),
        (candidate("nsrl", 9), candidate("a", 10), False),
        (candidate("nsrl", 9), candidate("a", 8), True),
        (candidate("nsrl", 0), candidate("a", 0, "md5"), True),
        # Somebody may have made two files of one MD5, to have the harmless one listed.
        (candidate("nsrl", 0, "md5"), candidate("a", 9), True),
        (candidate("nsrl", 0), candidate("a", 9, variant="flip"), True),
        (candidate("nsrl", 0), candidate("a", 9, frame_ms=40), True),
        (candidate("nsrl", 0, variant="flip", frame_ms=40), candidate("a", 9, variant="flip", frame_ms=40), False),
    ],
)
def test_known_benign_media_sets_aside_what_is_no_nearer(benign, listed, counts):
    found = decide(HASHED, [NSRL, LISTED], [benign, listed])
    assert (found.finding is Finding.MATCH) == counts
    assert reasons(found) == ([] if counts else [("a", SetAsideReason.BENIGN)])
    assert all("list nsrl, entry e1" in one.why for one in found.set_aside)


def test_known_benign_media_alone_is_no_match_and_not_explained():
    found = decide(HASHED, [NSRL, LISTED], [candidate("nsrl")])
    assert (found.finding, found.disposition, found.set_aside) == (Finding.NO_MATCH, Disposition.ALLOW, ())
    assert found.matches_found == 0


@pytest.mark.parametrize(
    ("policy", "more"),
    [
        ({}, {"expires_at": NOON}),
        ({"shadow": True}, {}),
        ({"rollout_permille": 0}, {}),
        ({"surfaces": frozenset({"mail"})}, {}),
        ({}, {"distance": 32}),
        ({}, {"variant": "flip"}),
    ],
)
def test_what_does_not_count_itself_sets_nothing_aside(policy, more):
    benign = state("nsrl", Disposition.ALLOW, benign=True, **policy)
    candidates = [candidate("nsrl", **more), candidate("a", 31)]
    assert decide(HASHED, [benign, LISTED], candidates, subject=Subject(surface="chat")).finding is Finding.MATCH


def test_a_suppressed_benign_entry_sets_nothing_aside():
    found = decide(
        HASHED, [NSRL, LISTED], [candidate("nsrl"), candidate("a")], suppressions=(suppression("nsrl", "e1"),)
    )
    assert found.finding is Finding.MATCH


# ── the collision guard ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        (Disposition.ALLOW, Disposition.ALLOW),
        (Disposition.REVIEW, Disposition.REVIEW),
        (Disposition.RESTRICT, Disposition.REVIEW),
        (Disposition.BLOCK, Disposition.REVIEW),
    ],
)
def test_a_held_entry_asks_for_review_at_most_and_for_no_more_than_its_list(asked, given):
    found = decide(HASHED, [state(disposition=asked)], [candidate()], held=frozenset({("a", "e1")}))
    assert (found.finding, found.disposition) == (Finding.MATCH, given)
    assert [(match.held, match.disposition) for match in found.matches] == [(True, asked)]


def test_holding_an_entry_changes_no_other():
    states = [state(disposition=Disposition.BLOCK)]
    both = [candidate(entry_id="e1"), candidate(entry_id="e2", distance=3)]
    assert decide(HASHED, states, both, held=frozenset({("a", "e1")})).disposition is Disposition.BLOCK
    assert decide(HASHED, states, both[:1], held=frozenset({("b", "e1")})).disposition is Disposition.BLOCK


# ── rollout ─────────────────────────────────────────────────────────────────────────────────────────────────────────

items = st.binary(min_size=1, max_size=40)
permille = st.integers(0, 1000)


@given(items, permille, permille, st.text(max_size=8))
def test_raising_the_share_keeps_every_item(item, one, other, seed):
    low, high = sorted((one, other))
    if verdict.in_rollout(Policy(rollout_permille=low, rollout_seed=seed), "a", item):
        assert verdict.in_rollout(Policy(rollout_permille=high, rollout_seed=seed), "a", item)


@given(items, st.text(max_size=8))
def test_all_is_all_and_none_is_none(item, seed):
    assert verdict.in_rollout(Policy(rollout_seed=seed), "a", item)
    assert not verdict.in_rollout(Policy(rollout_permille=0, rollout_seed=seed), "a", item)


@pytest.mark.parametrize("share", [1, 10, 250, 500, 999])
def test_the_share_is_what_it_says(share):
    number = 20_000
    drawn = [verdict.in_rollout(Policy(rollout_permille=share), "a", b"%d" % i) for i in range(number)]
    expected = number * share / 1000
    assert abs(sum(drawn) - expected) < 5 * (expected * (1 - share / 1000)) ** 0.5 + 1  # five standard deviations


def test_seeds_and_lists_draw_apart():
    draws = [
        [verdict.in_rollout(Policy(rollout_permille=500, rollout_seed=seed), name, b"%d" % i) for i in range(2000)]
        for seed, name in (("", "a"), ("s", "a"), ("", "b"), ("s", "b"), ("1:a", ""))
    ]
    for i, one in enumerate(draws):
        for other in draws[:i]:
            assert 850 < sum(a == b for a, b in zip(one, other, strict=True)) < 1150


def test_the_callers_id_draws_before_the_bytes():
    policy = Policy(rollout_permille=500)
    named = [Subject(content_id=f"content-{i}") for i in range(64)]
    for subject in named:
        keys = {verdict.item_key(subject, hashlib.sha256(b"%d" % i).digest()) for i in range(4)}
        assert len({verdict.in_rollout(policy, "a", key) for key in keys}) == 1
    digests = [hashlib.sha256(b"%d" % i).digest() for i in range(64)]
    assert {verdict.item_key(Subject(), digest) for digest in digests} == set(digests)


def test_outside_its_rollout_a_list_is_logged_and_moves_nothing():
    found = decide(HASHED, [state(disposition=Disposition.BLOCK, rollout_permille=0)], [candidate()])
    assert (found.finding, found.disposition) == (Finding.NO_MATCH, Disposition.ALLOW)
    assert reasons(found) == [("a", SetAsideReason.OUTSIDE_ROLLOUT)]
    assert found.coverage.outside_rollout == {"a"}


# ── against the plainest oracle ─────────────────────────────────────────────────────────────────────────────────────

NAMES = ("a", "b", "nsrl", "own")
scopes = st.frozensets(st.sampled_from(["chat", "mail"]), max_size=2)
states = st.builds(
    state,
    disposition=st.sampled_from(Disposition),
    threshold=st.integers(0, 6),
    accepts=st.sampled_from([("",), ("", "flip")]),
    shadow=st.booleans(),
    benign=st.booleans(),
    rollout_permille=st.sampled_from([0, 500, 1000, 1000]),
    rollout_seed=st.sampled_from(["", "s"]),
    surfaces=scopes,
    regions=scopes,
)
candidates = st.builds(
    candidate,
    name=st.sampled_from(NAMES),
    distance=st.integers(0, 7),
    hash_type=st.just("pdq"),
    variant=st.sampled_from(["", "flip"]),
    entry_id=st.sampled_from(["e1", "e2", "e3"]),
    frame_ms=st.sampled_from([0, 0, 40]),
    expires_at=st.sampled_from([None, None, NOON, NOON + SECOND]),
) | st.builds(candidate, name=st.sampled_from(NAMES), hash_type=st.sampled_from(["md5", "sha256"]))
subjects = st.builds(
    Subject,
    content_id=st.sampled_from(["", "c1", "c2"]),
    surface=st.sampled_from(["", "chat", "mail"]),
    region=st.sampled_from(["", "chat", "mail"]),
)
suppressions = st.builds(
    suppression,
    name=st.sampled_from(NAMES),
    entry_id=st.sampled_from(["e1", "e2"]),
    expires_at=st.sampled_from([None, NOON, NOON + SECOND]),
)
several = st.lists(suppressions, max_size=3, unique_by=lambda s: (s.list, s.entry_id))


def naive(by_name, given, subject, digest, suppressed, held):
    """What each candidate within its threshold comes to: "counts", a reason, or "benign"; in no order."""

    def own_reason(one):
        policy = by_name[one.list].policy
        drawn = verdict.in_rollout(policy, one.list, subject.content_id.encode() if subject.content_id else digest)
        for s in suppressed:
            by_hand = (s.list, s.entry_id) == (one.list, one.entry_id) and s.expires_at != NOON
            if by_hand and one.expires_at != NOON:
                return SetAsideReason.SUPPRESSED
        if one.expires_at == NOON:
            return SetAsideReason.EXPIRED
        for scope, here in ((policy.surfaces, subject.surface), (policy.regions, subject.region)):
            if len(scope) > 0 and here != "" and here not in scope:
                return SetAsideReason.OUT_OF_SCOPE
        return None if drawn else SetAsideReason.OUTSIDE_ROLLOUT

    within = []
    for one in given:
        limit = by_name[one.list].thresholds[one.hash_type]
        if one.distance <= limit and one.variant in by_name[one.list].accepts:
            within.append(one)
    benign = [o for o in within if by_name[o.list].policy.benign]
    acting = [o for o in benign if own_reason(o) is None and not by_name[o.list].policy.shadow]
    outcome = []
    for one in within:
        if one in benign:
            continue
        reason = own_reason(one)
        if reason is None:
            for known in acting:
                alike = (known.hash_type, known.variant, known.frame_ms) == (one.hash_type, one.variant, one.frame_ms)
                if (alike and known.distance <= one.distance) or (
                    known.hash_type == "sha256" and one.hash_type == "pdq"
                ):
                    reason = SetAsideReason.BENIGN
        outcome.append((one, reason))
    return outcome


listed = st.lists(
    candidates, max_size=8, unique_by=lambda c: (c.list, c.entry_id, c.hash_type)
)  # as a search finds them


@given(st.tuples(*[states] * 4), listed, subjects, st.binary(max_size=4), several, st.data())
def test_a_verdict_is_what_the_plainest_reading_of_the_rules_gives(of, given_, subject, digest, suppressed, data):
    of = [state_of(name, one) for name, one in zip(NAMES, of, strict=True)]
    by_name = {one.name: one for one in of}
    held = data.draw(st.frozensets(st.tuples(st.sampled_from(NAMES), st.sampled_from(["e1", "e2"])), max_size=4))
    examination = data.draw(st.sampled_from([HASHED, BLANK]))
    found = decide(
        examination, of, given_, subject=subject, input_digest=digest, suppressions=tuple(suppressed), held=held
    )
    outcome = naive(by_name, given_, subject, digest, suppressed, held)

    def named(one):
        return (one.list, one.entry_id, one.hash_type, one.distance, one.variant, one.frame_ms)

    assert sorted(map(named, found.matches)) == sorted(named(one) for one, reason in outcome if reason is None)
    assert sorted((named(one.match), one.reason) for one in found.set_aside) == sorted(
        (named(one), reason) for one, reason in outcome if reason is not None
    )
    for rows in (list(found.matches), [one.match for one in found.set_aside]):
        assert [row.distance for row in rows] == sorted(row.distance for row in rows)
        assert all(row.held == ((row.list, row.entry_id) in held) for row in rows)
    asked = [Disposition.ALLOW, *([Disposition.REVIEW] if found.examination.unhashable else [])]
    for one, reason in outcome:
        policy = by_name[one.list].policy
        if reason is None and not policy.shadow:
            is_held = (one.list, one.entry_id) in held
            asked.append(
                Disposition.REVIEW if is_held and policy.disposition > Disposition.REVIEW else policy.disposition
            )
    assert found.disposition == max(asked)
    counts = any(reason is None for _, reason in outcome)
    unknown = examination is BLANK or all(one.policy.benign for one in of)
    assert found.finding is (Finding.MATCH if counts else Finding.UNKNOWN if unknown else Finding.NO_MATCH)
    assert found.matches_found == len(found.matches)
    again = decide(
        examination, of, given_[::-1], subject=subject, input_digest=digest, suppressions=tuple(suppressed), held=held
    )
    assert again == found


def state_of(name, made):
    return type(made)(name, *[getattr(made, field) for field in made.__slots__[1:]])
