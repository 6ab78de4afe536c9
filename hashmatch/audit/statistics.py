"""What the log adds up to: per day, list and surface; and the figures that transparency reports ask for.

Pure, over events as they are in the tree. FEEDS says which article of the DSA, Regulation (EU) 2022/2065, asks for a
figure; its reports have the form of Implementing Regulation (EU) 2024/2835. What no event says is not made up: a rate
or a time of nothing is None. Orders, notices and complaints (Art. 15(1)(a), (b), (d)), disputes and suspensions
(Art. 24(1)) are no events of this log, and have no figure here.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from statistics import median
from typing import Any, Final, Literal

from google.protobuf.timestamp_pb2 import Timestamp

from hashmatch import convert
from hashmatch.audit import explain
from hashmatch.v1.audit_pb2 import CaseStep, Counted, Delivered, Event, Reported, VerdictRecord
from hashmatch.v1.common_pb2 import DISPOSITION_RESTRICT

CONFIRM, CLEAR = "CONFIRM", "CLEAR"  # decisions of reviewers, as steps of a case
REVERSALS = frozenset({"REVERSE", "REINSTATE"})
CONTAINING = frozenset({"restrict", "block", "remove", "remove-copies", "suspend"})  # verbs of deliveries
UNDOING = frozenset({"restore", "reinstate"})
DONE = "CONFIRMED"  # an action is done once the platform says so
_Z = 1.959964  # of a 95 % interval

Key = Literal["day", "list", "surface"]
DISPOSITIONS = ("ALLOW", "REVIEW", "RESTRICT", "BLOCK")
FINDINGS = ("MATCH", "NO_MATCH", "UNKNOWN")
_OWN, _ACCURACY = "Art. 15(1)(c): moderation on one's own initiative", "Art. 15(1)(e): accuracy and error of automation"
_REVERSED = "Art. 15(1)(d): decisions reversed; here of all cases, since no event says which began with a complaint"
_AUTHORITIES = "Art. 18(1): suspicions notified to authorities; asked for by no article of reports"
FEEDS: Final[Mapping[str, str]] = {
    "submissions": _OWN,
    "scanned_by_finding": _OWN,
    "not_scanned_by_status": _OWN,
    "unknown_by_reason": _ACCURACY,
    "verdicts_by_finding": _OWN,
    "judged_again": _OWN,
    "matches_by_list": _OWN,
    "matches_by_label": "Art. 15(1)(c): by type of illegal content",
    "shadow_matches_by_list": _ACCURACY,
    "matches_by_disposition": "Art. 15(1)(c): by type of restriction",
    "set_aside_by_reason": _ACCURACY,
    "decisions": _OWN,
    "cases": _OWN,
    "reports_by_authority": _AUTHORITIES,
    "reports_by_state": _AUTHORITIES,
    "error_rate": _ACCURACY,
    "error_rate_95": _ACCURACY,
    "contained_error_rate": _ACCURACY,
    "contained_error_rate_95": _ACCURACY,
    "reversal_rate": _REVERSED,
    "median_handling_seconds": _REVERSED.replace("decisions reversed", "median time to decide"),
}
"""Which article of the DSA each figure of a report is for."""


# ── sums ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def summary(events: Iterable[Event], by: tuple[Key, ...] = ("day", "list", "surface")) -> list[dict[str, Any]]:
    """Verdicts that matched, by day of the verdict, list and surface, each with how many asked for what; in that order.

    One that matched several lists counts in each; without "list" in `by` it counts once.
    """
    found: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    for event in events:
        verdict = event.verdict
        lists = dict.fromkeys(match.list for match in verdict.matches)
        for name in lists if "list" in by else [*lists][:1]:
            told = {"day": _day(_judged(event)), "list": name, "surface": verdict.subject.surface}
            row = found[tuple(told[key] for key in by)]
            row["matches"] += 1
            row[explain.disposition(verdict.disposition)] += 1
            row["judged again"] += verdict.HasField("retro")
    keys = ("matches", *DISPOSITIONS, "judged again")
    return [dict(zip(by, of, strict=True)) | {key: row[key] for key in keys} for of, row in sorted(found.items())]


def submissions(events: Iterable[Event]) -> list[dict[str, Any]]:
    """Submissions by day and surface, in that order: seen, which is scanned and not; scanned, which is all findings."""
    found: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for event in events:
        for one in event.counted.counts:
            row = found[_day(one.minute), one.surface]
            row["seen"] += one.count
            row["scanned" if one.finding else "not_scanned"] += one.count
            row[explain.finding(one.finding)] += one.count
    keys = ("seen", "scanned", "not_scanned", *FINDINGS)
    return [
        {"day": day, "surface": surface} | {key: row[key] for key in keys}
        for (day, surface), row in sorted(found.items())
    ]


# ── reports ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def transparency(
    events: Iterable[Event], since: datetime | None = None, until: datetime | None = None
) -> dict[str, Any]:
    """The figures of a time, under the names in FEEDS. Give it the log from its beginning, and a minute beyond `until`:
    when a case began may lie before the time, and submissions are counted up to a minute after it."""
    totals = Transparency(since, until)
    for event in events:
        totals.add(event)
    return totals.told()


@dataclass(slots=True)
class _Case:
    opened: datetime | None = None  # its first step
    contained: bool = False  # so far
    contained_first: bool = False  # before a person decided
    decided: bool = False
    decided_within: bool = False  # first decided in the time that is reported on
    undone: bool = False  # by its latest decision it was no match
    reversed: bool = False  # what was upheld was undone later


@dataclass(slots=True)
class Transparency:
    """Adds events up to what transparency reports ask for.

    A case is an error where the latest decision, reversal or restoring says that it should not have been acted on. It
    is of the time in which it was first decided, so that no case counts twice and no rate is more than 1.
    """

    since: datetime | None = None
    until: datetime | None = None
    scanned: Counter[str] = field(default_factory=Counter)  # by finding
    not_scanned: Counter[str] = field(default_factory=Counter)  # by status
    unknown: Counter[str] = field(default_factory=Counter)  # by reason
    verdicts: Counter[str] = field(default_factory=Counter)  # in the log themselves, by finding
    judged_again: int = 0
    matches: Counter[str] = field(default_factory=Counter)  # by list
    labels: Counter[str] = field(default_factory=Counter)  # by list and label
    shadow: Counter[str] = field(default_factory=Counter)  # of `matches`, those in shadow alone
    dispositions: Counter[str] = field(default_factory=Counter)
    set_aside: Counter[str] = field(default_factory=Counter)  # by reason
    decisions: Counter[str] = field(default_factory=Counter)  # by step
    reports: Counter[str] = field(default_factory=Counter)  # finished, by authority
    report_states: Counter[str] = field(default_factory=Counter)  # by authority and state
    _cases: dict[str, _Case] = field(default_factory=lambda: defaultdict(_Case))
    _handled: list[float] = field(default_factory=list)  # seconds

    def add(self, event: Event) -> None:
        """Counts one event."""
        at = convert.moment(event.at)
        match event.WhichOneof("fact"):
            case "counted":
                self._counted(event.counted)
            case "verdict":
                self._verdict(event.verdict, convert.moment(_judged(event)))
            case "case_step":
                self._step(event.case_step, at)
            case "delivered":
                self._delivered(event.delivered, at)
            case "reported" if self._within(at):
                self._reported(event.reported)

    def _within(self, at: datetime) -> bool:
        return (self.since is None or at >= self.since) and self._before_end(at)

    def _before_end(self, at: datetime) -> bool:
        return self.until is None or at < self.until

    def _counted(self, counted: Counted) -> None:
        for one in counted.counts:
            if not self._within(convert.moment(one.minute)):
                continue
            if not one.finding:
                self.not_scanned[one.reason] += one.count
                continue
            self.scanned[explain.finding(one.finding)] += one.count
            if one.reason:
                self.unknown[one.reason] += one.count

    def _verdict(self, verdict: VerdictRecord, at: datetime) -> None:
        if verdict.case_id and verdict.disposition >= DISPOSITION_RESTRICT and self._before_end(at):
            self._cases[verdict.case_id].contained = True
        if not self._within(at):
            return
        if verdict.HasField("retro"):  # not a submission: those are counted when they come
            self.judged_again += 1
        else:
            self.verdicts[explain.finding(verdict.finding)] += 1
        self.matches.update({match.list for match in verdict.matches})
        self.labels.update({f"{match.list}: {match.label}" for match in verdict.matches if match.label})
        self.shadow.update(
            {match.list for match in verdict.matches if match.shadow}
            - {match.list for match in verdict.matches if not match.shadow}
        )
        if verdict.matches:
            self.dispositions[explain.disposition(verdict.disposition)] += 1
        elif verdict.set_aside:
            self.set_aside[explain.set_aside_reason(verdict.set_aside[0].reason)] += 1

    def _step(self, step: CaseStep, at: datetime) -> None:
        if not self._before_end(at):
            return
        case = self._cases[step.case_id]
        if step.step in (CONFIRM, CLEAR) or step.step in REVERSALS:
            if self._within(at):
                self.decisions[step.step] += 1
            if not case.decided:
                case.decided, case.decided_within, case.contained_first = True, self._within(at), case.contained
                if case.opened is not None and case.decided_within:
                    self._handled.append((at - case.opened).total_seconds())
                case.undone = step.step != CONFIRM
            elif step.step == CONFIRM:
                case.undone = False
            else:
                _undo(case)
        case.opened = case.opened or at

    def _delivered(self, delivered: Delivered, at: datetime) -> None:
        if delivered.outcome != DONE or not delivered.case_id or not self._before_end(at):
            return
        if delivered.verb in CONTAINING:
            self._cases[delivered.case_id].contained = True
        elif delivered.verb in UNDOING and self._cases[delivered.case_id].decided:
            _undo(self._cases[delivered.case_id])

    def _reported(self, reported: Reported) -> None:
        self.report_states[f"{reported.authority}: {reported.state}"] += 1
        if reported.state == "FINISHED":
            self.reports[reported.authority] += 1

    def told(self) -> dict[str, Any]:
        """The figures, each under what it is for."""
        scanned, missed = sum(self.scanned.values()), sum(self.not_scanned.values())
        cases = [case for case in self._cases.values() if case.decided_within]
        decided, errors = len(cases), sum(case.undone for case in cases)
        contained = [case for case in cases if case.contained_first]
        mistaken = sum(case.undone for case in contained)
        reversed_ = sum(case.reversed for case in cases)
        return {
            "submissions": {"seen": scanned + missed, "scanned": scanned, "not_scanned": missed},
            "scanned_by_finding": dict(sorted(self.scanned.items())),
            "not_scanned_by_status": dict(sorted(self.not_scanned.items())),
            "unknown_by_reason": dict(sorted(self.unknown.items())),
            "verdicts_by_finding": dict(sorted(self.verdicts.items())),
            "judged_again": self.judged_again,
            "matches_by_list": dict(sorted(self.matches.items())),
            "matches_by_label": dict(sorted(self.labels.items())),
            "shadow_matches_by_list": dict(sorted(self.shadow.items())),
            "matches_by_disposition": dict(sorted(self.dispositions.items())),
            "set_aside_by_reason": dict(sorted(self.set_aside.items())),
            "decisions": dict(sorted(self.decisions.items())),
            "cases": {"decided": decided, "errors": errors, "reversed": reversed_, "contained": len(contained)},
            "reports_by_authority": dict(sorted(self.reports.items())),
            "reports_by_state": dict(sorted(self.report_states.items())),
            "error_rate": errors / decided if decided else None,
            "error_rate_95": wilson(errors, decided),
            "contained_error_rate": mistaken / len(contained) if contained else None,
            "contained_error_rate_95": wilson(mistaken, len(contained)),
            "reversal_rate": reversed_ / decided if decided else None,
            "median_handling_seconds": median(self._handled) if self._handled else None,
        }


def _undo(case: _Case) -> None:
    case.reversed = case.reversed or not case.undone
    case.undone = True


def _judged(event: Event) -> Timestamp:
    """When a verdict was given, which is what its minute is counted under; a log's leaf comes milliseconds later."""
    return event.verdict.at if event.verdict.HasField("at") else event.at


def _day(at: Timestamp) -> str:
    return at.ToDatetime(UTC).date().isoformat()


def wilson(hits: int, of: int) -> tuple[float, float] | None:
    """The 95 % interval of a share, by Wilson's score; None of nothing."""
    if not of:
        return None
    share, z2 = hits / of, _Z * _Z
    centre = (share + z2 / (2 * of)) / (1 + z2 / of)
    half = _Z / (1 + z2 / of) * math.sqrt(share * (1 - share) / of + z2 / (4 * of * of))
    return max(0.0, centre - half), min(1.0, centre + half)
