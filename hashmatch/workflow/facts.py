"""What rules look at, from a verdict as it is recorded."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from hashmatch.hashing.registry import REGISTRY
from hashmatch.v1.audit_pb2 import VerdictRecord
from hashmatch.v1.lists_pb2 import TrustTier
from hashmatch.workflow.plan import Plan
from hashmatch.workflow.policy import Decision, Fact, Policy, decide


def facts_of(record: VerdictRecord, first: Collection[tuple[str, str]] = ()) -> list[Fact]:
    """Of the matches that count: those of lists that are not in shadow mode. `first`: list and entry id of those
    entries that never matched before."""
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
            attributes=dict(record.subject.attributes),
            within=match.threshold - match.distance if match.threshold else None,
            first_of_entry=(match.list, match.entry_id) in first,
            held=match.held,
        )
        for match in record.matches
        if not match.shadow
    ]


def seed_of(record: VerdictRecord) -> str:
    """What the sample for a second review is drawn by: whom the case is about, as `case_facts.about` says it.

    All matches that join one case draw the same; drawn by verdict, a case of many matches would nearly always be drawn.
    The case's own id is not known yet when policy is asked.
    """
    subject = record.subject
    return f"u\0{subject.uploader_id}" if subject.uploader_id else f"c\0{subject.content_id or record.verdict_id}"


def decision_on(
    policy: Policy,
    record: VerdictRecord,
    now: datetime,
    *,
    case_seed: str = "",
    first: Collection[tuple[str, str]] = (),
) -> Decision:
    """What policy makes of a verdict; `first` as `facts_of`, `case_seed` as `decide`, `seed_of` where none is given."""
    return decide(policy, facts_of(record, first), case_seed=case_seed or seed_of(record), now=now)


def plan_by(
    policy: Policy,
    record: VerdictRecord,
    now: datetime,
    *,
    case_seed: str = "",
    first: Collection[tuple[str, str]] = (),
) -> Plan | None:
    """What policy wants of a verdict, as `decision_on`; None: nothing."""
    return decision_on(policy, record, now, case_seed=case_seed, first=first).plan
