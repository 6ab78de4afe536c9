"""Which events a question finds, against a plain reading of it; and every event in one line."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from logs import NOON, match, workflow

from hashmatch.audit import query
from hashmatch.audit.brief import actor, actors, brief
from hashmatch.audit.query import MAX_CHARS, TYPES, Query, band, of_request
from hashmatch.errors import Malformed
from hashmatch.v1 import audit_pb2, common_pb2
from hashmatch.v1.audit_pb2 import Event
from hashmatch.v1.log_pb2 import ListEventsRequest

LISTS, ENTRIES, PEOPLE, CASES = ("a", "b"), ("e1", "e2"), ("ann", "bob"), ("c1", "c2")


@st.composite
def verdicts(draw: st.DrawFn) -> Event:
    event = Event()
    v = event.verdict
    v.finding = draw(st.sampled_from(common_pb2.Finding.values()))
    v.case_id = draw(st.sampled_from(("", *CASES)))
    v.subject.content_id, v.subject.uploader_id = draw(st.sampled_from(("", "k"))), draw(st.sampled_from(("", "u")))
    one = st.tuples(st.sampled_from(LISTS), st.sampled_from(ENTRIES), st.integers(0, 31))
    for name, entry, distance in sorted(draw(st.lists(one, max_size=3)), key=lambda found: found[2]):
        v.matches.add(list=name, entry_id=entry, distance=distance)
    for name, entry, distance in draw(st.lists(one, max_size=1)):
        v.set_aside.add().match.MergeFrom(common_pb2.Match(list=name, entry_id=entry, distance=distance))
    return event


person, listed, entry, case = map(st.sampled_from, (PEOPLE, LISTS, ENTRIES, CASES))
others = st.one_of(
    st.builds(
        audit_pb2.ListChanged, list=listed, entry_id=entry, by=person, approver=st.sampled_from(("", *PEOPLE))
    ).map(lambda fact: Event(list_changed=fact)),
    st.builds(audit_pb2.EntryHeld, list=listed, entry_id=entry).map(lambda fact: Event(entry_held=fact)),
    st.builds(audit_pb2.Granted, case_id=case, to=person, by=st.lists(person, max_size=2)).map(
        lambda fact: Event(granted=fact)
    ),
    st.builds(audit_pb2.Revealed, case_id=case, by=person).map(lambda fact: Event(revealed=fact)),
    st.just(Event()),
)


@st.composite
def events(draw: st.DrawFn) -> Event:
    event = draw(st.one_of(verdicts(), others))
    event.at.FromDatetime(NOON + timedelta(hours=draw(st.integers(0, 3))))
    return event


moments = st.none() | st.integers(0, 3).map(lambda hours: NOON + timedelta(hours=hours))
bands = st.just((None, None)) | st.tuples(st.none() | st.integers(0, 31), st.none() | st.integers(0, 31)).filter(
    lambda two: None in two or two[0] <= two[1]  # type: ignore[operator]
)


@st.composite
def queries(draw: st.DrawFn) -> Query:
    least, most = draw(bands)
    return Query(
        since=draw(moments), until=draw(moments), content_id=draw(st.sampled_from(("", "k"))),
        uploader_id=draw(st.sampled_from(("", "u"))), list=draw(st.sampled_from(("", *LISTS))),
        entry_id=draw(st.sampled_from(("", *ENTRIES))), actor=draw(st.sampled_from(("", *PEOPLE))),
        case_id=draw(st.sampled_from(("", *CASES))), types=frozenset(draw(st.sets(st.sampled_from(TYPES), max_size=2))),
        finding=draw(st.sampled_from(common_pb2.Finding.values())), least=least, most=most,
    )  # fmt: skip


def loop(q: Query, event: Event) -> bool:
    """Every condition by itself, in the plainest words."""
    kind, v = event.WhichOneof("fact"), event.verdict
    at = event.at.ToDatetime(UTC)
    if (q.since and at < q.since) or (q.until and not at < q.until) or (q.types and kind not in q.types):
        return False
    if (q.finding and v.finding != q.finding) or (q.uploader_id and v.subject.uploader_id != q.uploader_id):
        return False
    if q.content_id and q.content_id != v.subject.content_id:
        return False
    did = [*event.granted.by, event.revealed.by, event.list_changed.by, event.list_changed.approver]
    if q.actor and q.actor not in did:
        return False
    if q.case_id and q.case_id not in (v.case_id, event.granted.case_id, event.revealed.case_id):
        return False
    counted = [(m.list, m.entry_id, m.distance) for m in v.matches]
    aside = [(one.match.list, one.match.entry_id, 0) for one in v.set_aside]
    changed = [(fact.list, fact.entry_id, 0) for fact in (event.list_changed, event.entry_held) if fact.list]

    def about(found: list[tuple[str, str, int]]) -> list[int]:
        return [far for name, one, far in found if q.list in ("", name) and q.entry_id in ("", one)]

    if (q.list or q.entry_id) and not about(counted + aside + changed):
        return False
    if q.least is None and q.most is None:
        return True
    near = about(counted)
    return bool(near) and (q.least or 0) <= min(near) <= (256 if q.most is None else q.most)


@given(queries(), events())
def test_a_query_accepts_what_a_loop_accepts(q: Query, event: Event) -> None:
    assert q.accepts(event) == loop(q, event)


@given(queries(), events())
def test_a_query_changes_no_event(q: Query, event: Event) -> None:
    before = event.SerializeToString(deterministic=True)
    q.accepts(event)
    assert event.SerializeToString(deterministic=True) == before


def two_lists() -> Event:
    event = Event(verdict=match(1))
    event.verdict.ClearField("matches")
    event.verdict.matches.add(list="near", entry_id="e1", distance=3)
    event.verdict.matches.add(list="far", entry_id="e2", distance=28)
    return event


@pytest.mark.parametrize(
    ("name", "least", "most", "found"),
    [
        ("", 0, 10, True), ("", 25, 31, False), ("near", 0, 10, True), ("near", 25, 31, False),
        ("far", 25, 31, True), ("far", 0, 10, False), ("far", 28, 28, True), ("far", None, 27, False),
    ],
)  # fmt: skip
def test_the_distance_is_that_of_the_list_asked_for(name: str, least: int | None, most: int, found: bool) -> None:
    assert Query(list=name, least=least, most=most).accepts(two_lists()) is found


def test_who_agreed_is_found_like_who_did() -> None:
    granted = Event(granted=audit_pb2.Granted(case_id="c", to="ann", by=["bob", "eve"]))
    assert (actors(granted), actor(granted)) == (("bob", "eve"), "bob, eve")
    assert [Query(actor=name).accepts(granted) for name in ("bob", "eve", "ann", "bob, eve")] == [
        True, True, False, False,
    ]  # fmt: skip
    for fact in ("list_changed", "entry_released", "erased"):
        event = Event()
        getattr(event, fact).by, getattr(event, fact).approver = "ann", "bob"
        assert actors(event) == ("ann", "bob")
    assert actors(Event()) == actors(Event(verdict=match(1))) == ()


# ── parsing ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "want"), [("0-10", (0, 10)), ("25-31", (25, 31)), ("12", (12, 12)), ("13-", (13, None))]
)
def test_band(text: str, want: tuple[int, int | None]) -> None:
    assert band(text) == want


@pytest.mark.parametrize("text", ["", "-", "-5", "near", "1-2-3", "²-3", "٣-٤", " 1-2", "1-2\n", "9" * 5000])
def test_no_band(text: str) -> None:
    with pytest.raises(Malformed, match="distance: "):
        band(text)


def far_future(request: ListEventsRequest, field: str) -> None:
    getattr(request, field).seconds = 10**15


@pytest.mark.parametrize(
    ("field", "spoil"),
    [
        ("finding", lambda r: setattr(r, "finding", 77)),
        ("types", lambda r: r.types.append("nothing")),
        ("since", lambda r: far_future(r, "since")),
        ("until", lambda r: far_future(r, "until")),
        ("actor", lambda r: setattr(r, "actor", "x" * (MAX_CHARS + 1))),
        ("content_id", lambda r: setattr(r, "content_id", "x" * (MAX_CHARS + 1))),
        ("most_distance", lambda r: (setattr(r, "least_distance", 2), setattr(r, "most_distance", 1))),
    ],
)
def test_a_bad_request_names_its_field(field: str, spoil: Callable[[Any], object]) -> None:
    request = ListEventsRequest()
    spoil(request)
    with pytest.raises(Malformed) as e:
        of_request(request)
    assert e.value.field == field


def test_a_request_asks_for_what_it_says() -> None:
    request = ListEventsRequest(
        content_id="k", uploader_id="u", list="a", entry_id="e1", actor="ann", case_id="c1", types=["verdict"],
        finding=common_pb2.FINDING_MATCH, least_distance=0, most_distance=0,
    )  # fmt: skip
    request.since.FromDatetime(NOON)
    want = Query(NOON, None, "k", "u", "a", "e1", "ann", "c1", frozenset({"verdict"}), common_pb2.FINDING_MATCH, 0, 0)
    assert of_request(request) == want
    assert of_request(ListEventsRequest()) == Query()


# ── for the record ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_query_described() -> None:
    asked = Query(
        NOON, NOON + timedelta(days=1), "secret-1", "secret-2", "a", "e1", "ann", "c1", frozenset({"verdict", "gap"}),
        common_pb2.FINDING_MATCH, 25, None,
    )  # fmt: skip
    assert asked.described() == (
        "since 2026-03-01T12:00:00+00:00, until 2026-03-02T12:00:00+00:00, content_id given, uploader_id given, "
        "list a, entry_id e1, actor ann, case_id c1, types gap+verdict, FINDING_MATCH, distance 25-"
    )
    assert Query().described() == ""


@given(st.text("0123456789XYZ", min_size=8), st.text("0123456789XYZ", min_size=8), queries())
def test_no_personal_value_is_described(content: str, uploader: str, rest: Query) -> None:
    asked = Query(list=rest.list, types=rest.types, content_id=content, uploader_id=uploader)
    assert content not in asked.described()
    assert uploader not in asked.described()
    assert asked.opens


# ── in one line ─────────────────────────────────────────────────────────────────────────────────────────────────────


def fact_of(name: str) -> Event:
    event = Event()
    getattr(event, name).SetInParent()
    return event


@pytest.mark.parametrize("name", TYPES)
def test_every_fact_has_one_line(name: str) -> None:
    empty = brief(fact_of(name))
    assert empty
    assert empty != brief(Event())
    full = fact_of(name)
    for field in full.DESCRIPTOR.fields_by_name[name].message_type.fields:
        if field.type == field.TYPE_STRING and not field.is_repeated:
            setattr(getattr(full, name), field.name, "two\nlines\r\nand\u2028more")
    assert len(brief(full).splitlines()) == 1


def test_every_type_is_a_fact() -> None:
    assert set(TYPES) == {field.name for field in Event.DESCRIPTOR.fields} - {"sequence", "at", "sealed"}


@pytest.mark.parametrize("event", [*workflow(), Event(verdict=match(1))], ids=lambda event: event.WhichOneof("fact"))
def test_nothing_personal_is_in_the_line(event: Event) -> None:
    line = brief(event)
    assert not any(word in line for word in ("someone", "content-", bytes(30).hex()))


@pytest.mark.parametrize("name", ["list_changed", "gap"])
def test_a_kind_of_a_later_version_is_shown_as_its_number(name: str) -> None:
    event = fact_of(name)
    getattr(event, name).kind = 99
    assert "99" in brief(event)
    assert query.Query().accepts(event)


def test_a_fact_of_a_later_version_has_a_line() -> None:
    assert brief(Event(at=fact_of("stopped").at)) == "an event of a later version"


def test_times_are_compared_in_any_zone() -> None:
    event = Event(verdict=match(1))
    event.at.FromDatetime(NOON)
    assert Query(since=datetime.fromisoformat("2026-03-01T13:00:00+01:00")).accepts(event)
    assert not Query(until=datetime.fromisoformat("2026-03-01T13:00:00+01:00")).accepts(event)
