"""Every rule of the service, by the element that it is about."""

from dataclasses import fields
from datetime import UTC, date, datetime, timedelta

import pytest
from delivery.cybertip.drawing import classes, drawn, well_formed
from delivery.cybertip.samples import (
    AT,
    NOW,
    PERSON,
    SUSPECT,
    TEST,
    batched,
    full_details,
    maximal,
    minimal,
    of_account,
    of_person,
    of_suspect,
    paths,
    summary,
    told,
    viewed,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hashmatch.delivery.cybertip.incidents import (
    CellPhoneIncident,
    NonInternetIncident,
    Peer2peerIncident,
    WebPageIncident,
)
from hashmatch.delivery.cybertip.people import (
    Account,
    Address,
    DeviceId,
    Email,
    IpCaptureEvent,
    Person,
    Phone,
)
from hashmatch.delivery.cybertip.problems import MAX_REPEATS
from hashmatch.delivery.cybertip.report import (
    IntendedRecipient,
    LawEnforcement,
    Reporter,
    ServedLegalProcessInternational,
    Victim,
    incident_time,
)
from hashmatch.delivery.cybertip.rules import legible
from hashmatch.delivery.cybertip.terms import (
    ReportId,
)

NAIVE = datetime(2026, 1, 1)


@pytest.mark.parametrize("report", [minimal(), maximal(), batched(), batched(suspects=200)])
def test_nothing_is_wrong_with_what_the_documentation_has(report):
    assert told(report) == []


def test_nothing_is_wrong_with_its_file():
    assert told(maximal(), full_details(), viewed()) == []


# ── one value ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("report", "path"),
    [
        (minimal(incident_summary=summary(platform="x" * 257)), "report/incidentSummary/platform"),
        (
            minimal(incident_summary=summary(escalate_to_high_priority=" ")),
            "report/incidentSummary/escalateToHighPriority",
        ),
        (
            minimal(incident_summary=summary(escalate_to_high_priority="x" * 3001)),
            "report/incidentSummary/escalateToHighPriority",
        ),
        (
            minimal(incident_summary=summary(incident_date_time_description="x" * 3001)),
            "report/incidentSummary/incidentDateTimeDescription",
        ),
        (minimal(incident_summary=summary(incident_date_time=NOW)), "report/incidentSummary/incidentDateTime"),
        (minimal(incident_summary=summary(incident_date_time=NAIVE)), "report/incidentSummary/incidentDateTime"),
        (
            minimal(incident_summary=summary(incident_date_time=datetime(1969, 12, 31, tzinfo=UTC))),
            "report/incidentSummary/incidentDateTime",
        ),
        (minimal(law_enforcement=LawEnforcement("x" * 256)), "report/lawEnforcement/agencyName"),
        (minimal(law_enforcement=LawEnforcement("PD", "x" * 101)), "report/lawEnforcement/caseNumber"),
        (
            minimal(
                law_enforcement=LawEnforcement(
                    "PD", served_legal_process_international=ServedLegalProcessInternational(True, "A1")
                )
            ),
            "report/lawEnforcement/servedLegalProcessInternational/@fleaCountry",
        ),
        (minimal(reporter=Reporter(Person())), "report/reporter/reportingPerson/email"),
        (
            minimal(reporter=Reporter(Person(emails=(Email("a@example.com"),)), legal_url="example.com/legal")),
            "report/reporter/legalURL",
        ),
        (
            minimal(reporter=Reporter(Person(emails=(Email("a@example.com"),)), company_template="x" * 3001)),
            "report/reporter/companyTemplate",
        ),
        (minimal(additional_info="\x00"), "report/additionalInfo"),
        (minimal(additional_info="\ud800"), "report/additionalInfo"),
        (minimal(additional_info=""), "report/additionalInfo"),
        (
            minimal(internet_details=(WebPageIncident(("https://x/ y",)),)),
            "report/internetDetails[1]/webPageIncident/url[1]",
        ),
        (
            minimal(internet_details=(WebPageIncident(("https://" + "x" * 2076,)),)),
            "report/internetDetails[1]/webPageIncident/url[1]",
        ),
        (
            minimal(internet_details=(WebPageIncident(("https:///x",)),)),
            "report/internetDetails[1]/webPageIncident/url[1]",
        ),
        (
            minimal(internet_details=(WebPageIncident(("https://[x/",)),)),
            "report/internetDetails[1]/webPageIncident/url[1]",
        ),
        (
            minimal(internet_details=(CellPhoneIncident(latitude=90.5),)),
            "report/internetDetails[1]/cellPhoneIncident/latitude",
        ),
        (
            minimal(internet_details=(CellPhoneIncident(longitude=float("nan")),)),
            "report/internetDetails[1]/cellPhoneIncident/longitude",
        ),
        (
            minimal(internet_details=(NonInternetIncident(incident_addresses=(Address(state="ZZ"),)),)),
            "report/internetDetails[1]/nonInternetIncident/incidentAddress[1]/state",
        ),
        (
            minimal(internet_details=(Peer2peerIncident(ip_capture_events=(IpCaptureEvent("192.0.2.1", port=0),)),)),
            "report/internetDetails[1]/peer2peerIncident/ipCaptureEvent[1]/port",
        ),
        (of_suspect(vehicle_description="x" * 301), f"{SUSPECT}/vehicleDescription"),
        (of_suspect(group_identifier="x" * 256), f"{SUSPECT}/groupIdentifier"),
        (of_suspect(prior_ct_reports=(ReportId(1, TEST), ReportId(0, TEST))), f"{SUSPECT}/priorCTReports[2]"),
        (of_suspect(prior_ct_reports=(ReportId(2**63, TEST),)), f"{SUSPECT}/priorCTReports[1]"),
        (of_account(esp_identifier="x" * 256), f"{SUSPECT}/espIdentifier"),
        (of_account(esp_service="x" * 101), f"{SUSPECT}/espService"),
        (of_account(screen_name="x" * 257), f"{SUSPECT}/screenName"),
        (of_account(screen_name="😀" * 129), f"{SUSPECT}/screenName"),  # two UTF-16 units each
        (of_account(display_names=("x", "x" * 256)), f"{SUSPECT}/displayName[2]"),
        (of_account(profile_urls=("about",)), f"{SUSPECT}/profileUrl[1]"),
        (of_account(ip_capture_events=(IpCaptureEvent("192.0.2.256"),)), f"{SUSPECT}/ipCaptureEvent[1]/ipAddress"),
        (of_account(ip_capture_events=(IpCaptureEvent("fe80::1%eth0"),)), f"{SUSPECT}/ipCaptureEvent[1]/ipAddress"),
        (of_account(ip_capture_events=(IpCaptureEvent("::1", port=65536),)), f"{SUSPECT}/ipCaptureEvent[1]/port"),
        (
            of_account(ip_capture_events=(IpCaptureEvent("::1", date_time=NOW),)),
            f"{SUSPECT}/ipCaptureEvent[1]/dateTime",
        ),
        (of_account(device_ids=(DeviceId("", "0"),)), f"{SUSPECT}/deviceId[1]/idType"),
        (of_account(device_ids=(DeviceId("IMEI", "x" * 2084),)), f"{SUSPECT}/deviceId[1]/idValue"),
        (of_account(display_names=("x",) * (MAX_REPEATS + 1)), f"{SUSPECT}/displayName"),
        (of_person(Person("x" * 101)), f"{PERSON}/firstName"),
        (of_person(Person(age=151)), f"{PERSON}/age"),
        (of_person(Person(date_of_birth=NOW.date() + timedelta(days=1))), f"{PERSON}/dateOfBirth"),
        (of_person(Person(date_of_birth=date(1849, 1, 1))), f"{PERSON}/dateOfBirth"),
        (of_person(Person(phones=(Phone("1" * 51),))), f"{PERSON}/phone[1]"),
        (of_person(Person(phones=(Phone("1", country_calling_code="1"),))), f"{PERSON}/phone[1]/@countryCallingCode"),
        (
            of_person(Person(phones=(Phone("1", country_calling_code="+1234"),))),
            f"{PERSON}/phone[1]/@countryCallingCode",
        ),
        (of_person(Person(phones=(Phone("1", extension="1" * 11),))), f"{PERSON}/phone[1]/@extension"),
        (of_person(Person(phones=(Phone("1", extension="a"),))), f"{PERSON}/phone[1]/@extension"),
        (of_person(Person(emails=(Email("a" * 65 + "@example.com"),))), f"{PERSON}/email[1]"),
        (of_person(Person(emails=(Email("a@" + "x" * 60 + ".example" * 30),))), f"{PERSON}/email[1]"),
        (of_person(Person(addresses=(Address(country="ZZ"),))), f"{PERSON}/address[1]/country"),
        (of_person(Person(addresses=(Address(country=""),))), f"{PERSON}/address[1]/country"),
        (of_person(Person(addresses=(Address(zip_code="1" * 21),))), f"{PERSON}/address[1]/zipCode"),
        (minimal(victims=(Victim(school_name="x" * 256),)), "report/victim[1]/schoolName"),
        (
            minimal(intended_recipients=(IntendedRecipient(additional_infos=("x", " ")),)),
            "report/intendedRecipient[1]/additionalInfo[2]",
        ),
    ],
)
def test_what_is_wrong_with_one_value_is_told_by_its_element(report, path):
    assert paths(report) == [path]


@pytest.mark.parametrize(
    "address", ["a", "a@b", "@example.com", "a@@example.com", ".a@example.com", "a..b@example.com", "a b@example.com",
                "A <a@example.com>", "a@example..com", "a@-x.example", "a@example.com\n", "a@exa_mple.com"]
)  # fmt: skip
def test_what_is_no_email_address(address):
    assert paths(of_person(Person(emails=(Email(address),)))) == [f"{PERSON}/email[1]"]


@pytest.mark.parametrize(
    "address", ["a.b+c@mail.example.com", "ä@exämple.example", "o'neil@x-y.example", "a@1.example"]
)
def test_what_is_an_email_address(address):
    assert told(of_person(Person(emails=(Email(address),)))) == []


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1", "::"])
def test_what_is_an_ip_address(address):
    assert told(of_account(ip_capture_events=(IpCaptureEvent(address),))) == []


@pytest.mark.parametrize(
    ("report", "limit"),
    [
        (minimal(incident_summary=summary(platform="x" * 256)), 256),
        (of_account(screen_name="😀" * 128), 256),
        (of_account(profile_urls=("https://x/" + "y" * 2073,)), 2083),
        (of_account(ip_capture_events=(IpCaptureEvent("::1", port=65535),)), 65535),
        (of_person(Person(age=150, emails=(Email("a" * 64 + "@example.com"),))), 150),
        (minimal(incident_summary=summary(incident_date_time=NOW - timedelta(microseconds=1))), 0),
        (of_person(Person(date_of_birth=NOW.date())), 0),
        (of_suspect(prior_ct_reports=(ReportId(2**63 - 1, TEST),)), 2**63 - 1),
    ],
)
def test_limits_are_inclusive(report, limit):
    assert told(report) == []


# ── what nobody else is to see ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", classes(), ids=lambda kind: kind.__name__)
@settings(max_examples=1, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_no_element_shows_what_it_holds(kind, data):
    assert repr(data.draw(drawn(kind, well_formed))) == f"<{kind.__name__}>"


def test_every_class_is_frozen_and_has_only_its_fields():
    for kind in classes():
        assert kind.__dataclass_params__.frozen, kind
        assert {one.name for one in fields(kind)} >= set(kind.__slots__), kind


def test_a_problem_does_not_repeat_the_value():
    hidden = "secret-\x00-value"
    report = of_suspect(
        person_or_user_reported_person=Person(
            hidden, emails=(Email(hidden),), phones=(Phone(hidden, extension=hidden),)
        ),
        account=Account(hidden, profile_urls=(hidden,), ip_capture_events=(IpCaptureEvent(hidden),)),
    )
    found = told(report)
    assert len(found) == 7
    assert not any("secret" in one for one in found)


# ── what helps to build one ─────────────────────────────────────────────────────────────────────────────────────────


def test_text_is_made_legible_for_xml():
    assert legible("a\x00b\x0b\ud800\uffff\tc\n😀") == "a\ufffdb\ufffd\ufffd\ufffd\tc\n😀"
    assert told(minimal(additional_info=legible("".join(map(chr, range(0x11000)))))) == []


def test_an_incident_that_is_to_come_was_a_second_ago():
    assert incident_time(NOW + timedelta(hours=1), NOW) == NOW - timedelta(seconds=1)
    assert incident_time(AT, NOW) == AT
