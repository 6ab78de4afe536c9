"""A frozen dataclass is an element of XML: its fields, in their order, are what stands in it.

The order of the fields is the order of the schema, so writing needs no second list of them. A field's name in XML is
its name here in camel case, or what `Named` says; a tuple is an element that may come more than once; None is one that
is not there. What else there is to know of a field stands beside its type:

    last_name: Annotated[str | None, Text(100)] = None
    emails: Annotated[tuple[Email, ...], Named("email")] = ()
    verified: Annotated[bool | None, Place.ATTRIBUTE] = None
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from enum import Enum
from typing import Annotated, get_args, get_origin, get_type_hints

from hashmatch.delivery.cybertip.rules import Rule

Conflict = tuple[str, str]
"""A path below an element ("" is the element itself), and what is wrong there."""


class Place(Enum):
    """Where a field's value stands."""

    CHILD = "an element in this one"
    ATTRIBUTE = "an attribute of this element"
    CONTENT = "the text of this element"
    INLINE = "its own parts, in this element"
    WRAPPED = "an element in this one, which holds one named after the value's class"


@dataclass(frozen=True, slots=True)
class Named:
    """A field's name in XML, where it is not its own in camel case."""

    name: str


@dataclass(frozen=True, slots=True)
class Part:
    """One field of an element."""

    field: str
    name: str  # in XML
    place: Place
    rule: Rule | None  # None: its type says all

    @property
    def step(self) -> str:
        """What leads to it in a path."""
        return f"@{self.name}" if self.place is Place.ATTRIBUTE else self.name


class Element:
    """What is told about people is in no `repr`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def conflicts(self) -> Iterator[Conflict]:
        """What is wrong between its fields, whatever each of them holds."""
        yield from ()


_parts: dict[type[Element], tuple[Part, ...]] = {}  # filled as asked; two threads put the same


def parts(kind: type[Element]) -> tuple[Part, ...]:
    """The fields of an element, in order."""
    if kind not in _parts:
        hints = get_type_hints(kind, include_extras=True)
        _parts[kind] = tuple(_part(one.name, hints[one.name]) for one in fields(kind))  # type: ignore[arg-type]
    return _parts[kind]


def camel(name: str) -> str:
    """`screen_name` or `ScreenName` as XML spells it: `screenName`."""
    joined = re.sub(r"_(\w)", lambda match: match[1].upper(), name)
    return joined[0].lower() + joined[1:]


def _part(field: str, hint: object) -> Part:
    name, place, rule = camel(field), Place.CHILD, None
    for said in get_args(hint)[1:] if get_origin(hint) is Annotated else ():
        if isinstance(said, Named):
            name = said.name
        elif isinstance(said, Place):
            place = said
        else:
            rule = said
    return Part(field, name, place, rule)
