"""`hashmatch evidence grants` and `due`: who may see what is kept of cases, and what nothing keeps any more."""

from __future__ import annotations

import argparse
from datetime import UTC

from hashmatch import clock
from hashmatch.cli import format, office_opening
from hashmatch.cli.accounts import by
from hashmatch.cli.lists_output import as_dict
from hashmatch.cli.verbs import Verbs, verb
from hashmatch.v1.cases_pb2 import DueEvidence
from hashmatch.workflow import granting

SHOWN = 1000  # rows at most

GRANTS_EXAMPLE = """\
example:
  hashmatch evidence grants
  hashmatch evidence grants --case c_019af3c2 --all
  hashmatch evidence grants --to ann --all

Without --all: those that are asked for, and those that run. "hashmatch" gave what goes with a claim."""


def add_parser(evidence: Verbs) -> None:
    """Adds both to the verbs of `hashmatch evidence`."""
    one = verb(evidence, "grants", grants, "who may see, or saw, more of which case, by whose leave", GRANTS_EXAMPLE)
    one.add_argument("--case", default="", metavar="CASE", help="of one case")
    one.add_argument("--to", default="", metavar="NAME", help="of one person")
    one.add_argument("--all", action="store_true", help="those that are over, too")
    verb(evidence, "due", due, "closed cases whose evidence nothing keeps any more",
         "example:\n  hashmatch evidence due")  # fmt: skip


def grants(args: argparse.Namespace) -> int:
    now, filter = clock.now(), f"case {args.case}" if args.case else ""
    with office_opening.reading(args, "evidence grants", filter=filter) as office, office.ledger.env.read() as txn:
        if args.case:
            office.cases.store.get(txn, args.case)
        found, more = granting.page(
            office.ledger.env, txn, now, case_id=args.case, to=args.to, every=args.all, limit=SHOWN
        )
        found = [one for one in found if not office.cases.is_blind(txn, one.case_id, by())]
    if args.json:
        for one in found:
            format.emit(as_dict(one) | {"standing": granting.standing(one, now).value})
        return 0
    if found:
        format.table(
            [
                (g.id, g.case_id, g.to, g.level, granting.standing(g, now), g.approver,
                 f"{g.until.ToDatetime(UTC):%Y-%m-%d %H:%M}" if g.approver else f"{g.minutes} minutes", g.purpose)
                for g in found
            ],
            ("grant", "case", "to", "level", "is", "agreed", "until (UTC)", "purpose"),
        )  # fmt: skip
    else:
        print("no grants")
    if more:
        print(f"and more; {len(found)} are shown")
    return 0


def due(args: argparse.Namespace) -> int:
    found: list[DueEvidence] = []
    with office_opening.reading(args, "evidence due", evidence=True) as office:
        now, after, last = clock.now(), b"", False
        while not last:
            with office.ledger.env.read() as txn:
                page, after = office.destroying.due(txn, now, after=after)
            found, last = found + page, not after
    if args.json:
        for one in found:
            told = as_dict(one)
            format.emit(told.pop("case") | {"due": told})
    elif found:
        format.table(
            [
                (one.case.id, str(one.items), f"{one.case.closed_at.ToDatetime(UTC):%Y-%m-%d}",
                 f"{one.since.ToDatetime(UTC):%Y-%m-%d}", one.rule, one.case.destroy_asked_by)
                for one in found
            ],
            ("case", "items", "closed", "due since", "kept until then by", "asked for by"),
        )  # fmt: skip
    else:
        print("nothing is due")
    return 0
