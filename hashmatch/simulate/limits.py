"""What the imitated CyberTipline demands of single values beyond the schema, whatever document they stand in.

Lengths are characters. Times must have a zone and be past. From the documentation of the Reporting API.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from ipaddress import ip_address
from urllib.parse import urlsplit

from lxml import etree

from hashmatch.simulate.answers import Code, Declined

URLS = frozenset({"url", "legalURL", "profileUrl", "locationOfFile"})
EMAILS = frozenset({"email", "emailAddress"})
PHONES = frozenset({"phone", "phoneNumber"})
AGES = frozenset({"age", "approximateAge"})
TIMES = frozenset({"incidentDateTime", "dateTime", "uploadedToEspTimestamp"})
TIME_ATTRIBUTES = ("verificationDate", "timestamp", "disabledDate", "userNotifiedDate", "reenabledDate")
PLANNED = "reenabledDate"  # not an event: when a suspension is to end may lie ahead

MAX_URL = 2083
MAX_EMAIL = 255
MAX_PHONE = 50
MAX_EXTENSION = 10
MAX_HASH_TYPE = 64
MAX_AGE = 150  # years
MAX_PORT = 65535

LENGTHS: Mapping[str, int] = {
    "platform": 256,
    "escalateToHighPriority": 3000,
    "incidentDateTimeDescription": 3000,
    "newsgroupIncident/name": 255,
    "chatClient": 255,
    "chatRoomName": 255,
    "gameName": 255,
    "console": 255,
    "locationName": 255,
    "client": 255,
    "agencyName": 255,
    "caseNumber": 100,
    "vehicleDescription": 300,
    "espIdentifier": 255,
    "espService": 100,
    "screenName": 256,
    "displayName": 255,
    "groupIdentifier": 255,
    "schoolName": 255,
    "firstName": 100,
    "lastName": 100,
    "associatedAccount/firstName": 256,
    "associatedAccount/middleName": 256,
    "associatedAccount/lastName": 256,
    "idType": 255,
    "idValue": 2083,
    "address/address": 255,
    "incidentAddress/address": 255,
    "city": 100,
    "estimatedLocation/city": 255,
    "region": 255,
    "zipCode": 20,
    "nonUsaState": 100,
    "originalFileName": 2056,
    "nameValuePair/name": 64,
    **dict.fromkeys(URLS, MAX_URL),
    **dict.fromkeys(EMAILS, MAX_EMAIL),
    **dict.fromkeys(PHONES, MAX_PHONE),
}
"""Most characters, by "parent/tag" and else by tag."""

_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s.]+(\.[^@\s.]+)+")
_UNFIT_FOR_URL = re.compile(r"[\s\x00-\x1f\x7f]")


def check(root: etree._Element, now: datetime) -> None:
    """Decline the first value of a schema-valid document that the service would not take."""
    for element in root.iter(etree.Element):
        _check_length(element)
        _check_format(element)
        _check_times(element, now)


def path(element: etree._Element) -> str:
    """Where an element stands, such as "report/reporter/legalURL"; names only."""
    return "/".join([*(str(above.tag) for above in reversed(list(element.iterancestors()))), str(element.tag)])


def text(element: etree._Element) -> str:
    """The element's text as it came; "" where there is none."""
    return element.text or ""


def moment(value: str) -> datetime | None:
    """An xs:dateTime with a zone, or None where it has none or cannot be compared with any time."""
    try:
        at = datetime.fromisoformat(value.strip())
    except ValueError:  # such as year 12026 or 24:00:00, which the schema knows and calendars do not
        return None
    return None if at.tzinfo is None else at


def unfit(element: etree._Element, why: str) -> Declined:
    """The refusal that names this element."""
    return Declined(Code.VALIDATION_FAILED, f"{path(element)}: {why}")


def _check_length(element: etree._Element) -> None:
    parent = element.getparent()
    limit = LENGTHS.get(str(element.tag))
    if parent is not None:
        limit = LENGTHS.get(f"{parent.tag}/{element.tag}", limit)
    if limit is not None and len(text(element)) > limit:
        raise unfit(element, f"longer than {limit} characters")


def _check_format(element: etree._Element) -> None:
    tag, value = str(element.tag), text(element)
    if tag in URLS and not _is_url(value):
        raise unfit(element, "not a valid URL")
    if tag in EMAILS and not _EMAIL.fullmatch(value):
        raise unfit(element, "not a valid e-mail address")
    if tag in PHONES:
        _check_phone(element)
    if tag in AGES and not 0 <= int(value) <= MAX_AGE:
        raise unfit(element, f"not between 0 and {MAX_AGE}")
    if tag == "port" and not 1 <= int(value) <= MAX_PORT:
        raise unfit(element, f"not between 1 and {MAX_PORT}")
    if tag == "ipAddress" and not _is_ip(value):
        raise unfit(element, "not an IP address")
    if tag == "escalateToHighPriority" and not value.strip():
        raise unfit(element, "blank")
    if len(element.get("hashType", "")) > MAX_HASH_TYPE:
        raise unfit(element, f"hashType is longer than {MAX_HASH_TYPE} characters")


def _check_phone(element: etree._Element) -> None:
    if len(element.get("extension", "")) > MAX_EXTENSION:
        raise unfit(element, f"extension is longer than {MAX_EXTENSION} digits")
    if element.get("countryCallingCode") is not None and text(element).lstrip().startswith("+"):
        raise unfit(element, "the number repeats the country calling code")
    if element.get("verificationDate") is not None and element.get("verified", "") not in ("true", "1"):
        raise unfit(element, "a verificationDate needs verified to be true")


def _check_times(element: etree._Element, now: datetime) -> None:
    if element.tag in TIMES:
        _check_time(element, text(element), str(element.tag), now)
    for name in TIME_ATTRIBUTES:
        value = element.get(name)
        if value is not None:
            _check_time(element, value, name, now)


def _check_time(element: etree._Element, value: str, name: str, now: datetime) -> None:
    at = moment(value)
    if at is None:
        raise unfit(element, f"{name} has no time zone")
    if at >= now and name != PLANNED:
        raise unfit(element, f"{name} is not in the past")


def _is_url(value: str) -> bool:
    if _UNFIT_FOR_URL.search(value):
        return False
    try:
        split = urlsplit(value)
        return bool(split.scheme and split.hostname)
    except ValueError:
        return False


def _is_ip(value: str) -> bool:
    try:
        ip_address(value)
    except ValueError:
        return False
    return "%" not in value  # a zone means something on one machine only
