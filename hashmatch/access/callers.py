"""Who is calling, and how much of it they may: identity from a key or a certificate, limits per key, a day's budget.

Limits per second are each server process's own; the day is counted over all of them and over restarts, brought to disk
every few seconds, so that it can be overrun by what is used in between and no more.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from hashmatch import clock
from hashmatch.access.credentials import Credential, Credentials
from hashmatch.access.probing import Pattern
from hashmatch.errors import HashmatchError, OverBudget, Unauthenticated
from hashmatch.roles import ANONYMOUS, Role

FLUSH_SECONDS = 5.0  # between two writes of the day's counts
BURST_SECONDS = 2.0  # of a limit per second that may be used at once, after a pause
SET_BACK = timedelta(days=1)  # by which a clock may be set back without another day's budget being counted
LAST_SHARE = 0.8  # of a day's budget at which its owner is warned of

trace = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a call. Anonymous callers are all one, and never two persons."""

    name: str = ANONYMOUS
    roles: frozenset[Role] = frozenset()
    credential: Credential | None = None
    peer: str = ""  # the host they call from; fair shares go by it where there is no credential

    @property
    def known(self) -> bool:
        """Whether they may do what any known caller may."""
        return bool(self.roles)

    @property
    def share(self) -> str:
        """What tells this caller's share of the server from others'."""
        return self.credential.id if self.credential else self.peer

    def has(self, role: Role) -> bool:
        return role in self.roles


CALLER: ContextVar[Caller] = ContextVar("caller", default=Caller())  # noqa: B039 - it is frozen
"""Who makes the call that is being answered."""


@dataclass(slots=True)
class _Meter:
    """What one credential uses. Guarded by the lock of `Callers`."""

    tokens: float
    filled_at: float  # monotonic seconds
    day: date
    today: int  # requests on disk and since
    unwritten: int = 0
    warned: bool = False
    pattern: Pattern = field(default_factory=Pattern)


class Callers:
    """Tells callers apart and holds them to their limits. For any thread."""

    def __init__(
        self,
        credentials: Credentials,
        *,
        auth: str = "required",
        alarm: Callable[[str], None] = lambda _: None,
        now: Callable[[], datetime] = clock.now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """With `auth` "open" whoever shows nothing is anonymous and may do everything; "auto" is so until there is any
        credential, and stays shut where the last one dies; "required" is never so. For loopback alone.

        `alarm` is told the name of every alarm: "probing", "hits", "daily".
        """
        self._credentials, self._auth, self._alarm = credentials, auth, alarm
        self._now, self._monotonic = now, monotonic
        self._lock = threading.Lock()
        self._meters: dict[str, _Meter] = {}  # by credential id
        self._flushed_at = monotonic()

    def identify(self, authorization: str, certificate_names: Iterable[str], peer: str) -> Caller:
        """Who calls. A key, where one is shown, decides; else the certificate.

        Raises:
            Unauthenticated: what is shown proves nobody, or nothing is shown and something must be.
        """
        names = list(certificate_names)
        if authorization:
            scheme, _, key = authorization.partition(" ")
            if scheme.lower() != "bearer":
                raise Unauthenticated(why="malformed")
            credential, why = self._credentials.of_key(key.strip())
        elif names:
            credential, why = self._credentials.of_certificate(names)
        elif self._asks():
            raise Unauthenticated(why="nothing shown")
        else:
            return Caller(roles=frozenset(Role), peer=peer)
        if credential is None:
            raise Unauthenticated(why=why)
        return Caller(credential.name, credential.roles, credential, peer)

    def spend(self, caller: Caller, requests: int = 1) -> None:
        """Counts calls, or items of a stream.

        Raises:
            OverBudget: the limit per second or the day's budget is used up; says when to try again.
        """
        credential = caller.credential
        if credential is None:
            return
        with self._lock:
            meter = self._meter(credential)
            now = self._monotonic()
            if credential.per_second:
                most = max(1.0, BURST_SECONDS * credential.per_second)
                meter.tokens = min(most, meter.tokens + (now - meter.filled_at) * credential.per_second)
                meter.filled_at = now
                if meter.tokens < requests:
                    wait = (requests - meter.tokens) / credential.per_second
                    raise OverBudget(f"more than {credential.per_second} requests a second", retry_after=wait)
            if credential.per_day and meter.today + requests > credential.per_day:
                raise OverBudget(
                    f"{credential.per_day} requests of today are used up", retry_after=_to_midnight(self._now())
                )
            meter.tokens -= requests
            meter.today += requests
            meter.unwritten += requests
            nearly = bool(credential.per_day) and meter.today >= LAST_SHARE * credential.per_day and not meter.warned
            meter.warned = meter.warned or nearly
        if nearly:
            self._tell("daily", caller, f"{LAST_SHARE:.0%} of the day's budget is used")

    def still(self, caller: Caller) -> None:
        """Does nothing while a caller who was let in still may: for what goes on after that, item by item.

        Raises:
            Unauthenticated: the credential was revoked since, or has expired; or by now one is asked for.
        """
        if caller.credential is None and self._asks():
            raise Unauthenticated(why="nothing shown")
        if caller.credential is not None and (why := self._credentials.dead(caller.credential.id)):
            raise Unauthenticated(why=why)

    def _asks(self) -> bool:
        """Whether callers must show something."""
        return self._auth == "required" or (self._auth == "auto" and self._credentials.any())

    def observe(self, caller: Caller, fingerprints: Iterable[tuple[str, bytes]], *, matched: bool) -> None:
        """Learns what a caller asked about and whether it matched: patterns of probing raise an alarm."""
        if caller.credential is None:
            return
        with self._lock:
            pattern = self._meter(caller.credential).pattern
            alarms = pattern.add(fingerprints, matched, self._monotonic())
        for alarm, why in alarms:
            self._tell(alarm, caller, why)

    def flush(self, *, force: bool = False) -> None:
        """Brings the day's counts to disk, where it is time; learns what other processes counted. May block."""
        with self._lock:
            if not force and self._monotonic() - self._flushed_at < FLUSH_SECONDS:
                return
            self._flushed_at = self._monotonic()
            by_day: dict[date, dict[str, int]] = {}
            for credential_id, meter in self._meters.items():
                if meter.unwritten:
                    by_day.setdefault(meter.day, {})[credential_id] = meter.unwritten
                    meter.unwritten = 0
        for day, counted in by_day.items():
            try:
                totals = self._credentials.use(counted, day)
            except HashmatchError as e:
                trace.warning("the day's counts could not be written: %s", e)
                totals = {}
            with self._lock:
                for credential_id, requests in counted.items():
                    meter = self._meters[credential_id]
                    if meter.day == day:
                        if totals:
                            meter.today = totals[credential_id] + meter.unwritten
                        else:
                            meter.unwritten += requests

    def _meter(self, credential: Credential) -> _Meter:
        today = self._now().date()
        meter = self._meters.get(credential.id)
        if meter is None or not timedelta(0) <= meter.day - today <= SET_BACK:
            # A clock that is set back a little goes on with the later day: a budget is not given twice. One that is set
            # back further had jumped ahead: to stay there would lock the caller out until that day comes.
            fresh = _Meter(
                tokens=max(1.0, BURST_SECONDS * credential.per_second),
                filled_at=self._monotonic(),
                day=today,
                today=self._credentials.used(credential.id, today) if credential.per_day else 0,
            )
            if meter is not None:
                fresh.pattern = meter.pattern
                if meter.unwritten:
                    self._credentials.use({credential.id: meter.unwritten}, meter.day)
            meter = self._meters[credential.id] = fresh
        return meter

    def _tell(self, alarm: str, caller: Caller, why: str) -> None:
        trace.warning("alarm '%s': caller '%s': %s", alarm, caller.name, why)
        self._alarm(alarm)


def _to_midnight(now: datetime) -> float:
    tomorrow = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    return (tomorrow - now).total_seconds()
