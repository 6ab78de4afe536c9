"""What must not stand together: rules between the values of a report, of a batched one, and of a file."""

from dataclasses import replace
from datetime import date, datetime

import pytest
from delivery.cybertip.samples import (
    AT,
    NOW,
    PERSON,
    PRODUCTION,
    SUSPECT,
    TEST,
    at,
    batched,
    in_file,
    minimal,
    of_person,
    of_standing,
    of_suspect,
    paths,
    summary,
    told,
    viewed,
)

from hashmatch.delivery.cybertip.files import Details, NameValuePair, OriginalFileHash
from hashmatch.delivery.cybertip.incidents import (
    EmailIncident,
    NewsgroupIncident,
    WebPageIncident,
)
from hashmatch.delivery.cybertip.people import (
    Account,
    AssociatedAccount,
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
from hashmatch.delivery.cybertip.report import (
    IntendedRecipient,
    LawEnforcement,
    PersonOrUserReported,
    Victim,
)
from hashmatch.delivery.cybertip.terms import (
    AccountType,
    FileAnnotation,
    FileRelevance,
    IndustryClassification,
    ReportId,
)

NAIVE = datetime(2026, 1, 1)


# ── between values ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("report", "path"),
    [
        (of_person(Person(phones=(Phone("1", verification_date=AT),))), f"{PERSON}/phone[1]/@verificationDate"),
        (
            of_person(Person(emails=(Email("a@example.com", verified=False, verification_date=AT),))),
            f"{PERSON}/email[1]/@verificationDate",
        ),
        (of_person(Person(phones=(Phone("+12025550100", country_calling_code="+1"),))), f"{PERSON}/phone[1]"),
        (
            of_standing(account_permanently_disabled=PermanentlyDisabled(True, AT, True, at(seconds=-1))),
            f"{SUSPECT}/accountPermanentlyDisabled/@userNotifiedDate",
        ),
        (
            of_standing(account_temporarily_disabled=TemporarilyDisabled(True, AT, True, at(seconds=-1))),
            f"{SUSPECT}/accountTemporarilyDisabled/@userNotifiedDate",
        ),
        (
            of_standing(account_temporarily_disabled=TemporarilyDisabled(True, AT, reenabled_date=AT)),
            f"{SUSPECT}/accountTemporarilyDisabled/@reenabledDate",
        ),
        (of_standing(estimated_location=EstimatedLocation("Reno", "NV")), f"{SUSPECT}/estimatedLocation/countryCode"),
        (of_standing(estimated_location=EstimatedLocation(None, "NV", "US")), f"{SUSPECT}/estimatedLocation/city"),
        (
            of_standing(estimated_location=EstimatedLocation("Reno", "Nevada", "US")),
            f"{SUSPECT}/estimatedLocation/region",
        ),
        (of_standing(estimated_location=EstimatedLocation("Reno", None, "US")), f"{SUSPECT}/estimatedLocation/region"),
        (
            of_suspect(
                associated_accounts=(
                    AssociatedAccount(AccountType.OTHER, approximate_age=3, date_of_birth=date(2020, 1, 1)),
                )
            ),
            f"{SUSPECT}/associatedAccount[1]/approximateAge",
        ),
        (minimal(persons_or_users_reported=(PersonOrUserReported(),) * 2), "report/personOrUserReported"),
    ],
)
def test_what_is_wrong_between_values_is_told_by_one_of_them(report, path):
    assert paths(report) == [path]


@pytest.mark.parametrize(
    "report",
    [
        of_standing(account_permanently_disabled=PermanentlyDisabled(True, AT, True, AT)),
        of_standing(account_temporarily_disabled=TemporarilyDisabled(False, AT, True, AT, at(seconds=1))),
        of_standing(estimated_location=EstimatedLocation(country_code="DE")),
        of_person(Person(phones=(Phone("+49 30 1234"),))),
        of_person(Person(age=20, date_of_birth=date(2006, 1, 1))),
    ],
)
def test_what_goes_together(report):
    assert told(report) == []


def test_a_time_without_a_zone_is_told_once_and_compared_with_nothing():
    disabled = TemporarilyDisabled(True, NAIVE, True, at(days=-900), at(days=-900))
    found = paths(of_standing(account_temporarily_disabled=disabled))
    assert found == [f"{SUSPECT}/accountTemporarilyDisabled/@disabledDate"]


@pytest.mark.parametrize("kind", [EmailIncident, NewsgroupIncident])
def test_an_incidents_addresses_are_somebodys(kind):
    incident = kind(email_addresses=(Email("a@example.com"), Email("b@example.com"), Email("c@example.com")))
    assert len(told(minimal(internet_details=(incident,)))) == 3
    report = minimal(
        internet_details=(WebPageIncident(), incident),
        persons_or_users_reported=(PersonOrUserReported(Person(emails=(Email("a@example.com"),))),),
        intended_recipients=(IntendedRecipient(Person(emails=(Email("b@example.com"),))),),
        victims=(Victim(),),
    )
    name = "emailIncident" if kind is EmailIncident else "newsgroupIncident"
    assert paths(report) == [f"report/internetDetails[2]/{name}/emailAddress[3]"]
    victim = Victim(Person(emails=(Email("c@example.com"),)))
    assert told(replace(report, victims=(victim,))) == []


@pytest.mark.parametrize(("ours", "theirs"), [(PRODUCTION, TEST), (TEST, PRODUCTION)])
def test_ids_of_the_other_environment_are_never_prior_reports(ours, theirs):
    account = AssociatedAccount(AccountType.LINKED, prior_ct_reports=(ReportId(5, theirs),))
    people = {
        "persons_or_users_reported": (PersonOrUserReported(prior_ct_reports=(ReportId(5, theirs),)),),
        "intended_recipients": (IntendedRecipient(prior_ct_reports=(ReportId(5, ours), ReportId(5, theirs))),),
        "victims": (Victim(prior_ct_reports=(ReportId(5, theirs),), associated_accounts=(account,)),),
    }
    assert paths(minimal(**people), environment=ours) == [
        f"{SUSPECT}/priorCTReports[1]",
        "report/intendedRecipient[1]/priorCTReports[2]",
        "report/victim[1]/priorCTReports[1]",
        "report/victim[1]/associatedAccount[1]/priorCTReport[1]",
    ]


# ── batched reports ─────────────────────────────────────────────────────────────────────────────────────────────────

VIRAL = viewed(file_annotations=frozenset({FileAnnotation.VIRAL}))


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"incident_summary": summary(escalate_to_high_priority="x")}, "report/incidentSummary/escalateToHighPriority"),
        ({"internet_details": (WebPageIncident(),)}, "report/internetDetails"),
        ({"law_enforcement": LawEnforcement("PD")}, "report/lawEnforcement"),
        ({"intended_recipients": (IntendedRecipient(),)}, "report/intendedRecipient"),
        ({"victims": (Victim(),)}, "report/victim"),
        ({"additional_info": "x"}, "report/additionalInfo"),
    ],
)
def test_a_batched_report_holds_little(changes, path):
    assert paths(batched(**changes), VIRAL) == [path]


@pytest.mark.parametrize(
    "suspect",
    [
        PersonOrUserReported(),
        PersonOrUserReported(Person(), account=Account(esp_identifier="u")),
        PersonOrUserReported(account=Account(esp_identifier="u", screen_name="n")),
        PersonOrUserReported(account=Account(esp_identifier="u"), additional_info="x"),
        PersonOrUserReported(account=Account(esp_identifier="u"), standing=Standing(all_emails_reported=False)),
    ],
)
def test_a_batched_suspect_is_an_identifier(suspect):
    report = batched()
    people = (*report.persons_or_users_reported, suspect)
    assert paths(replace(report, persons_or_users_reported=people), VIRAL) == ["report/personOrUserReported[4]"]


def test_a_batched_report_has_one_file_at_most():
    assert told(batched()) == []
    assert told(batched(), VIRAL) == []
    assert paths(batched(), VIRAL, VIRAL) == ["fileDetails"]


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"file_annotations": frozenset()}, "fileAnnotations"),
        ({"file_annotations": frozenset({FileAnnotation.VIRAL, FileAnnotation.INFANT})}, "fileAnnotations"),
        ({"file_relevance": FileRelevance.SUPPLEMENTAL}, "fileRelevance"),
        ({"file_name": "x"}, "fileName"),
        ({"original_file_name": "x"}, "originalFileName"),
        ({"location_of_file": "https://x/"}, "locationOfFile"),
        ({"original_file_hashes": (OriginalFileHash("00", "MD5"),)}, "originalFileHash"),
        ({"ip_capture_event": IpCaptureEvent("::1")}, "ipCaptureEvent"),
        ({"device_ids": (DeviceId("IMEI", "0"),)}, "deviceId"),
        ({"details": (Details((NameValuePair("n", "v"),)),)}, "details"),
        ({"additional_infos": ("x",)}, "additionalInfo"),
    ],
)
def test_little_is_told_of_a_batched_reports_file(changes, name):
    assert paths(batched(), replace(VIRAL, **changes)) == [f"fileDetails[1]/{name}"]
    assert f"fileDetails[1]/{name}" not in paths(minimal(), replace(VIRAL, **changes))


def test_a_batched_file_may_be_classified_and_both_viral_and_a_meme():
    both = frozenset({FileAnnotation.VIRAL, FileAnnotation.POTENTIAL_MEME})
    details = viewed(file_annotations=both, industry_classification=IndustryClassification.A1)
    assert told(batched(), replace(details, file_relevance=FileRelevance.REPORTED)) == []


# ── files ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"file_viewed_by_esp": False, "exif_viewed_by_esp": True}, ["exifViewedByEsp"]),
        ({"file_viewed_by_esp": False}, []),
        ({"exif_viewed_by_esp": True}, []),
        ({"potential_meme": False, "file_annotations": frozenset({FileAnnotation.VIRAL})}, ["potentialMeme"]),
        ({"file_relevance": FileRelevance.SUPPLEMENTAL}, []),
        ({"file_relevance": FileRelevance.SUPPLEMENTAL, "potential_meme": False}, ["potentialMeme"]),
        (
            {
                "file_relevance": FileRelevance.SUPPLEMENTAL,
                "file_annotations": frozenset({FileAnnotation.POTENTIAL_MEME}),
                "industry_classification": IndustryClassification.A2,
            },
            ["fileAnnotations/potentialMeme", "industryClassification"],
        ),
        ({"original_file_name": "x" * 2057}, ["originalFileName"]),
        ({"location_of_file": "file"}, ["locationOfFile"]),
        ({"uploaded_to_esp_timestamp": NOW}, ["uploadedToEspTimestamp"]),
        ({"original_file_hashes": (OriginalFileHash("00", "md5"),)}, ["originalFileHash[1]/@hashType"]),
        ({"original_file_hashes": (OriginalFileHash("00", "X" * 65),)}, ["originalFileHash[1]/@hashType"]),
        ({"original_file_hashes": (OriginalFileHash("", "MD5"),)}, ["originalFileHash[1]"]),
        ({"original_file_hashes": (OriginalFileHash("00", "MD5"),) * 2}, ["originalFileHash[2]"]),
        ({"original_file_hashes": (OriginalFileHash("00", "PDQ"), OriginalFileHash("01", "PDQ"))}, []),
        ({"ip_capture_event": IpCaptureEvent("x")}, ["ipCaptureEvent/ipAddress"]),
        ({"details": (Details(()),)}, ["details[1]/nameValuePair"]),
        (
            {"details": (Details((NameValuePair("n", "v"), NameValuePair("n" * 65, "v"))),)},
            ["details[1]/nameValuePair[2]/name"],
        ),
    ],
)
def test_what_is_wrong_with_a_file(changes, names):
    assert in_file(**changes) == [f"fileDetails/{name}" for name in names]


def test_fingerprints_are_told_in_upper_case_types_and_hex():
    assert OriginalFileHash.of("pdq", bytes([0, 255])) == OriginalFileHash("00ff", "PDQ")
