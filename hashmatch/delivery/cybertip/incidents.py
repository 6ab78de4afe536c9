"""Where it happened: one class for each kind of place. Live streams have none; a file's annotation tells them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from hashmatch.delivery.cybertip.element import Element, Named, Place
from hashmatch.delivery.cybertip.people import Address, Email, IpCaptureEvent, Phone
from hashmatch.delivery.cybertip.rules import Degrees, Text, Url


@dataclass(frozen=True, slots=True, repr=False)
class WebPageIncident(Element):
    urls: Annotated[tuple[str, ...], Named("url"), Url()] = ()
    additional_info: Annotated[str | None, Text()] = None
    third_party_hosted_content: Annotated[bool | None, Place.ATTRIBUTE] = None


@dataclass(frozen=True, slots=True, repr=False)
class EmailIncident(Element):
    """Every address must also be told with the suspect, a recipient or a victim."""

    email_addresses: Annotated[tuple[Email, ...], Named("emailAddress")] = ()
    content: Annotated[str | None, Text()] = None
    additional_info: Annotated[str | None, Text()] = None


@dataclass(frozen=True, slots=True, repr=False)
class NewsgroupIncident(Element):
    """Every address must also be told with the suspect, a recipient or a victim."""

    name: Annotated[str | None, Text(255)] = None
    email_addresses: Annotated[tuple[Email, ...], Named("emailAddress")] = ()
    content: Annotated[str | None, Text()] = None
    additional_info: Annotated[str | None, Text()] = None


@dataclass(frozen=True, slots=True, repr=False)
class ChatImIncident(Element):
    chat_client: Annotated[str | None, Text(255)] = None
    chat_room_name: Annotated[str | None, Text(255)] = None
    content: Annotated[str | None, Text()] = None
    additional_info: Annotated[str | None, Text()] = None


@dataclass(frozen=True, slots=True, repr=False)
class OnlineGamingIncident(Element):
    game_name: Annotated[str | None, Text(255)] = None
    console: Annotated[str | None, Text(255)] = None
    content: Annotated[str | None, Text()] = None
    additional_info: Annotated[str | None, Text()] = None


@dataclass(frozen=True, slots=True, repr=False)
class CellPhoneIncident(Element):
    phone_number: Phone | None = None
    latitude: Annotated[float | None, Degrees(90)] = None
    longitude: Annotated[float | None, Degrees(180)] = None
    additional_info: Annotated[str | None, Text()] = None


@dataclass(frozen=True, slots=True, repr=False)
class NonInternetIncident(Element):
    location_name: Annotated[str | None, Text(255)] = None
    incident_addresses: Annotated[tuple[Address, ...], Named("incidentAddress")] = ()
    additional_info: Annotated[str | None, Text()] = None


@dataclass(frozen=True, slots=True, repr=False)
class Peer2peerIncident(Element):
    client: Annotated[str | None, Text(255)] = None
    ip_capture_events: Annotated[tuple[IpCaptureEvent, ...], Named("ipCaptureEvent")] = ()
    file_names: Annotated[str | None, Text()] = None
    additional_info: Annotated[str | None, Text()] = None


Incident = (
    WebPageIncident
    | EmailIncident
    | NewsgroupIncident
    | ChatImIncident
    | OnlineGamingIncident
    | CellPhoneIncident
    | NonInternetIncident
    | Peer2peerIncident
)
