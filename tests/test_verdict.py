"""decide(): what each combination of candidates, absences and policies comes to."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from hashmatch import verdict
from hashmatch.types import (
    Bits,
    Candidate,
    Coverage,
    Disposition,
    Examination,
    Finding,
    Fingerprint,
    Hashed,
    ListState,
    Policy,
    Reason,
    Revision,
    Unhashable,
)

HASHED = Examination(media_type="image/png", hashed=(Hashed(Fingerprint("pdq", bytes(32)), 100),))
BLANK = Examination(media_type="image/png", unhashable=(Unhashable("pdq", Reason.LOW_QUALITY),))


def state(name="a", disposition=Disposition.REVIEW, *, shadow=False, threshold=31, accepts=("", "stored")):
    policy = Policy(disposition=disposition, shadow=shadow)
    return ListState(name, Revision(1), 1, policy, {"pdq": 1}, {"pdq": threshold, "md5": 0}, frozenset(accepts))


def candidate(name="a", distance=0, hash_type="pdq", variant=""):
    return Candidate(name, "e1", "label", hash_type, Bits(distance), variant, 0)


def decide(examination, states, candidates):
    return verdict.decide(
        verdict_id="v",
        request_id="r",
        at=datetime(2026, 1, 1, tzinfo=UTC),
        examination=examination,
        coverage=Coverage(Revision(1), {"pdq": sum(s.entries["pdq"] for s in states)}, tuple(states), {}),
        candidates=candidates,
        found=len(candidates),
    )


@pytest.mark.parametrize(("distance", "finding"), [(30, Finding.MATCH), (31, Finding.MATCH), (32, Finding.NO_MATCH)])
def test_thresholds_are_inclusive(distance, finding):
    assert decide(HASHED, [state()], [candidate(distance=distance)]).finding is finding


def test_a_variant_counts_only_in_lists_that_ask_for_it():
    assert decide(HASHED, [state()], [candidate(variant="flip")]).finding is Finding.NO_MATCH
    assert decide(HASHED, [state(accepts=("", "flip"))], [candidate(variant="flip")]).finding is Finding.MATCH


def test_what_could_not_be_searched_is_unknown_and_held_for_review():
    found = decide(BLANK, [state()], [])
    assert (found.finding, found.disposition) == (Finding.UNKNOWN, Disposition.REVIEW)


def test_a_match_stands_however_little_else_could_be_searched():
    found = decide(BLANK, [state(disposition=Disposition.BLOCK)], [candidate(hash_type="md5")])
    assert (found.finding, found.disposition) == (Finding.MATCH, Disposition.BLOCK)


def test_the_strictest_list_wins_and_the_nearest_match_comes_first():
    states = [state("a", Disposition.RESTRICT), state("b", Disposition.BLOCK)]
    found = decide(HASHED, states, [candidate("b", 9), candidate("a", 2)])
    assert found.disposition is Disposition.BLOCK
    assert [match.list for match in found.matches] == ["a", "b"]


def test_a_shadow_list_matches_and_never_moves_the_disposition():
    found = decide(HASHED, [state(disposition=Disposition.BLOCK, shadow=True)], [candidate()])
    assert (found.finding, found.disposition, len(found.matches)) == (Finding.MATCH, Disposition.ALLOW, 1)


def test_nothing_found_where_everything_was_searched():
    found = decide(HASHED, [state()], [])
    assert (found.finding, found.disposition) == (Finding.NO_MATCH, Disposition.ALLOW)


def test_an_allowing_list_does_not_wave_through_what_was_not_searched():
    found = decide(BLANK, [state(disposition=Disposition.ALLOW)], [candidate(hash_type="md5")])
    assert (found.finding, found.disposition) == (Finding.MATCH, Disposition.REVIEW)


def test_lists_without_an_entry_of_the_types_given_cover_nothing():
    only_md5 = replace(state(), entries={"pdq": 0, "md5": 5})
    assert decide(HASHED, [only_md5], []).finding is Finding.UNKNOWN


def test_no_active_list_is_not_covered_and_never_no_match():
    found = decide(HASHED, [], [])
    assert found.finding is Finding.UNKNOWN
    assert found.examination.unhashable == (Unhashable("pdq", Reason.NOT_COVERED),)
    assert found.examination.hashed == HASHED.hashed
