"""`hashmatch cases`: working what follows from matches, on a state directory."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from hashmatch.audit.leaves import Appending
from hashmatch.cli import format, holds, office_opening, outbox
from hashmatch.cli.accounts import by
from hashmatch.cli.amounts import seconds
from hashmatch.cli.lists_output import as_dict
from hashmatch.cli.verbs import Verbs, group, verb
from hashmatch.v1.cases_pb2 import (
    DECISION_CLEAR,
    DECISION_CONFIRM,
    Case,
    CaseItem,
    CaseState,
    Tier,
)
from hashmatch.workflow import case as life
from hashmatch.workflow.blind import undecided
from hashmatch.workflow.case_facts import state_of
from hashmatch.workflow.casework import LEASE, Casework
from hashmatch.workflow.containment import tell_containment, word
from hashmatch.workflow.drills import taken_after
from hashmatch.workflow.hold_table import DUTIES

SHOWN = 1000  # rows at most


def add_parser(verbs: Verbs) -> None:
    cases = group(verbs, "cases", "work the cases that matches opened", "Work the cases that matches opened.")
    one = _verb(cases, "list", list_cases, "cases by tier and age", "cases list --tier 0 --tier 1")
    one.add_argument("--in", dest="states", action="append", metavar="STATE", choices=[*life.State],
                     help="one of " + ", ".join(life.State) + "; may be repeated; default: all but CLOSED")  # fmt: skip
    one.add_argument("--tier", type=int, action="append", choices=range(4), help="may be repeated")
    one.add_argument("--assignee", default="", metavar="NAME", help="of those whom NAME has claimed")
    one = _about(cases, "show", show, "one case with all that belongs to it", "cases show c_019af3c2")
    one = _about(cases, "claim", claim, "take a case for a while", "cases claim c_019af3c2 --for 20m")
    one.add_argument("--for", dest="lease", default="", metavar="TIME", help="default: half an hour")
    _about(cases, "unclaim", unclaim, "give a claim back", "cases unclaim c_019af3c2")
    one = _about(cases, "decide", decide, "confirm a case, or clear it",
                 "cases decide c_019af3c2 --confirm --reason KNOWN_MATERIAL")  # fmt: skip
    either = one.add_mutually_exclusive_group(required=True)
    either.add_argument("--confirm", action="store_true", help="it is what it was taken for")
    either.add_argument("--clear", action="store_true", help="it is not: what was done is undone")
    one.add_argument("--items", type=int, default=0, metavar="N", help="that you have seen: more by now are refused")
    _reasons(one)
    one = _about(cases, "escalate", escalate, "hand a case to a lead, or make it more urgent",
                 "cases escalate c_019af3c2 --tier 0 --reason IMMINENT_HARM")  # fmt: skip
    one.add_argument("--tier", type=int, choices=range(4), help="more urgent than it is; default: as it is")
    _reasons(one)
    one = _about(cases, "reopen", reopen, "work a decided case again, or clear what was confirmed",
                 "cases reopen c_019af3c2 --clear --reason APPEAL_GRANTED")  # fmt: skip
    one.add_argument("--clear", action="store_true", help="clear it at once, with all that followed")
    _reasons(one)
    one = _about(cases, "report", record_report, "note a report that was filed elsewhere",
                 "cases report c_019af3c2 --authority NCMEC --receipt 4711")  # fmt: skip
    one.add_argument("--authority", required=True, metavar="NAME", help="such as NCMEC")
    one.add_argument("--receipt", required=True, metavar="NUMBER", help="the authority's own")
    one.add_argument("--duty", default="", choices=["", *DUTIES], metavar="KIND",
                     help="to keep; default: as the policy says, else US_REPORT")  # fmt: skip
    _verb(cases, "second-looks", second_looks, "cases that you are asked to look at, not knowing what was decided",
          "cases second-looks")  # fmt: skip
    one = _verb(cases, "second-look", second_look, "say what you make of such a case",
                "cases second-look c_019af3c2.0 --confirm")  # fmt: skip
    one.add_argument("review", metavar="REVIEW", help="as `hashmatch cases second-looks` names it")
    either = one.add_mutually_exclusive_group(required=True)
    either.add_argument("--confirm", action="store_true", help="it is what it was taken for")
    either.add_argument("--clear", action="store_true", help="it is not")
    one = _about(cases, "hold", holds.place, "keep what a case is about from being destroyed",
                 "cases hold c_019af3c2 --kind LE_PRESERVATION --ground 'letter 17/26'")  # fmt: skip
    holds.placing(one)
    one = _about(cases, "release", holds.release, "end a hold: one person asks, another agrees",
                 "cases release c_019af3c2 h_019af3c3 --reason 'withdrawn by the court'")  # fmt: skip
    holds.releasing(one)


def _verb(
    verbs: Verbs, name: str, run: Callable[[argparse.Namespace], int], help_: str, example: str
) -> argparse.ArgumentParser:
    return verb(verbs, name, run, help_, f"example:\n  hashmatch {example}")


def _about(
    verbs: Verbs, name: str, run: Callable[[argparse.Namespace], int], help_: str, example: str
) -> argparse.ArgumentParser:
    one = _verb(verbs, name, run, help_, example)
    one.add_argument("case", metavar="CASE", help="its id")
    return one


def _reasons(one: argparse.ArgumentParser) -> None:
    one.add_argument("--reason", action="append", default=[], metavar="CODE", help="of yours; may be repeated; wanted")
    one.add_argument("--note", default="", metavar="TEXT", help="for those who come after; sealed in the log")


@contextmanager
def _step(args: argparse.Namespace) -> Iterator[tuple[Appending, Casework]]:
    with office_opening.step(args) as (log, found):
        yield log, found.cases


def list_cases(args: argparse.Namespace) -> int:
    states = {CaseState.Value(f"CASE_STATE_{name}") for name in args.states or ()}
    tiers = {Tier.Value(f"TIER_T{tier}") for tier in args.tier or ()}
    with office_opening.reading(args, "cases list") as found_, found_.ledger.env.read() as txn:
        cases = found_.cases
        found, more = cases.store.page(txn, states=states, tiers=tiers, assignee=args.assignee, limit=SHOWN)
        found = [undecided(one) if cases.is_blind(txn, one.id, by()) else one for one in found]
    if args.json:
        for case in found:
            format.emit(as_dict(case))
        return 0
    rows = [
        (
            c.id,
            f"T{c.tier - 1}" + " DRILL" * c.drill,
            state_of(c) if c.state else "?",
            str(c.items),
            _when(c.detected_at),
            _when(c.decide_by),
            c.assignee,
        )
        for c in found
    ]
    if rows:
        format.table(rows, ("case", "tier", "state", "items", "detected (UTC)", "decide by", "assignee"))
        if more:
            print(f"and more; the first {SHOWN} are shown")
    else:
        print("no cases")
    return 0


def show(args: argparse.Namespace) -> int:
    with (
        office_opening.reading(args, "cases show", filter=f"case {args.case}") as found,
        found.ledger.env.read() as txn,
    ):
        cases = found.cases
        case = cases.store.get(txn, args.case)
        items = list(cases.store.items(txn, case.id, SHOWN))
        sent = list(cases.outbox.of_case(txn, case.id))
        kept = cases.store.holds(txn, case.id)
        if cases.is_blind(txn, case.id, by()):
            case, sent, kept = undecided(case), [], []
        else:
            tell_containment(items, sent)
    if args.json:
        format.emit(
            {
                "case": as_dict(case), "items": [as_dict(one) for one in items],
                "dispatches": [as_dict(one) for one in sent], "holds": [as_dict(one) for one in kept],
            }
        )  # fmt: skip
        return 0
    for line in _told(case):
        print(line)
    of_items = ("verdict", "content", "copy of", "contained", "evidence", "viewed by", "entries")
    format.table([_item(one) for one in items], of_items)
    if sent:
        format.table([outbox.row(one) for one in sent], outbox.COLUMNS)
    for hold in kept:
        until = _when(hold.until) if hold.HasField("until") else "it is released"
        state = "released" if hold.HasField("released_at") else f"held until {until}"
        print(f"{hold.id}: {hold.kind}, {state}: {hold.ground}")
    return 0


def _told(case: Case) -> Iterator[str]:
    state = state_of(case) if case.state else "a second look is asked of you"
    yield f"case {case.id}: {state}, T{case.tier - 1}, {case.items} items in {case.clusters} clusters"
    if case.drill:
        yield f"  DRILL: nothing has happened; {taken_after(case)}"
    yield f"  detected {_when(case.detected_at)}, contained {_when(case.contained_at)}"
    yield f"  decided {_when(case.decided_at)}, reported {_when(case.reported_at)}, closed {_when(case.closed_at)}"
    if case.assignee:
        yield f"  claimed by {case.assignee} until {_when(case.lease_until)}"
    for why in case.second_review:
        yield f"  two persons must agree: {why}"
    if case.unrouted:
        yield f"  asked of nobody, since no destination takes it: {', '.join(case.unrouted)}"
    for review in case.reviews:
        said = "confirmed" if review.decision == 1 else "cleared"
        yield f"  {said} by {review.by}, {_when(review.at)}: {', '.join(review.reason_codes)}"
    yield f"  by the rules {', '.join(case.rules)} of policy {case.policy_version[:12]}"


def claim(args: argparse.Namespace) -> int:
    lease = timedelta(seconds=seconds(args.lease, "--for")) if args.lease else LEASE
    with _step(args) as (log, cases):
        case = cases.claim(log, args.case, by=by(), lease=lease)
    return _done(args, case, f"yours until {_when(case.lease_until)}")


def unclaim(args: argparse.Namespace) -> int:
    with _step(args) as (log, cases):
        case = cases.unclaim(log, args.case, by=by())
    return _done(args, case, "anybody's again")


def decide(args: argparse.Namespace) -> int:
    with _step(args) as (log, cases):
        case = cases.decide(
            log, args.case, confirm=args.confirm, by=by(), roles=office_opening.roles(args), reason_codes=args.reason,
            note=args.note, items_seen=args.items,
        )  # fmt: skip
    return _done(args, case)


def escalate(args: argparse.Namespace) -> int:
    with _step(args) as (log, cases):
        case = cases.escalate(log, args.case, by=by(), reason_codes=args.reason, note=args.note, tier=args.tier)
    return _done(args, case)


def reopen(args: argparse.Namespace) -> int:
    with _step(args) as (log, cases):
        case = cases.reopen(
            log,
            args.case,
            by=by(),
            roles=office_opening.roles(args),
            reason_codes=args.reason,
            note=args.note,
            clear=args.clear,
        )
    return _done(args, case)


def second_looks(args: argparse.Namespace) -> int:
    with office_opening.reading(args, "cases second-looks") as found, found.ledger.env.read() as txn:
        rows = list(found.cases.blind.waiting(txn, by())) if found.cases.blind is not None else []
    if args.json:
        for row in rows:
            format.emit(as_dict(row))
    elif rows:
        format.table(
            [(row.id, row.case_id, _when(row.asked_at), _when(row.due_by)) for row in rows],
            ("review", "case", "asked (UTC)", "due by"),
        )
    else:
        print("nobody asks you for a second look")
    return 0


def second_look(args: argparse.Namespace) -> int:
    decision = DECISION_CONFIRM if args.confirm else DECISION_CLEAR
    with _step(args) as (log, cases):
        row = cases.review_blind(log, args.review, by=by(), decision=decision)
    if args.json:
        format.emit(as_dict(row))
    else:
        print("the two agree" if row.first == row.second else "the two differ: a lead looks at the case again")
    return 0


def _done(args: argparse.Namespace, case: Case, more: str = "") -> int:
    if args.json:
        format.emit(as_dict(case))
    else:
        print(f"case {case.id} is {state_of(case)}" + (f": {more}" if more else ""))
    return 0


def record_report(args: argparse.Namespace) -> int:
    with _step(args) as (log, cases):
        case = cases.record_report(
            log, args.case, authority=args.authority, receipt=args.receipt, by=by(), duty=args.duty
        )
    return _done(args, case)


def _item(item: CaseItem) -> Sequence[str]:
    kept = "destroyed" if item.HasField("destroyed_at") else "kept" if item.evidence else "none here"
    contained = word(item.containment) if item.containment else ""
    of = f"cluster {item.cluster}"
    viewed = ", ".join(item.viewed_by) or "nobody"
    return item.verdict_id, item.subject.content_id, of, contained, kept, viewed, ", ".join(item.entries)


def _when(at: Timestamp) -> str:
    if not at.seconds:
        return "never"
    return at.ToDatetime(UTC).isoformat(sep=" ", timespec="minutes")[:16]
