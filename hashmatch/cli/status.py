"""`hashmatch status`."""

from __future__ import annotations

import argparse
from contextlib import closing

from hashmatch import client
from hashmatch.audit.ledger import Ledger
from hashmatch.cli import format, options
from hashmatch.cli.verbs import Verbs, verb
from hashmatch.store.lists import ListStore
from hashmatch.v1 import common_pb2

EXAMPLE = """\
example:
  hashmatch status
  hashmatch status --server 127.0.0.1:50051 --json

Exit code 69 where the server asked is not serving."""


def add_parser(verbs: Verbs) -> None:
    verb(
        verbs, "status", run, "what is active, what is recorded, whether a server serves", EXAMPLE,
        description="Show the active lists, the ledger's length, and whether a server gives verdicts.",
        parents=[options.server()],
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    if args.server:
        return _server(args)
    revision, lists = _lists(args)
    with closing(Ledger(args.state, readonly=True)) as ledger:
        events = ledger.last_sequence()
    if args.json:
        format.emit({"revision": revision, "lists": lists, "events": events})
    else:
        format.table([tuple(entry.values()) for entry in lists], ("list", "version", "entries", "disposition"))
        print(f"revision {revision}, {events} recorded events")
    return 0


def _server(args: argparse.Namespace) -> int:
    with client.Client(args.server, **options.reach(args)) as remote:
        serving = remote.serving()
    if args.json:
        format.emit({"server": args.server, "serving": serving})
    else:
        print(f"{args.server} is {'SERVING' if serving else 'NOT SERVING'}")
    return 0 if serving else 69


def _lists(args: argparse.Namespace) -> tuple[int, list[dict[str, object]]]:
    with closing(ListStore(args.state, readonly=True)) as store, store.view() as view:
        rows: list[dict[str, object]] = []
        for record in view.lists():
            active = view.version(record.list_number, record.active_version) if record.active_version else None
            policy = record.policy
            rows.append(
                {
                    "name": record.name,
                    "version": record.active_version or None,
                    "entries": sum(active.entries.values()) if active else 0,
                    "disposition": ("shadow " if policy.shadow else "") + _disposition(policy.disposition),
                }
            )
        return view.revision, rows


def _disposition(number: common_pb2.Disposition.ValueType) -> str:
    return common_pb2.Disposition.Name(number).removeprefix("DISPOSITION_").lower()
