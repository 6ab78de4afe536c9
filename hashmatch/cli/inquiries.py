"""`hashmatch inquiries`: what users and agencies ask for or tell, on a state directory."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from datetime import UTC
from pathlib import Path

from google.protobuf.timestamp_pb2 import Timestamp

from hashmatch.cli import format, office_opening
from hashmatch.cli.accounts import by
from hashmatch.cli.amounts import moment
from hashmatch.cli.lists_output import as_dict
from hashmatch.cli.verbs import Verbs, group, verb
from hashmatch.errors import BadConfig
from hashmatch.v1.cases_pb2 import InquiryRecord
from hashmatch.v1.common_pb2 import Subject
from hashmatch.workflow import inquiries as desk
from hashmatch.workflow.disclosing import disclose
from hashmatch.workflow.inquiries import Asked
from hashmatch.workflow.inquiry import RULES, Kind, State, Step

SHOWN = 1000  # rows at most

OPEN_EXAMPLE = """\
examples:
  hashmatch inquiries open LE_PRESERVATION --agency FBI --contact a@p.example --jurisdiction US --reference 7 --case c_1
  hashmatch inquiries open USER --content post-4711 --imminent

What must not be lost is held at once; who asks is verified afterwards.
""" + "\n".join(f"  {kind:16} {kind.meaning}" for kind in Kind)

DISCLOSE_EXAMPLE = """\
example:
  hashmatch inquiries disclose q_019af3c2 --to package.p7m --recipient agency.pem

The cases' facts and their evidence, sealed to the agency's certificate. It opens it with
  openssl cms -decrypt -binary -inform DER -in package.p7m -recip agency.pem -inkey agency.key -out package.zip
The log says what was disclosed and to whom; the inquiry is then to be fulfilled."""


def add_parser(verbs: Verbs) -> None:
    inquiries = group(verbs, "inquiries", "what users and agencies ask for or tell", "What users and agencies ask for "
                      "or tell: from its arrival to its answer.")  # fmt: skip
    one = verb(inquiries, "open", open_, "take an inquiry in", OPEN_EXAMPLE)
    one.add_argument("kind", metavar="KIND", choices=[*Kind], help="one of " + ", ".join(Kind))
    for name, help_ in (
        ("agency", "who asks; not of USER"), ("contact", "how they are reached; not of USER"),
        ("reference", "the agency's own number; LE_EMERGENCY may lack one"),
        ("legal-basis", "what it rests on; wanted of LE_PROCESS and LE_DESTROY"),
        ("jurisdiction", "whose law, as a country's code; not of USER"), ("scope", "what of; wanted of LE_PROCESS"),
    ):  # fmt: skip
        one.add_argument(f"--{name}", default="", metavar="TEXT", help=help_)
    one.add_argument("--case", action="append", default=[], metavar="CASE", help="that it is about; may be repeated")
    one.add_argument("--uploader", default="", metavar="ID", help="whom it is about, where there is no case")
    one.add_argument("--content", default="", metavar="ID", help="what it is about, where there is no case")
    one.add_argument("--imminent", action="store_true", help="somebody may be in danger now: pages whoever is on call")
    one.add_argument("--secret", action="store_true", help="the subject must not be told")
    one.add_argument("--due", default="", metavar="TIME", help="where the agency wants it sooner than usual")
    one = verb(inquiries, "list", list_, "those that are open, the first due first", "example:\n  hashmatch inquiries "
               "list --all")  # fmt: skip
    one.add_argument("--all", action="store_true", help="those that are over, too")
    for name, run, help_, text in (
        ("show", show, "one inquiry", ""),
        ("verify", verify, "note how you made sure of who asks", "called back at the number on their own site"),
        ("approve", approve, "agree that it is to be answered; not who verified it", ""),
        ("fulfil", fulfil, "note that it is answered", "package handed over"),
        ("refuse", refuse, "note that it is not answered, and why", "not an agency"),
    ):
        example = f"example:\n  hashmatch inquiries {name} q_019af3c2" + (f" --text '{text}'" if text else "")
        one = verb(inquiries, name, run, help_, example)
        one.add_argument("inquiry", metavar="INQUIRY", help="its id, as `hashmatch inquiries list` names it")
        if text:
            one.add_argument("--text", required=True, metavar="TEXT", help="for the record")
        if name == "approve":
            one.add_argument("--counsel", default="", metavar="NAME", help="of a request to destroy: who says it binds")
    one = verb(inquiries, "disclose", disclose_, "seal what is kept to an agency's certificate", DISCLOSE_EXAMPLE)
    one.add_argument("inquiry", metavar="INQUIRY", help="its id")
    one.add_argument("--to", required=True, type=Path, metavar="FILE", help="must not exist")
    one.add_argument("--recipient", required=True, type=Path, metavar="PEM", help="the agency's certificate, RSA")
    one.add_argument("--package", type=int, default=1, metavar="N", help="which, where one cannot hold it all: from 1")


def open_(args: argparse.Namespace) -> int:
    about = Subject(uploader_id=args.uploader, content_id=args.content)
    asked = Asked(
        kind=Kind(args.kind), agency=args.agency, contact=args.contact, reference=args.reference,
        legal_basis=args.legal_basis, jurisdiction=args.jurisdiction, scope=args.scope, non_disclosure=args.secret,
        imminent=args.imminent, due_by=moment(args.due, "--due") if args.due else None, case_ids=args.case,
        subject=about if args.uploader or args.content else None,
    )  # fmt: skip
    with office_opening.step(args) as (log, office):
        row = office.inquiries.receive(log, asked, by=by())
    return _done(args, row)


def list_(args: argparse.Namespace) -> int:
    with office_opening.reading(args, "inquiries list") as office, office.ledger.env.read() as txn:
        found, more = office.inquiries.page(txn, every=args.all, after="", limit=SHOWN)
    if args.json:
        for row in found:
            format.emit(as_dict(row))
    elif not found:
        print("no inquiries")
    else:
        format.table(
            [(r.id, r.kind, r.state, _when(r.due_by) + " !" * r.breached, r.agency, ", ".join(r.case_ids))
             for r in found],
            ("inquiry", "kind", "state", "due (UTC)", "agency", "cases"),
        )  # fmt: skip
        if more:
            print(f"and more; the first {SHOWN} are shown")
    return 0


def show(args: argparse.Namespace) -> int:
    asked = f"inquiry {args.inquiry}"
    with office_opening.reading(args, "inquiries show", filter=asked) as office, office.ledger.env.read() as txn:
        row = office.inquiries.get(txn, args.inquiry)
    if args.json:
        format.emit(as_dict(row))
    else:
        for line in _told(row):
            print(line)
    return 0


def _told(row: InquiryRecord) -> Iterator[str]:
    yield f"inquiry {row.id}: {row.kind}, {row.state}, about {', '.join(row.case_ids)}"
    yield f"  received {_when(row.received_at)} by {row.received_by}, due {_when(row.due_by)}"
    if row.agency:
        yield f"  of {row.agency}, {row.contact}, {row.jurisdiction}, their number {row.reference or 'none'}"
    for name, said in (("rests on", row.legal_basis), ("wants", row.scope)):
        if said:
            yield f"  {name}: {said}"
    if row.non_disclosure:
        yield "  the subject must not be told"
    if row.hold_ids:
        yield f"  held: {', '.join(row.hold_ids)}"
    if row.unheld_from:
        yield f"  NOT held, too many at once: case {row.unheld_from} and earlier ones; name it in another inquiry"
    if row.verified_by:
        yield f"  verified by {row.verified_by}: {row.verification}"
    if row.approved_by:
        yield f"  approved by {row.approved_by}{f', counsel {row.counsel}' if row.counsel else ''}"
    if row.closed_by:
        yield f"  {row.state.lower()} by {row.closed_by}, {_when(row.closed_at)}: {row.outcome}"
    elif row.state in (State.RECEIVED, State.VERIFIED):
        yield f"  it may be fulfilled once it is {RULES[Kind(row.kind)].needs}"


def verify(args: argparse.Namespace) -> int:
    return _taken(args, Step.VERIFY)


def approve(args: argparse.Namespace) -> int:
    args.text = ""
    return _taken(args, Step.APPROVE)


def fulfil(args: argparse.Namespace) -> int:
    return _taken(args, Step.FULFIL)


def refuse(args: argparse.Namespace) -> int:
    return _taken(args, Step.REFUSE)


def _taken(args: argparse.Namespace, step: Step) -> int:
    counsel = getattr(args, "counsel", "")
    with office_opening.step(args) as (log, office):
        row = desk.take(office.inquiries, log, args.inquiry, step, by=by(), said=args.text, counsel=counsel)
    return _done(args, row)


def disclose_(args: argparse.Namespace) -> int:
    try:
        recipient = args.recipient.read_bytes()
    except OSError as e:
        raise BadConfig(f"cannot read {args.recipient}: {e.strerror}") from e
    with office_opening.opened(args, evidence=True) as office:
        told = disclose(
            office.ledger, office.cases, office.inquiries, office.evidence, args.inquiry, target=args.to,
            recipient=recipient, by=by(), number=args.package,
        )  # fmt: skip
    if args.json:
        said = {"file": os.fspath(args.to), "files": told.files, "manifest_sha256": told.manifest_sha256.hex()}
        format.emit(said | {"missing": told.missing, "package": args.package, "packages": told.packages})
    else:
        print(f"{args.to}: {told.files} files, the manifest's SHA-256 is {told.manifest_sha256.hex()}")
        if told.packages > 1:
            print(f"package {args.package} of {told.packages}: hand out the others, too (--package)")
        for missing in told.missing:
            print(f"not in it: {missing}")
    return 0


def _done(args: argparse.Namespace, row: InquiryRecord) -> int:
    if args.json:
        format.emit(as_dict(row))
    else:
        due = f", due {_when(row.due_by)}" if not row.closed_by else ""
        print(f"inquiry {row.id} is {row.state}{due}: {', '.join(row.case_ids)}")
        if row.unheld_from and not row.closed_by:
            print(f"NOT held, too many at once: case {row.unheld_from} and earlier ones; name it in another inquiry")
    return 0


def _when(at: Timestamp) -> str:
    return at.ToDatetime(UTC).isoformat(sep=" ", timespec="minutes")[:16] if at.seconds else "never"
