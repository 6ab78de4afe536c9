"""One thread that turns whatever waits into one transaction and one sync: group commit.

While the disk syncs one group the next one gathers, so the cost of a sync is shared by all who wait, and alone nobody
waits for company. Facts that are only remembered are answered without waiting, so they may linger until something is
logged or a moment has passed. The queue is bounded; a full queue is refused at once. Nothing is acknowledged before its
sync.

After a transaction found no room, its group has failed and the next may succeed: room is tried for once a second.
After any other failure (a sync that failed, above all) the writer stops for good and says so: what the kernel then
holds is not what the disk holds, and only a restart reads the truth again.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from hashmatch.errors import HashmatchError, Overloaded, StoreFailed, StoreFull, Unavailable
from hashmatch.v1.audit_pb2 import Event, VerdictRecord
from hashmatch.v1.store_pb2 import RequestRecord

MAX_GROUP = 1024  # facts in one transaction: about 50 ms of work, so that nobody waits long behind others
MAX_QUEUED = 16_384  # facts waiting: two seconds of the fastest writing measured, above any admission bound
MAX_QUEUED_BYTES = 64 << 20  # of records waiting, against a few large ones
LINGER_SECONDS = 0.1  # that facts which are not logged may wait for company: a tenth of the syncs at 100 a second
POLL_SECONDS = 1.0  # between two looks for what others wrote, while nothing else is to do
RETRY_SECONDS = 1.0  # between two tries for room on a full disk, while nothing else is written


@dataclass(frozen=True, slots=True, eq=False)
class Waiting:
    """One fact to be written, and the promise that it was: the future's value is its sequence, 0 when not logged."""

    fact: Event  # without sequence and time
    request: bytes  # key in `requests`
    answer: RequestRecord | None  # what is kept under it; None: nothing
    log: bool
    size: int  # bytes of the fact
    record: VerdictRecord | None  # of whoever waits, who reads it once `written` is done; None: nobody does
    written: Future[int] = field(default_factory=Future)


class GroupWriter:
    """Gathers facts from any thread and writes them in groups on its own."""

    def __init__(
        self,
        commit: Callable[[Sequence[Waiting]], Sequence[int | HashmatchError]],
        tidy: Callable[[], bool],
        tidy_seconds: float,
        committed: Callable[[int, float], None] = lambda _facts, _seconds: None,
        *,
        poll: Callable[[], None] = lambda: None,
    ) -> None:
        """`commit` writes a group in one synced transaction and says for each fact its sequence or why it is refused.

        `tidy` is called on the same thread every `tidy_seconds`, and as a try for room while the disk is full. It says
        whether there is more to do: then it is called again at once, after the group that waits meanwhile. `committed`
        is told of every group that was written how many facts it had and how many seconds that took. `poll` is called
        about once a second, and is cheap where there is nothing to do.
        """
        self._poll = poll
        self._commit, self._tidy, self._tidy_seconds = commit, tidy, tidy_seconds
        self._committed = committed
        self._wake = threading.Condition()  # guards the seven below
        self._queue: deque[Waiting] = deque()
        self._to_log = 0  # of those queued
        self._queued_since = 0.0  # monotonic seconds when the queue was last empty
        self._queued_bytes = 0
        self._closing = False
        self._failure: HashmatchError | None = None
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="ledger-writer", daemon=True)
        self._thread.start()

    def put(self, fact: Waiting) -> None:
        """Queues a fact; its future tells the rest. Never waits for the disk.

        Raises:
            Overloaded: the queue is full.
            StoreFailed, Corrupt: writing has failed for good.
            Unavailable: the writer is closed.
        """
        with self._wake:
            if self._stopped and self._failure:
                raise _again(self._failure)
            if self._closing:
                raise Unavailable("the ledger is closed")
            full = len(self._queue) >= MAX_QUEUED or self._queued_bytes + fact.size > MAX_QUEUED_BYTES
            if self._queue and full:
                raise Overloaded("more verdicts wait to be written than the disk keeps up with")
            # A future that runs cannot be cancelled: a caller who leaves takes nothing with him.
            fact.written.set_running_or_notify_cancel()
            if not self._queue:
                self._queued_since = time.monotonic()
            self._queue.append(fact)
            self._queued_bytes += fact.size
            self._to_log += fact.log
            if fact.log or len(self._queue) in (1, MAX_GROUP):
                self._wake.notify()

    @property
    def failure(self) -> HashmatchError | None:
        """Why the last transaction failed; None once one succeeded."""
        with self._wake:
            return self._failure

    @property
    def stopped(self) -> bool:
        """Whether nothing will be written any more."""
        return self._stopped

    @property
    def queued(self) -> int:
        """Facts that wait."""
        return len(self._queue)

    def close(self) -> None:
        """Writes what is queued, calls `tidy` once more, and ends."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()

    def _run(self) -> None:
        due = time.monotonic() + self._tidy_seconds
        while True:
            group, closing = self._next_group(min(due, time.monotonic() + POLL_SECONDS))
            if group:
                self._write(group)
            if time.monotonic() >= due or (not group and (closing or self._failure)):
                due = self._tidied()
            elif not group:
                self._attempt(self._poll)
            if closing and not group:
                return

    def _tidied(self) -> float:
        """Calls `tidy`; when it is due again, in monotonic seconds."""
        more: list[bool] = []
        self._attempt(lambda: more.append(self._tidy()))
        return time.monotonic() + (0.0 if any(more) else self._tidy_seconds)

    def _next_group(self, due: float) -> tuple[list[Waiting], bool]:
        """What waits, at most a group, and whether to close; nothing where it is time for something else."""
        with self._wake:
            until = min(due, time.monotonic() + RETRY_SECONDS) if self._failure else due
            while not self._closing and (left := self._patience(until)) > 0:
                self._wake.wait(left)
            group = [self._queue.popleft() for _ in range(min(len(self._queue), MAX_GROUP))]
            self._queued_bytes -= sum(fact.size for fact in group)
            self._to_log -= sum(fact.log for fact in group)
            return group, self._closing

    def _patience(self, until: float) -> float:
        """Seconds for which nothing need be written yet."""
        if self._to_log or len(self._queue) >= MAX_GROUP:
            return 0.0
        if self._queue:
            until = min(until, self._queued_since + LINGER_SECONDS)
        return until - time.monotonic()

    def _write(self, group: list[Waiting]) -> None:
        outcomes: list[int | HashmatchError] = []
        began = time.monotonic()
        failure = self._attempt(lambda: outcomes.extend(self._commit(group)))
        if failure is None:
            self._committed(len(group), time.monotonic() - began)
        for fact, outcome in zip(group, [failure] * len(group) if failure else outcomes, strict=True):
            if isinstance(outcome, HashmatchError):
                fact.written.set_exception(_again(outcome))
            else:
                fact.written.set_result(outcome)

    def _attempt(self, work: Callable[[], None]) -> HashmatchError | None:
        """Does `work`, unless writing has stopped; notes and returns why it failed."""
        failure = self._failure if self._stopped else None  # only this thread changes them
        if failure is None:
            try:
                work()
            except HashmatchError as e:
                failure = e
            except Exception as e:  # whatever it is, those who wait must hear of it
                failure = StoreFailed(f"the ledger cannot be written: {e!r}")
        with self._wake:
            self._failure = failure
            self._stopped = failure is not None and not isinstance(failure, StoreFull)
        return failure


def _again(error: HashmatchError) -> HashmatchError:
    """The same error for one more who waits: an exception raised in two threads would mix their tracebacks."""
    return type(error)(str(error))
