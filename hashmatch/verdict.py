"""Candidates → verdict. Pure: the same arguments give the same verdict for ever, so that a case can be replayed.

A candidate within its list's threshold is a match, unless it is set aside: nothing is dropped in silence. The first
reason that applies is given, in this order:

    EXPIRED          the entry's own expiry has passed
    SUPPRESSED       a local suppression of the entry is in force
    OUT_OF_SCOPE     the list names surfaces or regions, and this item's is another
    OUTSIDE_ROLLOUT  the list is rolled out to a share of the traffic that this item is not in
    BENIGN           a known-benign list has the same bytes, or in the very same reading something at least as near
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from hashmatch.types import (
    EXACT_DIGESTS,
    WHOLE,
    Bits,
    Candidate,
    Coverage,
    Disposition,
    Examination,
    Finding,
    ListState,
    Match,
    Policy,
    Reason,
    SetAside,
    SetAsideReason,
    Subject,
    Suppression,
    Unhashable,
    Verdict,
)

UNFORGEABLE = "sha256"

UNSURE = Disposition.REVIEW
"""Asked for where the finding is UNKNOWN: what could not be searched is not waved through."""

HELD = Disposition.REVIEW
"""The most that an entry is let ask for while the collision guard holds it: a person looks before anybody is hurt."""

_ONE_BY_ONE = frozenset({SetAsideReason.EXPIRED, SetAsideReason.SUPPRESSED, SetAsideReason.BENIGN})
"""Reasons that say nothing of a list's other entries."""


def decide(
    *,
    verdict_id: str,
    request_id: str,
    at: datetime,
    subject: Subject,
    input_digest: bytes,
    examination: Examination,
    coverage: Coverage,
    candidates: Sequence[Candidate],
    found: int,
    suppressions: Mapping[tuple[str, str], Suppression],
    held: Collection[tuple[str, str]],
) -> Verdict:
    """The verdict on one submission.

    MATCH where any candidate counts, however little else could be searched. Otherwise UNKNOWN where any wanted hash
    type could not be searched, where nothing was there to be searched, or where entries were set aside one by one and
    there are more than were looked at; else NO_MATCH. What a known-benign list has is never a match.

    Args:
        input_digest: SHA-256 of the input: what a rollout draws by where the subject has no content id.
        found: how many entries are within their thresholds, candidates or not.
        suppressions: by list and entry id.
        held: list and entry id of what the collision guard holds.
    """
    coverage = _told(coverage, subject, item_key(subject, input_digest))
    states = {state.name: state for state in coverage.lists}
    counting: list[Match] = []
    benign: list[Match] = []
    aside: list[SetAside] = []
    total = 0
    for candidate, match in sorted(_within(candidates, states, held), key=lambda pair: _nearest_first(pair[1])):
        total += 1
        policy = states[match.list].policy
        suppression = suppressions.get((match.list, match.entry_id))
        why = _why_not(candidate, policy, coverage, subject, suppression, at)
        if policy.benign:
            # In shadow it moves nothing, like every list; what does not count sets nothing aside.
            if why is None and not policy.shadow:
                benign.append(match)
        elif why is not None:
            aside.append(SetAside(match, *why))
        else:
            counting.append(match)
    matches, known = _without_benign(counting, benign)
    aside = sorted([*aside, *known], key=lambda one: _nearest_first(one.match))
    unseen = found > total and any(one.reason in _ONE_BY_ONE for one in aside)
    if not matches and not examination.unhashable and (unseen or not _covered(examination, coverage)):
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
        matches=tuple(matches),
        # Beyond the nearest of each list nobody looked whether they count; where none of those does, none is claimed.
        matches_found=max(len(matches), found - (total - len(matches))) if matches else 0,
        set_aside=tuple(aside),
        examination=examination,
        coverage=coverage,
    )


# ── which candidates count ──────────────────────────────────────────────────────────────────────────────────────────


def item_key(subject: Subject, input_digest: bytes) -> bytes:
    """What stays the same when one item is judged again: the caller's id for it, else the digest of the input."""
    return subject.content_id.encode() or input_digest


def in_rollout(policy: Policy, list_name: str, item: bytes) -> bool:
    """Whether an item is in the share of the traffic that a list counts for.

    The share is drawn by a digest, so a retry and a replay draw the same; raising it keeps every item that was in.
    """
    parts = (policy.rollout_seed.encode(), list_name.encode(), item)
    drawn = hashlib.sha256(b"".join(b"%d:%s" % (len(part), part) for part in parts)).digest()
    return int.from_bytes(drawn[:8]) * WHOLE >> 64 < policy.rollout_permille


def out_of_scope(policy: Policy, subject: Subject) -> str:
    """Why a list is not for this item, in words; "" where it is. Surfaces and regions are compared whole.

    An item whose surface or region is not known is in scope: what nobody knows is not waved through.
    """
    why = []
    if policy.surfaces and subject.surface and subject.surface not in policy.surfaces:
        why.append(f"surface '{subject.surface}'")
    if policy.regions and subject.region and subject.region not in policy.regions:
        why.append(f"region '{subject.region}'")
    return f"the list is not for {' or '.join(why)}" if why else ""


def _told(coverage: Coverage, subject: Subject, item: bytes) -> Coverage:
    """The coverage with the lists that do not count for this item."""
    return replace(
        coverage,
        out_of_scope=frozenset(s.name for s in coverage.lists if out_of_scope(s.policy, subject)),
        outside_rollout=frozenset(s.name for s in coverage.lists if not in_rollout(s.policy, s.name, item)),
    )


def _within(
    candidates: Iterable[Candidate], states: Mapping[str, ListState], held: Collection[tuple[str, str]]
) -> Iterator[tuple[Candidate, Match]]:
    for candidate in candidates:
        state = states[candidate.list]
        threshold = state.thresholds[candidate.hash_type]
        if candidate.distance <= threshold and candidate.variant in state.accepts:
            yield (
                candidate,
                Match(
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
                    held=(candidate.list, candidate.entry_id) in held,
                ),
            )


def _why_not(
    candidate: Candidate,
    policy: Policy,
    coverage: Coverage,
    subject: Subject,
    suppression: Suppression | None,
    at: datetime,
) -> tuple[SetAsideReason, str] | None:
    """Why a candidate does not count, whatever else was found; None where it does."""
    if candidate.expires_at is not None and candidate.expires_at <= at:
        return SetAsideReason.EXPIRED, f"the entry expired at {_shown(candidate.expires_at)}"
    if suppression is not None and (suppression.expires_at is None or suppression.expires_at > at):
        until = f" until {_shown(suppression.expires_at)}" if suppression.expires_at else ""
        agreed = f" and {suppression.approver}" if suppression.approver else ""
        return SetAsideReason.SUPPRESSED, f"suppressed by {suppression.by}{agreed}{until}: {suppression.reason}"
    if candidate.list in coverage.out_of_scope:
        return SetAsideReason.OUT_OF_SCOPE, out_of_scope(policy, subject)
    if candidate.list in coverage.outside_rollout:
        share = f"{policy.rollout_permille} of {WHOLE} items"
        return SetAsideReason.OUTSIDE_ROLLOUT, f"the list is rolled out to {share}, and this is not among them"
    return None


def _shown(at: datetime) -> str:
    return at.isoformat(timespec="seconds")


def _without_benign(counting: Sequence[Match], benign: Sequence[Match]) -> tuple[list[Match], list[SetAside]]:
    """The matches that no known-benign one sets aside, and the others; both given nearest first.

    Equal bytes, by a digest that nobody can forge, settle what merely looks alike. A near benign entry settles no more
    than what lies as far or farther in the same reading of the same frame: it may itself look like what is listed, and
    another reading is another picture.
    """
    # Two files of one MD5 or SHA-1 can be made, one of them to be listed as benign; of one SHA-256 they cannot.
    same_bytes = next((b for b in benign if b.hash_type == UNFORGEABLE), None)
    nearest: dict[tuple[str, str, int], Match] = {}
    for b in benign:
        nearest.setdefault((b.hash_type, b.variant, b.frame_ms), b)
    matches, aside = [], []
    for match in counting:
        by = nearest.get((match.hash_type, match.variant, match.frame_ms))
        if by is not None and by.distance > match.distance:
            by = None
        if by is None and match.hash_type not in EXACT_DIGESTS:
            by = same_bytes
        if by is None:
            matches.append(match)
        else:
            why = f"known-benign list {by.list}, entry {by.entry_id}: {by.hash_type} distance {by.distance}"
            aside.append(SetAside(match, SetAsideReason.BENIGN, why))
    return matches, aside


# ── what it comes to ────────────────────────────────────────────────────────────────────────────────────────────────


def _nearest_first(match: Match) -> tuple[int, bool, str, str, str, int, str]:
    # At equal distance a list that acts before one in shadow; the rest only makes the order the same every time.
    return (
        match.distance, match.shadow, match.list, match.entry_id, match.hash_type, match.frame_ms, match.variant,
    )  # fmt: skip


def _disposition(matches: Sequence[Match], unhashable: Sequence[Unhashable]) -> Disposition:
    asked = [min(match.disposition, HELD) if match.held else match.disposition for match in matches if not match.shadow]
    return max([*asked, UNSURE] if unhashable else asked, default=Disposition.ALLOW)


def _covered(examination: Examination, coverage: Coverage) -> bool:
    """Whether any entry that could be matched is of a hash type that the submission has; a benign list's never are."""
    types = {hashed.fingerprint.hash_type for hashed in examination.hashed}
    return any(state.entries.get(t) for state in coverage.lists if not state.policy.benign for t in types)


def _uncovered(examination: Examination) -> Examination:
    """The examination with every hash type marked as not searched."""
    hash_types = dict.fromkeys(hashed.fingerprint.hash_type for hashed in examination.hashed)
    return replace(examination, unhashable=tuple(Unhashable(t, Reason.NOT_COVERED) for t in hash_types))
