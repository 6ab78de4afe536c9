"""What follows from a match, by rules that a person wrote. Pure: the same facts give the same plan for ever.

For each match that counts, the first rule that applies decides. Over the matches of one verdict the most urgent tier
wins, and every instruction counts. An action on an account waits for a second signal: an exact digest, a second hash
type, or a person's CONFIRM. Where a surface and region have a legal basis that is not in force, nothing follows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

from hashmatch.workflow.plan import Clocks, Instruction, Plan

VERBS: Final = (
    "restrict", "block", "remove", "remove_copies", "suspend", "preserve", "restore", "reinstate", "notify", "page",
)  # fmt: skip
ON_ACCOUNTS: Final = frozenset({"suspend"})
TRUST: Final = ("verified", "single_member", "self_reported", "internal", "unspecified")
TIERS: Final = ("T0", "T1", "T2", "T3")


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
    surface: str
    region: str


Conditions = Mapping[str, frozenset[str]]
"""What a rule asks, by the name of what it looks at; what is not named is not asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule. `when` empty: it applies to every match."""

    name: str
    reason: str
    when: Conditions
    tier: int
    now: tuple[str, ...] = ()  # verbs at once
    confirmed: tuple[str, ...] = ()  # verbs once a person confirms
    report: Filing = Filing.NEVER
    authority: str = ""
    second_review: str = ""  # why; "": one person will do
    log_only: bool = False  # no case, no instruction


@dataclass(frozen=True, slots=True)
class Basis:
    """Where and when there is a legal basis for acting without a person."""

    name: str
    surfaces: frozenset[str]  # empty: every one
    regions: frozenset[str]
    since: datetime | None
    until: datetime | None  # exclusive

    def covers(self, surface: str, region: str) -> bool:
        return (not self.surfaces or surface in self.surfaces) and (not self.regions or region in self.regions)

    def in_force(self, now: datetime) -> bool:
        return (self.since is None or self.since <= now) and (self.until is None or now < self.until)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Rules and what they need. `version` is the SHA-256 of the file it was read from, in hexadecimal."""

    rules: tuple[Rule, ...]
    clocks: tuple[Clocks, ...]  # of T0..T3
    near: Mapping[str, int] = field(default_factory=dict)  # bits, by hash type
    bases: tuple[Basis, ...] = ()
    sample: tuple[int, ...] = (0, 0, 0, 0)  # of T0..T3, in thousandths
    version: str = ""


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
    """What follows from the matches of one verdict.

    Args:
        facts: of the matches that count; those of lists in shadow mode are not among them.
        case_seed: what the sample for a second review is drawn by, so that it is the same whenever it is asked.
    """
    known = list(facts)
    reasons = tuple(_reason(policy, fact) for fact in known)
    if not known:
        return Decision(None, (), "no list that counts has matched")
    surface, region = known[0].surface, known[0].region
    covering = [basis for basis in policy.bases if basis.covers(surface, region)]
    if covering and not any(basis.in_force(now) for basis in covering):
        names = ", ".join(basis.name for basis in covering)
        return Decision(None, reasons, f"no legal basis is in force for this surface and region: {names}")
    deciding = [reason.rule for reason in reasons if reason.rule is not None and not reason.rule.log_only]
    if not deciding:
        return Decision(None, reasons, "every rule that applies says: log only")
    return Decision(_plan(policy, reasons, deciding, case_seed), reasons)


def _reason(policy: Policy, fact: Fact) -> Reason:
    band = band_of(policy, fact)
    seen = {
        "trust": fact.trust, "lists": fact.list, "labels": fact.label, "hash_types": fact.hash_type,
        "bands": band.value, "surfaces": fact.surface, "regions": fact.region,
    }  # fmt: skip
    passed: list[tuple[str, str]] = []
    for rule in policy.rules:
        unmet = next((name for name, wanted in rule.when.items() if seen[name] not in wanted), None)
        if unmet is None:
            return Reason(fact, band, rule, tuple(passed))
        passed.append((rule.name, f"{unmet} is '{seen[unmet]}', not {' or '.join(sorted(rule.when[unmet]))}"))
    return Reason(fact, band, None, tuple(passed))


def _plan(policy: Policy, reasons: tuple[Reason, ...], deciding: list[Rule], case_seed: str) -> Plan:
    rules = tuple({rule.name: rule for rule in deciding}.values())
    tier = min(rule.tier for rule in rules)
    second_signal = any(r.fact.exact for r in reasons) or len({r.fact.hash_type for r in reasons}) > 1
    wanted: dict[str, Instruction] = {}
    for rule in rules:
        for verb in rule.now:
            waits = verb in ON_ACCOUNTS and not second_signal
            if verb not in wanted or (wanted[verb].deferred and not waits):
                wanted[verb] = Instruction(verb, rule.reason, waits)
        for verb in rule.confirmed:
            wanted.setdefault(verb, Instruction(verb, rule.reason, True))
    review = {rule.second_review: None for rule in rules if rule.second_review}
    if not review and drawn(policy, tier, case_seed):
        review["drawn for quality"] = None
    filings = {rule.report for rule in rules}
    authority = next((rule.authority for rule in rules if rule.report is not Filing.NEVER), "")
    return Plan(
        tier=tier, instructions=tuple(sorted(wanted.values(), key=lambda one: VERBS.index(one.verb))),
        acknowledge=policy.clocks[tier].acknowledge, decide=policy.clocks[tier].decide, authority=authority,
        report_unreviewed=Filing.UNREVIEWED in filings, second_review=tuple(review),
        rules=tuple(rule.name for rule in rules), version=policy.version,
    )  # fmt: skip


def drawn(policy: Policy, tier: int, case_seed: str) -> bool:
    """Whether a case is among those that a second person reviews, by chance that anybody can compute again."""
    number = int.from_bytes(hashlib.sha256(f"{policy.version}\0{case_seed}".encode()).digest()[:8], "big")
    return number % 1000 < policy.sample[tier]


def explain(decision: Decision) -> list[str]:
    """What was decided and why, in lines for people."""
    lines = []
    for reason in decision.reasons:
        fact = reason.fact
        distance = "" if fact.exact else f" at distance {fact.distance}"
        lines.append(f"{fact.list} ({fact.trust}), {fact.hash_type}{distance}: {reason.band}")
        lines += [f"  not '{name}': {why}" for name, why in reason.passed_over]
        lines.append(f"  '{reason.rule.name}': {reason.rule.reason}" if reason.rule else "  no rule applies")
    if decision.plan is None:
        return [*lines, f"nothing follows: {decision.why_nothing}"]
    plan = decision.plan
    lines.append(f"T{plan.tier}: taken within {plan.acknowledge}, decided within {plan.decide}")
    for one in plan.instructions:
        lines.append(f"  {one.verb}{' once confirmed' if one.deferred else ' at once'}: {one.reason}")
    if plan.authority:
        lines.append(f"  report to {plan.authority} {'at once' if plan.report_unreviewed else 'once confirmed'}")
    lines += [f"  two persons must agree: {why}" for why in plan.second_review]
    return lines
