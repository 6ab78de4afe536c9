"""Holds: what each kind comes to, who may end it, and that no order of steps frees what is kept."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from workflow.holding import LAW, START, TWO, days, placed

from hashmatch.errors import Malformed, Refused
from hashmatch.workflow.hold import lift_where_lawful, release, renew, supersede, table
from hashmatch.workflow.hold_table import ALL_PARTS, LAST_DAY, RULES, Basis, Kind, Part, years_after

ASKED = [kind for kind in Kind if RULES[kind].persons == 2]
KINDS = pytest.mark.parametrize("kind", list(Kind))
MOMENTS = st.datetimes(datetime(1970, 1, 1), datetime(8000, 1, 1), timezones=st.just(UTC))


# ── the calendar ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("start", "years", "end"),
    [
        ("2026-03-01", 1, "2027-03-01"),
        ("2027-03-01", 1, "2028-03-01"),  # 366 days
        ("2028-02-28", 1, "2029-02-28"),
        ("2028-02-29", 1, "2029-03-01"),
        ("2028-02-29", 5, "2033-03-01"),
        ("2028-02-29", 4, "2032-02-29"),
        ("2096-02-29", 5, "2101-03-01"),
        ("2096-02-29", 4, "2100-03-01"),  # no leap year
    ],
)
def test_a_year_is_a_calendar_year(start, years, end):
    start, end = (datetime.fromisoformat(f"{day}T09:30:00+00:00") for day in (start, end))
    assert years_after(start, years) == end


@given(MOMENTS, st.sampled_from([1, 5]))
def test_a_year_has_never_fewer_days_than_the_calendar_between(start, years):
    # The oracle walks day by day to the day of the same name, or to the first after it.
    day = start
    for _ in range(365 * years):
        day += days(1)
    while (day.year, day.month, day.day) < (start.year + years, start.month, start.day):
        day += days(1)
    assert years_after(start, years) == day


@pytest.mark.parametrize(
    ("kind", "until"),
    [
        (Kind.US_REPORT, "2027-03-01"),
        (Kind.UK_REPORT, "2027-03-01"),
        (Kind.UK_REFERENCE, "2031-03-01"),
        (Kind.LE_PRESERVATION, "2026-05-30"),
        (Kind.LE_REQUEST, None),
        (Kind.LITIGATION, None),
        (Kind.UNFINISHED_REPORT, None),
        (Kind.OPEN_CASE, None),
    ],
)
def test_each_kind_runs_its_time_and_the_last_day_of_it(kind, until):
    hold = placed(kind)
    assert hold.until == (until and datetime.fromisoformat(f"{until}T12:00:00+00:00") + LAST_DAY)


@pytest.mark.parametrize("zone", [-12, -5, 0, 1, 9, 14])
@given(MOMENTS)
@example(datetime(1999, 2, 28, 10, tzinfo=UTC))  # the 1 March at +14, and a leap day before it comes again
def test_no_time_zone_s_last_day_is_cut(zone, finished):
    local = timezone(timedelta(hours=zone))
    hold = placed(since=finished, now=finished)
    last = years_after(finished.astimezone(local).replace(tzinfo=UTC), 1).replace(tzinfo=local)
    assert hold.until >= last.replace(hour=23, minute=59, second=59)


def test_the_end_is_inclusive():
    hold = placed()
    assert hold.holds(hold.until)
    assert not hold.holds(hold.until + timedelta(microseconds=1))


def test_the_clock_starts_at_the_finish_and_not_when_it_is_placed():
    assert placed(since=START - days(10)).until == placed().until - days(10)
    assert placed(since=START + days(10)).until == placed().until + days(10)  # the service's clock may be ahead


# ── placing ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", LAW)
def test_a_duty_by_law_has_no_clock_without_a_finished_report(kind):
    with pytest.raises(Malformed) as raised:
        placed(kind, since=None)
    assert raised.value.field == "since"


@pytest.mark.parametrize(
    ("kind", "changed", "field"),
    [
        (Kind.US_REPORT, {"until": START + days(4000)}, "until"),
        (Kind.US_REPORT, {"covers": {Part.MEDIA}}, "covers"),
        (Kind.US_REPORT, {"reference": ""}, "reference"),
        (Kind.US_REPORT, {"since": datetime(2026, 1, 1)}, "since"),
        (Kind.US_REPORT, {"now": datetime(2026, 1, 1)}, "now"),
        (Kind.US_REPORT, {"since": datetime(9999, 1, 1, tzinfo=UTC)}, "since"),
        (Kind.US_REPORT, {"latest_seen": datetime(2026, 1, 1)}, "latest_seen"),
        (Kind.LE_PRESERVATION, {"since": START}, "since"),
        (Kind.LE_PRESERVATION, {"until": START + days(80)}, "until"),
        (Kind.LE_PRESERVATION, {"reference": " "}, "reference"),
        (Kind.LE_REQUEST, {"jurisdiction": ""}, "jurisdiction"),
        (Kind.LE_REQUEST, {"until": START - days(1)}, "until"),
        (Kind.LITIGATION, {"until": START + days(1)}, "until"),
        (Kind.LITIGATION, {"covers": ()}, "covers"),
        (Kind.LITIGATION, {"ground": ""}, "ground"),
        (Kind.LITIGATION, {"ground": "x" * 2001}, "ground"),
        (Kind.LITIGATION, {"placed_by": ""}, "placed_by"),
        (Kind.LITIGATION, {"id": ""}, "id"),
        (Kind.LITIGATION, {"case_id": "x" * 201}, "case_id"),
        (Kind.UNFINISHED_REPORT, {"until": START + days(1)}, "until"),
        (Kind.OPEN_CASE, {"until": START + days(1)}, "until"),
    ],
)
def test_what_cannot_be_placed(kind, changed, field):
    with pytest.raises(Malformed) as raised:
        placed(kind, **changed)
    assert raised.value.field == field


def test_a_record_that_cannot_be_is_not_made():
    for hold, changes in [
        (placed(), {"until": None}),
        (placed(Kind.LITIGATION), {"until": START}),
        (placed(), {"covers": frozenset()}),
    ]:
        with pytest.raises(Malformed):
            replace(hold, **changes)


def test_what_a_request_names_is_taken_as_it_is():
    assert placed(Kind.LE_PRESERVATION, until=START + days(180)).until == START + days(180)
    emergency = placed(Kind.LE_REQUEST, reference="", until=START + days(3), covers={Part.ACCOUNT_DATA})
    assert (emergency.until, emergency.reference, emergency.jurisdiction) == (START + days(3), "", "FR")
    assert emergency.covers == {Part.ACCOUNT_DATA}


def test_times_of_other_zones_are_kept_in_utc():
    tokyo = timezone(timedelta(hours=9))
    assert placed(since=START.astimezone(tokyo), now=START.astimezone(tokyo)) == placed()


@KINDS
def test_no_repr_holds_what_people_wrote(kind):
    hold = placed(kind, ground="who it is about", placed_by="cy", reference="R-99")
    ended = replace(hold, released_at=START, released_by=TWO, release_reason="why")
    for secret in ("who it is", "cy", "R-99", *TWO, "why"):
        assert secret not in repr(hold)
        assert secret not in repr(ended)
    assert repr(ended).endswith("ended>")
    if kind is Kind.LE_PRESERVATION:
        renewed = renew(hold, by="cy", reference="R-99", now=START)
        assert "R-99" not in repr(renewed.renewals)


# ── renewing ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_letter_is_renewed_by_ninety_days_from_its_end():
    hold = placed(Kind.LE_PRESERVATION)
    once = renew(hold, by="cy", reference="R-2", now=START + days(60))
    twice = renew(once, by="cy", reference="R-3", now=START + days(61))
    assert once.until == START + days(180) + LAST_DAY
    assert twice.until == START + days(270) + LAST_DAY
    assert [one.reference for one in twice.renewals] == ["R-2", "R-3"]


def test_a_letter_that_lapsed_is_renewed_from_now():
    now = START + days(1000)
    assert renew(placed(Kind.LE_PRESERVATION), by="cy", reference="R-2", now=now).until == now + days(90) + LAST_DAY


def test_a_request_with_an_end_is_given_a_later_one():
    hold = placed(Kind.LE_REQUEST, until=START + days(3))
    assert renew(hold, by="cy", reference="R-2", now=START, until=START + days(9)).until == START + days(9)
    with pytest.raises(Malformed):
        renew(hold, by="cy", reference="R-2", now=START)
    with pytest.raises(Malformed):
        renew(hold, by="cy", reference="R-2", now=START, until=START + days(2))


def test_what_is_not_renewed():
    for kind in set(Kind) - {Kind.LE_PRESERVATION, Kind.LE_REQUEST}:
        with pytest.raises(Refused):
            renew(placed(kind), by="cy", reference="R-2", now=START)
    with pytest.raises(Refused):  # no end
        renew(placed(Kind.LE_REQUEST), by="cy", reference="R-2", now=START, until=START + days(1))
    letter = placed(Kind.LE_PRESERVATION)
    with pytest.raises(Refused):
        renew(release(letter, TWO, "withdrawn", START), by="cy", reference="R-2", now=START)
    with pytest.raises(Refused):
        for _ in range(201):
            letter = renew(letter, by="cy", reference="R-2", now=START)
    assert len(letter.renewals) == 200


# ── releasing ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ASKED)
@pytest.mark.parametrize(
    "by", [(), ("ana",), ("ana", "ana"), ("ana", " ANA "), ("ana", "ａｎａ"), ("ana", "anonymous")]
)
def test_two_different_known_persons_end_what_was_asked_for(kind, by):
    with pytest.raises(Refused):
        release(placed(kind), by, "done", START)


@pytest.mark.parametrize("kind", ASKED)
def test_two_persons_end_it_once(kind):
    ended = release(placed(kind), TWO, "the order was lifted", START + days(1))
    assert (ended.released_by, ended.released_at) == (TWO, START + days(1))
    assert not ended.holds(START)
    with pytest.raises(Refused):
        release(ended, TWO, "again", START + days(2))


@pytest.mark.parametrize("by", ["ana", ("ana", ""), ("ana", "x" * 201), tuple("abcdefghijk")])
def test_names_that_are_none(by):
    with pytest.raises(Malformed) as raised:
        release(placed(Kind.LITIGATION), by, "done", START)
    assert raised.value.field == "by"


def test_a_release_wants_a_reason():
    with pytest.raises(Malformed):
        release(placed(Kind.LITIGATION), TWO, " ", START)


@pytest.mark.parametrize("kind", LAW)
def test_nobody_ends_a_duty_by_law_before_its_time(kind):
    hold = placed(kind)
    for now in (START, hold.until):
        with pytest.raises(Refused):
            release(hold, (*TWO, "cy"), "we would like to", now)
    assert release(hold, ("ana",), "over", hold.until + days(1)).released


def test_our_own_holds_are_ended_by_one():
    for kind in (Kind.OPEN_CASE, Kind.UNFINISHED_REPORT):
        assert release(placed(kind), ("ana",), "closed", START).released


# ── superseding ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_longer_duty_takes_the_place_of_a_shorter():
    first, later = placed(), placed(id="h2", since=START + days(5))
    ended = supersede(first, later, START + days(5))
    assert (ended.superseded_by, ended.released, ended.released_by) == ("h2", True, ())
    with pytest.raises(Refused):
        supersede(later, first, START)
    with pytest.raises(Refused):
        supersede(ended, later, START)


@pytest.mark.parametrize("report", [Kind.US_REPORT, Kind.UK_REPORT])
def test_the_clock_of_a_finished_report_takes_the_place_of_waiting_for_it(report):
    assert supersede(placed(Kind.UNFINISHED_REPORT), placed(report, id="h2"), START).released


@pytest.mark.parametrize(
    ("hold", "by"),
    [
        # A legal hold is longer, and may be released tomorrow.
        (placed(), placed(Kind.LITIGATION, id="h2")),
        (placed(), placed(Kind.LE_PRESERVATION, id="h2", until=START + days(900))),
        (placed(Kind.LITIGATION), placed(id="h2")),
        (placed(Kind.LE_PRESERVATION), placed(id="h2")),
        (placed(Kind.OPEN_CASE), placed(id="h2")),
        (placed(Kind.UNFINISHED_REPORT), placed(Kind.UK_REFERENCE, id="h2")),
        (placed(Kind.UNFINISHED_REPORT), placed(Kind.LITIGATION, id="h2")),
        (placed(), placed(Kind.UK_REFERENCE, id="h2")),
        (placed(), placed(since=START + days(1))),  # itself
        (placed(), placed(id="h2", case_id="c2", since=START + days(1))),
        (placed(Kind.UNFINISHED_REPORT), placed(id="h2", since=START - days(500))),  # over
    ],
)
def test_what_takes_no_place(hold, by):
    with pytest.raises(Refused):
        supersede(hold, by, START)


# ── clearing ────────────────────────────────────────────────────────────────────────────────────────────────────────


def everything():
    return [placed(kind, id=kind.value) for kind in Kind]


def test_clearing_lifts_none_that_a_report_or_an_authority_asked_for():
    found = lift_where_lawful(everything(), START, by="ana", report_open=False)
    assert {hold.kind for hold in found.lifted} == {Kind.OPEN_CASE, Kind.UNFINISHED_REPORT}
    assert {hold.kind for hold in found.kept} == set(Kind) - {Kind.OPEN_CASE, Kind.UNFINISHED_REPORT}
    assert all(hold.released_by == ("ana",) for hold in found.lifted)
    assert {kind for kind in Kind if RULES[kind].cleared} == {hold.kind for hold in found.lifted}


def test_a_report_that_may_still_be_finished_keeps_its_hold():
    assert {hold.kind for hold in lift_where_lawful(everything(), START, by="ana").lifted} == {Kind.OPEN_CASE}


def test_clearing_leaves_what_has_ended():
    ended = [release(placed(Kind.OPEN_CASE), ("ana",), "closed", START), placed(since=START - days(500))]
    found = lift_where_lawful(ended, START, by="ana")
    assert (found.lifted, found.kept) == ((), ())


# ── the clock ───────────────────────────────────────────────────────────────────────────────────────────────────────


@KINDS
@given(back=st.timedeltas(timedelta(0), days(3000)), later=st.timedeltas(timedelta(0), days(3000)))
def test_a_clock_that_goes_back_ends_nothing_sooner(kind, back, later):
    seen, now = START + later, START + later - back
    since = {"since": now} if kind in LAW else {}
    right = placed(kind, now=seen, **dict.fromkeys(since, seen))
    wrong = placed(kind, now=now, latest_seen=seen, **since)
    assert (wrong.until, wrong.placed_at) == (right.until, seen)
    if right.rule.renewable and right.until:
        renewed = renew(wrong, by="cy", reference="R-2", now=now - back, latest_seen=seen)
        assert renewed == renew(right, by="cy", reference="R-2", now=seen)
    if kind in LAW:
        with pytest.raises(Refused):
            release(wrong, TWO, "why", now, latest_seen=seen)


@KINDS
@given(now=MOMENTS, seen=MOMENTS)
def test_what_is_placed_is_always_in_force_unless_its_report_is_long_finished(kind, now, seen):
    hold = placed(kind, now=now, latest_seen=seen, **({"since": now} if kind in LAW else {}))
    assert hold.holds(now)
    assert hold.placed_at == max(now, seen)


# ── the table ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_table_renders_every_kind():
    rows = {row[0]: row for row in table()}
    assert list(rows) == [kind.value for kind in Kind]
    assert all(cell for row in rows.values() for cell in row)
    assert rows["US_REPORT"][2:4] == (
        "a duty by law: 18 USC 2258A(h)(1)-(2)",
        "1 year after the report is finished",
    )
    assert rows["UK_REFERENCE"][3:5] == ("5 years after the report is finished", "REPORT_REFERENCE")
    assert rows["LE_PRESERVATION"][3] == "90 days after the letter arrives, renewable"
    assert rows["LITIGATION"][3] == "until it is released"
    assert {row[5] for row in table() if row[0] in ASKED} == {"two persons"}
    assert {row[6] for row in table()} == {"no", "yes", "yes, once the report is retracted"}


def test_every_rule_is_sound():
    for rule in RULES.values():
        assert rule.source
        assert rule.covers <= ALL_PARTS
        assert (rule.basis is Basis.LAW) <= (rule.period is not None and not rule.takes_until and not rule.cleared)
        assert rule.cleared <= (rule.basis is Basis.OURS)
    assert all(part.meaning for part in Part)
