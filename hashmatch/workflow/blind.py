"""Second looks at decisions, by people who do not know what the first decided. In the caller's transaction.

Which cases are looked at twice, and by whom, is drawn by double_review.py when the decision is written. Who does not
answer in time is asked no more, and somebody else is. Where the two differ a lead looks at the case again: one of them
was wrong, and somebody may be accused, or in danger, because of it.
"""

from __future__ import annotations

import hashlib
import logging
import struct
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from typing import Final

from hashmatch import convert
from hashmatch.audit import tables
from hashmatch.audit.leaves import Appending
from hashmatch.errors import Forbidden, Malformed, NotFound, Refused
from hashmatch.store.env import Env, Txn
from hashmatch.v1.cases_pb2 import (
    DECISION_CLEAR,
    DECISION_CONFIRM,
    BlindReview,
    Case,
    CaseItem,
    Decision,
    DispatchRecord,
)
from hashmatch.workflow.case_store import CaseStore
from hashmatch.workflow.double_review import Decided, Sampling, draw, second_reviewer
from hashmatch.workflow.inputs import spelling
from hashmatch.workflow.rows import Keys, Messages, time_key

IMPACT: Final = frozenset({"suspend", "remove_copies"})  # verbs that do much to somebody
DEADLINE: Final = timedelta(hours=72)  # until another is asked
_ROUND: Final = struct.Struct(">I")
_TIME_BYTES: Final = 8  # of a time in a key

trace = logging.getLogger(__name__)


class Blind:
    """The second looks of a ledger. For any thread."""

    def __init__(
        self, env: Env, store: CaseStore, sampling: Sampling, people: Callable[[], Collection[str]], *,
        listed_since: Callable[[str], datetime | None] = lambda _list: None, deadline: timedelta = DEADLINE,
    ) -> None:  # fmt: skip
        """
        Args:
            people: whoever may review cases now and is told of no decision otherwise, by name.
            listed_since: when a list was made; None: nobody knows.
            deadline: that whoever is asked has; then another is.
        """
        self._reviews, self._decisions = Messages(env, tables.BLIND_REVIEWS, BlindReview), Keys(env, tables.REVIEWERS)
        self._due = Keys(env, tables.BLIND_DUE)  # of those that nobody has said
        self._store, self._sampling, self._people = store, sampling, people
        self._listed_since, self._deadline = listed_since, deadline

    def decided(self, log: Appending, case: Case, sent: Collection[DispatchRecord]) -> BlindReview | None:
        """A second look at the decision that was just made, where one is drawn and somebody is there; else None."""
        if case.drill:  # it tells nobody's quality
            return None
        review = case.reviews[-1]
        made = int(self._decisions.get(log.txn, review.by.encode()) or "0")
        self._decisions.put(log.txn, review.by.encode(), str(made + 1))
        items = list(self._store.items(log.txn, case.id))
        within = [item.bits_within for item in items if item.HasField("bits_within")]
        known = Decided(
            digest=_digest(case.id, case.reviews_before), reviewer_decisions=made, list_age=self._age(items, log.at),
            bits_within=max(within, default=None), confirmed=review.decision == DECISION_CONFIRM, tier=case.tier - 1,
            high_impact=bool(case.authority) or any(one.verb in IMPACT for one in sent),
        )  # fmt: skip
        drawn = draw(known, self._sampling)
        if not drawn.second:
            return None
        try:
            second = second_reviewer(known.digest, self._sampling, self._people(), _seen(case))
        except Refused:
            return None  # nobody else works here; agreement is then told of fewer pairs
        row = BlindReview(
            id=f"{case.id}.{case.reviews_before}", case_id=case.id, round=case.reviews_before, assigned_to=second,
            asked_at=convert.timestamp(log.at), why=drawn.why, permille=drawn.permille, first=review.decision,
            first_by=review.by, due_by=convert.timestamp(log.at + self._deadline),
        )  # fmt: skip
        self._put(log.txn, row)
        return row

    def _age(self, items: Iterable[CaseItem], now: datetime) -> timedelta | None:
        """Of the youngest list that matched; None: none did, or nobody knows."""
        lists = {entry.partition("/")[0] for item in items for entry in item.entries}
        return min((now - at for name in lists if (at := self._listed_since(name)) is not None), default=None)

    def waiting(self, txn: Txn, name: str) -> Iterator[BlindReview]:
        """Those that wait for somebody, without what the first person decided."""
        for row in _unsaid(txn, self._due, self._reviews):
            if row.assigned_to == name:
                row.ClearField("first")
                row.ClearField("first_by")
                row.ClearField("permille")  # it, and "high impact", would say as much
                del row.why[:]
                yield row

    def end(self, txn: Txn, case: Case) -> None:
        """Asks for no second look at the present decision any more: it is decided anew."""
        for row in list(self._of_case(txn, case.id)):
            if row.round == case.reviews_before and not row.second:
                self._due.delete(txn, _due_key(row))
                self._reviews.delete(txn, _key(row))

    def late(self, txn: Txn, now: datetime, limit: int) -> Sequence[BlindReview]:
        """Those that were not said in time, the longest overdue first."""
        end = time_key(now)
        due = islice(takewhile(lambda row: row[0][:_TIME_BYTES] <= end, self._due.since(txn, b"")), limit)
        found = (self._reviews.get(txn, key[_TIME_BYTES:]) for key, _ in due)
        return [row for row in found if row is not None]

    def breaches(self, log: Appending, limit: int) -> int:
        """Asks others for those that were not said in time; how many there were."""
        late = self.late(log.txn, log.at, limit)
        for row in late:
            self._pass_on(log, row)
        return len(late)

    def _pass_on(self, log: Appending, row: BlindReview) -> None:
        self._due.delete(log.txn, _due_key(row))
        if not row.HasField("overdue_since"):
            row.overdue_since.CopyFrom(row.due_by)
        # Who was asked before is asked no more: they may have been told of the decision since.
        seen = _seen(self._store.get(log.txn, row.case_id)) | {*row.lapsed, row.assigned_to}
        try:
            other = second_reviewer(_digest(row.case_id, row.round), self._sampling, self._people(), seen)
        except Refused:  # nobody else works here: it stays theirs, and overdue
            trace.warning("second look %s is overdue, and nobody else can be asked", row.id)
        else:
            row.lapsed.append(row.assigned_to)
            row.assigned_to = other
            row.asked_at.CopyFrom(convert.timestamp(log.at))
        row.due_by.CopyFrom(convert.timestamp(log.at + self._deadline))
        self._put(log.txn, row)

    def _put(self, txn: Txn, row: BlindReview) -> None:
        self._reviews.put(txn, _key(row), row)
        if not row.second:
            self._due.put(txn, _due_key(row))

    def is_asked(self, txn: Txn, case_id: str, name: str) -> bool:
        """Whether somebody is asked for a second look at a case, and so may see its items and not its decision."""
        return any(
            spelling(row.assigned_to) == spelling(name) and not row.second for row in self._of_case(txn, case_id)
        )

    def review(
        self, log: Appending, review_id: str, *, by: str, decision: Decision.ValueType
    ) -> tuple[BlindReview, bool]:
        """The second look, and whether the two differ.

        Raises:
            NotFound: there is none of that id.
            Malformed: no decision.
            Forbidden: another is asked. Refused: it is said already.
        """
        if decision not in (DECISION_CONFIRM, DECISION_CLEAR):
            raise Malformed("want DECISION_CONFIRM or DECISION_CLEAR", field="decision")
        case_id = review_id.partition(".")[0]
        row = next((one for one in self._of_case(log.txn, case_id) if one.id == review_id), None)
        if row is None:
            raise NotFound("there is no second look of that id")
        if row.assigned_to != by:
            raise Forbidden("another person is asked for this second look")
        if row.second:
            raise Refused("you have said what you make of it")
        self._due.delete(log.txn, _due_key(row))
        row.second = decision
        row.reviewed_at.CopyFrom(convert.timestamp(log.at))
        self._put(log.txn, row)
        return row, row.first != decision

    def _of_case(self, txn: Txn, case_id: str) -> Iterator[BlindReview]:
        return (row for _, row in self._reviews.under(txn, f"{case_id}\0".encode()))


def pairs(env: Env, txn: Txn) -> Iterator[tuple[str, str]]:
    """What the first and the second made of each case that was looked at twice."""
    for _, row in Messages(env, tables.BLIND_REVIEWS, BlindReview).under(txn, b""):
        if row.second:
            yield Decision.Name(row.first), Decision.Name(row.second)


def unsaid(env: Env, txn: Txn) -> Iterator[BlindReview]:
    """Second looks that nobody has said yet."""
    return _unsaid(txn, Keys(env, tables.BLIND_DUE), Messages(env, tables.BLIND_REVIEWS, BlindReview))


def _unsaid(txn: Txn, due: Keys, rows: Messages[BlindReview]) -> Iterator[BlindReview]:
    return (row for key, _ in due.since(txn, b"") if (row := rows.get(txn, key[_TIME_BYTES:])) is not None)


def undecided(case: Case) -> Case:
    """A case without what was decided, for who is asked for a second look and must not know."""
    told = Case(
        id=case.id, tier=case.tier, subject=case.subject, items=case.items, clusters=case.clusters,
        detected_at=case.detected_at, rules=case.rules,
    )  # fmt: skip
    told.cluster_of.update(case.cluster_of)
    return told


def _key(row: BlindReview) -> bytes:
    return f"{row.case_id}\0".encode() + _ROUND.pack(row.round)


def _due_key(row: BlindReview) -> bytes:
    return time_key(row.due_by.ToDatetime(UTC)) + _key(row)


def _digest(case_id: str, round_: int) -> bytes:
    return hashlib.sha256(f"{case_id} {round_}".encode()).digest()


def _seen(case: Case) -> set[str]:
    """Whoever has worked it."""
    return {one.by for one in case.reviews} | {case.assignee, case.escalated_by} - {""}
