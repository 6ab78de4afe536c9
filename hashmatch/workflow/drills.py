"""Drills: a case about nothing, opened to try whether who is on call is reached, takes it and decides it.

It goes the way of any case through ledger, outbox, rota and claim, and no other: nothing but a page leaves, and that to
who is on call here alone. Nobody is its subject, no match joins it, and it is cleared or ended, never confirmed; so
nothing can be reported, held or worked again because of it. No figure counts it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, timedelta
from typing import Final

from hashmatch import clock, convert
from hashmatch.audit.leaves import Appending
from hashmatch.errors import Refused
from hashmatch.v1.cases_pb2 import CASE_STATE_NEW, DECISION_CLEAR, Case, DispatchRecord
from hashmatch.v1.common_pb2 import Subject
from hashmatch.workflow.case import UNDECIDED, Step
from hashmatch.workflow.case_facts import let_go, state_of, tier_of
from hashmatch.workflow.destinations import PAGER
from hashmatch.workflow.intake import Intake

CODE: Final = "DRILL"  # reason code of each of its steps, by which the log tells it
CLOCKS: Final = ("acknowledge", "decide")  # that it has: there is nothing to contain, and nothing to report
NEVER: Final = frozenset({Step.JOIN, Step.REVIEW, Step.DISAGREE, Step.CONFIRM, Step.REPORT, Step.REOPEN, Step.REVERSE})
"""Steps that a drill never takes, whoever asks."""


class Drills(Intake):
    """Steps of cases, those of drills kept apart."""

    def open_drill(self, log: Appending, *, tier: int, by: str) -> tuple[Case, DispatchRecord]:
        """A new drill, and the instruction that will page about it."""
        case = Case(
            id=clock.new_id("c"), tier=tier_of(tier), state=CASE_STATE_NEW, drill=True, rules=["drill"],
            subject_verbs=["page"],
        )  # fmt: skip
        case.subject.content_id = f"drill:{case.id}"
        case.detected_at.CopyFrom(convert.timestamp(log.at))
        for name in CLOCKS if self._clocks else ():
            by_then = log.at + getattr(self._clocks[tier], name)
            getattr(case, f"{name}_by").CopyFrom(convert.timestamp(by_then))
        self._log(log, case, Step.OPEN, by, ())
        page = self._page(log, case, "drill")
        self._settle(log, case)
        self.store.put(log.txn, case, None)
        return case, page

    def end_drill(self, log: Appending, case_id: str, *, by: str) -> Case:
        """The drill, cleared by whoever ends it, claimed or not.

        Raises:
            NotFound: there is none of that id.
            Refused: it is no drill, or is over.
        """
        before, case = self._open(log, case_id)
        if not case.drill:
            raise Refused("it is no drill: claim it and decide it")
        if state_of(case) not in UNDECIDED:
            raise Refused("the drill is over")
        review = case.reviews.add(by=by, decision=DECISION_CLEAR)
        review.at.CopyFrom(convert.timestamp(log.at))
        let_go(case)
        self._step(log, case, Step.CLEAR, by)
        self._after_decision(log, case, Step.CLEAR)
        self._settle(log, case)
        self.store.put(log.txn, case, before)
        return case

    def record_report(
        self, log: Appending, case_id: str, *, authority: str, receipt: str, by: str, duty: str = ""
    ) -> Case:
        """As `Outcomes.record_report`.

        Raises:
            Refused: besides, it is a drill.
        """
        if self.store.get(log.txn, case_id).drill:
            raise Refused("it is a drill: there is nothing to report")
        return super().record_report(log, case_id, authority=authority, receipt=receipt, by=by, duty=duty)

    def _page(self, log: Appending, case: Case, reason: str) -> DispatchRecord:
        return self.outbox.request(
            log, case, verb="page", destination=PAGER, verdict_id="", about=case.subject, reason=reason
        )

    def _send(self, log: Appending, case: Case, verb: str, verdict_id: str, subject: Subject, reason: str) -> None:
        if not case.drill:
            super()._send(log, case, verb, verdict_id, subject, reason)
        elif verb == "page":
            self._page(log, case, reason)

    def _file(self, log: Appending, case: Case) -> None:
        if not case.drill:
            super()._file(log, case)

    def _step(self, log: Appending, case: Case, step: Step, by: str, codes: Iterable[str] = (), note: str = "") -> None:
        if case.drill and step in NEVER:
            raise Refused(
                f"it is a drill: {step} is not possible; clear it, or end it with `hashmatch pages drill --end`"
            )
        super()._step(log, case, step, by, codes, note)
        if case.drill and step is Step.CLEAR and CODE not in case.reviews[-1].reason_codes:
            case.reviews[-1].reason_codes.append(CODE)

    def _log(
        self, log: Appending, case: Case, step: Step, by: str, verdict_ids: Iterable[str], codes: Iterable[str] = (),
        note: str = "",
    ) -> None:  # fmt: skip
        said = list(codes)
        if case.drill and CODE not in said:
            said.append(CODE)
        super()._log(log, case, step, by, verdict_ids, said, note)


def acknowledged_after(case: Case) -> timedelta | None:
    """How long it took until somebody had it; None: nobody has."""
    if not case.HasField("acknowledged_at"):
        return None
    return case.acknowledged_at.ToDatetime(UTC) - case.detected_at.ToDatetime(UTC)


def taken_after(case: Case) -> str:
    """That for people."""
    after = acknowledged_after(case)
    if after is None:
        return "nobody has taken it"
    return f"somebody had it after {timedelta(seconds=round(after.total_seconds()))}"
