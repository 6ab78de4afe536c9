"""`hashmatch lists`: the verbs that make a list and say how it matches."""

from __future__ import annotations

import argparse

from hashmatch.cli import lists_approvals
from hashmatch.cli.accounts import by
from hashmatch.cli.amounts import permille, seconds
from hashmatch.cli.lists_output import show_list
from hashmatch.cli.lists_verbs import DISPOSITIONS, TRUST, keeper, pairs, show
from hashmatch.errors import Malformed
from hashmatch.v1 import lists_pb2


def create(args: argparse.Namespace) -> int:
    with keeper(args) as lists:
        wanted = wanted_policy(args, lists_pb2.Policy())
        show_list(
            lists.create(args.list, operator=args.operator, purpose=args.purpose, policy=wanted, by=by()), args.json
        )
    return 0


POLICY_OPTIONS = (
    "threshold", "disposition", "variants", "shadow", "trust", "benign", "rollout", "rollout_seed", "surfaces",
    "regions", "refresh", "two_person", "collision",
)  # fmt: skip


def policy(args: argparse.Namespace) -> int:
    if all(getattr(args, option) in (None, []) for option in POLICY_OPTIONS):
        return show(args)
    with keeper(args) as lists:
        wanted = wanted_policy(args, lists.get(args.list).policy)
    change = lists_pb2.SetPolicyRequest(name=args.list, policy=wanted, reason=args.reason)
    if lists_approvals.proposed(args, change):
        return 0
    with keeper(args) as lists:
        show_list(lists.set_policy(args.list, wanted, reason=args.reason, by=by()), args.json)
    return 0


def wanted_policy(args: argparse.Namespace, present: lists_pb2.Policy) -> lists_pb2.Policy:
    """`present` with what the options say."""
    changed = lists_pb2.Policy()
    changed.CopyFrom(present)
    if args.disposition:
        changed.disposition = DISPOSITIONS[args.disposition]
    if args.trust:
        changed.trust = TRUST[args.trust]
    for switch in ("shadow", "benign", "two_person"):
        if getattr(args, switch) is not None:
            setattr(changed, switch, getattr(args, switch))
    for several in ("variants", "surfaces", "regions"):
        if getattr(args, several) is not None:
            getattr(changed, several)[:] = [name.strip() for name in getattr(args, several).split(",") if name.strip()]
    for hash_type, bits in pairs(args.threshold, "--threshold", "TYPE=BITS"):
        if not (bits.isascii() and bits.isdigit() and len(bits) <= 4):
            raise Malformed("--threshold: want TYPE=BITS, BITS a whole number")
        changed.thresholds[hash_type] = int(bits)
    if args.rollout is not None:
        changed.rollout_permille = permille(args.rollout, "--rollout")
    if args.rollout_seed is not None:
        changed.rollout_seed = args.rollout_seed
    if args.refresh is not None:
        changed.refresh_seconds = seconds(args.refresh, "--refresh")
    if args.collision is not None:
        changed.collision_uploaders = max(0, args.collision)
    return changed
