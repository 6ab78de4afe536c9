"""What authorities without an API want to be told, as tables: each field, whose rule it is, where it is from. Pure.

NCA: the Online Safety Act 2023 (CSEA Content Reporting) Regulations, SI 2026/268, Schedule 1; DSA: Regulation (EU)
2022/2065, Article 18, which names no form: "all relevant information available". Both were read in secondary sources,
not held against the authorities' own specifications: counsel decides, and the portal's own form goes before.

Only what is known is said. What must be said and is not known is named, for a person to add. That a case was confirmed
does not say that anybody looked at a file: that is said of each upload, from the log of views, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from hashmatch.v1.cases_pb2 import DECISION_CONFIRM, TIER_T0, TIER_T1, Case, CaseItem
from hashmatch.workflow.case_facts import this_round

Value = str | list[str]
"""A text, or one for each of several; "" and [] are not known."""


class Authority(StrEnum):
    """Whom a bundle is for."""

    NCA = "nca"
    DSA = "dsa"
    OTHER = "other"


MEMBER_STATES: Final = frozenset({
    "AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "EL", "ES", "FI", "FR", "GR", "HR", "HU", "IE", "IT", "LT", "LU",
    "LV", "MT", "NL", "PL", "PT", "RO", "SE", "SI", "SK",
})  # fmt: skip
"""Codes of the European Union's; EL is its own for GR."""

NAMES: Final[Mapping[Authority, str]] = {
    Authority.NCA: "National Crime Agency (UK)",
    Authority.DSA: "law enforcement or judicial authority of a member state, or Europol (EU, DSA Art. 18)",
    Authority.OTHER: "an authority",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """Who reports, beyond what a person is asked for each time."""

    company: str
    email: str
    legal_email: str = ""
    declared_by: str  # the person who declares it true
    suspicion: str = "sexual abuse of a child: material was uploaded"  # the offence, for Art. 18 of the DSA


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a bundle is about. `digests`: of what was uploaded, by verdict and hash type; never of a list."""

    case: Case
    items: Sequence[CaseItem]
    sender: Sender
    now: datetime
    digests: Mapping[str, Mapping[str, bytes]]
    earlier: Sequence[str] = ()  # references of earlier reports about the same subject

    def attribute(self, *names: str, parted: bool = False) -> list[str]:
        """What the platform said of any item under these names, each once; `parted`: by commas."""
        found = (item.subject.attributes.get(name, "") for item in self.items for name in names)
        return once(one.strip() for text in found for one in text.split(",")) if parted else once(found)


@dataclass(frozen=True, slots=True)
class Field:
    """One thing to be told."""

    key: str
    title: str
    required: bool
    take: Callable[[About], Value]


@dataclass(frozen=True, slots=True)
class Section:
    """What belongs together. `rule`: whose it is."""

    title: str
    rule: str
    fields: tuple[Field, ...]


def once(values: Iterable[str]) -> list[str]:
    """Each that is not blank, in order, without those that came before."""
    return list(dict.fromkeys(one for one in values if one.strip()))


def _when(at: Timestamp) -> str:
    return at.ToDatetime(UTC).isoformat(timespec="seconds") if at.seconds else ""


def _priority(about: About) -> str:
    """SI 2026/268: 1 immediate threat to life or of serious harm, 2 as soon as reasonably practicable, 3 the rest."""
    return {TIER_T0: "1", TIER_T1: "2"}.get(about.case.tier, "3")


def _detection(about: About) -> str:
    told = about.case.told_by
    lists = sorted({entry.partition("/")[0] for item in about.items for entry in item.entries})
    by_list = f"automated: hash matching of uploads against {', '.join(lists)}" if lists else ""
    return "; ".join(filter(None, (by_list, "a person told of it" if told else "")))


def _confirmed(about: About) -> str:
    case = about.case
    confirmed = case.HasField("decided_at") and any(r.decision == DECISION_CONFIRM for r in this_round(case))
    return f"by a person, {_when(case.decided_at)}" if confirmed else ""


def _grounds(about: About) -> list[str]:
    """In names that policy and the reviewers gave."""
    return once([*about.case.rules, *(code for review in this_round(about.case) for code in review.reason_codes)])


def _member_states(about: About) -> Value:
    """Those that an upload or an account is of."""
    said = [about.case.subject.region, *(item.subject.region for item in about.items), *about.attribute("country")]
    found = [one for one in once(code.upper() for code in said) if one in MEMBER_STATES]
    # Art. 18(2): "… or inform Europol, or both".
    return found or "not known: so where the provider is established or has its legal representative, or Europol"


def _uploads(about: About) -> list[str]:
    lines = []
    for item in about.items:
        at = item.subject.occurred_at if item.subject.HasField("occurred_at") else item.at
        seen = "viewed by us" if item.viewed_by else "not viewed by us"
        kind = item.media_type or "of a type that is not known"
        lines.append(f"{item.verdict_id}: {item.subject.content_id or 'no id'}, {kind}, {_when(at)}, {seen}")
    return lines


def _digests(about: About) -> list[str]:
    return [
        f"{item.verdict_id}: {kind} {value.hex()}"
        for item in about.items
        for kind, value in sorted(about.digests.get(item.verdict_id, {}).items())
    ]


def _addresses(about: About) -> list[str]:
    lines = []
    for item in about.items:
        told = item.subject.attributes
        if told.get("ip"):
            at = told.get("ip_time") or _when(item.subject.occurred_at) or _when(item.at)
            port = f" port {told['ip_port']}" if told.get("ip_port") else ""
            proxy = f", perhaps a proxy's: {told['ip_proxy']}" if told.get("ip_proxy") else ""
            lines.append(f"{item.verdict_id}: {told['ip']}{port} at {at}{proxy}")
    return lines


def _devices(about: About) -> list[str]:
    told = [item.subject.attributes for item in about.items]
    return once(f"{one.get('device_id_type', '')} {one['device_id']}".strip() for one in told if one.get("device_id"))


def _earlier(about: About) -> list[str]:
    """What we know of, and what the platform says: NCMEC's numbers, but none of its test environment."""
    said = about.attribute("prior_reports", parted=True)
    return once([*about.earlier, *(f"NCMEC {one}" for one in said if not one.startswith("test:"))])


def _labels(about: About) -> list[str]:
    return sorted({label for item in about.items for label in item.labels})


def _of(*names: str, parted: bool = False) -> Callable[[About], Value]:
    return lambda about: about.attribute(*names, parted=parted)


def _by_upload(*names: str) -> Callable[[About], Value]:
    """What was said of each upload, beside its number: of two, one may have been public and the other not."""

    def take(about: About) -> Value:
        told = ((item.verdict_id, once(item.subject.attributes.get(n, "") for n in names)) for item in about.items)
        return [f"{number}: {', '.join(found)}" for number, found in told if found]

    return take


_REPORTER: Final = (
    Field("company", "Provider", True, lambda a: a.sender.company),
    Field("contact", "Whom to ask", True, lambda a: a.sender.email),
    Field("legal_contact", "Where legal process is served", False, lambda a: a.sender.legal_email),
)
_CONTENT: Final = (
    Field("uploads", "What was uploaded: our number, the platform's, type, time, whether we looked", True, _uploads),
    Field("labels", "How the keepers of the lists class it", False, _labels),
    Field("digests", "Digests of the files as they were uploaded", False, _digests),
    Field("file_names", "File names, as the user called them", False, _by_upload("file_name")),
    Field("urls", "Where it could be seen", False, _by_upload("url")),
    Field("public", "Whether others could see it", False, _by_upload("publicly_available")),
    Field("chats", "Where it was sent in a chat, and its room", False, _by_upload("chat_client", "chat_room")),
    Field("exif", "What the files say of themselves (EXIF)", False, lambda _: "not read by us"),
)
_ACCOUNT: Final = (
    Field("user_id", "The user's id", True, lambda a: a.case.subject.uploader_id),
    Field("screen_names", "Names on the service", False, _of("screen_name", "display_name")),
    Field("names", "Names", False, _of("first_name", "last_name")),
    Field("born", "Date of birth", False, _of("date_of_birth")),
    Field("emails", "E-mail addresses", False, _of("email", parted=True)),
    Field("emails_verified", "Whether the addresses were verified", False, _of("email_verified")),
    Field("phones", "Telephone numbers", False, _of("phone", parted=True)),
    Field("profiles", "Profile", False, _of("profile_url", "profile_bio")),
    Field("addresses", "Addresses of the network, by upload, with port and time", False, _addresses),
    Field("devices", "Devices", False, _devices),
    Field("groups", "Groups of the account", False, _of("group_id")),
    Field("places", "Where the account seems to be", False, _of("city", "state", "country")),
    Field("billing", "Billing", False, lambda _: "not kept here"),
    Field("standing", "What was done to the account", False, _of("account_disabled", "account_disabled_at")),
    Field("notified", "Whether the user was told of that", False, _of("user_notified")),
    Field("compromised", "Whether others have taken the account over", False, _of("compromised_account")),
)
_HISTORY: Final = (
    Field("case", "Our case", True, lambda a: a.case.id),
    Field("detected", "Detected", True, lambda a: _when(a.case.detected_at)),
    Field("contained", "Out of others' sight", False, lambda a: _when(a.case.contained_at)),
    Field("confirmed", "Confirmed", False, _confirmed),
    Field("grounds", "On the grounds of: rules, and reasons of who decided", False, _grounds),
    Field("earlier", "Earlier reports about the same user", False,
          _earlier),
)  # fmt: skip
_DECLARATION: Final = (
    Field("declared_by", "Who declares that this is true to the best of their knowledge", True,
          lambda a: a.sender.declared_by),
    Field("declared_at", "When", True, lambda a: a.now.astimezone(UTC).isoformat(timespec="seconds")),
)  # fmt: skip

SECTIONS: Final[Mapping[Authority, tuple[Section, ...]]] = {
    Authority.NCA: (
        Section("The provider", "SI 2026/268, Sch. 1: the reporter", _REPORTER),
        Section("How it was found", "Sch. 1: the method of detection", (
            Field("detection", "How it was detected", True, _detection),
            Field("priority", "Priority, 1 to 3", True, _priority),
        )),
        Section("The content", "Sch. 1: the content", _CONTENT),
        Section("The user", "Sch. 1: identifiers of the account", _ACCOUNT),
        Section("What has happened", "Sch. 1: previous reports", _HISTORY),
        Section("Declaration", "Sch. 1: the declaration", _DECLARATION),
    ),
    Authority.DSA: (
        Section("The provider", "Art. 18(1): the provider of hosting services", _REPORTER),
        Section("The suspicion", "Art. 18(1): a criminal offence involving a threat to life or safety", (
            Field("offence", "What is suspected", True, lambda a: a.sender.suspicion),
            Field("detection", "On what grounds", True, _detection),
            Field("member_states", "Member states concerned, Art. 18(2)", True, _member_states),
        )),
        Section("All relevant information: the content", "Art. 18(1)", _CONTENT),
        Section("All relevant information: the user", "Art. 18(1)", _ACCOUNT),
        Section("What has happened", "Art. 18(1)", _HISTORY),
        Section("Declaration", "house rule", _DECLARATION),
    ),
    Authority.OTHER: (
        Section("The provider", "house rule", _REPORTER),
        Section("How it was found", "house rule", (Field("detection", "How it was detected", True, _detection),)),
        Section("The content", "house rule", _CONTENT),
        Section("The user", "house rule", _ACCOUNT),
        Section("What has happened", "house rule", _HISTORY),
        Section("Declaration", "house rule", _DECLARATION),
    ),
}  # fmt: skip
"""By authority, in the order in which they are told."""
