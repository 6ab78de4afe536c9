"""How two verdicts on one submission differ, in words that show no fingerprint and nobody's id."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from google.protobuf.message import Message

from hashmatch.v1.audit_pb2 import VerdictRecord
from hashmatch.v1.common_pb2 import Coverage, Hashed, Match, SetAside

_ANSWER = ("finding", "disposition", "matches_found")


def of_answers(logged: VerdictRecord, again: VerdictRecord, word: str) -> Iterator[str]:
    """What was found, what it asks for, what did not count, what was not searched; `word` names the second one."""
    floored = VerdictRecord()  # policy asked for that much whatever the lists did, and it is not asked again here
    floored.CopyFrom(again)
    floored.disposition = max(again.disposition, logged.floor)
    yield from changed("", logged, floored, word, only=_ANSWER)
    yield from _of_entries("match", _by_entry(logged.matches), _by_entry(again.matches), word)
    yield from _of_set_aside(logged.set_aside, again.set_aside, word)
    for name in ("matches", "set_aside"):
        one, other = _entries(getattr(logged, name)), _entries(getattr(again, name))
        if one != other and sorted(one) == sorted(other):
            yield f"{name.replace('_', ' ')}: in another order than logged"
    yield from _of_absences(logged.hashed, again.hashed, word)


def of_coverage(logged: Coverage, again: Coverage, word: str) -> Iterator[str]:
    """What was searched."""
    yield from changed("coverage: ", logged, again, word, only=("revision", "entries"))
    others = {one.list: one for one in again.lists}
    for one in logged.lists:
        if one.list in others:
            yield from changed(f"list {one.list}: ", one, others[one.list], word)


def changed(what: str, logged: Message, again: Message, word: str, only: Iterable[str] = ()) -> Iterator[str]:
    """The fields in which two messages of one kind differ; `only` these where given."""
    for field in logged.DESCRIPTOR.fields:
        one, other = getattr(logged, field.name), getattr(again, field.name)
        if one != other and (not only or field.name in only):
            name = field.name.replace("_", " ")
            yield f"{what}{name}: logged {_shown(field, one)}, {word} {_shown(field, other)}"


def _shown(field: Any, value: Any) -> str:
    if field.enum_type is not None and not field.is_repeated:
        known = field.enum_type.values_by_number.get(value)
        common = field.enum_type.name
        prefix = "".join(f"_{c}" if c.isupper() else c.upper() for c in common).lstrip("_") + "_"
        return known.name.removeprefix(prefix) if known else str(value)
    if isinstance(value, bytes):
        return value.hex() or "nothing"
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return ", ".join(f"{key} {one}" for key, one in sorted(value.items())) or "nothing"
    if field.is_repeated:
        return ", ".join(map(str, value)) or "nothing"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value) or "nothing"


# ── entries ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _by_entry(matches: Iterable[Match]) -> dict[str, Match]:
    return {f"{match.list}/{match.entry_id} by {match.hash_type}": match for match in matches}


def _entries(found: Iterable[Match | SetAside]) -> list[str]:
    return list(_by_entry(one.match if isinstance(one, SetAside) else one for one in found))


def _of_entries(what: str, logged: dict[str, Match], again: dict[str, Match], word: str) -> Iterator[str]:
    for key, one in logged.items():
        if key not in again:
            yield f"{what} {key}: logged, {word} not found"
        else:
            yield from changed(f"{what} {key}: ", one, again[key], word)
    for key in again.keys() - logged.keys():
        yield f"{what} {key}: not logged, {word} found"


def _of_set_aside(logged: Sequence[SetAside], again: Sequence[SetAside], word: str) -> Iterator[str]:
    one, other = ({_entries([aside])[0]: aside for aside in asides} for asides in (logged, again))
    yield from _of_entries(
        "set aside", {key: a.match for key, a in one.items()}, {key: a.match for key, a in other.items()}, word
    )
    for key in one.keys() & other.keys():
        yield from changed(f"set aside {key}: ", one[key], other[key], word, only=("reason", "why"))


def _of_absences(logged: Iterable[Hashed], again: Iterable[Hashed], word: str) -> Iterator[str]:
    field = Hashed.DESCRIPTOR.fields_by_name["unhashable"]
    one, other = (Counter((h.hash_type, h.unhashable) for h in rows if h.unhashable) for rows in (logged, again))
    for hash_type, reason in one - other:
        yield f"not searched: {hash_type}, {_shown(field, reason)}: logged, {word} not so"
    for hash_type, reason in other - one:
        yield f"not searched: {hash_type}, {_shown(field, reason)}: not logged, {word} so"
