"""Files reports: one call at a time, each begun and ended on disk, so that whoever dies when, none is lost or doubled.

    take     one transaction: the report that is due the longest is ours until the lease ends
    settle   where reports are batched, one transaction: it joins a batch, or leaves it (report_batches.py)
    begin    one transaction: which call is about to be made
    call     outside any transaction
    end      one transaction: what it came to; at FINISHED the receipt, the event and the case's own step together

Whoever finds a call that has begun and was not ended treats its reply as lost, which the state machine knows how to go
on from: a finish is repeated, and a report that may hold a file twice is retracted and begun again. So a process may be
killed between any two of these lines. A claim is numbered: who has lost it writes nothing any more.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Final

from hashmatch import clock
from hashmatch.audit.leaves import Appending
from hashmatch.audit.ledger import Ledger
from hashmatch.delivery.cybertip.client import CyberTipline
from hashmatch.delivery.cybertip.errors import failed
from hashmatch.delivery.cybertip.outcomes import Failed, Failure, Outcome
from hashmatch.delivery.cybertip.terms import Environment
from hashmatch.errors import Corrupt, HashmatchError, StoreFailed
from hashmatch.v1.reports_pb2 import ReportRow
from hashmatch.workflow.report import Call, State, Step, after, difference, next_step
from hashmatch.workflow.report_batch import Batching
from hashmatch.workflow.report_batches import Batches
from hashmatch.workflow.report_content import Reporter
from hashmatch.workflow.report_members import settle
from hashmatch.workflow.report_preparing import Evidence, Preparing, Ready
from hashmatch.workflow.report_record import OVER
from hashmatch.workflow.report_rows import (
    alerts_at,
    begin,
    calling,
    copied,
    is_batch,
    keep,
    percent,
    record_of,
    state_of,
    with_file,
)
from hashmatch.workflow.report_store import ReportStore

__all__ = ["Evidence", "Reporting"]

LEASE: Final = timedelta(minutes=5)  # longer than any two transactions; while a call lasts it is made longer
STEPS: Final = 32  # taken in one go
IDLE_SECONDS: Final = 1.0  # between two looks where nothing was due
_NO_CALL: Final = (Call.WAIT, Call.ASK_A_PERSON, Call.NOTHING)

trace = logging.getLogger(__name__)


class _CaseRefused(HashmatchError):
    """The case did not take it that its report is filed."""

    def __init__(self, case_id: str, why: str) -> None:
        super().__init__(why)
        self.case_id = case_id


class Reporting:
    """Files what is queued in one ledger. For any thread; several may run at once."""

    def __init__(
        self,
        ledger: Ledger,
        store: ReportStore,
        casework_reported: Callable[[Appending, str], object],
        client_of: Callable[[Environment], CyberTipline],
        evidence: Evidence | None,
        reporter: Reporter,
        now: Callable[[], datetime] = clock.now,
        jitter: Callable[[], float] = random.random,
        *,
        production: bool = False,
        lease: timedelta = LEASE,
        alerted: Callable[[Appending, ReportRow, str], object] = lambda _log, _row, _why: None,
        batch: Batching | None = None,
    ) -> None:
        """
        Args:
            casework_reported: told of a case whose report is filed or withdrawn, in the transaction that notes it.
            evidence: None: no file goes with any report.
            production: the switch. Without it nothing that is for production is sent anywhere.
            lease: after which what its taker left is another's; made longer while a call lasts.
            alerted: told why a person is wanted, in the transaction that notes it: an open report's time runs out, one
                waits, or was filed with other files than were sent; of a batch, with the first report that is in it.
            batch: when reports are batched; None: never.
        """
        self._ledger, self._store, self._reported, self._alerted = ledger, store, casework_reported, alerted
        self._now, self._jitter, self._lease = now, jitter, lease
        self._batches = Batches(ledger, store, batch)
        self._preparing = Preparing(ledger, store, client_of, evidence, reporter, now, production=production)

    def run(self, stopping: threading.Event) -> None:
        """Files what is due, until told to stop."""
        while not stopping.is_set():
            try:
                pause = 0.0 if self.run_due() else IDLE_SECONDS
            except HashmatchError as e:
                trace.error("reports wait: %s", e)
                pause = IDLE_SECONDS
            except Exception:  # whatever it is, what waits must not be forgotten
                trace.exception("unforeseen error while reporting")
                pause = IDLE_SECONDS
            stopping.wait(pause)

    def run_due(self, limit: int = STEPS) -> int:
        """Takes at most so many steps of what is due, the longest ago first; how many there were.

        Raises:
            StoreFull, StoreFailed, Corrupt: the ledger; what was taken is due again once its lease has ended.
        """
        for number in range(limit):
            with self._ledger.env.read() as txn:
                if not self._store.any_due(txn, self._now()):
                    return number
            with self._ledger.changing() as log:
                taken = self._store.take(log.txn, log.at, 1, self._lease)
            if not taken:
                return number
            self._advance(taken[0])
        return limit

    def _advance(self, taken: ReportRow) -> None:
        if self._batches.settled(taken):
            return
        ready = self._preparing.ready(taken)
        try:
            if self._begin(taken, ready) and ready is not None:
                with self._leased(taken):
                    outcome, problem = _called(ready)
                self._end(taken, ready, outcome, problem)
        finally:
            if ready is not None:
                ready.close()

    # ── begin ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _begin(self, taken: ReportRow, ready: Ready | None) -> bool:
        """Notes the call that is about to be made; whether there is one."""
        with self._ledger.changing() as log:
            before = self._store.held(log.txn, taken.id, taken.claim)
            if before is None:
                return False
            row = copied(before)
            self._tell_of_time(log, row)
            if (lost := calling(row)) is not None:
                self._take_in(log, row, lost, Failed(Failure.LOST), f"{lost.call.value}: nobody knows how it went")
                self._store.put_next(log, row, before)
                return False
            step = next_step(record_of(row), log.at)
            changed = row.files != taken.files or row.omitted != taken.omitted  # by a person, or by another match
            if step.call is Call.ASK_A_PERSON and state_of(row) is not State.FAILED:
                row.problem = "; ".join(filter(None, ("given up: too long after the decision", before.problem)))
                self._want_a_person(log, row, "waits for a person")
            if step.call in _NO_CALL or ready is None or ready.step != step or changed:
                self._store.put_next(log, row, before)
                return False
            if ready.apart:
                self._batches.give_up(log, before, ready.apart)
                return False
            if ready.failed is not None:
                self._take_in(log, row, step, ready.failed, ready.problem)
                self._store.put_next(log, row, before)
                return False
            if ready.attached is not None:
                for one in row.files:
                    one.without_file = one.verdict_id not in ready.attached
            begin(row, step, log.at)
            self._store.put(log, row, before)
        return True

    def _tell_of_time(self, log: Appending, row: ReportRow) -> None:
        """Tells of the part of an open report's time that is over, once of each."""
        record = record_of(row)
        passed = [one for one, at in alerts_at(record) if at <= log.at and percent(one) not in row.alerts_told]
        row.alerts_told.extend(percent(one) for one in passed)
        if passed:
            trace.error("report %s is open, and %d %% of its time is over", row.id, percent(passed[-1]))
            self._alert(log, row, f"is open and its time runs out: {passed[-1].name}")

    def _want_a_person(self, log: Appending, row: ReportRow, why: str) -> None:
        trace.error("report %s %s: %s", row.id, why, row.problem)
        self._alert(log, row, why)

    def _alert(self, log: Appending, row: ReportRow, why: str) -> None:
        self._alerted(log, self._store.get(log.txn, row.files[0].report_id) if is_batch(row) else row, why)

    # ── call ────────────────────────────────────────────────────────────────────────────────────────────────────────

    @contextmanager
    def _leased(self, taken: ReportRow) -> Iterator[None]:
        """Makes the lease longer as long as the block lasts."""
        done = threading.Event()

        def renew() -> None:
            while not done.wait(self._lease.total_seconds() / 3):
                try:
                    with self._ledger.changing() as log:
                        self._store.renew(log.txn, taken.id, taken.claim, log.at + self._lease)
                except HashmatchError as e:
                    trace.warning("the lease of report %s was not renewed: %s", taken.id, e)

        thread = threading.Thread(target=renew, name="report-lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    # ── end ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _end(self, taken: ReportRow, ready: Ready, outcome: Outcome, problem: str) -> None:
        untold: dict[str, str] = {}
        while True:
            try:
                return self._write(taken, ready, outcome, problem, untold)
            except _CaseRefused as e:
                # The receipt must be kept, whatever the case says of it.
                trace.error("report %s is filed, and case %s did not take that: %s", taken.id, e.case_id, e)
                untold[e.case_id] = f"the case did not take it: {e}"

    def _write(self, taken: ReportRow, ready: Ready, outcome: Outcome, problem: str, untold: Mapping[str, str]) -> None:
        with self._ledger.changing() as log:
            before = self._store.held(log.txn, taken.id, taken.claim)
            if before is None or state_of(before) in OVER:
                # Another has taken it meanwhile, or a person withdrew it while it was being opened.
                trace.warning("report %s: what %s came to is not counted", taken.id, ready.step.call.value)
                return
            row = copied(before)
            self._take_in(log, row, ready.step, outcome, "; ".join(filter(None, (problem, *untold.values()))))
            if ready.viewed is not None and ready.step.file is not None and not isinstance(outcome, Failed):
                told = with_file(row)[ready.step.file]
                told.viewed, told.exif_viewed = ready.viewed
            over = settle(self._store, log, row)
            self._store.put_next(log, row, before)
            for case_id in over:
                if case_id not in untold:
                    self._tell(log, case_id)

    def _tell(self, log: Appending, case_id: str) -> None:
        try:
            self._reported(log, case_id)
        except (StoreFailed, Corrupt):
            raise
        except HashmatchError as e:
            raise _CaseRefused(case_id, str(e)) from e

    def _take_in(self, log: Appending, row: ReportRow, step: Step, outcome: Outcome, problem: str) -> None:
        """The row after a step came to an outcome; not written yet."""
        record = after(record_of(row), step, outcome, log.at, jitter=self._jitter())
        row.ClearField("calling")
        keep(row, record)
        row.problem = problem
        if record.state is State.FAILED:
            self._want_a_person(log, row, "waits for a person")
        if record.state is State.FINISHED and (differs := difference(record)):
            said = f"{len(differs.missing)} missing, {len(differs.unknown)} unknown" if differs.compared else "not told"
            row.problem = "; ".join(filter(None, (problem, f"files that were filed, against those uploaded: {said}")))
            self._want_a_person(log, row, "was filed with other files than were sent")


def _called(ready: Ready) -> tuple[Outcome, str]:
    """What a call came to, and what is wrong where it failed."""
    try:
        return ready.call(), ""
    except HashmatchError as e:
        return failed(e), str(e)
    except Exception as e:  # of ours: what was sent by then nobody knows
        trace.exception("unforeseen error in a call to the CyberTipline")
        return Failed(Failure.LOST), f"{ready.step.call.value}: unforeseen: {type(e).__name__}"
