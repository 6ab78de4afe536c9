"""Whether the imitated CyberTipline takes a document: first the schema, then single values, then what hangs together.

Written from the documentation of the Reporting API, on purpose apart from the code that writes our reports.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import cache
from importlib.resources import files

from lxml import etree

from hashmatch.simulate import limits
from hashmatch.simulate.answers import Code, Declined
from hashmatch.simulate.limits import text, unfit

NOT_IN_BATCHES = (
    "incidentSummary/escalateToHighPriority",
    "internetDetails",
    "lawEnforcement",
    "intendedRecipient",
    "victim",
    "additionalInfo",
)
NOT_IN_BATCHED_FILES = (
    "originalFileName",
    "locationOfFile",
    "originalFileHash",
    "ipCaptureEvent",
    "deviceId",
    "details",
    "additionalInfo",
)
VIRAL = frozenset({"viral", "potentialMeme"})


@cache
def schema_text() -> bytes:
    """The schema as /xsd hands it out. Only data is taken from where it lies; none of the code beside it is loaded."""
    return (files("hashmatch.delivery") / "cybertip" / "ispws.xsd").read_bytes()


@cache
def _us_states() -> frozenset[str]:
    schema = etree.fromstring(schema_text())
    patterns = schema.iterfind("{*}simpleType[@name='state']/{*}restriction/{*}pattern")
    return frozenset(state for pattern in patterns for state in pattern.get("value", "").split("|"))


def report(xml: bytes, *, now: datetime, knows: Callable[[int], bool]) -> bool:
    """Check the body of /submit; says whether the report is batched.

    Args:
        knows: whether an id is that of an earlier report of this environment.

    Raises:
        Declined: 4110 for what is not XML, else 4100.
    """
    root = _valid(xml, "report")
    limits.check(root, now)
    if root.find("reporter/reportingPerson/email") is None:
        raise Declined(Code.VALIDATION_FAILED, "report/reporter/reportingPerson: an e-mail address is required")
    batched = root.find("batchedReport") is not None
    if batched:
        _check_batch(root)
    elif len(suspects := root.findall("personOrUserReported")) > 1:
        raise unfit(suspects[1], "more than one, and the report is not batched")
    _check_email_incidents(root)
    for prior in root.iter("priorCTReports", "priorCTReport"):
        if not knows(int(text(prior))):
            raise unfit(prior, "no report of this environment")
    for location in root.iter("estimatedLocation"):
        _check_location(location)
    for account in root.iter("associatedAccount"):
        if account.find("approximateAge") is not None and account.find("dateOfBirth") is not None:
            raise unfit(account, "approximateAge and dateOfBirth exclude each other")
    for disabled in root.iter("accountTemporarilyDisabled", "accountPermanentlyDisabled"):
        _check_disabled(disabled)
    return batched


def file_details(xml: bytes, *, now: datetime, batched: Callable[[int], bool]) -> tuple[int, str, bool]:
    """Check the body of /fileinfo; returns the report's id, the file's id, and whether the file is said to be viral.

    Args:
        batched: whether the report of an id is a batched one.

    Raises:
        Declined: 4110 for what is not XML, else 4100.
    """
    root = _valid(xml, "fileDetails")
    limits.check(root, now)
    if _true(root, "exifViewedByEsp") and not _true(root, "fileViewedByEsp"):
        raise Declined(Code.VALIDATION_FAILED, "fileDetails/exifViewedByEsp: true, and fileViewedByEsp is not")
    annotations = {str(one.tag) for one in root.iterfind("fileAnnotations/*")}
    if _true(root, "potentialMeme"):
        annotations.add("potentialMeme")
    if root.findtext("fileRelevance") == "Supplemental Reported":
        if "potentialMeme" in annotations:
            raise Declined(Code.VALIDATION_FAILED, "fileDetails: a supplemental file cannot be a potential meme")
        if root.find("industryClassification") is not None:
            raise Declined(Code.VALIDATION_FAILED, "fileDetails: a supplemental file cannot have a classification")
    report_id = int(root.findtext("reportId", ""))
    if batched(report_id):
        _check_batched_file(root, annotations)
    return report_id, root.findtext("fileId", "").strip(), bool(annotations & VIRAL)


# ── the schema ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _valid(xml: bytes, root_tag: str) -> etree._Element:
    # Bytes, so that the prolog says the encoding; no entities, no DTD, nothing fetched.
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True)
    try:
        root = etree.fromstring(xml, parser)
    except (etree.XMLSyntaxError, ValueError) as e:
        raise Declined(Code.MALFORMED_XML, "Malformed XML") from e
    if root.getroottree().docinfo.doctype:  # type: ignore[union-attr]  # it was parsed, so it has one
        raise Declined(Code.MALFORMED_XML, "Malformed XML: a DOCTYPE is not accepted")
    # Compiled each time: a schema object keeps its errors, so threads cannot share one.
    schema = etree.XMLSchema(etree.fromstring(schema_text()))
    if not schema.validate(root):
        # Not libxml2's own words: those quote what the element holds.
        first = schema.error_log[0]  # type: ignore[index]  # the stub knows nothing of it
        raise Declined(Code.VALIDATION_FAILED, f"Validation failed: {first.path} ({first.type_name})")
    if root.tag != root_tag:
        raise Declined(Code.VALIDATION_FAILED, f"Validation failed: the root must be {root_tag}")
    return root


# ── what hangs together ─────────────────────────────────────────────────────────────────────────────────────────────


def _check_batch(root: etree._Element) -> None:
    """Appendix E: many suspects, each known by its id alone, and nothing that is of one incident only."""
    for forbidden in NOT_IN_BATCHES:
        found = root.find(forbidden)
        if found is not None:
            raise unfit(found, "not allowed in a batched report")
    for suspect in root.iterfind("personOrUserReported"):
        if [child.tag for child in suspect] != ["espIdentifier"]:
            raise unfit(suspect, "must hold espIdentifier alone in a batched report")


def _check_batched_file(root: etree._Element, annotations: set[str]) -> None:
    for forbidden in NOT_IN_BATCHED_FILES:
        found = root.find(forbidden)
        if found is not None:
            raise unfit(found, "not allowed in a batched report")
    if root.findtext("fileRelevance", "Reported") != "Reported":
        raise Declined(Code.VALIDATION_FAILED, "fileDetails/fileRelevance: must be Reported in a batched report")
    if not annotations or not annotations <= VIRAL:
        raise Declined(Code.VALIDATION_FAILED, "fileDetails: annotate as viral or potentialMeme, and as nothing else")


def _check_email_incidents(root: etree._Element) -> None:
    people = "personOrUserReported/personOrUserReportedPerson", "intendedRecipient/intendedRecipientPerson"
    theirs = {
        text(email).casefold()
        for person in (*people, "victim/victimPerson")
        for email in root.iterfind(f"{person}/email")
    }
    for incident in ("emailIncident", "newsgroupIncident"):
        for email in root.iterfind(f"internetDetails/{incident}/emailAddress"):
            if text(email).casefold() not in theirs:
                raise unfit(email, "not an e-mail address of anybody in the report")


def _check_location(location: etree._Element) -> None:
    country = location.findtext("countryCode", "")
    if not country:
        raise unfit(location, "countryCode is required")
    if country == "US":
        if location.findtext("region", "") not in _us_states():
            raise unfit(location, "in the US the region must be a postal abbreviation")
        if not location.findtext("city", "").strip():
            raise unfit(location, "in the US a city is required")


def _check_disabled(disabled: etree._Element) -> None:
    # Every time has been seen to have its zone.
    since, notified, again = (
        limits.moment(disabled.get(name, "")) for name in ("disabledDate", "userNotifiedDate", "reenabledDate")
    )
    if since is not None and notified is not None and notified < since:
        raise unfit(disabled, "userNotifiedDate is before disabledDate")
    if since is not None and again is not None and again <= since:
        raise unfit(disabled, "reenabledDate is not after disabledDate")


def _true(root: etree._Element, tag: str) -> bool:
    return root.findtext(tag, "").strip() in ("true", "1")
