"""How reports are written, and how answers are read."""

import re
from contextlib import suppress
from datetime import timedelta, timezone
from importlib import resources

import pytest
from delivery.cybertip.drawing import consistent, drawn, hostile, leaves, well_formed, with_leaf
from delivery.cybertip.samples import AT, NOW, TEST, at, full_details, maximal, minimal, summary, viewed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree

from hashmatch.delivery.cybertip import schema
from hashmatch.delivery.cybertip.files import FileDetails
from hashmatch.delivery.cybertip.incidents import CellPhoneIncident
from hashmatch.delivery.cybertip.problems import file_problems, problems
from hashmatch.delivery.cybertip.report import Report
from hashmatch.delivery.cybertip.terms import COUNTRIES, MAX_REPORT_ID, US_STATES, ReportId
from hashmatch.delivery.cybertip.xml import (
    MAX_ANSWER_BYTES,
    details_element,
    document,
    parse_answer,
    report_element,
)
from hashmatch.errors import Malformed

# The examples of the documentation, one element for every branch. Line breaks stand between elements only.
MINIMAL = b"""<report><incidentSummary><incidentType>Child Pornography (possession, manufacture, and distribution)</incidentType><incidentDateTime>2026-10-15T08:00:00Z</incidentDateTime></incidentSummary><reporter><reportingPerson><email>ops@example.com</email></reportingPerson></reporter></report>"""  # noqa: E501
MAXIMAL = b"""<report><incidentSummary><incidentType>Online Enticement of Children for Sexual Acts</incidentType><platform>ExampleApp</platform><escalateToHighPriority>Stream still live at submission</escalateToHighPriority><reportAnnotations><sextortion/></reportAnnotations><incidentDateTime>2026-10-15T08:00:00Z</incidentDateTime><incidentDateTimeDescription>first segment hit</incidentDateTimeDescription></incidentSummary>
<internetDetails><webPageIncident thirdPartyHostedContent="false"><url>https://app.example/live/1</url><additionalInfo>live room</additionalInfo></webPageIncident></internetDetails>
<internetDetails><chatImIncident><chatClient>ExampleApp DM</chatClient><content>see attached csv</content></chatImIncident></internetDetails>
<lawEnforcement><agencyName>Example PD</agencyName><caseNumber>C-1</caseNumber><officerContact><lastName>Doe</lastName><phone type="Work" countryCallingCode="+1">2025550100</phone></officerContact><reportedToLe>true</reportedToLe><servedLegalProcessDomestic>false</servedLegalProcessDomestic><servedLegalProcessInternational fleaCountry="GB">true</servedLegalProcessInternational></lawEnforcement>
<reporter><reportingPerson><firstName>Trust</firstName><lastName>Desk</lastName><email type="Work">ts@example.com</email></reportingPerson><contactPerson><email>legal@example.com</email></contactPerson><companyTemplate>24h phone +1 202 555 0101</companyTemplate><termsOfService>no CSAM</termsOfService><legalURL>https://app.example/legal</legalURL></reporter>
<personOrUserReported><personOrUserReportedPerson><email verified="true" verificationDate="2026-01-02T00:00:00Z">x@example.net</email></personOrUserReportedPerson><espIdentifier>u-77</espIdentifier><espService>Live</espService><compromisedAccount>false</compromisedAccount><screenName>name77</screenName><displayName>Name</displayName><profileUrl>https://app.example/u/77</profileUrl><profileBio>bio</profileBio><ipCaptureEvent><ipAddress>2001:db8::1</ipAddress><eventName>Upload</eventName><dateTime>2026-10-15T07:59:58Z</dateTime><possibleProxy>false</possibleProxy><port>50123</port></ipCaptureEvent><deviceId><idType>IMEI</idType><idValue>0</idValue><eventName>Login</eventName></deviceId><thirdPartyUserReported>false</thirdPartyUserReported><priorCTReports>123</priorCTReports><groupIdentifier>g-1</groupIdentifier><accountTemporarilyDisabled disabledDate="2026-10-15T08:00:01Z" userNotified="false">true</accountTemporarilyDisabled><estimatedLocation verified="false" timestamp="2026-10-15T08:00:00Z"><city>Reno</city><region>NV</region><countryCode>US</countryCode></estimatedLocation><allEmailsReported>true</allEmailsReported><associatedAccount type="Linked"><platform thirdPartyUser="true">OtherApp</platform><screenName>alt</screenName><priorCTReport>124</priorCTReport></associatedAccount><additionalInfo>n</additionalInfo></personOrUserReported>
<intendedRecipient><espIdentifier>u-78</espIdentifier></intendedRecipient>
<victim><victimPerson><age>14</age></victimPerson><espIdentifier>u-79</espIdentifier><schoolName>S</schoolName></victim><additionalInfo>free text</additionalInfo></report>"""  # noqa: E501
DETAILS = b"""<fileDetails><reportId>1</reportId><fileId>ab</fileId><originalFileName>a.jpg</originalFileName><uploadedToEspTimestamp>2026-10-15T08:00:00Z</uploadedToEspTimestamp><locationOfFile>https://x/</locationOfFile><fileViewedByEsp>true</fileViewedByEsp><exifViewedByEsp>false</exifViewedByEsp><publiclyAvailable>true</publiclyAvailable><fileRelevance>Reported</fileRelevance><fileAnnotations><viral/><generativeAi/></fileAnnotations><industryClassification>B2</industryClassification><originalFileHash hashType="MD5">00</originalFileHash><originalFileHash hashType="PDQ">ff</originalFileHash><ipCaptureEvent><ipAddress>::1</ipAddress></ipCaptureEvent><deviceId><idType>IMEI</idType><idValue>1</idValue></deviceId><details type="HASH"><nameValuePair><name>n</name><value>v</value></nameValuePair></details><additionalInfo>x</additionalInfo></fileDetails>"""  # noqa: E501


def canonical(written: bytes) -> bytes:
    return etree.tostring(etree.fromstring(written, etree.XMLParser(remove_blank_text=True)), method="c14n")


def text_of(element):
    return etree.tostring(element, encoding="unicode")


SLOW = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
FILE = details_element(viewed(), ReportId(1, TEST), "ab")


# ── written ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("report", "want"), [(minimal(), MINIMAL), (maximal(), MAXIMAL)], ids=["minimal", "maximal"])
def test_a_report_is_written_as_the_documentation_has_it(report, want):
    written = report_element(report)
    schema.check(written)
    assert canonical(document(written)) == canonical(want)


def test_a_files_details_are_written_as_the_documentation_has_them():
    written = details_element(full_details(), ReportId(1, TEST), "ab")
    schema.check(written)
    assert canonical(document(written)) == canonical(DETAILS)


def test_whether_somebody_looked_at_a_file_is_always_told():
    with pytest.raises(TypeError):
        FileDetails()
    assert FILE.findtext("fileViewedByEsp") == "true"
    assert FILE.findtext("exifViewedByEsp") == "false"


@pytest.mark.parametrize(
    ("when", "want"),
    [
        (AT, "2026-10-15T08:00:00Z"),
        (AT.astimezone(timezone(timedelta(hours=5, minutes=30))), "2026-10-15T08:00:00Z"),
        (at(microseconds=999_999), "2026-10-15T08:00:00.999Z"),  # cut, so that it stays in the past
    ],
)
def test_a_time_is_written_in_utc(when, want):
    written = report_element(minimal(incident_summary=summary(incident_date_time=when)))
    assert written.findtext("incidentSummary/incidentDateTime") == want


def test_numbers_are_written_as_the_schema_takes_them():
    written = report_element(minimal(internet_details=(CellPhoneIncident(latitude=0.00001, longitude=-180),)))
    schema.check(written)
    assert written.findtext("internetDetails/cellPhoneIncident/latitude") == "1e-05"


@SLOW
@given(drawn(Report, well_formed).map(consistent), drawn(FileDetails, well_formed))
def test_whatever_is_well_formed_has_no_problems_and_passes_the_schema(report, details):
    assert problems(report, [details], environment=TEST, now=NOW) == []
    for written in (report_element(report), details_element(details, ReportId(MAX_REPORT_ID, TEST), "ab")):
        schema.check(written)
        assert text_of(etree.fromstring(document(written))) == text_of(written)


@SLOW
@given(drawn(Report, hostile))
def test_problems_name_elements_and_never_what_they_hold(report):
    for one in problems(report, [], environment=TEST, now=NOW):
        assert re.fullmatch(r"report(/@?[A-Za-z0-9]+(\[\d+\])?)*", one.path)
        assert one.what.isascii()
        assert one.what.isprintable()


@SLOW
@given(drawn(Report, well_formed).map(consistent), st.data())
def test_whatever_has_no_problems_passes_the_schema(report, data):
    *place, (rule, kind) = data.draw(st.sampled_from(sorted(leaves(report), key=repr)))
    changed = with_leaf(report, place, data.draw(hostile(rule, kind)))
    if not problems(changed, [], environment=TEST, now=NOW):
        schema.check(report_element(changed))


@SLOW
@given(drawn(FileDetails, hostile))
def test_whatever_details_have_no_problems_pass_the_schema(details):
    if not file_problems(details, environment=TEST, now=NOW):
        schema.check(details_element(details, ReportId(1, TEST), "ab"))


def test_what_the_schema_does_not_allow_is_named_and_not_quoted():
    written = report_element(minimal())
    etree.SubElement(written.find("incidentSummary"), "secretElement").text = "secret"
    written.find("incidentSummary/incidentType").text = "secret"
    with pytest.raises(Malformed) as refused:
        schema.check(written)
    assert refused.value.field == "report/incidentSummary/incidentType"
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(("kind", "codes"), [("state", US_STATES), ("country", COUNTRIES | {""})])
def test_the_codes_are_the_schemas(kind, codes):
    xs = "{http://www.w3.org/2001/XMLSchema}"
    tree = etree.fromstring((resources.files(schema.PACKAGE) / schema.FILE).read_bytes())
    (listed,) = (one for one in tree.iter(f"{xs}simpleType") if one.get("name") == kind)
    assert {code for one in listed.iter(f"{xs}pattern") for code in one.get("value").split("|")} == codes


# ── read ────────────────────────────────────────────────────────────────────────────────────────────────────────────

OPENED = (
    b"<?xml version='1.0' encoding='UTF-8' standalone='yes'?><reportResponse><responseCode>0</responseCode>"
    b"<responseDescription>Success</responseDescription><reportId>7855771</reportId></reportResponse>"
)
UPLOADED = OPENED.replace(
    b"</reportId>",
    b"</reportId><fileId>b0754af766b426f2928a02c651ed4b99</fileId><hash>fafa5efeaf3cbe3b23b2748d13e629a1</hash>",
)
DONE = b"<reportDoneResponse><responseCode>0</responseCode><reportId>7855771</reportId>%s</reportDoneResponse>"


def test_answers_are_read_as_they_have_been_seen():
    answer = parse_answer(UPLOADED, request_id="r-1")
    assert (answer.code, answer.description, answer.report_id) == (0, "Success", 7855771)
    assert (answer.file_id, answer.md5) == ("b0754af766b426f2928a02c651ed4b99", "fafa5efeaf3cbe3b23b2748d13e629a1")
    assert (answer.file_ids, answer.body, answer.request_id) == (None, UPLOADED, "r-1")


@pytest.mark.parametrize(
    ("files", "want"),
    [(b"", None), (b"<files/>", ()), (b"<files><fileId> a </fileId>\n<fileId>12</fileId><x/></files>", ("a", "12"))],
)
def test_a_receipt_lists_its_files(files, want):
    assert parse_answer(DONE % files).file_ids == want


def test_a_reports_id_has_64_bits():
    assert parse_answer(OPENED.replace(b"7855771", str(2**63 - 1).encode())).report_id == 2**63 - 1
    with pytest.raises(Malformed, match="reportId"):
        parse_answer(OPENED.replace(b"7855771", str(2**63).encode()))


def test_the_documents_own_encoding_counts():
    latin = OPENED.replace(b"UTF-8", b"ISO-8859-1").replace(b"Success", "erledigt ü".encode("latin-1"))
    assert parse_answer(latin).description == "erledigt ü"
    assert parse_answer(OPENED.replace(b"Success", "erledigt ü".encode())).description == "erledigt ü"


def test_what_is_not_known_is_passed_over():
    more = OPENED.replace(
        b"<reportResponse>", b"<?go?><!-- a --><reportResponse><!-- b --><new><reportId>9</reportId></new>"
    )
    assert parse_answer(more).report_id == 7855771


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "answer"),
        (b" \r\n", "answer"),
        (b"not XML: secret", "answer"),
        (OPENED[:-20], "answer"),
        (b"<html><body>secret</body></html>", "answer"),
        (b"<reportResponse><responseDescription>secret</responseDescription></reportResponse>", "responseCode"),
        (OPENED.replace(b">0<", b">secret<"), "responseCode"),
        (OPENED.replace(b">0<", b">%d<" % 2**31), "responseCode"),
        (OPENED.replace(b">0<", b">1_0<"), "responseCode"),
        (OPENED.replace(b"7855771", "٧".encode()), "reportId"),
        (b"<!DOCTYPE a [<!ENTITY b 'secret'>]>" + OPENED[55:], "answer"),
        (OPENED.decode().replace("UTF-8", "UTF-16").encode("utf-16"), "answer"),
        (b'<?xml version="1.0" encoding="UTF-7"?>+ADwAIQ-DOCTYPE a+AD4-<reportResponse/>', "answer"),
        (OPENED + b" " * MAX_ANSWER_BYTES, "answer"),
    ],
)
def test_what_is_no_answer_is_refused_and_not_quoted(body, field):
    with pytest.raises(Malformed) as refused:
        parse_answer(body)
    assert refused.value.field == field
    assert "secret" not in str(refused.value)
    assert refused.value.__cause__ is None  # a parser's error quotes what it stumbled over


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200) | st.text(alphabet="<>/&;!?=\"' reportResponsCd09", max_size=80).map(str.encode))
def test_any_bytes_are_an_answer_or_malformed(body):
    with suppress(Malformed):
        parse_answer(body)


def test_an_answer_shows_neither_its_text_nor_its_md5():
    shown = repr(parse_answer(UPLOADED))
    assert "Success" not in shown
    assert "fafa" not in shown
