"""`hashmatch policy`: what follows from a match, checked before it is in force and explained afterwards."""

from __future__ import annotations

import argparse
import sys
from contextlib import closing
from datetime import UTC
from importlib.resources import files
from pathlib import Path

from hashmatch import clock, office
from hashmatch.audit.ledger import Ledger
from hashmatch.cli import format, log_opening
from hashmatch.cli.accounts import by
from hashmatch.cli.lists_output import as_dict
from hashmatch.cli.verbs import Verbs, group, verb
from hashmatch.errors import BadConfig, NotFound
from hashmatch.store.env import DATA_FILE
from hashmatch.store.lists import ListStore
from hashmatch.v1.cases_pb2 import POLICY_STATE_IN_FORCE, PolicyRecord, PolicyState
from hashmatch.workflow import policy_check, policy_file
from hashmatch.workflow.policy_rows import Shown
from hashmatch.workflow.policy_store import PolicyStore, check_proposed
from hashmatch.workflow.policy_trial import explained


def add_parser(verbs: Verbs) -> None:
    own = group(verbs, "policy", "what follows from a match", "What follows from a match: rules that a person writes.")
    one = verb(own, "show", show, "print the policy that is in force, to begin from",
               "example:\n  hashmatch policy show > policy.toml")  # fmt: skip
    which = one.add_mutually_exclusive_group()
    which.add_argument("--built-in", action="store_true", help="the one that comes with this version")
    which.add_argument("--proposed", action="store_true", help="the one that waits for a second person")
    which.add_argument("--version", default="", metavar="VERSION", help="one that was in force, by its beginning")
    verb(
        own, "list", list_, "every policy that was in force, and what is proposed", "example:\n  hashmatch policy list"
    )
    one = verb(own, "propose", propose, "propose another policy; another person must approve it",
               "example:\n  hashmatch policy propose policy.toml --reason 'a new list'")  # fmt: skip
    what = one.add_mutually_exclusive_group()
    what.add_argument("file", nargs="?", type=Path, metavar="FILE", help="default: the one that the settings name")
    what.add_argument("--built-in", action="store_true", help="the one that comes with this version")
    one.add_argument("--reason", required=True, metavar="TEXT", help="for the log")
    one = verb(own, "approve", approve, "put a policy into force that another person proposed",
               "example:\n  hashmatch policy approve 1f0c9e55a2b0\n\nIt counts from the next verdict on.")  # fmt: skip
    one.add_argument("version", metavar="VERSION", help="its beginning, as `policy propose` printed it")
    one = verb(own, "withdraw", withdraw, "take back what was proposed", "example:\n  hashmatch policy withdraw")
    one.add_argument("version", nargs="?", default="", metavar="VERSION", help="default: whatever is proposed")
    one = verb(own, "check", check, "say what is wrong with a policy, before it is in force",
               "example:\n  hashmatch policy check policy.toml")  # fmt: skip
    one.add_argument("file", nargs="?", type=Path, metavar="FILE", help="default: the one that the settings name")
    one = verb(own, "explain", explain, "say which rule decided on a verdict, and why",
               "example:\n  hashmatch policy explain v_019af3c2 --policy trial.toml")  # fmt: skip
    one.add_argument("verdict", metavar="VERDICT", help="its id")
    one.add_argument("--policy", dest="file", type=Path, metavar="FILE", help="another than is in force")


def show(args: argparse.Namespace) -> int:
    known = (args.state / "ledger" / DATA_FILE).exists()
    if not known and (args.version or args.proposed):
        raise NotFound("no policy was ever in force or proposed here")
    if args.built_in or not known:
        text = policy_file.text_of(None)
        read = policy_file.parse(text)
        shown = Shown(text, read.version, read.meaning, None)
    else:
        with closing(Ledger(args.state, readonly=True)) as ledger, ledger.env.read() as txn:
            store = PolicyStore(ledger.env)
            settled = "" if store.active(txn) else policy_file.text_of(args.settings.policy)
            shown = store.shown(txn, args.version, proposed=args.proposed, otherwise=settled)
    waits = shown.proposal
    if args.json:
        said = {"version": waits.version, "by": waits.by, "reason": waits.reason} if waits else None
        format.emit({"policy": shown.text, "version": shown.version, "meaning": shown.meaning, "proposed": said})
    else:
        print(shown.text, end="")
        if waits is not None and not args.proposed:
            print(f"{waits.by} proposes {waits.version[:12]}: {waits.reason}; see --proposed", file=sys.stderr)
    return 0


def list_(args: argparse.Namespace) -> int:
    found = []
    if (args.state / "ledger" / DATA_FILE).exists():
        with closing(Ledger(args.state, readonly=True)) as ledger, ledger.env.read() as txn:
            found = list(PolicyStore(ledger.env).records(txn))
    if args.json:
        for one in found:
            format.emit(as_dict(one))
        return 0
    if not found:
        print("no server was ever started here: no policy is in force yet")
        return 0
    format.table(
        [
            (
                one.version[:12],
                _state(one),
                f"{one.at.ToDatetime(UTC):%Y-%m-%d %H:%M}",
                one.by,
                one.approver,
                one.reason,
            )
            for one in found
        ],
        ("version", "state", "since (UTC)", "by", "agreed", "reason"),
    )
    return 0


def propose(args: argparse.Namespace) -> int:
    text = policy_file.text_of(None if args.built_in else args.file or args.settings.policy)
    policy_file.accepted(text)  # before the transaction, in which verdicts wait: it may take seconds
    with log_opening.changing(args) as ledger, ledger.changing() as log:
        made = PolicyStore(ledger.env).change(log, text, by=by(), reason=args.reason)
    if made.state == POLICY_STATE_IN_FORCE:
        return _told(args, made.version, "is in force")
    return _told(args, made.version, f"waits for another person: hashmatch policy approve {made.version[:12]}")


def approve(args: argparse.Namespace) -> int:
    with log_opening.changing(args) as ledger:
        check_proposed(ledger.env)
        with ledger.changing() as log:
            version = PolicyStore(ledger.env).approve(log, args.version, by=by()).version
    return _told(args, version, "is in force")


def withdraw(args: argparse.Namespace) -> int:
    with log_opening.changing(args) as ledger, ledger.changing() as log:
        version = PolicyStore(ledger.env).withdraw(log, args.version, by=by()).version
    return _told(args, version, "is not proposed any more")


def _state(one: PolicyRecord) -> str:
    return PolicyState.Name(one.state).removeprefix("POLICY_STATE_").lower().replace("_", " ")


def _told(args: argparse.Namespace, version: str, said: str) -> int:
    if args.json:
        format.emit({"version": version, "state": said.partition(":")[0]})
    else:
        print(f"policy {version[:12]} {said}")
    return 0


def check(args: argparse.Namespace) -> int:
    file = args.file or args.settings.policy
    try:
        text = (file or files("hashmatch.workflow") / "default_policy.toml").read_text("utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise BadConfig(f"cannot read {file}: {e}") from e
    read = policy_file.parse(text)
    found = policy_check.check(read, lists=_lists(args.state), now=clock.now())
    for one in found:
        if args.json:
            format.emit({"where": one.where, "what": one.what, "error": one.error})
        else:
            print(f"{'error' if one.error else 'note'}: {one.where}: {one.what}")
    wrong = any(one.error for one in found)
    if not args.json and not wrong:
        named = f"version {read.version[:12]}, meaning {read.meaning[:12]}"
        print(f"{len(read.rules)} rules, {named}: it can be put into force")
    return 65 if wrong else 0


def _lists(state: Path) -> list[str] | None:
    """The names of the lists there are; None where there is no state yet."""
    if not (state / "lists").is_dir():
        return None
    with closing(ListStore(state)) as store, store.view() as view:
        return [record.name for record in view.lists()]


def explain(args: argparse.Namespace) -> int:
    with log_opening.opened(args, "policy explain", filter=f"verdict {args.verdict}") as ledger:
        read = policy_file.load(args.file) if args.file else office.policy_in_force(ledger, args.settings).now
        decision, lines = explained(ledger, read, args.verdict, clock.now())
    if args.json:
        plan = decision.plan
        format.emit(
            {
                "verdict_id": args.verdict, "policy_version": read.version,
                "policy_meaning": read.meaning, "lines": lines,
                "tier": f"T{plan.tier}" if plan else None, "rules": list(plan.rules) if plan else [],
                "disposition": plan.disposition.name if plan and plan.disposition else None,
                "authority": plan.authority if plan else "", "withheld": plan.withheld if plan else "",
                "nothing": decision.why_nothing or None,
            }
        )  # fmt: skip
        return 0
    for line in lines:
        print(format.plain(line))
    return 0
