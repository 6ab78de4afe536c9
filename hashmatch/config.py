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

from hashmatch import setting_values as values
from hashmatch.address import Address
from hashmatch.errors import BadConfig

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything an operator can set. Each field's help says its unit."""

    state: Path = _setting(Path("hashmatch-state"), values.path, "directory of all state")
    listen: str = _setting("127.0.0.1:50051", values.address, "address to serve gRPC on")
    workers: int = _setting(
        os.cpu_count() or 1, values.whole(1, 256), "decode workers"
    )  # fmt: skip
    processes: int = _setting(
        1, values.whole(1, 64), "server processes that share the address; they share the decode workers"
    )
    auth: str = _setting(
        "auto", values.one_of("auto", "required", "open"),
        "'required': callers show a key or a certificate; 'open': they need not, on loopback alone; 'auto': open until "
        "the first key is made",
    )  # fmt: skip
    tls_certificate: Path | None = _setting(
        None, values.path_or_none, "PEM file of the certificate chain; read anew when changed"
    )
    tls_key: Path | None = _setting(None, values.path_or_none, "PEM file of its private key")
    tls_client_ca: Path | None = _setting(
        None, values.path_or_none, "PEM file of authorities; every caller must then have a certificate of theirs"
    )  # fmt: skip
    accounts: Mapping[str, tuple[str, ...]] = _setting(
        {}, values.accounts, "roles of this machine's accounts in the command line; none: every role"
    )  # fmt: skip
    walls: str = _setting(
        "required", values.one_of("required", "available"),
        "'required' refuses to start where the kernel lacks a wall of the sandbox; 'available' takes those there are",
    )  # fmt: skip
    recipes: Path | None = _setting(None, values.path, "directory whose recipe files replace the packaged ones")
    max_media_bytes: int = _setting(32 << 20, values.whole(1 << 10, 64 << 20), "largest media accepted, bytes")
    decode_seconds: float = _setting(4.0, values.seconds(0.1, 60), "wall time for one item in a decode worker, seconds")
    worker_memory_bytes: int = _setting(
        480 << 20, values.whole(128 << 20, 8 << 30), "most memory of one decode worker, bytes"
    )  # fmt: skip
    queue: int = _setting(64, values.whole(1, 10_000), "submissions that may wait for a decode worker")
    queue_ms: int = _setting(
        150, values.whole(1, 60_000),
        "how long a submission may have to wait for a decode worker; beyond, it is refused, ms"
    )  # fmt: skip
    in_flight: int = _setting(256, values.whole(1, 100_000), "requests answered at once; look-ups by fingerprint apart")
    connections: int = _setting(20_000, values.whole(1, 1_000_000), "connections held at once")
    in_flight_bytes: int = _setting(
        256 << 20, values.whole(1 << 20, 64 << 30), "media held for unanswered submissions, bytes"
    )  # fmt: skip
    spool_bytes: int = _setting(
        1 << 20, values.whole(0, 64 << 20),
        "of a chunked upload, held in memory while it comes; the rest is spooled, bytes"
    )  # fmt: skip
    spooled_bytes: int = _setting(
        4 << 30, values.whole(1 << 20, 1 << 44),
        "spooled on the disk for uploads that are still coming, all together, bytes"
    )  # fmt: skip
    poll_ms: int = _setting(25, values.whole(1, 10_000), "how often the lists are looked at for changes, milliseconds")
    canary_seconds: float = _setting(
        60.0, values.seconds(0.1, 86_400), "how often every list's canary is searched, seconds"
    )
    idempotency_hours: float = _setting(
        168.0, values.seconds(0.01, 87_600), "how long a request id is remembered, hours"
    )
    log_no_match: bool = _setting(False, values.yes_no, "log every NO_MATCH whole, not only as counts")
    log_origin: str = _setting(
        "",
        values.origin,
        "name of a new log, as its checkpoints give it, such as hashmatch.example.org/log; empty: random",
    )
    log_publish: tuple[str, ...] = _setting(
        (),
        values.places,
        "where checkpoints are also put, so that a rewritten log is caught: directories, https URLs",
    )
    log_witnesses: tuple[str, ...] = _setting(
        (), values.witnesses, "who cosigns checkpoints, each as 'URL name+hash+base64': c2sp.org/tlog-witness"
    )
    log_retention_days: int = _setting(
        0, values.retention, "after which what is personal in logged verdicts is erased, in whole months; 0: never"
    )
    cases: bool = _setting(True, values.yes_no, "open a case for every MATCH that is not of lists in shadow mode alone")
    policy: Path | None = _setting(
        None, values.path_or_none, "TOML file of what follows from a match; none: the policy that comes with hashmatch"
    )
    policy_persons: int = _setting(
        2, values.whole(1, 2),
        "persons who must agree to another policy; 1: a server takes its file over; the log says so"
    )  # fmt: skip
    second_looks: Mapping[str, float] = _setting(
        {}, values.second_looks, "shares of decisions that a second person looks at, 0..1, and deadline_hours"
    )  # fmt: skip
    workflow: Path | None = _setting(
        None, values.path_or_none, "TOML file of destinations and of who reports; none: nothing is sent"
    )
    traffic_sample: int = _setting(
        100_000, values.whole(0, 10_000_000), "items of recent traffic kept to try lists on; 0 keeps none"
    )  # fmt: skip
    traffic_days: int = _setting(7, values.whole(1, 90), "how long they are kept, days")
    drain_seconds: float = _setting(
        10.0, values.seconds(0, 600), "how long a stopping server finishes what is in flight"
    )
    metrics_listen: str = _setting(
        "auto", values.metrics_address,
        "address of metrics and probes over HTTP; auto: 127.0.0.1:9464, or a free port where it is taken; empty: none",
    )  # fmt: skip
    kpi_seconds: float = _setting(
        300.0, values.seconds_or_never(1, 86_400),
        "how often the figures of `hashmatch kpi` are computed for metrics, seconds; 0: never",
    )  # fmt: skip
    kpi_window_days: int = _setting(30, values.whole(1, 3650), "age of the cases whose times metrics tell, days")
    http_listen: str = _setting("", values.address_or_none, "address of the HTTP and JSON gateway; empty: none")
    log_format: str = _setting("text", values.one_of("text", "json"), "form of the trace on standard error")
    log_level: str = _setting(
        "info", values.one_of("debug", "info", "warning", "error"), "least severe line of the trace"
    )
    tracing_endpoint: str = _setting(
        "", values.url_or_none, "OTLP/HTTP endpoint that spans are sent to; empty: none are made"
    )
    tracing_permille: int = _setting(
        10, values.whole(0, 1000), "of calls without a trace of their own, how many get one"
    )


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
    found: dict[str, Any] = {}
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
                found[key] = FIELDS[key].metadata["parse"](value)
            except (ValueError, TypeError) as e:
                raise BadConfig(f"{origin}: {key} = {value!r}: {e}") from e
            origins[key] = origin
    settings = Settings(**found)
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
