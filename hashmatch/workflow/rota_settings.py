"""The rota of settings, as TOML reads them. Misspelt keys are refused: a shift that is not read is a gap."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import date, datetime, time
from typing import Any, TypeVar

from hashmatch.errors import BadConfig
from hashmatch.workflow.rota import WEEKDAYS, Quiet, Rota, Shift

_OPTIONAL = {"days", "first", "last", "quiet"}
_T = TypeVar("_T")


def rota_from(settings: Mapping[str, Any]) -> Rota:
    """The rota of a table of settings, as TOML reads it:

        last_resort = "dana"
        quiet = { begins = "22:00", until = "07:00", time_zone = "Europe/London" }
        [[shifts]]
        name = "day"
        begins = "08:00"
        until = "20:00"
        time_zone = "Europe/London"
        days = ["mon", "tue"]           # left out: every day
        first = 2026-03-02              # left out: always
        primary = "ana"
        secondary = "bo"
        duty_manager = "cy"

    Raises:
        BadConfig: names the key.
    """
    shifts = settings.get("shifts", [])
    if not isinstance(shifts, list):
        raise BadConfig("rota.shifts: want a list of tables")
    quiet = settings.get("quiet")
    return Rota(
        **_known(settings, Rota, "rota")
        | {
            "shifts": tuple(_table(Shift, one, f"rota.shifts[{number}]") for number, one in enumerate(shifts)),
            "quiet": None if quiet is None else _table(Quiet, quiet, "rota.quiet"),
            "last_resort": _text(settings.get("last_resort"), "rota.last_resort"),
        }
    )


def _table(kind: Callable[..., _T], given: Any, where: str) -> _T:
    """One dataclass of a table of settings."""
    if not isinstance(given, Mapping):
        raise BadConfig(f"{where}: want a table")
    read = {"begins": _clock, "until": _clock, "days": _weekdays, "first": _date, "last": _date}
    known = _known(given, kind, where)
    return kind(**{key: read.get(key, _text)(value, f"{where}.{key}") for key, value in known.items()})


def _known(given: Mapping[str, Any], kind: Any, where: str) -> dict[str, Any]:
    names = [one.name for one in fields(kind)]
    if unknown := sorted(set(given) - set(names)):
        raise BadConfig(f"{where}.{unknown[0]}: unknown; known: {', '.join(names)}")
    if missing := [name for name in names if name not in given and name not in _OPTIONAL]:
        raise BadConfig(f"{where}.{missing[0]}: missing")
    return dict(given)


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or not 0 < len(value.strip()) <= 200:
        raise BadConfig(f"{where}: want a text of 1 to 200 characters")
    return value.strip()


def _clock(value: Any, where: str) -> time:
    if isinstance(value, str):
        try:
            value = time.fromisoformat(value)
        except ValueError as e:
            raise BadConfig(f"{where}: want a time such as 08:00") from e
    if not isinstance(value, time) or value.tzinfo is not None:
        raise BadConfig(f"{where}: want a time such as 08:00, without a zone")
    return value


def _date(value: Any, where: str) -> date:
    if not isinstance(value, date) or isinstance(value, datetime):
        raise BadConfig(f"{where}: want a date such as 2026-03-01")
    return value


def _weekdays(value: Any, where: str) -> frozenset[int]:
    if not isinstance(value, list) or not all(day in WEEKDAYS for day in value):
        raise BadConfig(f"{where}: want days among {', '.join(WEEKDAYS)}")
    return frozenset(WEEKDAYS.index(day) for day in value)
