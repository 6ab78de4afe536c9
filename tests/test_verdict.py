"""decide(): what each combination of candidates, absences and policies comes to."""

from dataclasses import replace

import pytest
from judging import BLANK, HASHED, candidate, decide, state

from hashmatch.types import Disposition, Finding, Reason, Unhashable


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


def test_lists_of_known_benign_media_cover_nothing():
    assert decide(HASHED, [state(benign=True)], []).finding is Finding.UNKNOWN
    assert decide(HASHED, [state(benign=True), state("b")], []).finding is Finding.NO_MATCH
