"""`hashmatch log`."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hashmatch import clock, convert
from hashmatch.audit import explain, verify
from hashmatch.audit.brief import brief
from hashmatch.audit.counts import counted, summed
from hashmatch.audit.export import export, follow, line
from hashmatch.cli import format, log_proofs, log_queries
from hashmatch.cli.log_opening import opened
from hashmatch.cli.verbs import Verbs, group, verb
from hashmatch.v1.audit_pb2 import CountRecord, Event

FOLLOW_SECONDS = 0.5  # between two looks for new events

EXAMPLE = """\
example:
  hashmatch log tail -n 20
  hashmatch log show v_0199…
  hashmatch log export audit-2026-03
  hashmatch log verify audit-2026-03 --key log.vkey
  hashmatch log prove v_0199… > verdict.proof
  hashmatch log replay v_0199…"""

TAIL_EXAMPLE = """\
example:
  hashmatch log tail
  hashmatch log tail -n 100 --follow
  hashmatch log tail --json | jq .verdict.finding

As the events are in the tree: what is personal is sealed, and fingerprints are keyed digests."""

SHOW_EXAMPLE = """\
example:
  hashmatch log show v_0199…

Opens what is sealed, which the log notes. Of each fingerprint only the first two bytes are shown; with --fingerprints
they are whole, and sensitive."""

EXPORT_EXAMPLE = """\
example:
  hashmatch log export audit-2026-03
  hashmatch log export newer --since 1200

A directory that verifies without hashmatch: leaves, checkpoints, schema, and the verifier. What is personal stays
sealed in it. It appears complete or not at all."""

VERIFY_EXAMPLE = """\
example:
  hashmatch log checkpoint --verifier-key > log.vkey      once, and kept where the operator cannot change it
  hashmatch log verify audit-2026-03 --key log.vkey
  hashmatch log verify audit-2026-03 --key log.vkey --since last-year.note
  hashmatch log verify verdict.proof --key log.vkey

Exit code: 0 sound, 1 tampered with, 3 not the log that was seen before, 4 signature or key, 5 unreadable."""

COUNTS_EXAMPLE = """\
example:
  hashmatch log counts
  hashmatch log counts --since 2026-03-01
  hashmatch log counts --since 2026-03-01T12:00:00Z --by-minute --json

Every submission that was judged, by finding; and those that were not scanned, by the status that the caller got. Seen
is the sum. A running server adds to them once a minute."""

COUNTED_HOURS = 24  # that `counts` goes back unless told


def add_parser(verbs: Verbs) -> None:
    steps = group(
        verbs,
        "log",
        "read, prove and verify the log",
        "Read the log: every verdict, every change of lists, keys and policies, every look at it; prove what is in it, "
        "and verify it without trusting whoever keeps it.",
        example=EXAMPLE,
    )

    tail = verb(steps, "tail", run_tail, "print the last events", TAIL_EXAMPLE)
    tail.add_argument("-n", type=_number, default=10, metavar="N", help="how many (default: 10)")
    tail.add_argument("--follow", action="store_true", help="keep printing new ones until interrupted")

    show = verb(steps, "show", run_show, "explain one verdict", SHOW_EXAMPLE)
    show.add_argument("verdict", metavar="VERDICT", help="its id")
    show.add_argument("--fingerprints", action="store_true", help="show fingerprints whole")
    show.add_argument("--purpose", default="", metavar="TEXT", help="why, for the record")

    into = verb(steps, "export", run_export, "write a range to a directory that verifies by itself", EXPORT_EXAMPLE)
    into.add_argument("folder", metavar="DIR", type=Path, help="the directory to make")
    into.add_argument("--since", type=_number, default=1, metavar="SEQ", help="the first sequence (default: 1)")

    check = verb(steps, "verify", run_verify, "verify an export or a proof, offline", VERIFY_EXAMPLE)
    check.add_argument("path", metavar="PATH", type=Path, help="an export, or a proof")
    check.add_argument("--key", type=Path, action="append", required=True, metavar="FILE", help="verifier keys")
    check.add_argument("--since", type=Path, metavar="NOTE", help="an earlier checkpoint of this log")
    check.add_argument("--witness", type=Path, action="append", default=[], metavar="FILE", help="witnesses' keys")
    check.add_argument("--quorum", type=_number, default=0, metavar="N", help="witnesses that must have signed")

    counts = verb(steps, "counts", run_counts, "count submissions: scanned, not scanned, and why", COUNTS_EXAMPLE)
    counts.add_argument(
        "--since", type=_time, metavar="TIME", help=f"ISO 8601, UTC unless it says (default: {COUNTED_HOURS} hours ago)"
    )
    counts.add_argument("--by-minute", action="store_true", help="every minute apart, instead of their sums")

    log_queries.add_verbs(steps)
    log_proofs.add_verbs(steps)


def _number(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError(text)
    return number


def _time(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def run_tail(args: argparse.Namespace) -> int:
    with opened(args, "log tail") as ledger:
        own = 0 if ledger.readonly else ledger.last_sequence()  # that this verb reads, which nobody asks it for
        after = max(0, (own - 1 if own else ledger.last_sequence()) - args.n)
        while True:
            for event in follow(ledger, after, opened=False):
                if event.sequence != own:
                    print(line(event) if args.json else _brief(event), flush=True)
                after = event.sequence
            if not args.follow:
                return 0
            time.sleep(FOLLOW_SECONDS)


def _brief(event: Event) -> str:
    return format.plain(f"{event.sequence:>8}  {event.at.ToJsonString():<27}  {brief(event)}")


def run_show(args: argparse.Namespace) -> int:
    with opened(args, "log show", filter=f"verdict {args.verdict}", opens=True) as ledger:
        event = ledger.verdict(args.verdict)
    if args.json:
        print(line(event if args.fingerprints else explain.without_fingerprints(event)))
        return 0
    for text in explain.explain(event, fingerprints=args.fingerprints):
        print(format.plain(text))
    return 0


def run_export(args: argparse.Namespace) -> int:
    with opened(args, "log export", filter=f"since {args.since}") as ledger:
        last = ledger.last_sequence()
        with format.progress("exporting", max(0, last - args.since + 1), "events") as bar:
            number = export(ledger, args.folder, first=args.since, progress=bar.update)
    if args.json:
        print(json.dumps({"folder": str(args.folder), "events": number}))
    else:
        print(f"{number} events in {args.folder}; verify them: hashmatch log verify {args.folder} --key FILE")
    return 0


def run_verify(args: argparse.Namespace) -> int:
    words = [str(args.path)]
    for name in ("key", "witness"):
        words += [word for file in getattr(args, name) for word in (f"--{name}", str(file))]
    words += ["--quorum", str(args.quorum)]
    words += ["--since", str(args.since)] if args.since else []
    return verify.main([*words, *(["--json"] if args.json else [])])


def run_counts(args: argparse.Namespace) -> int:
    now = clock.now()
    since = args.since or now - timedelta(hours=COUNTED_HOURS)
    with opened(args, "log counts", filter=f"since {since.isoformat()}") as ledger:
        counts = counted(ledger, since, now + timedelta(minutes=1))  # the present minute too
        _show_counts(counts if args.by_minute else summed(counts), by_minute=args.by_minute, as_json=args.json)
    return 0


def _show_counts(counts: Iterable[CountRecord], *, by_minute: bool, as_json: bool) -> None:
    rows = []
    for one in counts:
        minute = {"minute": convert.moment(one.minute).isoformat()} if by_minute else {}
        finding = explain.finding(one.finding) if one.finding else "(not scanned)"
        row = {**minute, "surface": one.surface, "finding": finding, "reason": one.reason, "count": one.count}
        if as_json:
            format.emit(row)
        else:
            rows.append([*row.values()])
    if not as_json:
        format.table(rows, [*(["minute (UTC)"] if by_minute else []), "surface", "finding", "reason", "count"])
