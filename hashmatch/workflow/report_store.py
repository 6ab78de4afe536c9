"""The reports of a ledger: queued with what made them due, taken by one at a time, and never two for one decision.

All of it inside transactions that the caller opened. A report's id is made of its case and of that case's round of
decision, so that asking twice finds the first. Whoever takes one has a numbered claim on it: once another has taken it,
what the first brings is not written any more.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from datetime import UTC, datetime, timedelta
from itertools import chain, islice, takewhile
from typing import Final

from hashmatch.audit import tables
from hashmatch.audit.leaves import Appending
from hashmatch.delivery.cybertip.terms import Environment
from hashmatch.errors import Malformed, NotFound, Refused
from hashmatch.store.env import Env, Txn
from hashmatch.v1.audit_pb2 import Event
from hashmatch.v1.cases_pb2 import Case, CaseItem
from hashmatch.v1.reports_pb2 import ReportEnvironment, ReportFile, ReportRow
from hashmatch.workflow import report as machine
from hashmatch.workflow.report import ReportRecord, State
from hashmatch.workflow.report_members import leave, settle
from hashmatch.workflow.report_record import OVER, Retraction
from hashmatch.workflow.report_rows import (
    authority_of,
    copied,
    environment_of,
    keep,
    look_again,
    receipt_of,
    record_of,
    stamp,
    state_of,
)
from hashmatch.workflow.rows import Keys, Messages, after_time, time_key

trace = logging.getLogger(__name__)

NCMEC: Final = "NCMEC"


class ReportStore:
    """Reads and writes reports. For any thread."""

    def __init__(self, env: Env) -> None:
        self._reports = Messages(env, tables.REPORTS[0], ReportRow)
        self._queue = Keys(env, tables.REPORTS[1])

    def get(self, txn: Txn, report_id: str) -> ReportRow:
        """A report.

        Raises:
            NotFound: there is none of that id.
            Corrupt: it is damaged.
        """
        found = self._reports.get(txn, report_id.encode())
        if found is None:
            raise NotFound("there is no report of that id")
        return found

    def of_case(self, txn: Txn, case_id: str) -> list[ReportRow]:
        """Those of a case, by round of decision; of no case, as a batch has it: none."""
        if not case_id:
            return []
        found = [row for _, row in self._reports.under(txn, _id(case_id, "").encode())]
        return sorted(found, key=lambda row: (row.round, row.queued_at.ToNanoseconds(), len(row.id), row.id))

    def page(
        self, txn: Txn, *, case_id: str = "", states: Collection[State] = (), after: str = "", limit: int
    ) -> tuple[list[ReportRow], str]:
        """Reports by id, of one case or of every, in some of these states or in any; and the id after which the next
        page begins, "" where there is none."""
        found: list[ReportRow] = []
        prefix = _id(case_id, "").encode() if case_id else b""
        for key, row in self._reports.under(txn, prefix, start=after.encode()):
            if key.decode() <= after or (states and state_of(row) not in states):
                continue
            if len(found) == limit:
                return found, found[-1].id
            found.append(row)
        return found, ""

    def queue(
        self, log: Appending, case: Case, items: Iterable[CaseItem], *,
        environment: Environment = Environment.TEST, authority: str = NCMEC,
    ) -> ReportRow:  # fmt: skip
        """The report about this round of decision on a case; a new one where there is none.

        One that is there already takes in items that came since, as long as nothing of it was sent; afterwards they are
        in another, so that none is left out. What an earlier round has filed, or is filing, is not filed again.
        """
        case_id, round_ = case.id, case.reviews_before
        every = self.of_case(log.txn, case_id)
        there = [row for row in every if row.round == round_]
        earlier = [row for row in every if row.round != round_ and environment_of(row) is environment]
        counted = [row for row in earlier if _stands(row)]
        counted += [row for row in there if state_of(row) is not State.RETRACTED]
        known = {file.verdict_id for row in counted for file in row.files}
        late = sorted(
            (item for item in items if item.verdict_id not in known),
            key=lambda item: (item.at.seconds, item.at.nanos, item.verdict_id),
        )
        if counted and not late:
            return counted[-1]
        last = there[-1] if there else None
        if last and state_of(last) is State.QUEUED and not last.HasField("calling") and not last.batch_id:
            return self._joined(log, last, late)
        decided = case.decided_at.ToDatetime(UTC) if case.HasField("decided_at") else log.at
        row = ReportRow(
            id=_id(case_id, f"{round_}-{len(there) + 1}" if there else round_), case_id=case_id, round=round_,
            authority=authority, environment=ReportEnvironment.Value(f"REPORT_ENVIRONMENT_{environment.name}"),
            files=[ReportFile(verdict_id=item.verdict_id) for item in late], queued_at=stamp(log.at),
            decided_at=stamp(decided),
        )  # fmt: skip
        keep(row, ReportRecord.queued(row.id, environment=environment, files=len(late), decided_at=log.at))
        self._schedule(log, row)
        self.put(log, row, None)
        return row

    def _joined(self, log: Appending, before: ReportRow, late: list[CaseItem]) -> ReportRow:
        row = copied(before)
        row.files.extend(ReportFile(verdict_id=item.verdict_id) for item in late)
        self.put(log, row, before)
        return row

    def latest_batch(self, txn: Txn, key: str) -> ReportRow | None:
        """The latest batch whose id begins so; None: there was none."""
        return next((row for _, row in self._reports.under(txn, key.encode(), newest=True)), None)

    def any_due(self, txn: Txn, now: datetime) -> bool:
        """Whether there is something to do."""
        first, last = self._queue.first(txn, b""), self._queue.last(txn, b"")
        return first is not None and last is not None and (first[0][:8] <= time_key(now) or last[:8] >= _beyond(now))

    def next_due(self, txn: Txn) -> datetime | None:
        """When there is something to do next; None: not before something else happens."""
        found = self._queue.first(txn, b"")
        return None if found is None else self.get(txn, after_time(found[0])).due_at.ToDatetime(UTC)

    def take(self, txn: Txn, now: datetime, limit: int, lease: timedelta) -> list[ReportRow]:
        """Reports that are due, the longest ago first; nobody else is given them before the lease ends. Those that are
        due later than they are ever put off are due now: the clock was set back since."""
        end = time_key(now)
        due = takewhile(lambda key: key[:8] <= end, (key for key, _ in self._queue.since(txn, b"")))
        put_off = (key for key, _ in self._queue.since(txn, _beyond(now)))
        found = [self.get(txn, after_time(key)) for key in list(islice(chain(due, put_off), limit))]
        for row in found:
            before = copied(row)
            row.claim += 1
            row.due_at.CopyFrom(stamp(now + lease))
            self._write(txn, row, before)
        return found

    def held(self, txn: Txn, report_id: str, claim: int) -> ReportRow | None:
        """A report as it is now, for whoever took it by that claim; None: another has taken it since."""
        row = self.get(txn, report_id)
        return row if row.claim == claim else None

    def renew(self, txn: Txn, report_id: str, claim: int, until: datetime) -> bool:
        """Makes a lease longer; whether it is still one's own."""
        before = self.held(txn, report_id, claim)
        if before is None or not before.HasField("due_at"):  # a person withdrew it meanwhile
            return False
        row = copied(before)
        row.due_at.CopyFrom(stamp(until))
        self._write(txn, row, before)
        return True

    def put(self, log: Appending, row: ReportRow, before: ReportRow | None) -> None:
        """Writes a report, in place of what it was `before`; None: it is new. A change of state is an event."""
        if before is None or before.state != row.state:
            event = Event()
            said = event.reported
            said.report_id, said.case_id, said.authority = row.id, row.case_id, authority_of(row)
            # The authority got one report: a batch's, however many cases have its receipt.
            in_batch = "_IN_BATCH" if row.batch_id and state_of(row) is State.FINISHED else ""
            said.state, said.receipt = state_of(row).name + in_batch, receipt_of(row)
            log.append(event)
        self._write(log.txn, row, before)

    def _write(self, txn: Txn, row: ReportRow, before: ReportRow | None) -> None:
        if before is not None and before.HasField("due_at"):
            self._queue.delete(txn, _due_key(before))
        if row.HasField("due_at"):
            self._queue.put(txn, _due_key(row))
        self._reports.put(txn, row.id.encode(), row)

    def put_next(self, log: Appending, row: ReportRow, before: ReportRow | None) -> None:
        """As `put`; and nobody has it any more, it is due when there is something to do."""
        self._schedule(log, row)
        self.put(log, row, before)

    def _schedule(self, log: Appending, row: ReportRow) -> None:
        due = look_again(row, log.at)
        row.ClearField("due_at")
        if due is not None:
            row.due_at.CopyFrom(stamp(due))

    # ── what a person does ──────────────────────────────────────────────────────────────────────────────────────────

    def resume(self, log: Appending, report_id: str, *, by: str, omit: Iterable[str] = ()) -> ReportRow:
        """Sets one going again that waits for a person, without some of the caller's attributes.

        Raises:
            NotFound: there is none of that id.
            Refused: it does not wait for a person.
        """
        before = self.get(log.txn, report_id)
        if before.batch_id:
            raise Refused(f"it is filed in the batch {before.batch_id}, which may be what waits")
        row = copied(before)
        keep(row, machine.resume(record_of(before), log.at))
        row.problem = ""
        row.omitted.extend(sorted({name for name in omit if name not in row.omitted}))
        self.put_next(log, row, before)
        trace.info("report %s was resumed by %s", report_id, by)
        return row

    def withdraw(self, log: Appending, report_id: str, *, by: str) -> ReportRow:
        """Has one retracted and not filed; at once where nothing is open. One that is in a batch leaves it. A batch is
        given up: its reports are filed each by itself.

        What a call under way comes to still counts, but for a report that it opens: that is left to expire unfinished.

        Raises:
            NotFound: there is none of that id.
            Refused: it is over. What was filed cannot be taken back.
        """
        before = self.get(log.txn, report_id)
        if before.batch_id and state_of(before) not in OVER:
            trace.info("report %s leaves the batch %s: withdrawn by %s", report_id, before.batch_id, by)
            return leave(self, log, before)
        row = copied(before)
        keep(row, machine.withdraw(record_of(before), log.at))
        row.problem = ""
        settle(self, log, row)
        if not row.HasField("calling"):
            self._schedule(log, row)
        elif state_of(row) is State.RETRACTED:
            row.ClearField("calling")
            row.ClearField("due_at")
        self.put(log, row, before)
        trace.info("report %s was withdrawn by %s", report_id, by)
        return row

    def call_off(self, log: Appending, case_id: str, *, by: str) -> list[ReportRow]:
        """Withdraws whatever of a case is not over, since the case was cleared; what there was."""
        open_ = [row for row in self.of_case(log.txn, case_id) if state_of(row) not in OVER]
        return [self.withdraw(log, row.id, by=by) for row in open_]


def _stands(row: ReportRow) -> bool:
    """Whether it is filed, or will be."""
    return state_of(row) is not State.RETRACTED and record_of(row).retraction is not Retraction.WITHDRAW


def _id(case_id: str, round_: int | str) -> str:
    if not case_id.removeprefix("c_"):
        raise Malformed("want a case's id", field="case_id")
    return f"r_{case_id.removeprefix('c_')}.{round_}"


def _beyond(now: datetime) -> bytes:
    """From then on reports are due later than they are ever put off."""
    return time_key(now + machine.FURTHEST + timedelta(microseconds=1))


def _due_key(row: ReportRow) -> bytes:
    return time_key(row.due_at.ToDatetime(UTC)) + row.id.encode()
