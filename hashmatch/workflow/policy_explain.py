"""What a policy means, as a digest; and what it decided and why, in lines for people. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:  # policy.py imports this module
    from hashmatch.workflow.plan import Plan
    from hashmatch.workflow.policy import Decision, Policy, Reason

_WORDS: Final = frozenset({"name", "reason", "version", "meaning"})  # for people: they decide nothing
_UNORDERED: Final = frozenset({"now", "confirmed", "bases", "jurisdictions"})


def meaning(policy: Policy) -> str:
    """SHA-256 of what a policy decides, in hexadecimal: the same for two files that never decide differently because
    they differ in comments, spelled-out defaults, order that does not matter, or names and reasons."""
    return hashlib.sha256(_text(_plain(policy)).encode()).hexdigest()


def _plain(value: Any, field: str = "") -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, tuple):
        found = [_plain(one) for one in value]
        return sorted(found, key=_text) if field in _UNORDERED else found
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if is_dataclass(value):
        asked = [one.name for one in fields(value) if one.name not in _WORDS]
        return {name: _plain(getattr(value, name), name) for name in asked}
    return value


def _text(plain: Any) -> str:
    return json.dumps(plain, sort_keys=True)


def explain(decision: Decision) -> list[str]:
    """What was decided and why, in lines for people."""
    lines = [line for reason in decision.reasons for line in _match(reason)]
    if decision.plan is None:
        return [*lines, f"nothing follows: {decision.why_nothing}"]
    return [*lines, *_plan(decision.plan)]


def _match(reason: Reason) -> Iterator[str]:
    fact = reason.fact
    distance = "" if fact.exact else f" at distance {fact.distance}"
    yield f"{fact.list} ({fact.trust}), {fact.hash_type}{distance}: {reason.band}"
    if fact.held:
        yield "  its entry is held: it matched many uploaders"
    if fact.first_of_entry:
        yield "  the first match of its entry"
    yield from (f"  not '{name}': {why}" for name, why in reason.passed_over)
    if reason.rule is None:
        yield "  no rule applies"
    else:
        yield f"  '{reason.rule.name}': {reason.rule.reason}{'; it is only logged' if reason.rule.log_only else ''}"


def _plan(plan: Plan) -> Iterator[str]:
    yield f"T{plan.tier}: taken within {plan.acknowledge}, decided within {plan.decide}"
    if plan.withheld:
        yield f"  nothing by itself: {plan.withheld}"
    if plan.disposition is not None:
        yield f"  the answer asks for {plan.disposition.name} at least"
    if any(not one.deferred for one in plan.instructions):
        yield f"  what is asked of the platform is done within {plan.contain}"
    for one in plan.instructions:
        when = " once confirmed" if one.deferred else " at once"
        yield f"  {one.verb}{when}: {one.reason}{f'; it waits, since {one.why_deferred}' * bool(one.why_deferred)}"
    if plan.authority:
        by = f", which '{plan.jurisdiction}' of the jurisdictions names" if plan.jurisdiction else ""
        when = "at once" if plan.report_unreviewed else "once confirmed"
        yield f"  report to {plan.authority}{by}, {when}, within {plan.report}"
    if plan.duty is not None:
        yield f"  a finished report begins the duty {plan.duty}: {plan.duty.meaning}"
    yield from (f"  two persons must agree: {why}" for why in plan.second_review)
