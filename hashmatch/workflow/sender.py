"""Sends what the outbox holds: for each destination a thread that takes what is due, sends it, and writes the outcome.

Nothing is sent inside a transaction. What is taken is leased: where this process dies, another takes it once the lease
has ended, and sends it again under the same id. One destination that is slow or down holds up no other.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Protocol

from hashmatch import clock
from hashmatch.audit.leaves import Appending
from hashmatch.audit.ledger import Ledger
from hashmatch.delivery import schedule
from hashmatch.delivery.dispatch import Destination, Dispatch, Gone, NotTaken, Receipt, RefusedForGood
from hashmatch.delivery.schedule import Breaker
from hashmatch.errors import HashmatchError
from hashmatch.store.env import Txn
from hashmatch.v1.cases_pb2 import DispatchRecord
from hashmatch.workflow import outbox as sending
from hashmatch.workflow.casework import Casework
from hashmatch.workflow.outbox import ASKED_AGAIN, State
from hashmatch.workflow.outbox_due import LEASE

BATCH: Final = 32  # taken at once
AT_ONCE: Final = 8  # sent at once to one destination
IDLE_SECONDS: Final = 0.25  # between two looks where nothing was due
CLOCK_SECONDS: Final = 5.0  # between two looks at the cases' clocks
CLOCKS: Final = 100  # cases whose clock passed, in one transaction

trace = logging.getLogger(__name__)

Outcome = Receipt | HashmatchError


@dataclass(frozen=True, slots=True)
class Line:
    """A destination, and whether what it took counts as done."""

    destination: Destination
    confirms: bool = True


@dataclass(frozen=True, slots=True)
class Standing:
    """How much is to be done."""

    open_cases: Mapping[int, int]  # by tier 0..3
    undelivered: int  # instructions


class Late(Protocol):
    """Others that must be answered in time."""

    def late(self, txn: Txn, now: datetime, limit: int) -> Sequence[object]:
        """Those that were not, and of which nobody was told."""

    def breaches(self, log: Appending, limit: int) -> int:
        """Tells of them; how many there were."""


class Sender:
    """Sends for one ledger, until closed. Owns its threads."""

    def __init__(
        self, ledger: Ledger, cases: Casework, lines: Mapping[str, Line], *, late: Late | None = None,
        now: Callable[[], datetime] = clock.now,
    ) -> None:  # fmt: skip
        """`late`: whose clocks are watched beside those of the cases."""
        self._ledger, self._cases, self._lines, self._late, self._now = ledger, cases, lines, late, now
        self._breakers = {name: Breaker() for name in lines}  # each owned by its line's thread
        self._disabled: set[str] = set()
        self.standing = Standing({}, 0)  # as of the last look at the clocks; replaced whole
        self._stopping = threading.Event()
        self._pools = {name: ThreadPoolExecutor(AT_ONCE, thread_name_prefix=f"send-{name}") for name in lines}
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begins to send, and to watch the cases' clocks."""
        work: list[Callable[[], float]] = [self._clocks]
        work += [lambda name=name: 0.0 if self.send(name) else IDLE_SECONDS for name in self._lines]  # type: ignore[misc]
        for one in work:
            thread = threading.Thread(target=self._repeat, args=(one,), name="sender", daemon=True)
            thread.start()
            self._threads.append(thread)

    def close(self) -> None:
        """Waits for the calls that have begun; what is not written by then is sent again by whoever comes next."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        for name, pool in self._pools.items():
            pool.shutdown()
            self._lines[name].destination.close()

    def _repeat(self, work: Callable[[], float]) -> None:
        while not self._stopping.is_set():
            try:
                pause = work()
            except HashmatchError as e:
                trace.error("the outbox waits: %s", e)
                pause = 1.0
            except Exception:  # whatever it is, what waits must not be forgotten
                trace.exception("unforeseen error while sending")
                pause = 1.0
            self._stopping.wait(pause)

    def _clocks(self) -> float:
        with self._ledger.env.read() as txn:
            due = self._cases.store.clocks_due(txn, self._now(), CLOCKS)
            self.standing = Standing(self._cases.store.open_by_tier(txn), self._cases.outbox.undelivered(txn))
            chores = self._cases.store.first_chore(txn) is not None
            late = self._late is not None and bool(self._late.late(txn, self._now(), 1))
        if due or chores or late:
            with self._ledger.changing() as log:
                for case_id, which in due:
                    self._cases.breach(log, case_id, which)
                if chores:
                    self._cases.work_siblings_again(log)
                if self._late is not None and late:
                    self._late.breaches(log, CLOCKS)
        return 0.0 if chores else CLOCK_SECONDS

    def send(self, name: str) -> int:
        """Sends what is due to one destination now, or ends it where it was undone since; how many there were."""
        breaker = self._breakers[name]
        if not breaker.lets_through(self._now()):
            return 0
        with self._ledger.env.read() as txn:
            if not self._cases.outbox.any_due(txn, name, self._now()):
                return 0
        with self._ledger.changing() as log:
            limit = 1 if breaker.opened else BATCH  # a probe is one message
            taken = self._cases.outbox.take(log.txn, name, log.at, limit, LEASE)
            wanted = self._cases.still_wanted(log, taken)
        if name in self._disabled:
            sent: list[Outcome] = [Gone("the endpoint wants nothing more")] * len(wanted)
        else:
            sent = list(self._pools[name].map(lambda one: self._deliver(name, one), wanted))
        with self._ledger.changing() as log:
            written = [self._write(log, name, one, outcome) for one, outcome in zip(wanted, sent, strict=True)]
            # What was undone while it was being sent ends, and nobody is told; read once for each case.
            for one in self._cases.still_wanted(log, [one for one in written if one is not None]):
                if sending.state_of(one) in (State.TIMED_OUT, State.BURIED) and not one.accepted_by:
                    self._given_up(log, one)
        return len(taken)

    def _deliver(self, name: str, one: DispatchRecord) -> Outcome:
        try:
            return self._lines[name].destination.deliver(dispatch_of(one))
        except HashmatchError as e:
            return e
        except Exception as e:  # an adapter's own mistake must not lose the instruction
            trace.exception("unforeseen error while sending to %s", name)
            return NotTaken(f"unforeseen: {type(e).__name__}")

    def _write(self, log: Appending, name: str, one: DispatchRecord, outcome: Outcome) -> DispatchRecord | None:
        """The instruction as it is now, where that was no success."""
        cases, breaker = self._cases, self._breakers[name]
        if isinstance(outcome, Receipt):
            self._breakers[name] = breaker.succeeded()
            was_delivered = sending.state_of(one) is State.DELIVERED
            if outcome.confirmed or not self._lines[name].confirms:
                cases.dispatched(log, lambda box: box.delivered(log, one.id, log.at), one.id)
                cases.dispatched(log, lambda box: box.confirm(log, one.id, failed=False), one.id)
            elif was_delivered and one.asked_again >= ASKED_AGAIN:
                return cases.dispatched(log, lambda box: box.missed(log, one.id), one.id)
            else:
                cases.dispatched(log, lambda box: box.delivered(log, one.id, log.at), one.id)
            return None
        if isinstance(outcome, Gone):
            if name not in self._disabled:
                trace.error("destination '%s' is disabled until a restart: %s", name, outcome)
            self._disabled.add(name)
        refused = isinstance(outcome, RefusedForGood | Gone)
        if not refused:
            self._breakers[name] = breaker.failed(log.at)
        after = outcome.retry_after if isinstance(outcome, NotTaken) else None
        when = None
        if not refused:
            when = schedule.again(one.attempts + 1, now=log.at, jitter=random.random(), retry_after=after)
        return cases.dispatched(log, lambda box: box.not_delivered(log, one.id, str(outcome), when), one.id)

    def _given_up(self, log: Appending, one: DispatchRecord) -> None:
        """Tells a person, where it is urgent; what was to page is not paged about."""
        trace.error("dispatch %s (%s to %s) is %s", one.id, one.verb, one.destination, sending.state_of(one))
        if one.verb != "page":
            self._cases.page(log, one.case_id, f"{one.verb} was not done")


def dispatch_of(one: DispatchRecord) -> Dispatch:
    """An instruction as it leaves."""
    about = one.subject
    return Dispatch(
        key=one.id, verb=one.verb, case_id=one.case_id, verdict_id=one.verdict_id, content_id=about.content_id,
        uploader_id=about.uploader_id, surface=about.surface, region=about.region, sequence=one.sequence,
        requested_at=one.requested_at.ToDatetime(UTC), policy_version=one.policy_version, tier=f"T{one.tier - 1}",
        reason=one.reason, entry=one.entry,
    )  # fmt: skip
