"""When what was not taken is sent again, and when an endpoint is left alone for a while. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

DELAYS: Final = (5, 30, 300, 1800, 7200, 18_000, 36_000, 50_400)  # seconds: 31.6 h in all, as Standard Webhooks wants
JITTER = 0.2  # of a delay, at most, so that those who failed together do not come back together

FAILURES = 5  # in a row, after which an endpoint is left alone
PAUSES: Final = (30, 60, 120, 300)  # seconds, growing with every probe that fails


def again(attempts: int, *, now: datetime, jitter: float, retry_after: float | None = None) -> datetime | None:
    """When a message is sent again of which so many attempts failed; None: it is given up.

    Args:
        jitter: from 0 to below 1.
        retry_after: seconds that the other side wants to be left alone; a floor.
    """
    if attempts > len(DELAYS):
        return None
    seconds = DELAYS[attempts - 1] * (1 + JITTER * jitter)
    return now + timedelta(seconds=max(seconds, retry_after or 0.0))


@dataclass(frozen=True, slots=True)
class Breaker:
    """Whether an endpoint is tried: closed it is, open it is not before `until`; then one message tries it."""

    failures: int = 0  # in a row
    opened: int = 0  # times, in a row
    until: datetime | None = None

    def lets_through(self, now: datetime) -> bool:
        return self.until is None or now >= self.until

    def succeeded(self) -> Breaker:
        return Breaker()

    def failed(self, now: datetime) -> Breaker:
        """After one more failure; those of calls that were under way when it opened say nothing new."""
        if self.until is not None and now < self.until:
            return self
        failures = self.failures + 1
        if failures < FAILURES and not self.opened:
            return replace(self, failures=failures)
        pause = PAUSES[min(self.opened, len(PAUSES) - 1)]
        return Breaker(failures, self.opened + 1, now + timedelta(seconds=pause))
