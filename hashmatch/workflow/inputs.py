"""What decisions are given: times, texts and names, made sure of once."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final
from unicodedata import normalize

from hashmatch.errors import Malformed, Refused
from hashmatch.roles import ANONYMOUS

MAX_TEXT: Final = 2000  # characters of a ground, a reason or a note
MAX_NAME: Final = 200  # characters of an id, a person's name or an authority's reference
MAX_PERSONS: Final = 10
LAST_YEAR: Final = 9000  # so that any duration can be added


def moment(at: datetime, field: str) -> datetime:
    """The time in UTC.

    Raises:
        Malformed: it is of no time zone, or so far off that no duration could be added.
    """
    if at.tzinfo is None or at.utcoffset() is None:
        raise Malformed("want a time with its time zone", field=field)
    if not 1970 <= at.year <= LAST_YEAR:
        raise Malformed(f"want a year from 1970 to {LAST_YEAR}", field=field)
    return at.astimezone(UTC)


def text(given: str, field: str, limit: int = MAX_TEXT) -> str:
    """Something that a person wrote, trimmed.

    Raises:
        Malformed: nothing, or too much.
    """
    found = given.strip()
    if not found or len(found) > limit:
        raise Malformed(f"want 1 to {limit} characters", field=field)
    return found


def persons(by: Iterable[str], wanted: int, field: str = "by") -> tuple[str, ...]:
    """The names, each of another person: those that differ in case or encoding alone are one person's.

    Raises:
        Malformed: a name is empty or too long; Refused: fewer than `wanted` different persons, or nobody known.
    """
    if isinstance(by, str):  # else each of its letters would be a person
        raise Malformed("want a tuple of names", field=field)
    names = [text(name, field, MAX_NAME) for name in by]
    if len(names) > MAX_PERSONS:
        raise Malformed(f"want at most {MAX_PERSONS}", field=field)
    named = {spelling(name): name for name in names}
    if ANONYMOUS in named:
        raise Refused("whoever does this must be known")
    if len(named) < wanted:
        raise Refused(f"{'two different persons' if wanted == 2 else 'a person'} must do this")
    return tuple(named.values())


def spelling(name: str) -> str:
    """What the ways to write one person's name have in common."""
    return normalize("NFKC", name.strip()).casefold()
