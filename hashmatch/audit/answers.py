"""What request ids are answered: what is kept of an answer, and which ones are about to be on disk."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from dataclasses import dataclass

from hashmatch.v1.audit_pb2 import VerdictRecord
from hashmatch.v1.store_pb2 import RequestRecord


@dataclass(frozen=True, slots=True)
class Remembered:
    """What a request id was answered, and whether that is on disk: who repeats the answer waits for `written`."""

    record: RequestRecord
    written: Future[int]


class Pending:
    """Answers that are not on disk yet, by request key. All methods may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the one below
        self._held: dict[bytes, Remembered] = {}

    def hold(self, request: bytes, answer: RequestRecord, written: Future[int]) -> None:
        """Keeps an answer until `written` is done."""
        with self._lock:
            self._held[request] = Remembered(answer, written)
        written.add_done_callback(lambda _: self._drop(request, written))

    def _drop(self, request: bytes, written: Future[int]) -> None:
        with self._lock:
            held = self._held.get(request)
            if held is not None and held.written is written:  # a later record may have taken its place
                del self._held[request]

    def get(self, request: bytes) -> Remembered | None:
        with self._lock:
            return self._held.get(request)


def answer_of(record: VerdictRecord, *, whole: bool) -> RequestRecord:
    """What a retry is answered. Unless `whole`, without what only the ledger is told.

    Whose content it is, and the fingerprints of its variants, are kept of nothing that asks for nothing.
    """
    answer = RequestRecord(question_digest=record.question_digest, verdict=record, at=record.at)
    if not whole:
        answer.verdict.ClearField("subject")
        answer.verdict.ClearField("hashed")
        answer.verdict.hashed.extend(row for row in record.hashed if not row.variant)  # as `record_to_response`
    return answer
