"""The outbox: instructions to the platform, committed with what caused them, sent afterwards, done once confirmed.

An instruction is REQUESTED in the very transaction of the verdict or decision that asks for it; a sender takes what is
due for a lease, sends it outside of any transaction, and writes what came of it. So whoever dies when, it is sent at
least once, under the same id. It is done only when the platform says so.

Those of one subject to one destination go one after another: only the first that waits is due. One that is given up
lets the next pass, and waits for a person.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta

from hashmatch import convert
from hashmatch.audit.leaves import Appending
from hashmatch.audit.sealing import Sealing
from hashmatch.errors import NotFound, Refused
from hashmatch.store.env import Env, Txn
from hashmatch.v1.audit_pb2 import Event
from hashmatch.v1.cases_pb2 import Case, DispatchRecord, DispatchState
from hashmatch.v1.common_pb2 import Subject
from hashmatch.workflow.outbox_due import LEASE, Due, lane
from hashmatch.workflow.outbox_table import CONTAINING, GIVEN_UP, NEXT, State, state_of, table, undone
from hashmatch.workflow.rows import Keys, Messages

__all__ = ["ASKED_AGAIN", "CONTAINING", "GIVEN_UP", "NEXT", "Outbox", "State", "state_of", "table", "undone"]

CONFIRM_WITHIN = timedelta(hours=1)  # after delivery; then it is asked for again, and later a person is
ASKED_AGAIN = 3  # times that what was delivered and not confirmed is delivered again
MAX_SCANNED = 5000  # rows that one page looks at
IN_ONE = 64  # numbers in a lane that one event of the log has
_NUMBER = struct.Struct(">Q")


class Outbox:
    """Reads and writes instructions, inside transactions that the caller opened. For any thread."""

    def __init__(self, env: Env, sealing: Sealing) -> None:
        self._dispatches = Messages(env, "dispatches", DispatchRecord)
        self._due, self._lanes = Due(env), Keys(env, "lanes")
        self._sealing = sealing

    def get(self, txn: Txn, dispatch_id: str) -> DispatchRecord:
        """An instruction.

        Raises:
            NotFound: there is none of that id.
        """
        found = self._dispatches.get(txn, dispatch_id.encode())
        if found is None:
            raise NotFound("there is no dispatch of that id")
        return found

    def of_case(self, txn: Txn, case_id: str) -> Iterator[DispatchRecord]:
        """Those of a case, in the order of their ids."""
        return (one for _, one in self._dispatches.under(txn, f"{case_id}.".encode()))

    def forget(self, txn: Txn, case_id: str) -> None:
        """Takes whose they are out of the instructions of a case."""
        for one in list(self.of_case(txn, case_id)):
            one.subject.CopyFrom(Subject(surface=one.subject.surface, region=one.subject.region))
            self._put(txn, one)

    def page(
        self, txn: Txn, *, case_id: str = "", states: Collection[DispatchState.ValueType] = (), after: str = "",
        limit: int,
    ) -> tuple[list[DispatchRecord], str]:  # fmt: skip
        """Those of a case, or of every case, in some of these states or in any, by id; and the id after which the next
        page begins. A page may have fewer than `limit`: it ends where MAX_SCANNED were looked at."""
        found: list[DispatchRecord] = []
        last = after
        rows = self._dispatches.under(txn, f"{case_id}.".encode() if case_id else b"", start=after.encode())
        for number, (key, one) in enumerate(rows):
            if number == MAX_SCANNED:
                return found, last
            last = key.decode()
            if last <= after or (states and one.state not in states):
                continue
            if len(found) == limit:
                return found, found[-1].id
            found.append(one)
        return found, ""

    def request(
        self, log: Appending, case: Case, *, verb: str, destination: str, verdict_id: str, about: Subject, reason: str,
        entry: str = "",
    ) -> DispatchRecord:  # fmt: skip
        """A new instruction, counted in `case`, which is then to be put."""
        case.dispatches += 1
        case.unsettled += 1
        case.uncontained += verb in CONTAINING
        one = DispatchRecord(
            id=f"{case.id}.{case.dispatches:06d}", case_id=case.id, verdict_id=verdict_id, verb=verb, subject=about,
            destination=destination, policy_version=case.policy_version, tier=case.tier, reason=reason,
            requested_at=convert.timestamp(log.at), entry=entry,
        )  # fmt: skip
        self._enqueue(log, one)
        return one

    def _enqueue(self, log: Appending, one: DispatchRecord) -> None:
        one.state = DispatchState.DISPATCH_STATE_REQUESTED
        line = self._lane(one)
        last = self._lanes.last(log.txn, line)
        behind = 0 if last is None else _NUMBER.unpack_from(last, len(line))[0]
        # Grows with the log, so that a receiver can tell which of two is the later, whatever the clock did.
        one.sequence = max(behind + 1, log.size * IN_ONE)
        self._lanes.put(log.txn, line + _NUMBER.pack(one.sequence), one.id)
        if last is None:
            self._wake(log.txn, one, log.at)
        else:
            one.ClearField("due_at")  # its turn comes once those before it are gone
            self._put(log.txn, one)

    def undelivered(self, txn: Txn) -> int:
        """Instructions that the platform does not have yet."""
        return self._lanes.count(txn)

    def any_due(self, txn: Txn, destination: str, now: datetime) -> bool:
        """Whether something is due to a destination."""
        return self._due.any(txn, destination, now)

    def take(self, txn: Txn, destination: str, now: datetime, limit: int, lease: timedelta) -> list[DispatchRecord]:
        """What is due to a destination, the longest ago first; nobody else is given it before the lease ends.

        What was delivered and was not confirmed in time is due again, too; since the clock was set back it has its hour
        for a confirmation anew.
        """
        found = []
        for dispatch_id, set_back in self._due.ids(txn, destination, now, limit):
            one = self.get(txn, dispatch_id)
            if set_back and state_of(one) is State.DELIVERED:
                self._wake(txn, one, now + CONFIRM_WITHIN)
            else:
                self._wake(txn, one, now + lease)
                found.append(one)
        return found

    def delivered(self, log: Appending, dispatch_id: str, now: datetime) -> DispatchRecord:
        """The platform has it; nothing where it has said more by now."""
        one = self.get(log.txn, dispatch_id)
        if state_of(one) not in (State.REQUESTED, State.DELIVERED):
            return one
        one.attempts += 1
        if state_of(one) is State.DELIVERED:
            one.asked_again += 1
        else:
            one.delivered_at.CopyFrom(convert.timestamp(now))
            one.ClearField("problem")
            self._move(log, one, State.DELIVERED)
            self._leave_lane(log.txn, one, now)
        self._wake(log.txn, one, now + CONFIRM_WITHIN)
        return one

    def not_delivered(self, log: Appending, dispatch_id: str, problem: str, again: datetime | None) -> DispatchRecord:
        """An attempt failed; it is tried again then, or given up."""
        one = self.get(log.txn, dispatch_id)
        if state_of(one) not in (State.REQUESTED, State.DELIVERED):
            return one
        one.attempts += 1
        one.problem = problem[:200]
        if again is not None:
            self._wake(log.txn, one, again)
            return one
        self._settle(log, one, State.TIMED_OUT if state_of(one) is State.DELIVERED else State.BURIED, log.at)
        return one

    def make_way(self, txn: Txn, dispatch_id: str, instead: str, now: datetime) -> None:
        """Has what undoes an instruction due once nobody can be sending that any more, and no later."""
        one, undoing = self.get(txn, dispatch_id), self.get(txn, instead)
        if not one.HasField("due_at"):
            return
        due = one.due_at.ToDatetime(UTC)
        if state_of(one) is State.REQUESTED:  # in one line with it: that one ends, once it is taken
            self._wake(txn, one, min(due, now + LEASE))
        elif due <= now + LEASE and undoing.HasField("due_at"):  # it may be being asked for again
            self._wake(txn, undoing, max(due, undoing.due_at.ToDatetime(UTC)))

    def supersede(self, log: Appending, dispatch_id: str, *, by: str, why: str) -> DispatchRecord:
        """What was undone since is sent no more and wants nobody, whoever accepted it; nothing where it is done."""
        one = self.get(log.txn, dispatch_id)
        state = state_of(one)
        if one.accepted_by == by or state is State.CONFIRMED:
            return one
        one.accepted_by, one.accepted_why = by, why
        one.problem = one.problem if state is State.FAILED else why  # the platform's word stays
        if state not in GIVEN_UP:
            self._settle(log, one, State.TIMED_OUT if state is State.DELIVERED else State.BURIED, log.at)
        self._tell(log, one, "ACCEPTED", by)
        self._put(log.txn, one)
        return one

    def missed(self, log: Appending, dispatch_id: str) -> DispatchRecord:
        """Nobody confirmed what was delivered, however often."""
        one = self.get(log.txn, dispatch_id)
        if one.state == DispatchState.DISPATCH_STATE_DELIVERED:
            self._settle(log, one, State.TIMED_OUT, log.at)
        return one

    def confirm(self, log: Appending, dispatch_id: str, *, failed: bool, problem: str = "") -> DispatchRecord:
        """The platform says what became of it. Saying the same again changes nothing.

        Raises:
            NotFound: there is none of that id.
            Refused: it said otherwise before.
        """
        one = self.get(log.txn, dispatch_id)
        wanted = State.FAILED if failed else State.CONFIRMED
        if state_of(one) is wanted:
            return one
        one.problem = problem[:200] if failed else ""
        self._settle(log, one, wanted, log.at)
        return one

    def retry(self, log: Appending, dispatch_id: str) -> DispatchRecord:
        """Sends again what was given up, under the same id.

        Raises:
            NotFound: there is none of that id.
            Refused: it is on its way, or done.
        """
        one = self.get(log.txn, dispatch_id)
        if state_of(one) in (State.REQUESTED, State.DELIVERED, State.CONFIRMED):
            raise Refused(f"it is {state_of(one)}: there is nothing to send again")
        self._move(log, one, State.REQUESTED)
        one.attempts = one.asked_again = 0
        for name in ("done_at", "accepted_by", "accepted_why"):
            one.ClearField(name)
        self._enqueue(log, one)
        return one

    def accept(self, log: Appending, dispatch_id: str, *, by: str, why: str) -> DispatchRecord:
        """What was given up stays undone, by what a person says; it may be confirmed or sent again all the same.

        Raises:
            NotFound: there is none of that id.
            Refused: it is on its way, or done; or somebody has said so.
        """
        one = self.get(log.txn, dispatch_id)
        if state_of(one) not in GIVEN_UP:
            raise Refused(f"it is {state_of(one)}: only what was given up can be accepted as undone")
        if one.accepted_by:
            raise Refused(f"{one.accepted_by} has said so already")
        one.accepted_by, one.accepted_why = by, why
        self._tell(log, one, "ACCEPTED", by)
        self._put(log.txn, one)
        return one

    def _settle(self, log: Appending, one: DispatchRecord, state: State, now: datetime) -> None:
        before = state_of(one)
        self._move(log, one, state)
        one.done_at.CopyFrom(convert.timestamp(now))
        self._unwake(log.txn, one)
        if before is State.REQUESTED:
            self._leave_lane(log.txn, one, now)
        self._put(log.txn, one)

    def _move(self, log: Appending, one: DispatchRecord, state: State) -> None:
        before = state_of(one)
        if state not in NEXT[before]:
            raise Refused(f"what is {before} cannot become {state}")
        one.state = DispatchState.Value(f"DISPATCH_STATE_{state}")
        self._tell(log, one, state.value)

    def _tell(self, log: Appending, one: DispatchRecord, outcome: str, by: str = "") -> None:
        event = Event()
        said = event.delivered
        said.dispatch_id, said.case_id, said.verb, said.destination = one.id, one.case_id, one.verb, one.destination
        said.attempt, said.outcome, said.by = one.attempts, outcome, by
        log.append(event)

    def _leave_lane(self, txn: Txn, one: DispatchRecord, now: datetime) -> None:
        line = self._lane(one)
        key = line + _NUMBER.pack(one.sequence)
        head = self._lanes.first(txn, line)
        self._lanes.delete(txn, key)
        if head is None or head[0] != key:
            return
        if (following := self._lanes.first(txn, line)) is not None:
            self._wake(txn, self.get(txn, following[1]), now)

    def _wake(self, txn: Txn, one: DispatchRecord, at: datetime) -> None:
        """Makes it due then, and no more when it was."""
        self._unwake(txn, one)
        one.due_at.CopyFrom(convert.timestamp(at))
        self._due.put(txn, one)
        self._put(txn, one)

    def _unwake(self, txn: Txn, one: DispatchRecord) -> None:
        if one.HasField("due_at"):
            self._due.delete(txn, one)
            one.ClearField("due_at")

    def _put(self, txn: Txn, one: DispatchRecord) -> None:
        self._dispatches.put(txn, one.id.encode(), one)

    def _lane(self, one: DispatchRecord) -> bytes:
        return lane(one, self._sealing.subject_digest(one.subject))
