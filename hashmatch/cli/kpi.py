"""`hashmatch kpi`: the figures by which the work is judged."""

from __future__ import annotations

import argparse
from datetime import timedelta

from hashmatch import clock, office
from hashmatch.cli import format, log_opening
from hashmatch.cli.amounts import moment
from hashmatch.cli.verbs import Verbs, verb
from hashmatch.errors import Malformed
from hashmatch.workflow import figures
from hashmatch.workflow.kpi_times import Share

MAX_DAYS = 3650


def add_parser(verbs: Verbs) -> None:
    one = verb(
        verbs, "kpi", run, "how fast, how right and how complete the work is", "example:\n  hashmatch kpi --days 30"
    )
    since = one.add_mutually_exclusive_group()
    since.add_argument(
        "--days", type=int, metavar="N", help="times and clocks of cases so old at most, and of open ones"
    )
    since.add_argument("--since", default="", metavar="TIME", help="the same, of cases detected from then on")
    one.add_argument("--until", default="", metavar="TIME", help="of no case detected from then on")


def run(args: argparse.Namespace) -> int:
    if args.days is not None and not 1 <= args.days <= MAX_DAYS:
        raise Malformed(f"want 1 to {MAX_DAYS}", field="--days")
    with log_opening.opened(args, "kpi") as ledger:
        policy = office.policy_in_force(ledger, args.settings).now
        now = clock.now()
        since = now - timedelta(days=args.days) if args.days else moment(args.since, "--since") if args.since else None
        until = moment(args.until, "--until") if args.until else None
        found = figures.figures(ledger, policy, now, since=since, until=until)
    if args.json:
        format.emit(figures.told(found))
        return 0
    rows = [
        (f"T{tier}", one, str(row.cases), str(row.still), *map(figures.words, (row.p50, row.p90, row.p95, row.longest)))
        for one, by_tier in found.times.items()
        for tier, row in by_tier.items()
    ]
    if rows:
        format.table(rows, ("tier", "time to be", "cases", "still not", "p50", "p90", "p95", "longest"))
    for one, by_tier_ in found.attained.items():
        for tier, share in by_tier_.items():
            print(f"T{tier} {one} within its clock: {_share(share)}")
    for tier, left in found.backlog.items():
        print(f"T{tier} waiting: {left.cases}, the oldest for {figures.words(left.oldest)}")
    for key, share in found.precision.items():
        print(f"{key.list}, {key.hash_type} {key.band} bits: {_share(share)} confirmed")
    print(f"reversed: {_share(found.reversed_)}; copies: {_share(found.copies)}")
    if found.agreement is not None and found.agreement.kappa is not None:
        print(f"two reviewers agree: kappa {found.agreement.kappa:.2f} of {found.agreement.pairs}")
    if found.blind is not None and found.blind.kappa is not None and found.blind.kappa_95 is not None:
        low, high = found.blind.kappa_95
        print(f"second looks agree: kappa {found.blind.kappa:.2f} ({low:.2f}–{high:.2f}) of {found.blind.pairs}")
    if found.unsaid:
        print(f"second looks that wait: {found.unsaid}, overdue: {len(found.late)}")
    for late in found.late:
        print(f"second look {late.review_id}, asked of {late.asked_of}: overdue for {figures.words(late.seconds)}")
    print(f"reports with address, port, time, e-mail and views: {_share(found.reported.whole)}")
    looks = ", ".join(f"{number} {level}" for level, number in found.looks.items()) or "none"
    print(f"looks at evidence: {looks}; shown for at most {found.exposure_minutes:.0f} minutes")
    print("instructions: " + (", ".join(f"{n} {state}" for state, n in found.instructions.items()) or "none"))
    told = found.reconciled
    print(
        f"{told.matches} matches: {told.acted} acted on, {told.justified} not for a reason, {told.gap} unaccounted for"
    )
    return 0 if not told.gap else 1


def _share(share: Share) -> str:
    if share.value is None or share.interval is None:
        return "none yet"
    low, high = share.interval
    return f"{share.hits} of {share.of} ({share.value:.0%}, {low:.0%}–{high:.0%})"
