"""Options that verbs share, and the settings they add up to."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from hashmatch import config


def common() -> argparse.ArgumentParser:
    """The options that every verb takes; pass as a parent."""
    options = argparse.ArgumentParser(add_help=False)
    options.add_argument(
        "--state", metavar="DIR", help="state directory (default: $HASHMATCH_STATE, else ./hashmatch-state)"
    )
    options.add_argument("--json", action="store_true", help="print one JSON object per line")
    return options


def loaded(args: argparse.Namespace) -> config.Loaded:
    """Settings from the file of --config, HASHMATCH_… variables and the flags given.

    Raises:
        BadConfig: an unknown key or an impossible value; names it and its source.
    """
    file = getattr(args, "config", None)
    flags = {name: getattr(args, name, None) for name in ("state", "listen", "workers", "walls")}
    return config.load(Path(file) if file else None, os.environ, flags)
