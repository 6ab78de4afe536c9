"""Placing, renewing and ending holds. Pure: the time is an argument, and what comes back is what to keep.

Invariants, whatever the order of steps and whatever the clock does:

- A duty by law ends with its time. Nobody ends it sooner; only a longer one takes its place, and only one that nobody
  can end sooner either: a legal hold would do until it is released, and then the duty would be gone with it.
- What an authority or a court asked for is ended by two different persons.
- A hold once placed or renewed never ends earlier than it said.
- `latest_seen` is the latest time that the caller has ever acted on. Where `now` lies before it the clock went back:
  then durations start from the later of the two; what is over is asked of `now`, which is the stricter of the two.

The table of kinds is in hold_table.py, the record in hold_record.py, what follows for destruction in destruction.py;
all of it can be had from here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from hashmatch.errors import Malformed, Refused
from hashmatch.workflow.destruction import (
    Certificate,
    DestroyRequest,
    Keep,
    Keeping,
    Record,
    Ruling,
    certificate,
    destructible,
    keep_until,
)
from hashmatch.workflow.hold_record import MAX_RENEWALS, Hold, Renewal, by_law
from hashmatch.workflow.hold_table import LAST_DAY, RULES, Basis, Kind, Part, table
from hashmatch.workflow.inputs import MAX_NAME, moment, persons, text

__all__ = [
    "Certificate",
    "DestroyRequest",
    "Hold",
    "Keep",
    "Keeping",
    "Kind",
    "Lifted",
    "Part",
    "Record",
    "Ruling",
    "certificate",
    "destructible",
    "keep_until",
    "lift_where_lawful",
    "place",
    "release",
    "renew",
    "supersede",
    "table",
]


def place(
    kind: Kind,
    *,
    id: str,
    case_id: str,
    ground: str,
    placed_by: str,
    now: datetime,
    since: datetime | None = None,
    until: datetime | None = None,
    jurisdiction: str = "",
    reference: str = "",
    covers: Collection[Part] | None = None,
    latest_seen: datetime | None = None,
) -> Hold:
    """A new hold.

    Args:
        since: when the clock started, for duties by law: when the report was finished. Never before.
        until: of a request, a later end than the kind's own, or the end that it names.
        covers: what is kept, where it is not what the kind keeps; a duty by law keeps no less than it says.

    Raises:
        Malformed: names the field.
    """
    rule = RULES[kind]
    at = _latest(now, latest_seen)
    if rule.basis is Basis.LAW and since is None:
        raise Malformed(f"{kind}: when {rule.starts}", field="since")
    if since is not None and rule.basis is not Basis.LAW:
        raise Malformed(f"{kind} starts when it is placed, or has no clock", field="since")
    start = at
    if since is not None:
        start = moment(since, "since")
        if at > moment(now, "now"):  # a time read off a clock that went back is not believed
            start = max(start, at)
    ends = rule.period.after(start) if rule.period is not None else None
    if until is not None:
        until = moment(until, "until")
        if not rule.takes_until:
            raise Malformed(f"{kind} ends as {rule.source} says", field="until")
        if ends is not None and until < ends:
            raise Malformed(f"earlier than {rule.source} allows", field="until")
        if until < at:
            raise Malformed("already over", field="until")
        ends = until
    covered = rule.covers if covers is None else frozenset(covers)
    if rule.basis is Basis.LAW and not covered >= rule.covers:
        raise Malformed(f"{kind} keeps no less than {', '.join(sorted(rule.covers))}", field="covers")
    jurisdiction = rule.jurisdiction or text(jurisdiction, "jurisdiction", MAX_NAME)
    if rule.wants_reference or reference:
        reference = text(reference, "reference", MAX_NAME)
    return Hold(
        id=text(id, "id", MAX_NAME), case_id=text(case_id, "case_id", MAX_NAME), kind=kind,
        ground=text(ground, "ground"), placed_by=text(placed_by, "placed_by", MAX_NAME), placed_at=at, until=ends,
        jurisdiction=jurisdiction, reference=reference, covers=covered,
    )  # fmt: skip


def renew(
    hold: Hold,
    *,
    by: str,
    reference: str,
    now: datetime,
    until: datetime | None = None,
    latest_seen: datetime | None = None,
) -> Hold:
    """The hold with another period, which follows the present one; of a letter that lapsed it runs from now.

    Args:
        until: a later end than that; a request without a period of its own must name one.

    Raises:
        Refused: it is not of a kind that is renewed, or was released, or has no end that could move.
        Malformed: `until` is earlier than the end would be.
    """
    if not hold.rule.renewable:
        raise Refused(f"{hold.kind} is not renewed; place another hold beside it")
    if hold.released:
        raise Refused("the hold was released; place a new one")
    if hold.until is None:
        raise Refused("the hold has no end: there is nothing to renew")
    if len(hold.renewals) >= MAX_RENEWALS:
        raise Refused(f"renewed {MAX_RENEWALS} times; place a new hold")
    at = _latest(now, latest_seen)
    period = hold.rule.period
    if period is None and until is None:
        raise Malformed("want when the request ends", field="until")
    ends = hold.until
    if period is not None:  # LAST_DAY is in `hold.until` already
        ends = max(period.after(hold.until) - LAST_DAY, period.after(at))
    if until is not None:
        until = moment(until, "until")
        if until < ends:
            raise Malformed("earlier than the hold would end without it", field="until")
        ends = until
    renewal = Renewal(at=at, by=text(by, "by", MAX_NAME), reference=text(reference, "reference", MAX_NAME), until=ends)
    return replace(hold, until=ends, renewals=(*hold.renewals, renewal))


def release(hold: Hold, by: Iterable[str], reason: str, now: datetime, *, latest_seen: datetime | None = None) -> Hold:
    """The hold, ended by these persons.

    Raises:
        Refused: it has ended, or the law keeps it for longer, or it takes two different persons.
        Malformed: names the field.
    """
    if hold.released:
        raise Refused("the hold has been released already")
    who, why = persons(by, hold.rule.persons), text(reason, "reason")
    if by_law(hold) and hold.holds(moment(now, "now")):
        raise Refused(f"{hold.rule.source} keeps this until {hold.until:%Y-%m-%d %H:%M} UTC; nobody can release it")
    return replace(hold, released_at=_latest(now, latest_seen), released_by=who, release_reason=why)


def supersede(hold: Hold, by: Hold, now: datetime, *, latest_seen: datetime | None = None) -> Hold:
    """The hold, ended because `by` takes its place: a duty by law that keeps the same for at least as long.

    A report that is being written is held without a clock; its clock, once it has finished, takes that hold's place.

    Raises:
        Refused: `by` is no duty by law in force for the same case, or keeps less, or ends sooner.
    """
    if hold.released:
        raise Refused("the hold has been released already")
    if by.id == hold.id or by.case_id != hold.case_id:
        raise Refused("want another hold of the same case")
    if not by_law(by) or not by.holds(_latest(now, latest_seen)) or by.until is None:
        raise Refused("only a duty by law that is in force takes the place of a hold: nobody can release it early")
    # The reference of a report has its own duty where the law asks for one.
    if hold.kind is Kind.UNFINISHED_REPORT:
        if not by.covers >= hold.covers - {Part.REPORT_REFERENCE}:
            raise Refused("the other hold keeps less")
    elif not by_law(hold):
        raise Refused(f"{hold.kind} is released by persons; nothing takes its place")
    elif not by.covers >= hold.covers or hold.until is None or by.until < hold.until:
        raise Refused("the other hold keeps less, or ends sooner")
    return replace(
        hold, released_at=_latest(now, latest_seen), superseded_by=by.id, release_reason=f"{by.kind} takes its place"
    )


@dataclass(frozen=True, slots=True)
class Lifted:
    """What clearing a case did to its holds."""

    lifted: tuple[Hold, ...]  # as they are now
    kept: tuple[Hold, ...]  # still in force, and not for a reviewer to end


def lift_where_lawful(
    holds: Iterable[Hold],
    now: datetime,
    *,
    by: str,
    report_open: bool = True,
    latest_seen: datetime | None = None,
) -> Lifted:
    """Ends what clearing a case may end; none that a finished report, an authority or a court asked for.

    Args:
        by: who cleared it.
        report_open: a report of the case may still be finished, since nobody knows yet that it was retracted: then its
            hold stays, for a report that is finished after all is a request to preserve.
    """
    lifted, kept = [], []
    for hold in holds:
        if hold.released or not hold.holds(moment(now, "now")):
            continue
        if hold.rule.cleared and not (hold.kind is Kind.UNFINISHED_REPORT and report_open):
            lifted.append(release(hold, (by,), "the case was cleared", now, latest_seen=latest_seen))
        else:
            kept.append(hold)
    return Lifted(tuple(lifted), tuple(kept))


def _latest(now: datetime, seen: datetime | None) -> datetime:
    """From when durations run, and when something is said to have happened."""
    now = moment(now, "now")
    return now if seen is None else max(now, moment(seen, "latest_seen"))
