"""What a report says about a case. Pure: the same case, items and settings give the same report.

Only what is known is said. Whether somebody looked at a file is what the log of views says before the report is filed,
and nothing else: courts let police open unasked what the provider itself has opened, and no more.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from hashmatch.delivery.cybertip import report as cybertip
from hashmatch.delivery.cybertip.files import FileDetails, OriginalFileHash
from hashmatch.delivery.cybertip.incidents import ChatImIncident, Incident, WebPageIncident
from hashmatch.delivery.cybertip.people import (
    Account,
    ContactPerson,
    DeviceId,
    Email,
    EstimatedLocation,
    IpCaptureEvent,
    PermanentlyDisabled,
    Person,
    Phone,
    Standing,
    TemporarilyDisabled,
)
from hashmatch.delivery.cybertip.problems import Problem, problems
from hashmatch.delivery.cybertip.report import MAX_STANDING_CHARS, incident_time
from hashmatch.delivery.cybertip.rules import EARLIEST, MAX_FREE_CHARS, EmailAddress, Text, Url, legible
from hashmatch.delivery.cybertip.terms import (
    Environment,
    EventName,
    IncidentType,
    ReportId,
)
from hashmatch.errors import BadConfig
from hashmatch.v1.cases_pb2 import TIER_T0, Case, CaseItem
from hashmatch.workflow.report_attributes import Attributes
from hashmatch.workflow.report_labels import FILE_ANNOTATIONS, INCIDENTS, REPORT_ANNOTATIONS, classification, plain

Fingerprints = Mapping[str, Sequence[tuple[str, bytes]]]
"""By verdict's id: hash types and packed values of the bytes as they were uploaded."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reporter:
    """Who reports, as its settings have it.

    Raises:
        BadConfig: something that no report could say; names it.
    """

    company: str
    email: str  # of whom NCMEC may ask
    legal_email: str = ""  # of whom law enforcement may ask
    template: str = ""  # standing text: where legal process is served, how long what is kept, a telephone for 24 hours
    terms: str = ""  # of service
    legal_url: str = ""
    hash_sharing: bool = False  # the agreement of NCMEC's Industry Hash Sharing Platform is signed
    incident: IncidentType = IncidentType.CSAM  # where no label says another

    def __post_init__(self) -> None:
        standing = Text(MAX_STANDING_CHARS)
        for name, rule, value in (
            ("company", Text(256), self.company),
            ("email", EmailAddress(), self.email),
            ("legal_email", EmailAddress(), self.legal_email or None),
            ("template", standing, self.template or None),
            ("terms", standing, self.terms or None),
            ("legal_url", Url(), self.legal_url or None),
        ):
            wrong = "" if value is None else rule.problem(value, EARLIEST)
            if wrong:
                raise BadConfig(f"reporter: {name}: {wrong}")


@dataclass(frozen=True, slots=True, repr=False)
class Content:
    """A report, what is told of its files, and what is wrong with either; with a problem it must not be sent."""

    report: cybertip.Report
    files: tuple[FileDetails, ...]
    problems: tuple[Problem, ...]


def content(
    case: Case,
    items: Sequence[CaseItem],
    reporter: Reporter,
    *,
    environment: Environment,
    now: datetime,
    attached: Collection[str],
    fingerprints: Fingerprints,
    prior: Sequence[ReportId] = (),
    omit: Collection[str] = (),
    suspended_at: datetime | None = None,
) -> Content:
    """What a report about a case says.

    Args:
        items: what it is about, in the order of its files.
        now: aware.
        attached: the verdicts' ids of those items whose file goes with it.
        prior: earlier reports about the same subject.
        omit: attributes that a person left out.
        suspended_at: when the platform confirmed that it disabled the account as it was asked, where it has.
    """
    found: list[Problem] = []
    told = [Attributes(item.subject.attributes, omit, found) for item in items]
    labels = [plain(item.labels) for item in items]
    report = cybertip.Report(
        incident_summary=_summary(case, items, labels, reporter, now),
        internet_details=tuple(_places(told)),
        reporter=told_by(reporter),
        persons_or_users_reported=tuple(_suspect(case, items, told, environment, prior, now, suspended_at)),
        additional_info=_without_files([item for item in items if item.verdict_id not in attached]),
    )
    files = tuple(
        _file(item, about, said, fingerprints.get(item.verdict_id, ()), reporter, now)
        for item, about, said in zip(items, told, labels, strict=True)
        if item.verdict_id in attached
    )
    found += problems(report, files, environment=environment, now=now)
    return Content(report, files, tuple(found))


# ── the report ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _summary(
    case: Case, items: Sequence[CaseItem], labels: Sequence[frozenset[str]], reporter: Reporter, now: datetime
) -> cybertip.IncidentSummary:
    every: set[str] = set().union(*labels)
    first = min((occurred(item) for item in items), default=case.detected_at.ToDatetime(UTC))
    incident = next((kind for label, kind in INCIDENTS.items() if label in every), reporter.incident)
    return cybertip.IncidentSummary(
        incident_type=incident,
        platform=reporter.company,
        escalate_to_high_priority=_urgent(case) if case.tier == TIER_T0 else None,
        report_annotations=frozenset(said for label, said in REPORT_ANNOTATIONS.items() if label in every),
        incident_date_time=incident_time(first, now),
        incident_date_time_description=f"When the first of {len(items)} was uploaded" if len(items) > 1 else None,
    )


def _urgent(case: Case) -> str:
    """Why it is urgent: only what policy or a person said, in names that they gave."""
    reasons = [*case.rules, *(code for review in case.reviews for code in review.reason_codes)]
    why = ", ".join(dict.fromkeys(legible(one) for one in reasons if one.strip()))
    return f"Imminent harm: a person may be in danger now. {f'Ground: {why}.' if why else ''}".strip()[:3000]


def told_by(reporter: Reporter) -> cybertip.Reporter:
    """The reporter as every report names them."""
    return cybertip.Reporter(
        reporting_person=Person(emails=(Email(reporter.email),)),
        contact_person=ContactPerson(emails=(Email(reporter.legal_email),)) if reporter.legal_email else None,
        company_template=reporter.template or None,
        terms_of_service=reporter.terms or None,
        legal_url=reporter.legal_url or None,
    )


def _places(told: Sequence[Attributes]) -> list[Incident]:
    urls = once(one.text("url") for one in told)
    found: list[Incident] = [WebPageIncident(urls=urls)] if urls else []
    chats = once((one.text("chat_client"), one.text("chat_room")) for one in told)
    found += [ChatImIncident(chat_client=client, chat_room_name=room) for client, room in chats if client or room]
    return found


def _without_files(items: Sequence[CaseItem]) -> str | None:
    """What is reported without its file: by the platform's own ids, so that it can be asked for."""
    if not items:
        return None
    lines = [f"{len(items)} reported without a file; the platform's own ids, and when each was uploaded:"]
    lines += [f"{legible(item.subject.content_id) or 'no id'}, {occurred(item).isoformat()}" for item in items]
    return "\n".join(lines)[: MAX_FREE_CHARS // 2]


# ── the suspect ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _suspect(
    case: Case, items: Sequence[CaseItem], told: Sequence[Attributes], environment: Environment,
    prior: Sequence[ReportId], now: datetime, suspended_at: datetime | None,
) -> list[cybertip.PersonOrUserReported]:  # fmt: skip
    """The uploader, with what any of the items says of them; of what can only be said once, the latest."""
    suspect = cybertip.PersonOrUserReported(
        person_or_user_reported_person=_person(told),
        account=Account(
            esp_identifier=uploader(case, items) or None,
            esp_service=_last(item.subject.surface or None for item in items),
            compromised_account=_last(one.flag("compromised_account") for one in told),
            screen_name=_last(one.text("screen_name") for one in told),
            display_names=once(one.text("display_name") for one in told),
            profile_urls=once(one.text("profile_url") for one in told),
            profile_bio=_last(one.text("profile_bio") for one in told),
            ip_capture_events=once(_address(*pair, now) for pair in zip(items, told, strict=True)),
            device_ids=once(_device(one) for one in told),
        ),
        prior_ct_reports=once([*prior, *(one for a in told for one in a.prior("prior_reports", environment))]),
        group_identifier=_last(one.text("group_id") for one in told),
        standing=_standing(told, suspended_at),
    )
    return [] if suspect == cybertip.PersonOrUserReported() else [suspect]


def uploader(case: Case, items: Sequence[CaseItem]) -> str:
    """The platform's own id of who uploaded it; "" where nobody is named."""
    found = case.subject.uploader_id or next((i.subject.uploader_id for i in items if i.subject.uploader_id), "")
    return legible(found)


def _person(told: Sequence[Attributes]) -> Person | None:
    verified = _last(one.flag("email_verified") for one in told)
    person = Person(
        first_name=_last(one.text("first_name") for one in told),
        last_name=_last(one.text("last_name") for one in told),
        phones=tuple(Phone(number) for number in once(n for one in told for n in one.many("phone"))),
        emails=tuple(Email(a, verified=verified) for a in once(a for one in told for a in one.many("email"))),
        date_of_birth=_last(one.day("date_of_birth") for one in told),
    )
    return None if person == Person() else person


def _standing(told: Sequence[Attributes], suspended_at: datetime | None) -> Standing:
    """What the caller says of the account; where they say nothing, what the platform has confirmed of it since."""
    how = _last(one.one_of("account_disabled", ("temporary", "permanent", "false")) for one in told)
    at = _last(one.time("account_disabled_at") for one in told)
    notified = _last(one.flag("user_notified") for one in told)
    country = _last(one.text("country") for one in told)
    temporarily = permanently = location = None
    if how is None and suspended_at is not None:
        how, at = "temporary", suspended_at  # it can be reinstated
    if how == "temporary":
        temporarily = TemporarilyDisabled(True, disabled_date=at, user_notified=notified)
    elif how is not None:
        permanently = PermanentlyDisabled(how == "permanent", disabled_date=at, user_notified=notified)
    city, region = (_last(one.text(name) for one in told) for name in ("city", "state"))
    if country or city or region:
        location = EstimatedLocation(city=city, region=region, country_code=country)
    return Standing(
        account_temporarily_disabled=temporarily,
        account_permanently_disabled=permanently,
        estimated_location=location,
    )


def _address(item: CaseItem, told: Attributes, now: datetime) -> IpCaptureEvent | None:
    ip = told.text("ip")
    if ip is None:
        return None
    at = told.time("ip_time") or incident_time(occurred(item), now)
    return IpCaptureEvent(
        ip_address=ip.strip(), event_name=EventName.UPLOAD, date_time=at, possible_proxy=told.flag("ip_proxy"),
        port=told.whole("ip_port"),
    )  # fmt: skip


def _device(told: Attributes) -> DeviceId | None:
    value = told.text("device_id")
    return None if value is None else DeviceId(told.text("device_id_type") or "unknown", value)


# ── a file ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _file(
    item: CaseItem, told: Attributes, labels: frozenset[str], fingerprints: Sequence[tuple[str, bytes]],
    reporter: Reporter, now: datetime,
) -> FileDetails:  # fmt: skip
    device = _device(told)
    return FileDetails(
        original_file_name=told.text("file_name"),
        uploaded_to_esp_timestamp=incident_time(occurred(item), now),
        location_of_file=told.text("url"),
        file_viewed_by_esp=bool(item.viewed_by),
        exif_viewed_by_esp=False,  # no view of ours shows what a file says about itself
        publicly_available=told.flag("publicly_available"),
        file_annotations=frozenset(said for label, said in FILE_ANNOTATIONS.items() if label in labels),
        industry_classification=classification(labels) if reporter.hash_sharing else None,
        original_file_hashes=once(OriginalFileHash.of(kind, value) for kind, value in fingerprints),
        ip_capture_event=_address(item, told, now),
        device_ids=(device,) if device is not None else (),
    )


def occurred(item: CaseItem) -> datetime:
    """When it was uploaded, as the platform says; else when it was judged."""
    said = item.subject.occurred_at if item.subject.HasField("occurred_at") else item.at
    return said.ToDatetime(UTC)


def once(values: Iterable[_T | None]) -> tuple[_T, ...]:
    """Each that is given, in order, without those that came before."""
    return tuple(dict.fromkeys(one for one in values if one is not None))


def _last(values: Iterable[_T | None]) -> _T | None:
    """The last that is given."""
    return next((one for one in reversed(list(values)) if one is not None), None)
