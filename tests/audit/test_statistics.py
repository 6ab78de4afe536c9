"""What the log adds up to: against figures counted by hand, and a plain loop."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from statistics import NormalDist
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from logs import NOON

from hashmatch.audit import statistics
from hashmatch.audit.statistics import FEEDS, Key, Transparency, submissions, summary, transparency, wilson
from hashmatch.v1 import audit_pb2, common_pb2
from hashmatch.v1.audit_pb2 import Event

MATCH, NO_MATCH, UNKNOWN = common_pb2.FINDING_MATCH, common_pb2.FINDING_NO_MATCH, common_pb2.FINDING_UNKNOWN
BLOCK, REVIEW = common_pb2.DISPOSITION_BLOCK, common_pb2.DISPOSITION_REVIEW


def at(event: Event, minutes: float) -> Event:
    event.at.FromDatetime(NOON + timedelta(minutes=minutes))
    return event


def verdict(minutes: float, *lists: str, surface: str = "avatars", asks: Any = BLOCK, case: str = "") -> Event:
    event = at(Event(), minutes + 0.001)  # the leaf comes after the verdict
    v = event.verdict
    v.finding, v.disposition, v.case_id, v.subject.surface = MATCH if lists else UNKNOWN, asks, case, surface
    v.at.FromDatetime(NOON + timedelta(minutes=minutes))
    for name in lists:
        v.matches.add(list=name, label=f"{name}1")
    return event


def counted(*rows: tuple[float, str, Any, str, int]) -> Event:
    event = at(Event(), max(row[0] for row in rows) + 1)
    for minutes, surface, finding, reason, count in rows:
        one = event.counted.counts.add(surface=surface, finding=finding, reason=reason, count=count)
        one.minute.FromDatetime(NOON + timedelta(minutes=minutes))
    return event


def step(minutes: float, case: str, name: str) -> Event:
    return at(Event(case_step=audit_pb2.CaseStep(case_id=case, step=name)), minutes)


def delivered(minutes: float, case: str, verb: str, outcome: str = "CONFIRMED") -> Event:
    return at(Event(delivered=audit_pb2.Delivered(case_id=case, verb=verb, outcome=outcome)), minutes)


# ── sums ────────────────────────────────────────────────────────────────────────────────────────────────────────────

TWO_DAYS = 12 * 60  # minutes from noon to midnight


def some_verdicts() -> list[Event]:
    again = verdict(3, "a", asks=REVIEW)
    again.verdict.retro.version = 2
    return [
        verdict(1, "a", "b"), verdict(2, "a"), again, verdict(4, "b", surface="chat"), verdict(5),
        verdict(TWO_DAYS - 0.0005, "a"),  # its leaf is of the next day
        verdict(TWO_DAYS, "a"),
    ]  # fmt: skip


def test_summary_by_hand() -> None:
    rows = [tuple(row.values()) for row in summary(some_verdicts())]
    assert rows == [
        ("2026-03-01", "a", "avatars", 4, 0, 1, 0, 3, 1),
        ("2026-03-01", "b", "avatars", 1, 0, 0, 0, 1, 0),
        ("2026-03-01", "b", "chat", 1, 0, 0, 0, 1, 0),
        ("2026-03-02", "a", "avatars", 1, 0, 0, 0, 1, 0),
    ]
    assert [*summary(some_verdicts())[0]] == [
        "day", "list", "surface", "matches", "ALLOW", "REVIEW", "RESTRICT", "BLOCK", "judged again",
    ]  # fmt: skip
    assert summary([]) == []


def test_a_verdict_on_two_lists_counts_once_where_lists_are_not_apart() -> None:
    assert [(row["day"], row["matches"]) for row in summary(some_verdicts(), ("day",))] == [
        ("2026-03-01", 5), ("2026-03-02", 1),
    ]  # fmt: skip
    assert [(row["list"], row["matches"]) for row in summary(some_verdicts(), ("list",))] == [("a", 5), ("b", 2)]


drawn = st.lists(
    st.tuples(st.integers(0, 3 * 1440), st.lists(st.sampled_from("abc"), max_size=3), st.sampled_from(["x", "y"]))
)


@given(drawn, st.permutations(get_args(Key)), st.integers(1, 3))
def test_summary_counts_what_a_loop_counts(
    drawn: list[tuple[int, list[str], str]], order: list[Key], many: int
) -> None:
    by = tuple(order[:many])
    want: Counter[tuple[str, ...]] = Counter()
    for minutes, lists, surface in drawn:
        day = (NOON + timedelta(minutes=minutes)).date().isoformat()
        cells = {tuple({"day": day, "list": name, "surface": surface}[key] for key in by) for name in lists}
        want.update(cells)
    rows = summary([verdict(m, *lists, surface=surface) for m, lists, surface in drawn], by)
    assert {tuple(row[key] for key in by): row["matches"] for row in rows} == want


COUNTS = [
    (0, "avatars", MATCH, "", 2), (0, "avatars", NO_MATCH, "", 90), (0, "avatars", UNKNOWN, "LOW_QUALITY", 5),
    (1, "avatars", 0, "RESOURCE_EXHAUSTED", 3), (1, "chat", NO_MATCH, "", 10),
]  # fmt: skip


def test_submissions_by_hand() -> None:
    assert submissions([counted(*COUNTS), verdict(1, "a"), counted((TWO_DAYS, "chat", UNKNOWN, "TIMED_OUT", 1))]) == [
        {
            "day": "2026-03-01", "surface": "avatars", "seen": 100, "scanned": 97, "not_scanned": 3,
            "MATCH": 2, "NO_MATCH": 90, "UNKNOWN": 5,
        },
        {
            "day": "2026-03-01", "surface": "chat", "seen": 10, "scanned": 10, "not_scanned": 0,
            "MATCH": 0, "NO_MATCH": 10, "UNKNOWN": 0,
        },
        {
            "day": "2026-03-02", "surface": "chat", "seen": 1, "scanned": 1, "not_scanned": 0,
            "MATCH": 0, "NO_MATCH": 0, "UNKNOWN": 1,
        },
    ]  # fmt: skip


rows_counted = st.lists(
    st.tuples(
        st.integers(0, 2880), st.sampled_from(["x", "y"]), st.sampled_from([0, MATCH, NO_MATCH, UNKNOWN]),
        st.sampled_from(["", "A", "B"]), st.integers(0, 9),
    ),
    min_size=1,
)  # fmt: skip


@given(rows_counted)
def test_seen_is_scanned_and_not(rows: list[tuple[float, str, Any, str, int]]) -> None:
    told = transparency([counted(*rows)])
    seen = told["submissions"]
    assert seen["seen"] == sum(row[4] for row in rows) == seen["scanned"] + seen["not_scanned"]
    assert seen["scanned"] == sum(told["scanned_by_finding"].values())
    assert seen["not_scanned"] == sum(told["not_scanned_by_status"].values())
    days = submissions([counted(*rows)])
    assert all(row["scanned"] == row["MATCH"] + row["NO_MATCH"] + row["UNKNOWN"] for row in days)
    assert sum(row["seen"] for row in days) == seen["seen"]


# ── reports ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_transparency_by_hand() -> None:
    shadow = verdict(6, "trial", "a")
    shadow.verdict.matches[0].shadow = True
    only = verdict(7, "trial", asks=common_pb2.DISPOSITION_ALLOW)
    only.verdict.matches[0].shadow = True
    aside = verdict(8)
    aside.verdict.set_aside.add(reason=common_pb2.SET_ASIDE_REASON_BENIGN)
    reports = [
        at(Event(reported=audit_pb2.Reported(report_id="r", authority=who, state=state)), 9)
        for who, state in (("NCMEC", "OPENED"), ("NCMEC", "FINISHED"), ("NCA", "OPENED"))
    ]
    told = transparency([counted(*COUNTS), *some_verdicts()[:5], shadow, only, aside, *reports])
    assert {key: told[key] for key in [*FEEDS][:11]} == {
        "submissions": {"seen": 110, "scanned": 107, "not_scanned": 3},
        "scanned_by_finding": {"MATCH": 2, "NO_MATCH": 100, "UNKNOWN": 5},
        "not_scanned_by_status": {"RESOURCE_EXHAUSTED": 3},
        "unknown_by_reason": {"LOW_QUALITY": 5},
        "verdicts_by_finding": {"MATCH": 5, "UNKNOWN": 2},
        "judged_again": 1,
        "matches_by_list": {"a": 4, "b": 2, "trial": 2},
        "matches_by_label": {"a: a1": 4, "b: b1": 2, "trial: trial1": 2},
        "shadow_matches_by_list": {"trial": 2},
        "matches_by_disposition": {"ALLOW": 1, "BLOCK": 4, "REVIEW": 1},
        "set_aside_by_reason": {"BENIGN": 1},
    }
    assert told["reports_by_authority"] == {"NCMEC": 1}
    assert told["reports_by_state"] == {"NCA: OPENED": 1, "NCMEC: FINISHED": 1, "NCMEC: OPENED": 1}


def test_every_figure_names_its_article() -> None:
    assert [*transparency([])] == [*FEEDS]
    assert all(article.startswith("Art. ") for article in FEEDS.values())


def test_what_no_event_says_is_not_made_up() -> None:
    told = transparency([verdict(1, "a"), step(2, "c", "OPEN")])
    rates = ("error_rate", "error_rate_95", "contained_error_rate", "contained_error_rate_95", "reversal_rate")
    assert [told[key] for key in (*rates, "median_handling_seconds")] == [None] * 6


def cases() -> list[Event]:
    """Five decided: c1 confirmed, c2 cleared after containment, c3 confirmed and reversed, c4 cleared without
    containment, c5 confirmed twice; and c6, which is open. Four had been contained before anybody decided."""
    return [
        verdict(0, "a", case="c1"), step(0, "c1", "OPEN"), step(10, "c1", "CONFIRM"),
        verdict(0, "a", case="c2"), step(0, "c2", "OPEN"), step(20, "c2", "CLEAR"), delivered(21, "c2", "restore"),
        delivered(0, "c3", "restrict"), step(1, "c3", "OPEN"), step(31, "c3", "CONFIRM"), step(60, "c3", "REVERSE"),
        delivered(61, "c3", "reinstate"),
        verdict(2, "a", asks=REVIEW, case="c4"), delivered(2, "c4", "restrict", "FAILED"), step(2, "c4", "OPEN"),
        step(42, "c4", "CLEAR"), delivered(43, "c4", "restrict"),
        verdict(3, "a", case="c5"), step(3, "c5", "OPEN"), step(53, "c5", "CONFIRM"), step(54, "c5", "CONFIRM"),
        step(4, "c6", "OPEN"),
    ]  # fmt: skip


def test_errors_by_hand() -> None:
    told = transparency(cases())
    assert told["decisions"] == {"CLEAR": 2, "CONFIRM": 4, "REVERSE": 1}
    assert told["cases"] == {"decided": 5, "errors": 3, "reversed": 1, "contained": 4}
    assert (told["error_rate"], told["contained_error_rate"], told["reversal_rate"]) == (3 / 5, 2 / 4, 1 / 5)
    assert told["error_rate_95"] == wilson(3, 5)
    assert told["contained_error_rate_95"] == wilson(2, 4)
    assert told["median_handling_seconds"] == 30 * 60  # of 10, 20, 30, 40 and 50 minutes


@pytest.mark.parametrize(
    ("then", "errors", "reversals"),
    [
        (["CONFIRM"], 0, 0), (["CLEAR"], 1, 0), (["CONFIRM", "CLEAR"], 1, 1), (["CLEAR", "CONFIRM"], 0, 0),
        (["CONFIRM", "REVERSE", "REINSTATE"], 1, 1), (["CONFIRM", "REVERSE", "CONFIRM"], 0, 1), (["REINSTATE"], 1, 0),
    ],
)  # fmt: skip
def test_the_latest_decision_counts(then: list[str], errors: int, reversals: int) -> None:
    told = transparency([step(minute, "c", name) for minute, name in enumerate(["OPEN", *then])])
    assert told["cases"] == {"decided": 1, "errors": errors, "reversed": reversals, "contained": 0}


@given(
    st.lists(st.tuples(st.sampled_from("cde"), st.sampled_from(["OPEN", "CONFIRM", "CLEAR", "REVERSE", "REINSTATE"])))
)
def test_no_rate_is_more_than_one(steps: list[tuple[str, str]]) -> None:
    told = transparency([step(minute, case, name) for minute, (case, name) in enumerate(steps)])
    for key in ("error_rate", "reversal_rate"):
        assert told[key] is None or 0 <= told[key] <= 1


def minute(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def test_a_case_begun_before_the_time_is_timed_from_its_beginning() -> None:
    told = transparency(cases(), minute(15), minute(35))  # c2 and c3 are decided in it; c3 is reversed after it
    assert told["cases"] == {"decided": 2, "errors": 1, "reversed": 0, "contained": 2}
    assert told["decisions"] == {"CLEAR": 1, "CONFIRM": 1}
    assert told["median_handling_seconds"] == 25 * 60


def test_a_case_whose_beginning_nobody_saw_has_no_handling_time() -> None:
    assert transparency([step(5, "c", "CONFIRM")])["median_handling_seconds"] is None


def test_times_include_their_beginning_and_not_their_end() -> None:
    events = [
        counted((0, "x", NO_MATCH, "", 1), (1, "x", NO_MATCH, "", 10), (2, "x", NO_MATCH, "", 100)),
        verdict(0, "a"), verdict(1, "a"), verdict(1.9999, "a"), verdict(2, "a"),
    ]  # fmt: skip
    told = transparency(events, minute(1), minute(2))
    assert (told["submissions"]["seen"], told["matches_by_list"]) == (10, {"a": 2})


@given(st.integers(0, 70))
def test_two_times_side_by_side_are_one(cut: int) -> None:
    events = [counted(*COUNTS), *cases()]
    first, second = transparency(events, None, minute(cut)), transparency(events, minute(cut), None)
    whole = transparency(events)
    for key in ("submissions", "matches_by_list", "decisions", "verdicts_by_finding"):
        names = {*first[key], *second[key]}
        assert {n: first[key].get(n, 0) + second[key].get(n, 0) for n in names} == {
            n: whole[key].get(n, 0) for n in names
        }
    assert first["cases"]["decided"] + second["cases"]["decided"] == whole["cases"]["decided"]


def test_adding_one_by_one_is_the_same() -> None:
    totals = Transparency()
    for event in cases():
        totals.add(event)
    assert totals.told() == transparency(cases())


@pytest.mark.parametrize(("hits", "of"), [(0, 10), (1, 10), (5, 10), (10, 10), (3, 1000), (1, 1)])
def test_the_ends_of_wilsons_interval_solve_the_equation_that_defines_it(hits: int, of: int) -> None:
    z, share = NormalDist().inv_cdf(0.975), hits / of
    interval = wilson(hits, of)
    assert interval is not None
    for end in interval:  # Wilson 1927: as far from the share as z of its own standard errors
        assert (share - end) ** 2 == pytest.approx(z * z * end * (1 - end) / of, abs=1e-6)
    assert interval[0] < interval[1]


@given(st.integers(1, 10**6), st.data())
def test_an_interval_holds_its_share(of: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, of))
    interval = wilson(hits, of)
    assert interval is not None
    assert 0 <= interval[0] <= hits / of + 1e-12
    assert hits / of - 1e-12 <= interval[1] <= 1
    assert statistics.wilson(0, 0) is None
