"""`hashmatch backup`."""

from __future__ import annotations

import argparse
from pathlib import Path

from hashmatch.cli import format, options
from hashmatch.store.backup import back_up

EXAMPLE = """\
example:
  hashmatch backup /backups/hashmatch-monday
  hashmatch check --state /backups/hashmatch-monday

A server may run meanwhile. To restore, stop the server and copy the directory to where the state was."""


def add_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = verbs.add_parser(
        "backup",
        parents=[options.common()],
        help="copy the state, consistently, while a server runs",
        description="Copy lists, ledger and keys into a new directory, consistently and synced, with digests.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("directory", metavar="DIR", type=Path, help="new or empty; keep it as safe as the state")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    manifest = back_up(args.state, args.directory)
    if args.json:
        format.emit({"directory": str(args.directory), **manifest})
    else:
        print(f"{args.state} is backed up in {args.directory}; prove it: hashmatch check --state {args.directory}")
    return 0
