"""Where instructions and reports go: read from a TOML file, checked before anything is sent.

The tables [[destination]] are in endpoints.py, [reporting], [evidence] and [paging] in report_settings.py,
evidence_settings.py and paging_settings.py.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from hashmatch.delivery.cybertip.terms import Environment
from hashmatch.errors import BadConfig, Malformed
from hashmatch.workflow import endpoints, evidence_settings, paging_settings, report_settings
from hashmatch.workflow.endpoints import Endpoint
from hashmatch.workflow.evidence_settings import EvidenceSettings
from hashmatch.workflow.paging_settings import PagingSettings
from hashmatch.workflow.report_settings import ReportSettings
from hashmatch.workflow.secret_file import SecretFile

T = TypeVar("T")

OWN: Final = "lists"  # what is done to the lists here
PAGER: Final = "pager"  # who is called by us
_TABLES: Final = frozenset({"destination", "reporting", "evidence", "paging"})


@dataclass(frozen=True, slots=True)
class Routes:
    """Which destinations want which verbs, and whether reports are filed here: all that a decision needs to know."""

    verbs: Mapping[str, frozenset[str]]  # by destination
    environment: Environment | None = None  # that reports are filed in; None: a person files them elsewhere
    callers: Mapping[str, str] = field(default_factory=dict)  # by destination: the key that may confirm; else any

    def may_confirm(self, destination: str, caller: str) -> bool:
        """Whether a key, by name, may say what became of what was sent to a destination."""
        return self.callers.get(destination, caller) == caller

    def route(self, verb: str) -> Iterable[str]:
        """The names of those that want a verb."""
        return [name for name, wanted in self.verbs.items() if verb in wanted]

    def to_json(self) -> bytes:
        """As the ledger keeps it."""
        verbs = {name: sorted(wanted) for name, wanted in self.verbs.items()}
        environment = self.environment.name if self.environment else None
        kept = {"verbs": verbs, "environment": environment, "callers": dict(self.callers)}
        return json.dumps(kept).encode()

    @classmethod
    def from_json(cls, kept: bytes) -> Routes:
        """What was kept; nothing where nothing was."""
        given = json.loads(kept) if kept else {"verbs": {}, "environment": None}
        verbs = {name: frozenset(wanted) for name, wanted in given["verbs"].items()}
        environment = Environment[given["environment"]] if given["environment"] else None
        return cls(verbs, environment, given.get("callers", {}))


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
        return Routes(verbs, environment, {one.name: one.caller for one in self.endpoints if one.caller})


def load(file: Path | None) -> Destinations:
    """The destinations of a file; none without one.

    Raises:
        BadConfig: the file, or a file of secrets, cannot be read, or is wrong; or what a kind of destination needs is
            not installed. Says where.
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
            found.append(endpoints.parse(row))
        except (Malformed, BadConfig) as e:
            raise BadConfig(f"{file}: destination {row.get('name', number)}: {e}") from e
    names = [one.name for one in found]
    if len(set(names)) != len(names):
        raise BadConfig(f"{file}: two destinations have one name")
    if own := {OWN, PAGER} & set(names):
        raise BadConfig(f"{file}: '{own.pop()}' is hashmatch's own destination; choose another name")
    return Destinations(
        tuple(found),
        _table(file, given, "reporting", report_settings.parse, None),
        _table(file, given, "evidence", lambda one: evidence_settings.parse(one, SecretFile), EvidenceSettings()),
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
