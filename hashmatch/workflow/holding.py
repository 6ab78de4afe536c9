"""Holds on cases: placed, renewed, ended by two, asked before anything is destroyed. In the caller's transaction."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from hashmatch import clock, convert
from hashmatch.audit.leaves import Appending
from hashmatch.errors import Malformed, NotFound, Refused
from hashmatch.store.env import Txn
from hashmatch.v1.audit_pb2 import Event
from hashmatch.v1.cases_pb2 import CASE_STATE_CLOSED, HoldRecord
from hashmatch.workflow import hold as rules
from hashmatch.workflow.case_store import CaseStore
from hashmatch.workflow.hold_record import Hold, Renewal
from hashmatch.workflow.hold_table import Kind, Part


class Holding:
    """The holds of a ledger's cases. For any thread."""

    def __init__(self, store: CaseStore) -> None:
        self._store = store

    def place(
        self, log: Appending, case_id: str, *, kind: str, ground: str, by: str, reference: str = "",
        until: datetime | None = None, jurisdiction: str = "", since: datetime | None = None,
    ) -> HoldRecord:  # fmt: skip
        """A new hold, by the rules of its kind. `since`: when the clock of a duty by law started.

        Raises:
            NotFound: no such case.
            Malformed: no such kind, or what the kind does not allow; names the field.
            Refused: it is a drill.
        """
        if self._store.get(log.txn, case_id).drill:
            raise Refused("it is a drill: there is nothing to keep")
        if kind not in [*Kind]:
            raise Malformed(f"want one of {', '.join(Kind)}", field="kind")
        placed = rules.place(
            Kind(kind), id=clock.new_id("h"), case_id=case_id, ground=ground, placed_by=by, now=log.at, since=since,
            until=until, jurisdiction=jurisdiction, reference=reference, latest_seen=log.latest,
        )  # fmt: skip
        record = hold_to_record(placed)
        self._put(log, record, [by])
        return record

    def renew(
        self, log: Appending, case_id: str, hold_id: str, *, by: str, reference: str, until: datetime | None = None
    ) -> HoldRecord:
        """A hold with another period.

        Raises:
            NotFound: no such hold.
            Refused, Malformed: its kind does not allow it.
        """
        record = self._find(log.txn, case_id, hold_id)
        renewed = hold_to_record(
            rules.renew(hold_of(record), by=by, reference=reference, now=log.at, until=until, latest_seen=log.latest),
            record,
        )
        renewed.release_asked_by = ""  # whoever asked for its release asked before it was renewed
        self._put(log, renewed, [by])
        return renewed

    def release(self, log: Appending, case_id: str, hold_id: str, *, by: str, reason: str) -> HoldRecord:
        """The hold, ended where that takes one person, or another asked for it before; else it waits for one.

        Raises:
            NotFound: no such hold.
            Malformed: no reason.
            Refused: it has ended, the law keeps it, or the same person asked.
        """
        record = self._find(log.txn, case_id, hold_id)
        hold = hold_of(record)
        asked = record.release_asked_by
        if asked and asked.casefold() == by.casefold():
            raise Refused(f"{by} asked for the release: another person must agree")
        waits = hold.rule.persons > 1 and not asked
        # Both are tried alike, so that what could never be released is refused to the first person.
        who = (by, "another person") if waits else (asked, by) if asked else (by,)
        ended = rules.release(hold, who, reason, log.at, latest_seen=log.latest)
        if waits:
            record.release_asked_by, record.release_reason = by, reason.strip()
            self._store.put_hold(log.txn, record)
            return record
        released = hold_to_record(ended, record)
        self._put(log, released, ended.released_by)
        return released

    def lift(self, log: Appending, case_id: str, *, by: str, report_open: bool) -> None:
        """Ends the holds of a cleared case that clearing it may end: none that a law, an authority or a court wants.

        `report_open`: a report of it may yet be finished.
        """
        records = {record.id: record for record in self._store.holds(log.txn, case_id)}
        lifted = rules.lift_where_lawful(
            map(hold_of, records.values()), log.at, by=by, report_open=report_open, latest_seen=log.latest
        )
        for hold in lifted.lifted:
            self._put(log, hold_to_record(hold, records[hold.id]), [by])

    def kept(self, txn: Txn, case_id: str, now: datetime) -> list[str]:
        """What keeps a case's evidence now, in words; empty: nothing does.

        Raises:
            NotFound: no such case.
        """
        why = [] if self._store.get(txn, case_id).state == CASE_STATE_CLOSED else ["the case is open"]
        for record in self._store.holds(txn, case_id):
            hold = hold_of(record)
            if hold.holds(now):
                end = f"until {hold.until:%Y-%m-%d}" if hold.until else "until it is released"
                why.append(f"{hold.kind} {end}")
        return why

    def refuse_destruction(self, txn: Txn, case_id: str, now: datetime) -> None:
        """Lets what a case is about be destroyed.

        Raises:
            NotFound: no such case.
            Refused: something keeps it; says what, and until when.
        """
        if why := self.kept(txn, case_id, now):
            raise Refused(f"case {case_id} is kept: {', '.join(why)}")

    def _find(self, txn: Txn, case_id: str, hold_id: str) -> HoldRecord:
        for one in self._store.holds(txn, case_id):
            if one.id == hold_id:
                return one
        raise NotFound("there is no hold of that id on that case")

    def _put(self, log: Appending, record: HoldRecord, by: Iterable[str]) -> None:
        self._store.put_hold(log.txn, record)
        event = Event()
        said = event.hold_changed
        said.hold_id, said.case_id, said.kind, said.ground = record.id, record.case_id, record.kind, record.ground
        said.released = record.HasField("released_at")
        said.by.extend(by)
        if record.HasField("until"):
            said.until.CopyFrom(record.until)
        log.append(event)


def hold_of(record: HoldRecord) -> Hold:
    """A hold, as the rules have it."""
    return Hold(
        id=record.id, case_id=record.case_id, kind=Kind(record.kind), ground=record.ground, placed_by=record.placed_by,
        placed_at=record.placed_at.ToDatetime(UTC),
        until=record.until.ToDatetime(UTC) if record.HasField("until") else None,
        jurisdiction=record.jurisdiction, reference=record.authority_reference,
        covers=frozenset(Part(part) for part in record.covers),
        renewals=tuple(
            Renewal(at=one.at.ToDatetime(UTC), by=one.by, reference=one.reference, until=one.until.ToDatetime(UTC))
            for one in record.renewals
        ),
        released_at=record.released_at.ToDatetime(UTC) if record.HasField("released_at") else None,
        released_by=tuple(record.released_by), release_reason=record.release_reason,
        superseded_by=record.superseded_by,
    )  # fmt: skip


def hold_to_record(hold: Hold, before: HoldRecord | None = None) -> HoldRecord:
    """A hold as it is kept; who asked for its release is taken over from `before`."""
    record = HoldRecord(
        id=hold.id, case_id=hold.case_id, kind=hold.kind, ground=hold.ground, authority_reference=hold.reference,
        placed_by=hold.placed_by, placed_at=convert.timestamp(hold.placed_at), jurisdiction=hold.jurisdiction,
        covers=sorted(hold.covers), superseded_by=hold.superseded_by, released_by=hold.released_by,
        release_reason=hold.release_reason, release_asked_by=before.release_asked_by if before else "",
    )  # fmt: skip
    for name, at in (("until", hold.until), ("released_at", hold.released_at)):
        if at is not None:
            getattr(record, name).CopyFrom(convert.timestamp(at))
    for one in hold.renewals:
        row = record.renewals.add(by=one.by, reference=one.reference)
        row.at.CopyFrom(convert.timestamp(one.at))
        row.until.CopyFrom(convert.timestamp(one.until))
    return record
