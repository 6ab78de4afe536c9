"""`hashmatch log`."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hashmatch import clock, convert
from hashmatch.audit import explain
from hashmatch.audit.counts import counted, summed
from hashmatch.audit.export import export, follow, line
from hashmatch.audit.ledger import Ledger
from hashmatch.cli import format
from hashmatch.cli.verbs import Verbs, group, verb
from hashmatch.v1.audit_pb2 import CountRecord, Event, VerdictRecord

FOLLOW_SECONDS = 0.5  # between two looks for new events

EXAMPLE = """\
example:
  hashmatch log tail -n 20
  hashmatch log show v_0199…
  hashmatch log export events.jsonl --since 1200
  hashmatch log counts --since 2026-03-01"""

TAIL_EXAMPLE = """\
example:
  hashmatch log tail
  hashmatch log tail -n 100 --follow
  hashmatch log tail --json | jq .verdict.finding"""

SHOW_EXAMPLE = """\
example:
  hashmatch log show v_0199…

Of each fingerprint only the first two bytes are shown; with --fingerprints they are whole, and sensitive."""

EXPORT_EXAMPLE = """\
example:
  hashmatch log export events.jsonl
  hashmatch log export newer.jsonl --since 1200

One event a line, with whole fingerprints: only the file's owner may read it. It appears complete or not at all."""

COUNTS_EXAMPLE = """\
example:
  hashmatch log counts
  hashmatch log counts --since 2026-03-01
  hashmatch log counts --since 2026-03-01T12:00:00Z --by-minute --json

These are the answers that are not written whole: as a rule, every NO_MATCH. A running server adds to them once a
minute."""

COUNTED_HOURS = 24  # that `counts` goes back unless told


def add_parser(verbs: Verbs) -> None:
    steps = group(
        verbs,
        "log",
        "read the ledger of verdicts",
        "Read the ledger: every verdict that was written down before it was answered.",
        example=EXAMPLE,
    )

    tail = verb(steps, "tail", run_tail, "print the last events", TAIL_EXAMPLE)
    tail.add_argument("-n", type=_number, default=10, metavar="N", help="how many (default: 10)")
    tail.add_argument("--follow", action="store_true", help="keep printing new ones until interrupted")

    show = verb(steps, "show", run_show, "explain one verdict", SHOW_EXAMPLE)
    show.add_argument("verdict", metavar="VERDICT", help="its id")
    show.add_argument("--fingerprints", action="store_true", help="show fingerprints whole")

    into = verb(steps, "export", run_export, "write events to a file of JSON lines", EXPORT_EXAMPLE)
    into.add_argument("file", metavar="FILE", type=Path, help="the file to make or replace")
    into.add_argument("--since", type=_number, default=1, metavar="SEQ", help="the first sequence (default: 1)")

    counts = verb(steps, "counts", run_counts, "count the answers that were not written whole", COUNTS_EXAMPLE)
    counts.add_argument(
        "--since", type=_time, metavar="TIME", help=f"ISO 8601, UTC unless it says (default: {COUNTED_HOURS} hours ago)"
    )
    counts.add_argument("--by-minute", action="store_true", help="every minute apart, instead of their sums")


def _number(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError(text)
    return number


def _time(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def run_tail(args: argparse.Namespace) -> int:
    with closing(Ledger(args.state, readonly=True)) as ledger:
        after = max(0, ledger.last_sequence() - args.n)
        while True:
            for event in follow(ledger, after):
                print(_brief(event, args.json), flush=True)
                after = event.sequence
            if not args.follow:
                return 0
            time.sleep(FOLLOW_SECONDS)


def _brief(event: Event, as_json: bool) -> str:
    if as_json:
        return line(explain.without_fingerprints(event))
    verdict = event.verdict
    why = _nearest(verdict) + (" (judged again)" if verdict.HasField("retro") else "")
    finding, disposition = explain.finding(verdict.finding), explain.disposition(verdict.disposition)
    at = verdict.at.ToJsonString()
    return format.plain(f"{event.sequence:>8}  {at:<27}  {finding:<8}  {disposition:<8}  {verdict.verdict_id}  {why}")


def _nearest(verdict: VerdictRecord) -> str:
    """The nearest match, or what was set aside where none counts."""
    if verdict.matches:
        match, told = verdict.matches[0], ", held" if verdict.matches[0].held else ""
    elif verdict.set_aside:
        aside = verdict.set_aside[0]
        match, told = aside.match, f", set aside: {explain.set_aside_reason(aside.reason)}"
    else:
        return ""
    return f"{match.list} {match.hash_type} distance {match.distance}{told}"


def run_show(args: argparse.Namespace) -> int:
    with closing(Ledger(args.state, readonly=True)) as ledger:
        event = ledger.verdict(args.verdict)
    if args.json:
        print(line(event if args.fingerprints else explain.without_fingerprints(event)))
        return 0
    for text in explain.explain(event, fingerprints=args.fingerprints):
        print(format.plain(text))
    return 0


def run_export(args: argparse.Namespace) -> int:
    with closing(Ledger(args.state, readonly=True)) as ledger:
        last = ledger.last_sequence()
        with format.progress("exporting", max(0, last - args.since + 1), "events") as bar:
            number = export(ledger, args.file, since=args.since, progress=lambda _: bar.update())
    if args.json:
        print(json.dumps({"file": str(args.file), "events": number}))
    else:
        print(f"{number} events in {args.file}")
    return 0


def run_counts(args: argparse.Namespace) -> int:
    now = clock.now()
    since = args.since or now - timedelta(hours=COUNTED_HOURS)
    with closing(Ledger(args.state, readonly=True)) as ledger:
        counts = counted(ledger, since, now + timedelta(minutes=1))  # the present minute too
        _show_counts(counts if args.by_minute else summed(counts), by_minute=args.by_minute, as_json=args.json)
    return 0


def _show_counts(counts: Iterable[CountRecord], *, by_minute: bool, as_json: bool) -> None:
    rows = []
    for one in counts:
        minute = {"minute": convert.moment(one.minute).isoformat()} if by_minute else {}
        row = {**minute, "surface": one.surface, "finding": explain.finding(one.finding), "count": one.count}
        if as_json:
            format.emit(row)
        else:
            rows.append([*row.values()])
    if not as_json:
        format.table(rows, [*(["minute (UTC)"] if by_minute else []), "surface", "finding", "count"])
