"""Times and shares as people type them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from hashmatch import clock
from hashmatch.errors import Malformed

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def seconds(text: str, option: str) -> int:
    """A length of time such as "90d" or "6h"; a bare number is in seconds.

    Raises:
        Malformed: names the option.
    """
    found = re.fullmatch(r"(\d{1,9})([smhdw]?)", text.strip())
    if found is None:
        raise Malformed(f"{option}: want a number and one of {', '.join(_UNITS)}, for example 6h")
    return int(found[1]) * _UNITS.get(found[2], 1)


def moment(text: str, option: str) -> datetime:
    """A time as ISO 8601 has it, UTC where it names no zone; or a length of time from now.

    Raises:
        Malformed: names the option.
    """
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        return clock.now() + timedelta(seconds=seconds(text, option))
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def permille(percent: float, option: str) -> int:
    """A share in percent as thousandths.

    Raises:
        Malformed: names the option.
    """
    if not 0 <= percent <= 100:
        raise Malformed(f"{option}: want 0..100")
    return round(10 * percent)
