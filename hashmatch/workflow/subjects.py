"""Whose cases keep what is personal, and what is forgotten of them once nothing does."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from hashmatch.store.env import Txn
from hashmatch.v1.cases_pb2 import Case
from hashmatch.workflow.casework import Casework


class Subjects:
    """What erasure asks before it destroys a subject's keys, and tells afterwards: as `audit.erasure.Kept`."""

    def __init__(self, cases: Casework) -> None:
        self._cases = cases

    def why(self, txn: Txn, digest: bytes, now: datetime) -> str:
        """What keeps a subject's data now: an open case, or a hold on one; "" where nothing does."""
        for case in self._of(txn, digest):
            if self._cases.report_waits(txn, case.id):  # one that is finished after all is a duty to keep
                return f"case {case.id} is kept: a report of it is on its way"
            if why := self._cases.holding.kept(txn, case.id, now):
                return f"case {case.id} is kept: {', '.join(why)}"
        return ""

    def forget(self, txn: Txn, digest: bytes) -> None:
        """Takes whose they are out of a subject's cases, their items and their instructions."""
        for case in list(self._of(txn, digest)):
            self._cases.store.forget(txn, case.id)
            self._cases.outbox.forget(txn, case.id)

    def _of(self, txn: Txn, digest: bytes) -> Iterator[Case]:
        case_id = self._cases.store.latest_by(txn, digest)
        while case_id:
            case = self._cases.store.get(txn, case_id)
            yield case
            case_id = case.prior_case_id
