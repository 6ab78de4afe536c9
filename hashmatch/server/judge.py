"""One submission from any surface: admitted, judged, and told as much of as its caller may know."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from hashmatch import clock, convert
from hashmatch.access.callers import CALLER, Callers
from hashmatch.app import Service
from hashmatch.config import Settings
from hashmatch.errors import HashmatchError, Malformed, OverBudget, Overloaded, Unauthenticated
from hashmatch.roles import Role
from hashmatch.server.admission import ALONE, RETRY_SECONDS, Admission, Kind
from hashmatch.server.metrics import Metrics
from hashmatch.server.spool import Spool
from hashmatch.server.upload import Upload
from hashmatch.types import Hashed
from hashmatch.v1 import common_pb2, match_pb2
from hashmatch.v1.audit_pb2 import VerdictRecord

MAX_READING = 64  # messages of unsaid length on their way in at once; a small one is there before the next turn
MESSAGE_SECONDS = 60.0  # for the one message of a call to come whole: the largest, at 1 MB a second
MAX_HABITS = 10_000  # callers whose last kind of question is kept

trace = logging.getLogger(__name__)


class Judge:
    """Judges what callers submit. One event loop owns it."""

    def __init__(self, service: Service, admission: Admission, callers: Callers, metrics: Metrics) -> None:
        self._service, self._admission, self._callers, self._metrics = service, admission, callers, metrics
        self._reading: Counter[str] = Counter()  # messages of unsaid length that are on their way in, by share
        self._habits: dict[str, Kind] = {}  # by share: what the last question was about, of those who do not say
        self.settings: Settings = service.settings  # those that can change meanwhile: see `reload`

    async def one(self, request: match_pb2.MatchRequest, timeout: float | None) -> match_pb2.MatchResponse:
        """The answer to one request, media or fingerprints inside it. `timeout`: seconds that the caller still waits.

        Raises:
            Overloaded: there is no room.
            HashmatchError: as `Pipeline.judge`; Malformed names the field.
        """
        with self.place(request):
            return await self.admitted(request, timeout)

    def place(self, request: match_pb2.MatchRequest) -> AbstractContextManager[object]:
        """A place for a request that is here.

        Raises:
            Malformed: its media is too long; names the field.
            Overloaded: there is no room; when the place is entered.
        """
        self.bound(len(request.media), "media")
        kind = Kind.LOOKUP if request.WhichOneof("input") == "fingerprints" else Kind.MEDIA
        return self._admission.admit(len(request.media), kind=kind, share=CALLER.get().share)

    async def admitted(
        self,
        request: match_pb2.MatchRequest,
        timeout: float | None,
        *,
        media: bytes | None = None,
        digests: tuple[Hashed, ...] = (),
    ) -> match_pb2.MatchResponse:
        """As `one`, for what holds its place already; `media` where it did not come inside the request."""
        caller = CALLER.get()
        submission = convert.submission_from_wire(
            request, request_id=clock.new_id("r"), widths=self._service.widths, media=media, digests=digests
        )
        try:
            record = await self._service.pipeline.judge(submission, timeout=timeout, share=caller.share)
        except Overloaded:
            self._metrics.refused("queue")
            raise
        self._metrics.judged(record)
        if caller.credential is not None:
            plain = ((h.hash_type, h.fingerprint.value) for h in record.hashed if not h.variant and not h.unhashable)
            self._callers.observe(caller, plain, matched=record.finding == common_pb2.FINDING_MATCH)
        return answer(record, detail=caller.has(Role.DETAIL))

    def refuse_early(self, media_bytes: int | None) -> None:
        """Refuses a call before its message is read, where it could not be admitted anyway: what is not read is not
        sent, since flow control holds all but a little of it back. `media_bytes`: as the caller says; None: unsaid,
        then it is taken to ask what it asked last.

        Raises:
            Overloaded: there is no room for so much media, or so many messages are being read already.
        """
        share, line = CALLER.get().share, self._service.sandbox.line
        carries_media = self._habits.get(share) is Kind.MEDIA if media_bytes is None else media_bytes > 0
        if carries_media and line.full(share):
            self._metrics.refused("queue")
            raise line.refusal()
        reading = self._reading.total()
        if media_bytes is None and (reading >= MAX_READING or self._reading[share] >= MAX_READING * ALONE):
            self._metrics.refused("requests")
            raise Overloaded(f"{reading} messages are being received already", retry_after=RETRY_SECONDS)

    async def read(self, media_bytes: int | None, requests: AsyncIterator[Any]) -> Any:
        """The one message of a call, None where there is none; or as `refuse_early`.

        Raises:
            Malformed: it takes too long to come, or carries more media than its caller said.
        """
        self.refuse_early(media_bytes)
        share = CALLER.get().share
        if media_bytes is not None:
            self.bound(media_bytes, "media")
            kind = Kind.MEDIA if media_bytes else Kind.LOOKUP
            with self._admission.admit(media_bytes, kind=kind, share=share):
                request = await _one(requests)
            if len(getattr(request, "media", b"")) > media_bytes:
                raise Malformed(f"more media than the {media_bytes} bytes that were announced", field="media")
            return request
        self._reading[share] += 1
        try:
            request = await _one(requests)
        finally:
            self._reading[share] -= 1
            if not self._reading[share]:
                del self._reading[share]
        if len(self._habits) >= MAX_HABITS:
            self._habits.clear()
        self._habits[share] = Kind.MEDIA if getattr(request, "media", b"") else Kind.LOOKUP
        return request

    def admit(self, size: int = 0) -> AbstractContextManager[Callable[[int], None]]:
        """A place for media of the caller's: as `Admission.admit`."""
        return self._admission.admit(size, share=CALLER.get().share)

    @contextmanager
    def upload(self) -> Iterator[Upload]:
        """A place for media that comes in pieces; leaving it frees them.

        Raises:
            Overloaded: there is no room.
        """
        share, settings = CALLER.get().share, self.settings
        with (
            self._admission.admit(share=share) as hold,
            self._admission.spooled.part(share) as keep,
            Spool(settings.state / "spool", settings.spool_bytes) as spool,
        ):
            yield Upload(spool, self.bound, hold, keep)

    async def uploaded(
        self, header: match_pb2.MatchRequest, timeout: float | None, upload: Upload
    ) -> match_pb2.MatchResponse:
        """As `admitted`, for media that came in pieces."""
        return await self.admitted(header, timeout, media=await upload.media(), digests=upload.digests())

    def bound(self, size: int, field: str) -> None:
        """Refuses media that is too long.

        Raises:
            Malformed: names the field and the limit.
        """
        most = self.settings.max_media_bytes
        if size > most:
            raise Malformed(f"{size} bytes of media, at most {most}", field=field)

    def spend(self) -> None:
        """Counts an item of a stream.

        Raises:
            Unauthenticated: the caller was let in, and may no longer.
            OverBudget: it is too many.
        """
        caller = CALLER.get()
        self._callers.still(caller)
        self._callers.spend(caller)

    def missed(self, status: str) -> None:
        """Counts a submission that was not scanned, for the log: uploads seen are those scanned and these."""
        self._service.ledger.count("", common_pb2.FINDING_UNSPECIFIED, clock.now(), status)

    def failed(self, error: Exception) -> None:
        """Counts an item of a stream that was answered with an error."""
        self.missed(error.status if isinstance(error, HashmatchError) else "INTERNAL")
        if isinstance(error, OverBudget):
            self._metrics.refused("budget")
        elif isinstance(error, Unauthenticated):
            self._metrics.denied(error.why or "unknown")
        if isinstance(error, HashmatchError):
            trace.debug("an item of a stream was answered %s", error.status)


async def _one(requests: AsyncIterator[Any]) -> Any:
    try:
        async with asyncio.timeout(MESSAGE_SECONDS):
            return await anext(requests, None)
    except TimeoutError as e:
        raise Malformed(f"the message did not come within {MESSAGE_SECONDS:.0f} s", field="request") from e


def answer(record: VerdictRecord, *, detail: bool) -> match_pb2.MatchResponse:
    """What a caller is told of a verdict; without `detail`, nothing of lists, entries and distances.

    Why something could not be searched is told to everyone: it is about their own media, and UNKNOWN means nothing
    without it.
    """
    response = convert.record_to_response(record)
    if detail:
        return response
    for field in ("matches", "matches_found", "set_aside"):
        response.ClearField(field)
    response.coverage.ClearField("lists")
    unhashable = [row for row in response.hashed if row.unhashable]
    response.ClearField("hashed")
    response.hashed.extend(unhashable)
    return response
