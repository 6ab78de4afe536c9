"""One of several server processes: `python -m hashmatch.server.child ORDER`, started by the supervisor alone.

It says how it stands on standard output, and ends where the supervisor does.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from hashmatch import config
from hashmatch.errors import HashmatchError
from hashmatch.media.walls import die_with_parent
from hashmatch.server import logs
from hashmatch.server.reload import Reloader
from hashmatch.server.serve import Part, Server
from hashmatch.server.supervisor import REPORT_SECONDS


def main(order: dict[str, Any]) -> int:
    """Serves as ordered; the exit code."""
    die_with_parent(order["supervisor"])
    given = argparse.Namespace(**order["argv"])
    file = Path(given.config) if given.config else None

    def load() -> config.Settings:
        flags = {name: getattr(given, name) for name in vars(given) if name != "config"}
        found = config.load(file, os.environ, flags).settings
        return dataclasses.replace(
            found, workers=order["workers"], listen=order["listen"], http_listen=order["http_listen"], processes=1
        )

    try:
        settings = load()
        logs.start(settings.log_format, settings.log_level)
        asyncio.run(_serve(settings, Reloader(settings, load, file)))
    except HashmatchError as e:
        _say(failed=str(e))
        print(f"hashmatch: {e}", file=sys.stderr)
        return e.exit_code
    return 0


async def _serve(settings: config.Settings, reloader: Reloader) -> None:
    server = Server(settings, reloader, Part(metrics=False, shared_port=True))
    async with server.running():
        reporting = asyncio.create_task(_report(server))
        try:
            await server.until_stopped(lambda line: _say(announced=line, not_ready=""))
        finally:
            reporting.cancel()


async def _report(server: Server) -> None:
    while True:
        _say(not_ready=server.not_ready(), not_live=server.not_live(), drain_seconds=server.drain_seconds)
        await asyncio.sleep(REPORT_SECONDS / 4)


def _say(**what: str | float) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # nobody listens any more: the supervisor is gone
    sys.exit(main(json.loads(sys.argv[1])))
