"""Pages: what goes out when, and that an urgent one never falls silent."""

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashmatch.errors import Malformed, Refused
from hashmatch.workflow.paging import (
    Due,
    acknowledge,
    decided,
    drill,
    hand_over,
    pages,
    raise_page,
    sent,
    wording,
)
from hashmatch.workflow.paging_table import NEXT, TIERS, State, Step, TierRule, table, tier_table
from hashmatch.workflow.rota import Quiet, Rota, Seat, Shift

START = datetime(2026, 7, 14, 12, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


def shift(name, begins, until):
    return Shift(
        name=name, primary=f"{name}-1", secondary=f"{name}-2", duty_manager="cy", begins=time(begins),
        until=time(until), time_zone="UTC",
    )  # fmt: skip


ROTA = Rota(
    shifts=(shift("day", 8, 20), shift("night", 20, 8)),
    last_resort="dana",
    quiet=Quiet(begins=time(22), until=time(7), time_zone="UTC"),
)
NOBODY = Rota(shifts=(replace(shift("past", 8, 20), last=datetime(2020, 1, 1).date()),), last_resort="dana")


def page(tier=0, now=START):
    return raise_page("p1", "case_1", tier, now)


def step(current, now, rota=ROTA):
    """Sends what is due; the page and who was told."""
    due = pages(current, rota, now)
    return (sent(current, due.sends, now) if due.sends else current), [one.to for one in due.sends], due.next_at


def walk(current, now, until, rota=ROTA):
    """Everything that goes out by itself, as (minutes since the start, to)."""
    went, next_at = [], now
    while next_at is not None and next_at <= until:
        now = next_at
        current, told, next_at = step(current, now, rota)
        went += [((now - START) // MINUTE, one) for one in told]
        assert next_at is None or next_at > now
    return current, went


# ── who is told, and when ───────────────────────────────────────────────────────────────────────────────────────────


def test_an_urgent_page_goes_up_the_chain_and_round_again():
    _, went = walk(page(), START, START + 41 * MINUTE)
    everybody = ["day-1", "day-2", "cy"]
    assert went == [(0, "day-1"), (5, "day-2"), (10, "cy")] + [(m, one) for m in (25, 40) for one in everybody]


def test_acknowledged_it_comes_again_every_four_hours_until_it_is_decided():
    told, _, _ = step(page(), START)
    told, _ = walk(told, START + 5 * MINUTE, START + 6 * MINUTE)
    taken = acknowledge(told, "day-2", START + 7 * MINUTE)
    assert (taken.state, taken.acknowledged_by) == (State.ACKNOWLEDGED, "day-2")
    assert pages(taken, ROTA, START + 8 * MINUTE) == Due((), START + 4 * HOUR + 7 * MINUTE)
    later, went = walk(taken, START + 8 * MINUTE, START + 9 * HOUR)
    assert went == [(247, one) for one in ("day-1", "day-2", "cy")] + [
        (487, one) for one in ("night-1", "night-2", "cy")
    ]
    over = decided(later, START + 9 * HOUR)
    assert pages(over, ROTA, START + 99 * HOUR) == Due((), None)


def test_who_is_late_in_sending_catches_up():
    assert step(page(), START + 7 * MINUTE)[1] == ["day-1", "day-2"]
    current, told, next_at = step(page(), START + HOUR)
    assert (told, current.state) == (["day-1", "day-2", "cy"], State.ALL_TOLD)
    assert next_at == START + HOUR + 15 * MINUTE


def test_the_next_shift_is_told_where_the_hour_changed():
    current, _ = walk(page(now=START + 475 * MINUTE), START + 475 * MINUTE, START + 481 * MINUTE)
    assert current.paged == {"day-1", "night-2"}


def test_less_urgent_pages_wait_for_the_end_of_quiet_hours():
    late, morning = START.replace(hour=23), datetime(2026, 7, 15, 7, tzinfo=UTC)
    for tier in (2, 3):
        assert pages(page(tier, late), ROTA, late) == Due((), morning)
        assert [one.to for one in pages(page(tier, late), ROTA, morning).sends] == ["night-1"]
        assert [one.to for one in pages(page(tier), ROTA, START).sends] == ["day-1"]
    for tier in (0, 1):
        assert [one.to for one in pages(page(tier, late), ROTA, late).sends] == ["night-1"]
    # Raised at night, the secondary is not told the moment the primary is.
    told, _, next_at = step(page(2, late), morning)
    assert next_at == morning + 8 * HOUR
    last, names, next_at = step(told, next_at)
    assert (names, last.state, next_at) == (["day-2"], State.ALL_TOLD, None)
    assert pages(last, ROTA, START + 1000 * HOUR) == Due((), None)


def test_where_nobody_is_on_call_the_last_resort_is_told_once_in_a_round():
    _, went = walk(page(), START, START + 26 * MINUTE, NOBODY)
    assert went == [(minutes, "dana") for minutes in (0, 5, 10, 25)]
    late, told, _ = step(page(), START + HOUR, NOBODY)
    assert (told, late.state) == (["dana"], State.ALL_TOLD)


def test_what_did_not_go_out_stays_due():
    due = pages(page(), ROTA, START + 6 * MINUTE)
    current = sent(page(), due.sends[1:], START + 6 * MINUTE)
    assert (current.state, current.told) == (State.TOLD, {Seat.SECONDARY})
    assert [one.to for one in pages(current, ROTA, START + 6 * MINUTE).sends] == ["day-1"]


def test_a_chain_that_was_shortened_meanwhile_goes_on():
    short = {0: replace(TIERS[0], chain=(Seat.PRIMARY,))}
    current, _, _ = step(page(), START)
    due = pages(current, ROTA, START + MINUTE, tiers=short)
    assert sent(current, due.sends, START + MINUTE, tiers=short).state is State.ALL_TOLD


# ── properties ──────────────────────────────────────────────────────────────────────────────────────────────────────

ACTS = st.lists(
    st.tuples(
        st.sampled_from(["send", "send", "send some", "acknowledge", "hand over", "decide"]),
        st.integers(0, 5),
        st.integers(-400, 400),  # minutes that the clock moves, back too
    ),
    max_size=20,
)


def act(current, name, number, now, rota):
    if name == "decide":
        return decided(current, now)
    if name == "acknowledge":
        names = sorted(rota.people)
        return acknowledge(current, names[number % len(names)], now)
    if name == "hand over":
        takers = sorted(rota.people - {current.acknowledged_by})
        found = hand_over([current], rota, giver=current.acknowledged_by or "x", taker=takers[0], note="n", now=now)
        return found.open[0] if found.open else current
    due = pages(current, rota, now)
    return sent(current, due.sends[: 1 if name == "send some" else None], now)


@settings(max_examples=300)
@given(ACTS, st.integers(0, 3), st.sampled_from([ROTA, NOBODY]), st.integers(0, 1440))
def test_an_urgent_page_is_never_left_unanswered_and_nobody_else_is_paged(acts, tier, rota, minute):
    now = START + minute * MINUTE
    current = page(tier, now)
    for name, number, moved in acts:
        now += moved * MINUTE
        before = current
        try:
            current = act(current, name, number, now, rota)
        except (Refused, Malformed):
            assert current == before
        due = pages(current, rota, now)
        assert {one.to for one in due.sends} <= rota.people
        assert current.paged <= rota.people
        assert len({one.to for one in due.sends}) == len(due.sends)
        if current.state is State.OVER:
            assert due == Due((), None)
        elif tier < 2:  # unanswered or undecided, there is always a next send, and not far off
            wait = TIERS[tier].again if current.state is not State.ACKNOWLEDGED else TIERS[tier].repeat
            assert due.sends or now < due.next_at <= now + wait + MINUTE
            again = pages(current, rota, due.next_at or now)
            assert due.sends or again.sends
        elif current.state is State.RAISED:
            assert due.sends or due.next_at > now


@given(st.integers(0, 3), st.integers(0, 60))
def test_a_page_goes_out_at_once_even_where_the_clock_went_back(tier, seconds):
    back = timedelta(seconds=seconds)
    assert pages(page(tier), ROTA, START - back).sends
    if tier < 2:
        assert len(pages(page(tier), ROTA, START - back).sends) == 1  # an adjustment of the clock is no alarm
        assert len(pages(page(tier), ROTA, START - HOUR).sends) == 3


def test_pure_asking_changes_nothing():
    assert pages(page(), ROTA, START) == pages(page(), ROTA, START)


# ── acknowledging, deciding, handing over ───────────────────────────────────────────────────────────────────────────


def test_only_who_was_paged_acknowledges():
    with pytest.raises(Refused, match="RAISED"):
        acknowledge(page(), "day-1", START)
    told, _, _ = step(page(), START)
    with pytest.raises(Refused, match="paged"):
        acknowledge(told, "day-2", START)
    taken = acknowledge(told, "day-1", START + MINUTE)
    again = acknowledge(taken, "day-1", START + 2 * MINUTE)
    assert (again.acknowledged_at, again.timer_at) == (START + MINUTE, START + 2 * MINUTE)
    over = decided(again, START + HOUR)
    for late in (lambda: acknowledge(over, "day-1", START), lambda: decided(over, START)):
        with pytest.raises(Refused):
            late()
    with pytest.raises(Refused):
        sent(over, pages(page(), ROTA, START).sends, START)


def test_what_went_out_must_be_of_the_page():
    other = pages(raise_page("p2", "case_2", 0, START), ROTA, START).sends
    for sends in ((), other):
        with pytest.raises(Malformed):
            sent(page(), sends, START)


def taken_by(who, name="p1", tier=0):
    told, _, _ = step(replace(page(tier), id=name), START + HOUR)
    return acknowledge(told, who, START + HOUR)


def test_a_handover_lists_what_is_open_and_gives_what_was_taken():
    mine, theirs = taken_by("day-1", "p1", 1), taken_by("day-2", "p2")
    waiting, over = replace(page(), id="p3"), decided(replace(page(), id="p4"), START)
    found = hand_over(
        [over, mine, drill("p5", "c5", START), waiting, theirs], ROTA, giver="day-1", taker="night-1",
        note="p1 waits for a call back", now=START + 8 * HOUR,
    )  # fmt: skip
    assert [one.id for one in found.open] == ["p2", "p3", "p1", "p5"]
    assert [one.acknowledged_by for one in found.open] == ["day-2", "", "night-1", ""]
    assert acknowledge(found.open[2], "night-1", START + 8 * HOUR).acknowledged_by == "night-1"
    assert pages(found.open[2], ROTA, START + 2 * HOUR).next_at == START + 5 * HOUR  # the timer runs on
    assert repr(found) == "<handover of 4 pages>"


@pytest.mark.parametrize("taker", ["day-1", "somebody"])
def test_a_handover_is_to_somebody_else_on_the_rota(taker):
    with pytest.raises(Refused):
        hand_over([], ROTA, giver="day-1", taker=taker, note="n", now=START)


def test_a_handover_wants_a_note():
    with pytest.raises(Malformed):
        hand_over([], ROTA, giver="day-1", taker="night-1", note=" ", now=START)


# ── what a page says ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_page_says_a_tier_and_ids_alone():
    assert wording(page()) == "T0 case case_1 wants somebody now (page p1)"
    assert "day-1" not in repr(pages(page(), ROTA, START))
    assert "case" not in repr(page())


def test_a_drill_says_so_and_goes_the_same_way():
    practised = drill("p1", "case_1", START)
    assert (practised.case_id, practised.drill, page().drill) == ("case_1", True, False)
    said = {one.text for one in pages(practised, ROTA, START).sends}
    assert said == {f"DRILL, nothing has happened: {wording(replace(page(), id='p1'))}"}
    assert walk(practised, START, START + HOUR)[1] == walk(page(), START, START + HOUR)[1]
    assert repr(practised).startswith("<drill")


@pytest.mark.parametrize(
    ("page_id", "case_id", "tier", "field"),
    [
        ("p 1", "c1", 0, "page_id"),
        ("p1", "c1\nfor who@example.org", 0, "case_id"),
        ("p1", "c" * 65, 0, "case_id"),
        ("p1", "", 0, "case_id"),
        ("p1", "c1", 4, "tier"),
        ("p1", "c1", -1, "tier"),
    ],
)
def test_what_is_no_page(page_id, case_id, tier, field):
    with pytest.raises(Malformed) as raised:
        raise_page(page_id, case_id, tier, START)
    assert raised.value.field == field


# ── the tables ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_tables_render():
    assert len(table()) == len(NEXT)
    assert ("ALL_TOLD", "REPEAT", "ALL_TOLD") in table()
    assert {row[0] for row in table()} == {state.value for state in State} - {"OVER"}
    assert all(state.meaning for state in State)
    assert {row[1] for row in table()} == {one.value for one in Step}
    assert tier_table()[0] == ("T0", "primary, secondary, duty manager", "0:05:00", "0:15:00", "4:00:00", "no")
    assert [row[5] for row in tier_table()] == ["no", "no", "yes", "yes"]


def test_a_rule_that_tells_nobody_is_none():
    for changed in (
        {"chain": ()}, {"chain": (Seat.SECONDARY,)}, {"chain": (Seat.PRIMARY, Seat.PRIMARY)},
        {"acknowledge": timedelta(0)}, {"again": -HOUR}, {"repeat": timedelta(0)},
    ):  # fmt: skip
        with pytest.raises(Malformed):
            replace(TIERS[0], **changed)
    assert isinstance(TIERS[0], TierRule)
