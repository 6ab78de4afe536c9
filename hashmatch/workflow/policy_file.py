"""A policy as a TOML file. What is wrong with one policy_check.py says, before it is in force."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Collection, Mapping
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from hashmatch.errors import BadConfig, Malformed
from hashmatch.types import Disposition
from hashmatch.workflow.hold_table import DUTIES, Kind
from hashmatch.workflow.plan import VERBS, Basis, Clocks, Jurisdiction
from hashmatch.workflow.policy import TIERS, TRUST, Band, Filing, Policy, Rule, SecondReview
from hashmatch.workflow.policy_check import check
from hashmatch.workflow.policy_reach import MAX_BITS

CONDITIONS: Final = ("trust", "lists", "labels", "hash_types", "bands", "surfaces", "regions")
MAX_RULES: Final = 200  # ours: each is held against all before it
MAX_CHARS: Final = 1 << 20  # ours, of a file: it is kept for ever, and read by whoever decides
MAX_TEXTS: Final = 500  # ours, of one list of texts
_CLOSED: Final[Mapping[str, tuple[str, ...]]] = {"trust": TRUST, "bands": tuple(Band)}
_RULE_KEYS: Final = frozenset(
    {
        *CONDITIONS, "max_distance", "attributes", "name", "reason", "tier", "disposition", "now", "confirmed",
        "report", "authority", "second_review", "log_only",
    }
)  # fmt: skip
_DISPOSITIONS: Final[Mapping[str, Disposition]] = {
    one.name.lower(): one for one in (Disposition.REVIEW, Disposition.RESTRICT, Disposition.BLOCK)
}
LONGEST: Final = timedelta(days=366)  # of a clock
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def load(file: Path | None) -> Policy:
    """The policy of a file, or the one that comes with hashmatch.

    Raises:
        BadConfig: it cannot be read, or has an error; says which.
    """
    return accepted(text_of(file), str(file or "built in"))


def text_of(file: Path | None) -> str:
    """The text of a file, or of the one that comes with hashmatch.

    Raises:
        BadConfig: it cannot be read.
    """
    try:
        return (files("hashmatch.workflow") / "default_policy.toml" if file is None else file).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise BadConfig(f"cannot read the policy {file}: {e}") from e


def accepted(text: str, where: str = "") -> Policy:
    """A policy that may be put into force. `where` names it in errors.

    The first time that takes seconds, of a large one; afterwards it is known, whichever way it went.

    Raises:
        BadConfig: it has an error; says which.
    """
    named = f"policy {where}".strip()
    try:
        policy, errors = _checked(text)
    except Malformed as e:
        raise BadConfig(f"{named}: {e}") from e
    if errors:
        raise BadConfig(f"{named}: {'; '.join(errors)}")
    return policy


@lru_cache(maxsize=4)  # what is checked before a transaction is not checked at length again inside
def _checked(text: str) -> tuple[Policy, tuple[str, ...]]:
    policy = parse(text)
    return policy, tuple(f"{one.where}: {one.what}" for one in check(policy) if one.error)


def parse(text: str) -> Policy:
    """A policy.

    Raises:
        Malformed: names the key, and what is wanted there.
    """
    if len(text) > MAX_CHARS:
        raise Malformed(f"{len(text)} characters, want at most {MAX_CHARS}", field="policy")
    try:
        given = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as e:
        raise Malformed(str(e), field="policy") from e
    _only(given, {"near", "clocks", "sample", "second_review", "rule", "basis", "jurisdiction"}, "")
    rules = [_rule(one, f"rule {number}") for number, one in enumerate(_tables(given, "rule"), 1)]
    if len(rules) > MAX_RULES:
        raise Malformed(f"{len(rules)}, want at most {MAX_RULES}", field="rule")
    clocks = given.get("clocks", {})
    _only(clocks, set(TIERS), "clocks.")
    near = given.get("near", {})
    if not isinstance(near, dict):
        raise Malformed(f"want bits 0..{MAX_BITS} by hash type", field="near")
    sample = given.get("sample", {})
    _only(sample, set(TIERS), "sample.")
    if not all(type(one) is int and 0 <= one <= 1000 for one in sample.values()):
        raise Malformed("want thousandths 0..1000 by tier", field="sample")
    return Policy(
        rules=tuple(rules),
        clocks=tuple(_clocks(clocks.get(tier), f"clocks.{tier}") for tier in TIERS),
        near={name: _bits(near, name, "near.") for name in near},
        bases=tuple(_basis(one, f"basis {number}") for number, one in enumerate(_tables(given, "basis"), 1)),
        jurisdictions=tuple(
            _jurisdiction(one, f"jurisdiction {number}") for number, one in enumerate(_tables(given, "jurisdiction"), 1)
        ),
        second_review=_second_review(given.get("second_review", {})),
        sample=tuple(sample.get(tier, 0) for tier in TIERS),
        version=hashlib.sha256(text.encode()).hexdigest(),
    )


def _rule(given: dict[str, Any], where: str) -> Rule:
    where = f"{where} ('{given['name']}')" if isinstance(given.get("name"), str) else where
    _only(given, _RULE_KEYS, f"{where}: ")
    when: dict[str, frozenset[str]] = {}
    for name in CONDITIONS:
        if name in given:
            when[name] = frozenset(_texts(given, name, where, _CLOSED.get(name)))
    tier = given.get("tier")
    if type(tier) is not int or not 0 <= tier <= 3:
        raise Malformed("want 0..3", field=f"{where}: tier")
    report = given.get("report", "never")
    if report not in [*Filing]:
        raise Malformed(f"want one of {', '.join(Filing)}", field=f"{where}: report")
    disposition = given.get("disposition")
    if disposition is not None and disposition not in _DISPOSITIONS:
        raise Malformed(f"want one of {', '.join(_DISPOSITIONS)}", field=f"{where}: disposition")
    return Rule(
        name=_text(given, "name", where, wanted=True), reason=_text(given, "reason", where, wanted=True), when=when,
        tier=tier, now=_texts(given, "now", where, VERBS), confirmed=_texts(given, "confirmed", where, VERBS),
        report=Filing(report), authority=_text(given, "authority", where),
        second_review=_text(given, "second_review", where), log_only=_flag(given, "log_only", f"{where}: "),
        max_distance=_bits(given, "max_distance", f"{where}: ") if "max_distance" in given else None,
        attributes=_attributes(given.get("attributes", {}), f"{where}: attributes"),
        disposition=_DISPOSITIONS[disposition] if disposition is not None else None,
    )  # fmt: skip


def _attributes(given: Any, where: str) -> dict[str, str]:
    if not isinstance(given, dict) or not all(isinstance(one, str) for one in given.values()):
        raise Malformed("want texts by name, as submissions give them", field=where)
    if len(given) > MAX_TEXTS:
        raise Malformed(f"want at most {MAX_TEXTS}", field=where)
    return given


def _basis(given: dict[str, Any], where: str) -> Basis:
    _only(given, {"name", "surfaces", "regions", "since", "until"}, f"{where}: ")
    return Basis(
        _text(given, "name", where, wanted=True),
        _places(given, "surfaces", where),
        _places(given, "regions", where),
        _moment(given, "since", where),
        _moment(given, "until", where),
    )


def _jurisdiction(given: dict[str, Any], where: str) -> Jurisdiction:
    where = f"{where} ('{given['name']}')" if isinstance(given.get("name"), str) else where
    _only(given, {"name", "regions", "authority", "duty", "deadline", "default"}, f"{where}: ")
    duty = given.get("duty")
    if duty is not None and duty not in DUTIES:
        raise Malformed(f"want one of {', '.join(DUTIES)}", field=f"{where}: duty")
    deadline = given.get("deadline", {})
    _only(deadline, set(TIERS), f"{where}: deadline.")
    return Jurisdiction(
        name=_text(given, "name", where, wanted=True), regions=_places(given, "regions", where),
        authority=_text(given, "authority", where, wanted=True), duty=Kind(duty) if duty is not None else None,
        deadlines=tuple(_length(deadline, tier, f"{where}: deadline") if tier in deadline else None for tier in TIERS),
        default=_flag(given, "default", f"{where}: "),
    )  # fmt: skip


def _second_review(given: Any) -> SecondReview:
    _only(given, {"first_of_entry", "high_impact", "near_threshold", "near_bits"}, "second_review.")
    first, impact, near = (
        _flag(given, name, "second_review.") for name in ("first_of_entry", "high_impact", "near_threshold")
    )
    bits = _bits(given, "near_bits", "second_review.") if "near_bits" in given else SecondReview().near_bits
    return SecondReview(first_of_entry=first, high_impact=impact, near_threshold=near, near_bits=bits)


def _clocks(given: Any, where: str) -> Clocks:
    """Those of a tier: by default contained once somebody has to have taken it, and reported in twice the time to
    decide."""
    if not isinstance(given, dict):
        raise Malformed("want acknowledge and decide", field=where)
    _only(given, {"acknowledge", "decide", "contain", "report"}, f"{where}.")
    acknowledge, decide = _length(given, "acknowledge", where), _length(given, "decide", where)
    contain = _length(given, "contain", where) if "contain" in given else acknowledge
    return Clocks(acknowledge, decide, contain, _length(given, "report", where) if "report" in given else 2 * decide)


def _length(given: dict[str, Any], name: str, where: str) -> timedelta:
    found = re.fullmatch(r"([1-9]\d{0,6})([smhd])", str(given.get(name)))
    if found is None:
        raise Malformed("want a length such as 15m, 4h or 3d", field=f"{where}.{name}")
    length = timedelta(seconds=int(found[1]) * _UNITS[found[2]])
    if length > LONGEST:
        raise Malformed(f"want at most {LONGEST.days} days", field=f"{where}.{name}")
    return length


def _bits(given: dict[str, Any], name: str, where: str) -> int:
    bits = given[name]
    if type(bits) is not int or not 0 <= bits <= MAX_BITS:
        raise Malformed(f"want bits 0..{MAX_BITS}", field=f"{where}{name}")
    return bits


def _flag(given: dict[str, Any], name: str, where: str) -> bool:
    flag = given.get(name, False)
    if not isinstance(flag, bool):
        raise Malformed("want true or false", field=f"{where}{name}")
    return flag


def _moment(given: dict[str, Any], name: str, where: str) -> datetime | None:
    at = given.get(name)
    if at is None:
        return None
    if isinstance(at, datetime):
        return at if at.tzinfo else at.replace(tzinfo=UTC)
    if isinstance(at, date):
        return datetime(at.year, at.month, at.day, tzinfo=UTC)
    raise Malformed("want a date or a time, such as 2026-04-03", field=f"{where}: {name}")


def _tables(given: dict[str, Any], name: str) -> list[dict[str, Any]]:
    found = given.get(name, [])
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise Malformed(f"want tables [[{name}]]", field=name)
    return found


def _text(given: dict[str, Any], name: str, where: str, *, wanted: bool = False) -> str:
    found = given.get(name, "")
    if not isinstance(found, str) or len(found) > 200 or (wanted and not found.strip()):
        raise Malformed("want a text of 1 to 200 characters" if wanted else "want a text", field=f"{where}: {name}")
    return found


def _texts(given: dict[str, Any], name: str, where: str, known: Collection[str] | None = None) -> tuple[str, ...]:
    found = given.get(name, [])
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise Malformed("want a list of texts", field=f"{where}: {name}")
    if len(found) > MAX_TEXTS:
        raise Malformed(f"want at most {MAX_TEXTS}", field=f"{where}: {name}")
    if known is not None and (odd := [one for one in found if one not in known]):
        raise Malformed(f"'{odd[0][:32]}' is not one of {', '.join(known)}", field=f"{where}: {name}")
    return tuple(found)


def _places(given: dict[str, Any], name: str, where: str) -> frozenset[str]:
    found = _texts(given, name, where)
    if "" in found:
        raise Malformed("want no empty text: what is not known is no place", field=f"{where}: {name}")
    return frozenset(found)


def _only(given: Any, known: Collection[str], where: str) -> None:
    if not isinstance(given, dict):
        raise Malformed("want a table", field=where.rstrip(".: ") or "policy")
    for key in given:
        if key not in known:
            raise Malformed(f"unknown; known: {', '.join(sorted(known))}", field=f"{where}{key}")
