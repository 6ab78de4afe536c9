"""From a match, or a person's word, to a case: opened, or joined to the open one of its subject."""

from __future__ import annotations

import logging
from collections.abc import Callable

from hashmatch import clock, convert
from hashmatch.audit.leaves import Appending
from hashmatch.errors import HashmatchError
from hashmatch.v1.audit_pb2 import NO_CASE_POLICY, NO_CASE_SHADOW, NO_CASE_UNSPECIFIED, Event, VerdictRecord
from hashmatch.v1.cases_pb2 import Case, CaseItem, CaseState
from hashmatch.v1.common_pb2 import Disposition, Subject
from hashmatch.workflow import case as life
from hashmatch.workflow.case import State, Step
from hashmatch.workflow.case_facts import about, bits_within, cluster, state_of, this_round, told_plan, urge
from hashmatch.workflow.case_outcomes import Outcomes
from hashmatch.workflow.case_steps import SERVICE
from hashmatch.workflow.consequences import ever_cleared
from hashmatch.workflow.plan import FALLBACK, OF_SUBJECT, Clocks, Plan

MAX_ITEMS = 500  # of one case: what is done to it whole is done while verdicts wait; more are the next case's

trace = logging.getLogger(__name__)


class Intake(Outcomes):
    """Steps of cases that matches and inquiries take."""

    def __call__(self, log: Appending, record: VerdictRecord) -> Callable[[], None]:
        """Opens a case for a MATCH, or joins it to the open one of its subject: as `audit.ledger.Consequences`."""
        entries = [f"{match.list}/{match.entry_id}" for match in record.matches if not match.shadow]
        if not entries:
            record.no_case = NO_CASE_SHADOW
            return lambda: None
        try:
            plan = self._plan(record, log.at, first=self._first(log, record))
        except Exception:  # whatever is wrong with the rules, a match must be written down, and a person must see it
            trace.exception("the policy failed on verdict %s; its case waits for a person", record.verdict_id)
            plan = FALLBACK
        if plan is None:
            record.no_case = NO_CASE_POLICY
            return lambda: None
        if plan.disposition is not None:
            record.floor = Disposition.Value(f"DISPOSITION_{plan.disposition.name}")
            record.disposition = max(record.disposition, record.floor)
        before, case = self._open_or_join(log, record.subject)
        record.case_id, record.no_case = case.id, NO_CASE_UNSPECIFIED
        item = CaseItem(
            verdict_id=record.verdict_id, at=record.at, subject=record.subject, disposition=record.disposition,
            entries=entries, labels=sorted({m.label for m in record.matches if m.label}), media_type=record.media_type,
            report_unreviewed=plan.report_unreviewed,
        )  # fmt: skip
        if (within := bits_within(record)) is not None:
            item.bits_within = within

        return lambda: self._take_in(log, case, before, plan, item)

    def _first(self, log: Appending, record: VerdictRecord) -> list[tuple[str, str]]:
        """The entries that never made a case before."""
        pairs = [(match.list, match.entry_id) for match in record.matches if not match.shadow]
        return [pair for pair in pairs if not self.store.made_by(log.txn, "/".join(pair), 1)]

    def tell(self, log: Appending, subject: Subject, *, told_by: str, tier: int) -> Case:
        """The case of what a person told of: opened, or joined, as after a match; nothing is done before a person
        confirms it."""
        before, case = self._open_or_join(log, subject)
        case.told_by = told_by
        item = CaseItem(verdict_id=told_by, at=convert.timestamp(log.at), subject=subject)
        clocks = self._clocks[tier] if self._clocks else Clocks(FALLBACK.acknowledge, FALLBACK.decide)
        plan = told_plan(clocks, tier, *self._reports_to(subject.region))
        self._take_in(log, case, before, plan, item)
        return case

    def _open_or_join(self, log: Appending, subject: Subject) -> tuple[Case | None, Case]:
        """A subject's case before, None where it is new, and to be changed."""
        latest, case = self.store.latest_of(log.txn, subject), Case()
        if latest is not None and state_of(latest) in life.UNDECIDED and latest.items < MAX_ITEMS:
            case.CopyFrom(latest)
            return latest, case
        case.id = clock.new_id("c")
        case.prior_case_id = latest.id if latest is not None else ""
        case.subject.CopyFrom(about(subject))
        case.detected_at.CopyFrom(convert.timestamp(log.at))
        case.state = CaseState.CASE_STATE_NEW
        return None, case

    def _take_in(self, log: Appending, case: Case, before: Case | None, plan: Plan, item: CaseItem) -> None:
        joined = before is not None
        urge(case, plan, log.at)
        known = case.clusters
        item.cluster, renumbered = cluster(case, list(item.entries))
        if renumbered:
            moved = [one for one in self.store.items(log.txn, case.id) if one.cluster in renumbered]
            for one in moved:
                one.cluster = renumbered[one.cluster]
            self.store.put_items(log.txn, case.id, {one.verdict_id: one for one in moved})
        self._instruct(log, case, plan, item)
        if ever_cleared(case):
            self._end_undone(log, case)  # what is matched again is not undone any more
        self._keep_evidence(log, case, item)
        self.store.add_item(log.txn, case, item)
        if joined:
            case.state = CaseState.Value(f"CASE_STATE_{life.after(state_of(case), Step.JOIN)}")
            if case.uncontained:
                case.ClearField("contained_at")
        self._log(log, case, Step.JOIN if joined else Step.OPEN, SERVICE, [item.verdict_id], plan.rules)
        if item.cluster > known and _one_of_two_decided(case):
            self._step(log, case, Step.VOID, SERVICE, ["SOMETHING_ELSE_JOINED"])
            case.reviews_before = len(case.reviews)
        if plan.report_unreviewed:
            self._file(log, case)
        self._settle(log, case)
        self.store.put(log.txn, case, before)

    def _keep_evidence(self, log: Appending, case: Case, item: CaseItem) -> None:
        """Notes what is kept sealed of an item: it was sealed before the verdict was written."""
        try:
            kept = self._evidence(item.verdict_id)
        except HashmatchError as e:  # a vault that fails costs the evidence, and never the match
            trace.error("evidence of verdict %s is not known: %s", item.verdict_id, e)
            kept = None
        if kept is None:
            return
        item.evidence, item.evidence_bytes = kept.sha256, kept.size
        event = Event()
        said = event.evidence_kept
        said.case_id, said.verdict_id, said.key_id = case.id, item.verdict_id, kept.key_id
        said.content_digest = self._sealing.fingerprint_digest("sha256", kept.sha256)
        said.size = kept.size
        log.append(event)

    def _instruct(self, log: Appending, case: Case, plan: Plan, item: CaseItem) -> None:
        for wanted in plan.instructions:
            if wanted.verb in OF_SUBJECT and wanted.verb in case.subject_verbs:
                continue
            if wanted.deferred:
                waiting = case.deferred if wanted.verb in OF_SUBJECT else item.deferred
                if wanted.verb not in waiting:
                    waiting.append(wanted.verb)
            else:
                self._send(log, case, wanted.verb, item.verdict_id, item.subject, wanted.reason)
                if wanted.verb in OF_SUBJECT:
                    case.subject_verbs.append(wanted.verb)


def _one_of_two_decided(case: Case) -> bool:
    """Whether the first of two has decided: what joins and is no copy of what they saw voids that, since two are to
    decide the same. Whoever decides after a disagreement, or after a person escalated it, sees the whole alone."""
    waits = (state_of(case), Step.VOID) in life.NEXT and len(this_round(case)) == 1
    return waits and (state_of(case) is not State.ESCALATED or not case.escalated_by)
