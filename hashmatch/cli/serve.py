"""`hashmatch serve`."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
from pathlib import Path

from hashmatch.cli import format, options
from hashmatch.cli.verbs import Verbs, verb
from hashmatch.server import lifecycle, logs, supervisor
from hashmatch.server import serve as server

EXAMPLE = """\
example:
  hashmatch serve --state /var/lib/hashmatch --listen 127.0.0.1:50051
  hashmatch serve --config hashmatch.toml --print-config

Settings come from the file of --config or HASHMATCH_CONFIG, then HASHMATCH_… variables (HASHMATCH_WORKERS=4), then
flags; unknown ones are refused.
SIGTERM finishes what is in flight and exits 0. SIGHUP, or a changed file, takes over settings and certificates."""


def add_parser(verbs: Verbs) -> None:
    parser = verb(
        verbs, "serve", run, "serve verdicts over gRPC", EXAMPLE,
        description="Serve verdicts over gRPC. Prints one line when it is SERVING.",
    )  # fmt: skip
    parser.add_argument("--config", metavar="FILE", help="TOML file of settings (default: $HASHMATCH_CONFIG)")
    parser.add_argument("--listen", metavar="ADDR", help="HOST:PORT; port 0 picks a free one; TLS beyond loopback")
    parser.add_argument("--processes", metavar="N", help="server processes that share the address (default: 1)")
    parser.add_argument("--auth", choices=("auto", "required", "open"), help="whether callers must show who they are")
    parser.add_argument("--metrics-listen", metavar="ADDR", help="HOST:PORT of metrics and probes; '' for none")
    parser.add_argument("--http-listen", metavar="ADDR", help="HOST:PORT of the HTTP and JSON gateway (default: none)")
    parser.add_argument("--log-format", choices=("text", "json"), help="form of the trace on standard error")
    parser.add_argument("--workers", metavar="N", help="decode workers (default: one per core)")
    parser.add_argument(
        "--walls",
        choices=("required", "available"),
        help="'required' refuses to start where the kernel lacks a wall of the sandbox (default)",
    )
    parser.add_argument(
        "--print-config", action="store_true", help="print every setting and where it came from, and exit"
    )


def run(args: argparse.Namespace) -> int:
    if args.print_config:
        return _print_config(args)
    settings = args.settings
    logs.start(settings.log_format, settings.log_level)

    def announce(line: str) -> None:
        _announce(line, args.json)

    lifecycle.no_core_dumps()
    with lifecycle.only_server(settings.state):
        if settings.processes > 1:
            asyncio.run(supervisor.Supervisor(settings, announce, options.given(args)).run())
        else:
            named = options.given(args)["config"]
            file = Path(named) if named else None
            asyncio.run(
                server.serve(settings, announce=announce, load=lambda: options.loaded(args).settings, file=file)
            )
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
