"""Options that verbs share, and the settings they add up to."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from hashmatch import config
from hashmatch.errors import BadConfig


def common() -> argparse.ArgumentParser:
    """The options that every verb takes; pass as a parent."""
    options = argparse.ArgumentParser(add_help=False)
    options.add_argument(
        "--state", metavar="DIR", help="state directory (default: $HASHMATCH_STATE, else ./hashmatch-state)"
    )
    options.add_argument("--json", action="store_true", help="print one JSON object per line")
    return options


def loaded(args: argparse.Namespace) -> config.Loaded:
    """Settings from the file of --config or HASHMATCH_CONFIG, HASHMATCH_… variables and the flags given.

    Raises:
        BadConfig: an unknown key or an impossible value; names it and its source.
    """
    flags = given(args)
    file = flags.pop("config")
    return config.load(Path(file) if file else None, os.environ, flags)


_SETTINGS = (
    "config", "state", "listen", "workers", "walls", "processes", "auth", "metrics_listen", "http_listen", "log_format",
)  # fmt: skip


def given(args: argparse.Namespace) -> dict[str, str | None]:
    """The flags that are settings, and the file of settings; None where not given."""
    found = {name: getattr(args, name, None) for name in _SETTINGS}
    found["config"] = found["config"] or os.environ.get(config.FILE_VARIABLE)
    return {name: None if value is None else str(value) for name, value in found.items()}


def server() -> argparse.ArgumentParser:
    """How a server is reached, for verbs that call one; pass as a parent."""
    options = argparse.ArgumentParser(add_help=False)
    options.add_argument("--server", metavar="ADDR", help="ask this server instead of opening the state directory")
    options.add_argument(
        "--key-file", metavar="FILE", default=os.environ.get("HASHMATCH_KEY_FILE"),
        help="file that holds the bearer key (default: $HASHMATCH_KEY_FILE)",
    )  # fmt: skip
    options.add_argument(
        "--ca", metavar="FILE", default=os.environ.get("HASHMATCH_CA"),
        help="PEM file of the authority of the server's certificate: speak TLS (default: $HASHMATCH_CA)",
    )  # fmt: skip
    options.add_argument(
        "--certificate", metavar="FILE", default=os.environ.get("HASHMATCH_CERTIFICATE"),
        help="PEM file of our own certificate (default: $HASHMATCH_CERTIFICATE)",
    )  # fmt: skip
    options.add_argument(
        "--certificate-key", metavar="FILE", default=os.environ.get("HASHMATCH_CERTIFICATE_KEY"),
        help="PEM file of its key (default: $HASHMATCH_CERTIFICATE_KEY)",
    )  # fmt: skip
    return options


def reach(args: argparse.Namespace) -> dict[str, Any]:
    """What `server` options mean to a client.

    Raises:
        BadConfig: a file cannot be read.
    """
    return {
        "key": _text(args.key_file).strip(),
        "ca": _bytes(args.ca),
        "certificate": _bytes(args.certificate),
        "certificate_key": _bytes(args.certificate_key),
    }


def _bytes(file: str | None) -> bytes:
    try:
        return Path(file).read_bytes() if file else b""
    except OSError as e:
        raise BadConfig(f"cannot read {file}: {e.strerror}") from e


def _text(file: str | None) -> str:
    return _bytes(file).decode(errors="replace")
