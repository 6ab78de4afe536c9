"""`hashmatch holds`: what must not be destroyed, and until when; on a state directory."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from datetime import UTC

from google.protobuf.timestamp_pb2 import Timestamp

from hashmatch import clock
from hashmatch.cli import format, office_opening
from hashmatch.cli.accounts import by
from hashmatch.cli.amounts import moment
from hashmatch.cli.lists_output import as_dict
from hashmatch.cli.verbs import Verbs, group, verb
from hashmatch.v1.cases_pb2 import HoldRecord
from hashmatch.workflow.hold_table import Kind
from hashmatch.workflow.holding import hold_of

SHOWN = 1000  # rows at most


def add_parser(verbs: Verbs) -> None:
    holds = group(verbs, "holds", "what must not be destroyed", "What must not be destroyed, and until when.")
    one = verb(holds, "list", list_, "holds that are in force, those that end first before the others",
               "example:\n  hashmatch holds list --case c_019af3c2")  # fmt: skip
    one.add_argument("--case", default="", metavar="CASE", help="of one case")
    one.add_argument("--all", action="store_true", help="those that ended, too")
    one = verb(holds, "place", place, "keep what a case is about from being destroyed",
               "example:\n  hashmatch holds place c_019af3c2 --kind LE_PRESERVATION --ground 'letter' --reference 17/26"
               )  # fmt: skip
    one.add_argument("case", metavar="CASE", help="its id")
    placing(one)
    one = verb(holds, "renew", renew, "give a hold another period, as the authority asks",
               "example:\n  hashmatch holds renew c_019af3c2 h_019af3c3 --reference 18/26")  # fmt: skip
    one.add_argument("case", metavar="CASE", help="its id")
    one.add_argument("hold", metavar="HOLD", help="its id")
    one.add_argument("--reference", required=True, metavar="TEXT", help="of the request")
    one.add_argument("--until", default="", metavar="TIME", help="where the request names an end")
    one = verb(holds, "release", release, "end a hold: one person asks, another agrees",
               "example:\n  hashmatch holds release c_019af3c2 h_019af3c3 --reason 'withdrawn'")  # fmt: skip
    one.add_argument("case", metavar="CASE", help="its id")
    releasing(one)


def placing(one: argparse.ArgumentParser) -> None:
    one.add_argument("--kind", required=True, choices=[*Kind], metavar="KIND", help="one of " + ", ".join(Kind))
    one.add_argument("--ground", required=True, metavar="TEXT", help="why")
    one.add_argument("--reference", default="", metavar="TEXT", help="of the authority")
    one.add_argument("--jurisdiction", default="", metavar="CODE", help="whose law it is, where the kind does not say")
    one.add_argument("--until", default="", metavar="TIME", help="where the order names an end")


def releasing(one: argparse.ArgumentParser) -> None:
    one.add_argument("hold", metavar="HOLD", help="as `hashmatch holds list` names it")
    one.add_argument("--reason", required=True, metavar="TEXT", help="for the record")


def list_(args: argparse.Namespace) -> int:
    now = clock.now()
    asked = f"case {args.case}" if args.case else ""
    with office_opening.reading(args, "holds list", filter=asked) as office, office.ledger.env.read() as txn:
        rows = [row for row in office.cases.store.every_hold(txn, args.case) if args.all or hold_of(row).holds(now)]
    rows.sort(key=lambda row: (not row.HasField("until"), row.until.seconds))
    if args.json:
        for row in rows:
            format.emit(as_dict(row))
    elif rows:
        format.table([tuple(_cells(row)) for row in rows[:SHOWN]], ("hold", "case", "kind", "until (UTC)", "ground"))
        if len(rows) > SHOWN:
            print(f"and {len(rows) - SHOWN} more")
    else:
        print("no holds")
    return 0


def _cells(row: HoldRecord) -> Iterator[str]:
    yield row.id
    yield row.case_id
    yield row.kind
    if row.HasField("released_at"):
        yield f"released {_when(row.released_at)}"
    else:
        yield _when(row.until) if row.HasField("until") else "it is released"
    yield row.ground


def place(args: argparse.Namespace) -> int:
    until = moment(args.until, "--until") if args.until else None
    with office_opening.step(args) as (log, office):
        hold = office.cases.holding.place(
            log, args.case, kind=args.kind, ground=args.ground, by=by(), reference=args.reference, until=until,
            jurisdiction=args.jurisdiction,
        )  # fmt: skip
    return _told(args, hold)


def renew(args: argparse.Namespace) -> int:
    until = moment(args.until, "--until") if args.until else None
    with office_opening.step(args) as (log, office):
        hold = office.cases.holding.renew(log, args.case, args.hold, by=by(), reference=args.reference, until=until)
    return _told(args, hold)


def release(args: argparse.Namespace) -> int:
    with office_opening.step(args) as (log, office):
        hold = office.cases.holding.release(log, args.case, args.hold, by=by(), reason=args.reason)
    return _told(args, hold)


def _told(args: argparse.Namespace, hold: HoldRecord) -> int:
    if args.json:
        format.emit(as_dict(hold))
    elif hold.HasField("released_at"):
        print(f"{hold.id} is released by {' and '.join(hold.released_by)}")
    elif hold.release_asked_by:
        print(f"{hold.id}: {hold.release_asked_by} asks for its release: another person must agree")
    else:
        until = _when(hold.until) if hold.HasField("until") else "it is released"
        print(f"{hold.id}: {hold.kind} until {until}")
    return 0


def _when(at: Timestamp) -> str:
    return at.ToDatetime(UTC).isoformat(sep=" ", timespec="minutes")[:16]
