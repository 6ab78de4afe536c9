"""What a batch and the reports in it do to one another, inside transactions that the caller opened.

A report in a batch stays QUEUED and is never due: its batch is. Once that is filed the report is, with the batch's
number and receipt; where the batch is given up, the report is filed by itself. One that is not to be filed leaves its
batch at once where nothing is open; else the batch is retracted first, and begun again without it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from hashmatch.audit.leaves import Appending
from hashmatch.store.env import Txn
from hashmatch.v1.reports_pb2 import ReportFile, ReportRow
from hashmatch.workflow import report as machine
from hashmatch.workflow.report import Call
from hashmatch.workflow.report_batch import filed_in, without
from hashmatch.workflow.report_record import UNOPENED, State
from hashmatch.workflow.report_rows import calling, copied, is_batch, keep, record_of, state_of


class Rows(Protocol):
    """Where reports are kept: `ReportStore`."""

    def get(self, txn: Txn, report_id: str) -> ReportRow: ...

    def put(self, log: Appending, row: ReportRow, before: ReportRow | None) -> None: ...

    def put_next(self, log: Appending, row: ReportRow, before: ReportRow | None) -> None: ...


def join(rows: Rows, log: Appending, batch: ReportRow, member: ReportRow) -> None:
    """Puts a report into a batch's row, which is the caller's to write."""
    batch.files.append(ReportFile(verdict_id=member.files[0].verdict_id, report_id=member.id))
    row = copied(member)
    row.batch_id = batch.id
    rows.put_next(log, row, member)


def leave(rows: Rows, log: Appending, member: ReportRow, *, alone: bool = False) -> ReportRow:
    """A report that is not to be filed in its batch; nor, unless `alone`, by itself."""
    before = rows.get(log.txn, member.batch_id)
    batch = copied(before)
    record = record_of(batch)
    if record.stage not in UNOPENED:
        for one in batch.files:
            one.leaving = one.leaving or one.report_id == member.id
        keep(batch, without(record, log.at))
        if calling(batch) is None:
            rows.put_next(log, batch, before)
        else:  # what the call comes to still counts, and what is filed cannot be taken back
            rows.put(log, batch, before)
        return member
    _only(batch, [one for one in batch.files if one.report_id != member.id], log.at)
    if (call := calling(batch)) is not None and call.call is Call.SUBMIT:
        # What is being opened holds it, too: nobody is to go on with that, and it expires unfinished.
        batch.ClearField("calling")
        batch.claim += 1
    rows.put_next(log, batch, before)
    return _let_go(rows, log, member.id, alone=alone)


def settle(rows: Rows, log: Appending, row: ReportRow) -> list[str]:
    """What follows for the reports in a batch from the state that its row has come to, which the caller then writes;
    cases of which a report is over. Of a report that is no batch: its own case."""
    state = state_of(row)
    if not is_batch(row):
        return [row.case_id] if state in (State.FINISHED, State.RETRACTED) else []
    if state is State.FINISHED:
        return [_filed(rows, log, row, one.report_id) for one in row.files]
    if record_of(row).stage not in UNOPENED | {State.RETRACTED}:
        return []
    leaving = [_let_go(rows, log, one.report_id, alone=False).case_id for one in row.files if one.leaving]
    if state is State.RETRACTED:
        for one in row.files:
            if not one.leaving:
                _let_go(rows, log, one.report_id, alone=True)
    elif leaving:
        _only(row, [one for one in row.files if not one.leaving], log.at)
    return leaving


def _only(batch: ReportRow, files: list[ReportFile], now: datetime) -> None:
    """A batch of these alone, of which nothing is open; over where there are none."""
    del batch.files[:]
    batch.files.extend(ReportFile(verdict_id=one.verdict_id, report_id=one.report_id) for one in files)
    if not files:
        keep(batch, machine.withdraw(record_of(batch), now))


def _filed(rows: Rows, log: Appending, batch: ReportRow, report_id: str) -> str:
    before = rows.get(log.txn, report_id)
    row = copied(before)
    keep(row, filed_in(record_of(batch), record_of(before)))
    rows.put_next(log, row, before)
    return row.case_id


def _let_go(rows: Rows, log: Appending, report_id: str, *, alone: bool) -> ReportRow:
    before = rows.get(log.txn, report_id)
    row = copied(before)
    row.batch_id, row.alone = "", True
    if not alone:
        keep(row, machine.withdraw(record_of(row), log.at))
    rows.put_next(log, row, before)
    return row
