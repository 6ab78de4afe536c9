"""Those who wait for something that is lent out and comes back: who waits, for how long at most, and who is refused.

A burst may wait long, but not for ever: who could foreseeably not be served in time is refused at once, since a full
line would only make every answer late. Where that happens often the load is more than can be done, and the line is kept
short until it no longer does; it is then just long enough that what is lent out never lies idle. A few refusals are
none of that: a caller with a few more under way than a short line holds would otherwise keep it short for himself.

How long is long goes by time, but a few for each of what is lent out may always wait, however slow it has become: a
caller with so many under way at once is no overload.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from hashmatch.errors import HashmatchError, Overloaded
from hashmatch.media.fair import FairQueue

SHORT_SECONDS = 0.02  # of foreseen wait while there is too much: some three small pictures for each worker
ALWAYS, ALWAYS_SHORT = 16, 2  # who may wait for each of what is lent out, in any case; while there is too much
# Refusals of late, each counting half after so many seconds. Under real overload one comes every few milliseconds, and
# there are dozens; eight callers in a closed loop were refused some fifteen times a second, which is about two.
FADING_SECONDS, TOO_MANY = 0.1, 4.0
LEAST_RETRY_SECONDS = 0.1
MEMORY = 32  # uses that the mean is about

T = TypeVar("T")


class Line(Generic[T]):
    """A line of callers, by share. One event loop owns it."""

    def __init__(
        self,
        servers: int,
        limit: int,
        seconds: float,
        give_back: Callable[[T], None],
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            servers: how many are served at once.
            limit: callers who may wait.
            seconds: how long the last of them may foreseeably have to.
            give_back: told what a caller was handed who had left by then.
        """
        self.limit, self.seconds = limit, seconds
        self._servers, self._give_back = servers, give_back
        self._now = now
        self._waiting: FairQueue[asyncio.Future[T]] = FairQueue(now)
        self._mean_seconds = 0.01  # of one use, a moving average
        self._refusals, self._refused_at = 0.0, 0.0  # of late, as of then in monotonic seconds

    def __len__(self) -> int:
        return len(self._waiting)

    def used(self, seconds: float) -> None:
        """What was lent out came back after `seconds`."""
        self._mean_seconds += (seconds - self._mean_seconds) / MEMORY

    @property
    def foreseen_wait(self) -> float:
        """Seconds that one more would wait, by the mean of those before."""
        return (len(self._waiting) + 1) * self._mean_seconds / self._servers

    def full(self, share: str) -> bool:
        """Whether one more of this share would be refused now."""
        return self._too_long and not self._waiting.yields(share)

    @property
    def _too_long(self) -> bool:
        bearable, always = self.seconds, ALWAYS
        if self._lately() >= TOO_MANY:
            bearable, always = min(bearable, SHORT_SECONDS), ALWAYS_SHORT
        waiting = len(self._waiting)
        return waiting >= self.limit or (waiting >= always * self._servers and self.foreseen_wait > bearable)

    def refusal(self) -> Overloaded:
        """Says when to come back; where there are many, keeps the line short from now on."""
        self._refusals, self._refused_at = self._lately() + 1, self._now()
        return Overloaded(retry_after=max(LEAST_RETRY_SECONDS, self.foreseen_wait))

    def _lately(self) -> float:
        return float(self._refusals * 0.5 ** ((self._now() - self._refused_at) / FADING_SECONDS))

    async def wait(self, share: str, timeout: float | None, *, first: bool = False) -> T:
        """Waits for its turn: those who wait are served in turn by `share`, and `first` before all of them.

        Where there is no more room it is made at the cost of who has most waiting.

        Raises:
            Overloaded: there is no room, or no turn within `timeout` seconds.
        """
        if not first:
            self._make_room(share, timeout)
        place: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.put(place, share, urgent=first)
        try:
            return await place
        except asyncio.CancelledError:
            self._waiting.remove(place, share)
            if place.done() and not place.cancelled() and not place.exception():
                self._give_back(place.result())  # it left as its turn came
            raise

    def _make_room(self, share: str, timeout: float | None) -> None:
        wait = self.foreseen_wait
        if timeout is not None and wait > timeout:
            raise Overloaded(
                "no worker comes free before the caller's deadline", retry_after=max(LEAST_RETRY_SECONDS, wait)
            )
        if not self._too_long:
            return
        refusal = self.refusal()
        other = self._waiting.displace(share)
        if other is None:
            raise refusal
        if not other.done():
            other.set_exception(refusal)

    def serve(self, thing: T) -> bool:
        """Hands something to whose turn it is; False where nobody waits."""
        while (place := self._waiting.take()) is not None:
            if not place.done():  # else its caller has left, and has not yet run to take its place away
                place.set_result(thing)
                return True
        return False

    def dismiss(self, error: Callable[[], HashmatchError]) -> None:
        """Sends everyone away with an error."""
        while (place := self._waiting.take()) is not None:
            if not place.done():
                place.set_exception(error())
