"""The `hashmatch` command: parses arguments, calls one library function, prints; errors become exit codes.

Exit codes: 0 done, 1 a match (`match`), 2 usage, 3 UNKNOWN only (`match`) or unhashable (`hash`), 64–78 as sysexits.h
names them.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from hashmatch import __version__
from hashmatch.cli import accounts, options
from hashmatch.errors import HashmatchError

# Each is a module of this package, named like its verb.
VERBS = (
    "serve", "match", "hash", "lists", "log", "cases", "outbox", "inquiries", "pages", "evidence", "holds", "reports",
    "policy", "kpi", "keys", "status", "backup", "check", "simulate",
)  # fmt: skip


def parser(*wanted: str) -> argparse.ArgumentParser:
    """The command line of the verbs `wanted`; without any the whole, as help and documentation see it."""
    top = argparse.ArgumentParser(
        prog="hashmatch",
        description="Match media against lists of known-abuse hashes, and keep a record of it.",
        epilog="Each verb has its own help with an example: hashmatch VERB --help",
    )
    top.add_argument("--version", action="version", version=f"hashmatch {__version__}")
    verbs = top.add_subparsers(title="verbs", metavar="VERB", required=True)
    for verb in wanted or VERBS:
        # Imported here, because to import all of them takes a second, and who types one verb waits for no other.
        importlib.import_module(f"hashmatch.cli.{verb}").add_parser(verbs)
    for name, leaf in accounts.leaves(top):
        leaf.set_defaults(verb=name)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb; returns the exit code."""
    words = sys.argv[1:] if argv is None else argv
    args = parser(*(word for word in words[:1] if word in VERBS)).parse_args(words)
    try:
        args.settings = options.loaded(args).settings
        args.state = args.settings.state
        accounts.permit(args)
        return int(args.run(args))
    except HashmatchError as e:
        print(f"hashmatch: {e}", file=sys.stderr)
        return e.exit_code
    except BrokenPipeError:
        # The reader of our output left (`| head`): not an error, and nothing more can be said.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
