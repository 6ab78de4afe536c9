"""`hashmatch lists feedback`: what reviewers made of a list's entries, for who keeps the list."""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Callable

from hashmatch import office
from hashmatch.cli import format, log_opening
from hashmatch.cli import lists_verbs as shared
from hashmatch.cli.verbs import Verbs
from hashmatch.errors import NotFound

Add = Callable[..., argparse.ArgumentParser]


def add_verbs(own: Verbs, add: Add) -> None:
    """Adds the verb; `add` makes one as all of `hashmatch lists` are made."""
    verb = add(
        own, "feedback", feedback, "what reviewers made of a list's entries, to tell who keeps it",
        "feedback ncmec --json > feedback.jsonl",
    )  # fmt: skip
    verb.add_argument("list", metavar="LIST")
    verb.add_argument("--wrong", action="store_true", help="only entries that were wrong in some case")


def feedback(args: argparse.Namespace) -> int:
    counted: defaultdict[str, Counter[str]] = defaultdict(Counter)
    with log_opening.opened(args, "lists feedback", filter=f"list {args.list}") as ledger, ledger.env.read() as txn:
        for entry_id, _, opinion in office.casework(ledger, args.settings).store.feedback(txn, args.list):
            counted[entry_id][opinion] += 1
    rows = []
    with shared.reader(args) as lists:
        for entry_id, said in sorted(counted.items()):
            if args.wrong and not said["WRONG"]:
                continue
            try:
                entry = lists.history(args.list, entry_id).entry
                rows.append((entry_id, entry.source_id, entry.label, said["RIGHT"], said["WRONG"]))
            except NotFound:  # of a version that is gone
                rows.append((entry_id, "", "", said["RIGHT"], said["WRONG"]))
    if args.json:
        for row in rows:
            format.emit(dict(zip(("entry_id", "source_id", "label", "right", "wrong"), row, strict=True)))
    elif rows:
        format.table(
            [tuple(map(str, row)) for row in rows], ("entry", "its keeper's id", "label", "right in", "wrong in")
        )
    else:
        print("no case was decided that an entry of this list made")
    return 0
