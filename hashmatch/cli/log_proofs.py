"""What the verbs of `hashmatch log` do for an auditor: checkpoints, proofs, replays; and its owner: keys, erasure."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import closing

from hashmatch import app, clock, office
from hashmatch.audit import erasure, proofs
from hashmatch.audit.export import follow
from hashmatch.audit.ledger import Ledger
from hashmatch.cli import format
from hashmatch.cli.accounts import by
from hashmatch.cli.log_opening import changing, opened, writable
from hashmatch.cli.verbs import Verbs, verb
from hashmatch.errors import Malformed
from hashmatch.index.recipe import load_recipes
from hashmatch.replay import Replayed
from hashmatch.store.lists import ListStore
from hashmatch.store.traffic import Traffic
from hashmatch.v1.audit_pb2 import Event
from hashmatch.workflow.subjects import Subjects

CHECKPOINT_EXAMPLE = """\
example:
  hashmatch log checkpoint > 2026-03-01.note
  hashmatch log checkpoint --verifier-key > log.vkey

Keep both where whoever runs the service cannot change them: `hashmatch log verify --since` holds a log against them."""

PROVE_EXAMPLE = """\
example:
  hashmatch log prove v_0199… > verdict.proof
  hashmatch log prove 1200 > event.proof
  hashmatch log verify verdict.proof --key log.vkey

A proof holds one event, the hashes from it to a signed root, and the checkpoint: c2sp.org/tlog-proof. It shows that
this event is in the log, and nothing of any other."""

REPLAY_EXAMPLE = """\
example:
  hashmatch log replay v_0199…
  hashmatch log replay --since 1200
  hashmatch log replay v_0199… --today

Computes verdicts again from what the log says of them, by the lists, policies and suppressions of their time, and tells
every difference. With --today it answers what the lists would say now. Exit code 1: something differs."""

ROTATE_EXAMPLE = """\
example:
  hashmatch log rotate-key --reason "yearly"

The checkpoint that tells of the new key bears both signatures, so whoever has the old one can follow. Running servers
take it over by themselves."""

ERASE_EXAMPLE = """\
example:
  hashmatch log erase --uploader u-4711 --ground "erasure request of 2026-03-01, GDPR Art. 17"
  hashmatch log erase --verdicts-older-than 365 --ground "retention"

Destroys the keys of what is sealed: whose media it was, the caller's ids for it, its fingerprints. The events stay in
the tree, which verifies as before, and a tombstone says what was erased and why. Verdicts cannot be replayed
afterwards. A subject is also forgotten in the answers kept for retries, in the sample of traffic and in its cases. What
an open case or a hold keeps is not erased."""


def add_verbs(steps: Verbs) -> None:
    checkpoint = verb(steps, "checkpoint", run_checkpoint, "print a signed checkpoint of the log", CHECKPOINT_EXAMPLE)
    checkpoint.add_argument("--verifier-key", action="store_true", help="print the public key instead")

    prove = verb(steps, "prove", run_prove, "prove that an event is in the log", PROVE_EXAMPLE)
    prove.add_argument("what", metavar="VERDICT|SEQ", help="the id of a verdict, or the sequence of an event")

    replay = verb(steps, "replay", run_replay, "compute verdicts again, and tell what differs", REPLAY_EXAMPLE)
    replay.add_argument("verdicts", metavar="VERDICT", nargs="*", help="their ids")
    replay.add_argument("--since", type=int, metavar="SEQ", help="every verdict from that sequence on")
    replay.add_argument("--today", action="store_true", help="by what is active now")

    rotate = verb(steps, "rotate-key", run_rotate, "sign with a new key from now on", ROTATE_EXAMPLE)
    rotate.add_argument("--reason", required=True, metavar="TEXT", help="why, for the log")

    erase = verb(steps, "erase", run_erase, "erase what is personal of a subject, or is old", ERASE_EXAMPLE)
    which = erase.add_mutually_exclusive_group(required=True)
    which.add_argument("--uploader", metavar="ID", help="the platform's id of whom to erase")
    which.add_argument("--content", metavar="ID", help="of what was uploaded by nobody named")
    which.add_argument("--verdicts-older-than", type=int, metavar="DAYS", help="verdicts of months past")
    erase.add_argument("--ground", required=True, metavar="TEXT", help="the legal ground, for the log")


def run_checkpoint(args: argparse.Namespace) -> int:
    with opened(args, "log checkpoint") as ledger:
        if not ledger.readonly:
            ledger.sign()
        with ledger.reading() as log:
            note, key, origin = log.checkpoint(), ledger.checkpoints.verifier_key(log.txn), log.origin
    if args.json:
        format.emit({"origin": origin, "key": key, "checkpoint": note.decode()})
    elif args.verifier_key:
        print(key)
    else:
        sys.stdout.write(note.decode())
    return 0


def run_prove(args: argparse.Namespace) -> int:
    with opened(args, "log prove", filter=args.what) as ledger:
        sequence = int(args.what) if args.what.isdigit() else ledger.verdict(args.what).sequence
        proof = proofs.prove(ledger, sequence)
    if args.json:
        format.emit({"sequence": proof.sequence, "size": proof.size, "proof": proof.text().decode()})
    else:
        sys.stdout.write(proof.text().decode())
    return 0


def run_replay(args: argparse.Namespace) -> int:
    if bool(args.verdicts) == (args.since is not None):
        raise Malformed("name verdicts, or give --since", field="verdicts")
    asked = " ".join(args.verdicts) or f"since {args.since}"
    differ = number = 0
    with (
        closing(ListStore(args.state, readonly=not writable(args.state))) as store,
        opened(args, "log replay", filter=asked, opens=True, lists=store) as ledger,
    ):
        replay = app.replay(store, load_recipes(args.settings.recipes))
        for event in _verdicts(ledger, args):
            held = ledger.held()
            done = replay.as_now(event.verdict, held=held) if args.today else replay.as_then(event.verdict)
            number, differ = number + 1, differ + (not done.same)
            _show(done, as_json=args.json)
    if not args.json:
        print(f"{number} verdicts, {differ} differ or cannot be computed again")
    return 1 if differ else 0


def _verdicts(ledger: Ledger, args: argparse.Namespace) -> Iterator[Event]:
    if args.verdicts:
        yield from map(ledger.verdict, args.verdicts)
        return
    for event in follow(ledger, max(0, args.since - 1)):
        if event.HasField("verdict"):
            yield event


def _show(done: Replayed, *, as_json: bool) -> None:
    if as_json:
        format.emit(
            {"verdict": done.verdict_id, "same": done.same, "differences": list(done.differences),
             "unreplayable": done.unreplayable, "notes": list(done.notes)}
        )  # fmt: skip
        return
    state = "the same" if done.same else done.unreplayable or "differs"
    print(format.plain(f"{done.verdict_id}  {state}"))
    for text in (*done.differences, *(f"note: {note}" for note in done.notes)):
        print(format.plain(f"  {text}"))


def run_rotate(args: argparse.Namespace) -> int:
    with changing(args) as ledger:
        with ledger.changing() as log:
            key = ledger.checkpoints.rotate(log, by=by(), reason=args.reason)
        ledger.checkpoints.settle()
    if args.json:
        format.emit({"key": key})
    else:
        print(key)
    return 0


def run_erase(args: argparse.Namespace) -> int:
    with changing(args) as ledger:
        kept = Subjects(office.casework(ledger, args.settings))
        if args.verdicts_older_than is not None:
            days = args.verdicts_older_than
            number = erasure.expire(ledger, days=days, now=clock.now(), ground=args.ground, by=by(), kept=kept)
        else:
            subject = erasure.subject(uploader_id=args.uploader or "", content_id=args.content or "")
            number = erasure.erase(ledger, subject, ground=args.ground, by=by(), kept=kept)
            with closing(Traffic(args.state)) as traffic:
                erasure.forget(traffic, subject)
    if args.json:
        format.emit({"keys": number})
    else:
        print(f"{number} keys destroyed; what they sealed can no longer be read")
    return 0
