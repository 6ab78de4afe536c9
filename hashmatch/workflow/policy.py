"""What follows from a match, by rules that a person wrote. Pure: the same facts give the same plan for ever.

For each match that counts, the first rule that applies decides. Over the matches of one verdict the most urgent tier
and the strictest disposition win, and every instruction counts; the order of matches does not. An action on an account
waits for a second signal: an exact digest, a second hash type, or a person's CONFIRM; what is only logged is none.
Where a legal basis covers the surface and region and none is in force, nothing follows; where the surface or region is
not known and such a basis may cover it, nothing is done before a person confirms. What the collision guard holds hurts
nobody before that either.

The SHA-256 of a policy's file, its `version`, changes with every byte of it and says which file was in force. Its
`meaning` is a digest of what it decides: comments, order in a list, names and reasons of rules are not in it. Samples
are drawn by the meaning, so that a comment does not draw other cases.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

from hashmatch.types import Disposition
from hashmatch.workflow.plan import (
    BY_REGION,
    ON_ACCOUNTS,
    UNDO,
    VERBS,
    Basis,
    Clocks,
    Instruction,
    Jurisdiction,
    Plan,
    without_basis,
)
from hashmatch.workflow.policy_explain import explain, meaning

__all__ = [
    "BY_REGION", "ON_ACCOUNTS", "TIERS", "TRUST", "VERBS", "Band", "Basis", "Conditions", "Decision", "Fact", "Filing",
    "Jurisdiction", "Policy", "Reason", "Rule", "SecondReview", "band_of", "decide", "drawn", "explain",
]  # fmt: skip

TRUST: Final = ("verified", "single_member", "self_reported", "internal", "unspecified")
TIERS: Final = ("T0", "T1", "T2", "T3")
_EMPTY: Final[Mapping[str, Any]] = MappingProxyType({})
_UNKNOWN_BASIS: Final = "the surface or the region is not known, and no legal basis may be in force there"
_HELD: Final = "the entry is held, since it matched so many uploaders"
_NO_SIGNAL: Final = "there is no second signal"


class Band(StrEnum):
    """How close a match is."""

    EXACT = "exact"
    NEAR = "near"
    FAR = "far"


class Filing(StrEnum):
    """When a report is filed."""

    NEVER = "never"
    CONFIRMED = "confirmed"
    UNREVIEWED = "unreviewed"


@dataclass(frozen=True, slots=True)
class Fact:
    """One match of a verdict, with what rules look at."""

    list: str
    trust: str
    label: str
    hash_type: str
    distance: int
    exact: bool  # a digest, which is found by equality
    surface: str  # "": not known
    region: str  # "": not known
    attributes: Mapping[str, str] = field(default_factory=lambda: _EMPTY, repr=False)  # of the submission
    within: int | None = None  # bits between it and its list's threshold; None: found by equality, or not known
    first_of_entry: bool = False  # its entry never matched before
    held: bool = False  # by the collision guard


Conditions = Mapping[str, frozenset[str]]
"""What a rule asks, by the name of what it looks at; what is not named is not asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule. Without conditions it applies to every match."""

    name: str
    reason: str
    when: Conditions
    tier: int
    max_distance: int | None = None  # bits, inclusive; an exact digest is at 0
    attributes: Mapping[str, str] = field(default_factory=lambda: _EMPTY)  # that the submission has, just so
    disposition: Disposition | None = None  # the least that the answer asks for; None: what the list asks for
    now: tuple[str, ...] = ()  # verbs at once
    confirmed: tuple[str, ...] = ()  # verbs once a person confirms
    report: Filing = Filing.NEVER
    authority: str = ""  # or BY_REGION
    second_review: str = ""  # why; "": one person will do
    log_only: bool = False  # no case, no instruction


@dataclass(frozen=True, slots=True, kw_only=True)
class SecondReview:
    """What two persons must agree on, whichever rule decides."""

    first_of_entry: bool = False  # an entry that never matched before
    high_impact: bool = False  # an account is suspended, or a report filed that nobody reviewed
    near_threshold: bool = False  # the closest match is within `near_bits` of its list's threshold
    near_bits: int = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Rules and what they need. `version` is the SHA-256 of the file it was read from, `meaning` that of what it
    decides, both in hexadecimal."""

    rules: tuple[Rule, ...]
    clocks: tuple[Clocks, ...]  # of T0..T3
    near: Mapping[str, int] = field(default_factory=dict)  # bits, by hash type
    bases: tuple[Basis, ...] = ()
    jurisdictions: tuple[Jurisdiction, ...] = ()
    second_review: SecondReview = SecondReview()
    sample: tuple[int, ...] = (0, 0, 0, 0)  # of T0..T3, in thousandths
    version: str = ""
    meaning: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "meaning", meaning(self))


@dataclass(frozen=True, slots=True)
class Reason:
    """Why one match led where it led: the rule, and those before it with what did not apply."""

    fact: Fact
    band: Band
    rule: Rule | None
    passed_over: tuple[tuple[str, str], ...]  # rule, condition


@dataclass(frozen=True, slots=True)
class Decision:
    """A plan, None where nothing is to follow, and every reason."""

    plan: Plan | None
    reasons: tuple[Reason, ...]
    why_nothing: str = ""


def band_of(policy: Policy, fact: Fact) -> Band:
    """How close a match is; a hash type whose bands nobody stated is far at any distance but 0."""
    if fact.exact:
        return Band.EXACT
    return Band.NEAR if fact.distance <= policy.near.get(fact.hash_type, 0) else Band.FAR


def decide(policy: Policy, facts: Iterable[Fact], *, case_seed: str, now: datetime) -> Decision:
    """What follows from the matches of one verdict, in whatever order they come.

    Args:
        facts: of the matches that count; those of lists in shadow mode are not among them.
        case_seed: what the sample for a second review is drawn by: the same for all that joins one case.
    """
    reasons = tuple(_reason(policy, fact) for fact in sorted(facts, key=_order))
    if not reasons:
        return Decision(None, (), "no list that counts has matched")
    lapsed, doubtful = without_basis(policy.bases, {(one.fact.surface, one.fact.region) for one in reasons}, now)
    if lapsed:
        why = f"no legal basis is in force for this surface and region: {', '.join(lapsed)}"
        return Decision(None, reasons, why)
    deciding = [reason for reason in reasons if reason.rule is not None and not reason.rule.log_only]
    if not deciding:
        only_logged = any(reason.rule is not None for reason in reasons)
        return Decision(None, reasons, "every rule that applies says: log only" if only_logged else "no rule applies")
    withheld = f"{_UNKNOWN_BASIS}: {', '.join(doubtful)}" if doubtful else ""
    return Decision(_plan(policy, deciding, case_seed, withheld), reasons)


def _order(fact: Fact) -> tuple[Any, ...]:
    within = -1 if fact.within is None else fact.within
    return (
        fact.list, fact.trust, fact.label, fact.hash_type, fact.distance, fact.exact, fact.surface, fact.region,
        sorted(fact.attributes.items()), within, fact.first_of_entry, fact.held,
    )  # fmt: skip


def _reason(policy: Policy, fact: Fact) -> Reason:
    band = band_of(policy, fact)
    passed: list[tuple[str, str]] = []
    for rule in policy.rules:
        unmet = _unmet(rule, fact, band)
        if unmet is None:
            return Reason(fact, band, rule, tuple(passed))
        passed.append((rule.name, unmet))
    return Reason(fact, band, None, tuple(passed))


def _unmet(rule: Rule, fact: Fact, band: Band) -> str | None:
    """A condition of the rule that the match does not meet, in words; None: it meets them all."""
    seen = {
        "trust": fact.trust, "lists": fact.list, "labels": fact.label, "hash_types": fact.hash_type,
        "bands": band.value, "surfaces": fact.surface, "regions": fact.region,
    }  # fmt: skip
    for name, wanted in rule.when.items():
        if seen[name] not in wanted:
            return f"{name} is '{seen[name]}', not {' or '.join(sorted(wanted))}"
    if rule.max_distance is not None and fact.distance > rule.max_distance:
        return f"distance is {fact.distance} bits, more than {rule.max_distance}"
    for name, value in sorted(rule.attributes.items()):
        if fact.attributes.get(name) != value:  # what it is instead may be personal
            return f"the attribute '{name}' is not '{value}'"
    return None


def _plan(policy: Policy, deciding: list[Reason], case_seed: str, withheld: str) -> Plan:
    rules = [rule for rule in policy.rules if any(rule is reason.rule for reason in deciding)]
    tier = min(rule.tier for rule in rules)
    free = [reason for reason in deciding if not reason.fact.held]
    acting = [rule for rule in rules if not withheld and any(rule is reason.rule for reason in free)]
    signal = any(r.fact.exact for r in free) or len({r.fact.hash_type for r in free}) > 1
    wanted: dict[str, Instruction] = {}
    for rule in rules:
        for verb in rule.now:
            why = _waits(verb, withheld=withheld, held=rule not in acting, signal=signal)
            if verb not in wanted or (wanted[verb].deferred and not why):
                wanted[verb] = Instruction(verb, rule.reason, bool(why), why)
        for verb in rule.confirmed:
            wanted.setdefault(verb, Instruction(verb, rule.reason, True))
    unreviewed = any(rule.report is Filing.UNREVIEWED for rule in acting)
    row, authority = _told(policy, rules, deciding[0].fact.region)
    clocks = policy.clocks[tier]
    deadline = row.deadlines[tier] if row is not None else None
    floors = [one.disposition if one in acting else _looked_at(one.disposition) for one in rules if one.disposition]
    review = {rule.second_review: None for rule in rules if rule.second_review}
    review |= dict.fromkeys(_switched(policy.second_review, deciding, unreviewed or "suspend" in wanted))
    if not review and drawn(policy, tier, case_seed):
        review["drawn for quality"] = None
    return Plan(
        tier=tier, instructions=tuple(sorted(wanted.values(), key=lambda one: VERBS.index(one.verb))),
        acknowledge=clocks.acknowledge, decide=clocks.decide, contain=clocks.contain,
        report=clocks.report if deadline is None else min(clocks.report, deadline), authority=authority,
        report_unreviewed=unreviewed, second_review=tuple(review), rules=tuple(rule.name for rule in rules),
        version=policy.version, disposition=max(floors, default=None), jurisdiction=row.name if row is not None else "",
        duty=row.duty if row is not None else None, withheld=withheld,
    )  # fmt: skip


def _waits(verb: str, *, withheld: str, held: bool, signal: bool) -> str:
    """Why a verb that a rule wants at once waits for a person; "": it does not. A page asks for that person."""
    if withheld:
        return "" if verb == "page" else withheld
    if held and verb in UNDO:
        return _HELD
    return _NO_SIGNAL if verb in ON_ACCOUNTS and not signal else ""


def _looked_at(disposition: Disposition) -> Disposition:
    """The most that is asked for where a person looks before anybody is hurt."""
    return min(disposition, Disposition.REVIEW)


def reports_to(policy: Policy, region: str) -> tuple[str, Jurisdiction | None]:
    """Whom a policy tells of what comes from a region, whichever rule decides: the first that reports says it. And the
    row of the table of jurisdictions that names them, where one does."""
    reporting = [rule for rule in policy.rules if rule.report is not Filing.NEVER]
    row, authority = _told(policy, reporting[:1], region)
    return authority, row


def _told(policy: Policy, rules: Collection[Rule], region: str) -> tuple[Jurisdiction | None, str]:
    """Who is told, and the row of the table that says so, where a rule leaves it to the table."""
    authority = next((rule.authority for rule in rules if rule.report is not Filing.NEVER), "")
    if authority != BY_REGION:
        return None, authority
    rows = [row for row in policy.jurisdictions if region in row.regions]
    rows += [row for row in policy.jurisdictions if row.default]
    return (rows[0], rows[0].authority) if rows else (None, "")


def _switched(switches: SecondReview, deciding: Collection[Reason], high_impact: bool) -> list[str]:
    """Why two persons must agree, whichever rule decided."""
    within = [reason.fact.within for reason in deciding]
    near = all(bits is not None and bits <= switches.near_bits for bits in within)
    first = any(reason.fact.first_of_entry for reason in deciding)
    return [
        *["first match of an entry"] * (switches.first_of_entry and first),
        *["high impact"] * (switches.high_impact and high_impact),
        *["near the threshold"] * (switches.near_threshold and near),
    ]


def drawn(policy: Policy, tier: int, case_seed: str) -> bool:
    """Whether a case is among those that a second person reviews, by chance that anybody can compute again."""
    number = int.from_bytes(hashlib.sha256(f"{policy.meaning}\0{case_seed}".encode()).digest()[:8], "big")
    return number % 1000 < policy.sample[tier]
