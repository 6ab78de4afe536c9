"""The cases of a ledger: rows that are kept in step with one another, inside transactions that the caller opened."""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from itertools import islice

from hashmatch.audit import tables
from hashmatch.audit.sealing import Sealing
from hashmatch.errors import NotFound
from hashmatch.store.env import Env, Txn
from hashmatch.v1.audit_pb2 import VerdictRecord
from hashmatch.v1.cases_pb2 import CASE_STATE_CLOSED, Case, CaseItem, CaseState, HoldRecord, Tier
from hashmatch.v1.common_pb2 import Subject
from hashmatch.workflow.case_facts import CLOCKS, met
from hashmatch.workflow.rows import Keys, Messages, time_key

MAX_SCANNED = 5000  # rows that one page looks at, so that no reader holds up the reuse of the file for long
_ITEM, _ORDER = struct.Struct(">I"), struct.Struct(">BB")


class CaseStore:
    """Reads and writes cases. For any thread."""

    def __init__(self, env: Env, sealing: Sealing) -> None:
        self._cases = Messages(env, "cases", Case)
        self._items = Messages(env, "case_items", CaseItem)
        self._holds = Messages(env, tables.HOLDS, HoldRecord)
        self._subjects, self._order = Keys(env, "case_subjects"), Keys(env, "case_order")
        self._entries, self._clocks = Keys(env, "entry_cases"), Keys(env, "case_clocks")
        self._chores, self._feedback = Keys(env, "case_chores"), Keys(env, tables.FEEDBACK)
        self._sealing = sealing

    def get(self, txn: Txn, case_id: str) -> Case:
        """A case.

        Raises:
            NotFound: there is none of that id.
            Corrupt: it is damaged.
        """
        found = self._cases.get(txn, case_id.encode())
        if found is None:
            raise NotFound("there is no case of that id")
        return found

    def latest_of(self, txn: Txn, subject: Subject) -> Case | None:
        """The latest case of a subject; None where nobody is named, or there was none."""
        case_id = self.latest_by(txn, self._sealing.subject_digest(subject))
        return self.get(txn, case_id) if case_id else None

    def latest_by(self, txn: Txn, digest: bytes) -> str:
        """The id of the latest case of a subject, by its digest; "" where there was none."""
        return (self._subjects.get(txn, digest) or "") if digest else ""

    def forget(self, txn: Txn, case_id: str) -> None:
        """Takes whose it is out of a case and its items; what was decided stays."""
        case = self.get(txn, case_id)
        case.subject.CopyFrom(_nobody(case.subject))
        self._cases.put(txn, case.id.encode(), case)
        for key, item in list(self._items.under(txn, case.id.encode() + b"\0")):
            item.subject.CopyFrom(_nobody(item.subject))
            self._items.put(txn, key, item)
            for entry in item.entries:  # it is not worked again: nobody could say whose it was
                self._entries.delete(txn, f"{entry}\0{case.id}".encode())

    def put(self, txn: Txn, case: Case, before: Case | None) -> None:
        """Writes a case, in place of what it was `before`; None: it is new."""
        if before is None:
            digest = self._sealing.subject_digest(case.subject)
            if digest and not case.drill:  # nobody is its subject: nothing joins it, and nothing follows it
                self._subjects.put(txn, digest, case.id)
        else:
            self._order.delete(txn, _order_key(before))
            for key in _clock_keys(before):
                self._clocks.delete(txn, key)
        self._cases.put(txn, case.id.encode(), case)
        self._order.put(txn, _order_key(case), "drill" if case.drill else "")
        for key in _clock_keys(case):
            self._clocks.put(txn, key)

    def add_item(self, txn: Txn, case: Case, item: CaseItem) -> None:
        """Adds an item to a case, which is then to be `put`."""
        self._items.put(txn, case.id.encode() + b"\0" + _ITEM.pack(case.items), item)
        case.items += 1
        if not self._sealing.subject_digest(item.subject):  # then its verdict is all that its keys are known by
            self._subjects.put(txn, self._sealing.verdict_digest(item.verdict_id), case.id)
        for entry in item.entries:
            self._entries.put(txn, f"{entry}\0{case.id}".encode())

    def made_by(self, txn: Txn, entry: str, limit: int, after: str = "") -> list[str]:
        """The ids of cases that an entry, as LIST/ENTRY, made; those that follow the case `after`."""
        prefix = f"{entry}\0".encode()
        rows = self._entries.since(txn, prefix + (after.encode() + b"\0" if after else b""), prefix)
        return [key[len(prefix) :].decode() for key, _ in islice(rows, limit)]

    def first_matched(self, txn: Txn, record: VerdictRecord) -> list[tuple[str, str]]:
        """List and entry id of the matches that were, or would have been, the first of their entries to make a case."""
        pairs = [(match.list, match.entry_id) for match in record.matches if not match.shadow]
        return [pair for pair in pairs if self._began(txn, "/".join(pair)) in ("", record.verdict_id)]

    def _began(self, txn: Txn, entry: str) -> str:
        """The verdict by which an entry made its first case; "" where it made none."""
        items = (item for id_ in self.made_by(txn, entry, 1) for _, item in self._items.under(txn, f"{id_}\0".encode()))
        return next((item.verdict_id for item in items if entry in item.entries), "")

    def put_chore(self, txn: Txn, entry: str, cleared_id: str, done: str | None = "") -> None:
        """Notes that the cases an entry made are to be worked again, those after the case `done`; None: all are."""
        key = f"{entry}\0{cleared_id}".encode()
        if done is None:
            self._chores.delete(txn, key)
        else:
            self._chores.put(txn, key, done)

    def first_chore(self, txn: Txn) -> tuple[str, str, str] | None:
        """An entry whose cases are to be worked again, the case that was cleared, and the last that was looked at."""
        found = self._chores.first(txn, b"")
        if found is None:
            return None
        entry, _, cleared_id = found[0].decode().partition("\0")
        return entry, cleared_id, found[1]

    def put_feedback(self, txn: Txn, case: Case, *, right: bool) -> None:
        """Notes what a decision says of the entries that matched, for who keeps their lists."""
        for entry in case.cluster_of:
            self._feedback.put(txn, f"{entry}\0{case.id}".encode(), "RIGHT" if right else "WRONG")

    def feedback(self, txn: Txn, list_name: str) -> Iterator[tuple[str, str, str]]:
        """What was decided of a list's entries: entry id, case id, RIGHT or WRONG; the latest of each case."""
        prefix = f"{list_name}/".encode()
        for key, said in self._feedback.since(txn, prefix, prefix):
            entry_id, _, case_id = key[len(prefix) :].decode().partition("\0")
            yield entry_id, case_id, said

    def items(self, txn: Txn, case_id: str, limit: int | None = None) -> Iterator[CaseItem]:
        """Items of a case, the newest first."""
        rows = self._items.under(txn, case_id.encode() + b"\0", newest=True)
        for number, (_, item) in enumerate(rows):
            if limit is not None and number >= limit:
                return
            yield item

    def put_items(self, txn: Txn, case_id: str, changed: dict[str, CaseItem]) -> None:
        """Writes items anew, by their verdicts' ids."""
        found = [(key, item.verdict_id) for key, item in self._items.under(txn, case_id.encode() + b"\0")]
        for key, verdict_id in found:
            if verdict_id in changed:
                self._items.put(txn, key, changed[verdict_id])

    def page(
        self,
        txn: Txn,
        *,
        states: Collection[CaseState.ValueType] = (),
        tiers: Collection[Tier.ValueType] = (),
        assignee: str = "",
        after: bytes = b"",
        limit: int,
    ) -> tuple[list[Case], bytes]:
        """Cases by tier and age, and where the next page begins; empty where there is none. Without `states`: those
        that are not closed. A page may have fewer than `limit`: it ends where MAX_SCANNED were looked at."""
        found: list[Case] = []
        for number, (key, _) in enumerate(self._order.since(txn, after)):
            if not states and key[0]:
                break
            if number == MAX_SCANNED:
                return found, key
            case = self.get(txn, key[_ORDER.size + 8 :].decode())
            wanted = (not states or case.state in states) and (not tiers or case.tier in tiers)
            if not wanted or (assignee and case.assignee != assignee):
                continue
            if len(found) == limit:
                return found, key
            found.append(case)
        return found, b""

    def open_by_tier(self, txn: Txn) -> dict[int, int]:
        """Cases that are not closed, by tier 0..3; drills are none. Reads a key of each."""
        found = dict.fromkeys(range(4), 0)
        for key, drill in self._order.since(txn, b"\0", b"\0"):
            found[key[1] - 1] += not drill
        return found

    def clocks_due(self, txn: Txn, now: datetime, limit: int) -> list[tuple[str, str]]:
        """Cases whose clock has passed, and which clock, the longest ago first."""
        end = time_key(now)
        found: list[tuple[str, str]] = []
        for key, _ in self._clocks.since(txn, b""):
            if key[:8] > end or len(found) == limit:
                break
            case_id, _, clock = key[8:].decode().partition("\0")
            found.append((case_id, clock))
        return found

    # ── holds ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def holds(self, txn: Txn, case_id: str) -> list[HoldRecord]:
        """Every hold there ever was on a case."""
        return [hold for _, hold in self._holds.under(txn, case_id.encode() + b"\0")]

    def every_hold(self, txn: Txn, case_id: str = "") -> Iterator[HoldRecord]:
        """Every hold there ever was, of one case or of all."""
        return (hold for _, hold in self._holds.under(txn, case_id.encode() + b"\0" if case_id else b""))

    def put_hold(self, txn: Txn, hold: HoldRecord) -> None:
        self._holds.put(txn, f"{hold.case_id}\0{hold.id}".encode(), hold)


def _nobody(subject: Subject) -> Subject:
    return Subject(surface=subject.surface, region=subject.region)


def _order_key(case: Case) -> bytes:
    closed = case.state == CASE_STATE_CLOSED
    return _ORDER.pack(closed, case.tier) + time_key(case.detected_at.ToDatetime(UTC)) + case.id.encode()


def _clock_keys(case: Case) -> list[bytes]:
    """Of the clocks that run."""
    return [
        time_key(getattr(case, f"{clock}_by").ToDatetime(UTC)) + f"{case.id}\0{clock}".encode()
        for clock in CLOCKS
        if getattr(case, f"{clock}_by").seconds and not met(case, clock) and clock not in case.breached
    ]
