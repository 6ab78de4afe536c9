"""Verdicts → what the ledger keeps, and what callers are answered."""

from __future__ import annotations

from hashmatch.convert.policies import disposition_to_wire, policy_to_wire
from hashmatch.convert.submissions import examination_to_wire, subject_to_wire
from hashmatch.convert.times import timestamp
from hashmatch.types import Coverage, Finding, ListState, Match, SetAside, Submission, Verdict
from hashmatch.v1 import audit_pb2, common_pb2, lists_pb2, match_pb2, store_pb2

FINDING_TO_WIRE = {
    Finding.MATCH: common_pb2.FINDING_MATCH,
    Finding.NO_MATCH: common_pb2.FINDING_NO_MATCH,
    Finding.UNKNOWN: common_pb2.FINDING_UNKNOWN,
}


def match_to_wire(match: Match) -> common_pb2.Match:
    return common_pb2.Match(
        list=match.list,
        entry_id=match.entry_id,
        label=match.label,
        hash_type=match.hash_type,
        distance=match.distance,
        threshold=match.threshold,
        variant=match.variant,
        frame_ms=match.frame_ms,
        disposition=disposition_to_wire(match.disposition),
        shadow=match.shadow,
        held=match.held,
    )


def set_aside_to_wire(aside: SetAside) -> common_pb2.SetAside:
    return common_pb2.SetAside(
        match=match_to_wire(aside.match),
        reason=common_pb2.SetAsideReason.ValueType(int(aside.reason)),
        why=aside.why,
    )


def coverage_to_wire(coverage: Coverage) -> common_pb2.Coverage:
    return common_pb2.Coverage(
        revision=coverage.revision,
        entries=dict(coverage.entries),
        lists=[list_state_to_wire(state, coverage) for state in coverage.lists],
        versions=dict(coverage.versions),
    )


def list_state_to_wire(state: ListState, coverage: Coverage) -> common_pb2.ListRevision:
    return common_pb2.ListRevision(
        list=state.name,
        revision=state.revision,
        version=state.version,
        entries=sum(state.entries.values()),
        thresholds=dict(state.thresholds),
        outside_rollout=state.name in coverage.outside_rollout,
        out_of_scope=state.name in coverage.out_of_scope,
        benign=state.policy.benign,
    )


def verdict_to_record(verdict: Verdict, submission: Submission, question_digest: bytes) -> audit_pb2.VerdictRecord:
    """What the ledger keeps: everything that explains the verdict without any other table."""
    examination = verdict.examination
    return audit_pb2.VerdictRecord(
        verdict_id=verdict.verdict_id,
        request_id=verdict.request_id,
        at=timestamp(verdict.at),
        subject=subject_to_wire(submission.subject),
        question_digest=question_digest,
        media_bytes=len(submission.media or b""),
        media_type=examination.media_type,
        width=examination.width,
        height=examination.height,
        frames=examination.frames,
        hashed=examination_to_wire(examination, every_variant=True),
        finding=FINDING_TO_WIRE[verdict.finding],
        disposition=disposition_to_wire(verdict.disposition),
        matches=[match_to_wire(m) for m in verdict.matches],
        coverage=coverage_to_wire(verdict.coverage),
        policies={state.name: policy_to_wire(state.policy) for state in verdict.coverage.lists},
        asked_lists=submission.lists,
        matches_found=verdict.matches_found,
        set_aside=[set_aside_to_wire(one) for one in verdict.set_aside],
        no_case=_no_case(verdict),
    )


def _no_case(verdict: Verdict) -> audit_pb2.NoCase.ValueType:
    """Why no case follows, where one might be expected."""
    if verdict.finding is not Finding.MATCH:
        return audit_pb2.NO_CASE_UNSPECIFIED
    in_shadow = all(match.shadow for match in verdict.matches)
    return audit_pb2.NO_CASE_SHADOW if in_shadow else audit_pb2.NO_CASE_NOT_KEPT


def record_to_response(record: audit_pb2.VerdictRecord) -> match_pb2.MatchResponse:
    """The answer that a record was, or will be, given as: a retry gets the very same bytes."""
    return match_pb2.MatchResponse(
        verdict_id=record.verdict_id,
        finding=record.finding,
        disposition=record.disposition,
        matches=record.matches,
        hashed=[row for row in record.hashed if not row.variant],
        coverage=record.coverage,
        request_id=record.request_id,
        media_type=record.media_type,
        matches_found=record.matches_found,
        frames=record.frames,
        set_aside=record.set_aside,
        case_id=record.case_id,
    )


def match_count_to_wire(counted: store_pb2.EntryCountRecord) -> lists_pb2.MatchCount:
    """What may be told of an entry's matches: not whose they were."""
    return lists_pb2.MatchCount(
        matches=counted.matches,
        first_at=counted.first_at if counted.HasField("first_at") else None,
        last_at=counted.last_at if counted.HasField("last_at") else None,
        held_since=counted.held_since if counted.HasField("held_since") else None,
    )


MAX_SAMPLED = 64  # fingerprints of one item kept in the sample of traffic: a picture has a dozen with its variants
MAX_MATCHED = 32  # entries noted with it


def record_to_traffic(record: audit_pb2.VerdictRecord) -> store_pb2.TrafficRecord:
    """What the sample of traffic keeps of a verdict: the fingerprints, whose they are, and what they matched."""
    return store_pb2.TrafficRecord(
        at=record.at,
        subject=record.subject,
        hashed=[row for row in record.hashed if not row.unhashable][:MAX_SAMPLED],
        verdict_id=record.verdict_id,
        matched=[f"{match.list}/{match.entry_id}" for match in record.matches[:MAX_MATCHED]],
    )
