"""Who is on call, when: shifts in local time, as settings name them. Pure: the time is an argument.

A shift repeats on its weekdays between two dates. Where shifts overlap the one that is named last counts, so a leave or
a swap is one more shift at the end. Its beginning and end are read off a clock on the wall: a shift over the change to
summer time is an hour shorter, and one that ends when the next begins leaves no gap and no overlap, whatever the time
zone does between them. A time that the change skips is read as if it had not been changed; of one that comes twice the
first counts.

A gap is an error that `gaps` finds beforehand. Should one be there nevertheless, the last resort is paged.
How it is read from settings is in rota_settings.py, what is sent when in paging.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from hashmatch.errors import BadConfig, Malformed
from hashmatch.workflow.inputs import moment

WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MAX_SHIFTS: Final = 2000  # two years of three shifts a day, each written out
MAX_CHECKED: Final = timedelta(days=400)  # a year, and the weeks until somebody looks again
_DAY: Final = timedelta(days=1)


class Seat(StrEnum):
    """In which capacity somebody is on call, in the order in which they are asked."""

    PRIMARY = "primary"
    SECONDARY = "secondary"
    DUTY_MANAGER = "duty manager"


@dataclass(frozen=True, slots=True)
class OnCall:
    """Who is on call. `shift` is "" where no shift covers the time and the last resort stands in."""

    shift: str
    primary: str
    secondary: str
    duty_manager: str

    def of(self, seat: Seat) -> str:
        """Who sits there."""
        return {Seat.PRIMARY: self.primary, Seat.SECONDARY: self.secondary, Seat.DUTY_MANAGER: self.duty_manager}[seat]

    def __repr__(self) -> str:
        return f"<on call: {self.shift or 'the last resort'}>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """Hours that repeat. Ends on the next day where `until` is not after `begins`; 24 hours where they are equal."""

    name: str
    primary: str
    secondary: str
    duty_manager: str
    begins: time
    until: time
    time_zone: str  # as the IANA database names it
    days: frozenset[int] = frozenset(range(7))  # of its beginning; 0 is Monday
    first: date | None = None  # of its beginning, inclusive; None: always
    last: date | None = None

    def __post_init__(self) -> None:
        if len({self.primary, self.secondary, self.duty_manager}) < 3:
            # Who does not answer as one of them does not answer as another.
            raise BadConfig(f"rota: shift '{self.name}': want three different persons")
        if not self.days or not self.days <= set(range(7)):
            raise BadConfig(f"rota: shift '{self.name}': want days among {', '.join(WEEKDAYS)}")
        if self.first and self.last and self.last < self.first:
            raise BadConfig(f"rota: shift '{self.name}': last before first")
        _zone(self.time_zone)

    def on(self, day: date) -> tuple[datetime, datetime] | None:
        """When the shift that begins on a local day begins and ends, UTC, the end exclusive; None: none does."""
        if day.weekday() not in self.days or (self.first and day < self.first) or (self.last and day > self.last):
            return None
        return _window(day, self.begins, self.until, self.time_zone)

    def __repr__(self) -> str:
        return f"<shift {self.name}>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Quiet:
    """Hours of every day in which nobody is woken for what can wait."""

    begins: time
    until: time
    time_zone: str

    def __post_init__(self) -> None:
        if self.begins == self.until:
            raise BadConfig("rota: quiet hours: 24 hours of every day would put off everything for ever")
        _zone(self.time_zone)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rota:
    """Who is on call when, and whom to page when nobody is."""

    shifts: tuple[Shift, ...]
    last_resort: str  # paged where no shift covers the time
    quiet: Quiet | None = None

    def __post_init__(self) -> None:
        if not self.shifts or len(self.shifts) > MAX_SHIFTS:
            raise BadConfig(f"rota: want 1 to {MAX_SHIFTS} shifts")
        if not self.last_resort:
            raise BadConfig("rota: last_resort: want somebody to page where nobody is on call")

    @property
    def people(self) -> frozenset[str]:
        """Everybody who may be paged."""
        on_shifts = {name for s in self.shifts for name in (s.primary, s.secondary, s.duty_manager)}
        return frozenset(on_shifts | {self.last_resort})

    def __repr__(self) -> str:
        return f"<rota of {len(self.shifts)} shifts>"


@dataclass(frozen=True, slots=True)
class Gap:
    """A time at which nobody is on call; the end is exclusive."""

    begins: datetime
    until: datetime

    def __str__(self) -> str:
        return f"nobody is on call from {self.begins:%Y-%m-%d %H:%M} to {self.until:%Y-%m-%d %H:%M} UTC"


def on_call(rota: Rota, now: datetime) -> OnCall:
    """Who is on call; the last resort in every seat where no shift covers the time."""
    at = moment(now, "now")
    for shift in reversed(rota.shifts):
        if any(begins <= at < until for begins, until in _around(shift, at)):
            return OnCall(shift.name, shift.primary, shift.secondary, shift.duty_manager)
    return OnCall("", rota.last_resort, rota.last_resort, rota.last_resort)


def gaps(rota: Rota, begins: datetime, until: datetime) -> list[Gap]:
    """The times between two moments at which nobody is on call, in order. Any is an error in the rota.

    Raises:
        Malformed: the end is not after the beginning, or too far from it.
    """
    at, end = moment(begins, "begins"), moment(until, "until")
    if not at < end <= at + MAX_CHECKED:
        raise Malformed(f"want an end after the beginning, and within {MAX_CHECKED.days} days", field="until")
    covered = sorted(
        window
        for shift in rota.shifts
        for day in _days(at.date() - 2 * _DAY, end.date() + 2 * _DAY)
        if (window := shift.on(day)) is not None and window[0] < window[1]
    )
    found = []
    for shift_begins, shift_until in covered:
        if shift_begins >= end:
            break
        if shift_begins > at:
            found.append(Gap(at, shift_begins))
        at = max(at, shift_until)
    if at < end:
        found.append(Gap(at, end))
    return found


def check(rota: Rota, begins: datetime, until: datetime) -> None:
    """Passes where somebody is on call at every moment between the two.

    Raises:
        BadConfig: names the first gaps.
    """
    found = gaps(rota, begins, until)
    if found:
        more = f"; and {len(found) - 3} more" if len(found) > 3 else ""
        raise BadConfig("rota: " + "; ".join(map(str, found[:3])) + more)


def quiet_until(rota: Rota, now: datetime) -> datetime | None:
    """When the quiet hours end in which `now` lies; None: it lies in none."""
    at, quiet = moment(now, "now"), rota.quiet
    if quiet is None:
        return None
    for day in _days(at.date() - 2 * _DAY, at.date() + 2 * _DAY):
        begins, until = _window(day, quiet.begins, quiet.until, quiet.time_zone)
        if begins <= at < until:
            return until
    return None


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as e:
        raise BadConfig(f"rota: no time zone '{name[:64]}' is known here") from e


def _window(day: date, begins: time, until: time, time_zone: str) -> tuple[datetime, datetime]:
    zone = _zone(time_zone)
    last = day if until > begins else day + _DAY
    return (
        datetime.combine(day, begins, zone).astimezone(UTC),
        datetime.combine(last, until, zone).astimezone(UTC),
    )


def _around(shift: Shift, at: datetime) -> Iterator[tuple[datetime, datetime]]:
    # A local day may be the one before or after that of UTC, and a shift may have begun the day before that.
    for day in _days(at.date() - 2 * _DAY, at.date() + _DAY):
        if (window := shift.on(day)) is not None:
            yield window


def _days(first: date, last: date) -> Iterator[date]:
    for number in range((last - first).days + 1):
        yield first + number * _DAY
