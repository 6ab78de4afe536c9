"""Bounds on what is held at once, and what each caller may have of them."""

from __future__ import annotations

from contextlib import ExitStack, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashmatch.errors import Overloaded
from hashmatch.server.admission import Admission, Kind


def test_bytes_and_requests_are_bounded_and_given_back():
    admission = Admission(most_bytes=100, most_requests=3, most_spooled=100)
    with admission.admit(60, share="a"):
        with pytest.raises(Overloaded, match="media are held") as refused, admission.admit(50, share="b"):
            pass
        assert refused.value.retry_after > 0
        with (
            admission.admit(20, share="b"),
            admission.admit(10, share="c"),
            pytest.raises(Overloaded, match="3 requests"),
            admission.admit(share="d"),
        ):
            pass
    with admission.admit(100):
        pass


def test_an_upload_grows_while_it_arrives_and_is_refused_in_the_middle():
    admission = Admission(most_bytes=100, most_requests=10, most_spooled=100)
    with admission.admit(50, share="a"), admission.admit(share="b") as grow:
        grow(30)
        with pytest.raises(Overloaded):
            grow(30)
    with admission.admit(100):
        pass
    assert admission.held.total == 0


def test_one_alone_is_always_admitted():
    with Admission(most_bytes=100, most_requests=1, most_spooled=100).admit(500) as grow:
        grow(500)


def test_look_ups_are_admitted_while_media_is_full():
    admission = Admission(most_bytes=100, most_requests=1, most_spooled=100)
    with admission.admit(100), admission.admit(kind=Kind.LOOKUP, share="b"):
        assert (admission.in_flight(Kind.MEDIA), admission.in_flight(Kind.LOOKUP)) == (1, 1)


def test_who_has_most_is_refused_and_who_comes_next_is_not():
    refused = []
    admission = Admission(most_bytes=1 << 30, most_requests=8, most_spooled=100, refused=refused.append)
    with ExitStack() as held:
        for _ in range(6):
            held.enter_context(admission.admit(share="greedy"))
        with pytest.raises(Overloaded, match="of this caller"):
            held.enter_context(admission.admit(share="greedy"))
        held.enter_context(admission.admit(share="other"))
        held.enter_context(admission.admit(share="third"))
        with pytest.raises(Overloaded):
            held.enter_context(admission.admit(share="greedy"))
    assert refused == ["share", "requests"]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 60), st.booleans()), max_size=40))
def test_what_is_given_back_is_what_was_taken(steps):
    admission = Admission(most_bytes=100, most_requests=5, most_spooled=100)
    with ExitStack() as held:
        for share, size, lookup in steps:
            kind = Kind.LOOKUP if lookup else Kind.MEDIA
            with suppress(Overloaded):
                held.enter_context(admission.admit(0 if lookup else size, kind=kind, share=share))
            assert admission.in_flight(kind) <= 5
            assert admission.held.total <= 100
    assert (admission.in_flight(Kind.MEDIA), admission.in_flight(Kind.LOOKUP), admission.held.total) == (0, 0, 0)
