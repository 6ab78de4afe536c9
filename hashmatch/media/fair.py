"""A queue that serves callers in turn, so that who sends much waits behind himself and not others behind him."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Items by share; the shares take turns, the items of one share keep their order. One event loop owns it."""

    def __init__(self) -> None:
        self._urgent: deque[T] = deque()  # before all others
        self._shares: OrderedDict[str, deque[T]] = OrderedDict()  # the first one is next; none is empty
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def put(self, item: T, share: str, *, urgent: bool = False) -> None:
        if urgent:
            self._urgent.append(item)
        else:
            self._shares.setdefault(share, deque()).append(item)
        self._length += 1

    def take(self) -> T | None:
        """The next item, out of it; None where it is empty."""
        if self._urgent:
            self._length -= 1
            return self._urgent.popleft()
        if not self._shares:
            return None
        share, items = self._shares.popitem(last=False)
        item = items.popleft()
        if items:
            self._shares[share] = items  # behind the others now
        self._length -= 1
        return item

    def remove(self, item: T, share: str) -> None:
        """Takes an item out, where it is still in."""
        for items in (self._urgent, self._shares.get(share)):
            if items is not None and item in items:
                items.remove(item)
                self._length -= 1
                if items is not self._urgent and not items:
                    del self._shares[share]
                return

    def displace(self, share: str) -> T | None:
        """The newest item of the share with most of them, out of it: room for one of `share`, which has fewer by two.

        None where it has not: then the newcomer is the one to refuse.
        """
        longest = max(self._shares, key=lambda s: len(self._shares[s]), default=None)
        if longest is None or len(self._shares[longest]) < len(self._shares.get(share, ())) + 2:
            return None
        item = self._shares[longest].pop()
        if not self._shares[longest]:
            del self._shares[longest]
        self._length -= 1
        return item
