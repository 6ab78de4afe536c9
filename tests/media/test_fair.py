"""The queue that serves callers in turn, against a plain model of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hashmatch.media.fair import FairQueue

SHARES = st.sampled_from("abc")


def drained(queue):
    found = []
    while (item := queue.take()) is not None:
        found.append(item)
    return found


def test_shares_take_turns_and_keep_their_order():
    queue = FairQueue()
    for i in range(5):
        queue.put(f"a{i}", "a")
    queue.put("b0", "b")
    queue.put("urgent", "", urgent=True)
    assert len(queue) == 7
    assert drained(queue) == ["urgent", "a0", "b0", "a1", "a2", "a3", "a4"]


def test_room_is_made_by_who_has_most_waiting():
    queue = FairQueue()
    for i in range(3):
        queue.put(f"a{i}", "a")
    assert queue.yields("b")
    assert queue.displace("b") == "a2"
    queue.put("b0", "b")
    assert not queue.yields("b")  # a has two, b has one: that is even enough
    assert queue.displace("b") is None
    assert queue.displace("a") is None


def test_room_is_made_by_who_was_served_most_lately():
    now = [0.0]
    queue = FairQueue(lambda: now[0])
    for i in range(3):
        queue.put(f"a{i}", "a")
        queue.take()
    queue.put("a3", "a")
    queue.put("b0", "b")
    assert queue.displace("a") is None
    assert queue.displace("c") == "a3"  # b waits as a does, and has had nothing yet
    now[0] = 60.0
    queue.put("a4", "a")
    assert queue.displace("c") is None  # what is long past counts no more


@given(st.lists(st.tuples(st.sampled_from(["put", "take", "remove", "displace"]), SHARES), max_size=60))
def test_nothing_is_lost_and_nothing_comes_twice(steps):
    queue, waiting, number = FairQueue(), {}, 0
    for what, share in steps:
        if what == "put":
            queue.put(number, share)
            waiting[number] = share
            number += 1
        elif what == "take":
            item = queue.take()
            assert (item is None) == (not waiting)
            if item is not None:
                mine = waiting.pop(item)
                assert all(other > item for other, s in waiting.items() if s == mine)
        elif what == "remove" and waiting:
            item = next(iter(waiting))
            queue.remove(item, waiting.pop(item))
        elif what == "displace":
            item = queue.displace(share)
            if item is not None:
                assert waiting.pop(item) != share
        assert len(queue) == len(waiting)
    assert sorted(drained(queue)) == sorted(waiting)
