"""Who reports, to which environment of the CyberTipline, and with what: the table [reporting] of the workflow's file.

[reporting]
environment = "test"                        # default; "production" files real reports
credentials = "/etc/hashmatch/ncmec-test"   # two lines: user, password; chmod 600
url = "http://127.0.0.1:8081/ispws"         # of the test environment alone: `hashmatch simulate cybertipline`
company = "Example Inc."
email = "reports@example.com"
# legal_email, template, terms, legal_url, hash_sharing: see docs/cases.md
# batch = { at_least = 10, window = "24h", at_most = 100 }   # opt-in: what is viral is filed in one report for many
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from hashmatch.audit.leaves import Appending
from hashmatch.delivery.cybertip.client import CyberTipline
from hashmatch.delivery.cybertip.service import Credentials
from hashmatch.delivery.cybertip.terms import Environment
from hashmatch.errors import BadConfig, Malformed
from hashmatch.store.env import Txn
from hashmatch.v1.cases_pb2 import Case
from hashmatch.workflow.case_store import CaseStore
from hashmatch.workflow.report_batch import Batching
from hashmatch.workflow.report_content import Reporter
from hashmatch.workflow.report_record import OVER, State
from hashmatch.workflow.report_rows import receipt_of, state_of
from hashmatch.workflow.report_store import NCMEC, ReportStore

_UNITS: Final = {"m": "minutes", "h": "hours"}
_TEXTS: Final = ("company", "email", "legal_email", "template", "terms", "legal_url")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportSettings:
    """What reports are filed by."""

    environment: Environment
    reporter: Reporter
    credentials: Credentials
    url: str | None = None
    batch: Batching | None = None  # None: every case has a report of its own

    @property
    def production(self) -> bool:
        """Whether real reports are filed."""
        return self.environment is Environment.PRODUCTION

    def client(self, now: Callable[[], datetime]) -> CyberTipline:
        """A client of that environment, to be closed."""
        return CyberTipline(self.credentials, environment=self.environment, base_url=self.url, now=now)

    def refuse_other(self, environment: Environment) -> None:
        """Does nothing for the environment that these settings are for.

        Raises:
            BadConfig: it is another: what is for one must never be sent to the other.
        """
        if environment is not self.environment:
            raise BadConfig(f"the settings are for the {self.environment.value} environment, not {environment.value}")


def parse(given: dict[str, Any]) -> ReportSettings:
    """The settings of a table.

    Raises:
        Malformed, BadConfig: names the key.
    """
    if unknown := sorted(set(given) - {*_TEXTS, "environment", "credentials", "url", "hash_sharing", "batch"}):
        raise Malformed("unknown", field=unknown[0])
    for name in ("environment", "credentials", "url", *_TEXTS):
        if name in given and not isinstance(given[name], str):
            raise Malformed("want a text", field=name)
    wanted = given.get("environment", "test")
    if wanted not in ("test", "production"):
        raise Malformed("want test or production", field="environment")
    environment = Environment[wanted.upper()]
    if "url" in given and environment is Environment.PRODUCTION:
        raise Malformed("only the test environment may be elsewhere", field="url")
    sharing = given.get("hash_sharing", False)
    if not isinstance(sharing, bool):
        raise Malformed("want true or false", field="hash_sharing")
    return ReportSettings(
        environment=environment,
        reporter=Reporter(**{name: given.get(name, "") for name in _TEXTS}, hash_sharing=sharing),
        credentials=_credentials(Path(given.get("credentials", "")), environment),
        url=given.get("url"),
        batch=_batch(given["batch"]) if "batch" in given else None,
    )


def _batch(given: Any) -> Batching:
    if not isinstance(given, dict):
        raise Malformed("want a table", field="batch")
    if unknown := sorted(set(given) - {"at_least", "window", "at_most"}):
        raise Malformed("unknown", field=f"batch.{unknown[0]}")
    wanted: dict[str, Any] = dict(given)
    for name in ("at_least", "at_most"):
        if name in given and type(given[name]) is not int:
            raise Malformed("want a whole number", field=f"batch.{name}")
    if "window" in given:
        found = re.fullmatch(r"([1-9]\d{0,4})([mh])", str(given["window"]))
        if found is None:
            raise Malformed("want a length such as 30m or 24h", field="batch.window")
        wanted["window"] = int(found[1]) * timedelta(**{_UNITS[found[2]]: 1})
    return Batching(**wanted)


def _credentials(file: Path, environment: Environment) -> Credentials:
    try:
        if file.stat().st_mode & 0o077:
            raise Malformed(f"others may read {file}: chmod 600", field="credentials")
        lines = file.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as e:
        why = getattr(e, "strerror", None) or "not UTF-8"
        raise Malformed(f"cannot read {file}: {why}", field="credentials") from None
    if len(lines) != 2:
        raise Malformed("want two lines: user, password", field="credentials")
    return Credentials(environment, *lines)


class Filing:
    """Queues reports with what asks for them, and calls off those that were not sent."""

    def __init__(self, reports: ReportStore, cases: CaseStore, environment: Environment) -> None:
        self._reports, self._cases, self._environment = reports, cases, environment

    def queue(self, log: Appending, case: Case) -> bool:
        """The report about this round of decision on a case, once; items that came since join it while it waits, and
        are in another once it was sent. Whether something is yet to be filed."""
        if case.authority != NCMEC:
            return False  # a person files it elsewhere
        decided = case.HasField("decided_at")
        items = [one for one in self._cases.items(log.txn, case.id) if decided or one.report_unreviewed]
        row = self._reports.queue(log, case, items, environment=self._environment, authority=case.authority)
        return state_of(row) not in OVER

    def call_off(self, log: Appending, case: Case, by: str) -> None:
        """What was not filed yet is not to be."""
        self._reports.call_off(log, case.id, by=by)

    def waits(self, txn: Txn, case_id: str) -> bool:
        """Whether something is yet to be filed."""
        return any(state_of(row) not in OVER for row in self._reports.of_case(txn, case_id))

    def finished(self, log: Appending, case_id: str) -> str | None:
        """The receipt, once nothing of a case is left to be filed; None before."""
        filed = [row for row in self._reports.of_case(log.txn, case_id) if state_of(row) is State.FINISHED]
        return receipt_of(filed[-1]) if filed and not self.waits(log.txn, case_id) else None
