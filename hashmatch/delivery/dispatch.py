"""One instruction as it leaves: a CloudEvent of ids alone, and the port of whatever carries it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Protocol

from hashmatch.errors import HashmatchError, Unavailable

SOURCE: Final = "hashmatch"
TYPE: Final = "org.hashmatch.action.{verb}.v1"
CONTENT_TYPE: Final = "application/cloudevents+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispatch:
    """What the platform is to do. It holds the platform's own ids and ours: no media, no fingerprint, no list."""

    key: str  # the same in every attempt
    verb: str
    case_id: str
    verdict_id: str
    content_id: str
    uploader_id: str
    surface: str
    region: str
    sequence: int  # of those of one subject; a greater one is the later
    requested_at: datetime
    policy_version: str
    tier: str
    reason: str
    entry: str = ""  # LIST/ENTRY, for what is done here; never in the body

    def body(self) -> bytes:
        """CloudEvents 1.0, structured, in JSON: the same bytes in every attempt."""
        event: dict[str, object] = {
            "specversion": "1.0", "id": self.key, "source": SOURCE, "type": TYPE.format(verb=self.verb),
            "time": self.requested_at.astimezone(UTC).isoformat().replace("+00:00", "Z"), "subject": self.case_id,
            "datacontenttype": "application/json",
            "data": {
                "dispatch_id": self.key, "verb": self.verb, "case_id": self.case_id, "verdict_id": self.verdict_id,
                "content_id": self.content_id, "uploader_id": self.uploader_id, "surface": self.surface,
                "region": self.region, "sequence": self.sequence, "tier": self.tier,
                "policy_version": self.policy_version, "reason": self.reason,
            },
        }  # fmt: skip
        if self.verb == "page":  # triage practice: whoever is paged reads a case's id, and nothing about anybody
            event["data"] = {"dispatch_id": self.key, "verb": "page", "case_id": self.case_id, "tier": self.tier}
        return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True)
class Receipt:
    """It was taken; `confirmed`: and the platform says at once that it is done."""

    confirmed: bool = False


class NotTaken(Unavailable):
    """It may be taken later."""

    def __init__(self, why: str, *, retry_after: float | None = None) -> None:
        super().__init__(why)
        self.retry_after = retry_after  # seconds, where the other side says so


class RefusedForGood(HashmatchError):
    """The other side will never take this one."""

    status, exit_code, reason = "FAILED_PRECONDITION", 69, "DISPATCH_REFUSED"


class Gone(HashmatchError):
    """The other side wants nothing more at all."""

    status, exit_code, reason = "FAILED_PRECONDITION", 69, "DESTINATION_GONE"


class Destination(Protocol):
    """Carries instructions."""

    @property
    def name(self) -> str: ...

    def deliver(self, dispatch: Dispatch) -> Receipt:
        """Sends once. Must be safe to repeat with the same key.

        Raises:
            NotTaken: it may be taken later.
            RefusedForGood: this one never.
            Gone: nothing more.
        """

    def close(self) -> None: ...
