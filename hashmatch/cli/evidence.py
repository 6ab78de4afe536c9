"""`hashmatch evidence`: what is kept sealed of cases: looked at, destroyed by two, checked."""

from __future__ import annotations

import argparse
import asyncio
from datetime import UTC
from pathlib import Path

from hashmatch import app, clock
from hashmatch.cli import evidence_lists, format, office_opening
from hashmatch.cli.accounts import by
from hashmatch.cli.lists_output import as_dict
from hashmatch.cli.verbs import Verbs, group, verb
from hashmatch.errors import Conflict, Malformed, NotFound, Refused
from hashmatch.evidence import durable, upkeep
from hashmatch.evidence.master import create_master_file, rotate_master_file
from hashmatch.media.levels import Level, NoFrame, View, Viewed
from hashmatch.office import Office
from hashmatch.v1.cases_pb2 import GrantRecord
from hashmatch.workflow.orphans import known_vault, swept
from hashmatch.workflow.viewing import GRANTED_MINUTES

VIEW_EXAMPLE = """\
example:
  hashmatch cases claim c_019af3c2
  hashmatch evidence view c_019af3c2 v_019af3c1 --to look.png

Greyscale and blurred; --level grey or full takes a grant: `hashmatch evidence grant`. Every look is in the log."""

ORPHANS_EXAMPLE = """\
example:
  hashmatch evidence orphans
  hashmatch evidence orphans --destroy --ground 'the server died at 14:02; its callers asked again'

Where an older backup of the ledger was restored, its newer cases would name them: then keep them, and find the newer
backup."""

MASTER_EXAMPLE = """\
example:
  hashmatch evidence master /etc/hashmatch/vault.master

Name the file in the workflow's settings: [evidence] vault = true, master = "…". Keep a copy of it where the state's
backups are not: without it nothing that is sealed can be opened, and a server says so when it starts."""


def add_parser(verbs: Verbs) -> None:
    evidence = group(verbs, "evidence", "what is kept of cases", "What is kept sealed of cases: looks, grants, "
                     "destruction by two persons, the vault's upkeep.")  # fmt: skip
    one = verb(evidence, "view", view, "a picture of one item, greyscale and blurred", VIEW_EXAMPLE)
    one.add_argument("case", metavar="CASE", help="its id")
    one.add_argument("verdict", metavar="VERDICT", help="of the item")
    one.add_argument("--to", required=True, type=Path, metavar="FILE", help="a PNG; must not exist")
    one.add_argument("--level", choices=[*Level], default=Level.BLURRED.value, help="default: blurred")
    one.add_argument("--frame", type=int, default=0, metavar="N", help="from 0; default: the first")
    one = verb(evidence, "grant", grant, "ask to see more of a case; another person must agree",
               "example:\n  hashmatch evidence grant c_019af3c2 --level grey --purpose 'cannot tell'")  # fmt: skip
    one.add_argument("case", metavar="CASE", help="its id")
    one.add_argument("--level", choices=[Level.GREY, Level.FULL], required=True, help="how much")
    one.add_argument("--purpose", required=True, metavar="TEXT", help="why; for the log")
    one.add_argument("--minutes", type=int, default=0, metavar="N", help=f"default: {GRANTED_MINUTES}")
    one = verb(evidence, "approve", approve, "agree to a grant that another asked for",
               "example:\n  hashmatch evidence approve c_019af3c2 g_019af3c4")  # fmt: skip
    one.add_argument("case", metavar="CASE", help="its id")
    one.add_argument("grant", metavar="GRANT", help="its id")
    one = verb(evidence, "destroy", destroy, "destroy what is kept of a case: one person asks, another agrees",
               "example:\n  hashmatch evidence destroy c_019af3c2 --ground 'retention is over'")  # fmt: skip
    one.add_argument("case", metavar="CASE", help="its id")
    one.add_argument("--ground", required=True, metavar="TEXT", help="for the certificate in the log")
    one.add_argument("--inquiry", default="", metavar="INQUIRY", help="of the agency that asks for it")
    evidence_lists.add_parser(evidence)
    verb(evidence, "check", check, "read everything that is sealed, and tell what is damaged",
         "example:\n  hashmatch evidence check")  # fmt: skip
    one = verb(evidence, "orphans", orphans, "what is sealed and no case names", ORPHANS_EXAMPLE)
    one.add_argument("--destroy", action="store_true", help="one person asks, another does the same")
    one.add_argument("--ground", default="", metavar="TEXT", help="for the certificate in the log; wanted to destroy")
    one = verb(evidence, "master", master, "make a master key for a vault", MASTER_EXAMPLE)
    one.add_argument("file", type=Path, metavar="FILE", help="must not exist")
    one = verb(evidence, "rotate", rotate, "exchange the master key, and wrap every key anew",
               "example:\n  hashmatch evidence rotate /etc/hashmatch/vault.master")  # fmt: skip
    one.add_argument("file", type=Path, metavar="FILE", help="of the settings; the former keys stay in it")


def view(args: argparse.Namespace) -> int:
    level = Level(args.level)
    if args.to.exists():  # before it is a look: one that shows nothing to anybody must not be told as a view
        raise Conflict(f"{args.to} is there already")
    if not args.to.absolute().parent.is_dir():
        raise Malformed("there is no such folder", field="--to")
    with office_opening.opened(args, evidence=True) as office:
        media = _media(office, args.case, args.verdict, level)
        shown = asyncio.run(_rendered(args, media, level))
        if isinstance(shown, NoFrame):
            raise Malformed(f"there are {shown.frames} frames", field="--frame")
        if not isinstance(shown, View):
            raise Refused(f"there is no picture of it: {shown.reason.name}")
        with office.ledger.changing() as log:
            office.viewing.look(
                log, args.case, args.verdict, level=level, by=by(), frame=args.frame, frames=shown.frames,
                all_frames=shown.all_frames,
            )  # fmt: skip
    with durable.translated(args.to):
        try:
            durable.write(args.to, [shown.png])
        except FileExistsError as e:
            raise Conflict(f"{args.to} is there already") from e
    said = {"file": str(args.to), "level": level, "width": shown.width, "height": shown.height, "frames": shown.frames}
    if args.json:
        format.emit(said)
    else:
        print(f"{args.to}: {level}, {shown.width} x {shown.height}, of {shown.frames} frames")
    return 0


def _media(office: Office, case_id: str, verdict_id: str, level: Level) -> bytes:
    with office.ledger.env.read() as txn:
        item = office.viewing.may(txn, case_id, verdict_id, level=level, by=by(), now=clock.now())
    if office.evidence is None:
        raise Refused("no vault and no platform is known here that has it: name the workflow's file of the server")
    found = office.evidence.open(item)
    if found is None:
        raise NotFound("nothing is kept of that item")
    with found[0] as file:
        return file.read()


async def _rendered(args: argparse.Namespace, media: bytes, level: Level) -> Viewed:
    async with app.sandboxed(args.settings, (), spares=1) as sandbox:
        return await sandbox.view(media, level, frame=args.frame)


def grant(args: argparse.Namespace) -> int:
    with office_opening.step(args) as (log, office):
        asked = office.viewing.ask(
            log, args.case, level=args.level, purpose=args.purpose, by=by(), minutes=args.minutes
        )
    return _granted(args, asked)


def approve(args: argparse.Namespace) -> int:
    with office_opening.step(args) as (log, office):
        given = office.viewing.approve(log, args.case, args.grant, by=by())
    return _granted(args, given)


def _granted(args: argparse.Namespace, row: GrantRecord) -> int:
    if args.json:
        format.emit(as_dict(row))
    elif row.approver:
        print(f"grant {row.id}: {row.to} may see it {row.level} until {row.until.ToDatetime(UTC):%Y-%m-%d %H:%M} UTC")
    else:
        print(f"grant {row.id} waits for another person: hashmatch evidence approve {row.case_id} {row.id}")
    return 0


def destroy(args: argparse.Namespace) -> int:
    with office_opening.opened(args, evidence=True) as office:
        with office.ledger.changing() as log:
            case, number = office.destroying.destroy(
                log, args.case, by=by(), ground=args.ground, inquiry_id=args.inquiry
            )
        while number and office.destroying.carry_out():
            pass
    if args.json:
        format.emit({"case": as_dict(case), "destroyed": number})
    elif number:
        print(f"case {case.id}: {number} items destroyed; the certificate is in the log")
    else:
        print(f"case {case.id}: {case.destroy_asked_by} asks for destruction: another person must agree")
    return 0


def check(args: argparse.Namespace) -> int:
    with office_opening.opened(args, evidence=True) as office:
        vault = known_vault(office.vault)
        damaged = list(upkeep.check(vault, office.destroying.wanted()))
        number = sum(1 for _ in vault.items())
    for one in damaged:
        if args.json:
            format.emit({"item": one.item_id, "damage": one.what})
        else:
            print(f"{one.item_id}: {one.what}")
    if not args.json:
        print(f"{number} items, {len(damaged)} damaged")
    return 70 if damaged else 0


def orphans(args: argparse.Namespace) -> int:
    if args.destroy:
        return _destroy_orphans(args)
    with office_opening.reading(args, "evidence orphans", evidence=True) as office:
        found = swept(office.vault, office.destroying, clock.now())
    for one in found.orphans:
        if args.json:
            format.emit({"item": one.item_id, "sealed_at": one.sealed_at.isoformat(), "bytes": one.size})
        else:
            print(f"{one.item_id}: sealed {one.sealed_at:%Y-%m-%d %H:%M} UTC, {one.size} bytes")
    if not args.json:
        print(f"{len(found.orphans)} sealed items that no case names")
    return 0


def _destroy_orphans(args: argparse.Namespace) -> int:
    with office_opening.opened(args, evidence=True) as office:
        found = swept(office.vault, office.destroying, clock.now()).orphans
        with office.ledger.changing() as log:
            destroyed, waiting = office.destroying.destroy_orphans(log, found, by=by(), ground=args.ground)
        while office.destroying.carry_out():
            pass
    if args.json:
        format.emit({"destroyed": destroyed, "waiting": waiting})
        return 0
    if destroyed:
        print(f"{destroyed} items destroyed; the certificate is in the log")
    if waiting:
        print(f"{waiting} items wait for another person to ask the same")
    return 0


def master(args: argparse.Namespace) -> int:
    return _key(args, create_master_file(args.file), "made")


def rotate(args: argparse.Namespace) -> int:
    made = rotate_master_file(args.file)
    with office_opening.opened(args, evidence=True) as office:
        vault = known_vault(office.vault)
        number = sum(vault.rewrap(item_id) for item_id in vault.items())
        upkeep.retire(vault)
    return _key(args, made, f"in force; {number} items are wrapped by it")


def _key(args: argparse.Namespace, key_id: str, said: str) -> int:
    if args.json:
        format.emit({"file": str(args.file), "key": key_id})
    else:
        print(f"{args.file}: master key {key_id} is {said}")
    return 0
