"""A report: what happened, who tells it, and whom it concerns. Only the first two are demanded; the rest is voluntary.

After it was finished a report can be neither changed nor withdrawn. A later one may name it as a prior report.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated

from hashmatch.delivery.cybertip.element import Element, Named, Place
from hashmatch.delivery.cybertip.incidents import Incident
from hashmatch.delivery.cybertip.people import Account, AssociatedAccount, ContactPerson, Person, Standing
from hashmatch.delivery.cybertip.rules import OneOf, Past, Text, Url
from hashmatch.delivery.cybertip.terms import ISO_COUNTRIES, BatchReason, IncidentType, ReportAnnotation, ReportId

MAX_STANDING_CHARS = 3000  # of companyTemplate and termsOfService; other clients keep to it, the service names no limit


@dataclass(frozen=True, slots=True, repr=False)
class BatchedReport(Element):
    """Many suspects of one viral file in one report, which then holds little else."""

    reason: Annotated[BatchReason, Place.ATTRIBUTE] = BatchReason.VIRAL_POTENTIAL_MEME


@dataclass(frozen=True, slots=True, repr=False, kw_only=True)
class IncidentSummary(Element):
    incident_type: IncidentType
    platform: Annotated[str | None, Text(256)] = None
    escalate_to_high_priority: Annotated[str | None, Text(3000)] = None
    """Why it is urgent. To give it is to escalate: leave it out unless somebody is in danger now."""
    report_annotations: frozenset[ReportAnnotation] = frozenset()
    incident_date_time: Annotated[datetime, Past()]
    incident_date_time_description: Annotated[str | None, Text(3000)] = None


@dataclass(frozen=True, slots=True, repr=False)
class ServedLegalProcessInternational(Element):
    served: Annotated[bool, Place.CONTENT]
    flea_country: Annotated[
        str | None, Place.ATTRIBUTE, OneOf(ISO_COUNTRIES, "a country's code of two letters, ISO 3166-1")
    ] = None


@dataclass(frozen=True, slots=True, repr=False)
class LawEnforcement(Element):
    """Who was told already."""

    agency_name: Annotated[str, Text(255)]
    case_number: Annotated[str | None, Text(100)] = None
    officer_contact: ContactPerson | None = None
    reported_to_le: bool | None = None
    served_legal_process_domestic: bool | None = None
    served_legal_process_international: ServedLegalProcessInternational | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Reporter(Element):
    """Who reports, and whom law enforcement may ask. `company_template` is the company's standing text."""

    reporting_person: Person  # with an e-mail address
    contact_person: ContactPerson | None = None
    company_template: Annotated[str | None, Text(MAX_STANDING_CHARS)] = None
    terms_of_service: Annotated[str | None, Text(MAX_STANDING_CHARS)] = None
    legal_url: Annotated[str | None, Named("legalURL"), Url()] = None


@dataclass(frozen=True, slots=True, repr=False)
class PersonOrUserReported(Element):
    """The suspect: one, unless the report is batched."""

    person_or_user_reported_person: Person | None = None
    vehicle_description: Annotated[str | None, Text(300)] = None
    account: Annotated[Account, Place.INLINE] = Account()
    third_party_user_reported: bool | None = None
    prior_ct_reports: Annotated[tuple[ReportId, ...], Named("priorCTReports")] = ()
    group_identifier: Annotated[str | None, Text(255)] = None
    standing: Annotated[Standing, Place.INLINE] = Standing()
    associated_accounts: Annotated[tuple[AssociatedAccount, ...], Named("associatedAccount")] = ()
    additional_info: Annotated[str | None, Text()] = None

    @property
    def person(self) -> Person | None:
        return self.person_or_user_reported_person


@dataclass(frozen=True, slots=True, repr=False)
class IntendedRecipient(Element):
    intended_recipient_person: Person | None = None
    account: Annotated[Account, Place.INLINE] = Account()
    prior_ct_reports: Annotated[tuple[ReportId, ...], Named("priorCTReports")] = ()
    group_identifier: Annotated[str | None, Text(255)] = None
    standing: Annotated[Standing, Place.INLINE] = Standing()
    additional_infos: Annotated[tuple[str, ...], Named("additionalInfo"), Text()] = ()

    @property
    def person(self) -> Person | None:
        return self.intended_recipient_person


@dataclass(frozen=True, slots=True, repr=False)
class Victim(Element):
    victim_person: Person = Person()  # the element must be there, even where nothing is known
    account: Annotated[Account, Place.INLINE] = Account()
    school_name: Annotated[str | None, Text(255)] = None
    prior_ct_reports: Annotated[tuple[ReportId, ...], Named("priorCTReports")] = ()
    standing: Annotated[Standing, Place.INLINE] = Standing()
    associated_accounts: Annotated[tuple[AssociatedAccount, ...], Named("associatedAccount")] = ()
    additional_info: Annotated[str | None, Text()] = None

    @property
    def person(self) -> Person:
        return self.victim_person


@dataclass(frozen=True, slots=True, repr=False, kw_only=True)
class Report(Element):
    """The whole of it."""

    batched_report: BatchedReport | None = None
    incident_summary: IncidentSummary
    internet_details: Annotated[tuple[Incident, ...], Place.WRAPPED] = ()
    law_enforcement: LawEnforcement | None = None
    reporter: Reporter
    persons_or_users_reported: Annotated[tuple[PersonOrUserReported, ...], Named("personOrUserReported")] = ()
    intended_recipients: Annotated[tuple[IntendedRecipient, ...], Named("intendedRecipient")] = ()
    victims: Annotated[tuple[Victim, ...], Named("victim")] = ()
    additional_info: Annotated[str | None, Text()] = None


def incident_time(at: datetime, now: datetime) -> datetime:
    """When it happened, at the latest a second ago: where clocks differ, what just happened is still to come."""
    return min(at, now - timedelta(seconds=1))
