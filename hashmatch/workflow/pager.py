"""Pages: raised with what is urgent, told to who is on call until somebody takes them, and over with their case.

    raise    an instruction `page` of the outbox reaches this destination: one page of the case, in the ledger
    tell     whoever is due by the rota, by every channel of theirs; written once it went out
    take     the case's claim, or an acknowledgement, by one who was told
    over     the case is decided; that of a drill, or what is raised about a decided case, once it is taken

What went out and was not written goes out again: who is called twice is better off than who is not called.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from hashmatch import clock, convert
from hashmatch.audit import tables
from hashmatch.audit.leaves import Appending
from hashmatch.audit.ledger import Ledger
from hashmatch.delivery.dispatch import Dispatch, Receipt
from hashmatch.errors import HashmatchError, NotFound
from hashmatch.store.env import Txn
from hashmatch.v1.audit_pb2 import Event
from hashmatch.v1.cases_pb2 import Case, PageRecord
from hashmatch.workflow import paging
from hashmatch.workflow.case import UNDECIDED
from hashmatch.workflow.case_facts import holder, state_of
from hashmatch.workflow.case_store import CaseStore
from hashmatch.workflow.destinations import PAGER
from hashmatch.workflow.page_record import page_id_of, page_of, page_to_record
from hashmatch.workflow.paging import Handover, Page, Send
from hashmatch.workflow.paging_table import State
from hashmatch.workflow.rota import Rota
from hashmatch.workflow.rows import Keys, Messages

NAME: Final = PAGER
IDLE_SECONDS: Final = 1.0  # between two looks
LEASE: Final = timedelta(minutes=1)  # of who tells people of a page; whoever dies meanwhile delays it by as much
MAX_PAGES: Final = 1000  # told at once

trace = logging.getLogger(__name__)


class Calling(Protocol):
    """Reaches people."""

    def reach(self, send: Send, page: Page, round: int) -> tuple[bool, str]:
        """Whether a message went out to that person, and what was wrong with the channels that did not work. A later
        `round` is news to whoever had the earlier; the same one twice is not."""

    def resolve(self, page: Page) -> None:
        """Ends the alert of a page in the services that keep one; best effort."""


class Pages:
    """The pages of a ledger, inside transactions that the caller opened. For any thread."""

    def __init__(self, ledger: Ledger, store: CaseStore) -> None:
        self._rows = Messages(ledger.env, tables.PAGES[0], PageRecord)
        self._open = Keys(ledger.env, tables.PAGES[1])
        self._cases = store

    def get(self, txn: Txn, page_id: str) -> PageRecord:
        """A page.

        Raises:
            NotFound: there is none of that id.
        """
        found = self._rows.get(txn, page_id.encode())
        if found is None:
            raise NotFound("there is no page of that id")
        return found

    def open(self, txn: Txn) -> list[PageRecord]:
        """Those that are not over, the oldest first."""
        return [self.get(txn, key.decode()) for key, _ in self._open.since(txn, b"")]

    def all(self, txn: Txn, limit: int = MAX_PAGES) -> Iterator[PageRecord]:
        """The newest first."""
        for number, (_, row) in enumerate(self._rows.under(txn, b"", newest=True)):
            if number == limit:
                return
            yield row

    def raise_(self, log: Appending, case_id: str, tier: int, page_id: str) -> PageRecord | None:
        """The open page of a case; a new one of that id where there is none. None: it is a drill that has ended.

        One about a decided case is another: that the case is decided does not end it.
        """
        if (before := self._rows.get(log.txn, page_id.encode())) is not None:
            return before
        case = self._cases.get(log.txn, case_id)
        decided = state_of(case) not in UNDECIDED
        if case.drill and decided:
            return None
        for row in self.open(log.txn):
            if row.case_id == case_id and row.tier <= tier and row.after_decision == decided:
                return row
        if case.drill:
            return self._write(log, paging.drill(page_id, case_id, log.at, tier=tier), "DRILL", "")
        page = paging.raise_page(page_id, case_id, tier, log.at, after_decision=decided)
        return self._write(log, page, "RAISE", "")

    def acknowledge(self, log: Appending, page_id: str, *, by: str) -> PageRecord:
        """The page, taken; a drill, or one about a decided case, is over with that.

        Raises:
            NotFound, Refused: as they say.
        """
        page = paging.acknowledge(page_of(self.get(log.txn, page_id)), by, log.at)
        row = self._write(log, page, "ACKNOWLEDGE", by)
        self._taken(log, page.case_id)
        over = page.drill or page.after_decision
        return self._write(log, paging.decided(page, log.at), "DECIDE", by) if over else row

    def _taken(self, log: Appending, case_id: str) -> None:
        """Somebody has the page, so the case is acknowledged; who works it claims it besides."""
        before, case = self._case_of(log.txn, case_id), Case()
        if before is None:
            return
        case.CopyFrom(before)
        if not case.HasField("acknowledged_at"):
            case.acknowledged_at.CopyFrom(convert.timestamp(log.at))
            self._cases.put(log.txn, case, before)

    def hand_over(self, log: Appending, rota: Rota, *, giver: str, taker: str, note: str) -> Handover:
        """What is open, with the taker.

        Raises:
            Refused, Malformed: as `paging.hand_over`.
        """
        rows = {row.id: row for row in self.open(log.txn)}
        given = paging.hand_over(map(page_of, rows.values()), rota, giver=giver, taker=taker, note=note, now=log.at)
        for page in given.open:
            step = "HAND_OVER" if page != page_of(rows[page.id]) else "NOTE"
            self._write(log, page, step, taker, rows[page.id].problem, f"{given.giver}: {given.note}")
        return given

    def take(self, row: PageRecord, ledger: Ledger, lease: timedelta) -> bool:
        """Whether this process is to tell people of a page now, and no other before the lease ends: of several that
        look at once, one is."""
        with ledger.changing() as log:
            now = self.get(log.txn, row.id)
            held = now.HasField("told_until") and log.at < now.told_until.ToDatetime(UTC) <= log.at + lease
            if held or now.state != row.state or now.told != row.told or now.timer_at != row.timer_at:
                return False
            now.told_until.CopyFrom(convert.timestamp(log.at + lease))
            self._rows.put(log.txn, now.id.encode(), now)
        return True

    def told(self, log: Appending, page_id: str, sends: Sequence[Send], problem: str) -> None:
        """Takes in what went out, and what did not."""
        row = self.get(log.txn, page_id)
        page = page_of(row)
        if page.state is State.OVER:
            return
        if not sends and row.problem == problem[:200]:  # as before: nothing to tell the log of
            row.ClearField("told_until")
            self._rows.put(log.txn, row.id.encode(), row)
            return
        if sends:
            page = paging.sent(page, sends, log.at)
        self._write(log, page, "TELL" if sends else "FAIL", ", ".join(send.to for send in sends), problem)

    def follow(self, log: Appending, row: PageRecord) -> bool:
        """Takes in what became of the page's case: claimed by one who was told, or decided. Whether it is over."""
        page = page_of(row)
        if page.after_decision:
            return False
        case = self._cases.get(log.txn, page.case_id)
        if state_of(case) not in UNDECIDED:
            self._write(log, paging.decided(page, log.at), "DECIDE", "")
            return True
        by = holder(case, log.at)
        if by in page.paged and page.state is not State.ACKNOWLEDGED:
            page = paging.acknowledge(page, by, log.at)
            self._write(log, page, "ACKNOWLEDGE", by)
            if page.drill:
                self._write(log, paging.decided(page, log.at), "DECIDE", by)
                return True
        return False

    def wants_to_follow(self, txn: Txn, row: PageRecord, now: datetime) -> bool:
        """Whether `follow` would change anything."""
        if row.after_decision:
            return False
        case = self._case_of(txn, row.case_id)
        if case is None:
            return False
        taken = holder(case, now) in row.paged and row.state != State.ACKNOWLEDGED
        return state_of(case) not in UNDECIDED or taken

    def _case_of(self, txn: Txn, case_id: str) -> Case | None:
        """None: there is none, and whoever was called about it can still take the page; others are called meanwhile."""
        try:
            return self._cases.get(txn, case_id)
        except NotFound:
            return None

    def _write(self, log: Appending, page: Page, step: str, by: str, problem: str = "", note: str = "") -> PageRecord:
        row, before = page_to_record(page), self._rows.get(log.txn, page.id.encode())
        row.problem = problem[:200]
        row.note = note or (before.note if before is not None else "")
        event = Event()
        said = event.paged
        said.page_id, said.case_id, said.tier, said.step, said.by = row.id, row.case_id, row.tier, step, by
        log.append(event)
        self._rows.put(log.txn, row.id.encode(), row)
        if page.state is State.OVER:
            self._open.delete(log.txn, row.id.encode())
        else:
            self._open.put(log.txn, row.id.encode())
        return row


class Pager:
    """A destination of the outbox, and the thread that tells people. Owns the channels."""

    name = NAME

    def __init__(
        self, ledger: Ledger, pages: Pages, rota: Rota, calling: Calling, *, now: Callable[[], datetime] = clock.now
    ) -> None:
        self._ledger, self._pages, self._rota, self._calling, self._now = ledger, pages, rota, calling, now
        self._failed: dict[str, datetime] = {}  # pages that reached nobody, and when; owned by the thread of `run`

    def deliver(self, dispatch: Dispatch) -> Receipt:
        """As `Destination.deliver`: the page is in the ledger when it returns. The same one twice is one page."""
        with self._ledger.changing() as log:
            self._pages.raise_(log, dispatch.case_id, int(dispatch.tier.removeprefix("T")), page_id_of(dispatch.key))
        return Receipt(confirmed=True)

    def close(self) -> None:
        """Nothing is open."""

    def run(self, stopping: threading.Event) -> None:
        """Tells people what is due, until told to stop."""
        while not stopping.wait(IDLE_SECONDS):
            try:
                self.tell_due()
            except HashmatchError as e:
                trace.error("pages wait: %s", e)
            except Exception:  # whatever it is, somebody must be called
                trace.exception("unforeseen error while paging")

    def tell_due(self) -> int:
        """Tells whoever is due; how many messages went out."""
        with self._ledger.env.read() as txn:
            open_ = self._pages.open(txn)
            changed = [row for row in open_ if self._pages.wants_to_follow(txn, row, self._now())]
        if changed:
            with self._ledger.changing() as log:
                over = {row.id for row in changed if self._pages.follow(log, row)}
            for row in changed:
                if row.id in over:
                    self._calling.resolve(page_of(row))
            with self._ledger.env.read() as txn:
                open_ = self._pages.open(txn)
        # The most urgent first: each waits for the channels of those before it.
        return sum(self._tell(row) for row in sorted(open_, key=lambda row: (row.tier, row.raised_at.seconds)))

    def _tell(self, row: PageRecord) -> int:
        now, page = self._now(), page_of(row)
        due = paging.pages(page, self._rota, now)
        if not due.sends or self._tried_lately(page, now):
            return 0
        if not self._pages.take(row, self._ledger, LEASE):
            return 0
        went, problems = [], []
        for send in due.sends:
            round_ = max(0, int((now - page.raised_at).total_seconds() // 60))
            reached, problem = self._calling.reach(send, page, round_)
            if reached:
                went.append(send)
            if problem:
                problems.append(f"{send.to}: {problem}")
        if problems:
            trace.error("page %s: %s", page.id, "; ".join(problems))
        with self._ledger.changing() as log:
            self._pages.told(log, page.id, went, "; ".join(problems))
        if went:
            self._failed.pop(page.id, None)
        else:
            self._failed[page.id] = now
        return len(went)

    def _tried_lately(self, page: Page, now: datetime) -> bool:
        """Whether nobody was reached a moment ago: channels are tried again four times a minute."""
        failed = self._failed.get(page.id)
        return failed is not None and 0 <= (now - failed).total_seconds() < 15
