"""Reports to test with. Every name, number and address in them is made up."""

from datetime import UTC, datetime, timedelta

from hashmatch.delivery.cybertip.files import Details, FileDetails, NameValuePair, OriginalFileHash
from hashmatch.delivery.cybertip.incidents import ChatImIncident, WebPageIncident
from hashmatch.delivery.cybertip.people import (
    Account,
    AccountPlatform,
    AssociatedAccount,
    ContactPerson,
    DeviceId,
    Email,
    EstimatedLocation,
    IpCaptureEvent,
    Person,
    Phone,
    Standing,
    TemporarilyDisabled,
)
from hashmatch.delivery.cybertip.problems import file_problems, problems
from hashmatch.delivery.cybertip.report import (
    BatchedReport,
    IncidentSummary,
    IntendedRecipient,
    LawEnforcement,
    PersonOrUserReported,
    Report,
    Reporter,
    ServedLegalProcessInternational,
    Victim,
)
from hashmatch.delivery.cybertip.terms import (
    AccountType,
    DetailsType,
    EmailType,
    Environment,
    EventName,
    FileAnnotation,
    FileRelevance,
    IncidentType,
    IndustryClassification,
    PhoneType,
    ReportAnnotation,
    ReportId,
)

TEST, PRODUCTION = Environment.TEST, Environment.PRODUCTION
AT = datetime(2026, 10, 15, 8, tzinfo=UTC)
NOW = AT + timedelta(days=1)


def at(**after):
    return AT + timedelta(**after)


def reporter():
    return Reporter(Person(emails=(Email("ops@example.com"),)))


def summary(**changes):
    return IncidentSummary(**{"incident_type": IncidentType.CSAM, "incident_date_time": AT, **changes})


def minimal(**changes):
    return Report(**{"incident_summary": summary(), "reporter": reporter(), **changes})


def viewed(**changes):
    """A file that somebody looked at."""
    return FileDetails(**{"file_viewed_by_esp": True, "exif_viewed_by_esp": False, **changes})


def batched(*, suspects=3, **changes):
    """A viral file that many posted."""
    accounts = tuple(Account(esp_identifier=f"u-{n}") for n in range(suspects))
    people = tuple(PersonOrUserReported(account=account) for account in accounts)
    return minimal(batched_report=BatchedReport(), persons_or_users_reported=people, **changes)


def maximal():
    """One element of every branch: the ordering example of the service's documentation, as values."""
    suspect = PersonOrUserReported(
        Person(emails=(Email("x@example.net", verified=True, verification_date=datetime(2026, 1, 2, tzinfo=UTC)),)),
        account=Account(
            esp_identifier="u-77",
            esp_service="Live",
            compromised_account=False,
            screen_name="name77",
            display_names=("Name",),
            profile_urls=("https://app.example/u/77",),
            profile_bio="bio",
            ip_capture_events=(IpCaptureEvent("2001:db8::1", EventName.UPLOAD, at(seconds=-2), False, 50123),),
            device_ids=(DeviceId("IMEI", "0", EventName.LOGIN),),
        ),
        third_party_user_reported=False,
        prior_ct_reports=(ReportId(123, TEST),),
        group_identifier="g-1",
        standing=Standing(
            account_temporarily_disabled=TemporarilyDisabled(True, at(seconds=1), user_notified=False),
            estimated_location=EstimatedLocation("Reno", "NV", "US", verified=False, timestamp=AT),
            all_emails_reported=True,
        ),
        associated_accounts=(
            AssociatedAccount(
                AccountType.LINKED,
                AccountPlatform("OtherApp", third_party_user=True),
                screen_name="alt",
                prior_ct_reports=(ReportId(124, TEST),),
            ),
        ),
        additional_info="n",
    )
    officer = ContactPerson(last_name="Doe", phones=(Phone("2025550100", PhoneType.WORK, country_calling_code="+1"),))
    return Report(
        incident_summary=summary(
            incident_type=IncidentType.ENTICEMENT,
            platform="ExampleApp",
            escalate_to_high_priority="Stream still live at submission",
            report_annotations=frozenset({ReportAnnotation.SEXTORTION}),
            incident_date_time_description="first segment hit",
        ),
        internet_details=(
            WebPageIncident(("https://app.example/live/1",), "live room", third_party_hosted_content=False),
            ChatImIncident("ExampleApp DM", content="see attached csv"),
        ),
        law_enforcement=LawEnforcement(
            "Example PD", "C-1", officer, True, False, ServedLegalProcessInternational(True, "GB")
        ),
        reporter=Reporter(
            Person("Trust", "Desk", emails=(Email("ts@example.com", EmailType.WORK),)),
            ContactPerson(emails=(Email("legal@example.com"),)),
            company_template="24h phone +1 202 555 0101",
            terms_of_service="no CSAM",
            legal_url="https://app.example/legal",
        ),
        persons_or_users_reported=(suspect,),
        intended_recipients=(IntendedRecipient(account=Account(esp_identifier="u-78")),),
        victims=(Victim(Person(age=14), account=Account(esp_identifier="u-79"), school_name="S"),),
        additional_info="free text",
    )


def full_details():
    """The file of the same documentation."""
    return FileDetails(
        original_file_name="a.jpg",
        uploaded_to_esp_timestamp=AT,
        location_of_file="https://x/",
        file_viewed_by_esp=True,
        exif_viewed_by_esp=False,
        publicly_available=True,
        file_relevance=FileRelevance.REPORTED,
        file_annotations=frozenset({FileAnnotation.GENERATIVE_AI, FileAnnotation.VIRAL}),
        industry_classification=IndustryClassification.B2,
        original_file_hashes=(OriginalFileHash("00", "MD5"), OriginalFileHash("ff", "PDQ")),
        ip_capture_event=IpCaptureEvent("::1"),
        device_ids=(DeviceId("IMEI", "1"),),
        details=(Details((NameValuePair("n", "v"),), DetailsType.HASH),),
        additional_infos=("x",),
    )


# ── what is wrong, by path ──────────────────────────────────────────────────────────────────────────────────────────

SUSPECT = "report/personOrUserReported[1]"
PERSON = f"{SUSPECT}/personOrUserReportedPerson"


def told(report, *files, environment=TEST):
    return [str(one) for one in problems(report, files, environment=environment, now=NOW)]


def paths(report, *files, environment=TEST):
    return [one.path for one in problems(report, files, environment=environment, now=NOW)]


def of_suspect(**changes):
    return minimal(persons_or_users_reported=(PersonOrUserReported(**changes),))


def of_person(person):
    return of_suspect(person_or_user_reported_person=person)


def of_account(**changes):
    return of_suspect(account=Account(**changes))


def of_standing(**changes):
    return of_suspect(standing=Standing(**changes))


def in_file(**changes):
    return [one.path for one in file_problems(viewed(**changes), environment=TEST, now=NOW)]
