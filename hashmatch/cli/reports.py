"""`hashmatch reports`: what was reported to authorities and what waits, on a state directory."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from datetime import UTC
from pathlib import Path
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from hashmatch import clock, office
from hashmatch.cli import format, log_opening, office_opening
from hashmatch.cli.accounts import by
from hashmatch.cli.lists_output import as_dict
from hashmatch.cli.verbs import Verbs, group, verb
from hashmatch.errors import Malformed
from hashmatch.v1.reports_pb2 import ReportRow
from hashmatch.workflow.bundle_fields import Authority
from hashmatch.workflow.bundling import authority_named, hand, sender_of
from hashmatch.workflow.report import Call, State, next_step
from hashmatch.workflow.report_attributes import ATTRIBUTES
from hashmatch.workflow.report_record import OVER, expires_at
from hashmatch.workflow.report_rows import authority_of, receipt_of, record_of, state_of
from hashmatch.workflow.report_store import ReportStore

SHOWN = 1000  # rows at most

LIST_EXAMPLE = """\
example:
  hashmatch reports list --in FAILED

Reports of the test environment are marked: they were never reports."""

SHOW_EXAMPLE = """\
example:
  hashmatch reports show r_019af3c2.0"""

RESUME_EXAMPLE = """\
example:
  hashmatch reports resume r_019af3c2.0
  hashmatch reports resume r_019af3c2.0 --omit display_name

It goes on where it stopped, so that what was filed is not filed twice. --omit leaves out an attribute that the platform
gave and that cannot be told as it is; each is told by name: """ + ", ".join(ATTRIBUTES)

BUNDLE_EXAMPLE = """\
example:
  hashmatch reports bundle c_019af3c2 --authority nca --to report.zip --declare "Ana Lee, head of safety"

report.json and report.html with the fields that the NCA (SI 2026/268) or Art. 18 of the DSA asks for, the media where
it is kept, a manifest of digests. What is asked for and not known is named: add it before you hand it in."""

WITHDRAW_EXAMPLE = """\
example:
  hashmatch reports withdraw r_019af3c2.0

What is open is retracted, what is queued is not sent. What was filed cannot be taken back."""


def add_parser(verbs: Verbs) -> None:
    reports = group(verbs, "reports", "reports to authorities, and what waits", "Reports to authorities, and what "
                    "waits for a person.")  # fmt: skip
    one = verb(reports, "bundle", bundle, "write a report for an authority without an API", BUNDLE_EXAMPLE)
    one.add_argument("case", metavar="CASE", help="its id; confirmed, by another person than you")
    one.add_argument("--authority", required=True, choices=[*Authority], help="whose fields it has")
    one.add_argument("--to", required=True, type=Path, metavar="FILE", help="a ZIP; must not exist")
    one.add_argument("--declare", required=True, metavar="NAME", help="who declares it true: name and function")
    one.add_argument("--company", default="", metavar="NAME", help="default: of the workflow's file")
    one.add_argument("--email", default="", metavar="ADDRESS", help="whom to ask; default: of the workflow's file")
    one = verb(reports, "list", list_reports, "reports, and how far each is", LIST_EXAMPLE)
    names = [state.name for state in State]
    one.add_argument("--case", default="", metavar="CASE", help="of one case")
    one.add_argument("--in", dest="states", action="append", choices=names, metavar="STATE",
                     help="one of " + ", ".join(names) + "; may be repeated")  # fmt: skip
    for name, run, help_, example in (
        ("show", show, "one report, with its files and its receipt", SHOW_EXAMPLE),
        ("resume", resume, "set one going again that waits for a person", RESUME_EXAMPLE),
        ("withdraw", withdraw, "have one retracted and not filed", WITHDRAW_EXAMPLE),
    ):
        one = verb(reports, name, run, help_, example)
        one.add_argument("report", metavar="REPORT", help="its id, as `hashmatch reports list` names it")
        if name == "resume":
            one.add_argument("--omit", action="append", default=[], metavar="NAME", help="an attribute to leave out; "
                             "may be repeated")  # fmt: skip


def bundle(args: argparse.Namespace) -> int:
    with office_opening.opened(args, evidence=True) as office:
        sender = sender_of(office.wanted.reporting, declared_by=args.declare, company=args.company, email=args.email)
        told = hand(
            office.ledger, office.cases, office.evidence, args.case, authority_named(args.authority), sender=sender,
            target=args.to, by=by(),
        )  # fmt: skip
    if args.json:
        format.emit(
            {
                "file": str(args.to), "files": told.files, "manifest_sha256": told.manifest_sha256.hex(),
                "missing": list(told.missing), "without_media": list(told.without_media),
            }
        )  # fmt: skip
        return 0
    print(f"{args.to}: {told.files} files, the manifest's SHA-256 is {told.manifest_sha256.hex()}")
    for title in told.missing:
        print(f"to be added by you: {title}")
    for verdict_id in told.without_media:
        print(f"without its media: {verdict_id}")
    print(f"once it is handed in: hashmatch cases report {args.case} --authority NAME --receipt NUMBER")
    return 0


def list_reports(args: argparse.Namespace) -> int:
    states = {State[name] for name in args.states or ()}
    with office_opening.reading(args, "reports list") as office, office.ledger.env.read() as txn:
        found, more = ReportStore(office.ledger.env).page(txn, case_id=args.case, states=states, limit=SHOWN)
        found = [row for row in found if not office.cases.is_blind(txn, row.case_id, by())]
    if args.json:
        for row in found:
            format.emit(told(row))
        return 0
    if not found:
        print("no reports")
        return 0
    format.table(
        [(r.id, r.case_id, authority_of(r), state_of(r).name, receipt_of(r), _next(r), r.problem) for r in found],
        ("report", "case", "authority", "state", "receipt", "next (UTC)", "problem"),
    )
    if more:
        print(f"and more; the first {SHOWN} are shown")
    return 0


def show(args: argparse.Namespace) -> int:
    with log_opening.opened(args, "reports show", filter=f"report {args.report}") as ledger, ledger.env.read() as txn:
        row = ReportStore(ledger.env).get(txn, args.report)
    if args.json:
        format.emit(told(row))
        return 0
    for line in _lines(row):
        print(line)
    if row.files:
        format.table(
            [
                (one.verdict_id, one.file_id or ("no file" if one.without_file else "not sent"),
                 "told" if one.detailed else "not told", ("yes" if one.viewed else "no") if one.detailed else "")
                for one in row.files
            ],
            ("verdict", "file", "details", "told as viewed"),
        )  # fmt: skip
    return 0


def _lines(row: ReportRow) -> Iterator[str]:
    yield f"report {row.id}: {state_of(row).name}, to {authority_of(row)}, about case {row.case_id}"
    yield f"  queued {_when(row.queued_at)}, decided {_when(row.decided_at)}, opened {_when(row.opened_at)}"
    if row.HasField("receipt"):
        yield f"  filed {_when(row.receipt.at)} as {receipt_of(row)}"
    elif row.number:
        expires = expires_at(record_of(row))
        until = f", which expires {expires:%Y-%m-%d %H:%M}" if expires is not None else ""
        yield f"  is number {row.number} there{until}"
    if state_of(row) not in OVER:
        yield f"  goes on {_next(row)}; {row.attempts} failed tries, begun again {row.restarts} times"
    if row.last_request_id:
        yield f"  the authority's Request-ID of the last call: {row.last_request_id}"
    if row.omitted:
        yield f"  left out by a person: {', '.join(row.omitted)}"
    if row.problem:
        yield f"  problem: {row.problem}"


def resume(args: argparse.Namespace) -> int:
    for name in args.omit:
        if name not in ATTRIBUTES:
            raise Malformed(f"'{name}' is no attribute that is ever told", field="--omit")
    with log_opening.changing(args) as ledger, ledger.changing() as log:
        row = ReportStore(ledger.env).resume(log, args.report, by=by(), omit=args.omit)
    return _done(args, row, "goes on")


def withdraw(args: argparse.Namespace) -> int:
    with log_opening.changing(args) as ledger:
        cases = office.casework(ledger, args.settings)
        with ledger.changing() as log:
            row = ReportStore(ledger.env).withdraw(log, args.report, by=by())
            if row.case_id:  # of a batch, each case is told by its own report
                cases.report_over(log, row.case_id)
    return _done(args, row, "is withdrawn" if state_of(row) is State.RETRACTED else "will be retracted")


def _done(args: argparse.Namespace, row: ReportRow, what: str) -> int:
    if args.json:
        format.emit(told(row))
    else:
        print(f"report {row.id} {what}: {state_of(row).name}")
    return 0


def told(row: ReportRow) -> dict[str, Any]:
    """A report as programs are told of it: without what the media's bytes could be known by."""
    shown = ReportRow()
    shown.CopyFrom(row)
    for one in shown.files:
        one.ClearField("md5")
    named = {"authority": authority_of(row), "receipt_number": receipt_of(row), "waits_for_a_person": waits(row)}
    return as_dict(shown) | named


def waits(row: ReportRow) -> bool:
    """Whether nothing more happens to a report before a person acts."""
    return next_step(record_of(row), clock.now()).call is Call.ASK_A_PERSON


def _next(row: ReportRow) -> str:
    return "when a person acts" if waits(row) else _when(row.due_at)


def _when(at: Timestamp) -> str:
    if not at.seconds:
        return "never"
    return at.ToDatetime(UTC).isoformat(sep=" ", timespec="minutes")[:16]
