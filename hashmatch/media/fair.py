"""A queue that serves callers in turn, so that who sends much waits behind himself and not others behind him.

Where room must be made, it is made by who has had most: what he has waiting and what he was served lately. The queue
itself is too short for its length to tell who that is.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Generic, TypeVar

HALF_LIFE = 1.0  # seconds, of what was served
MARGIN = 2.0  # items by which another must have had more, so that equals do not push each other out
MAX_REMEMBERED = 1000  # shares; then those are forgotten that were served nothing lately

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Items by share; the shares take turns, the items of one share keep their order. One event loop owns it."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._urgent: deque[T] = deque()  # before all others
        self._shares: OrderedDict[str, deque[T]] = OrderedDict()  # the first one is next; none is empty
        self._length = 0
        self._served: dict[str, tuple[float, float]] = {}  # items that fade with time, and as of when

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
        self._remember(share)
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

    def yields(self, share: str) -> bool:
        """Whether room could be made for one of `share`: somebody is waiting who has had more by MARGIN."""
        return bool(self._shares) and self._had(self._heaviest()) >= self._had(share) + MARGIN

    def displace(self, share: str) -> T | None:
        """The newest item of who has had most, out of it, where it `yields`; else the newcomer is the one to refuse."""
        if not self.yields(share):
            return None
        heaviest = self._heaviest()
        item = self._shares[heaviest].pop()
        if not self._shares[heaviest]:
            del self._shares[heaviest]
        self._length -= 1
        return item

    def _heaviest(self) -> str:
        return max(self._shares, key=self._had)

    def _had(self, share: str) -> float:
        return len(self._shares.get(share, ())) + self._lately(share)

    def _lately(self, share: str) -> float:
        served, at = self._served.get(share, (0.0, 0.0))
        return float(served * 0.5 ** ((self._now() - at) / HALF_LIFE))

    def _remember(self, share: str) -> None:
        self._served[share] = (self._lately(share) + 1, self._now())
        if len(self._served) > MAX_REMEMBERED:
            self._served = {s: kept for s, kept in self._served.items() if self._lately(s) >= 1}
