"""`hashmatch lists`: the verbs by which two persons agree on a change."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

from hashmatch import app, convert
from hashmatch.audit.ledger import Ledger
from hashmatch.cli import format
from hashmatch.cli.accounts import by
from hashmatch.cli.lists_output import as_dict
from hashmatch.cli.verbs import Verbs
from hashmatch.index.recipe import load_recipes
from hashmatch.lists.keeper import ListKeeper
from hashmatch.lists.proposals import Change, Proposals
from hashmatch.store.lists import ListStore
from hashmatch.v1 import lists_pb2

Add = Callable[..., argparse.ArgumentParser]


def add_verbs(own: Verbs, add: Add) -> None:
    """Adds these verbs; `add` makes one as all of `hashmatch lists` are made."""
    verb = add(own, "proposals", proposals, "changes that wait for a second person", "proposals ours")
    verb.add_argument("list", nargs="?", default="", metavar="LIST", help="default: every list")
    verb = add(own, "approve", approve, "do what another person proposed", "approve p_019af3c2")
    verb.add_argument("id", metavar="ID", help="as `hashmatch lists proposals` shows it")
    verb = add(own, "withdraw", withdraw, "take a proposal away undone", "withdraw p_019af3c2")
    verb.add_argument("id", metavar="ID", help="as `hashmatch lists proposals` shows it")


@contextmanager
def _opened(args: argparse.Namespace) -> Iterator[Proposals]:
    with closing(ListStore(args.state)) as store:
        keeper = ListKeeper(store, load_recipes(args.settings.recipes))

        def release(name: str, entry_id: str, *, by: str, approver: str, reason: str) -> None:
            with closing(Ledger(args.state)) as ledger:
                app.release(ledger, name, entry_id, by=by, approver=approver, reason=reason)

        yield Proposals(store, keeper, release=release)


def proposed(args: argparse.Namespace, change: Change) -> bool:
    """Whether the change now waits for another person, which is then said."""
    with _opened(args) as waiting:
        proposal = waiting.propose(change, by=by())
    if proposal is None:
        return False
    if args.json:
        format.emit(as_dict(proposal))
    else:
        print(f"'{proposal.list}' wants two persons: another one does it with `hashmatch lists approve {proposal.id}`")
    return True


def proposals(args: argparse.Namespace) -> int:
    with _opened(args) as opened:
        waiting = opened.waiting(args.list)
    if args.json:
        for one in waiting:
            format.emit(as_dict(one))
        return 0
    rows = [(p.id, p.list, p.WhichOneof("change"), p.by, _day(p), _reason(p)) for p in waiting]
    if rows:
        format.table(rows, ("id", "list", "what", "by", "until (UTC)", "reason"))
    else:
        print("nothing waits")
    return 0


def approve(args: argparse.Namespace) -> int:
    with _opened(args) as opened:
        return _told(opened.approve(args.id, by=by()), args.json, "done")


def withdraw(args: argparse.Namespace) -> int:
    with _opened(args) as opened:
        return _told(opened.withdraw(args.id, by=by()), args.json, "withdrawn")


def _told(proposal: lists_pb2.Proposal, as_json: bool, what: str) -> int:
    if as_json:
        format.emit(as_dict(proposal))
    else:
        print(f"{what}: {proposal.WhichOneof('change')} of '{proposal.list}', proposed by {proposal.by}")
    return 0


def _day(proposal: lists_pb2.Proposal) -> str:
    return convert.moment(proposal.expires_at).isoformat(sep=" ", timespec="minutes")[:16]


def _reason(proposal: lists_pb2.Proposal) -> str:
    return str(getattr(proposal, proposal.WhichOneof("change") or "policy").reason)
