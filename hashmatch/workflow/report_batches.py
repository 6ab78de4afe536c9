"""Gathers reports in batches before they are sent, and lets go what cannot be sent so.

A report that is about to be opened for the first time joins the batch of its entry, where it may; a batch waits for
others as long as the settings say, but not past the clock of a case in it. Before it is opened it is asked again of
each report whether it may be there. What may not, and all of a batch that is too small, is filed by itself.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime

from hashmatch.audit.leaves import Appending
from hashmatch.audit.ledger import Ledger
from hashmatch.errors import NotFound
from hashmatch.store.env import Txn
from hashmatch.v1.reports_pb2 import ReportRow
from hashmatch.workflow import report as machine
from hashmatch.workflow.case_store import CaseStore
from hashmatch.workflow.report import Call, ReportRecord, next_step
from hashmatch.workflow.report_batch import (
    Apart,
    Batching,
    Together,
    enough,
    of_batch,
    takes_in,
    together,
    waits_until,
)
from hashmatch.workflow.report_members import join, leave, settle
from hashmatch.workflow.report_record import UNOPENED
from hashmatch.workflow.report_rows import calling, copied, is_batch, keep, record_of, stamp
from hashmatch.workflow.report_store import ReportStore

trace = logging.getLogger(__name__)


class Batches:
    """The batches of one ledger. For any thread."""

    def __init__(self, ledger: Ledger, store: ReportStore, batching: Batching | None) -> None:
        """`batching`: None: nothing is gathered, and what was gathered and not begun is let go."""
        self._ledger, self._store, self._batching = ledger, store, batching
        self._cases = CaseStore(ledger.env, ledger.sealing)

    def settled(self, taken: ReportRow) -> bool:
        """Gathers or lets go what is about to be opened, in a transaction of its own; whether it did, and then nothing
        is to be sent now."""
        if calling(taken) is not None:
            return False
        return self._sifted(taken) if is_batch(taken) else self._gathered(taken)

    # ── a report ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _gathered(self, taken: ReportRow) -> bool:
        if (batching := self._batching) is None:
            return False
        with self._ledger.env.read() as txn:
            if isinstance(self._waits(txn, taken, batching, self._ledger.now()), Apart):
                return False
        with self._ledger.changing() as log:
            member = self._store.held(log.txn, taken.id, taken.claim)
            if member is None:
                return True
            waits = self._waits(log.txn, member, batching, log.at)
            if isinstance(waits, Apart):
                self._store.put_next(log, copied(member), member)
                return True
            found, until = waits
            last = self._store.latest_batch(log.txn, found.prefix)
            before = last if last is not None and takes_in(last, batching, log.at) else None
            batch = copied(before) if before is not None else _opened(found, member, last, log.at, until)
            join(self._store, log, batch, member)
            until = log.at if len(batch.files) >= batching.at_most else until
            record = record_of(batch)
            keep(batch, replace(record, next_attempt_at=min(until, record.next_attempt_at)))
            self._store.put_next(log, batch, before)
        return True

    def _waits(self, txn: Txn, row: ReportRow, batching: Batching, now: datetime) -> tuple[Together, datetime] | Apart:
        """What it is batched by, and until when it may wait for others."""
        found = self._together(txn, row)
        if isinstance(found, Apart):
            return found
        until = waits_until(self._cases.get(txn, row.case_id), batching, now)
        return (found, until) if now < until else Apart("its case has no time to wait")

    def _together(self, txn: Txn, row: ReportRow) -> Together | Apart:
        try:
            case = self._cases.get(txn, row.case_id)
        except NotFound:
            return Apart("there is no case of it")
        return together(row, self._store.of_case(txn, case.id), case, list(self._cases.items(txn, case.id)))

    # ── a batch ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _sifted(self, taken: ReportRow) -> bool:
        record = record_of(taken)
        if record.stage not in UNOPENED or next_step(record, self._ledger.now()).call is not Call.SUBMIT:
            return False
        with self._ledger.env.read() as txn:
            apart = self._apart(txn, taken)
        if not apart and enough(taken, len(taken.files), self._batching):
            return False
        with self._ledger.changing() as log:
            batch = self._store.held(log.txn, taken.id, taken.claim)
            if batch is None or record_of(batch).state not in UNOPENED or calling(batch) is not None:
                return True
            apart = self._apart(log.txn, batch)
            left = len(batch.files) - len(apart)
            if not enough(batch, left, self._batching):
                self.give_up(log, batch, f"{left} that may be filed together are too few")
            elif apart:
                for member in apart:
                    leave(self._store, log, member, alone=True)
            else:  # there were some, and by now there are none
                self._store.put_next(log, copied(batch), batch)
        return True

    def _apart(self, txn: Txn, batch: ReportRow) -> list[ReportRow]:
        """Those of its reports that must not be in it any more."""
        members = [self._store.get(txn, one.report_id) for one in batch.files]
        return [one for one in members if self._together(txn, one) != of_batch(batch)]

    def give_up(self, log: Appending, before: ReportRow, why: str) -> None:
        """Has each report of a batch of which nothing is open filed by itself."""
        trace.info("batch %s is given up, and its reports are filed each by itself: %s", before.id, why)
        row = copied(before)
        keep(row, machine.withdraw(record_of(before), log.at))
        row.problem = f"given up, each is filed by itself: {why}"
        settle(self._store, log, row)
        self._store.put_next(log, row, before)


def _opened(found: Together, member: ReportRow, last: ReportRow | None, now: datetime, until: datetime) -> ReportRow:
    """A batch with nothing in it, not written yet."""
    number = int(last.id.removeprefix(found.prefix)) + 1 if last is not None else 1
    row = ReportRow(
        id=f"{found.prefix}{number:06}", authority=found.authority, environment=member.environment,
        entry=found.entry, queued_at=stamp(now), decided_at=member.decided_at,
    )  # fmt: skip
    record = ReportRecord.queued(row.id, environment=found.environment, files=0, decided_at=now)
    keep(row, replace(record, next_attempt_at=until))
    return row
