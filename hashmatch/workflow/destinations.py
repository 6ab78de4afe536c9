"""Where instructions and reports go: read from a TOML file, checked before anything is sent.

[[destination]]
name = "platform"
url = "https://platform.example/hashmatch"
secrets = "/etc/hashmatch/platform.secrets"   # one whsec_… or whsk_… a line; all of them sign
verbs = ["restrict", "block"]                 # default: every one
allow = ["10.1.0.0/16"]                       # private networks that it may be in
confirms = true                               # false: what was taken counts as done
ca = "/etc/hashmatch/platform-ca.pem"         # authority of its certificate, beside the system's

The tables [reporting], [evidence] and [paging] are in report_settings.py, evidence_settings.py and paging_settings.py.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from hashmatch.delivery.addresses import Egress
from hashmatch.delivery.cybertip.terms import Environment
from hashmatch.delivery.guarded_http import GuardedHttp
from hashmatch.delivery.standard_webhooks import Secret
from hashmatch.delivery.webhook import Webhook
from hashmatch.errors import BadConfig, Malformed
from hashmatch.workflow import evidence_settings, paging_settings, report_settings
from hashmatch.workflow.evidence_settings import EvidenceSettings
from hashmatch.workflow.paging_settings import PagingSettings
from hashmatch.workflow.policy import VERBS
from hashmatch.workflow.report_settings import ReportSettings

T = TypeVar("T")

MAX_NAME = 64
OWN: Final = "lists"  # what is done to the lists here
PAGER: Final = "pager"  # who is called by us
_TABLES: Final = frozenset({"destination", "reporting", "evidence", "paging"})
_KEYS: Final = frozenset({"name", "url", "secrets", "verbs", "allow", "confirms", "ca"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One destination, as it was written down."""

    name: str
    url: str
    secrets: tuple[Secret, ...] = field(repr=False)
    verbs: frozenset[str]
    egress: Egress
    confirms: bool = True
    ca: Path | None = None

    def opened(self) -> Webhook:
        """What sends to it.

        Raises:
            BadConfig: its URL or its authority cannot be used.
        """
        return Webhook(self.name, GuardedHttp(self.url, self.egress, ca=self.ca), self.secrets)


@dataclass(frozen=True, slots=True)
class Routes:
    """Which destinations want which verbs, and whether reports are filed here: all that a decision needs to know."""

    verbs: Mapping[str, frozenset[str]]  # by destination
    environment: Environment | None = None  # that reports are filed in; None: a person files them elsewhere

    def route(self, verb: str) -> Iterable[str]:
        """The names of those that want a verb."""
        return [name for name, wanted in self.verbs.items() if verb in wanted]

    def to_json(self) -> bytes:
        """As the ledger keeps it."""
        verbs = {name: sorted(wanted) for name, wanted in self.verbs.items()}
        environment = self.environment.name if self.environment else None
        return json.dumps({"verbs": verbs, "environment": environment}).encode()

    @classmethod
    def from_json(cls, kept: bytes) -> Routes:
        """What was kept; nothing where nothing was."""
        given = json.loads(kept) if kept else {"verbs": {}, "environment": None}
        verbs = {name: frozenset(wanted) for name, wanted in given["verbs"].items()}
        return cls(verbs, Environment[given["environment"]] if given["environment"] else None)


@dataclass(frozen=True, slots=True)
class Destinations:
    """All of them, as they were written down."""

    endpoints: tuple[Endpoint, ...] = ()
    reporting: ReportSettings | None = None  # None: reports are filed elsewhere
    evidence: EvidenceSettings = field(default_factory=EvidenceSettings)
    paging: PagingSettings | None = None  # None: nobody is on call here

    @property
    def routes(self) -> Routes:
        """Which of them want which verbs."""
        environment = self.reporting.environment if self.reporting else None
        verbs = {one.name: one.verbs for one in self.endpoints}
        if self.paging is not None:
            verbs[PAGER] = frozenset({"page"})
        return Routes(verbs, environment)


def load(file: Path | None) -> Destinations:
    """The destinations of a file; none without one.

    Raises:
        BadConfig: the file, or a file of secrets, cannot be read, or is wrong; says where.
    """
    if file is None:
        return Destinations()
    try:
        given = tomllib.loads(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as e:
        raise BadConfig(f"cannot read {file}: {e}") from e
    if unknown := sorted(set(given) - _TABLES):
        raise BadConfig(f"{file}: unknown: {', '.join(unknown)}; known: {', '.join(sorted(_TABLES))}")
    found = []
    rows = given.get("destination", [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise BadConfig(f"{file}: want tables [[destination]]")
    for number, row in enumerate(rows, 1):
        try:
            found.append(_endpoint(row))
        except Malformed as e:
            raise BadConfig(f"{file}: destination {row.get('name', number)}: {e}") from e
    names = [one.name for one in found]
    if len(set(names)) != len(names):
        raise BadConfig(f"{file}: two destinations have one name")
    if own := {OWN, PAGER} & set(names):
        raise BadConfig(f"{file}: '{own.pop()}' is hashmatch's own destination; choose another name")
    return Destinations(
        tuple(found),
        _table(file, given, "reporting", report_settings.parse, None),
        _table(file, given, "evidence", lambda one: evidence_settings.parse(one, _secrets), EvidenceSettings()),
        _table(file, given, "paging", paging_settings.parse, None),
    )


def _table(file: Path, given: dict[str, Any], name: str, parse: Callable[[dict[str, Any]], T], absent: T) -> T:
    if name not in given:
        return absent
    try:
        if not isinstance(given[name], dict):
            raise Malformed(f"want a table [{name}]")
        return parse(given[name])
    except (Malformed, BadConfig) as e:
        raise BadConfig(f"{file}: {name}: {e}") from e


def _endpoint(row: dict[str, Any]) -> Endpoint:
    if unknown := sorted(set(row) - _KEYS):
        raise Malformed(f"unknown; known: {', '.join(sorted(_KEYS))}", field=unknown[0])
    name = _text(row, "name")
    if len(name) > MAX_NAME or not name.replace("-", "").replace("_", "").isalnum():
        raise Malformed(f"want letters, digits, - and _, at most {MAX_NAME}", field="name")
    verbs = row.get("verbs", list(VERBS))
    if not isinstance(verbs, list) or not set(verbs) <= set(VERBS):
        raise Malformed(f"want some of {', '.join(VERBS)}", field="verbs")
    allow = row.get("allow", [])
    if not isinstance(allow, list) or not all(isinstance(one, str) for one in allow):
        raise Malformed("want a list of networks", field="allow")
    confirms = row.get("confirms", True)
    if not isinstance(confirms, bool):
        raise Malformed("want true or false", field="confirms")
    url = _text(row, "url")
    if not url.startswith(("https://", "http://")):
        raise Malformed("want an https URL", field="url")
    return Endpoint(
        name=name, url=url, secrets=_secrets(Path(_text(row, "secrets"))), verbs=frozenset(verbs),
        egress=Egress(allow), confirms=confirms, ca=Path(_text(row, "ca")) if "ca" in row else None,
    )  # fmt: skip


def _secrets(file: Path) -> tuple[Secret, ...]:
    try:
        if file.stat().st_mode & 0o077:
            raise Malformed(f"others may read {file}: chmod 600", field="secrets")
        lines = file.read_text("ascii").split()
    except (OSError, UnicodeDecodeError) as e:
        raise Malformed(f"cannot read {file}: {getattr(e, 'strerror', None) or 'not ASCII'}", field="secrets") from None
    if not lines:
        raise Malformed(f"{file} is empty; `hashmatch outbox secret` makes one", field="secrets")
    return tuple(Secret(line) for line in lines)


def _text(row: dict[str, Any], name: str) -> str:
    found = row.get(name)
    if not isinstance(found, str) or not found.strip():
        raise Malformed("must be given", field=name)
    return found.strip()
