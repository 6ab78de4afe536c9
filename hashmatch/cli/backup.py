"""`hashmatch backup`."""

from __future__ import annotations

import argparse
from pathlib import Path

from hashmatch.cli import format
from hashmatch.cli.verbs import Verbs, verb
from hashmatch.store.backup import back_up

EXAMPLE = """\
example:
  hashmatch backup /backups/hashmatch-monday
  hashmatch check --state /backups/hashmatch-monday

A server may run meanwhile. To restore, stop the server and copy the directory to where the state was."""


def add_parser(verbs: Verbs) -> None:
    parser = verb(
        verbs, "backup", run, "copy the state, consistently, while a server runs", EXAMPLE,
        description="Copy lists, ledger and keys into a new directory, consistently and synced, with digests.",
    )  # fmt: skip
    parser.add_argument("directory", metavar="DIR", type=Path, help="new or empty; keep it as safe as the state")


def run(args: argparse.Namespace) -> int:
    manifest = back_up(args.state, args.directory)
    if args.json:
        format.emit({"directory": str(args.directory), **manifest})
    else:
        print(f"{args.state} is backed up in {args.directory}; prove it: hashmatch check --state {args.directory}")
    return 0
