"""What a policy may say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from hashmatch.errors import Malformed
from hashmatch.index.recipe import load_recipes
from hashmatch.lists import terms
from hashmatch.v1 import common_pb2
from hashmatch.v1.lists_pb2 import TRUST_TIER_VERIFIED, Policy

RECIPES = load_recipes()
YEAR = 366 * 86_400
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "policy",
    [
        Policy(),
        Policy(trust=TRUST_TIER_VERIFIED, two_person=True),
        Policy(rollout_permille=0, rollout_seed="s" * 64),
        Policy(rollout_permille=999, collision_uploaders=0),
        Policy(collision_uploaders=terms.MAX_COLLISION_UPLOADERS, refresh_seconds=YEAR),
        Policy(surfaces=[f"s{n}" for n in range(64)], regions=["ü" * 64]),
    ],
)
def test_what_is_valid_is_kept_as_it_is(policy):
    kept = terms.policy(policy, RECIPES)
    assert kept.disposition == common_pb2.DISPOSITION_REVIEW
    policy.disposition = kept.disposition
    policy.surfaces.sort()
    assert kept == policy


@pytest.mark.parametrize(
    ("policy", "field"),
    [
        (Policy(rollout_permille=1001), "policy.rollout_permille"),
        (Policy(refresh_seconds=YEAR + 1), "policy.refresh_seconds"),
        (Policy(collision_uploaders=terms.MAX_COLLISION_UPLOADERS + 1), "policy.collision_uploaders"),
        (Policy(rollout_seed="s" * 65), "policy.rollout_seed"),
        (Policy(rollout_seed="s\x1b"), "policy.rollout_seed"),
        (Policy(rollout_seed=" s"), "policy.rollout_seed"),
        (Policy(surfaces=[f"s{n}" for n in range(65)]), "policy.surfaces"),
        (Policy(regions=["r"] * 65), "policy.regions"),
        (Policy(surfaces=["mail", "s" * 65]), "policy.surfaces[1]"),
        (Policy(surfaces=[""]), "policy.surfaces[0]"),
        (Policy(regions=["two  spaces"]), "policy.regions[0]"),
        (Policy(trust=7), "policy.trust"),
        (Policy(benign=True, disposition=2), "policy.disposition"),
        (Policy(benign=True, disposition=4), "policy.disposition"),
    ],
)
def test_what_is_not_valid_is_refused_with_its_field(policy, field):
    with pytest.raises(Malformed) as refused:
        terms.policy(policy, RECIPES)
    assert refused.value.field == field


@pytest.mark.parametrize("disposition", [0, 1])
def test_a_list_of_known_benign_media_allows(disposition):
    kept = terms.policy(Policy(benign=True, disposition=disposition), RECIPES)
    assert kept.disposition == common_pb2.DISPOSITION_ALLOW


@pytest.mark.parametrize(
    ("expected", "ago", "stale"),
    [(0, YEAR, False), (3600, None, False), (3600, 7200, False), (3600, 7201, True), (3600, -5, False)],
)
def test_a_list_is_stale_after_twice_what_is_expected(expected, ago, stale):
    refreshed_at = None if ago is None else NOON - timedelta(seconds=ago)
    assert terms.stale(expected, refreshed_at, NOON) == stale
