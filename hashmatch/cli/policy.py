"""`hashmatch policy`: what follows from a match, checked before it is in force and explained afterwards."""

from __future__ import annotations

import argparse
from contextlib import closing
from importlib.resources import files
from pathlib import Path

from hashmatch import clock
from hashmatch.cli import format, log_opening
from hashmatch.cli.verbs import Verbs, group, verb
from hashmatch.errors import BadConfig
from hashmatch.store.lists import ListStore
from hashmatch.workflow import policy, policy_check, policy_file
from hashmatch.workflow.facts import decision_on


def add_parser(verbs: Verbs) -> None:
    own = group(verbs, "policy", "what follows from a match", "What follows from a match: rules that a person writes.")
    one = verb(own, "show", show, "print the policy that comes with hashmatch, to begin from",
               "example:\n  hashmatch policy show > policy.toml")  # fmt: skip
    one = verb(own, "check", check, "say what is wrong with a policy, before it is in force",
               "example:\n  hashmatch policy check policy.toml")  # fmt: skip
    one.add_argument("file", nargs="?", type=Path, metavar="FILE", help="default: the one that the settings name")
    one = verb(own, "explain", explain, "say which rule decided on a verdict, and why",
               "example:\n  hashmatch policy explain v_019af3c2 --policy trial.toml")  # fmt: skip
    one.add_argument("verdict", metavar="VERDICT", help="its id")
    one.add_argument("--policy", dest="file", type=Path, metavar="FILE", help="another than the settings name")


def show(args: argparse.Namespace) -> int:
    text = (files("hashmatch.workflow") / "default_policy.toml").read_text("utf-8")
    if args.json:
        format.emit({"policy": text})
    else:
        print(text, end="")
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
    read = policy_file.load(args.file or args.settings.policy)
    with log_opening.opened(args, "policy explain", filter=f"verdict {args.verdict}") as ledger:
        record = ledger.verdict(args.verdict).verdict
    decision = decision_on(read, record, clock.now())
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
