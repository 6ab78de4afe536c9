"""What may be destroyed: against a loop over what keeps it, and over random lives of holds."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from workflow.holding import LAW, START, TWO, days, placed

from hashmatch.errors import HashmatchError, Malformed, Refused
from hashmatch.workflow.destruction import (
    DestroyRequest,
    Keeping,
    Record,
    certificate,
    destructible,
    keep_until,
)
from hashmatch.workflow.hold import lift_where_lawful, release, renew, supersede
from hashmatch.workflow.hold_table import RULES, Basis, Kind, Part

MEDIA = Record(case_id="c1", part=Part.MEDIA, retain_until=None)
REQUEST = DestroyRequest(case_id="c1", reference="LE-7", received_at=START, verified_by="ana", approved_by_counsel="di")
DIGEST = bytes(32)

ENDED = {
    "none": lambda hold: hold,
    "released": lambda hold: replace(hold, released_at=START, released_by=TWO),
    "superseded": lambda hold: replace(hold, released_at=START, superseded_by="h9"),
}


def a_hold(kind, shift, ended, number):
    at = START + days(shift)
    hold = placed(kind, id=f"h{number}", now=at, **({"since": at} if kind in LAW else {}))
    return ENDED[ended](hold)


HOLDS = st.lists(
    st.tuples(st.sampled_from(Kind), st.integers(-3000, 3000), st.sampled_from(sorted(ENDED))), max_size=8
).map(lambda drawn: [a_hold(*one, number) for number, one in enumerate(drawn)])
TIMES = st.integers(-4000, 4000).map(lambda number: START + days(number))


def loop(holds, retention, part, now):
    """The longest, found the slow way: day by day, is there anything that keeps it?"""
    longest = None
    for hold in holds:
        if part in hold.covers and hold.released_at is None:
            if hold.until is None:
                return Keeping.FOREVER, None
            if hold.until >= now and (longest is None or hold.until > longest):
                longest = hold.until
    if retention is not None and retention >= now and (longest is None or retention > longest):
        longest = retention
    return (Keeping.UNTIL, longest) if longest is not None else (Keeping.FREE, None)


@given(HOLDS, st.none() | TIMES, st.sampled_from(Part), TIMES)
def test_the_longest_wins_as_a_loop_finds_it(holds, retention, part, now):
    keep = keep_until(holds, retention, now, part=part)
    assert (keep.keeping, keep.until) == loop(holds, retention, part, now)
    if keep.hold_id:
        named = next(hold for hold in holds if hold.id == keep.hold_id)
        assert named.until == keep.until
        assert named.kind in keep.why
    assert keep_until(holds, retention, now) in [keep_until(holds, retention, now, part=one) for one in Part]


@given(HOLDS, st.none() | TIMES, st.sampled_from(Part), TIMES)
def test_free_and_destructible_are_the_same(holds, retention, part, now):
    record = Record(case_id="c1", part=part, retain_until=retention)
    ruling = destructible(record, holds, now)
    keep = keep_until(holds, retention, now, part=part)
    assert ruling.allowed == (keep.keeping is Keeping.FREE)
    standing = [hold for hold in holds if part in hold.covers and hold.holds(now)]
    assert len(ruling.why_not) == len(standing) + (retention is not None and now <= retention)
    assert all(any(hold.id in why for why in ruling.why_not) for hold in standing)
    if keep.until is not None:  # inclusive, to the microsecond
        assert not destructible(record, holds, keep.until).allowed
        assert destructible(record, holds, keep.until + timedelta(microseconds=1)).allowed


def test_a_hold_beats_all_and_is_named():
    keep = keep_until([placed(), placed(Kind.LITIGATION, id="h2")], START + days(9999), START)
    assert (keep.keeping, keep.until, keep.hold_id) == (Keeping.FOREVER, None, "h2")
    assert keep_until([], None, START).why == "nothing keeps it"
    hold = placed()
    assert keep_until([hold], hold.until, START).hold_id == "h1"
    assert keep_until([hold], hold.until + days(1), START).why == "our own retention"


def test_a_reference_outlives_the_media():
    holds = [placed(Kind.UK_REPORT), placed(Kind.UK_REFERENCE, id="h2")]
    now = START + days(800)
    assert destructible(MEDIA, holds, now).allowed
    assert not destructible(replace(MEDIA, part=Part.REPORT_REFERENCE), holds, now).allowed


# ── random lives ────────────────────────────────────────────────────────────────────────────────────────────────────

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["place", "renew", "release", "release alone", "supersede", "clear"]),
        st.sampled_from(Kind),
        st.integers(0, 20),
        st.integers(0, 20),
        st.integers(-600, 900),  # days that the clock moves, back too
    ),
    min_size=1,
    max_size=25,
)


def live(name, kind, one, other, holds, now, seen):
    """One step; what it did to `holds`, a dict by id, or nothing where it is refused."""
    if name == "place":
        since = {"since": now} if kind in LAW else {}
        hold = placed(kind, id=f"h{len(holds)}", now=now, latest_seen=seen, **since)
        holds[hold.id] = hold
        return
    if name == "clear":
        for hold in lift_where_lawful(holds.values(), now, by="ana", latest_seen=seen).lifted:
            holds[hold.id] = hold
        return
    if not holds:
        return
    hold, second = (list(holds.values())[number % len(holds)] for number in (one, other))
    if name == "renew":
        holds[hold.id] = renew(hold, by="cy", reference="R-2", now=now, latest_seen=seen)
    elif name == "supersede":
        holds[hold.id] = supersede(hold, second, now, latest_seen=seen)
    else:
        by = TWO if name == "release" else ("ana",)
        holds[hold.id] = release(hold, by, "why", now, latest_seen=seen)


@settings(max_examples=300)
@given(STEPS)
def test_nothing_held_is_ever_destructible_whatever_happens(steps):
    holds, now, seen, owed = {}, START, START, {}
    for name, kind, one, other, moved in steps:
        now += days(moved)
        before = dict(holds)
        try:
            live(name, kind, one, other, holds, now, seen)
        except HashmatchError:
            assert holds == before
        seen = max(seen, now)
        for hold in holds.values():
            known = before.get(hold.id)
            if known is None:
                if hold.rule.basis is Basis.LAW:
                    for part in hold.covers:  # that law wants this part kept until then, whatever follows
                        owed[part] = max(owed.get(part, hold.until), hold.until)
                continue
            if known.until is not None:
                assert hold.until >= known.until
            if hold.released and not known.released:
                asked = known.rule.basis in (Basis.AUTHORITY, Basis.COURT)
                assert len(set(hold.released_by)) >= (2 if asked else 0)
        for part in Part:
            ruling = destructible(replace(MEDIA, part=part), holds.values(), now, latest_seen=seen)
            standing = [h for h in holds.values() if h.holds(now) and part in h.covers]
            assert ruling.allowed == (not standing and now == seen)
            if part in owed and now <= owed[part]:
                assert not ruling.allowed


@given(HOLDS, TIMES, st.integers(1, 3000))
def test_going_back_in_time_frees_nothing(holds, now, back):
    record = replace(MEDIA, retain_until=START)
    if not destructible(record, holds, now).allowed:
        assert not destructible(record, holds, now - days(back)).allowed
    ruling = destructible(record, holds, now - days(back), latest_seen=now)
    assert ruling.why_not[0].startswith("the clock went back")


# ── requests to destroy ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_request_to_destroy_sets_our_own_retention_aside():
    kept = replace(MEDIA, retain_until=START + days(100))
    assert destructible(kept, [], START).why_not == ("our own retention keeps it until 2026-06-09 12:00 UTC",)
    assert destructible(kept, [], START, request=REQUEST).allowed


@pytest.mark.parametrize("kind", list(Kind))
def test_and_no_hold(kind):
    covering = placed(kind)
    record = replace(MEDIA, part=Part.MEDIA)
    allowed = destructible(record, [covering], START, request=REQUEST).allowed
    assert allowed == (Part.MEDIA not in RULES[kind].covers)


@pytest.mark.parametrize(
    ("changed", "part", "why"),
    [
        ({"case_id": "c2"}, Part.MEDIA, "another case"),
        ({}, Part.ACCOUNT_DATA, "media alone"),
        ({}, Part.REPORT_REFERENCE, "media alone"),
        ({"reference": ""}, Part.MEDIA, "no reference"),
        ({"verified_by": " "}, Part.MEDIA, "verified"),
        ({"approved_by_counsel": ""}, Part.MEDIA, "counsel"),
        ({"received_at": START + days(1)}, Part.MEDIA, "future"),
    ],
)
def test_every_condition_of_a_request(changed, part, why):
    record = replace(MEDIA, part=part, retain_until=START + days(100))
    ruling = destructible(record, [], START, request=replace(REQUEST, **changed))
    assert why in ruling.why_not[0]
    assert "our own retention" in ruling.why_not[1]
    # What may go anyway is still not destroyed in the name of a request that does not stand.
    assert not destructible(replace(record, retain_until=None), [], START, request=replace(REQUEST, **changed)).allowed


# ── certificates ────────────────────────────────────────────────────────────────────────────────────────────────────


def certify(holds=(), now=START, **changed):
    wanted = {"key_ids": ("k2", "k1", "k1"), "digests": (DIGEST,), "ground": "its time is over", "by": TWO}
    return certificate(MEDIA, list(holds), now, **wanted | changed)


def test_a_certificate_says_what_was_destroyed_and_by_whom():
    ended = [
        release(placed(Kind.LITIGATION), TWO, "settled", START),
        placed(id="h2", since=START - days(500)),
        supersede(placed(Kind.UNFINISHED_REPORT, id="h3"), placed(id="h4"), START),
        placed(Kind.UK_REFERENCE, id="h5"),  # keeps another part
    ]
    made = certify(ended, request=REQUEST)
    assert (made.key_ids, made.digests, made.by, made.at) == (("k1", "k2"), (DIGEST,), TWO, START)
    assert made.request_reference == "LE-7"
    assert made.ended == (
        "LITIGATION h1: released",
        "US_REPORT h2: its time is over",
        "UNFINISHED_REPORT h3: h4 took its place",
    )
    assert repr(made) == "<destroyed MEDIA of c1: 2 keys, 1 digests>"
    assert "LE-7" not in repr(REQUEST)


def test_there_is_no_certificate_for_what_is_kept():
    with pytest.raises(Refused, match=r"US_REPORT h1 .*; LITIGATION h2"):
        certify([placed(), placed(Kind.LITIGATION, id="h2")])
    with pytest.raises(Refused, match="clock"):
        certify(latest_seen=START + days(1))


@pytest.mark.parametrize("by", [("ana",), ("ana", "Ana"), ("ana", "anonymous"), ()])
def test_a_certificate_takes_two_persons(by):
    with pytest.raises(Refused):
        certify(by=by)


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"digests": (b"short",)}, "digests"),
        ({"digests": (), "key_ids": ()}, "key_ids"),
        ({"key_ids": ("",)}, "key_ids"),
        ({"key_ids": [f"k{n}" for n in range(10_001)]}, "key_ids"),
        ({"ground": ""}, "ground"),
        ({"now": datetime(2026, 1, 1)}, "now"),
    ],
)
def test_what_certifies_nothing(changed, field):
    with pytest.raises(Malformed) as raised:
        certify(**changed)
    assert raised.value.field == field
