"""`hashmatch serve`."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import logging

from hashmatch.cli import format, options
from hashmatch.server import serve as server

EXAMPLE = """\
example:
  hashmatch serve --state /var/lib/hashmatch --listen 127.0.0.1:50051
  hashmatch serve --config hashmatch.toml --print-config

Settings come from --config, then HASHMATCH_… variables (HASHMATCH_WORKERS=4), then flags; unknown ones are refused.
SIGTERM finishes what is in flight and exits 0."""


def add_parser(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = verbs.add_parser(
        "serve",
        parents=[options.common()],
        help="serve verdicts over gRPC",
        description="Serve verdicts over gRPC. Prints one line when it is SERVING.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", metavar="FILE", help="TOML file of settings")
    parser.add_argument("--listen", metavar="ADDR", help="HOST:PORT on loopback; port 0 picks a free one")
    parser.add_argument("--workers", metavar="N", help="decode workers (default: one per core)")
    parser.add_argument(
        "--walls",
        choices=("required", "available"),
        help="'required' refuses to start where the kernel lacks a wall of the sandbox (default)",
    )
    parser.add_argument(
        "--print-config", action="store_true", help="print every setting and where it came from, and exit"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if args.print_config:
        return _print_config(args)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    asyncio.run(server.serve(args.settings, announce=lambda line: _announce(line, args.json)))
    return 0


def _announce(line: str, as_json: bool) -> None:
    print(json.dumps({"serving": line}) if as_json else line, flush=True)


def _print_config(args: argparse.Namespace) -> int:
    loaded = options.loaded(args)
    rows = [
        (field.name, getattr(loaded.settings, field.name), loaded.origins[field.name])
        for field in dataclasses.fields(loaded.settings)
    ]
    if args.json:
        for name, value, origin in rows:
            format.emit({"setting": name, "value": value, "origin": origin})
    else:
        format.table(rows, ("setting", "value", "from"))
    return 0
