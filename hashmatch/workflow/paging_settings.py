"""Who is paged, and through what: the table [paging] of the workflow's file.

[paging]
link = "https://console.example/cases/{case_id}"   # left out: pages hold no link
[paging.rota]                                      # as rota_settings.py has it
last_resort = "dana"
[paging.contacts.ana]                              # everybody on the rota; at least one of these
pagerduty_key_file = "/etc/hashmatch/ana.pagerduty"   # of an integration whose service pages ana alone
opsgenie_key_file = "/etc/hashmatch/ana.opsgenie"     # the same
webhook = "https://hooks.example/ana"
webhook_secrets = "/etc/hashmatch/ana.secrets"        # one whsec_… or whsk_… a line
email = "ana@example.com"
[paging.channels.email]                            # wanted where a contact has an email
server = "smtp.example.com"
from = "hashmatch@example.com"
tls = "starttls"                                   # default, port 587; "implicit": port 465
port = 587
login = "/etc/hashmatch/smtp"                      # two lines: user, password; left out: none
[paging.channels.pagerduty]                        # left out: the service in the US
url = "https://events.eu.pagerduty.com/v2/enqueue"
[paging.channels.opsgenie]
url = "https://api.eu.opsgenie.com"                # or https://api.atlassian.com/jsm/ops/integration
[paging.channels.webhook]
allow = ["10.1.0.0/16"]                            # each channel: private networks that it may be in
ca = "/etc/hashmatch/ca.pem"                       # each channel: authority of its certificate, beside the system's

Files of secrets are chmod 600. Nothing is connected to until something is sent. A person's channels are tried in the
order in which they stand here: what rings comes before what waits to be read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from hashmatch.delivery.paging.note import MAX_URL, Channel, Note
from hashmatch.errors import BadConfig, Malformed
from hashmatch.workflow.paging import Page, Send
from hashmatch.workflow.paging_channels import channels_from
from hashmatch.workflow.paging_toml import known, table, text
from hashmatch.workflow.rota import Rota
from hashmatch.workflow.rota_settings import rota_from

CASE_ID: Final = "{case_id}"
_LONGEST_ID: Final = 64


@dataclass(frozen=True, slots=True)
class PagingSettings:
    """Who is on call when, and the channels of each; close it."""

    rota: Rota
    link: str  # of a case, with CASE_ID in it; "" where there is none
    _channels: Mapping[str, tuple[tuple[Channel, str], ...]] = field(repr=False)  # by person

    def channels_of(self, person: str) -> tuple[tuple[Channel, str], ...]:
        """The channels of somebody, each with how it knows them; of everybody on the rota at least one."""
        return self._channels.get(person, ())

    def note(self, page: Page, send: Send, *, round: int = 0) -> Note:
        """What a person is told, for `reach`, which fills in who it is."""
        url = self.link.replace(CASE_ID, page.case_id)
        return Note(
            page_id=page.id, case_id=page.case_id, tier=page.tier, drill=page.drill, text=send.text, url=url,
            round=round,
        )  # fmt: skip

    def close(self) -> None:
        """Closes every channel; nothing is sent afterwards."""
        for channel in {id(one): one for found in self._channels.values() for one, _ in found}.values():
            channel.close()


def parse(given: Mapping[str, Any]) -> PagingSettings:
    """The settings of a table.

    Raises:
        BadConfig: names the key, or who could not be paged.
    """
    try:
        known(given, {"rota", "contacts", "channels", "link"}, "")
        rota = rota_from(table(given, "rota", ""))
        contacts = table(given, "contacts", "")
        channels = channels_from(
            {person: table(contacts, person, "contacts.") for person in contacts}, table(given, "channels", "")
        )
        # Whoever cannot be paged is a hole in the rota that shows when it is too late.
        if unreachable := sorted(person for person in rota.people if not channels.get(person)):
            raise BadConfig(f"contacts: nothing reaches {', '.join(unreachable)}")
        return PagingSettings(rota, _link(given), channels)
    except Malformed as e:
        raise BadConfig(str(e)) from e


def _link(given: Mapping[str, Any]) -> str:
    if "link" not in given:
        return ""
    link = text(given, "link", "")
    rest = link.replace(CASE_ID, "", 1)
    plain = rest.isascii() and rest.isprintable() and not set(rest) & set(' {}"<>\\')
    if rest == link or not plain or not link.startswith("https://") or len(rest) > MAX_URL - _LONGEST_ID:
        raise Malformed(f"want an https URL of at most {MAX_URL - _LONGEST_ID} characters with {CASE_ID}", field="link")
    return link
