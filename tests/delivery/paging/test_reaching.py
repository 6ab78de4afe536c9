"""Which channels of a person are asked, and what is told of those that fail."""

from __future__ import annotations

import threading

import pytest
from delivery.paging.services import note

from hashmatch.delivery.dispatch import NotTaken, RefusedForGood
from hashmatch.delivery.paging.reaching import Reached, reach, resolve
from hashmatch.errors import Malformed


class Carrier:
    """Takes notes, or fails as it was told to."""

    def __init__(self, name, fails=None, meets=None):
        self.name, self.fails, self.meets = name, fails, meets
        self.sent, self.resolved = [], []

    def send(self, told):
        self.sent.append(told.to)
        if self.meets:
            self.meets.wait(5)
        if self.fails:
            raise self.fails

    def resolve(self, told):
        self.resolved.append(told.to)
        if self.fails:
            raise self.fails

    def close(self):
        pass


def test_one_that_works_is_enough():
    first, second, third = Carrier("first", NotTaken("answered 500")), Carrier("second"), Carrier("third")
    found = reach([(first, "a"), (second, "b"), (third, "c")], note(), every=False)
    assert found == Reached(("second",), ("first: answered 500",))
    assert (first.sent, second.sent, third.sent) == (["a"], ["b"], [])


def test_all_are_asked_at_once_where_every_one_is_wanted():
    """Each waits until all have been asked: one after the other would never end."""
    meets = threading.Barrier(3)
    carriers = [Carrier(name, meets=meets) for name in ("first", "second", "third")]
    carriers[1].fails = RefusedForGood("answered 400")
    found = reach([(one, one.name) for one in carriers], note(), every=True)
    assert found == Reached(("first", "third"), ("second: answered 400",))
    assert [one.sent for one in carriers] == [["first"], ["second"], ["third"]]


@pytest.mark.parametrize("every", [False, True])
@pytest.mark.parametrize("fault", [ValueError("hunter2"), KeyError("hunter2"), Malformed("hunter2", field="to")])
def test_a_fault_of_one_channel_keeps_nobody_from_being_told_and_is_not_repeated(every, fault):
    found = reach([(Carrier("first", fault), "a"), (Carrier("second"), "b")], note(), every=every)
    assert found == Reached(("second",), (f"first: {type(fault).__name__}",))


@pytest.mark.parametrize("every", [False, True])
def test_a_contact_that_is_none_is_a_problem_of_its_channel(every):
    found = reach([(Carrier("first"), "a\r\nb"), (Carrier("second"), "b")], note(), every=every)
    assert found == Reached(("second",), ("first: Malformed",))


def test_nobody_is_reached_through_nothing():
    assert reach([], note(), every=True) == reach([], note(), every=False) == Reached((), ())


def test_every_channel_is_told_that_it_is_over():
    carriers = [Carrier("first", NotTaken("answered 500")), Carrier("second")]
    found = resolve([(one, one.name) for one in carriers], note())
    assert found == Reached(("second",), ("first: answered 500",))
    assert [one.resolved for one in carriers] == [["first"], ["second"]]
