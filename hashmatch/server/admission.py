"""How much is admitted at once: requests, bytes of media in memory, and bytes that uploads have spooled on the disk.
Past a bound a request is refused at once.

Media and look-ups by fingerprint have bounds of their own, so that the small ones flow while picture work is saturated.
No caller gets all of a bound while others are there: alone a caller may have three quarters of it, of several each an
equal part. So whoever comes next is admitted at once, and it is who has most that is refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum

from hashmatch.errors import Overloaded

RETRY_SECONDS = 0.2  # what is admitted is answered within about so long
ALONE = 0.75  # of a bound, for a caller who is alone; the rest is for who comes next


class Kind(StrEnum):
    """What is admitted apart from one another."""

    MEDIA = "media"
    LOOKUP = "lookup"


class Admission:
    """Counts what is being received or judged. One event loop owns it."""

    def __init__(
        self, most_bytes: int, most_requests: int, most_spooled: int, *, refused: Callable[[str], None] = lambda _: None
    ) -> None:
        """`refused` is told why one was: "requests", "bytes", "spooled" or "share"."""
        self.most_requests = most_requests
        self._refused = refused
        self.held = Bytes(most_bytes, "bytes", "are held", self._overloaded)
        self.spooled = Bytes(most_spooled, "spooled", "are on the disk", self._overloaded)
        self._requests: dict[Kind, Counter[str]] = {kind: Counter() for kind in Kind}  # by share
        self._totals = dict.fromkeys(Kind, 0)

    def in_flight(self, kind: Kind) -> int:
        """Requests admitted now."""
        return self._totals[kind]

    @contextmanager
    def admit(self, size: int = 0, *, kind: Kind = Kind.MEDIA, share: str = "") -> Iterator[Callable[[int], None]]:
        """Holds a place for a request with `size` bytes; call what it yields with the bytes of each further part.

        Raises:
            Overloaded: there is no room; also from the call.
        """
        shares = self._requests[kind]
        if self._totals[kind] >= self.most_requests:
            raise self._overloaded("requests", f"{self._totals[kind]} requests are being answered already")
        if shares[share] >= _most(self.most_requests, shares, share):
            raise self._overloaded("share", f"{shares[share]} requests of this caller are being answered already")
        shares[share] += 1
        self._totals[kind] += 1
        try:
            with self.held.part(share) as grow:
                grow(size)
                yield grow
        finally:
            self._totals[kind] -= 1
            _take(shares, share, 1)

    def _overloaded(self, why: str, text: str) -> Overloaded:
        self._refused(why)
        return Overloaded(text, retry_after=RETRY_SECONDS)


class Bytes:
    """Bytes of one kind that are held for callers, up to a bound. One event loop owns it."""

    def __init__(self, most: int, name: str, where: str, overloaded: Callable[[str, str], Overloaded]) -> None:
        self.most = most
        self.total = 0
        self._shares: Counter[str] = Counter()
        self._name, self._where, self._overloaded = name, where, overloaded

    @contextmanager
    def part(self, share: str) -> Iterator[Callable[[int], None]]:
        """Frees on leaving what was taken: call what it yields with the bytes of each further part, negative where
        some were freed.

        Raises:
            Overloaded: there is no room; from the call.
        """
        held = 0

        def grow(by: int) -> None:
            nonlocal held
            if not by:  # who holds no bytes takes no part in their shares
                return
            # One alone is always admitted: what it may hold is bounded by the largest media accepted.
            if by > 0 and self.total > held:
                if self.total + by > self.most:
                    raise self._overloaded(self._name, f"{self.total >> 20} MiB of media {self._where} already")
                if self._shares[share] > held and self._shares[share] + by > _most(self.most, self._shares, share):
                    raise self._overloaded("share", f"{self._shares[share] >> 20} MiB of this caller's {self._where}")
            self.total += by
            self._shares[share] += by
            held += by

        try:
            yield grow
        finally:
            self.total -= held
            _take(self._shares, share, held)


def _most(bound: int, shares: Counter[str], share: str) -> int:
    """Of a bound, for one caller beside the others that are there."""
    there = len(shares) + (share not in shares)
    return max(1, int(bound * ALONE) if there == 1 else bound // there)


def _take(counts: Counter[str], share: str, number: int) -> None:
    counts[share] -= number
    if counts[share] <= 0:
        del counts[share]
