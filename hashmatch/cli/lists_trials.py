"""`hashmatch lists`: the verbs that try a list on recent traffic."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager

from hashmatch import app
from hashmatch.audit.ledger import Ledger
from hashmatch.cli import format
from hashmatch.cli import lists_verbs as shared
from hashmatch.cli.lists_output import as_dict, show_reach
from hashmatch.cli.verbs import Verbs
from hashmatch.errors import BadConfig, Malformed, Refused
from hashmatch.index.recipe import load_recipes
from hashmatch.lists.reader import ListReader
from hashmatch.store.lists import ListStore
from hashmatch.store.traffic import Traffic
from hashmatch.trials import Trials
from hashmatch.v1 import lists_pb2

Add = Callable[..., argparse.ArgumentParser]


def add_verbs(own: Verbs, add: Add) -> None:
    """Adds these verbs; `add` makes one as all of `hashmatch lists` are made."""
    verb = add(
        own, "preflight", preflight, "what a version or a threshold would have matched in recent traffic",
        "preflight ours@staged",
    )  # fmt: skip
    verb.add_argument("list", metavar="LIST[@VERSION]", help="VERSION: a number, or 'staged' for the newest staged one")
    verb.add_argument("--threshold", action="append", default=[], metavar="TYPE=BITS", help="in place of the policy's")

    verb = add(
        own, "retro", retro, "judge recent traffic again by what was added; matches become verdicts",
        "retro ours --since 3 --reason 'new entries'",
    )  # fmt: skip
    verb.add_argument("list", metavar="LIST")
    verb.add_argument(
        "--since", type=int, default=0, metavar="N", help="added since version N (default: the one before)"
    )
    verb.add_argument("--entry", default="", metavar="ID", help="only this entry")
    verb.add_argument("--reason", default="", metavar="TEXT", help="why, for the record")


def preflight(args: argparse.Namespace) -> int:
    name, _, which = args.list.partition("@")
    asked = lists_pb2.PreflightListRequest(name=name)
    if which.isascii() and which.isdigit():
        asked.version = int(which)
    elif which not in ("", "staged"):
        raise Malformed("want LIST, LIST@staged or LIST@NUMBER")
    for hash_type, bits in shared.pairs(args.threshold, "--threshold", "TYPE=BITS"):
        if not (bits.isascii() and bits.isdigit() and len(bits) <= 4):
            raise Malformed("--threshold: want TYPE=BITS, BITS a whole number")
        asked.thresholds[hash_type] = int(bits)
    if which == "staged" and asked.thresholds:
        with shared.reader(args) as lists:
            asked.version = lists.staged(name)
    with _trials(args) as trials:
        show_reach(trials.preflight(asked), args.json)
    return 0


def retro(args: argparse.Namespace) -> int:
    asked = lists_pb2.RetroMatchListRequest(
        name=args.list, since_version=args.since, entry_id=args.entry, reason=args.reason
    )
    with _trials(args, writes=True) as trials:
        done = trials.retro_match(asked)
    if args.json:
        format.emit(as_dict(done))
    else:
        print(f"{done.items} sampled items were judged again, {len(done.verdict_ids)} match:")
        for verdict_id in done.verdict_ids:
            print(f"  hashmatch log show {verdict_id}")
    return 0


@contextmanager
def _trials(args: argparse.Namespace, *, writes: bool = False) -> Iterator[Trials]:
    """What trials need, opened beside a running server or alone."""
    recipes = load_recipes(args.settings.recipes)
    with ExitStack() as opened:
        store = opened.enter_context(closing(ListStore(args.state, readonly=True)))
        lists = ListReader(store, recipes)
        traffic = opened.enter_context(closing(_sampled(args, writes)))
        ledger = opened.enter_context(closing(Ledger(args.state, readonly=not writes)))
        live = app.live_index(store, args.settings, recipes, lists.entry_ids)
        yield Trials(lists, store, live, traffic, ledger, app.versions(app.perceptual(recipes)))


def _sampled(args: argparse.Namespace, writes: bool) -> Traffic:
    try:
        return Traffic(args.state, readonly=not writes)
    except BadConfig as e:
        raise Refused("no traffic was sampled here yet: it comes with what a server judges") from e
