"""What is wrong with a policy, said before it is in force. Pure.

An error keeps a policy from being put into force: a rule that is never reached, or asks for what contradicts itself or
another; clocks that run the wrong way. A note does not: a list that is not there, a legal basis that is over.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import combinations, pairwise
from typing import Final

from hashmatch.workflow import policy_reach
from hashmatch.workflow.plan import BY_REGION, UNDO
from hashmatch.workflow.policy import TIERS, Filing, Policy, Rule

CONTRARY: Final = frozenset({frozenset((verb, undoing)) for verb, undoing in UNDO.items()})
_CLOCKS: Final = ("contain", "acknowledge", "decide", "report")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong with a policy; an error keeps it from being put into force."""

    where: str
    what: str
    error: bool


def check(
    policy: Policy,
    *,
    lists: Collection[str] | None = None,
    now: datetime | None = None,
    limit: int = policy_reach.MAX_BOXES,
) -> list[Finding]:
    """What is wrong with a policy, errors and what is merely odd.

    Args:
        lists: the names of those that exist; None: not known.
        now: a legal basis that is over by then is noted; None: none is.
        limit: how much work is done to find out whether a rule is ever reached, as `policy_reach.of_rules`.
    """
    return [
        *_repeated("rule", (rule.name for rule in policy.rules)),
        *_repeated("basis", (basis.name for basis in policy.bases)),
        *_repeated("jurisdiction", (row.name for row in policy.jurisdictions)),
        *_reach(policy, limit),
        *(Finding(_of(rule), what, True) for rule in policy.rules for what in _contradictions(rule)),
        *(Finding(_of(rule), what, True) for rule, what in _between(policy)),
        *_authorities(policy),
        *_clocks(policy),
        *_bases(policy, now),
        *(
            Finding(_of(rule), f"there is no list '{name}'", False)
            for rule in policy.rules
            for name in sorted(rule.when.get("lists", frozenset()) - set(lists or ()))
            if lists is not None
        ),
    ]


def _of(rule: Rule) -> str:
    return f"rule '{rule.name}'"


def _named(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def _repeated(what: str, names: Iterable[str]) -> Iterator[Finding]:
    for name, times in sorted(Counter(names).items()):
        if times > 1:
            yield Finding(f"{what} '{name}'", "there are several of that name", True)


def _reach(policy: Policy, limit: int) -> Iterator[Finding]:
    space = policy_reach.Space(policy)
    undecided = f"is not decided: it takes more than {limit} boxes to tell"
    for rule, found in zip(policy.rules, policy_reach.of_rules(policy, space, limit=limit), strict=True):
        if found.reached is None:
            yield Finding(_of(rule), f"whether it is ever reached {undecided}", False)
        elif not found.reached and found.takers:
            what = f"is never reached: {_named(found.takers)} before it take all that it would"
            yield Finding(_of(rule), what, True)
        elif not found.reached:
            yield Finding(_of(rule), "is never reached: no match can meet all its conditions", True)
    rest = policy_reach.of_the_rest(policy, space, limit=limit)
    if rest.reached is None:
        yield Finding("rules", f"whether some matches meet no rule {undecided}", False)
    elif rest.example is not None:
        what = f"some matches meet no rule, such as {space.describe(rest.example)}: end with one that takes them"
        yield Finding("rules", what, True)


def _contradictions(rule: Rule) -> Iterator[str]:
    verbs = {*rule.now, *rule.confirmed}
    for pair in sorted(CONTRARY, key=sorted):
        if pair <= verbs:
            yield f"asks for {' and '.join(sorted(pair))}, which undo each other"
    reports = rule.report is not Filing.NEVER
    if rule.log_only and (verbs or reports or rule.authority or rule.second_review or rule.disposition is not None):
        yield "says log_only, and asks for something"
    if reports and not rule.authority:
        yield "wants a report, and names no authority"
    if rule.authority and not reports:
        yield f"names the authority {rule.authority}, and wants no report"
    if rule.report is Filing.UNREVIEWED and rule.second_review:
        yield "reports without review, and wants a second reviewer"
    if twice := sorted(set(rule.now) & set(rule.confirmed)):
        yield f"asks for {', '.join(twice)} at once and once confirmed"


def _between(policy: Policy) -> Iterator[tuple[Rule, str]]:
    """What rules ask for that undo each other's: two matches of one verdict may each meet one of them."""
    for one, other in combinations([rule for rule in policy.rules if not rule.log_only], 2):
        verbs, others = {*one.now, *one.confirmed}, {*other.now, *other.confirmed}
        for pair in sorted(CONTRARY, key=sorted):
            apart = pair <= verbs | others and not pair <= verbs and not pair <= others
            if apart and _may_meet_one_verdict(one, other):
                asked = " and ".join(sorted(pair))
                yield other, f"and rule '{one.name}' ask for {asked}, which undo each other in one verdict"


def _may_meet_one_verdict(one: Rule, other: Rule) -> bool:
    """Matches of one verdict share its surface, its region and its attributes."""
    for name in ("surfaces", "regions"):
        if name in one.when and name in other.when and not one.when[name] & other.when[name]:
            return False
    return all(other.attributes.get(name, value) == value for name, value in one.attributes.items())


def _authorities(policy: Policy) -> Iterator[Finding]:
    named = sorted({rule.authority for rule in policy.rules if rule.authority})
    if len(named) > 1:
        yield Finding("rules", f"name {' and '.join(named)}: a case goes to one authority", True)
    defaults = [row.name for row in policy.jurisdictions if row.default]
    if BY_REGION in named and not defaults:
        what = f"a report {BY_REGION} wants one row to be the default, for regions that none names"
        yield Finding("jurisdictions", what, True)
    if len(defaults) > 1:
        yield Finding("jurisdictions", f"{_named(defaults)} are each the default: one may be", True)
    if policy.jurisdictions and BY_REGION not in named:
        yield Finding("jurisdictions", f"no rule has the authority '{BY_REGION}': they are never asked", False)
    for region, times in sorted(Counter(one for row in policy.jurisdictions for one in row.regions).items()):
        if times > 1:
            rows = _named(row.name for row in policy.jurisdictions if region in row.regions)
            yield Finding("jurisdictions", f"{rows} each name the region {region}", True)
    for row in policy.jurisdictions:
        where = f"jurisdiction '{row.name}'"
        if not row.regions and not row.default:
            yield Finding(where, "names no region and is not the default", True)
        known = [(tier, one) for tier, one in zip(TIERS, row.deadlines, strict=True) if one is not None]
        for (urgent, sooner), (tier, later) in pairwise(known):
            if sooner > later:
                yield Finding(where, f"gives {urgent} longer than {tier}", True)


def _clocks(policy: Policy) -> Iterator[Finding]:
    for (urgent, sooner), (tier, later) in pairwise(zip(TIERS, policy.clocks, strict=True)):
        for name in _CLOCKS:
            if getattr(sooner, name) > getattr(later, name):
                yield Finding(f"clocks.{urgent}", f"{name} is longer than that of {tier}, which is less urgent", True)
    for tier, one in zip(TIERS, policy.clocks, strict=True):
        if one.acknowledge > one.decide:
            yield Finding(f"clocks.{tier}", "acknowledge is longer than decide", True)
        if one.report < one.decide:
            what = "a report is due before the decision is: those that wait for a person may be late"
            yield Finding(f"clocks.{tier}", what, False)


def _bases(policy: Policy, now: datetime | None) -> Iterator[Finding]:
    for basis in policy.bases:
        where = f"basis '{basis.name}'"
        if basis.since is not None and basis.until is not None and basis.until <= basis.since:
            yield Finding(where, "ends before it begins", True)
        elif now is not None and basis.until is not None and basis.until <= now:
            what = f"is over since {basis.until:%Y-%m-%d}: where it covers and none is in force, nothing follows"
            yield Finding(where, what, False)
