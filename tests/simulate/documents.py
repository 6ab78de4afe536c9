"""CyberTipline documents with made-up values: the documentation's minimal and maximal ones, and ways to change them."""

from __future__ import annotations

from lxml import etree

CP = "Child Pornography (possession, manufacture, and distribution)"

REPORT = (
    f"<report><incidentSummary><incidentType>{CP}</incidentType><incidentDateTime>2026-01-15T08:00:00Z"
    "</incidentDateTime></incidentSummary><reporter><reportingPerson><email>ops@example.com</email></reportingPerson>"
    "</reporter></report>"
)
FILE = "<fileDetails><reportId>1</reportId><fileId>ab</fileId></fileDetails>"

MAXIMAL_REPORT = """<report>
<incidentSummary><incidentType>Online Enticement of Children for Sexual Acts</incidentType>
<platform>ExampleApp</platform><escalateToHighPriority>Stream still live at submission</escalateToHighPriority>
<reportAnnotations><sextortion/></reportAnnotations><incidentDateTime>2026-01-15T08:00:00Z</incidentDateTime>
<incidentDateTimeDescription>first segment hit</incidentDateTimeDescription></incidentSummary>
<internetDetails><webPageIncident thirdPartyHostedContent="false"><url>https://app.example/live/1</url>
<additionalInfo>live room</additionalInfo></webPageIncident></internetDetails>
<internetDetails><chatImIncident><chatClient>ExampleApp DM</chatClient><content>see attached csv</content>
</chatImIncident></internetDetails>
<lawEnforcement><agencyName>Example PD</agencyName><caseNumber>C-1</caseNumber>
<officerContact><lastName>Doe</lastName><phone type="Work" countryCallingCode="+1">2025550100</phone></officerContact>
<reportedToLe>true</reportedToLe><servedLegalProcessDomestic>false</servedLegalProcessDomestic>
<servedLegalProcessInternational fleaCountry="GB">true</servedLegalProcessInternational></lawEnforcement>
<reporter><reportingPerson><firstName>Trust</firstName><lastName>Desk</lastName>
<email type="Work">ts@example.com</email></reportingPerson>
<contactPerson><email>legal@example.com</email></contactPerson>
<companyTemplate>24h phone +1 202 555 0101</companyTemplate><termsOfService>no CSAM</termsOfService>
<legalURL>https://app.example/legal</legalURL></reporter>
<personOrUserReported><personOrUserReportedPerson>
<email verified="true" verificationDate="2026-01-02T00:00:00Z">x@example.net</email></personOrUserReportedPerson>
<espIdentifier>u-77</espIdentifier><espService>Live</espService><compromisedAccount>false</compromisedAccount>
<screenName>name77</screenName><displayName>Name</displayName><profileUrl>https://app.example/u/77</profileUrl>
<profileBio>bio</profileBio><ipCaptureEvent><ipAddress>2001:db8::1</ipAddress><eventName>Upload</eventName>
<dateTime>2026-01-15T07:59:58Z</dateTime><possibleProxy>false</possibleProxy><port>50123</port></ipCaptureEvent>
<deviceId><idType>IMEI</idType><idValue>0</idValue><eventName>Login</eventName></deviceId>
<thirdPartyUserReported>false</thirdPartyUserReported><priorCTReports>123</priorCTReports>
<groupIdentifier>g-1</groupIdentifier>
<accountTemporarilyDisabled disabledDate="2026-01-15T08:00:01Z" userNotified="false">true</accountTemporarilyDisabled>
<estimatedLocation verified="false" timestamp="2026-01-15T08:00:00Z"><city>Reno</city><region>NV</region>
<countryCode>US</countryCode></estimatedLocation><allEmailsReported>true</allEmailsReported>
<associatedAccount type="Linked"><platform thirdPartyUser="true">OtherApp</platform><screenName>alt</screenName>
<priorCTReport>124</priorCTReport></associatedAccount><additionalInfo>n</additionalInfo></personOrUserReported>
<intendedRecipient><espIdentifier>u-78</espIdentifier></intendedRecipient>
<victim><victimPerson><age>14</age></victimPerson><espIdentifier>u-79</espIdentifier><schoolName>S</schoolName></victim>
<additionalInfo>free text</additionalInfo></report>"""

FULL_FILE = """<fileDetails><reportId>1</reportId><fileId>ab</fileId><originalFileName>a.jpg</originalFileName>
<uploadedToEspTimestamp>2026-01-15T08:00:00Z</uploadedToEspTimestamp><locationOfFile>https://x/</locationOfFile>
<fileViewedByEsp>true</fileViewedByEsp><exifViewedByEsp>false</exifViewedByEsp>
<publiclyAvailable>true</publiclyAvailable><fileRelevance>Reported</fileRelevance>
<fileAnnotations><viral/><generativeAi/></fileAnnotations><industryClassification>B2</industryClassification>
<originalFileHash hashType="MD5">00</originalFileHash><originalFileHash hashType="PDQ">ff</originalFileHash>
<ipCaptureEvent><ipAddress>::1</ipAddress></ipCaptureEvent>
<deviceId><idType>IMEI</idType><idValue>1</idValue></deviceId>
<details type="HASH"><nameValuePair><name>n</name><value>v</value></nameValuePair></details>
<additionalInfo>x</additionalInfo></fileDetails>"""

BATCH = REPORT.replace("<report>", '<report><batchedReport reason="VIRAL_POTENTIAL_MEME"/>').replace(
    "</reporter>",
    "</reporter><personOrUserReported><espIdentifier>a</espIdentifier></personOrUserReported>"
    "<personOrUserReported><espIdentifier>b</espIdentifier></personOrUserReported>",
)


def changed(document: str, old: str, new: str) -> str:
    """The document with one place changed, which must be there exactly once."""
    assert document.count(old) == 1, old
    return document.replace(old, new)


def with_person(inner: str, tag: str = "personOrUserReported") -> str:
    """The minimal report with one suspect, recipient or victim."""
    return changed(REPORT, "</reporter>", f"</reporter><{tag}>{inner}</{tag}>")


def with_incident(inner: str, suspect: str = "") -> str:
    """The minimal report with internet details."""
    document = with_person(suspect) if suspect else REPORT
    return changed(document, "<reporter>", f"<internetDetails>{inner}</internetDetails><reporter>")


def nest(path: str, inner: str = "") -> str:
    """Elements within each other, by their tags from the outside in."""
    for tag in reversed(path.split("/")):
        inner = f"<{tag}>{inner}</{tag}>"
    return inner


def details(report_id: int, file_id: str, inner: str = "") -> str:
    """Details of one file."""
    return f"<fileDetails><reportId>{report_id}</reportId><fileId>{file_id}</fileId>{inner}</fileDetails>"


def read(document: str) -> etree._Element:
    return etree.fromstring(document.encode())
