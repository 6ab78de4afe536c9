"""What a report says: only what is known, as it is known, and of views only what the log of views says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashmatch.delivery.cybertip import schema
from hashmatch.delivery.cybertip.files import OriginalFileHash
from hashmatch.delivery.cybertip.incidents import ChatImIncident, WebPageIncident
from hashmatch.delivery.cybertip.terms import (
    Environment,
    EventName,
    FileAnnotation,
    IncidentType,
    IndustryClassification,
    ReportAnnotation,
    ReportId,
)
from hashmatch.delivery.cybertip.xml import details_element, report_element
from hashmatch.errors import BadConfig
from hashmatch.v1.cases_pb2 import TIER_T0, TIER_T1, TIER_T3, Case, CaseItem, Tier
from hashmatch.workflow.report_attributes import ATTRIBUTES
from hashmatch.workflow.report_content import Reporter, content
from hashmatch.workflow.report_labels import FILE_ANNOTATIONS, INCIDENTS, REPORT_ANNOTATIONS, plain

NOW = datetime(2026, 10, 15, 12, tzinfo=UTC)
TEST, PRODUCTION = Environment.TEST, Environment.PRODUCTION
REPORTER = Reporter(
    company="ExampleApp", email="ts@example.com", legal_email="legal@example.com", template="24 h: +1 202 555 0101",
    terms="none of it", legal_url="https://app.example/legal",
)  # fmt: skip


def case(tier=TIER_T1, uploader="u-1", **fields):
    made = Case(id="c_1", tier=tier, rules=["known"], **fields)
    made.subject.uploader_id = uploader
    made.detected_at.FromDatetime(NOW - timedelta(hours=3))
    return made


def item(verdict="v1", *, labels=(), viewed=(), hours=2, **attributes):
    made = CaseItem(verdict_id=verdict, labels=labels, viewed_by=viewed)
    made.at.FromDatetime(NOW - timedelta(hours=1))
    made.subject.content_id, made.subject.surface, made.subject.uploader_id = f"content-{verdict}", "chat", "u-1"
    made.subject.occurred_at.FromDatetime(NOW - timedelta(hours=hours))
    made.subject.attributes.update(attributes)
    return made


def told(*items, about=None, reporter=REPORTER, attached=None, environment=TEST, now=NOW, **more):
    attached = {one.verdict_id for one in items} if attached is None else attached
    more.setdefault("fingerprints", {})
    return content(about or case(), items, reporter, environment=environment, now=now, attached=attached, **more)


FULL = {
    "email": "a@example.net, b@example.net", "email_verified": "true", "phone": "2025550100", "first_name": "F",
    "last_name": "L", "date_of_birth": "1990-02-03", "screen_name": "screen", "display_name": "Display",
    "profile_url": "https://app.example/u/1", "profile_bio": "bio", "group_id": "g-1", "prior_reports": "test:77",
    "account_disabled": "temporary", "account_disabled_at": "2026-10-15T10:00:00+02:00", "user_notified": "false",
    "compromised_account": "false", "city": "Reno", "state": "NV", "country": "US", "ip": "2001:db8::1",
    "ip_port": "50123", "ip_time": "2026-10-15T09:59:58Z", "ip_proxy": "no", "device_id": "0",
    "device_id_type": "IMEI", "file_name": "a.jpg", "url": "https://app.example/m/1", "publicly_available": "true",
    "chat_client": "ExampleApp DM", "chat_room": "room 1",
}  # fmt: skip


def test_every_attribute_in_the_table_is_told_and_no_other():
    assert set(FULL) == set(ATTRIBUTES)
    all_told = told(item(**FULL))
    assert all_told.problems == ()
    for name in ATTRIBUTES:
        less = told(item(**FULL), omit={name})
        assert (less.report, less.files) != (all_told.report, all_told.files), name
    assert told(item(**FULL, shoe_size="44")).report == all_told.report


def test_the_whole_of_it_passes_the_schema():
    full = told(item(labels=["infant", "sextortion"], **FULL), about=case(TIER_T0))
    schema.check(report_element(full.report))
    schema.check(details_element(full.files[0], ReportId(1, TEST), "ab"))


def test_the_suspect_is_who_uploaded_it():
    (suspect,) = told(item(**FULL)).report.persons_or_users_reported
    assert (suspect.account.esp_identifier, suspect.account.esp_service) == ("u-1", "chat")
    assert [email.address for email in suspect.person.emails] == ["a@example.net", "b@example.net"]
    (address,) = suspect.account.ip_capture_events
    assert (address.ip_address, address.port, address.event_name) == ("2001:db8::1", 50123, EventName.UPLOAD)
    assert address.date_time == datetime(2026, 10, 15, 9, 59, 58, tzinfo=UTC)
    assert suspect.prior_ct_reports == (ReportId(77, TEST),)
    disabled = suspect.standing.account_temporarily_disabled
    assert (disabled.disabled, disabled.user_notified) == (True, False)
    assert disabled.disabled_date == datetime(2026, 10, 15, 8, tzinfo=UTC)


def test_an_account_that_the_platform_disabled_as_asked_is_told_unless_it_says_otherwise():
    at = NOW - timedelta(minutes=30)
    (suspect,) = told(item(), suspended_at=at).report.persons_or_users_reported
    assert suspect.standing.account_temporarily_disabled.disabled_date == at
    (suspect,) = told(item(account_disabled="permanent"), suspended_at=at).report.persons_or_users_reported
    assert suspect.standing.account_temporarily_disabled is None
    assert suspect.standing.account_permanently_disabled.disabled


def test_several_items_add_up_and_of_what_is_said_once_the_latest_counts():
    items = [
        item("v1", email="a@example.net", screen_name="old", ip="1.2.3.4", display_name="D"),
        item("v2", email="a@example.net, c@example.net", screen_name="new", ip="1.2.3.5", display_name="D"),
    ]
    (suspect,) = told(*items).report.persons_or_users_reported
    assert [email.address for email in suspect.person.emails] == ["a@example.net", "c@example.net"]
    assert suspect.account.screen_name == "new"
    assert suspect.account.display_names == ("D",)
    assert [one.ip_address for one in suspect.account.ip_capture_events] == ["1.2.3.4", "1.2.3.5"]


def test_nobody_known_is_nobody_told():
    one = item()
    one.subject.ClearField("uploader_id")
    one.subject.ClearField("surface")
    assert told(one, about=case(uploader="")).report.persons_or_users_reported == ()


def test_places_are_told_once_each():
    items = [item(f"v{n}", url="https://app.example/m/1", chat_client="DM") for n in range(2)]
    places = told(*items).report.internet_details
    assert places == (WebPageIncident(urls=("https://app.example/m/1",)), ChatImIncident(chat_client="DM"))


@pytest.mark.parametrize("tier", [t for t in Tier.values() if t])
def test_only_imminent_harm_is_escalated(tier):
    said = told(item(), about=case(tier)).report.incident_summary.escalate_to_high_priority
    assert (said is not None) == (tier == TIER_T0)
    assert said is None or "known" in said


@given(st.lists(st.sampled_from(["", "ann", "bob"]), max_size=3), st.sampled_from([*FILE_ANNOTATIONS, "viewed", "A1"]))
def test_a_file_was_viewed_only_where_the_log_of_views_says_so(viewed, label):
    (details,) = told(item(viewed=viewed, labels=[label], file_viewed_by_esp="true", viewed_by="ann")).files
    assert details.file_viewed_by_esp == bool(viewed)
    assert details.exif_viewed_by_esp is False


def test_times_are_clamped_to_the_past():
    late = told(item(hours=-1))
    assert late.report.incident_summary.incident_date_time == NOW - timedelta(seconds=1)
    assert late.files[0].uploaded_to_esp_timestamp == NOW - timedelta(seconds=1)
    assert late.problems == ()
    unsaid = item()
    unsaid.subject.ClearField("occurred_at")
    assert told(unsaid).report.incident_summary.incident_date_time == NOW - timedelta(hours=1)
    assert told(item("v1", hours=2), item("v2", hours=5)).report.incident_summary.incident_date_time == NOW - timedelta(
        hours=5
    )


@pytest.mark.parametrize(
    ("label", "annotation"), [*FILE_ANNOTATIONS.items(), ("Live-Streaming", None), ("other", None)]
)
def test_labels_annotate_files_by_the_table(label, annotation):
    annotation = FileAnnotation.LIVE_STREAMING if label == "Live-Streaming" else annotation
    (details,) = told(item(labels=[label])).files
    assert details.file_annotations == (frozenset({annotation}) if annotation else frozenset())


def test_labels_say_what_happened_and_what_it_is_about():
    for label, kind in INCIDENTS.items():
        assert told(item(labels=[label])).report.incident_summary.incident_type is kind
    assert told(item()).report.incident_summary.incident_type is IncidentType.CSAM
    for label, said in REPORT_ANNOTATIONS.items():
        assert told(item(labels=[label])).report.incident_summary.report_annotations == {said}
    assert {*REPORT_ANNOTATIONS.values()} == {*ReportAnnotation}
    assert {*FILE_ANNOTATIONS.values()} == {*FileAnnotation}
    for table in (INCIDENTS, REPORT_ANNOTATIONS, FILE_ANNOTATIONS):
        assert plain(table) == frozenset(table)


def test_the_industrys_classification_is_told_only_under_the_agreement():
    signed = Reporter(company="ExampleApp", email="ts@example.com", hash_sharing=True)
    assert told(item(labels=["B2"])).files[0].industry_classification is None
    assert told(item(labels=["B2"]), reporter=signed).files[0].industry_classification is IndustryClassification.B2
    assert told(item(labels=["A1", "B2"]), reporter=signed).files[0].industry_classification is None


def test_files_keep_their_order_and_their_original_hashes():
    given_ = {"v2": [("md5", b"\x01" * 16), ("pdq", b"\x02" * 32), ("md5", b"\x01" * 16)]}
    files = told(item("v2"), item("v1"), fingerprints=given_).files
    assert [file.original_file_hashes for file in files] == [
        (OriginalFileHash("01" * 16, "MD5"), OriginalFileHash("02" * 32, "PDQ")), ()
    ]  # fmt: skip


def test_what_has_no_file_is_named_and_has_no_details():
    found = told(item("v1"), item("v2"), attached={"v2"})
    assert len(found.files) == 1
    assert "content-v1" in found.report.additional_info
    assert "content-v2" not in found.report.additional_info
    assert told(item()).report.additional_info is None


WRONG = {
    "ip_port": ("x", "attributes/ip_port"), "publicly_available": ("maybe", "attributes/publicly_available"),
    "ip_time": ("2026-10-15T10:00:00", "attributes/ip_time"), "account_disabled_at": ("soon", "attributes/account"),
    "date_of_birth": ("3.2.90", "attributes/date_of_birth"), "account_disabled": ("a bit", "attributes/account"),
    "prior_reports": ("one", "attributes/prior_reports"), "email": ("nobody", "email[1]"),
    "profile_url": ("app.example", "profileUrl[1]"), "country": ("Utopia", "countryCode"), "ip": ("1.2", "ipAddress"),
    "display_name": ("n" * 256, "displayName[1]"), "phone": ("9" * 51, "phone[1]"), "url": ("here", "locationOfFile"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_told_is_a_problem_with_a_path_and_can_be_left_out(name):
    value, path = WRONG[name]
    said = FULL | {name: value}
    found = told(item(**said)).problems
    assert any(path in str(problem) for problem in found)
    assert not any(value in str(problem) for problem in found if len(value) > 3)
    omit = {name} | ({"city", "state"} if name == "country" else set())
    assert told(item(**said), omit=omit).problems == ()


@given(st.dictionaries(st.sampled_from([*ATTRIBUTES]), st.text(max_size=30)))
def test_whatever_the_platform_says_is_either_told_in_order_or_a_problem(attributes):
    found = told(item(**attributes))
    if not found.problems:
        schema.check(report_element(found.report))
        schema.check(details_element(found.files[0], ReportId(1, TEST), "ab"))


def test_numbers_of_the_other_environment():
    said = item(prior_reports="test:77,4711")
    assert told(said).report.persons_or_users_reported[0].prior_ct_reports == (ReportId(77, TEST),)
    found = told(said, environment=PRODUCTION).problems
    assert [str(one) for one in found] == [
        "report/personOrUserReported[1]/priorCTReports[1]: is a report of the test environment"
    ]


def test_nothing_personal_is_in_a_repr():
    shown = repr(told(item(**FULL)))
    assert not any(value in shown for value in ("u-1", "example.net", "2001", "Display"))


@pytest.mark.parametrize(
    "wrong",
    [{"email": "x"}, {"company": " "}, {"legal_email": "x"}, {"template": "t" * 3001}, {"legal_url": "x"}],
)
def test_settings_that_no_report_could_say_are_refused(wrong):
    with pytest.raises(BadConfig, match=next(iter(wrong))):
        Reporter(**{"company": "ExampleApp", "email": "ts@example.com"} | wrong)


def test_a_lesser_tier_is_the_same_but_for_the_urgency():
    calm, urgent = (told(item(**FULL), about=case(tier)) for tier in (TIER_T3, TIER_T0))
    assert calm.files == urgent.files
    assert calm.report != urgent.report
