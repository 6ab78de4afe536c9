"""What a list says about its matches, and what of it is suppressed."""

from __future__ import annotations

from hashmatch.convert.times import moment, timestamp
from hashmatch.errors import Malformed
from hashmatch.types import COLLISION_UPLOADERS, WHOLE, Disposition, Policy, Suppression, TrustTier
from hashmatch.v1 import common_pb2, lists_pb2


def disposition_to_wire(disposition: Disposition) -> common_pb2.Disposition.ValueType:
    return common_pb2.Disposition.ValueType(int(disposition))


def policy_to_wire(policy: Policy) -> lists_pb2.Policy:
    """A policy as it is stored and shown; what is as it would be without being said is not said."""
    return lists_pb2.Policy(
        thresholds=dict(policy.thresholds),
        disposition=disposition_to_wire(policy.disposition),
        shadow=policy.shadow,
        variants=sorted(policy.variants),
        trust=lists_pb2.TrustTier.ValueType(int(policy.trust)),
        benign=policy.benign,
        rollout_permille=None if policy.rollout_permille == WHOLE else policy.rollout_permille,
        rollout_seed=policy.rollout_seed,
        surfaces=sorted(policy.surfaces),
        regions=sorted(policy.regions),
        refresh_seconds=policy.refresh_seconds,
        two_person=policy.two_person,
        collision_uploaders=None if policy.collision_uploaders == COLLISION_UPLOADERS else policy.collision_uploaders,
    )


def policy_from_wire(policy: lists_pb2.Policy) -> Policy:
    """A policy as given; whether its hash types, variants and bounds are right is for `lists.terms` to say.

    Without a disposition: REVIEW, or ALLOW where the list is of known-benign media.

    Raises:
        Malformed: an enumeration's number is not one of ours.
    """
    if policy.disposition not in common_pb2.Disposition.values():
        raise Malformed(f"disposition {policy.disposition} is not one of 1..4", field="policy.disposition")
    if policy.trust not in lists_pb2.TrustTier.values():
        raise Malformed(f"trust tier {policy.trust} is not one of 0..4", field="policy.trust")
    unsaid = Disposition.ALLOW if policy.benign else Disposition.REVIEW
    return Policy(
        thresholds=dict(policy.thresholds),
        disposition=Disposition(policy.disposition or unsaid),
        shadow=policy.shadow,
        variants=frozenset(policy.variants),
        trust=TrustTier(policy.trust),
        benign=policy.benign,
        rollout_permille=policy.rollout_permille if policy.HasField("rollout_permille") else WHOLE,
        rollout_seed=policy.rollout_seed,
        surfaces=frozenset(policy.surfaces),
        regions=frozenset(policy.regions),
        refresh_seconds=policy.refresh_seconds,
        two_person=policy.two_person,
        collision_uploaders=(
            policy.collision_uploaders if policy.HasField("collision_uploaders") else COLLISION_UPLOADERS
        ),
    )


def suppression_to_wire(suppression: Suppression) -> lists_pb2.Suppression:
    return lists_pb2.Suppression(
        list=suppression.list,
        entry_id=suppression.entry_id,
        reason=suppression.reason,
        by=suppression.by,
        approver=suppression.approver,
        created_at=timestamp(suppression.created_at),
        expires_at=timestamp(suppression.expires_at) if suppression.expires_at else None,
    )


def suppression_from_wire(suppression: lists_pb2.Suppression) -> Suppression:
    """A suppression as it was stored."""
    return Suppression(
        list=suppression.list,
        entry_id=suppression.entry_id,
        reason=suppression.reason,
        by=suppression.by,
        approver=suppression.approver,
        created_at=moment(suppression.created_at),
        expires_at=moment(suppression.expires_at) if suppression.HasField("expires_at") else None,
    )
