"""Where evidence is kept or had from: the table [evidence] of the workflow's file.

[evidence]
vault = true                                     # default false: hashmatch keeps no media
master = "/etc/hashmatch/vault.master"           # made by `hashmatch evidence master FILE`; or, of a KMS:
# master_command = ["/usr/local/bin/kms", "--key", "hashmatch"]
keep_days = 90                                   # of a closed case, where nothing keeps it longer

[evidence]                                       # or: the platform keeps it, and gives it when asked
fetch = "https://platform.example/evidence"
secrets = "/etc/hashmatch/platform.secrets"
allow = ["10.1.0.0/16"]
ca = "/etc/hashmatch/platform-ca.pem"
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from hashmatch.delivery.addresses import Egress
from hashmatch.delivery.evidence_fetch import EvidenceFetch
from hashmatch.delivery.guarded_http import GuardedHttp
from hashmatch.delivery.standard_webhooks import Secret
from hashmatch.errors import Malformed
from hashmatch.evidence.command import CommandMaster
from hashmatch.evidence.master import FileMaster, Master

KEEP_DAYS: Final = 90
_VAULT: Final = frozenset({"vault", "master", "master_command", "keep_days"})
_FETCH: Final = frozenset({"fetch", "secrets", "allow", "ca"})


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceSettings:
    """One of the two, or neither."""

    master: Callable[[], Master] | None = None  # of the vault; None: there is none
    retention: timedelta = timedelta(days=KEEP_DAYS)
    fetch: str = ""
    secrets: Iterable[Secret] = field(default=(), repr=False)
    egress: Egress = field(default_factory=Egress)
    ca: Path | None = None

    def fetching(self, most: int) -> EvidenceFetch | None:
        """What asks the platform, to be closed; None where it is not asked. `most`: bytes of one upload.

        Raises:
            BadConfig: its URL or its authority cannot be used.
        """
        if not self.fetch:
            return None
        return EvidenceFetch(GuardedHttp(self.fetch, self.egress, ca=self.ca), self.secrets, most=most)


def parse(given: Mapping[str, Any], secrets_of: Callable[[Path], Iterable[Secret]]) -> EvidenceSettings:
    """The settings of a table.

    Raises:
        Malformed: names the key.
    """
    if unknown := sorted(set(given) - _VAULT - _FETCH):
        raise Malformed(f"unknown; known: {', '.join(sorted(_VAULT | _FETCH))}", field=unknown[0])
    vault = given.get("vault", False)
    if not isinstance(vault, bool):
        raise Malformed("want true or false", field="vault")
    if vault and "fetch" in given:
        raise Malformed("want either a vault or fetch, not both", field="fetch")
    if not vault and (left := sorted(set(given) & (_VAULT - {"vault"}))):
        raise Malformed("only with vault = true", field=left[0])
    if vault:
        return EvidenceSettings(master=_master(given), retention=timedelta(days=_days(given)))
    if "fetch" not in given:
        return EvidenceSettings()
    allow = given.get("allow", [])
    if not isinstance(allow, list) or not all(isinstance(one, str) for one in allow):
        raise Malformed("want a list of networks", field="allow")
    url = _text(given, "fetch")
    if not url.startswith(("https://", "http://")):
        raise Malformed("want an https URL", field="fetch")
    return EvidenceSettings(
        fetch=url, secrets=secrets_of(Path(_text(given, "secrets"))), egress=Egress(allow),
        ca=Path(_text(given, "ca")) if "ca" in given else None,
    )  # fmt: skip


def _master(given: Mapping[str, Any]) -> Callable[[], Master]:
    """Opened by who needs it: whoever only decides on cases need not be able to read the master key."""
    if ("master" in given) == ("master_command" in given):
        raise Malformed("want master, a file, or master_command", field="master")
    if "master" in given:
        file = Path(_text(given, "master"))
        return lambda: FileMaster(file)
    argv = given["master_command"]
    if not isinstance(argv, list) or not argv or not all(isinstance(one, str) and one for one in argv):
        raise Malformed("want a list: the program and its arguments", field="master_command")
    return lambda: CommandMaster(argv)


def _days(given: Mapping[str, Any]) -> int:
    days = given.get("keep_days", KEEP_DAYS)
    if type(days) is not int or not 1 <= days <= 3650:
        raise Malformed("want days 1..3650", field="keep_days")
    return days


def _text(given: Mapping[str, Any], name: str) -> str:
    found = given.get(name)
    if not isinstance(found, str) or not found.strip():
        raise Malformed("must be given", field=name)
    return found.strip()
