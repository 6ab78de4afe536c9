"""Whether something may be destroyed, every reason why not, and the facts of a destruction. Pure.

The longest of what keeps a record wins; a hold without a timer beats them all. Law enforcement may ask that media be
destroyed for good (18 USC 2258B(c)(2)): that sets our own retention aside, so that nothing is kept for longer than it
must be. It sets no hold aside and no duty by law, not even the year of 18 USC 2258A(h)(1): what was destroyed in error
cannot be had back, and where an authority asks for both, counsel and the authority decide which.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Final

from hashmatch.errors import Malformed, Refused
from hashmatch.workflow.hold_record import Hold
from hashmatch.workflow.hold_table import Part
from hashmatch.workflow.inputs import MAX_NAME, moment, persons, text

MAX_KEYS: Final = 10_000  # of one certificate; likewise digests
DIGEST_BYTES: Final = 32  # SHA-256


class Keeping(Enum):
    """How long a record is kept."""

    FOREVER = "until a hold is released"
    UNTIL = "until a time"
    FREE = "no longer"


@dataclass(frozen=True, slots=True)
class Keep:
    """How long a record is kept, and what keeps it longest."""

    keeping: Keeping
    until: datetime | None  # for UNTIL: up to and including this moment
    why: str
    hold_id: str = ""  # "": our own retention, or nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One thing that could be destroyed: a part of a case."""

    case_id: str
    part: Part
    retain_until: datetime | None  # by our own retention, inclusive; None: it keeps nothing here


@dataclass(frozen=True, slots=True, kw_only=True)
class DestroyRequest:
    """A law enforcement agency asks that the media of a case be destroyed, 18 USC 2258B(c)(2)."""

    case_id: str
    reference: str  # the agency's
    received_at: datetime
    verified_by: str  # who called the agency back at a number that it did not give itself; "": nobody yet
    approved_by_counsel: str  # who said that it binds us; "": nobody yet

    def __repr__(self) -> str:
        return f"<request to destroy, received {self.received_at.isoformat()}>"


@dataclass(frozen=True, slots=True)
class Ruling:
    """Whether a record may be destroyed."""

    why_not: tuple[str, ...]  # every reason; none: it may

    @property
    def allowed(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.why_not


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """The facts of a destruction, as they go into the log. It says what was destroyed, and holds none of it."""

    case_id: str
    part: Part
    key_ids: tuple[str, ...]  # of the keys without which what is left cannot be read
    digests: tuple[bytes, ...]  # SHA-256 of what was destroyed
    ground: str
    by: tuple[str, ...]  # two persons or more
    at: datetime
    request_reference: str  # the agency's, where one asked for it
    ended: tuple[str, ...]  # the holds that had kept it, each with how it ended

    def __repr__(self) -> str:
        return f"<destroyed {self.part} of {self.case_id}: {len(self.key_ids)} keys, {len(self.digests)} digests>"


def keep_until(holds: Iterable[Hold], retention: datetime | None, now: datetime, *, part: Part | None = None) -> Keep:
    """How long something is kept: the longest wins, and a hold without a timer beats all.

    Args:
        holds: all that there are on it, ended ones too; of every case that it belongs to.
        retention: until when our own rule keeps it, inclusive; None: it does not.
        part: what of a case is asked about; None: anything that a hold covers.
    """
    now = moment(now, "now")
    keep = Keep(Keeping.FREE, None, "nothing keeps it")
    if retention is not None and now <= moment(retention, "retention"):
        keep = Keep(Keeping.UNTIL, moment(retention, "retention"), "our own retention")
    for hold in holds:
        if not hold.holds(now) or (part is not None and part not in hold.covers):
            continue
        if hold.until is None:
            return Keep(Keeping.FOREVER, None, _why(hold), hold.id)
        # A hold is named rather than our own rule where both end at once: it is what could not be changed.
        if keep.until is None or hold.until > keep.until or (hold.until == keep.until and not keep.hold_id):
            keep = Keep(Keeping.UNTIL, hold.until, _why(hold), hold.id)
    return keep


def destructible(
    record: Record,
    holds: Iterable[Hold],
    now: datetime,
    *,
    request: DestroyRequest | None = None,
    latest_seen: datetime | None = None,
) -> Ruling:
    """Whether a record may be destroyed, and else every reason why not.

    Args:
        holds: all that there are on it, of every case that it belongs to: a picture may be in several.
        request: the request on which it is to be destroyed; then every condition of the request must be met.
        latest_seen: the latest time ever acted on. While `now` lies before it nothing is destroyed: one of them is
            wrong, and nobody knows which.
    """
    now = moment(now, "now")
    why_not = []
    if latest_seen is not None and now < moment(latest_seen, "latest_seen"):
        why_not.append("the clock went back; nothing is destroyed before it has caught up")
    unmet = _unmet(request, record, now) if request is not None else []
    why_not += unmet
    if request is None or unmet:
        until = record.retain_until
        if until is not None and now <= moment(until, "retain_until"):
            why_not.append(f"our own retention keeps it until {until:%Y-%m-%d %H:%M} UTC")
    why_not += [_why(hold) for hold in holds if record.part in hold.covers and hold.holds(now)]
    return Ruling(tuple(why_not))


def freed(record: Record, holds: Iterable[Hold]) -> tuple[datetime | None, str]:
    """Since when nothing keeps what may be destroyed, and what kept it last; None: nothing ever did."""
    ended = [(record.retain_until, "our own retention")] if record.retain_until is not None else []
    ended += [
        (end, _ended(hold))
        for hold in holds
        if record.part in hold.covers and (end := min(filter(None, (hold.released_at, hold.until)), default=None))
    ]
    return max(ended, default=(None, "nothing keeps it"))


def certificate(
    record: Record,
    holds: Collection[Hold],
    now: datetime,
    *,
    key_ids: Iterable[str],
    digests: Iterable[bytes],
    ground: str,
    by: Iterable[str],
    request: DestroyRequest | None = None,
    latest_seen: datetime | None = None,
) -> Certificate:
    """What is to be logged with the destruction, in the transaction that does it.

    Raises:
        Refused: it may not be destroyed, with every reason; or it takes two different persons.
        Malformed: names the field.
    """
    ruling = destructible(record, holds, now, request=request, latest_seen=latest_seen)
    if not ruling.allowed:
        raise Refused("not to be destroyed: " + "; ".join(ruling.why_not))
    keys = tuple(sorted({text(key, "key_ids", MAX_NAME) for key in key_ids}))
    found = tuple(sorted(set(digests)))
    if any(len(digest) != DIGEST_BYTES for digest in found):
        raise Malformed(f"want SHA-256, {DIGEST_BYTES} bytes each", field="digests")
    if not keys and not found:
        raise Malformed("want the keys or the digests of what is destroyed", field="key_ids")
    if max(len(keys), len(found)) > MAX_KEYS:
        raise Malformed(f"want at most {MAX_KEYS}", field="key_ids")
    return Certificate(
        case_id=record.case_id, part=record.part, key_ids=keys, digests=found, ground=text(ground, "ground"),
        by=persons(by, 2), at=moment(now, "now"), request_reference=request.reference if request else "",
        ended=tuple(_ended(hold) for hold in holds if record.part in hold.covers),
    )  # fmt: skip


def _unmet(request: DestroyRequest, record: Record, now: datetime) -> list[str]:
    """The conditions of a request to destroy that are not met."""
    conditions = [
        (request.case_id == record.case_id, "the request to destroy is about another case"),
        # "any such visual depiction": not the account's data, nor the record of what was reported.
        (record.part is Part.MEDIA, "a request to destroy is about media alone"),
        (bool(request.reference.strip()), "the request to destroy has no reference"),
        (bool(request.verified_by.strip()), "nobody has verified the agency that asks for destruction"),
        (bool(request.approved_by_counsel.strip()), "counsel has not said that the request to destroy binds"),
        (moment(request.received_at, "received_at") <= now, "the request to destroy is dated in the future"),
    ]
    return [why for met, why in conditions if not met]


def _why(hold: Hold) -> str:
    until = f"until {hold.until:%Y-%m-%d %H:%M} UTC" if hold.until is not None else "until it is released"
    return f"{hold.kind} {hold.id} keeps it {until} ({hold.rule.source})"


def _ended(hold: Hold) -> str:
    if hold.superseded_by:
        return f"{hold.kind} {hold.id}: {hold.superseded_by} took its place"
    if hold.released:
        return f"{hold.kind} {hold.id}: released"
    return f"{hold.kind} {hold.id}: its time is over"
