"""Who is on call: against a clock on the wall, over the changes to summer time and back, and where nobody is."""

import tomllib
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashmatch.errors import BadConfig, Malformed
from hashmatch.workflow.rota import Gap, Quiet, Rota, Seat, Shift, check, gaps, on_call, quiet_until
from hashmatch.workflow.rota_settings import rota_from

LONDON = "Europe/London"
SPRING, AUTUMN = date(2026, 3, 29), date(2026, 10, 25)  # 01:00 GMT becomes 02:00 BST, and 02:00 BST 01:00 GMT
HOUR = timedelta(hours=1)
ZONES = [
    LONDON,
    "America/New_York",
    "Asia/Tokyo",
    "Australia/Lord_Howe",
    "Pacific/Kiritimati",
    "Pacific/Pago_Pago",
    "UTC",
]


def shift(name="all", begins="00:00", until="00:00", zone=LONDON, **changed):
    wanted = {
        "name": name, "begins": time.fromisoformat(begins), "until": time.fromisoformat(until), "time_zone": zone,
        "primary": f"{name}-1", "secondary": f"{name}-2", "duty_manager": f"{name}-3",
    }  # fmt: skip
    return Shift(**wanted | changed)


def rota(*shifts, **changed):
    return Rota(shifts=shifts or (shift(),), last_resort="dana", **changed)


def at(day, clock, zone=LONDON, fold=0):
    return datetime.combine(day, time.fromisoformat(clock), ZoneInfo(zone)).replace(fold=fold).astimezone(UTC)


DAY_AND_NIGHT = rota(shift("day", "08:00", "20:00"), shift("night", "20:00", "08:00"))

# ── who ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("clock", "who"), [("08:00", "day"), ("19:59", "day"), ("20:00", "night"), ("00:00", "night"), ("07:59", "night")]
)
def test_the_beginning_counts_and_the_end_does_not(clock, who):
    for day in (date(2026, 1, 14), date(2026, 7, 14)):  # by the clock on the wall, in winter and in summer
        found = on_call(DAY_AND_NIGHT, at(day, clock))
        assert [found.of(seat) for seat in Seat] == [f"{who}-1", f"{who}-2", f"{who}-3"]


CLOCKS = st.integers(0, 95).map(lambda quarter: time(quarter // 4, quarter % 4 * 15))
SHIFTS = st.lists(
    st.builds(
        shift,
        name=st.uuids().map(str),
        begins=CLOCKS.map(str),
        until=CLOCKS.map(str),
        zone=st.sampled_from(ZONES),
        days=st.frozensets(st.integers(0, 6), min_size=1),
        first=st.none() | st.just(date(2026, 6, 10)),
        last=st.none() | st.just(date(2026, 6, 16)),
    ),
    min_size=1,
    max_size=4,
)


def on_the_wall(shift, now):
    """Whether a shift covers a time, read off a clock on the wall; right where no clock changes."""
    local = now.astimezone(ZoneInfo(shift.time_zone))
    for back in (0, 1):
        day = local.date() - timedelta(days=back)
        minutes = local.hour * 60 + local.minute + back * 1440
        begins, until = (one.hour * 60 + one.minute for one in (shift.begins, shift.until))
        until += 1440 * (until <= begins)
        on = day.weekday() in shift.days and (shift.first or day) <= day <= (shift.last or day)
        if on and begins <= minutes < until:
            return True
    return False


@given(SHIFTS, st.integers(0, 14 * 96))
def test_it_is_who_the_wall_clock_says_the_last_named_first(shifts, quarters):
    now = datetime(2026, 6, 6, tzinfo=UTC) + quarters * timedelta(minutes=15)
    expected = next((one.name for one in reversed(shifts) if on_the_wall(one, now)), "")
    found = on_call(rota(*shifts), now)
    assert found.shift == expected
    assert {found.of(seat) for seat in Seat} <= rota(*shifts).people


@pytest.mark.parametrize("zone", ["Pacific/Pago_Pago", "Pacific/Kiritimati"])  # 11 hours behind and 14 ahead of UTC
def test_long_shifts_far_from_utc_are_found_at_every_hour(zone):
    found = rota(shift("long", "20:00", "19:00", zone, days=frozenset({0})))
    begins, until = at(date(2026, 6, 8), "20:00", zone), at(date(2026, 6, 9), "19:00", zone)
    hours = [datetime(2026, 6, 6, tzinfo=UTC) + n * HOUR for n in range(140)]
    assert [hour for hour in hours if on_call(found, hour).shift] == [h for h in hours if begins <= h < until]


def test_a_swap_is_one_more_shift_at_the_end():
    day = date(2026, 7, 14)
    swapped = rota(*DAY_AND_NIGHT.shifts, shift("swap", "08:00", "20:00", first=day, last=day))
    assert on_call(swapped, at(day, "12:00")).primary == "swap-1"
    assert on_call(swapped, at(day + timedelta(days=1), "12:00")).primary == "day-1"
    assert on_call(swapped, at(day, "21:00")).primary == "night-1"


def test_the_last_resort_stands_in_where_nobody_is_on_call():
    found = on_call(rota(shift("day", "08:00", "20:00")), at(date(2026, 7, 14), "21:00"))
    assert (found.shift, {found.of(seat) for seat in Seat}) == ("", {"dana"})


# ── clocks that change ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("day", "hours"), [(SPRING, 11), (AUTUMN, 13), (date(2026, 6, 1), 12)])
def test_a_night_shift_over_the_change_is_shorter_or_longer(day, hours):
    begins, until = shift("night", "20:00", "08:00").on(day - timedelta(days=1))
    assert until - begins == hours * HOUR


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("change", ["00:30", "01:00", "01:30", "02:00", "02:15", "02:30", "03:00"])
def test_shifts_that_meet_leave_no_gap_and_no_overlap_whenever_the_clock_changes(zone, change):
    meeting = rota(shift("a", change, "14:00", zone), shift("b", "14:00", change, zone))
    begins, until = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
    check(meeting, begins, until)
    windows = sorted(
        one.on(date(2026, 1, 1) + timedelta(days=number)) for one in meeting.shifts for number in range(365)
    )
    assert all(first[1] == second[0] for first, second in pairwise(windows))


def test_a_time_that_comes_twice_counts_the_first_time():
    meeting = rota(shift("a", "01:30", "14:00"), shift("b", "14:00", "01:30"))
    assert on_call(meeting, at(AUTUMN, "01:29", fold=0)).shift == "b"
    assert on_call(meeting, at(AUTUMN, "01:30", fold=0)).shift == "a"
    assert on_call(meeting, at(AUTUMN, "01:29", fold=1)).shift == "a"


def test_a_shift_that_the_change_swallows_covers_nothing_and_hurts_nothing():
    swallowed = shift("short", "01:30", "02:15")  # begins at 01:30 UTC as if unchanged, ends at 01:15 UTC
    assert on_call(rota(swallowed), at(SPRING, "02:20")).shift == ""
    begins = datetime(2026, 3, 29, tzinfo=UTC)
    assert gaps(rota(swallowed), begins, begins + 6 * HOUR) == [Gap(begins, begins + 6 * HOUR)]


# ── gaps ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=60)
@given(SHIFTS, st.integers(0, 96), st.integers(1, 3 * 96))
def test_gaps_are_where_a_loop_finds_nobody(shifts, start, length):
    quarter = timedelta(minutes=15)
    begins = datetime(2026, 6, 9, tzinfo=UTC) + start * quarter
    found = gaps(rota(*shifts), begins, begins + length * quarter)
    for number in range(length):
        now = begins + number * quarter
        assert any(gap.begins <= now < gap.until for gap in found) == (on_call(rota(*shifts), now).shift == "")
    for gap in found:
        assert begins <= gap.begins < gap.until <= begins + length * quarter
        assert on_call(rota(*shifts), gap.until - timedelta(microseconds=1)).shift == ""
    assert all(first.until < second.begins for first, second in pairwise(found))


def test_a_gap_is_an_error_that_says_when():
    weekdays = rota(shift(days=frozenset(range(5))))
    begins = datetime(2026, 1, 1, tzinfo=UTC)
    check(DAY_AND_NIGHT, begins, begins + timedelta(days=400))
    with pytest.raises(BadConfig, match=r"nobody is on call from 2026-01-03 00:00 to 2026-01-05 00:00 UTC; .*more"):
        check(weekdays, begins, begins + timedelta(days=60))
    for days in (0, -1, 401):
        with pytest.raises(Malformed):
            check(weekdays, begins, begins + timedelta(days=days))
    with pytest.raises(Malformed):
        check(weekdays, datetime(2026, 1, 1), begins)


# ── quiet hours ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_quiet_hours_end_by_the_clock_on_the_wall():
    quiet = rota(quiet=Quiet(begins=time(22), until=time(7), time_zone=LONDON))
    for day in (date(2026, 1, 14), date(2026, 7, 14), SPRING, AUTUMN):
        before = day - timedelta(days=1)
        assert quiet_until(quiet, at(before, "21:59")) is None
        assert quiet_until(quiet, at(before, "22:00")) == quiet_until(quiet, at(day, "06:59")) == at(day, "07:00")
        assert quiet_until(quiet, at(day, "07:00")) is None
    assert quiet_until(rota(), at(SPRING, "03:00")) is None


# ── settings ────────────────────────────────────────────────────────────────────────────────────────────────────────

TOML = """
last_resort = "dana"
quiet = { begins = "22:00", until = "07:00", time_zone = "Europe/London" }
[[shifts]]
name = "day"
begins = "08:00"
until = "20:00"
time_zone = "Europe/London"
days = ["mon", "tue"]
first = 2026-03-02
primary = "ana"
secondary = "bo"
duty_manager = "cy"
[[shifts]]
name = "rest"
begins = 00:00:00
until = 00:00:00
time_zone = "UTC"
primary = "ed"
secondary = "fay"
duty_manager = "cy"
"""


def test_a_rota_is_read_from_settings():
    found = rota_from(tomllib.loads(TOML))
    day, rest = found.shifts
    assert (day.days, day.first, day.last, day.begins) == ({0, 1}, date(2026, 3, 2), None, time(8))
    assert (rest.days, rest.first) == (frozenset(range(7)), None)
    assert found.people == {"ana", "bo", "cy", "dana", "ed", "fay"}
    assert found.quiet == Quiet(begins=time(22), until=time(7), time_zone=LONDON)
    assert on_call(found, at(date(2026, 3, 2), "12:00")).shift == "rest"  # the last that is named
    assert not any(name in repr((found, day, on_call(found, at(SPRING, "12:00")))) for name in found.people)


def test_the_example_of_the_docstring_is_read():
    example = "\n".join(
        line.strip() for line in rota_from.__doc__.split("reads it:")[1].split("Raises:")[0].splitlines()
    )
    assert rota_from(tomllib.loads(example)).shifts[0].name == "day"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('last_resort = "dana"', "", "rota.last_resort: missing"),
        ('last_resort = "dana"', "last_resort = 3", "rota.last_resort: want"),
        ('"dana"', '" "', "rota.last_resort: want"),
        ('primary = "ana"', "", r"rota.shifts\[0\].primary: missing"),
        ('primary = "ana"', 'primary = "bo"', "three different"),
        ('primary = "ana"', "primary = []", r"rota.shifts\[0\].primary: want"),
        ('days = ["mon", "tue"]', 'dayz = ["mon"]', r"rota.shifts\[0\].dayz: unknown"),
        ('days = ["mon", "tue"]', "days = []", "want days"),
        ('days = ["mon", "tue"]', 'days = ["moon"]', "want days"),
        ('days = ["mon", "tue"]', 'days = "mon"', "want days"),
        ("first = 2026-03-02", 'first = "soon"', "want a date"),
        ("first = 2026-03-02", "first = 2026-03-02T00:00:00Z", "want a date"),
        ("first = 2026-03-02", "first = 2026-03-02\nlast = 2026-03-01", "last before first"),
        ('begins = "08:00"', 'begins = "8 o\'clock"', "want a time"),
        ('begins = "08:00"', "begins = 8", "want a time"),
        ('begins = "08:00"', 'begins = "08:00+01:00"', "without a zone"),
        ('time_zone = "UTC"', 'time_zone = "Mars/Olympus"', "no time zone"),
        ('time_zone = "UTC"', 'time_zone = "../../etc/passwd"', "no time zone"),
        ('begins = "22:00"', 'begins = "07:00"', "quiet hours"),
        ('quiet = { begins = "22:00", until = "07:00", time_zone = "Europe/London" }', "quiet = 1", "rota.quiet: want"),
    ],
)
def test_settings_that_are_wrong_are_refused_by_name(old, new, says):
    assert old in TOML
    with pytest.raises(BadConfig, match=says):
        rota_from(tomllib.loads(TOML.replace(old, new, 1)))


def test_a_rota_without_shifts_is_none():
    for shifts in ([], 3, [3]):
        with pytest.raises(BadConfig):
            rota_from({"last_resort": "dana", "shifts": shifts})
    with pytest.raises(BadConfig):
        replace(rota(), last_resort="")
    with pytest.raises(BadConfig):
        replace(shift(), days=frozenset({7}))
