"""Settings: built-in values, then a TOML file, then HASHMATCH_… variables, then flags; each knows where it came from.

Unknown keys are refused, since a misspelt limit is a limit that does not hold.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hashmatch.errors import BadConfig

PREFIX = "HASHMATCH_"


def _setting(default: Any, parse: Callable[[Any], Any], help_: str) -> Any:
    return dataclasses.field(default=default, metadata={"parse": parse, "help": help_})


def _whole(low: int, high: int) -> Callable[[Any], int]:
    def parse(value: Any) -> int:
        number = int(value)
        if isinstance(value, bool | float) or not low <= number <= high:
            raise ValueError(f"want a whole number {low}..{high}")
        return number

    return parse


def _seconds(low: float, high: float) -> Callable[[Any], float]:
    def parse(value: Any) -> float:
        number = float(value)
        if not low <= number <= high:
            raise ValueError(f"want {low:g}..{high:g}")
        return number

    return parse


def _one_of(*allowed: str) -> Callable[[Any], str]:
    def parse(value: Any) -> str:
        if value not in allowed:
            raise ValueError(f"want one of {', '.join(allowed)}")
        return str(value)

    return parse


def _yes_no(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    known = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if str(value).lower() not in known:
        raise ValueError("want true or false")
    return known[str(value).lower()]


def _path(value: Any) -> Path:
    if not isinstance(value, str | Path) or not str(value):
        raise ValueError("want a path")
    return Path(value).expanduser()


def _loopback(value: Any) -> str:
    """`host:port` on this machine alone: nothing here authenticates callers yet, so nothing else may reach it."""
    host, _, port = str(value).rpartition(":")
    if not port.isdigit() or int(port) > 65535:
        raise ValueError("want HOST:PORT")
    bare = host.strip("[]")
    try:
        on_loopback = bare == "localhost" or ipaddress.ip_address(bare).is_loopback
    except ValueError as e:
        raise ValueError("want an IP address or localhost") from e
    if not on_loopback:
        raise ValueError("listening beyond loopback needs TLS and authentication, which this version does not have")
    return str(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything an operator can set. Each field's help says its unit."""

    state: Path = _setting(Path("hashmatch-state"), _path, "directory of all state")
    listen: str = _setting("127.0.0.1:50051", _loopback, "address to serve gRPC on")
    workers: int = _setting(
        os.cpu_count() or 1, _whole(1, 256), "decode workers"
    )  # fmt: skip
    walls: str = _setting(
        "required", _one_of("required", "available"),
        "'required' refuses to start where the kernel lacks a wall of the sandbox; 'available' takes those there are",
    )  # fmt: skip
    recipes: Path | None = _setting(None, _path, "directory whose recipe files replace the packaged ones")
    max_media_bytes: int = _setting(32 << 20, _whole(1 << 10, 64 << 20), "largest media accepted, bytes")
    decode_seconds: float = _setting(4.0, _seconds(0.1, 60), "wall time for one item in a decode worker, seconds")
    worker_memory_bytes: int = _setting(
        480 << 20, _whole(128 << 20, 8 << 30), "most memory of one decode worker, bytes"
    )  # fmt: skip
    queue: int = _setting(64, _whole(1, 10_000), "submissions that may wait for a decode worker")
    in_flight: int = _setting(256, _whole(1, 100_000), "requests answered at once")
    in_flight_bytes: int = _setting(
        256 << 20, _whole(1 << 20, 64 << 30), "media held for unanswered submissions, bytes"
    )  # fmt: skip
    poll_ms: int = _setting(25, _whole(1, 10_000), "how often the lists are looked at for changes, milliseconds")
    canary_seconds: float = _setting(60.0, _seconds(0.1, 86_400), "how often every list's canary is searched, seconds")
    idempotency_hours: float = _setting(168.0, _seconds(0.01, 87_600), "how long a request id is remembered, hours")
    log_no_match: bool = _setting(False, _yes_no, "log every NO_MATCH whole, not only as counts")
    traffic_sample: int = _setting(
        100_000, _whole(0, 10_000_000), "items of recent traffic kept to try lists on; 0 keeps none"
    )  # fmt: skip
    traffic_days: int = _setting(7, _whole(1, 90), "how long they are kept, days")
    drain_seconds: float = _setting(10.0, _seconds(0, 600), "how long a stopping server finishes what is in flight")


FIELDS = {f.name: f for f in dataclasses.fields(Settings)}


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, and for each where its value came from: "built in", a file, a variable, a flag."""

    settings: Settings
    origins: Mapping[str, str]


def load(file: Path | None, environ: Mapping[str, str], flags: Mapping[str, Any]) -> Loaded:
    """Merges the sources, later ones winning.

    Args:
        flags: values by field name; None means that the flag was not given.
    Raises:
        BadConfig: an unknown key or an impossible value; names it and its source.
    """
    values: dict[str, Any] = {}
    origins = dict.fromkeys(FIELDS, "built in")
    for origin, given in (
        *(((str(file), _read(file)),) if file else ()),
        *((f"{PREFIX}{k.upper()}", {k: v}) for k, v in _variables(environ).items()),
        *((f"--{k.replace('_', '-')}", {k: v}) for k, v in flags.items() if v is not None),
    ):
        for key, value in given.items():
            if key not in FIELDS:
                raise BadConfig(f"{origin}: unknown setting '{key}'; known: {', '.join(sorted(FIELDS))}")
            try:
                values[key] = FIELDS[key].metadata["parse"](value)
            except (ValueError, TypeError) as e:
                raise BadConfig(f"{origin}: {key} = {value!r}: {e}") from e
            origins[key] = origin
    return Loaded(Settings(**values), origins)


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as e:
        raise BadConfig(f"cannot read {file}: {e.strerror}") from e
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise BadConfig(f"{file}: {e}") from e


def _variables(environ: Mapping[str, str]) -> dict[str, str]:
    return {
        name.removeprefix(PREFIX).lower(): value for name, value in sorted(environ.items()) if name.startswith(PREFIX)
    }
