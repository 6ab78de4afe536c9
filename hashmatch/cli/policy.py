"""`hashmatch policy`: what follows from a match, checked before it is in force and explained afterwards."""

from __future__ import annotations

import argparse
import sys
from contextlib import closing
from importlib.resources import files
from pathlib import Path

from hashmatch import clock, office
from hashmatch.audit.ledger import Ledger
from hashmatch.cli import format, log_opening
from hashmatch.cli.accounts import by
from hashmatch.cli.verbs import Verbs, group, verb
from hashmatch.errors import BadConfig, NotFound
from hashmatch.store.env import DATA_FILE
from hashmatch.store.lists import ListStore
from hashmatch.workflow import policy, policy_check, policy_file
from hashmatch.workflow.case_store import CaseStore
from hashmatch.workflow.facts import decision_on
from hashmatch.workflow.policy_store import PolicyStore


def add_parser(verbs: Verbs) -> None:
    own = group(verbs, "policy", "what follows from a match", "What follows from a match: rules that a person writes.")
    one = verb(own, "show", show, "print the policy that is in force, to begin from",
               "example:\n  hashmatch policy show > policy.toml")  # fmt: skip
    which = one.add_mutually_exclusive_group()
    which.add_argument("--built-in", action="store_true", help="the one that comes with this version")
    which.add_argument("--proposed", action="store_true", help="the one that waits for a second person")
    one = verb(own, "propose", propose, "propose another policy; another person must approve it",
               "example:\n  hashmatch policy propose policy.toml --reason 'a new list'")  # fmt: skip
    what = one.add_mutually_exclusive_group()
    what.add_argument("file", nargs="?", type=Path, metavar="FILE", help="default: the one that the settings name")
    what.add_argument("--built-in", action="store_true", help="the one that comes with this version")
    one.add_argument("--reason", required=True, metavar="TEXT", help="for the log")
    one = verb(own, "approve", approve, "put a policy into force that another person proposed",
               "example:\n  hashmatch policy approve 1f0c9e55a2b0\n\nIt counts from the next verdict on.")  # fmt: skip
    one.add_argument("version", metavar="VERSION", help="its beginning, as `policy propose` printed it")
    verb(own, "withdraw", withdraw, "take back what was proposed", "example:\n  hashmatch policy withdraw")
    one = verb(own, "check", check, "say what is wrong with a policy, before it is in force",
               "example:\n  hashmatch policy check policy.toml")  # fmt: skip
    one.add_argument("file", nargs="?", type=Path, metavar="FILE", help="default: the one that the settings name")
    one = verb(own, "explain", explain, "say which rule decided on a verdict, and why",
               "example:\n  hashmatch policy explain v_019af3c2 --policy trial.toml")  # fmt: skip
    one.add_argument("verdict", metavar="VERDICT", help="its id")
    one.add_argument("--policy", dest="file", type=Path, metavar="FILE", help="another than is in force")


def show(args: argparse.Namespace) -> int:
    text, waits = policy_file.text_of(None), None
    if not args.built_in and (args.state / "ledger" / DATA_FILE).exists():
        with closing(Ledger(args.state, readonly=True)) as ledger, ledger.env.read() as txn:
            store = PolicyStore(ledger.env)
            waits = store.proposal(txn)
            if args.proposed and waits is None:
                raise NotFound("no policy is proposed")
            version = waits.version if args.proposed and waits is not None else store.active(txn)
            text = store.text(txn, version) if version else policy_file.text_of(args.settings.policy)
    if args.json:
        read = policy_file.parse(text)
        said = {"version": waits.version, "by": waits.by, "reason": waits.reason} if waits else None
        format.emit({"policy": text, "version": read.version, "meaning": read.meaning, "proposed": said})
    else:
        print(text, end="")
        if waits is not None and not args.proposed:
            print(f"{waits.by} proposes {waits.version[:12]}: {waits.reason}; see --proposed", file=sys.stderr)
    return 0


def propose(args: argparse.Namespace) -> int:
    text = policy_file.text_of(None if args.built_in else args.file or args.settings.policy)
    with log_opening.changing(args) as ledger, ledger.changing() as log:
        store = PolicyStore(ledger.env)
        if store.persons(log.txn) == 1:  # as the server has it, not whoever asks
            version, said = store.adopt(log, text, by=by(), reason=args.reason).version, "is in force"
        else:
            version = store.propose(log, text, by=by(), reason=args.reason).version
            said = f"waits for another person: hashmatch policy approve {version[:12]}"
    return _told(args, version, said)


def approve(args: argparse.Namespace) -> int:
    with log_opening.changing(args) as ledger, ledger.changing() as log:
        version = PolicyStore(ledger.env).approve(log, args.version, by=by()).version
    return _told(args, version, "is in force")


def withdraw(args: argparse.Namespace) -> int:
    with log_opening.changing(args) as ledger, ledger.changing() as log:
        version = PolicyStore(ledger.env).withdraw(log).version
    return _told(args, version, "is not proposed any more")


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
        record = ledger.verdict(args.verdict).verdict
        read = policy_file.load(args.file) if args.file else office.policy_in_force(ledger, args.settings).now
        with ledger.env.read() as txn:
            first = CaseStore(ledger.env, ledger.sealing).first_matched(txn, record)
    decision = decision_on(read, record, clock.now(), first=first)
    lines = policy.explain(decision)
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
