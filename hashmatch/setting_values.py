"""How a setting's value is read, from a TOML file, a variable or a flag. Each raises ValueError with what is wanted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from hashmatch.address import Address
from hashmatch.errors import Malformed
from hashmatch.roles import roles_from

SECOND_LOOKS: Final = (
    "base", "confirmed", "cleared", "T0", "T1", "T2", "T3", "new_reviewer", "new_list", "near_threshold", "high_impact",
    "deadline_hours",
)  # fmt: skip


def whole(low: int, high: int) -> Callable[[Any], int]:
    def parse(value: Any) -> int:
        number = int(value)
        if isinstance(value, bool | float) or not low <= number <= high:
            raise ValueError(f"want a whole number {low}..{high}")
        return number

    return parse


def seconds(low: float, high: float) -> Callable[[Any], float]:
    def parse(value: Any) -> float:
        number = float(value)
        if not low <= number <= high:
            raise ValueError(f"want {low:g}..{high:g}")
        return number

    return parse


def seconds_or_never(low: float, high: float) -> Callable[[Any], float]:
    """0 means never."""
    return lambda value: 0.0 if float(value) == 0 else seconds(low, high)(value)


def one_of(*allowed: str) -> Callable[[Any], str]:
    def parse(value: Any) -> str:
        if value not in allowed:
            raise ValueError(f"want one of {', '.join(allowed)}")
        return str(value)

    return parse


def yes_no(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    known = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if str(value).lower() not in known:
        raise ValueError("want true or false")
    return known[str(value).lower()]


def path(value: Any) -> Path:
    if not isinstance(value, str | Path) or not str(value):
        raise ValueError("want a path")
    return Path(value).expanduser()


def path_or_none(value: Any) -> Path | None:
    return None if value in ("", None) else path(value)


def address(value: Any) -> str:
    """`host:port`; whether it may be reached from elsewhere is decided once all settings are known."""
    return str(Address.parse(str(value)))


def address_or_none(value: Any) -> str:
    return "" if value == "" else address(value)


def metrics_address(value: Any) -> str:
    return str(value) if value in ("", "auto") else address(value)


def url_or_none(value: Any) -> str:
    if value and not str(value).startswith(("http://", "https://")):
        raise ValueError("want an http or https URL")
    return str(value)


def retention(value: Any) -> int:
    days = whole(0, 36_500)(value)
    if 0 < days < 31:
        raise ValueError("want 0, or at least 31: it goes by whole months")
    return days


def origin(value: Any) -> str:
    """As C2SP's signed notes want a key's name: no white space, no plus."""
    if not isinstance(value, str) or len(value) > 128 or not value.isprintable() or set(value) & set(" +"):
        raise ValueError("want at most 128 printable characters without spaces and plus signs")
    return value


def places(value: Any) -> tuple[str, ...]:
    """A list in a file; in a variable, separated by commas."""
    places = tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value
    if not isinstance(places, list | tuple) or not all(isinstance(place, str) for place in places):
        raise ValueError("want a list of paths and https URLs")
    for place in places:
        if not place.startswith(("/", "https://", "http://127.0.0.1:", "http://localhost:")):
            raise ValueError(f"{place}: want an absolute path, or an https URL")
    return tuple(places)


def witnesses(value: Any) -> tuple[str, ...]:
    """A list in a file; in a variable, separated by commas."""
    found = tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value
    if not isinstance(found, list | tuple) or not all(isinstance(one, str) for one in found):
        raise ValueError("want a list of 'URL name+hash+base64'")
    for one in found:
        url, _, key = one.partition(" ")
        if not url.startswith(("https://", "http://127.0.0.1:", "http://localhost:")) or key.count("+") < 2:
            raise ValueError(f"{one}: want an https URL, a space, and the witness's verifier key")
    return tuple(found)


def second_looks(value: Any) -> dict[str, float]:
    """A share by what it is of, and a deadline: a table in a file; in a variable "base=0.02,T0=1"."""
    if isinstance(value, str):
        value = dict(part.strip().partition("=")[::2] for part in value.split(",") if part.strip())
    if not isinstance(value, dict) or any(isinstance(given, bool) for given in value.values()):
        raise ValueError(f"want a table with some of {', '.join(SECOND_LOOKS)}")
    if unknown := sorted(set(value) - set(SECOND_LOOKS)):
        raise ValueError(f"unknown: {', '.join(unknown)}; known: {', '.join(SECOND_LOOKS)}")
    found = {name: float(given) for name, given in value.items()}
    if not 1 <= found.get("deadline_hours", 1) <= 8760:
        raise ValueError("deadline_hours: want 1..8760")
    for name in found.keys() - {"deadline_hours"}:
        if not 0 <= found[name] <= 1 or abs(found[name] * 1000 - round(found[name] * 1000)) > 1e-6:
            raise ValueError(f"{name}: want 0..1, in thousandths")
    return found


def accounts(value: Any) -> dict[str, tuple[str, ...]]:
    """Roles by account name: a table in a file; in a variable "ann=analyst+detail,bob=approver"."""
    if isinstance(value, str):
        value = {
            name: roles.split("+") for name, _, roles in (part.partition("=") for part in value.split(",") if part)
        }
    if not isinstance(value, dict) or not all(isinstance(roles, list | tuple) for roles in value.values()):
        raise ValueError("want a table: account = [role, …]")
    try:
        return {str(name): tuple(sorted(roles_from(map(str, roles), "accounts"))) for name, roles in value.items()}
    except Malformed as e:
        raise ValueError(e.problem) from e
