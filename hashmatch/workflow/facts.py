"""What rules look at, from a verdict as it is recorded."""

from __future__ import annotations

from datetime import datetime

from hashmatch.hashing.registry import REGISTRY
from hashmatch.v1.audit_pb2 import VerdictRecord
from hashmatch.v1.lists_pb2 import TrustTier
from hashmatch.workflow.plan import Plan
from hashmatch.workflow.policy import Decision, Fact, Policy, decide


def facts_of(record: VerdictRecord) -> list[Fact]:
    """Of the matches that count: those of lists that are not in shadow mode."""
    return [
        Fact(
            list=match.list,
            trust=TrustTier.Name(record.policies[match.list].trust).removeprefix("TRUST_TIER_").lower()
            if match.list in record.policies
            else "unspecified",
            label=match.label,
            hash_type=match.hash_type,
            distance=match.distance,
            exact=match.hash_type in REGISTRY and REGISTRY[match.hash_type].exact,
            surface=record.subject.surface,
            region=record.subject.region,
        )
        for match in record.matches
        if not match.shadow
    ]


def decision_on(policy: Policy, record: VerdictRecord, now: datetime) -> Decision:
    """What policy makes of a verdict."""
    return decide(policy, facts_of(record), case_seed=record.verdict_id, now=now)


def plan_by(policy: Policy, record: VerdictRecord, now: datetime) -> Plan | None:
    """What policy wants of a verdict; None: nothing."""
    return decision_on(policy, record, now).plan
