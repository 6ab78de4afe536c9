"""Figures: against published values and against loops."""

import math
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hashmatch.audit.statistics import wilson
from hashmatch.errors import Malformed
from hashmatch.workflow.agreement import agreement
from hashmatch.workflow.kpi import (
    ActionOutcome,
    CaseTimes,
    Decision,
    Key,
    Milestone,
    NotReached,
    Outcome,
    ReportFacts,
    Share,
    View,
    aggregate,
    attainment,
    backlog,
    band,
    completeness,
    duplicates,
    exposure,
    exposure_by_tier,
    precision,
    reconcile,
    reversals,
    times,
)
from hashmatch.workflow.survival import Spell, quantiles, survival

START = datetime(2026, 7, 14, 12, tzinfo=UTC)
NOW = START + timedelta(days=10)
HOUR = timedelta(hours=1)

# ── Kaplan–Meier ────────────────────────────────────────────────────────────────────────────────────────────────────

# Remission of leukaemia in weeks, Freireich et al., Blood 21 (1963); the estimates as tabulated by Kleinbaum & Klein,
# Survival Analysis (3rd ed.), chapter 2, and Cox & Oakes, Analysis of Survival Data (1984). "+" is still in remission.
TREATED = "6 6 6 6+ 7 9+ 10 10+ 11+ 13 16 17+ 19+ 20+ 22 23 25+ 32+ 32+ 34+ 35+"
PLACEBO = "1 1 2 2 3 4 4 5 5 8 8 8 8 11 11 12 12 15 17 22 23"


def spells(weeks):
    return [Spell(float(one.rstrip("+")), not one.endswith("+")) for one in weeks.split()]


def test_survival_is_as_published():
    curve = [(seconds, round(share, 4)) for seconds, share in survival(spells(TREATED))]
    assert curve == [(6, 0.8571), (7, 0.8067), (10, 0.7529), (13, 0.6902), (16, 0.6275), (22, 0.5378), (23, 0.4482)]
    shares = [share for _, share in survival(spells(PLACEBO))]
    assert [round(21 * share) for share in shares] == [19, 17, 16, 14, 12, 8, 6, 4, 3, 2, 1, 0]
    assert shares == pytest.approx([n / 21 for n in (19, 17, 16, 14, 12, 8, 6, 4, 3, 2, 1, 0)])


def test_medians_are_as_published_and_what_cannot_be_told_says_so():
    assert quantiles(spells(TREATED), [0.25, 0.5, 0.9, 1.0]) == [13, 23, NotReached(35), NotReached(35)]
    assert quantiles(spells(PLACEBO), [0.5, 1.0]) == [8, 23]
    assert str(NotReached(35)) == "not reached, after 35 s"


SPELLS = st.lists(st.builds(Spell, st.integers(0, 12).map(float), st.booleans()), min_size=1, max_size=30)
SHARES = st.sampled_from([0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 1.0])


def redistributed(known, share):
    """The quantile by Efron's redistribution to the right: whoever is watched no longer hands their weight on."""
    weights = [[one.seconds, not one.over, 1.0] for one in known]
    weights.sort()  # of equal times those that ended come first
    for number, (_, open_, weight) in enumerate(weights):
        rest = weights[number + 1 :]
        if open_ and rest:
            for other in rest:
                other[2] += weight / len(rest)
            weights[number][2] = 0.0
    total = 0.0
    for seconds, open_, weight in weights:
        total += 0.0 if open_ else weight
        if not open_ and total >= share * len(known) - 1e-9:
            return seconds
    return NotReached(max(one.seconds for one in known))


@given(SPELLS, SHARES)
def test_quantiles_are_those_of_redistribution_to_the_right(known, share):
    assert quantiles(known, [share]) == [redistributed(known, share)]


@given(st.lists(st.integers(0, 50), min_size=1, max_size=60), st.integers(1, 100))
def test_where_all_is_over_they_are_the_ordinary_ones(seconds, percent):
    rank = -(-len(seconds) * percent // 100)
    assert quantiles([Spell(float(s), True) for s in seconds], [percent / 100]) == [sorted(seconds)[rank - 1]]


@given(SPELLS, SHARES)
def test_closing_what_is_open_later_makes_nothing_faster(known, share):
    (before,) = quantiles(known, [share])
    (after,) = quantiles([Spell(s.seconds + (0 if s.over else 5), s.over) for s in known], [share])
    lengths = [one.at_least if isinstance(one, NotReached) else one for one in (before, after)]
    assert lengths[1] >= lengths[0]


def test_what_has_no_quantile():
    for known, share in [([], 0.5), ([Spell(1, True)], 0.0), ([Spell(1, True)], 1.1)]:
        with pytest.raises(Malformed):
            quantiles(known, [share])
    for seconds in (-1.0, math.inf, math.nan):
        with pytest.raises(Malformed):
            Spell(seconds, True)


# ── Wilson ──────────────────────────────────────────────────────────────────────────────────────────────────────────


# Newcombe, Stat. Med. 17 (1998) 857–872, table I, method 3.
@pytest.mark.parametrize(
    ("hits", "of", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_intervals_are_as_published(hits, of, low, high):
    assert Share(hits, of).interval == pytest.approx((low, high), abs=5e-5)
    assert Share(hits, of).value == hits / of


def test_nothing_of_nothing_is_no_share():
    assert (Share(0, 0).value, Share(0, 0).interval) == (None, None)


# ── Cohen's kappa ───────────────────────────────────────────────────────────────────────────────────────────────────


def pairs_of(table):
    return [(str(a), str(b)) for a, row in enumerate(table) for b, count in enumerate(row) for _ in range(count)]


@pytest.mark.parametrize(
    ("table", "raw", "kappa", "interval", "places"),
    [
        # Fleiss, Levin & Paik, Statistical Methods for Rates and Proportions (3rd ed.), table 18.1: 0.68, error 0.087.
        ([[75, 1, 4], [5, 4, 1], [0, 0, 10]], 0.89, 0.676, (0.505, 0.848), 3),
        # The printout of SAS FREQ that statsmodels tests against.
        ([[0, 4, 1], [0, 8, 0], [0, 1, 5]], 13 / 19, 0.4842, (0.2137, 0.7547), 4),
        # Wikipedia, "Cohen's kappa": the simple example, and the two of equal raw agreement.
        ([[20, 5], [10, 15]], 0.7, 0.4, None, 4),
        ([[45, 15], [25, 15]], 0.6, 0.1304, None, 4),
        ([[25, 35], [5, 35]], 0.6, 0.2593, None, 4),
    ],
)
def test_kappa_is_as_published(table, raw, kappa, interval, places):
    found = agreement(pairs_of(table))
    assert found.raw == pytest.approx(raw)
    assert round(found.kappa, places) == kappa
    if interval:
        assert found.kappa_95 == pytest.approx(interval, abs=0.6 * 10**-places)


CELLS = st.lists(st.integers(0, 6), min_size=9, max_size=9).map(lambda c: [c[:3], c[3:6], c[6:]])


@given(CELLS)
def test_kappa_is_what_two_loops_over_the_pairs_find(table):
    pairs = pairs_of(table)
    assume(pairs)
    found = agreement(pairs)
    agreed = sum(a == b for a, b in pairs)
    by_chance = sum(a == b for (a, _), (_, b) in product(pairs, pairs)) / len(pairs) ** 2
    assert (found.pairs, found.agreed, found.raw_95) == (len(pairs), agreed, wilson(agreed, len(pairs)))
    if by_chance == 1:
        assert (found.kappa, found.kappa_95) == (None, None)
        return
    assert found.kappa == pytest.approx((agreed / len(pairs) - by_chance) / (1 - by_chance))
    low, high = found.kappa_95
    assert -1 <= low <= found.kappa + 1e-12
    assert found.kappa - 1e-12 <= high <= 1


def delta_error(table):
    """The error by the delta method, the slope in each cell taken by small steps: what the formula is derived from."""
    n = sum(map(sum, table))
    share = [[cell / n for cell in row] for row in table]

    def kappa(p):
        total = sum(map(sum, p))
        p = [[cell / total for cell in row] for row in p]
        raw = sum(p[k][k] for k in range(3))
        chance = sum(sum(p[k]) * sum(row[k] for row in p) for k in range(3))
        return (raw - chance) / (1 - chance)

    def slope(a, b, step=1e-6):
        up, down = ([list(row) for row in share] for _ in range(2))
        up[a][b] += step
        down[a][b] -= step
        return (kappa(up) - kappa(down)) / (2 * step)

    slopes = {(a, b): slope(a, b) for a in range(3) for b in range(3)}
    mean = sum(share[a][b] * s for (a, b), s in slopes.items())
    return math.sqrt(max(0.0, sum(share[a][b] * s * s for (a, b), s in slopes.items()) - mean * mean) / n)


@given(CELLS)
def test_the_error_of_kappa_is_that_of_the_delta_method(table):
    found = agreement(pairs_of(table))
    assume(found is not None and found.kappa is not None and 0 < found.agreed < found.pairs)
    low, high = found.kappa_95
    assume(low > -1 and high < 1)
    assert (high - low) / 2 / 1.959964 == pytest.approx(delta_error(table), abs=1e-4)


def test_a_few_that_all_agree_prove_little():
    found = agreement([("a", "a")] * 3 + [("b", "b")] * 2)
    assert found.kappa == 1.0
    assert found.kappa_95[0] < 0.5
    assert found.kappa_95[1] == 1.0
    more = agreement([("a", "a")] * 300 + [("b", "b")] * 200)
    assert more.kappa_95[0] > 0.98
    never = agreement([("a", "b")] * 3 + [("b", "a")] * 3)
    assert never.kappa == -1.0
    assert never.kappa_95[0] == -1.0
    assert agreement([]) is None


# ── times ───────────────────────────────────────────────────────────────────────────────────────────────────────────

HOURS = st.none() | st.integers(0, 300).map(lambda n: START + n * HOUR)
CASES = st.lists(
    st.builds(
        CaseTimes,
        tier=st.integers(0, 3),
        detected=st.integers(0, 200).map(lambda n: START + n * HOUR),
        contained=HOURS, acknowledged=HOURS, decided=HOURS, reported=HOURS, closed=HOURS,
        wanted=st.frozensets(st.sampled_from(Milestone)),
        exposure_seconds=st.integers(0, 600).map(float),
    ),
    max_size=25,
)  # fmt: skip


def case(tier=1, **hours):
    wanted = hours.pop("wanted", frozenset(Milestone))
    at = {name: None if hour is None else START + hour * HOUR for name, hour in hours.items()}
    return CaseTimes(**{"tier": tier, "detected": START, "wanted": wanted} | at)


def test_open_cases_are_neither_left_out_nor_taken_as_done():
    cases = [case(decided=hour) for hour in (1, 2, 3)] + [case() for _ in range(3)]
    found = times(cases, Milestone.DECIDED, NOW)[1]
    assert (found.cases, found.still, found.p50) == (6, 3, 3 * 3600)
    assert found.p90 == found.longest == NotReached(10 * 86400)


def test_what_was_closed_is_watched_no_longer():
    found = times([case(decided=1), case(closed=5)], Milestone.DECIDED, NOW)[1]
    assert (found.p50, found.longest) == (3600, NotReached(5 * 3600))
    assert times([case(wanted=frozenset())], Milestone.DECIDED, NOW) == {}
    assert times([case(decided=-1)], Milestone.DECIDED, NOW)[1].p50 == 0  # by a clock that went back


@settings(max_examples=60)
@given(CASES, st.sampled_from(Milestone), st.integers(0, 300))
def test_figures_by_tier_are_those_of_a_loop(cases, milestone, hours):
    now = START + hours * HOUR
    clocks = {0: 5 * HOUR, 1: 20 * HOUR, 2: 100 * HOUR}
    found, met, late = times(cases, milestone, now), attainment(cases, milestone, clocks, now), backlog(cases, now)
    for tier in range(4):
        rows = [(one, getattr(one, milestone.value)) for one in cases if one.tier == tier and milestone in one.wanted]
        assert (found[tier].cases if tier in found else 0) == len(rows)
        if rows:
            assert found[tier].still == sum(reached is None for _, reached in rows)
            tier_spells = [one.spell(milestone, now) for one, _ in rows]
            assert [found[tier].p50, found[tier].p95] == quantiles(tier_spells, [0.5, 0.95])
        if tier in clocks and rows:
            within = sum(reached is not None and reached - one.detected <= clocks[tier] for one, reached in rows)
            breached = sum(reached is None and now - one.detected > clocks[tier] for one, reached in rows)
            assert met[tier] == Share(within, sum(reached is not None for _, reached in rows) + breached)
        else:
            assert tier not in met
        ages = sorted(
            max(0, (now - one.detected).total_seconds())
            for one in cases
            if one.tier == tier and one.decided is None and one.closed is None
        )
        if ages:
            (half, most, longest) = quantiles([Spell(age, True) for age in ages], [0.5, 0.95, 1.0])
            assert (late[tier].cases, late[tier].p50, late[tier].p95, late[tier].oldest) == (
                len(ages),
                half,
                most,
                longest,
            )
        else:
            assert tier not in late


def test_the_clock_is_inclusive_and_what_is_open_in_time_does_not_count_yet():
    clocks = {1: 4 * HOUR}
    cases = [case(decided=4), case(decided=5), case()]
    assert attainment(cases, Milestone.DECIDED, clocks, START + 4 * HOUR) == {1: Share(1, 2)}
    assert attainment(cases, Milestone.DECIDED, clocks, START + 5 * HOUR) == {1: Share(1, 3)}
    nothing = attainment([case()], Milestone.DECIDED, clocks, START)[1]
    assert nothing.value is None


def test_times_without_a_zone_and_exposure_that_is_none_are_refused():
    for changed, field in [
        ({"detected": datetime(2026, 1, 1)}, "detected"),
        ({"detected": START, "closed": datetime(2026, 1, 1)}, "closed"),
        ({"detected": START, "exposure_seconds": -1.0}, "exposure_seconds"),
    ]:
        with pytest.raises(Malformed) as raised:
            CaseTimes(tier=1, **changed)
        assert raised.value.field == field
    with pytest.raises(Malformed):
        times([], Milestone.DECIDED, datetime(2026, 1, 1))


# ── right and complete ──────────────────────────────────────────────────────────────────────────────────────────────


def test_bands():
    edges = [0, 8, 16, 31]
    assert [band(d, edges) for d in (0, 1, 8, 9, 16, 17, 31, 32, 99)] == [
        "0", "1-8", "1-8", "9-16", "9-16", "17-31", "17-31", "32-", "32-",
    ]  # fmt: skip
    assert band(5, []) == "0-"


@given(st.integers(0, 300), st.lists(st.integers(0, 256), max_size=6))
def test_each_distance_is_in_its_band(distance, edges):
    low, _, high = band(distance, edges).partition("-")
    last = math.inf if band(distance, edges).endswith("-") else int(high or low)
    assert int(low) <= distance <= last


ROWS = st.lists(
    st.builds(
        Decision, list=st.sampled_from("ab"), hash_type=st.sampled_from(["pdq", "md5"]),
        band=st.sampled_from(["0", "1-8"]), outcome=st.sampled_from(Outcome), reviewer=st.sampled_from(["ana", "bo"]),
    ),
    max_size=40,
)  # fmt: skip


@given(ROWS)
def test_precision_is_what_a_loop_finds(rows):
    found = precision(rows)
    for key in product("ab", ["pdq", "md5"], ["0", "1-8"]):
        of = [row for row in rows if (row.list, row.hash_type, row.band) == key]
        confirmed = len([row for row in of if row.outcome is Outcome.CONFIRMED])
        assert found.get(Key(*key)) == (Share(confirmed, len(of)) if of else None)
    assert "ana" not in repr(rows)


def test_reversals_are_of_what_was_done():
    done = [ActionOutcome(match=str(n), acted=True, reversed=n < 2) for n in range(8)]
    assert reversals([*done, ActionOutcome(match="x", acted=False, why_not="known")]) == Share(2, 8)
    assert reversals([]).value is None
    with pytest.raises(Malformed):
        ActionOutcome(match="x", acted=False, reversed=True)


def test_two_actions_on_one_match_do_not_make_up_for_none_on_another():
    outcomes = [
        ActionOutcome(match="m1", acted=True),
        ActionOutcome(match="m1", acted=True),
        ActionOutcome(match="m2", acted=False, why_not="shadow"),
        ActionOutcome(match="m2", acted=True),
        ActionOutcome(match="m3", acted=False, why_not="shadow"),
        ActionOutcome(match="m4", acted=False, why_not=" "),
        ActionOutcome(match="m9", acted=True),
    ]
    found = reconcile(["m1", "m2", "m3", "m4", "m5", "m5"], outcomes)
    assert (found.matches, found.acted, found.justified, found.gap) == (5, 2, 1, 2)
    assert (found.missing, found.strays) == (("m4", "m5"), ("m9",))
    assert "m4" not in repr(found)


@given(
    st.sets(st.integers(0, 9).map(str)),
    st.lists(
        st.builds(
            ActionOutcome, match=st.integers(0, 12).map(str), acted=st.booleans(), why_not=st.sampled_from(["", "r"])
        )
    ),
)
def test_the_gap_is_what_is_missing(matches, outcomes):
    found = reconcile(matches, outcomes)
    accounted = [m for m in matches if any(o.match == m and (o.acted or o.why_not) for o in outcomes)]
    assert found.gap == len(found.missing) == len(matches) - len(accounted)
    assert not set(found.strays) & matches


def test_completeness_and_duplicates():
    rows = [ReportFacts(address_port_time=a, email=b, viewed_flag=c) for a, b, c in product([True, False], repeat=3)]
    found = completeness(rows)
    assert found.whole == Share(1, 8)
    assert found.address_port_time == found.email == found.viewed_flag == Share(4, 8)
    assert (
        completeness([ReportFacts(address_port_time=True, email=False, viewed_flag=False)]).address_port_time.value == 1
    )
    assert completeness([]).whole.value is None
    assert duplicates("aabac") == Share(2, 5)
    assert duplicates([]).value is None


# ── exposure ────────────────────────────────────────────────────────────────────────────────────────────────────────


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 3600))))
def test_exposure_is_the_sum_of_views(drawn):
    views = [View(person=person, seconds=seconds) for person, seconds in drawn]
    found = exposure(views)
    for person in "abcd":
        assert found.get(person, 0) == pytest.approx(sum(s for p, s in drawn if p == person) / 60)
    team = aggregate(found)
    if len(found) < 3:
        assert team is None
    else:
        assert (team.people, team.total) == (len(found), pytest.approx(sum(s for _, s in drawn) / 60))
        assert team.mean == pytest.approx(team.total / team.people)
        assert min(found.values()) <= team.median <= max(found.values())


def test_exposure_by_tier_and_what_is_no_view():
    cases = [CaseTimes(tier=t, detected=START, exposure_seconds=s) for t, s in [(0, 60.0), (0, 30.0), (2, 0.0)]]
    assert exposure_by_tier(cases) == {0: 1.5, 2: 0.0}
    assert "ana" not in repr(View(person="ana", seconds=1))
    for seconds in (-1, math.inf, math.nan):
        with pytest.raises(Malformed):
            View(person="ana", seconds=seconds)
