"""When what was not taken is sent again, and when an endpoint is left alone for a while. Pure.

Times are of the wall clock, which may be set. What is to be later than it ever can be was written before the clock was
set back, and is now. One that is set forward costs no more than one attempt before its time: an instruction is given up
for attempts that were made, never for its age.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

DELAYS: Final = (5, 30, 300, 1800, 7200, 18_000, 36_000, 50_400)  # seconds: 31.6 h in all, as Standard Webhooks wants
JITTER = 0.2  # of a delay, at most, so that those who failed together do not come back together

FAILURES = 5  # in a row, after which an endpoint is left alone
PAUSES: Final = (30, 60, 120, 300)  # seconds, growing with every probe that fails

LONGEST: Final = timedelta(seconds=DELAYS[-1] * (1 + JITTER))  # that anything is ever put off
LONGEST_PAUSE: Final = timedelta(seconds=PAUSES[-1])


def is_time(at: datetime, now: datetime, longest: timedelta = LONGEST) -> bool:
    """Whether it is time for what was put off until then, by no more than `longest`."""
    return not now < at <= now + longest


def again(attempts: int, *, now: datetime, jitter: float, retry_after: float | None = None) -> datetime | None:
    """When a message is sent again of which so many attempts failed; None: it is given up.

    Args:
        jitter: from 0 to below 1.
        retry_after: seconds that the other side wants to be left alone; a floor, up to LONGEST.
    """
    if attempts > len(DELAYS):
        return None
    seconds = DELAYS[attempts - 1] * (1 + JITTER * jitter)
    return now + min(timedelta(seconds=max(seconds, retry_after or 0.0)), LONGEST)


@dataclass(frozen=True, slots=True)
class Breaker:
    """Whether an endpoint is tried: closed it is, open it is not before `until`; then one message tries it."""

    failures: int = 0  # in a row
    opened: int = 0  # times, in a row
    until: datetime | None = None

    def lets_through(self, now: datetime) -> bool:
        return self.until is None or is_time(self.until, now, LONGEST_PAUSE)

    def succeeded(self) -> Breaker:
        return Breaker()

    def failed(self, now: datetime) -> Breaker:
        """After one more failure; those of calls that were under way when it opened say nothing new."""
        if not self.lets_through(now):
            return self
        failures = self.failures + 1
        if failures < FAILURES and not self.opened:
            return replace(self, failures=failures)
        pause = PAUSES[min(self.opened, len(PAUSES) - 1)]
        return Breaker(failures, self.opened + 1, now + timedelta(seconds=pause))
