"""What the imitated CyberTipline takes and refuses beyond its schema: reports, details of files, batches."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from simulate.clients import UNKNOWN_ID, code
from simulate.documents import (
    BATCH,
    FULL_FILE,
    MAXIMAL_REPORT,
    REPORT,
    changed,
    details,
    nest,
    with_incident,
    with_person,
)

from hashmatch.simulate.state import FIRST_REPORT_ID, Clock, Stage

IP = "<ipCaptureEvent><ipAddress>{}</ipAddress></ipCaptureEvent>"
ZONELESS, FUTURE = "2026-01-01T00:00:00", "2099-01-01T00:00:00Z"
SEVEN, EIGHT, NINE = (f"2026-01-15T0{hour}:00:00Z" for hour in (7, 8, 9))
ESCALATION = "<escalateToHighPriority>x</escalateToHighPriority>"


def summary(inner):
    return changed(REPORT, "</incidentType>", "</incidentType>" + inner)


def incident(path, inner):
    return with_incident(nest(path, inner))


def police(inner):
    return changed(REPORT, "<reporter>", nest("lawEnforcement", inner) + "<reporter>")


def person(inner):
    return with_person(nest("personOrUserReportedPerson", inner))


def ip(address, more=""):
    return with_person(nest("ipCaptureEvent", nest("ipAddress", address) + more))


def device(id_type, value, more=""):
    return with_person(nest("deviceId", nest("idType", id_type) + nest("idValue", value) + more))


def location(inner):
    return with_person(nest("estimatedLocation", inner))


def account(inner):
    return with_person(f'<associatedAccount type="Other">{inner}</associatedAccount>')


def attributed(**values):
    return " ".join(f'{name}="{value}"' for name, value in values.items())


def disabled(**times):
    return with_person(f"<accountTemporarilyDisabled {attributed(**times)}>true</accountTemporarilyDisabled>")


def phone(text, **attributes):
    return person(f"<phone {attributed(**attributes)}>{text}</phone>")


def mailed(kind, address, owned="a@example.net"):
    return with_incident(nest(f"{kind}/emailAddress", address), suspect=nest("personOrUserReportedPerson/email", owned))


def batch(old, new):
    return changed(BATCH, old, new)


LENGTHS = {
    "platform": (256, lambda t: summary(nest("platform", t))),
    "escalateToHighPriority": (3000, lambda t: summary(nest("escalateToHighPriority", t))),
    "incidentDateTimeDescription": (
        3000,
        lambda t: changed(REPORT, "</incidentSummary>", nest("incidentDateTimeDescription", t) + "</incidentSummary>"),
    ),
    "newsgroup": (255, lambda t: incident("newsgroupIncident/name", t)),
    "chatClient": (255, lambda t: incident("chatImIncident/chatClient", t)),
    "chatRoomName": (255, lambda t: incident("chatImIncident/chatRoomName", t)),
    "gameName": (255, lambda t: incident("onlineGamingIncident/gameName", t)),
    "console": (255, lambda t: incident("onlineGamingIncident/console", t)),
    "locationName": (255, lambda t: incident("nonInternetIncident/locationName", t)),
    "incidentAddress": (255, lambda t: incident("nonInternetIncident/incidentAddress/address", t)),
    "client": (255, lambda t: incident("peer2peerIncident/client", t)),
    "phoneNumber": (50, lambda t: incident("cellPhoneIncident/phoneNumber", t)),
    "url": (2083, lambda t: incident("webPageIncident/url", "https://a/" + t[10:])),
    "agencyName": (255, lambda t: police(nest("agencyName", t))),
    "caseNumber": (100, lambda t: police(nest("agencyName", "a") + nest("caseNumber", t))),
    "legalURL": (
        2083,
        lambda t: changed(REPORT, "</reporter>", nest("legalURL", "https://a/" + t[10:]) + "</reporter>"),
    ),
    "vehicleDescription": (300, lambda t: with_person(nest("vehicleDescription", t))),
    "espIdentifier": (255, lambda t: with_person(nest("espIdentifier", t))),
    "espService": (100, lambda t: with_person(nest("espService", t))),
    "screenName": (256, lambda t: with_person(nest("screenName", t))),
    "displayName": (255, lambda t: with_person(nest("displayName", t))),
    "profileUrl": (2083, lambda t: with_person(nest("profileUrl", "https://a/" + t[10:]))),
    "groupIdentifier": (255, lambda t: with_person(nest("groupIdentifier", t))),
    "schoolName": (255, lambda t: with_person("<victimPerson/>" + nest("schoolName", t), "victim")),
    "idType": (255, lambda t: device(t, "0")),
    "idValue": (2083, lambda t: device("i", t)),
    "firstName": (100, lambda t: person(nest("firstName", t))),
    "lastName": (100, lambda t: person(nest("lastName", t))),
    "phone": (50, lambda t: phone(t)),
    "extension": (10, lambda t: phone("1", extension="1" * len(t))),
    "local part": (64, lambda t: person(nest("email", t + "@example.net"))),
    "email": (255, lambda t: person(nest("email", f"a@{t[6:]}.net"))),
    "address": (255, lambda t: person(nest("address/address", t))),
    "city": (100, lambda t: person(nest("address/city", t))),
    "zipCode": (20, lambda t: person(nest("address/zipCode", t))),
    "nonUsaState": (100, lambda t: person(nest("address/nonUsaState", t))),
    "located city": (255, lambda t: location(nest("city", t) + nest("countryCode", "DE"))),
    "located region": (255, lambda t: location(nest("region", t) + nest("countryCode", "DE"))),
    "account's platform": (256, lambda t: account(nest("platform", t))),
    "account's firstName": (256, lambda t: account(nest("firstName", t))),
    "account's middleName": (256, lambda t: account(nest("middleName", t))),
    "account's lastName": (256, lambda t: account(nest("lastName", t))),
}


@pytest.mark.parametrize(("limit", "document"), LENGTHS.values(), ids=LENGTHS)
def test_lengths_are_characters_and_inclusive(client, limit, document):
    assert code(client.submit(document("é" * limit))) == 0
    assert code(client.submit(document("é" * (limit + 1)))) == 4100


TAKEN = {
    "an IPv4 address": ip("192.0.2.1"),
    "an IPv6 address": ip("2001:db8::1"),
    "a mapped address": ip("::ffff:192.0.2.1"),
    "an offset": changed(REPORT, "08:00:00Z", "08:00:00.123456789+05:30"),
    "the highest port": ip("::1", nest("port", "65535")),
    "a verified phone": phone("1", verified="true", verificationDate=EIGHT),
    "a calling code": phone("30123", countryCallingCode="+49"),
    "a number with its own plus": phone("+4930123"),
    "notified at once": disabled(disabledDate=EIGHT, userNotifiedDate=EIGHT),
    "enabled again": disabled(disabledDate=EIGHT, reenabledDate=NINE),
    "to be enabled again": disabled(disabledDate=EIGHT, reenabledDate=FUTURE),
    "a US location": location("<city>Reno</city><region>NV</region><countryCode>US</countryCode>"),
    "a country": location("<countryCode>DE</countryCode>"),
    "the oldest": person("<age>150</age>"),
    "an approximate age": account("<approximateAge>0</approximateAge>"),
    "an e-mail that the suspect has": mailed("emailIncident", "A@example.net"),
    "the same in a newsgroup": mailed("newsgroupIncident", "a@example.net"),
    "many recipients": changed(REPORT, "</reporter>", "</reporter><intendedRecipient/><intendedRecipient/>"),
    "a batch": BATCH,
}

REFUSED = {
    "no e-mail of the reporter": changed(REPORT, "<email>ops@example.com</email>", ""),
    "an e-mail that is none": changed(REPORT, "ops@example.com", "ops@example"),
    "no local part": changed(REPORT, "ops@example.com", "@example.com"),
    "a time without a zone": changed(REPORT, "08:00:00Z", "08:00:00"),
    "a future incident": changed(REPORT, "2026-01-15", "2099-01-15"),
    "a time that no calendar has": changed(REPORT, "2026-01-15", "12026-01-15"),
    "a future login": ip("::1", nest("dateTime", FUTURE)),
    "a device's zoneless time": device("i", "0", nest("dateTime", ZONELESS)),
    "a future verification": phone("1", verified="true", verificationDate=FUTURE),
    "a zoneless attribute": disabled(disabledDate=ZONELESS),
    "a plan without a zone": disabled(reenabledDate=ZONELESS),
    "a future location": location("<countryCode>DE</countryCode>").replace(
        "<estimatedLocation>", f'<estimatedLocation timestamp="{FUTURE}">'
    ),
    "a blank escalation": summary(nest("escalateToHighPriority", " ")),
    "two suspects": batch('<batchedReport reason="VIRAL_POTENTIAL_MEME"/>', ""),
    "a URL with a space": incident("webPageIncident/url", "https://a.example/ b"),
    "a URL with a line end": incident("webPageIncident/url", "\nhttps://a.example/"),
    "a URL with a control character": incident("webPageIncident/url", "https://a.example/&#127;"),
    "no URL": incident("webPageIncident/url", "a.example"),
    "an empty URL": with_person("<profileUrl/>"),
    "a broken URL": with_person("<profileUrl>https://[a/</profileUrl>"),
    "a host for an address": ip("a.example"),
    "an address of one machine": ip("fe80::1%eth0"),
    "an address with a port": ip("192.0.2.1:80"),
    "port 0": ip("::1", nest("port", "0")),
    "port 65536": ip("::1", nest("port", "65536")),
    "a negative age": person("<age>-1</age>"),
    "an age beyond all": person("<age>151</age>"),
    "an approximate age beyond all": account("<approximateAge>151</approximateAge>"),
    "two ages": account("<approximateAge>9</approximateAge><dateOfBirth>2000-01-01</dateOfBirth>"),
    "verified when, but not": phone("1", verified="false", verificationDate=EIGHT),
    "verified when, but whether": phone("1", verificationDate=EIGHT),
    "two calling codes": phone("+4930123", countryCallingCode="+49"),
    "notified before": disabled(disabledDate=EIGHT, userNotifiedDate=SEVEN),
    "notified before, permanently": disabled(disabledDate=EIGHT, userNotifiedDate=SEVEN).replace(
        "Temporarily", "Permanently"
    ),
    "enabled no later": disabled(disabledDate=EIGHT, reenabledDate=EIGHT),
    "a location in no country": location("<city>Reno</city>"),
    "a location in the empty country": location("<city>Reno</city><countryCode/>"),
    "a US location without a city": location("<region>NV</region><countryCode>US</countryCode>"),
    "a US location without a region": location("<city>Reno</city><countryCode>US</countryCode>"),
    "a US region in full": location("<city>Reno</city><region>Nevada</region><countryCode>US</countryCode>"),
    "an e-mail of nobody": mailed("emailIncident", "b@example.net"),
    "the same in a newsgroup": mailed("newsgroupIncident", "b@example.net"),
    "a prior report of elsewhere": with_person("<priorCTReports>123</priorCTReports>"),
    "an account's prior report of elsewhere": account("<priorCTReport>123</priorCTReport>"),
    "a batch that escalates": batch("</incidentType>", "</incidentType>" + ESCALATION),
    "a batch with details": batch("<reporter>", nest("internetDetails/webPageIncident") + "<reporter>"),
    "a batch with police": batch("<reporter>", nest("lawEnforcement/agencyName", "a") + "<reporter>"),
    "a batch with a recipient": batch("</report>", "<intendedRecipient/></report>"),
    "a batch with a victim": batch("</report>", "<victim><victimPerson/></victim></report>"),
    "a batch with a note": batch("</report>", "<additionalInfo>x</additionalInfo></report>"),
    "a batch with a name": batch(">a</espIdentifier>", ">a</espIdentifier><screenName>n</screenName>"),
    "a batch with an unknown suspect": batch("<espIdentifier>a</espIdentifier>", ""),
}


@pytest.mark.parametrize("document", TAKEN.values(), ids=TAKEN)
def test_takes(client, document):
    assert code(client.submit(document)) == 0


@pytest.mark.parametrize("document", REFUSED.values(), ids=REFUSED)
def test_refuses(client, document):
    assert code(client.submit(document)) == 4100


def test_the_past_ends_before_now(own):
    at = datetime(2026, 1, 15, 8, tzinfo=UTC)
    clock = Clock(lambda: at)
    client = own(clock=clock)
    assert code(client.submit()) == 4100
    clock.advance(timedelta(microseconds=1))
    assert code(client.submit()) == 0


def test_a_report_may_refer_to_those_of_its_own_environment_only(own):
    client = own(known_reports=frozenset({123, 124}))
    assert code(client.submit(MAXIMAL_REPORT)) == 0
    finished, retracted, expired = client.opened(), client.opened(), client.opened()
    client.finish(finished)
    client.retract(retracted)
    client.tipline.clock.advance(timedelta(days=2))
    for report_id, expected in [(finished, 0), (retracted, 4100), (expired, 4100), (FIRST_REPORT_ID + 99, 4100)]:
        assert code(client.submit(with_person(f"<priorCTReports>{report_id}</priorCTReports>"))) == expected


# ── details of files ────────────────────────────────────────────────────────────────────────────────────────────────

SUPPLEMENTAL = nest("fileRelevance", "Supplemental Reported")

FILE_TAKEN = {
    "nothing": "",
    "all": FULL_FILE.partition("<fileId>ab</fileId>")[2].removesuffix("</fileDetails>"),
    "a supplemental file": SUPPLEMENTAL + nest("fileAnnotations", "<infant/>"),
    "both viewed": "<fileViewedByEsp>1</fileViewedByEsp><exifViewedByEsp>true</exifViewedByEsp>",
    "the longest name": f"<originalFileName>{'é' * 2056}</originalFileName>",
    "the longest hash type": f'<originalFileHash hashType="{"x" * 64}">00</originalFileHash>',
    "the longest detail": f"<details><nameValuePair><name>{'x' * 64}</name><value/></nameValuePair></details>",
}  # fmt: skip

FILE_REFUSED = {
    "EXIF viewed, and not the file": "<exifViewedByEsp>true</exifViewedByEsp>",
    "EXIF viewed, and the file not": "<fileViewedByEsp>false</fileViewedByEsp><exifViewedByEsp>1</exifViewedByEsp>",
    "a supplemental meme": SUPPLEMENTAL + nest("fileAnnotations", "<potentialMeme/>"),
    "a supplemental legacy meme": SUPPLEMENTAL + nest("potentialMeme", "true"),
    "a supplemental classification": SUPPLEMENTAL + nest("industryClassification", "A1"),
    "a future upload": "<uploadedToEspTimestamp>2099-01-01T00:00:00Z</uploadedToEspTimestamp>",
    "a zoneless upload": "<uploadedToEspTimestamp>2026-01-01T00:00:00</uploadedToEspTimestamp>",
    "a location that is no URL": "<locationOfFile>here</locationOfFile>",
    "a longer name": f"<originalFileName>{'é' * 2057}</originalFileName>",
    "a longer hash type": f'<originalFileHash hashType="{"x" * 65}">00</originalFileHash>',
    "a longer detail": f"<details><nameValuePair><name>{'x' * 65}</name><value/></nameValuePair></details>",
    "two addresses": IP.format("::1") * 2,
    "the wrong order": "<publiclyAvailable>true</publiclyAvailable><fileViewedByEsp>true</fileViewedByEsp>",
}  # fmt: skip


@pytest.mark.parametrize("inner", FILE_TAKEN.values(), ids=FILE_TAKEN)
def test_takes_details(client, open_report, inner):
    assert code(client.fileinfo(details(open_report, client.uploaded(open_report), inner))) == 0


@pytest.mark.parametrize("inner", FILE_REFUSED.values(), ids=FILE_REFUSED)
def test_refuses_details(client, open_report, inner):
    assert code(client.fileinfo(details(open_report, client.uploaded(open_report), inner))) == 4100


def test_details_want_a_file_of_that_report(client):
    one, other = client.opened(), client.opened()
    file_id = client.uploaded(one)
    assert code(client.fileinfo(details(UNKNOWN_ID, file_id))) == 5001
    assert code(client.fileinfo(details(other, file_id))) == 5002
    assert code(client.fileinfo(details(one, "0" * 32))) == 5002
    assert code(client.fileinfo(REPORT)) == 4100


@pytest.mark.parametrize("second", [1300, 4100, 0])
def test_second_details_are_as_the_settings_say(own, second):
    client = own(second_fileinfo=second)
    report_id = client.opened()
    file_id = client.uploaded(report_id)
    assert [code(client.fileinfo(details(report_id, file_id))) for _ in range(2)] == [0, second]
    assert len(client.tipline.reports[report_id].files[0].details) == (1 if second else 2)


# ── batches ─────────────────────────────────────────────────────────────────────────────────────────────────────────

MEME = "<fileAnnotations><viral/><potentialMeme/></fileAnnotations>"


@pytest.mark.parametrize(
    "inner",
    [
        MEME,
        "<fileAnnotations><viral/></fileAnnotations>",
        "<potentialMeme>true</potentialMeme>",
        "<fileViewedByEsp>true</fileViewedByEsp><fileRelevance>Reported</fileRelevance>"
        + MEME
        + "<industryClassification>A2</industryClassification>",
    ],
)
def test_a_batch_is_finished_with_one_annotated_file(client, inner):
    report_id = client.opened(BATCH)
    assert client.tipline.reports[report_id].batched
    assert code(client.fileinfo(details(report_id, client.uploaded(report_id), inner))) == 0
    assert code(client.finish(report_id)) == 0


def test_a_batch_is_finished_without_a_file(client):
    assert code(client.finish(client.opened(BATCH))) == 0


@pytest.mark.parametrize(
    "inner",
    [
        "",
        "<fileAnnotations/>",
        "<potentialMeme>false</potentialMeme>",
        "<fileAnnotations><infant/></fileAnnotations>",
        "<fileAnnotations><viral/><infant/></fileAnnotations>",
        "<originalFileName>a</originalFileName>" + MEME,
        "<locationOfFile>https://x/</locationOfFile>" + MEME,
        SUPPLEMENTAL + nest("fileAnnotations", "<viral/>"),
        MEME + '<originalFileHash hashType="MD5">00</originalFileHash>',
        MEME + IP.format("::1"),
        MEME + "<deviceId><idType>i</idType><idValue>0</idValue></deviceId>",
        MEME + "<details><nameValuePair><name>n</name><value>v</value></nameValuePair></details>",
        MEME + "<additionalInfo>x</additionalInfo>",
    ],
)
def test_a_batch_refuses_other_details(client, inner):
    report_id = client.opened(BATCH)
    assert code(client.fileinfo(details(report_id, client.uploaded(report_id), inner))) == 4100


def test_a_batch_of_two_files_can_only_be_retracted(client):
    report_id = client.opened(BATCH)
    for _ in range(2):
        assert code(client.fileinfo(details(report_id, client.uploaded(report_id), MEME))) == 0
    refused = client.finish(report_id)
    assert (refused.status_code, code(refused)) == (400, 4100)
    assert client.tipline.reports[report_id].stage is Stage.OPEN
    assert code(client.retract(report_id)) == 0


def test_a_batch_is_not_finished_with_a_file_that_nobody_annotated(client):
    report_id = client.opened(BATCH)
    file_id = client.uploaded(report_id)
    refused = client.finish(report_id)
    assert (refused.status_code, code(refused)) == (400, 4100)
    client.fileinfo(details(report_id, file_id, MEME))
    assert code(client.finish(report_id)) == 0
