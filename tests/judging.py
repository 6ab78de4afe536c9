"""Lists, candidates and verdicts on them, for tests of decisions."""

from __future__ import annotations

from datetime import UTC, datetime

from hashmatch import verdict
from hashmatch.types import (
    Bits,
    Candidate,
    Coverage,
    Disposition,
    Examination,
    Fingerprint,
    Hashed,
    ListState,
    Policy,
    Reason,
    Revision,
    Subject,
    Suppression,
    Unhashable,
    Verdict,
)

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
HASHED = Examination(media_type="image/png", hashed=(Hashed(Fingerprint("pdq", bytes(32)), 100),))
BLANK = Examination(media_type="image/png", unhashable=(Unhashable("pdq", Reason.LOW_QUALITY),))


def state(
    name: str = "a",
    disposition: Disposition = Disposition.REVIEW,
    *,
    threshold: int = 31,
    accepts: tuple[str, ...] = ("", "stored"),
    **policy: object,
) -> ListState:
    """A list with one PDQ entry; `policy` is the rest of its policy."""
    rule = Policy(disposition=disposition, **policy)  # type: ignore[arg-type]
    return ListState(
        name, Revision(1), 1, rule, {"pdq": 1}, {"pdq": threshold, "md5": 0, "sha256": 0}, frozenset(accepts)
    )


def candidate(
    name: str = "a", distance: int = 0, hash_type: str = "pdq", variant: str = "", entry_id: str = "e1", **more: object
) -> Candidate:
    rest = {"frame_ms": 0, **more}
    return Candidate(name, entry_id, "label", hash_type, Bits(distance), variant, **rest)  # type: ignore[arg-type]


def suppression(name: str = "a", entry_id: str = "e1", expires_at: datetime | None = None) -> Suppression:
    return Suppression(name, entry_id, "mistaken", "ann", "bob", NOON, expires_at)


def decide(
    examination: Examination,
    states: list[ListState],
    candidates: list[Candidate],
    *,
    found: int | None = None,
    subject: Subject = Subject(),  # noqa: B008 - frozen
    input_digest: bytes = bytes(32),
    suppressions: tuple[Suppression, ...] = (),
    held: frozenset[tuple[str, str]] = frozenset(),
) -> Verdict:
    """The verdict at NOON; `found` is what a search would count, unless given."""
    by_name = {s.name: s for s in states}
    within = [c for c in candidates if c.distance <= by_name[c.list].thresholds[c.hash_type]]
    within = [c for c in within if c.variant in by_name[c.list].accepts]
    entries = sum(s.entries.get("pdq", 0) for s in states)
    return verdict.decide(
        verdict_id="v",
        request_id="r",
        at=NOON,
        subject=subject,
        input_digest=input_digest,
        examination=examination,
        coverage=Coverage(Revision(1), {"pdq": entries}, tuple(states), {}),
        candidates=candidates,
        found=len(within) if found is None else found,
        suppressions={(s.list, s.entry_id): s for s in suppressions},
        held=held,
    )
