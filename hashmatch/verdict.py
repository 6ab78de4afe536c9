"""Candidates → verdict. Pure: the same arguments give the same verdict for ever, so that a case can be replayed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from hashmatch.types import (
    Bits,
    Candidate,
    Coverage,
    Disposition,
    Examination,
    Finding,
    Match,
    Reason,
    Unhashable,
    Verdict,
)

UNSURE = Disposition.REVIEW
"""Asked for where the finding is UNKNOWN: what could not be searched is not waved through."""


def decide(
    *,
    verdict_id: str,
    request_id: str,
    at: datetime,
    examination: Examination,
    coverage: Coverage,
    candidates: Sequence[Candidate],
    found: int,
) -> Verdict:
    """The verdict on one submission; `found` is how many entries are within their thresholds, candidates or not.

    MATCH where any candidate lies within its list's threshold, however little else could be searched. Otherwise
    UNKNOWN where any wanted hash type could not be searched, or where nothing was there to be searched; else NO_MATCH.
    """
    matches = tuple(sorted(_matches(candidates, coverage), key=_nearest_first))
    if not matches and not examination.unhashable and not _covered(examination, coverage):
        examination = _uncovered(examination)
    if matches:
        finding = Finding.MATCH
    elif examination.unhashable:
        finding = Finding.UNKNOWN
    else:
        finding = Finding.NO_MATCH
    return Verdict(
        verdict_id=verdict_id,
        request_id=request_id,
        at=at,
        finding=finding,
        disposition=_disposition(matches, examination.unhashable),
        matches=matches,
        matches_found=found,
        examination=examination,
        coverage=coverage,
    )


def _matches(candidates: Iterable[Candidate], coverage: Coverage) -> Iterable[Match]:
    states = {state.name: state for state in coverage.lists}
    for candidate in candidates:
        state = states[candidate.list]
        threshold = state.thresholds[candidate.hash_type]
        if candidate.distance <= threshold and candidate.variant in state.accepts:
            yield Match(
                list=candidate.list,
                entry_id=candidate.entry_id,
                label=candidate.label,
                hash_type=candidate.hash_type,
                distance=candidate.distance,
                threshold=Bits(threshold),
                variant=candidate.variant,
                frame_ms=candidate.frame_ms,
                disposition=state.policy.disposition,
                shadow=state.policy.shadow,
            )


def _nearest_first(match: Match) -> tuple[int, bool, str, str, str, int, str]:
    # At equal distance a list that acts before one in shadow; the rest only makes the order the same every time.
    return (
        match.distance, match.shadow, match.list, match.entry_id, match.hash_type, match.frame_ms, match.variant,
    )  # fmt: skip


def _disposition(matches: Sequence[Match], unhashable: Sequence[Unhashable]) -> Disposition:
    asked = [match.disposition for match in matches if not match.shadow]
    return max([*asked, UNSURE] if unhashable else asked, default=Disposition.ALLOW)


def _covered(examination: Examination, coverage: Coverage) -> bool:
    """Whether any entry in scope is of a hash type that the submission has."""
    return any(coverage.entries.get(hashed.fingerprint.hash_type) for hashed in examination.hashed)


def _uncovered(examination: Examination) -> Examination:
    """The examination with every hash type marked as not searched."""
    hash_types = dict.fromkeys(hashed.fingerprint.hash_type for hashed in examination.hashed)
    return replace(examination, unhashable=tuple(Unhashable(t, Reason.NOT_COVERED) for t in hash_types))
