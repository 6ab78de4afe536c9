"""The last of a submission's way: what its verdict is about is sealed, then the verdict is committed and synced.

Sealed first, so that a case never names what is not there; and taken away again where nothing in the log names it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from hashmatch import convert, question
from hashmatch.audit.ledger import Ledger
from hashmatch.errors import AnsweredElsewhere, Conflict, HashmatchError, Overloaded, StoreFull
from hashmatch.types import Finding, Submission, Verdict
from hashmatch.v1.audit_pb2 import NO_CASE_POLICY, NO_CASE_SHADOW, VerdictRecord

trace = logging.getLogger(__name__)


class Vault(Protocol):
    """Keeps media sealed."""

    def seal(self, item_id: str, media: bytes, *, media_type: str, at: datetime) -> object:
        """On disk when it returns. Raises StoreFull, StoreFailed: nothing of it is kept."""

    def destroy(self, item_id: str) -> object:
        """Takes it away again."""


class Recording:
    """Records verdicts. One event loop owns it."""

    def __init__(
        self, ledger: Ledger, vault: Vault | None, *, log_no_match: bool, stage: Callable[[str, float], None]
    ) -> None:
        """As `Pipeline`."""
        self._ledger, self._vault, self._log_no_match, self._stage = ledger, vault, log_no_match, stage
        self._keeping: set[asyncio.Future[VerdictRecord]] = set()  # verdicts on their way with what is sealed of them

    async def record(self, found: Verdict, submission: Submission, input_digest: bytes) -> VerdictRecord:
        """The verdict as it is recorded, committed and synced where it is to be logged.

        Raises:
            Conflict: the request id was used for another question meanwhile.
            Overloaded, StoreFailed: as they say; nothing was recorded.
        """
        record = convert.verdict_to_record(found, submission, question.digest_of(submission, input_digest))
        # What was near enough to match and did not count is explained, as a MATCH is.
        if found.finding is Finding.NO_MATCH and not self._log_no_match and not found.set_aside:
            if submission.given_id:
                self._ledger.append(record, log=False, remember=True)
            self._count(found, record, submission.subject.surface)
            return record
        counts = found.finding is Finding.MATCH and any(not match.shadow for match in found.matches)
        if self._vault is None or submission.media is None or not counts:
            return await self._append(found, record, submission)
        # On its own: whoever leaves meanwhile must not part what is sealed from the verdict that names it.
        keeping = asyncio.ensure_future(self._append_sealed(self._vault, found, record, submission))
        self._keeping.add(keeping)
        keeping.add_done_callback(self._keeping.discard)
        return await asyncio.shield(keeping)

    async def _append(self, found: Verdict, record: VerdictRecord, submission: Submission) -> VerdictRecord:
        try:
            await asyncio.wrap_future(self._ledger.append(record, log=True, remember=submission.given_id))
        except AnsweredElsewhere:
            # Another process was asked the same at the same time, and was first to commit: its answer is the answer.
            earlier = self._ledger.remembered(submission.request_id)
            if earlier is None:
                raise
            return same_question(earlier.record.verdict, submission)
        self._count(found, record, submission.subject.surface)
        return record

    async def _append_sealed(
        self, vault: Vault, found: Verdict, record: VerdictRecord, submission: Submission
    ) -> VerdictRecord:
        """As `_append`; the media is sealed before, and not kept where nothing in the log names it."""
        sealed = await self._seal(vault, found, submission.media or b"")
        try:
            written = await self._append(found, record, submission)
        except (Overloaded, StoreFull, Conflict):  # then nothing was written; after others nobody knows
            if sealed:
                await self._unseal(vault, found.verdict_id)
            raise
        # Nothing follows: then nothing is kept, either. Where a case could not be written, a person will want it.
        nothing = not written.case_id and written.no_case in (NO_CASE_SHADOW, NO_CASE_POLICY)
        if sealed and (nothing or written.verdict_id != found.verdict_id):
            await self._unseal(vault, found.verdict_id)
        return written

    async def _seal(self, vault: Vault, found: Verdict, media: bytes) -> bool:
        """Keeps what matched, before the match is written, so that its case never names what is not there.

        A vault that fails costs the evidence and not the match: its case then says that nothing is kept.
        """
        began, kind = time.monotonic(), found.examination.media_type
        try:
            await asyncio.to_thread(vault.seal, found.verdict_id, media, media_type=kind, at=found.at)
        except HashmatchError as e:
            trace.error("evidence of verdict %s is not kept: %s", found.verdict_id, e)
            return False
        finally:
            self._stage("seal", time.monotonic() - began)
        return True

    async def _unseal(self, vault: Vault, verdict_id: str) -> None:
        try:
            await asyncio.to_thread(vault.destroy, verdict_id)
        except HashmatchError as e:  # the vault's sweep tells of it again
            trace.error("what was sealed for verdict %s is not taken away: %s", verdict_id, e)

    def _count(self, found: Verdict, record: VerdictRecord, surface: str) -> None:
        """Counts what was seen and scanned, and why it is UNKNOWN where it is."""
        unknown = found.finding is Finding.UNKNOWN
        reason = "+".join(sorted({u.reason.name for u in found.examination.unhashable})) if unknown else ""
        self._ledger.count(surface, record.finding, found.at, reason)


def same_question(earlier: VerdictRecord, submission: Submission) -> VerdictRecord:
    """What was answered before, where this is the same question.

    Raises:
        Conflict: it is another, or it wants a newer revision than was searched.
    """
    if earlier.question_digest != question.digest_of(submission, question.input_digest(submission)):
        raise Conflict(f"request_id was used for another question ({earlier.verdict_id})")
    if earlier.coverage.revision < submission.min_revision:
        raise Conflict(
            f"request_id was answered at revision {earlier.coverage.revision}; ask under a new one for "
            f"{submission.min_revision}"
        )
    return earlier
