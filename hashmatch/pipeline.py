"""The whole way of a submission, on one page.

recall   a retry gets the verdict it got before
examine  hostile bytes → fingerprints, in a decode worker
search   fingerprints → candidates, in one generation
decide   candidates → verdict
record   a MATCH, an UNKNOWN and what was set aside are committed and synced, then answered; every answer is counted
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Protocol

from hashmatch import clock, convert, question, verdict
from hashmatch.audit.ledger import Ledger
from hashmatch.errors import DeadlinePassed, Unavailable
from hashmatch.hashing.registry import REGISTRY
from hashmatch.index.generation import Generation, Segment
from hashmatch.index.recipe import Recipe
from hashmatch.recording import Recording, Vault, same_question
from hashmatch.types import (
    Coverage,
    Examination,
    Hashed,
    Reason,
    Revision,
    Submission,
    Unhashable,
    Wanted,
)
from hashmatch.v1.audit_pb2 import VerdictRecord
from hashmatch.v1.store_pb2 import TrafficRecord

trace = logging.getLogger(__name__)
REVISION_WAIT = 1.0  # seconds that a request waits for its min_revision; a change is normally seen within 50 ms


class Examiner(Protocol):
    """Turns hostile bytes into fingerprints, elsewhere."""

    async def examine(
        self,
        media: bytes,
        wanted: Wanted,
        *,
        timeout: float | None = None,
        share: str = "",
        digests: tuple[Hashed, ...] = (),
    ) -> Examination:
        """What the bytes are. Raises Overloaded, DeadlinePassed, Unavailable; bad media is an answer."""


class Serving(Protocol):
    """What is served now."""

    def generation(self) -> Generation:
        """The generation to search. Raises Unavailable while there is none that may be served."""

    async def reach(self, revision: Revision, timeout: float) -> bool:
        """Waits until the generation is at `revision` or later; False when it took longer."""


class Sample(Protocol):
    """Keeps some of what was judged, so that new lists can be tried on it."""

    def offer(self, item: Callable[[], TrafficRecord], at: datetime) -> None:
        """Takes an item, or not; only then it is made. Never waits, never fails."""


class Pipeline:
    """Judges submissions. One event loop owns it."""

    def __init__(
        self,
        *,
        examiner: Examiner,
        serving: Serving,
        ledger: Ledger,
        recipes: Mapping[str, Recipe],
        versions: Mapping[str, str],
        log_no_match: bool,
        sample: Sample | None = None,
        vault: Vault | None = None,
        stage: Callable[[str, float], None] = lambda _name, _seconds: None,
    ) -> None:
        """
        Args:
            vault: keeps the media of every MATCH; None: nothing does.
            stage: is told how many seconds each stage of a submission took: "examine", "search", "seal", "record".
        """
        self._examiner = examiner
        self._serving = serving
        self._ledger = ledger
        self._recipes = recipes
        # A type that only callers can compute is looked up where they give it, and not missed where they do not.
        self._perceptual = tuple(
            t for t, recipe in recipes.items() if recipe.enabled and t in REGISTRY and not REGISTRY[t].exact
        )
        self._versions = versions
        self._recording = Recording(ledger, vault, log_no_match=log_no_match, stage=stage)
        self._stage = stage
        self._sample = sample  # of traffic; None: none is kept
        self._answering: dict[str, asyncio.Future[None]] = {}  # by request id; done when there is an answer, or none

    async def judge(self, submission: Submission, *, timeout: float | None = None, share: str = "") -> VerdictRecord:
        """The verdict on one submission, recorded before it is returned unless it is NO_MATCH with nothing set aside.

        Args:
            timeout: seconds that the caller still waits.
            share: whose it is, where callers are served in turn.
        Raises:
            Conflict: the request id was used for another question.
            NotFound: a list that was named is not active.
            Overloaded, DeadlinePassed, Unavailable, StoreFailed: as they say; nothing was recorded.
        """
        request_id = submission.request_id
        while request_id in self._answering:
            await asyncio.shield(self._answering[request_id])
        if submission.given_id and (earlier := self._ledger.remembered(request_id)):
            # It may be queued and not yet synced, where the first caller left before the answer.
            await asyncio.shield(asyncio.wrap_future(earlier.written))
            return same_question(earlier.record.verdict, submission)
        # Nothing is awaited between that look and this: of two who ask at once, one judges and the other waits.
        answered = asyncio.get_running_loop().create_future()
        self._answering[request_id] = answered
        try:
            return await self._judge(submission, timeout, share)
        finally:
            del self._answering[request_id]
            answered.set_result(None)

    async def hash(self, media: bytes, wanted: Wanted, *, timeout: float | None = None, share: str = "") -> Examination:
        """Fingerprints only: looks nothing up, records nothing."""
        return await self._examiner.examine(media, wanted, timeout=timeout, share=share)

    async def _judge(self, submission: Submission, timeout: float | None, share: str) -> VerdictRecord:
        began = time.monotonic()
        if submission.min_revision and not await self._serving.reach(
            submission.min_revision, min(REVISION_WAIT, timeout or REVISION_WAIT)
        ):
            raise Unavailable(f"revision {submission.min_revision} is not searchable yet; try again")
        # One generation from here on: a newer one's policies may ask for variants that this media is not hashed into.
        generation = self._serving.generation()
        scope = generation.scope(submission.lists)
        left = None if timeout is None else timeout - (time.monotonic() - began)
        examination = await self._examine(submission, self.wanted(scope), left, share)
        searched = time.monotonic()
        candidates, count = generation.search(examination.hashed, scope)
        self._stage("search", time.monotonic() - searched)
        input_digest = question.input_digest(submission, examination)
        found = verdict.decide(
            verdict_id=clock.new_id("v"),
            request_id=submission.request_id,
            at=clock.now(),
            subject=submission.subject,
            input_digest=input_digest,
            examination=examination,
            coverage=self.coverage(generation, scope),
            candidates=candidates,
            found=count,
            suppressions=generation.suppressions,
            held=self._ledger.held(),
        )
        recorded = time.monotonic()
        record = await self._recording.record(found, submission, input_digest)
        self._stage("record", time.monotonic() - recorded)
        if self._sample is not None and record.hashed:
            self._sample.offer(lambda: convert.record_to_traffic(record), found.at)
        return record

    async def _examine(self, submission: Submission, wanted: Wanted, timeout: float | None, share: str) -> Examination:
        if submission.media is None:
            return self._usable(Examination(hashed=submission.fingerprints))
        if timeout is not None and timeout <= 0:
            raise DeadlinePassed
        began = time.monotonic()
        try:
            return self._usable(
                await self._examiner.examine(
                    submission.media, wanted, timeout=timeout, share=share, digests=submission.digests
                )
            )
        finally:
            self._stage("examine", time.monotonic() - began)

    def _usable(self, examination: Examination) -> Examination:
        """The examination without fingerprints below their recipe's quality, each of whose types is marked for it."""
        low = [h for h in examination.hashed if self._is_low(h)]
        if not low:
            return examination
        absent = {u.hash_type for u in examination.unhashable}
        marked = dict.fromkeys(h.fingerprint.hash_type for h in low if h.fingerprint.hash_type not in absent)
        return replace(
            examination,
            hashed=tuple(h for h in examination.hashed if not self._is_low(h)),
            unhashable=(*examination.unhashable, *(Unhashable(t, Reason.LOW_QUALITY) for t in marked)),
        )

    def _is_low(self, hashed: Hashed) -> bool:
        recipe = self._recipes.get(hashed.fingerprint.hash_type)  # an opaque type may have none
        minimum = recipe.min_quality if recipe else None
        return minimum is not None and hashed.quality is not None and hashed.quality < minimum

    def wanted(self, scope: tuple[Segment, ...]) -> Wanted:
        """What the lists in scope need a submission to be hashed into."""
        return Wanted(self._perceptual, frozenset().union(*(segment.state.policy.variants for segment in scope)))

    def coverage(self, generation: Generation, scope: tuple[Segment, ...]) -> Coverage:
        """What a search of `scope` covers."""
        entries: dict[str, int] = {}
        for segment in scope:
            for hash_type, count in segment.state.entries.items():
                entries[hash_type] = entries.get(hash_type, 0) + count
        return Coverage(generation.revision, entries, tuple(segment.state for segment in scope), self._versions)
