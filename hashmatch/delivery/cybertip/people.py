"""Persons, accounts, and what machines saw of them. All of it is personal; none of it is in a `repr`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated

from hashmatch.delivery.cybertip.element import Conflict, Element, Named, Place
from hashmatch.delivery.cybertip.rules import BirthDate, EmailAddress, IpAddress, Like, OneOf, Past, Text, Url, Whole
from hashmatch.delivery.cybertip.terms import (
    COUNTRIES,
    US_STATES,
    AccountType,
    AddressType,
    EmailType,
    EventName,
    PhoneType,
    ReportId,
)

AGE = Whole(0, 150)
COUNTRY = OneOf(COUNTRIES, "a country's code of two letters, ISO 3166-1")
STATE = OneOf(US_STATES, "the postal abbreviation of a US state")


@dataclass(frozen=True, slots=True, repr=False)
class Phone(Element):
    """A telephone number; without the country's code where that is told by itself."""

    number: Annotated[str, Place.CONTENT, Text(50)]
    type: Annotated[PhoneType | None, Place.ATTRIBUTE] = None
    verified: Annotated[bool | None, Place.ATTRIBUTE] = None
    verification_date: Annotated[datetime | None, Place.ATTRIBUTE, Past()] = None
    country_calling_code: Annotated[str | None, Place.ATTRIBUTE, Like(r"\+[0-9]{1,3}", 4, "+ and 1 to 3 digits")] = None
    extension: Annotated[str | None, Place.ATTRIBUTE, Like("[0-9]+", 10, "digits")] = None

    def conflicts(self) -> Iterator[Conflict]:
        yield from _verification(self.verified, self.verification_date)
        if self.country_calling_code is not None and self.number.lstrip().startswith("+"):
            yield "", "has the country's code in the number too"


@dataclass(frozen=True, slots=True, repr=False)
class Email(Element):
    address: Annotated[str, Place.CONTENT, EmailAddress()]
    type: Annotated[EmailType | None, Place.ATTRIBUTE] = None
    verified: Annotated[bool | None, Place.ATTRIBUTE] = None
    verification_date: Annotated[datetime | None, Place.ATTRIBUTE, Past()] = None

    def conflicts(self) -> Iterator[Conflict]:
        yield from _verification(self.verified, self.verification_date)


@dataclass(frozen=True, slots=True, repr=False)
class Address(Element):
    address: Annotated[str | None, Text(255)] = None
    city: Annotated[str | None, Text(100)] = None
    zip_code: Annotated[str | None, Text(20)] = None
    state: Annotated[str | None, STATE] = None
    non_usa_state: Annotated[str | None, Text(100)] = None
    country: Annotated[str | None, COUNTRY] = None
    type: Annotated[AddressType | None, Place.ATTRIBUTE] = None


@dataclass(frozen=True, slots=True, repr=False)
class ContactPerson(Element):
    """Whom law enforcement may ask."""

    first_name: Annotated[str | None, Text(100)] = None
    last_name: Annotated[str | None, Text(100)] = None
    phones: Annotated[tuple[Phone, ...], Named("phone")] = ()
    emails: Annotated[tuple[Email, ...], Named("email")] = ()
    addresses: Annotated[tuple[Address, ...], Named("address")] = ()


@dataclass(frozen=True, slots=True, repr=False)
class Person(ContactPerson):
    age: Annotated[int | None, AGE] = None  # years
    date_of_birth: Annotated[date | None, BirthDate()] = None


@dataclass(frozen=True, slots=True, repr=False)
class IpCaptureEvent(Element):
    """An address that somebody came from; with its time and port it can be traced to a subscriber."""

    ip_address: Annotated[str, IpAddress()]
    event_name: EventName | None = None
    date_time: Annotated[datetime | None, Past()] = None
    possible_proxy: bool | None = None
    port: Annotated[int | None, Whole(1, 65535)] = None


@dataclass(frozen=True, slots=True, repr=False)
class DeviceId(Element):
    id_type: Annotated[str, Text(255)]  # such as IMEI, ICCID, SSID
    id_value: Annotated[str, Text(2083)]
    event_name: EventName | None = None
    date_time: Annotated[datetime | None, Past()] = None


@dataclass(frozen=True, slots=True, repr=False)
class PermanentlyDisabled(Element):
    """Whether an account was closed for good, and whether its user was told."""

    disabled: Annotated[bool, Place.CONTENT]
    disabled_date: Annotated[datetime | None, Place.ATTRIBUTE, Past()] = None
    user_notified: Annotated[bool | None, Place.ATTRIBUTE] = None
    user_notified_date: Annotated[datetime | None, Place.ATTRIBUTE, Past()] = None

    def conflicts(self) -> Iterator[Conflict]:
        if _before(self.user_notified_date, self.disabled_date):
            yield "@userNotifiedDate", "is before disabledDate"


@dataclass(frozen=True, slots=True, repr=False)
class TemporarilyDisabled(PermanentlyDisabled):
    """Whether an account was closed for a while, until when, and whether its user was told."""

    reenabled_date: Annotated[datetime | None, Place.ATTRIBUTE, Past()] = None

    def conflicts(self) -> Iterator[Conflict]:
        yield from PermanentlyDisabled.conflicts(self)
        if self.reenabled_date == self.disabled_date is not None or _before(self.reenabled_date, self.disabled_date):
            yield "@reenabledDate", "is not after disabledDate"


@dataclass(frozen=True, slots=True, repr=False)
class EstimatedLocation(Element):
    city: Annotated[str | None, Text(255)] = None
    region: Annotated[str | None, Text(255)] = None
    country_code: Annotated[str | None, COUNTRY] = None  # the service wants it, though its schema does not
    verified: Annotated[bool | None, Place.ATTRIBUTE] = None
    timestamp: Annotated[datetime | None, Place.ATTRIBUTE, Past()] = None

    def conflicts(self) -> Iterator[Conflict]:
        if self.country_code is None:
            yield "countryCode", "must be given"
        elif self.country_code == "US":
            if self.city is None:
                yield "city", "must be given in the US"
            if self.region not in US_STATES:
                yield "region", "want the postal abbreviation of a US state"


@dataclass(frozen=True, slots=True, repr=False)
class AccountPlatform(Element):
    name: Annotated[str, Place.CONTENT, Text(256)]
    third_party_user: Annotated[bool | None, Place.ATTRIBUTE] = None


@dataclass(frozen=True, slots=True, repr=False)
class AssociatedAccount(Element):
    """Another account that belongs to the same person."""

    type: Annotated[AccountType, Place.ATTRIBUTE]
    platform: AccountPlatform | None = None
    first_name: Annotated[str | None, Text(256)] = None
    middle_name: Annotated[str | None, Text(256)] = None
    last_name: Annotated[str | None, Text(256)] = None
    approximate_age: Annotated[int | None, AGE] = None  # years; or the date of birth
    date_of_birth: Annotated[date | None, BirthDate()] = None
    phones: Annotated[tuple[Phone, ...], Named("phone")] = ()
    emails: Annotated[tuple[Email, ...], Named("email")] = ()
    all_emails_reported: bool | None = None
    addresses: Annotated[tuple[Address, ...], Named("address")] = ()
    esp_service: Annotated[str | None, Text(100)] = None
    esp_identifier: Annotated[str | None, Text(255)] = None
    profile_urls: Annotated[tuple[str, ...], Named("profileUrl"), Url()] = ()
    screen_name: Annotated[str | None, Text(256)] = None
    display_names: Annotated[tuple[str, ...], Named("displayName"), Text(255)] = ()
    profile_bio: Annotated[str | None, Text()] = None
    group_identifier: Annotated[str | None, Text(255)] = None
    compromised_account: bool | None = None
    account_temporarily_disabled: TemporarilyDisabled | None = None
    account_permanently_disabled: PermanentlyDisabled | None = None
    ip_capture_events: Annotated[tuple[IpCaptureEvent, ...], Named("ipCaptureEvent")] = ()
    device_ids: Annotated[tuple[DeviceId, ...], Named("deviceId")] = ()
    prior_ct_reports: Annotated[tuple[ReportId, ...], Named("priorCTReport")] = ()  # singular here only
    additional_info: Annotated[str | None, Text()] = None

    def conflicts(self) -> Iterator[Conflict]:
        if self.approximate_age is not None and self.date_of_birth is not None:
            yield "approximateAge", "is not told beside dateOfBirth"


@dataclass(frozen=True, slots=True, repr=False)
class Account(Element):
    """Whose account it is, as the provider knows it: the same for suspect, recipient and victim."""

    esp_identifier: Annotated[str | None, Text(255)] = None
    esp_service: Annotated[str | None, Text(100)] = None
    compromised_account: bool | None = None
    screen_name: Annotated[str | None, Text(256)] = None
    display_names: Annotated[tuple[str, ...], Named("displayName"), Text(255)] = ()
    profile_urls: Annotated[tuple[str, ...], Named("profileUrl"), Url()] = ()
    profile_bio: Annotated[str | None, Text()] = None
    ip_capture_events: Annotated[tuple[IpCaptureEvent, ...], Named("ipCaptureEvent")] = ()
    device_ids: Annotated[tuple[DeviceId, ...], Named("deviceId")] = ()


@dataclass(frozen=True, slots=True, repr=False)
class Standing(Element):
    """What became of an account, and where it seems to be: the same for suspect, recipient and victim."""

    account_temporarily_disabled: TemporarilyDisabled | None = None
    account_permanently_disabled: PermanentlyDisabled | None = None
    estimated_location: EstimatedLocation | None = None
    all_emails_reported: bool | None = None


def _verification(verified: bool | None, at: datetime | None) -> Iterator[Conflict]:
    if at is not None and verified is not True:
        yield "@verificationDate", "is told only where verified is true"


def _before(one: datetime | None, other: datetime | None) -> bool:
    """Whether both are known, comparable and in that order; a time without its zone is told by its own rule."""
    if one is None or other is None or one.utcoffset() is None or other.utcoffset() is None:
        return False
    return one < other
