"""`hashmatch outbox`: instructions to the platform, and their fate, on a state directory."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Final

from hashmatch.cli import format, office_opening, outbox_secret
from hashmatch.cli.accounts import by
from hashmatch.cli.lists_output import as_dict
from hashmatch.cli.verbs import Verbs, group, verb
from hashmatch.errors import Malformed
from hashmatch.v1.cases_pb2 import DispatchRecord, DispatchState
from hashmatch.workflow import outbox as sending

SHOWN = 1000  # rows at most
COLUMNS: Final = ("dispatch", "verb", "to", "state", "attempts", "problem")


def add_parser(verbs: Verbs) -> None:
    own = group(verbs, "outbox", "instructions to the platform", "Instructions to the platform, and their fate.")
    one = verb(own, "list", list_, "instructions, and what became of them",
               "example:\n  hashmatch outbox list --in BURIED")  # fmt: skip
    one.add_argument("--case", default="", metavar="CASE", help="of one case")
    one.add_argument("--in", dest="states", action="append", choices=[*sending.State],
                     metavar="STATE", help="one of " + ", ".join(sending.State) + "; may be repeated")  # fmt: skip
    outbox_secret.add_parser(own)
    one = verb(own, "retry", retry, "send again what was given up",
               "example:\n  hashmatch outbox retry c_019af3c2.000001")  # fmt: skip
    one.add_argument("dispatch", metavar="DISPATCH")
    one = verb(own, "accept", accept, "say that what was given up stays undone, so that its case can be closed",
               "example:\n  hashmatch outbox accept c_019af3c2.000001 --why 'the account is gone'")  # fmt: skip
    one.add_argument("dispatch", metavar="DISPATCH")
    one.add_argument("--why", required=True, metavar="TEXT", help="what the platform said, and why that is so")
    one = verb(own, "confirm", confirm, "say for the platform what became of an instruction",
               "example:\n  hashmatch outbox confirm c_019af3c2.000001")  # fmt: skip
    one.add_argument("dispatch", metavar="DISPATCH")
    one.add_argument("--failed", default="", metavar="WHY", help="it could not be done")


def list_(args: argparse.Namespace) -> int:
    states = {DispatchState.Value(f"DISPATCH_STATE_{name}") for name in args.states or ()}
    with office_opening.reading(args, "outbox list") as office_, office_.ledger.env.read() as txn:
        cases = office_.cases
        found, more = cases.outbox.page(txn, case_id=args.case, states=states, limit=SHOWN)
        found = [one for one in found if not cases.is_blind(txn, one.case_id, by())]
    if args.json:
        for one in found:
            format.emit(as_dict(one))
        return 0
    if not found:
        print("nothing")
        return 0
    format.table([row(one) for one in found], COLUMNS)
    if more:
        print(f"and more; the first {SHOWN} are shown")
    return 0


def retry(args: argparse.Namespace) -> int:
    with office_opening.step(args) as (log, office_):
        one = office_.cases.retry(log, args.dispatch)
    return _sent(args, one)


def accept(args: argparse.Namespace) -> int:
    with office_opening.step(args) as (log, office_):
        one = office_.cases.accept(log, args.dispatch, by=by(), why=args.why)
    return _sent(args, one)


def confirm(args: argparse.Namespace) -> int:
    if len(args.failed) > 200:
        raise Malformed("want at most 200 characters", field="--failed")
    with office_opening.step(args) as (log, office_):
        one = office_.cases.confirm(log, args.dispatch, failed=bool(args.failed), problem=args.failed)
    return _sent(args, one)


def _sent(args: argparse.Namespace, one: DispatchRecord) -> int:
    if args.json:
        format.emit(as_dict(one))
    else:
        print(f"dispatch {one.id} is {sending.state_of(one)}")
    return 0


def row(one: DispatchRecord) -> Sequence[str]:
    """An instruction, as a row under COLUMNS."""
    return one.id, one.verb, one.destination, sending.state_of(one), str(one.attempts), one.problem
