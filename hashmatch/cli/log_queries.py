"""What the verbs of `hashmatch log` find: events by what they are about, and what they add up to."""

from __future__ import annotations

import argparse
from pathlib import Path

from hashmatch.audit import flat, query, statistics
from hashmatch.audit.brief import brief
from hashmatch.audit.export import line
from hashmatch.audit.query import Query
from hashmatch.cli import format
from hashmatch.cli.amounts import moment
from hashmatch.cli.log_opening import opened
from hashmatch.cli.verbs import Verbs, verb
from hashmatch.v1.common_pb2 import Finding

QUERY_EXAMPLE = """\
example:
  hashmatch log query --type list_changed --since 2026-03-01
  hashmatch log query --list known --distance 25-31 --csv near.csv
  hashmatch log query --uploader u-4711 --json
  hashmatch log query --actor ann --parquet ann.parquet

Asking for an uploader or a content opens what is sealed, which the log notes, without the id. Parquet needs
pip install 'hashmatch[parquet]'."""

SUMMARY_EXAMPLE = """\
example:
  hashmatch log summary --since 2026-03-01 --until 2026-04-01
  hashmatch log summary --since 2026-01-01 --until 2027-01-01 --transparency --json

Matches by day, list and surface; with --transparency the figures that reports under Art. 15 and 24 of the EU's Digital
Services Act ask for: submissions seen, scanned and not, matches, decisions, reversals, error rates, handling times."""


def add_verbs(steps: Verbs) -> None:
    ask = verb(steps, "query", run_query, "find events by what they are about", QUERY_EXAMPLE)
    _times(ask)
    for name, what in (
        ("content", "the caller's id of what was judged"), ("uploader", "the caller's id of whose it was"),
        ("list", "a list"), ("entry", "an entry's id"), ("actor", "who did it"), ("case", "a case's id"),
    ):  # fmt: skip
        ask.add_argument(f"--{name}", default="", metavar="ID" if name != "list" else "LIST", help=what)
    ask.add_argument("--type", action="append", default=[], metavar="TYPE", help=f"one of {', '.join(query.TYPES)}")
    ask.add_argument("--finding", choices=["match", "no_match", "unknown"], help="of verdicts")
    ask.add_argument("--distance", metavar="LEAST-MOST", help="of the nearest match, in bits")
    ask.add_argument("--purpose", default="", metavar="TEXT", help="why, for the record")
    out = ask.add_mutually_exclusive_group()
    out.add_argument("--csv", type=Path, metavar="FILE", help="write rows to a CSV file")
    out.add_argument("--parquet", type=Path, metavar="FILE", help="write rows to a Parquet file")

    total = verb(steps, "summary", run_summary, "add matches up by day, list and surface", SUMMARY_EXAMPLE)
    _times(total)
    instead = total.add_mutually_exclusive_group()
    instead.add_argument(
        "--submissions", action="store_true", help="what was seen, scanned and not, instead of matches"
    )
    instead.add_argument("--transparency", action="store_true", help="the figures of transparency reports instead")


def _times(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--since", metavar="TIME", help="from then on; ISO 8601, UTC unless it says")
    parser.add_argument("--until", metavar="TIME", help="before then")


def run_query(args: argparse.Namespace) -> int:
    least, most = query.band(args.distance) if args.distance is not None else (None, None)
    wanted = Query(
        since=moment(args.since, "--since") if args.since else None,
        until=moment(args.until, "--until") if args.until else None,
        content_id=args.content,
        uploader_id=args.uploader,
        list=args.list,
        entry_id=args.entry,
        actor=args.actor,
        case_id=args.case,
        types=frozenset(args.type),
        finding=Finding.Value(f"FINDING_{args.finding.upper()}") if args.finding else Finding.ValueType(0),
        least=least,
        most=most,
    )
    with opened(args, "log query", filter=wanted.described(), opens=wanted.opens) as ledger:
        events = query.every(ledger, wanted)
        if args.csv or args.parquet:
            file = args.csv or args.parquet
            write = flat.write_csv if args.csv else flat.write_parquet
            with format.progress("writing", None, "events") as bar:
                number = write(events, file, progress=bar.update)
            if args.json:
                format.emit({"file": str(file), "events": number})
            else:
                print(f"{number} events in {file}")
            return 0
        for event in events:
            text = f"{event.sequence:>8}  {event.at.ToJsonString():<27}  {brief(event)}"
            print(line(event) if args.json else format.plain(text))
    return 0


def run_summary(args: argparse.Namespace) -> int:
    since = moment(args.since, "--since") if args.since else None
    wanted = Query(since=since, until=moment(args.until, "--until") if args.until else None)
    with opened(args, "log summary", filter=wanted.described()) as ledger:
        events = query.every(ledger, wanted)
        if args.transparency:
            # From the log's beginning, since cases may have begun before that time; it looks at the times itself.
            told = statistics.transparency(query.every(ledger, Query()), wanted.since, wanted.until)
            if args.json:
                format.emit(told)
            else:
                format.table([(key, _shown(value)) for key, value in told.items()], ("figure", "value"))
            return 0
        rows = statistics.submissions(events) if args.submissions else statistics.summary(events)
    if args.json:
        for row in rows:
            format.emit(row)
    elif rows:
        format.table([[*row.values()] for row in rows], [*rows[0]])
    else:
        print("no submission in that time" if args.submissions else "no match in that time")
    return 0


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {number}" for key, number in value.items()) or "none"
    if isinstance(value, tuple):
        return " to ".join(f"{part:.4f}" for part in value)
    return "not known" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
