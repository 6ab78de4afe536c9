"""The channels of the table [paging]: which there are, and which person has which."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from hashmatch.delivery.guarded_http import GuardedHttp
from hashmatch.delivery.paging import opsgenie, pagerduty
from hashmatch.delivery.paging.email import Email, address
from hashmatch.delivery.paging.note import Channel
from hashmatch.delivery.paging.opsgenie import Opsgenie
from hashmatch.delivery.paging.pagerduty import PagerDuty
from hashmatch.delivery.paging.smtp import Smtp
from hashmatch.delivery.paging.webhook import Hook, Webhook
from hashmatch.errors import Malformed
from hashmatch.workflow.paging_toml import authority, egress, known, secrets, table, text
from hashmatch.workflow.secret_file import SecretFile

KINDS: Final = frozenset({"pagerduty_key_file", "opsgenie_key_file", "webhook", "webhook_secrets", "email"})
PORTS: Final = {"starttls": 587, "implicit": 465}
_HOST: Final = re.compile(r"(?=.{1,253}$)[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?(?:\.[A-Za-z0-9-]{1,63})*")
_HTTP: Final = frozenset({"url", "allow", "ca"})

Contacts = Mapping[str, Mapping[str, Any]]  # by person


def channels_from(contacts: Contacts, given: Mapping[str, Any]) -> dict[str, tuple[tuple[Channel, str], ...]]:
    """The channels of each person, each with how it knows them. One channel serves everybody who has it.

    Raises:
        Malformed, BadConfig: names the key.
    """
    known(given, set(_MADE), "channels.")
    for person, one in contacts.items():
        known(one, KINDS, f"contacts.{person}.")
        if not person.isprintable():
            raise Malformed("want a name that can be printed", field=f"contacts.{person!r}")
        if ("webhook" in one) != ("webhook_secrets" in one):
            raise Malformed("want both webhook and webhook_secrets", field=f"contacts.{person}.webhook")
    found: dict[str, list[tuple[Channel, str]]] = {person: [] for person in contacts}
    for kind, (key, made) in _MADE.items():
        settings, where = table(given, kind, "channels."), f"channels.{kind}."
        users = {person: one for person, one in contacts.items() if key in one}
        if users or settings:
            channel, names = made(users, settings, where)
            for person, name in names.items():
                found[person].append((channel, name))
            if not names:  # it was looked at, and nobody has it
                channel.close()
    return {person: tuple(all_) for person, all_ in found.items()}


def _pagerduty(users: Contacts, given: Mapping[str, Any], where: str) -> tuple[Channel, dict[str, str]]:
    known(given, _HTTP, where)
    keys = _keys(users, "pagerduty_key_file", pagerduty.routing_key)
    return PagerDuty(_http(given, where)(_url(given, where, pagerduty.US)), keys), _by_name(users)


def _opsgenie(users: Contacts, given: Mapping[str, Any], where: str) -> tuple[Channel, dict[str, str]]:
    known(given, _HTTP, where)
    keys = _keys(users, "opsgenie_key_file", opsgenie.genie_key)
    return Opsgenie(_http(given, where), keys, base=_url(given, where, opsgenie.US)), _by_name(users)


def _webhook(users: Contacts, given: Mapping[str, Any], where: str) -> tuple[Channel, dict[str, str]]:
    known(given, _HTTP - {"url"}, where)
    opened, hooks = _http(given, where), {}
    for person, one in users.items():
        at = f"contacts.{person}."
        try:
            signing = SecretFile(Path(text(one, "webhook_secrets", at)))
        except Malformed as e:
            raise Malformed(e.problem, field=f"{at}webhook_secrets") from None
        hooks[person] = Hook(opened(_url(one, at, "", "webhook")), signing)
    return Webhook(hooks), _by_name(users)


def _email(users: Contacts, given: Mapping[str, Any], where: str) -> tuple[Channel, dict[str, str]]:
    known(given, {"server", "port", "tls", "login", "from", "allow", "ca"}, where)
    addresses = {person: _address(one, "email", f"contacts.{person}.") for person, one in users.items()}
    sender, host, tls = _address(given, "from", where), text(given, "server", where), given.get("tls", "starttls")
    if not _HOST.fullmatch(host):
        raise Malformed("want the name of a host", field=f"{where}server")
    if not isinstance(tls, str) or tls not in PORTS:
        raise Malformed(f"want {' or '.join(PORTS)}", field=f"{where}tls")
    port = given.get("port", PORTS[tls])
    if not isinstance(port, int) or isinstance(port, bool) or not 0 < port < 65536:
        raise Malformed("want 1 to 65535", field=f"{where}port")
    login = None
    if "login" in given:
        lines = secrets(given, "login", where)
        if len(lines) != 2:
            raise Malformed("want two lines: user, password", field=f"{where}login")
        login = (lines[0], lines[1])
    smtp = Smtp(
        host, port, egress(given, where), implicit_tls=tls == "implicit", hello=sender.rpartition("@")[2], login=login,
        ca=authority(given, where),
    )  # fmt: skip
    return Email(smtp, sender), addresses


# In the order in which a person's are tried.
_MADE: Final[Mapping[str, tuple[str, Callable[..., tuple[Channel, dict[str, str]]]]]] = {
    "pagerduty": ("pagerduty_key_file", _pagerduty),
    "opsgenie": ("opsgenie_key_file", _opsgenie),
    "webhook": ("webhook", _webhook),
    "email": ("email", _email),
}


def _by_name(users: Contacts) -> dict[str, str]:
    return {person: person for person in users}


def _keys(users: Contacts, name: str, key: Callable[[str], str]) -> dict[str, str]:
    """The key of each person; nobody's is another's."""
    found: dict[str, str] = {}
    for person, one in users.items():
        where = f"contacts.{person}."
        try:
            read = key("\n".join(secrets(one, name, where)).strip())
        except Malformed as e:
            raise Malformed(e.problem, field=f"{where}{name}") from None
        # The service would fold the second person's page into the first's, and ring nobody.
        if other := next((owner for owner, owned in found.items() if owned == read), None):
            raise Malformed(f"{other} has the same key; want one that pages {person} alone", field=f"{where}{name}")
        found[person] = read
    return found


def _address(given: Mapping[str, Any], name: str, where: str) -> str:
    try:
        return address(text(given, name, where))
    except Malformed as e:
        raise Malformed(e.problem, field=f"{where}{name}") from None


def _url(given: Mapping[str, Any], where: str, default: str, name: str = "url") -> str:
    """An https URL, which errors do not repeat: many are secret in part."""
    url = text(given, name, where, default)
    try:
        parts = urlsplit(url)
        good = parts.scheme == "https" and bool(parts.hostname) and "@" not in parts.netloc and not parts.fragment
        good = good and parts.port != 0 and url.isascii() and url.isprintable() and " " not in url
    except ValueError:
        good = False
    if not good:
        raise Malformed("want an https URL without a name and password in it", field=f"{where}{name}")
    return url


def _http(given: Mapping[str, Any], where: str) -> Callable[[str], GuardedHttp]:
    """What makes a client of one URL."""
    return partial(GuardedHttp, egress=egress(given, where), ca=authority(given, where))
