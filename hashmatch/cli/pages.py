"""`hashmatch pages`: who is called, who is on call, and what is left to whom; on a state directory."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from datetime import UTC, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from hashmatch import clock
from hashmatch.cli import format, office_opening
from hashmatch.cli.accounts import by
from hashmatch.cli.lists_output import as_dict
from hashmatch.cli.verbs import Verbs, group, verb
from hashmatch.errors import Refused
from hashmatch.office import Office
from hashmatch.v1.cases_pb2 import PageRecord
from hashmatch.workflow.drills import acknowledged_after, taken_after
from hashmatch.workflow.page_record import page_to_come, page_to_record
from hashmatch.workflow.rota import Rota, gaps, on_call

LOOKED_AHEAD = timedelta(days=60)  # for gaps in the rota


def add_parser(verbs: Verbs) -> None:
    pages = group(verbs, "pages", "who is called, and who is on call", "Who is called, who is on call, what is left to "
                  "whom.")  # fmt: skip
    one = verb(pages, "list", list_, "pages that are not over", "example:\n  hashmatch pages list --all")
    one.add_argument("--all", action="store_true", help="those that are over, too")
    one = verb(
        pages, "take", take, "acknowledge a page that you were sent", "example:\n  hashmatch pages take p_019af3c2"
    )
    one.add_argument("page", metavar="PAGE", help="its id, as the message has it")
    one = verb(
        pages, "drill", drill, "page whoever is on call about a case where nothing has happened, to try it",
        "example:\n  hashmatch pages drill\n\nThe case is marked as a drill wherever it is shown; clear it as any "
        "other, or end it.",
    )  # fmt: skip
    one.add_argument("--tier", type=int, choices=range(4), default=0, help="as of a case; default: 0")
    one.add_argument("--end", default="", metavar="CASE", help="of a drill: clears it, and tells how long it took")
    one = verb(pages, "handover", hand_over, "leave what is open to another who is on the rota",
               "example:\n  hashmatch pages handover --to bo --note 'the agency calls back at nine'")  # fmt: skip
    one.add_argument("--to", required=True, metavar="NAME", help="as the rota has it")
    one.add_argument("--note", required=True, metavar="TEXT", help="for the other; no media, no personal data")
    verb(pages, "rota", rota, "who is on call now, and where nobody will be", "example:\n  hashmatch pages rota")


def list_(args: argparse.Namespace) -> int:
    with office_opening.reading(args, "pages list") as office, office.ledger.env.read() as txn:
        found = list(office.pages.all(txn) if args.all else office.pages.open(txn))
        blind = office.cases.is_blind  # that there is such a page tells that it was confirmed
        found = [row for row in found if not (row.after_decision and blind(txn, row.case_id, by()))]
    return _shown(args, found)


def take(args: argparse.Namespace) -> int:
    with office_opening.step(args) as (log, office):
        row = office.pages.acknowledge(log, args.page, by=by())
    return _shown(args, [row])


def drill(args: argparse.Namespace) -> int:
    if args.end:
        return _ended(args)
    with office_opening.step(args) as (log, office):
        _rota(office)
        case, asked = office.cases.open_drill(log, tier=args.tier, by=by())
    if not args.json:
        print(f"{case.id} is a drill; its page goes out once a server sends it")
    return _shown(args, [page_to_come(asked)])


def _ended(args: argparse.Namespace) -> int:
    with office_opening.step(args) as (log, office):
        case = office.cases.end_drill(log, args.end, by=by())
    after = acknowledged_after(case)
    if args.json:
        seconds = after.total_seconds() if after is not None else None
        format.emit({"case": as_dict(case), "acknowledged_after_seconds": seconds})
    else:
        print(f"{case.id} is over: " + taken_after(case))
    return 0


def hand_over(args: argparse.Namespace) -> int:
    with office_opening.step(args) as (log, office):
        given = office.pages.hand_over(log, _rota(office), giver=by(), taker=args.to, note=args.note)
    if not args.json:
        print(f"{given.giver} leaves {len(given.open)} pages to {given.taker}: {given.note}")
    return _shown(args, map(page_to_record, given.open))


def rota(args: argparse.Namespace) -> int:
    with office_opening.opened(args) as office:
        known = _rota(office)
    now = clock.now()
    seats = on_call(known, now)
    holes = gaps(known, now, now + LOOKED_AHEAD)
    if args.json:
        format.emit(
            {
                "shift": seats.shift, "primary": seats.primary, "secondary": seats.secondary,
                "duty_manager": seats.duty_manager,
                "gaps": [{"begins": one.begins.isoformat(), "until": one.until.isoformat()} for one in holes],
            }
        )  # fmt: skip
        return 0
    print(f"{seats.shift or 'nobody is on call; the last resort stands in'}: {seats.primary}, then {seats.secondary}, "
          f"then {seats.duty_manager}")  # fmt: skip
    for hole in holes:
        print(hole)
    return 0


def _rota(office: Office) -> Rota:
    if office.rota is None:
        raise Refused("nobody is on call here: name the workflow's file, with a table [paging], in the settings")
    return office.rota


def _shown(args: argparse.Namespace, rows: Iterable[PageRecord]) -> int:
    found = list(rows)
    if args.json:
        for row in found:
            format.emit(as_dict(row))
    elif found:
        format.table(
            [(r.id, r.case_id, f"T{r.tier}", r.state, _when(r.raised_at), ", ".join(r.paged), r.acknowledged_by,
              r.problem, format.plain(r.note)) for r in found],
            ("page", "case", "tier", "state", "raised (UTC)", "told", "taken by", "problem", "note"),
        )  # fmt: skip
    else:
        print("no pages")
    return 0


def _when(at: Timestamp) -> str:
    return at.ToDatetime(UTC).isoformat(sep=" ", timespec="minutes")[:16]
