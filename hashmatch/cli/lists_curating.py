"""`hashmatch lists`: the verbs for looking closely at entries, and for keeping wrong ones from acting."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import closing

from google.protobuf.message import Message

from hashmatch import app, convert
from hashmatch.audit import entry_counts
from hashmatch.audit.ledger import Ledger
from hashmatch.cli import format, lists_approvals
from hashmatch.cli import lists_verbs as shared
from hashmatch.cli.accounts import by
from hashmatch.cli.amounts import moment
from hashmatch.cli.lists_output import as_dict, show_import
from hashmatch.cli.verbs import Verbs
from hashmatch.errors import BadConfig
from hashmatch.lists.entry_ids import ID_CHARS
from hashmatch.types import Fingerprint
from hashmatch.v1 import lists_pb2

Add = Callable[..., argparse.ArgumentParser]


def add_verbs(own: Verbs, add: Add) -> None:
    """Adds these verbs; `add` makes one as all of `hashmatch lists` are made."""
    verb = add(own, "browse", browse, "page through a list's entries", "browse ours --label A --added-from 2026-11-01")
    verb.add_argument("list", metavar="LIST")
    verb.add_argument("--version", type=int, default=0, metavar="N", help="default: the active one")
    verb.add_argument("--type", default="", metavar="TYPE", help="only this hash type")
    verb.add_argument("--label", default="", metavar="TEXT", help="only entries with this label")
    verb.add_argument("--source", default="", metavar="TEXT", help="only entries from there")
    verb.add_argument("--added-from", metavar="TIME", help="only entries added then or later")
    verb.add_argument("--added-before", metavar="TIME", help="only entries added before")
    verb.add_argument("--limit", type=int, default=100, metavar="N", help="entries to show (default: 100)")

    verb = add(
        own, "history", history, "when an entry came, changed, went, and how often it matched", "history ours ID"
    )
    _entry_options(verb)

    verb = add(own, "report", report, "what an import found, as it was told when it was staged", "report ours 3")
    verb.add_argument("list", metavar="LIST")
    verb.add_argument("version", nargs="?", type=int, default=0, metavar="VERSION", help="default: the newest import")

    verb = add(
        own, "suppress", suppress, "make an entry's matches explained non-matches, for a time",
        "suppress ours ID --reason 'a logo' --approver bob --expires 30d",
    )  # fmt: skip
    verb.add_argument("list", metavar="LIST")
    verb.add_argument("entry", metavar="ENTRY", help="its id")
    verb.add_argument("--reason", required=True, metavar="TEXT", help="why, for the record")
    verb.add_argument("--approver", required=True, metavar="NAME", help="who else agreed")
    verb.add_argument("--expires", required=True, metavar="TIME", help="when it matches again: 2027-01-31, or 30d")

    verb = add(
        own, "unsuppress", unsuppress, "let a suppressed entry match again", "unsuppress ours ID --reason 'it is one'"
    )
    verb.add_argument("list", metavar="LIST")
    verb.add_argument("entry", metavar="ENTRY", help="its id")
    verb.add_argument("--reason", required=True, metavar="TEXT", help="why, for the record")

    verb = add(own, "suppressions", suppressions, "what is suppressed", "suppressions ours")
    verb.add_argument("list", nargs="?", default="", metavar="LIST", help="default: every list")

    verb = add(
        own,
        "release",
        release,
        "let an entry that the collision guard holds act again",
        "release ours ID --reason 'viral'",
    )
    verb.add_argument("list", metavar="LIST")
    verb.add_argument("entry", metavar="ENTRY", help="its id")
    verb.add_argument("--reason", required=True, metavar="TEXT", help="why, for the record")


def _entry_options(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("list", metavar="LIST")
    verb.add_argument("entry", metavar="ENTRY", help="its id, or its fingerprint, '-' to read that from standard input")
    verb.add_argument(
        "--type", default="", metavar="TYPE", help="ENTRY is a fingerprint of this type (else pdq, or an id)"
    )


def _which(args: argparse.Namespace) -> Fingerprint | str:
    text = shared.given(args.entry)
    return text if len(text) == ID_CHARS and not args.type else shared.fingerprint(text, args)


def browse(args: argparse.Namespace) -> int:
    asked = lists_pb2.BrowseEntriesRequest(
        name=args.list, version=args.version, hash_type=args.type, label=args.label, source=args.source
    )
    for option in ("added_from", "added_before"):
        if getattr(args, option):
            at = moment(getattr(args, option), f"--{option.replace('_', '-')}")
            getattr(asked, option).CopyFrom(convert.timestamp(at))
    shown: list[lists_pb2.Entry] = []
    with shared.reader(args) as lists:
        while len(shown) < args.limit:
            asked.page_size = min(1000, args.limit - len(shown))
            page = lists.browse(asked)
            shown += page.entries
            asked.page = page.next_page
            if not page.next_page:
                break
    if args.json:
        for entry in shown:
            format.emit(as_dict(entry))
        return 0
    rows = [
        (
            e.entry_id,
            e.fingerprint.hash_type,
            e.label,
            e.source,
            e.source_id,
            _day(e, "added_at"),
            _day(e, "expires_at"),
        )
        for e in shown
    ]
    if rows:
        format.table(rows, ("entry", "hash type", "label", "source", "source id", "added", "expires"))
    print(f"{len(rows)} entries{', and there are more' if asked.page else ''}")
    return 0


def _day(message: Message, field: str) -> str:
    at = getattr(message, field)
    return convert.moment(at).isoformat(sep=" ", timespec="minutes")[:16] if message.HasField(field) else ""


def history(args: argparse.Namespace) -> int:
    with shared.reader(args) as lists:
        found = lists.history(args.list, _which(args))
    counted = _count(args, found.entry.entry_id)
    if counted is not None:
        found.matches.CopyFrom(counted)
    if args.json:
        format.emit(as_dict(found))
        return 0
    listed = "listed" if found.active else "not listed now"
    print(f"entry {found.entry.entry_id} of '{args.list}', {found.entry.fingerprint.hash_type}: {listed}")
    rows = [(_day(event, "at"), event.what, event.version, event.by, event.reason) for event in found.events]
    format.table(rows, ("at (UTC)", "what", "version", "by", "reason"))
    for one in found.suppressions:
        print(f"suppressed until {_day(one, 'expires_at')} by {one.by} and {one.approver}: {format.plain(one.reason)}")
    if found.matches.matches:
        held = f", held since {_day(found.matches, 'held_since')}" if found.matches.HasField("held_since") else ""
        first, last = _day(found.matches, "first_at"), _day(found.matches, "last_at")
        print(f"matched {found.matches.matches} times, first {first}, last {last}{held}")
    else:
        print("never matched")
    return 0


def _count(args: argparse.Namespace, entry_id: str) -> lists_pb2.MatchCount | None:
    try:
        with closing(Ledger(args.state, readonly=True)) as ledger:
            counted = ledger.entry_count(args.list, entry_id)
    except BadConfig:  # no server has run yet
        return None
    return None if counted is None else convert.match_count_to_wire(counted)


def report(args: argparse.Namespace) -> int:
    with shared.reader(args) as lists:
        found = lists.report(args.list, args.version)
    show_import(found, lists_pb2.ImportHeader(name=args.list), args.json)
    return 0


def suppress(args: argparse.Namespace) -> int:
    with shared.keeper(args) as lists:
        done = lists.suppress(
            args.list,
            args.entry,
            reason=args.reason,
            approver=args.approver,
            expires_at=moment(args.expires, "--expires"),
            by=by(),
        )
    if args.json:
        format.emit(as_dict(done))
    else:
        print(f"entry {args.entry} of '{args.list}' is suppressed until {_day(done.suppression, 'expires_at')} (UTC)")
        print(f"revision {done.revision}")
    return 0


def unsuppress(args: argparse.Namespace) -> int:
    with shared.keeper(args) as lists:
        done = lists.lift_suppression(args.list, args.entry, reason=args.reason, by=by())
    if args.json:
        format.emit(as_dict(done))
    else:
        print(f"entry {args.entry} of '{args.list}' matches again; revision {done.revision}")
    return 0


def suppressions(args: argparse.Namespace) -> int:
    with shared.reader(args) as lists:
        found = lists.suppressions(args.list)
    if args.json:
        for one in found:
            format.emit(as_dict(one))
    elif found:
        rows = [(s.list, s.entry_id, _day(s, "expires_at"), s.by, s.approver, s.reason) for s in found]
        format.table(rows, ("list", "entry", "until (UTC)", "by", "approver", "reason"))
    else:
        print("nothing is suppressed")
    return 0


def release(args: argparse.Namespace) -> int:
    change = lists_pb2.ReleaseEntryRequest(name=args.list, entry_id=args.entry, reason=args.reason)
    if lists_approvals.proposed(args, change):
        return 0
    with closing(Ledger(args.state)) as ledger:
        app.release(ledger, args.list, args.entry, by=by(), reason=args.reason)
        counted = ledger.entry_count(args.list, args.entry)
    if args.json:
        format.emit(as_dict(convert.match_count_to_wire(counted)) if counted else {})
    else:
        hours = int(entry_counts.EXEMPT.total_seconds() // 3600)
        print(f"entry {args.entry} of '{args.list}' acts again, and is not held for {hours} hours")
    return 0
