"""Where instructions go: the tables [[destination]] of the workflow's file, each of its kind.

[[destination]]                               # a webhook, where `kind` says nothing else
name = "platform"
url = "https://platform.example/hashmatch"
secrets = "/etc/hashmatch/platform.secrets"   # one whsec_… or whsk_… a line; all of them sign; followed
verbs = ["restrict", "block"]                 # default: every one
allow = ["10.1.0.0/16"]                       # private networks that it may be in
confirms = true                               # false: what was taken counts as done
caller = "platform"                           # the key, by name, that may confirm it; default: any that uploads
ca = "/etc/hashmatch/platform-ca.pem"         # authority of its certificate, beside the system's

[[destination]]                               # needs hashmatch[nats]; verbs, allow, confirms, ca: as above
name = "nats"
kind = "nats"
servers = ["tls://nats.example:4222"]         # of one cluster; nats:// in clear, only in networks of `allow`
stream = "HASHMATCH"                          # that must be there, and have the subject; of limited age, as below
subject = "hashmatch.{verb}"                  # the default
credentials = "/etc/hashmatch/nats.creds"     # or: nkey, a file with a seed; chmod 600

[[destination]]                               # needs hashmatch[kafka]; verbs, allow, confirms: as above
name = "kafka"
kind = "kafka"
brokers = ["kafka.example:9093"]              # of one cluster
topic = "hashmatch"                           # of limited retention: records hold ids of people; never compacted
tls = true                                    # the default; false: in clear, only in networks of `allow`
sasl = "/etc/hashmatch/kafka.sasl"            # two lines, user and password; chmod 600
mechanism = "SCRAM-SHA-512"                   # the default; or SCRAM-SHA-256, PLAIN
ca = "/etc/hashmatch/kafka-ca.pem"            # authorities of their certificates, instead of the system's
cert = "/etc/hashmatch/kafka.pem"             # our own certificate,
key = "/etc/hashmatch/kafka.key"              # and its key; chmod 600
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from hashmatch.delivery.addresses import Egress
from hashmatch.delivery.dispatch import Destination
from hashmatch.delivery.guarded_http import GuardedHttp
from hashmatch.delivery.hosts import Host
from hashmatch.delivery.webhook import Webhook
from hashmatch.errors import BadConfig, Malformed
from hashmatch.workflow.policy import VERBS
from hashmatch.workflow.secret_file import SecretFile, private

T = TypeVar("T")
Row = Mapping[str, Any]
Opened = Callable[[], Destination]

MAX_NAME = 64
_TOPIC: Final = re.compile(r"[A-Za-z0-9._-]{1,249}")  # Kafka's own rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One destination, as it was written down."""

    name: str
    verbs: frozenset[str]
    opened: Opened = field(repr=False)  # what sends to it; BadConfig where its settings cannot be used
    confirms: bool = True
    caller: str = ""  # the name of the key by which it is confirmed; "": any that uploads


def parse(row: Row) -> Endpoint:
    """The destination of a table. Reaches nothing.

    Raises:
        Malformed: names the key.
        BadConfig: what the kind needs is not installed, or a file of it cannot be used.
    """
    kind = row.get("kind", "webhook")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise Malformed(f"want one of {', '.join(_KINDS)}", field="kind")
    own, opened_of = _KINDS[kind]
    if unknown := sorted(set(row) - _COMMON - own):
        raise Malformed(f"unknown to a {kind}; known: {', '.join(sorted(_COMMON | own))}", field=unknown[0])
    name = _text(row, "name")
    if len(name) > MAX_NAME or not name.replace("-", "").replace("_", "").isalnum():
        raise Malformed(f"want letters, digits, - and _, at most {MAX_NAME}", field="name")
    verbs = row.get("verbs", list(VERBS))
    if not isinstance(verbs, list) or not set(verbs) <= set(VERBS):
        raise Malformed(f"want some of {', '.join(VERBS)}", field="verbs")
    egress = Egress(_texts(row, "allow", "want a list of networks"))
    confirms = _flag(row, "confirms")
    caller = _text(row, "caller") if "caller" in row else ""
    return Endpoint(
        name=name, verbs=frozenset(verbs), opened=opened_of(row, name, egress), confirms=confirms, caller=caller
    )


def _webhook(row: Row, name: str, egress: Egress) -> Opened:
    url = _text(row, "url")
    if not url.startswith(("https://", "http://")):
        raise Malformed("want an https URL", field="url")
    signing, ca = SecretFile(Path(_text(row, "secrets"))), _file(row, "ca")
    return lambda: Webhook(name, GuardedHttp(url, egress, ca=ca), signing)


def _nats(row: Row, name: str, egress: Egress) -> Opened:
    try:
        from hashmatch.delivery.jetstream import JetStream, Server
        from hashmatch.delivery.nats_login import Login
    except ImportError as e:
        raise BadConfig("kind nats needs more packages: pip install 'hashmatch[nats]'") from e
    login = None
    if "credentials" in row and "nkey" in row:
        raise Malformed("want credentials or nkey, not both", field="nkey")
    for key, read in (("credentials", Login.of_credentials), ("nkey", Login.of_seed)):
        if key in row:
            login = _about(key, read, private(Path(_text(row, key)), key))
    opened = partial(
        JetStream, name, _each(row, "servers", Server.parse), egress, stream=_text(row, "stream"),
        subject=_text(row, "subject") if "subject" in row else "hashmatch.{verb}", login=login, ca=_file(row, "ca"),
    )  # fmt: skip
    opened().close()  # tells what is wrong with them now
    return opened


def _kafka(row: Row, name: str, egress: Egress) -> Opened:
    try:
        from hashmatch.delivery.kafka import MECHANISMS, PORT, Kafka, Security
    except ImportError as e:
        raise BadConfig("kind kafka needs more packages: pip install 'hashmatch[kafka]'") from e
    topic = _text(row, "topic")
    if not _TOPIC.fullmatch(topic):
        raise Malformed("want letters, digits, ., - and _, at most 249", field="topic")
    mechanism = row.get("mechanism", MECHANISMS[0])
    if mechanism not in MECHANISMS:
        raise Malformed(f"want one of {', '.join(MECHANISMS)}", field="mechanism")
    user, password = _user(row)
    cert, key = _file(row, "cert"), _file(row, "key")
    if (cert is None) != (key is None):
        raise Malformed("want cert and key, or neither", field="cert")
    if key is not None:
        private(key, "key")
    security = Security(
        tls=_flag(row, "tls"), ca=_file(row, "ca"), cert=cert, key=key, mechanism=mechanism, user=user,
        password=password,
    )  # fmt: skip
    brokers = _each(row, "brokers", partial(Host.parse, port=PORT))
    opened = partial(Kafka, name, brokers, egress, topic=topic, security=security)
    opened().close()  # tells what is wrong with them now
    return opened


_COMMON: Final = frozenset({"name", "kind", "verbs", "allow", "confirms", "caller", "ca"})
_KINDS: Final[Mapping[str, tuple[frozenset[str], Callable[[Row, str, Egress], Opened]]]] = {
    "webhook": (frozenset({"url", "secrets"}), _webhook),
    "nats": (frozenset({"servers", "stream", "subject", "credentials", "nkey"}), _nats),
    "kafka": (frozenset({"brokers", "topic", "tls", "sasl", "mechanism", "cert", "key"}), _kafka),
}


def _user(row: Row) -> tuple[str, str]:
    if "sasl" not in row:
        if "mechanism" in row:
            raise Malformed("only with sasl", field="mechanism")
        return "", ""
    lines = private(Path(_text(row, "sasl")), "sasl").splitlines()
    if len(lines) != 2 or not all(lines):
        raise Malformed("want two lines, user and password", field="sasl")
    return lines[0], lines[1]


def _about(key: str, read: Callable[[str], T], text: str) -> T:
    try:
        return read(text)
    except Malformed as e:
        raise Malformed(e.problem, field=key) from e


def _each(row: Row, key: str, read: Callable[[str], T]) -> list[T]:
    found = _texts(row, key, "want a list of them")
    if not found:
        raise Malformed("must be given", field=key)
    return [_about(key, read, one) for one in found]


def _texts(row: Row, key: str, wanted: str) -> list[str]:
    found = row.get(key, [])
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise Malformed(wanted, field=key)
    return found


def _flag(row: Row, key: str) -> bool:
    found = row.get(key, True)
    if not isinstance(found, bool):
        raise Malformed("want true or false", field=key)
    return found


def _file(row: Row, key: str) -> Path | None:
    return Path(_text(row, key)) if key in row else None


def _text(row: Row, name: str) -> str:
    found = row.get(name)
    if not isinstance(found, str) or not found.strip():
        raise Malformed("must be given", field=name)
    return found.strip()
