"""A policy as a TOML file, and what is wrong with one: said before it is in force."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from importlib.resources import files
from itertools import product
from pathlib import Path
from typing import Any, Final

from hashmatch.errors import BadConfig, Malformed
from hashmatch.workflow.plan import UNDO, Clocks
from hashmatch.workflow.policy import TIERS, TRUST, VERBS, Band, Basis, Filing, Policy, Rule

CONDITIONS: Final = ("trust", "lists", "labels", "hash_types", "bands", "surfaces", "regions")
_CLOSED: Final[Mapping[str, tuple[str, ...]]] = {"trust": TRUST, "bands": tuple(Band)}
_RULE_KEYS: Final = frozenset(
    {*CONDITIONS, "name", "reason", "tier", "now", "confirmed", "report", "authority", "second_review", "log_only"}
)
LONGEST: Final = timedelta(days=366)  # of a clock
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
CONTRARY: Final = frozenset({frozenset((verb, undoing)) for verb, undoing in UNDO.items()})


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong with a policy; an error keeps it from being put into force."""

    where: str
    what: str
    error: bool


def load(file: Path | None) -> Policy:
    """The policy of a file, or the one that comes with hashmatch.

    Raises:
        BadConfig: it cannot be read, or has an error; says which.
    """
    try:
        text = (files("hashmatch.workflow") / "default_policy.toml" if file is None else file).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise BadConfig(f"cannot read the policy {file}: {e}") from e
    try:
        policy = parse(text)
    except Malformed as e:
        raise BadConfig(f"policy {file or 'built in'}: {e}") from e
    if errors := [f"{one.where}: {one.what}" for one in check(policy) if one.error]:
        raise BadConfig(f"policy {file or 'built in'}: {'; '.join(errors)}")
    return policy


def parse(text: str) -> Policy:
    """A policy.

    Raises:
        Malformed: names the key, and what is wanted there.
    """
    try:
        given = tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        raise Malformed(str(e), field="policy") from e
    _only(given, {"near", "clocks", "sample", "rule", "basis"}, "")
    rules = [_rule(one, f"rule {number}") for number, one in enumerate(_tables(given, "rule"), 1)]
    clocks = given.get("clocks", {})
    _only(clocks, set(TIERS), "clocks.")
    near = given.get("near", {})
    if not isinstance(near, dict) or not all(type(bits) is int and 0 <= bits <= 256 for bits in near.values()):
        raise Malformed("want bits 0..256 by hash type", field="near")
    sample = given.get("sample", {})
    _only(sample, set(TIERS), "sample.")
    if not all(type(one) is int and 0 <= one <= 1000 for one in sample.values()):
        raise Malformed("want thousandths 0..1000 by tier", field="sample")
    return Policy(
        rules=tuple(rules),
        clocks=tuple(_clocks(clocks.get(tier), f"clocks.{tier}") for tier in TIERS),
        near=near,
        bases=tuple(_basis(one, f"basis {number}") for number, one in enumerate(_tables(given, "basis"), 1)),
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
    log_only = given.get("log_only", False)
    if not isinstance(log_only, bool):
        raise Malformed("want true or false", field=f"{where}: log_only")
    return Rule(
        name=_text(given, "name", where, wanted=True), reason=_text(given, "reason", where, wanted=True), when=when,
        tier=tier, now=_texts(given, "now", where, VERBS), confirmed=_texts(given, "confirmed", where, VERBS),
        report=Filing(report), authority=_text(given, "authority", where),
        second_review=_text(given, "second_review", where), log_only=log_only,
    )  # fmt: skip


def _basis(given: dict[str, Any], where: str) -> Basis:
    _only(given, {"name", "surfaces", "regions", "since", "until"}, f"{where}: ")
    return Basis(
        _text(given, "name", where, wanted=True),
        frozenset(_texts(given, "surfaces", where)),
        frozenset(_texts(given, "regions", where)),
        _moment(given, "since", where),
        _moment(given, "until", where),
    )


def _clocks(given: Any, where: str) -> Clocks:
    if not isinstance(given, dict):
        raise Malformed("want acknowledge and decide", field=where)
    _only(given, {"acknowledge", "decide"}, f"{where}.")
    return Clocks(_length(given, "acknowledge", where), _length(given, "decide", where))


def _length(given: dict[str, Any], name: str, where: str) -> timedelta:
    found = re.fullmatch(r"([1-9]\d{0,6})([smhd])", str(given.get(name)))
    if found is None:
        raise Malformed("want a length such as 15m, 4h or 3d", field=f"{where}.{name}")
    length = timedelta(seconds=int(found[1]) * _UNITS[found[2]])
    if length > LONGEST:
        raise Malformed(f"want at most {LONGEST.days} days", field=f"{where}.{name}")
    return length


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
    if known is not None and (odd := [one for one in found if one not in known]):
        raise Malformed(f"'{odd[0][:32]}' is not one of {', '.join(known)}", field=f"{where}: {name}")
    return tuple(found)


def _only(given: Any, known: Collection[str], where: str) -> None:
    if not isinstance(given, dict):
        raise Malformed("want a table", field=where.rstrip(".: ") or "policy")
    for key in given:
        if key not in known:
            raise Malformed(f"unknown; known: {', '.join(sorted(known))}", field=f"{where}{key}")


def check(policy: Policy, *, lists: Collection[str] | None = None) -> list[Finding]:
    """What is wrong with a policy, errors and what is merely odd. `lists`: the names of those that exist."""
    found = []
    names = [rule.name for rule in policy.rules]
    for name in sorted({name for name in names if names.count(name) > 1}):
        found.append(Finding(f"rule '{name}'", "there are several of that name", True))
    for number, rule in enumerate(policy.rules):
        where = f"rule '{rule.name}'"
        if takers := _takers(rule, policy.rules[:number]):
            named = ", ".join(f"'{name}'" for name in takers)
            found.append(Finding(where, f"is never reached: {named} before it take all that it would", True))
        found += [Finding(where, what, True) for what in _contradictions(rule)]
        if lists is not None:
            for name in sorted(rule.when.get("lists", frozenset()) - set(lists)):
                found.append(Finding(where, f"there is no list '{name}'", False))
    if not _covers_all(policy):
        found.append(Finding("rules", "some matches meet no rule: end with one that names every trust tier", True))
    authorities = sorted({rule.authority for rule in policy.rules if rule.authority})
    if len(authorities) > 1:
        found.append(Finding("rules", f"name {' and '.join(authorities)}: a case goes to one authority", True))
    for basis in policy.bases:
        if basis.since is not None and basis.until is not None and basis.until <= basis.since:
            found.append(Finding(f"basis '{basis.name}'", "ends before it begins", True))
    return found


def _cells(rule: Rule) -> set[tuple[str, str]]:
    """The trust tiers and bands that a rule asks for."""
    return set(product(rule.when.get("trust", TRUST), map(str, rule.when.get("bands", tuple(Band)))))


def _takers(rule: Rule, earlier: Collection[Rule]) -> list[str]:
    """The rules that together leave nothing for a later one; none where something is left.

    What can be any text is compared rule by rule: several that each take a part of it are not seen through.
    """
    left = _cells(rule)
    takers: list[str] = []
    for one in earlier:
        open_ = {name: wanted for name, wanted in one.when.items() if name not in _CLOSED}
        wider = all(name in rule.when and rule.when[name] <= wanted for name, wanted in open_.items())
        if wider and left & _cells(one):
            takers.append(one.name)
            left -= _cells(one)
    return [] if left else takers


def _covers_all(policy: Policy) -> bool:
    """Whether every match meets a rule: one without conditions, or several that ask for trust and bands alone."""
    plain = [rule for rule in policy.rules if set(rule.when) <= set(_CLOSED)]
    return set(product(TRUST, map(str, Band))) <= set().union(*map(_cells, plain))


def _contradictions(rule: Rule) -> list[str]:
    found = []
    verbs = {*rule.now, *rule.confirmed}
    for pair in sorted(CONTRARY, key=sorted):
        if pair <= verbs:
            found.append(f"asks for {' and '.join(sorted(pair))}, which undo each other")
    if rule.log_only and (verbs or rule.report is not Filing.NEVER):
        found.append("says log_only, and asks for something")
    if rule.report is not Filing.NEVER and not rule.authority:
        found.append("wants a report, and names no authority")
    if rule.report is Filing.UNREVIEWED and rule.second_review:
        found.append("reports without review, and wants a second reviewer")
    if twice := sorted(set(rule.now) & set(rule.confirmed)):
        found.append(f"asks for {', '.join(twice)} at once and once confirmed")
    return found
