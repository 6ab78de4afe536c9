"""ispws.xsd: what the service's schema is known to take and to refuse, and what it leaves to the service's rules."""

from __future__ import annotations

import copy
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree
from simulate.documents import (
    BATCH,
    CP,
    FILE,
    FULL_FILE,
    MAXIMAL_REPORT,
    REPORT,
    changed,
    read,
    with_incident,
    with_person,
)

SCHEMA = etree.XMLSchema(etree.fromstring((files("hashmatch.delivery") / "cybertip" / "ispws.xsd").read_bytes()))

VALID = {
    "minimal report": REPORT,
    "minimal file": FILE,
    "maximal report": MAXIMAL_REPORT,
    "full file": FULL_FILE,
    "batch": BATCH,
    "schema location": changed(
        REPORT,
        "<report>",
        '<report xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
        'xsi:noNamespaceSchemaLocation="https://report.cybertip.org/ispws/xsd">',
    ),
    "annotation in words": changed(MAXIMAL_REPORT, "<sextortion/>", "<spam>true</spam><sextortion/>"),
    "victim of whom nothing is known": with_person("<victimPerson/>", "victim"),
    "legacy meme": changed(FILE, "</fileDetails>", "<potentialMeme>true</potentialMeme></fileDetails>"),
    "recipient's many notes": with_person("<additionalInfo/><additionalInfo/>", "intendedRecipient"),
    "pseudo country": with_person("<estimatedLocation><countryCode>A1</countryCode></estimatedLocation>"),
    "no country": with_person(
        "<personOrUserReportedPerson><address><state>DC</state><country/></address></personOrUserReportedPerson>"
    ),
    "submitted": (
        "<reportResponse><responseCode>0</responseCode><responseDescription>Success</responseDescription>"
        "<reportId>7855771</reportId></reportResponse>"
    ),
    "uploaded": (
        "<reportResponse><responseCode>0</responseCode><responseDescription>Success</responseDescription>"
        "<reportId>9223372036854775807</reportId><fileId>0a</fileId><hash>0b</hash></reportResponse>"
    ),
    "finished": (
        "<reportDoneResponse><responseCode>0</responseCode><reportId>1</reportId>"
        "<files><fileId>ab</fileId><fileId>cd</fileId></files></reportDoneResponse>"
    ),
    "finished without files": (
        "<reportDoneResponse><responseCode>0</responseCode><reportId>1</reportId><files/></reportDoneResponse>"
    ),
    # What only the service refuses:
    "no e-mail of the reporter": changed(REPORT, "<email>ops@example.com</email>", ""),
    "no zone": changed(REPORT, "08:00:00Z", "08:00:00"),
    "two suspects, not batched": changed(
        BATCH, '<batchedReport reason="VIRAL_POTENTIAL_MEME"/>', ""
    ),
    "over-long strings": changed(MAXIMAL_REPORT, "ExampleApp</platform>", "x" * 257 + "</platform>"),
    "future date": changed(REPORT, "2026-01-15", "2099-01-15"),
}  # fmt: skip

INVALID = {
    "annotation that is false": changed(MAXIMAL_REPORT, "<sextortion/>", "<sextortion>false</sextortion>"),
    "escalation after the time": changed(
        REPORT, "</incidentDateTime>", "</incidentDateTime><escalateToHighPriority>x</escalateToHighPriority>"
    ),
    "third party as an element": with_incident(
        "<webPageIncident><thirdPartyHostedContent>true</thirdPartyHostedContent></webPageIncident>"
    ),
    "victim without a person": with_person("<espIdentifier>u</espIdentifier>", "victim"),
    "two addresses of a file": changed(
        FULL_FILE, "</ipCaptureEvent>", "</ipCaptureEvent><ipCaptureEvent><ipAddress>::1</ipAddress></ipCaptureEvent>"
    ),
    "both kinds of meme": changed(
        FILE, "</fileDetails>", "<potentialMeme>true</potentialMeme><fileAnnotations/></fileDetails>"
    ),
    "finished without an id": (
        "<reportDoneResponse><responseCode>0</responseCode><files/></reportDoneResponse>"
    ),
    "misspelt incident": changed(MAXIMAL_REPORT, "for Sexual Acts", "for Sexual Act"),
    "no incident type": changed(REPORT, f"<incidentType>{CP}</incidentType>", ""),
    "no reporter": REPORT[: REPORT.index("<reporter>")] + "</report>",
    "two incidents in one": with_incident("<webPageIncident/><emailIncident/>"),
    "no incident": with_incident(""),
    "batched for another reason": changed(BATCH, "VIRAL_POTENTIAL_MEME", "SPAM"),
    "batched for no reason": changed(BATCH, ' reason="VIRAL_POTENTIAL_MEME"', ""),
    "livestream incident": with_incident("<livestreamIncident/>"),
    "account of no type": with_person("<associatedAccount/>"),
    "account of the documented type": with_person('<associatedAccount accountType="Linked"/>'),
    "recipient with accounts": with_person('<associatedAccount type="Linked"/>', "intendedRecipient"),
    "suspect with two notes": with_person("<additionalInfo>a</additionalInfo><additionalInfo>b</additionalInfo>"),
    "prior report in the singular": with_person("<priorCTReports>1</priorCTReports><priorCTReport>2</priorCTReport>"),
    "permanently disabled until": with_person(
        '<accountPermanentlyDisabled reenabledDate="2026-01-15T08:00:00Z">true</accountPermanentlyDisabled>'
    ),
    "device without a value": with_person("<deviceId><idType>IMEI</idType></deviceId>"),
    "event of another name": with_person(
        "<ipCaptureEvent><ipAddress>::1</ipAddress><eventName>Share</eventName></ipCaptureEvent>"
    ),
    "state of nowhere": with_person(
        "<personOrUserReportedPerson><address><state>ZZ</state></address></personOrUserReportedPerson>"
    ),
    "country of nowhere": with_person("<estimatedLocation><countryCode>UK</countryCode></estimatedLocation>"),
    "calling code without a plus": changed(MAXIMAL_REPORT, 'countryCallingCode="+1"', 'countryCallingCode="1"'),
    "lower-case classification": changed(FULL_FILE, ">B2<", ">b2<"),
    "hash of no type": changed(FULL_FILE, ' hashType="PDQ"', ""),
    "details of nothing": changed(FULL_FILE, "<nameValuePair><name>n</name><value>v</value></nameValuePair>", ""),
    "file annotation with text": changed(FULL_FILE, "<viral/>", "<viral>true</viral>"),
    "file without an id": changed(FILE, "<fileId>ab</fileId>", ""),
    "report id in words": changed(FILE, "<reportId>1<", "<reportId>one<"),
    "report id beyond 64 bits": changed(FILE, "<reportId>1<", "<reportId>9223372036854775808<"),
    "unknown root": "<reports/>",
    "foreign namespace": changed(REPORT, "<report>", '<report xmlns="https://report.cybertip.org/ispws">'),
}  # fmt: skip


@pytest.mark.parametrize("document", VALID.values(), ids=VALID)
def test_takes(document):
    SCHEMA.assertValid(read(document))


@pytest.mark.parametrize("document", INVALID.values(), ids=INVALID)
def test_refuses(document):
    assert not SCHEMA.validate(read(document))


@pytest.mark.parametrize(
    "incident",
    [
        "Child Pornography (possession, manufacture, and distribution)",
        "Child Sex Trafficking",
        "Child Sex Tourism",
        "Child Sexual Molestation",
        "Misleading Domain Name",
        "Misleading Words or Digital Images on the Internet",
        "Online Enticement of Children for Sexual Acts",
        "Unsolicited Obscene Material Sent to a Child",
    ],
)
def test_takes_every_incident_type(incident):
    SCHEMA.assertValid(read(changed(MAXIMAL_REPORT, "Online Enticement of Children for Sexual Acts", incident)))


@pytest.mark.parametrize(
    ("name", "inner"),
    [
        ("webPageIncident", "<url>https://a.example/</url><url>https://b.example/</url><additionalInfo/>"),
        ("emailIncident", "<emailAddress type='Home'>a@example.net</emailAddress><content/><additionalInfo/>"),
        ("newsgroupIncident", "<name>n</name><emailAddress>a@example.net</emailAddress><content/><additionalInfo/>"),
        ("chatImIncident", "<chatClient/><chatRoomName/><content/><additionalInfo/>"),
        ("onlineGamingIncident", "<gameName/><console/><content/><additionalInfo/>"),
        ("cellPhoneIncident", "<phoneNumber>1</phoneNumber><latitude>1.5</latitude><longitude>-2</longitude>"),
        ("nonInternetIncident", "<locationName/><incidentAddress type='Home'/><incidentAddress/><additionalInfo/>"),
        ("peer2peerIncident", "<client/><ipCaptureEvent><ipAddress>::1</ipAddress></ipCaptureEvent><fileNames/>"),
    ],
)
def test_knows_every_place_an_incident_can_be_in(name, inner):
    SCHEMA.assertValid(read(with_incident(f"<{name}>{inner}</{name}>")))


UNORDERED = {"reportAnnotations", "fileAnnotations"}
SWAPPABLE = [
    (document, number, place)
    for document in (MAXIMAL_REPORT, FULL_FILE)
    for number, parent in enumerate(read(document).iter(etree.Element))
    if parent.tag not in UNORDERED
    for place in range(len(parent) - 1)
    if parent[place].tag != parent[place + 1].tag
]


@pytest.mark.parametrize(("document", "number", "place"), SWAPPABLE)
def test_order_is_significant_everywhere(document, number, place):
    root = read(document)
    parent = list(root.iter(etree.Element))[number]
    parent.insert(place, parent[place + 1])
    assert not SCHEMA.validate(root)


@given(
    st.permutations(
        ["sextortion", "csamSolicitation", "minorToMinorInteraction", "spam", "sadisticOnlineExploitation"]
    ),
    st.data(),
)
def test_annotations_come_in_any_order(names, data):
    chosen = data.draw(st.lists(st.sampled_from(names), unique=True))
    inner = "".join(f"<{name}/>" for name in chosen)
    assert SCHEMA.validate(read(changed(MAXIMAL_REPORT, "<sextortion/>", inner)))
    if chosen:
        assert not SCHEMA.validate(read(changed(MAXIMAL_REPORT, "<sextortion/>", inner + f"<{chosen[0]}/>")))


@given(st.data())
def test_refuses_a_stranger_wherever_it_stands(data):
    root = copy.deepcopy(read(data.draw(st.sampled_from([MAXIMAL_REPORT, FULL_FILE]))))
    parent = data.draw(st.sampled_from(list(root.iter(etree.Element))))
    parent.insert(data.draw(st.integers(0, len(parent))), etree.Element("stranger"))
    assert not SCHEMA.validate(root)
