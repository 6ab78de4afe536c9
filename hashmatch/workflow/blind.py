"""Second looks at decisions, by people who do not know what the first decided. In the caller's transaction.

Which cases are looked at twice, and by whom, is drawn by double_review.py when the decision is written. Where the two
differ a lead looks at the case again: one of them was wrong, and somebody may be accused, or in danger, because of it.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Collection, Iterator
from typing import Final

from hashmatch import convert
from hashmatch.audit import tables
from hashmatch.audit.leaves import Appending
from hashmatch.errors import Forbidden, Malformed, NotFound, Refused
from hashmatch.store.env import Env, Txn
from hashmatch.v1.cases_pb2 import DECISION_CLEAR, DECISION_CONFIRM, BlindReview, Case, Decision, DispatchRecord
from hashmatch.workflow.case_store import CaseStore
from hashmatch.workflow.double_review import Decided, Sampling, draw, second_reviewer
from hashmatch.workflow.inputs import spelling
from hashmatch.workflow.rows import Keys, Messages

IMPACT: Final = frozenset({"suspend", "remove_copies"})  # verbs that do much to somebody
_ROUND: Final = struct.Struct(">I")


class Blind:
    """The second looks of a ledger. For any thread."""

    def __init__(self, env: Env, store: CaseStore, sampling: Sampling, people: Callable[[], Collection[str]]) -> None:
        """`people`: whoever may review cases now and is told of no decision otherwise, by name."""
        self._reviews, self._decisions = Messages(env, tables.BLIND_REVIEWS, BlindReview), Keys(env, tables.REVIEWERS)
        self._store, self._sampling, self._people = store, sampling, people

    def decided(self, log: Appending, case: Case, sent: Collection[DispatchRecord]) -> BlindReview | None:
        """A second look at the decision that was just made, where one is drawn and somebody is there; else None."""
        if case.drill:  # it tells nobody's quality
            return None
        review = case.reviews[-1]
        made = int(self._decisions.get(log.txn, review.by.encode()) or "0")
        self._decisions.put(log.txn, review.by.encode(), str(made + 1))
        within = [i.bits_within for i in self._store.items(log.txn, case.id) if i.HasField("bits_within")]
        known = Decided(
            digest=hashlib.sha256(f"{case.id} {case.reviews_before}".encode()).digest(), reviewer_decisions=made,
            list_age=None, bits_within=max(within, default=None),
            high_impact=bool(case.authority) or any(one.verb in IMPACT for one in sent),
        )  # fmt: skip
        drawn = draw(known, self._sampling)
        if not drawn.second:
            return None
        seen = {one.by for one in case.reviews} | {case.assignee, case.escalated_by} - {""}
        try:
            second = second_reviewer(known, self._sampling, self._people(), seen)
        except Refused:
            return None  # nobody else works here; agreement is then told of fewer pairs
        row = BlindReview(
            id=f"{case.id}.{case.reviews_before}", case_id=case.id, round=case.reviews_before, assigned_to=second,
            asked_at=convert.timestamp(log.at), why=drawn.why, permille=drawn.permille, first=review.decision,
            first_by=review.by,
        )  # fmt: skip
        self._reviews.put(log.txn, _key(row), row)
        return row

    def waiting(self, txn: Txn, name: str) -> Iterator[BlindReview]:
        """Those that wait for somebody, without what the first person decided."""
        for _, row in self._reviews.under(txn, b""):
            if row.assigned_to == name and not row.second:
                row.ClearField("first")
                row.ClearField("first_by")
                del row.why[:]  # "high impact" would say as much
                yield row

    def end(self, txn: Txn, case: Case) -> None:
        """Asks for no second look at the present decision any more: it is decided anew."""
        for row in list(self._of_case(txn, case.id)):
            if row.round == case.reviews_before and not row.second:
                self._reviews.delete(txn, _key(row))

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
        row.second = decision
        row.reviewed_at.CopyFrom(convert.timestamp(log.at))
        self._reviews.put(log.txn, _key(row), row)
        return row, row.first != decision

    def _of_case(self, txn: Txn, case_id: str) -> Iterator[BlindReview]:
        return (row for _, row in self._reviews.under(txn, f"{case_id}\0".encode()))


def pairs(env: Env, txn: Txn) -> Iterator[tuple[str, str]]:
    """What the first and the second made of each case that was looked at twice."""
    for _, row in Messages(env, tables.BLIND_REVIEWS, BlindReview).under(txn, b""):
        if row.second:
            yield Decision.Name(row.first), Decision.Name(row.second)


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
