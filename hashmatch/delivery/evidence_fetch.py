"""What was uploaded, fetched from the platform that keeps it, by a signed request.

POST, signed as the platform's other messages are (standard_webhooks.py): {"type": "hashmatch.evidence", "content_id",
"verdict_id", "case_id"}. The platform answers 200 with the very bytes, or 404 or 410 where it has them no more. What
comes is believed where its SHA-256 is that of what was judged: a report must not carry another file.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Final

from hashmatch import clock
from hashmatch.delivery import standard_webhooks
from hashmatch.delivery.guarded_http import GuardedHttp, Unreachable
from hashmatch.delivery.standard_webhooks import Secret
from hashmatch.errors import Corrupt, StoreFailed

TYPE: Final = "hashmatch.evidence"
GONE: Final = frozenset({404, 410})


class EvidenceFetch:
    """One platform. For any thread."""

    def __init__(
        self, http: GuardedHttp, secrets: Iterable[Secret], *, most: int, now: Callable[[], datetime] = clock.now
    ) -> None:
        """`most`: bytes of one upload, as the server takes them in."""
        self._http, self._secrets, self._most, self._now = http, secrets, most, now

    def fetch(self, *, content_id: str, verdict_id: str, case_id: str, sha256: bytes) -> bytes | None:
        """The bytes that were uploaded; None where the platform has them no more.

        Raises:
            StoreFailed: it does not give them now.
            Corrupt: it gives others than were judged.
        """
        about = {"type": TYPE, "content_id": content_id, "verdict_id": verdict_id, "case_id": case_id}
        body = json.dumps(about, ensure_ascii=False, separators=(",", ":")).encode()
        signed = standard_webhooks.headers(self._secrets, id=f"{verdict_id}.evidence", at=self._now(), body=body)
        try:
            answer = self._http.post(body, {"content-type": "application/json", **signed}, most=self._most + 1)
        except Unreachable as e:
            raise StoreFailed(f"the platform does not give the upload: {e}") from e
        if answer.status in GONE:
            return None
        if answer.status != 200:
            raise StoreFailed(f"the platform does not give the upload: it answered {answer.status}")
        if len(answer.body) > self._most:
            raise Corrupt(f"the platform gives more than {self._most} bytes: another file than was judged")
        if not hmac.compare_digest(hashlib.sha256(answer.body).digest(), sha256):
            raise Corrupt("the platform gives another file than was judged")
        return answer.body

    def close(self) -> None:
        self._http.close()
