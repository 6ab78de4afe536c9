"""How much is admitted at once: requests, and bytes of media. Past a bound a request is refused at once.

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

    def __init__(self, most_bytes: int, most_requests: int, *, refused: Callable[[str], None] = lambda _: None) -> None:
        """`refused` is told why one was: "requests", "bytes" or "share"."""
        self.most_bytes, self.most_requests = most_bytes, most_requests
        self._refused = refused
        self._requests: dict[Kind, Counter[str]] = {kind: Counter() for kind in Kind}  # by share
        self._totals = dict.fromkeys(Kind, 0)
        self._bytes: Counter[str] = Counter()
        self._total_bytes = 0

    def in_flight(self, kind: Kind) -> int:
        """Requests admitted now."""
        return self._totals[kind]

    @property
    def bytes_in_flight(self) -> int:
        return self._total_bytes

    @contextmanager
    def admit(self, size: int = 0, *, kind: Kind = Kind.MEDIA, share: str = "") -> Iterator[Callable[[int], None]]:
        """Holds a place for a request with `size` bytes; call what it yields with the bytes of each further part.

        Raises:
            Overloaded: there is no room; also from the call.
        """
        shares = self._requests[kind]
        if self._totals[kind] >= self.most_requests:
            raise self._overloaded("requests", f"{self._totals[kind]} requests are being answered already")
        if shares[share] >= self._most(self.most_requests, shares, share):
            raise self._overloaded("share", f"{shares[share]} requests of this caller are being answered already")
        held = 0

        def grow(by: int) -> None:
            nonlocal held
            if not by:  # who holds no bytes takes no part in their shares
                return
            # One alone is always admitted: what it may hold is bounded by the largest media accepted.
            if self._total_bytes > held:
                if self._total_bytes + by > self.most_bytes:
                    raise self._overloaded("bytes", f"{self._total_bytes >> 20} MiB of media are held already")
                if self._bytes[share] > held and self._bytes[share] + by > self._most(
                    self.most_bytes, self._bytes, share
                ):
                    raise self._overloaded("share", f"{self._bytes[share] >> 20} MiB of this caller's are held already")
            self._total_bytes += by
            self._bytes[share] += by
            held += by

        shares[share] += 1
        self._totals[kind] += 1
        try:
            grow(size)
            yield grow
        finally:
            self._totals[kind] -= 1
            self._total_bytes -= held
            _take(shares, share, 1)
            _take(self._bytes, share, held)

    def _overloaded(self, why: str, text: str) -> Overloaded:
        self._refused(why)
        return Overloaded(text, retry_after=RETRY_SECONDS)

    @staticmethod
    def _most(bound: int, shares: Counter[str], share: str) -> int:
        there = len(shares) + (share not in shares)
        return max(1, int(bound * ALONE) if there == 1 else bound // there)


def _take(counts: Counter[str], share: str, number: int) -> None:
    counts[share] -= number
    if counts[share] <= 0:
        del counts[share]
