"""Settings: built-in values, then a TOML file, then HASHMATCH_… variables, then flags; each knows where it came from.

Unknown keys are refused, since a misspelt limit is a limit that does not hold.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hashmatch.address import Address
from hashmatch.errors import BadConfig, Malformed
from hashmatch.roles import roles_from

PREFIX = "HASHMATCH_"
FILE_VARIABLE = "HASHMATCH_CONFIG"  # the file of settings, where --config names none
CLIENT_VARIABLES = frozenset(
    {
        FILE_VARIABLE,
        "HASHMATCH_KEY_FILE",
        "HASHMATCH_CA",
        "HASHMATCH_CERTIFICATE",
        "HASHMATCH_CERTIFICATE_KEY",
        "HASHMATCH_SERVER",
        "HASHMATCH_PROTO_INCLUDE",
    }
)
"""What verbs are told by; no settings of a server."""


def _setting(default: Any, parse: Callable[[Any], Any], help_: str) -> Any:
    metadata = {"parse": parse, "help": help_}
    if isinstance(default, dict):
        return dataclasses.field(default_factory=lambda: dict(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


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


def _path_or_none(value: Any) -> Path | None:
    return None if value in ("", None) else _path(value)


def _address(value: Any) -> str:
    """`host:port`; whether it may be reached from elsewhere is decided once all settings are known."""
    return str(Address.parse(str(value)))


def _address_or_none(value: Any) -> str:
    return "" if value == "" else _address(value)


def _metrics_address(value: Any) -> str:
    return str(value) if value in ("", "auto") else _address(value)


def _url_or_none(value: Any) -> str:
    if value and not str(value).startswith(("http://", "https://")):
        raise ValueError("want an http or https URL")
    return str(value)


def _retention(value: Any) -> int:
    days = _whole(0, 36_500)(value)
    if 0 < days < 31:
        raise ValueError("want 0, or at least 31: it goes by whole months")
    return days


def _origin(value: Any) -> str:
    """As C2SP's signed notes want a key's name: no white space, no plus."""
    if not isinstance(value, str) or len(value) > 128 or not value.isprintable() or set(value) & set(" +"):
        raise ValueError("want at most 128 printable characters without spaces and plus signs")
    return value


def _places(value: Any) -> tuple[str, ...]:
    """A list in a file; in a variable, separated by commas."""
    places = tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value
    if not isinstance(places, list | tuple) or not all(isinstance(place, str) for place in places):
        raise ValueError("want a list of paths and https URLs")
    for place in places:
        if not place.startswith(("/", "https://", "http://127.0.0.1:", "http://localhost:")):
            raise ValueError(f"{place}: want an absolute path, or an https URL")
    return tuple(places)


def _witnesses(value: Any) -> tuple[str, ...]:
    """A list in a file; in a variable, separated by commas."""
    found = tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value
    if not isinstance(found, list | tuple) or not all(isinstance(one, str) for one in found):
        raise ValueError("want a list of 'URL name+hash+base64'")
    for one in found:
        url, _, key = one.partition(" ")
        if not url.startswith(("https://", "http://127.0.0.1:", "http://localhost:")) or key.count("+") < 2:
            raise ValueError(f"{one}: want an https URL, a space, and the witness's verifier key")
    return tuple(found)


def _accounts(value: Any) -> dict[str, tuple[str, ...]]:
    """Roles by account name: a table in a file; in a variable "ann=analyst+detail,bob=approver"."""
    if isinstance(value, str):
        value = {
            name: roles.split("+") for name, _, roles in (part.partition("=") for part in value.split(",") if part)
        }
    if not isinstance(value, dict) or not all(isinstance(roles, list | tuple) for roles in value.values()):
        raise ValueError("want a table: account = [role, …]")
    try:
        return {str(name): tuple(sorted(roles_from(map(str, roles), "accounts"))) for name, roles in value.items()}
    except Malformed as e:
        raise ValueError(e.problem) from e


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything an operator can set. Each field's help says its unit."""

    state: Path = _setting(Path("hashmatch-state"), _path, "directory of all state")
    listen: str = _setting("127.0.0.1:50051", _address, "address to serve gRPC on")
    workers: int = _setting(
        os.cpu_count() or 1, _whole(1, 256), "decode workers"
    )  # fmt: skip
    processes: int = _setting(
        1, _whole(1, 64), "server processes that share the address; they share the decode workers"
    )
    auth: str = _setting(
        "auto", _one_of("auto", "required", "open"),
        "'required': callers show a key or a certificate; 'open': they need not, on loopback alone; 'auto': open until "
        "the first key is made",
    )  # fmt: skip
    tls_certificate: Path | None = _setting(
        None, _path_or_none, "PEM file of the certificate chain; read anew when changed"
    )
    tls_key: Path | None = _setting(None, _path_or_none, "PEM file of its private key")
    tls_client_ca: Path | None = _setting(
        None, _path_or_none, "PEM file of authorities; every caller must then have a certificate of theirs"
    )  # fmt: skip
    accounts: Mapping[str, tuple[str, ...]] = _setting(
        {}, _accounts, "roles of this machine's accounts in the command line; none: every role"
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
    queue_ms: int = _setting(
        150, _whole(1, 60_000), "how long a submission may have to wait for a decode worker; beyond, it is refused, ms"
    )  # fmt: skip
    in_flight: int = _setting(256, _whole(1, 100_000), "requests answered at once; look-ups by fingerprint apart")
    connections: int = _setting(20_000, _whole(1, 1_000_000), "connections held at once")
    in_flight_bytes: int = _setting(
        256 << 20, _whole(1 << 20, 64 << 30), "media held for unanswered submissions, bytes"
    )  # fmt: skip
    spool_bytes: int = _setting(
        1 << 20, _whole(0, 64 << 20), "of a chunked upload, held in memory while it comes; the rest is spooled, bytes"
    )  # fmt: skip
    spooled_bytes: int = _setting(
        4 << 30, _whole(1 << 20, 1 << 44), "spooled on the disk for uploads that are still coming, all together, bytes"
    )  # fmt: skip
    poll_ms: int = _setting(25, _whole(1, 10_000), "how often the lists are looked at for changes, milliseconds")
    canary_seconds: float = _setting(60.0, _seconds(0.1, 86_400), "how often every list's canary is searched, seconds")
    idempotency_hours: float = _setting(168.0, _seconds(0.01, 87_600), "how long a request id is remembered, hours")
    log_no_match: bool = _setting(False, _yes_no, "log every NO_MATCH whole, not only as counts")
    log_origin: str = _setting(
        "",
        _origin,
        "name of a new log, as its checkpoints give it, such as hashmatch.example.org/log; empty: random",
    )
    log_publish: tuple[str, ...] = _setting(
        (),
        _places,
        "where checkpoints are also put, so that a rewritten log is caught: directories, https URLs",
    )
    log_witnesses: tuple[str, ...] = _setting(
        (), _witnesses, "who cosigns checkpoints, each as 'URL name+hash+base64': c2sp.org/tlog-witness"
    )
    log_retention_days: int = _setting(
        0, _retention, "after which what is personal in logged verdicts is erased, in whole months; 0: never"
    )
    cases: bool = _setting(True, _yes_no, "open a case for every MATCH that is not of lists in shadow mode alone")
    policy: Path | None = _setting(
        None, _path_or_none, "TOML file of what follows from a match; none: the policy that comes with hashmatch"
    )
    policy_persons: int = _setting(
        2, _whole(1, 2), "persons who must agree to another policy; 1: a server takes its file over; the log says so"
    )  # fmt: skip
    workflow: Path | None = _setting(
        None, _path_or_none, "TOML file of destinations and of who reports; none: nothing is sent"
    )
    traffic_sample: int = _setting(
        100_000, _whole(0, 10_000_000), "items of recent traffic kept to try lists on; 0 keeps none"
    )  # fmt: skip
    traffic_days: int = _setting(7, _whole(1, 90), "how long they are kept, days")
    drain_seconds: float = _setting(10.0, _seconds(0, 600), "how long a stopping server finishes what is in flight")
    metrics_listen: str = _setting(
        "auto", _metrics_address,
        "address of metrics and probes over HTTP; auto: 127.0.0.1:9464, or a free port where it is taken; empty: none",
    )  # fmt: skip
    http_listen: str = _setting("", _address_or_none, "address of the HTTP and JSON gateway; empty: none")
    log_format: str = _setting("text", _one_of("text", "json"), "form of the trace on standard error")
    log_level: str = _setting("info", _one_of("debug", "info", "warning", "error"), "least severe line of the trace")
    tracing_endpoint: str = _setting(
        "", _url_or_none, "OTLP/HTTP endpoint that spans are sent to; empty: none are made"
    )
    tracing_permille: int = _setting(10, _whole(0, 1000), "of calls without a trace of their own, how many get one")


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
    settings = Settings(**values)
    _agree(settings)
    return Loaded(settings, origins)


def digest(settings: Settings) -> bytes:
    """SHA-256 of settings: of one line `name = value` each, by name, as `hashmatch serve --print-config` gives them."""
    lines = sorted(f"{name} = {getattr(settings, name)}" for name in FIELDS)
    return hashlib.sha256("\n".join(lines).encode()).digest()


def _agree(settings: Settings) -> None:
    """Refuses what is wrong only together.

    Raises:
        BadConfig: names the settings.
    """
    tls = settings.tls_certificate is not None
    if tls != (settings.tls_key is not None):
        raise BadConfig("tls_certificate and tls_key are given together, or neither is")
    if settings.tls_client_ca is not None and not tls:
        raise BadConfig("tls_client_ca needs tls_certificate and tls_key")
    for name in ("listen", "http_listen"):
        address = getattr(settings, name)
        if address and not Address.parse(address).on_loopback and not (tls and settings.auth == "required"):
            raise BadConfig(
                f"{name} = '{address}': listening beyond loopback needs TLS and authentication: give "
                "tls_certificate and tls_key, and auth = 'required'"
            )
    if settings.processes > settings.workers:
        raise BadConfig(
            f"processes = {settings.processes}, workers = {settings.workers}: every server process needs a worker"
        )


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as e:
        raise BadConfig(f"cannot read {file}: {e.strerror}") from e
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise BadConfig(f"{file}: {e}") from e


def _variables(environ: Mapping[str, str]) -> dict[str, str]:
    own = {name: value for name, value in environ.items() if name.startswith(PREFIX) and name not in CLIENT_VARIABLES}
    return {name.removeprefix(PREFIX).lower(): value for name, value in sorted(own.items())}
