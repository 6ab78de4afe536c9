"""Instructions as signed webhooks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import datetime
from email.utils import parsedate_to_datetime

from hashmatch import clock
from hashmatch.delivery import standard_webhooks
from hashmatch.delivery.dispatch import CONTENT_TYPE, Dispatch, Gone, NotTaken, Receipt, RefusedForGood
from hashmatch.delivery.guarded_http import Answer, GuardedHttp, Unreachable
from hashmatch.delivery.standard_webhooks import Secret

NEVER = frozenset({400, 413, 415, 422})  # the very same message will not be taken later either
MAX_RETRY_AFTER = 3600.0  # seconds; what is asked for beyond is not waited for


class Webhook:
    """One endpoint of the platform. For any thread."""

    def __init__(
        self, name: str, http: GuardedHttp, secrets: Iterable[Secret], *, now: Callable[[], datetime] = clock.now
    ) -> None:
        self.name = name
        self._http, self._secrets, self._now = http, secrets, now

    def deliver(self, dispatch: Dispatch) -> Receipt:
        """As `Destination.deliver`. A body `{"status": "confirmed"}` says that it is done; any other says nothing."""
        body = dispatch.body()
        signed = standard_webhooks.headers(self._secrets, id=dispatch.key, at=self._now(), body=body)
        try:
            answer = self._http.post(body, {"content-type": CONTENT_TYPE, **signed})
        except Unreachable as e:
            raise NotTaken(str(e)) from e
        if 200 <= answer.status < 300:
            return Receipt(confirmed=_confirms(answer.body))
        if answer.status == 410:
            raise Gone("the endpoint answered 410: it wants nothing more")
        if answer.status in NEVER:
            raise RefusedForGood(f"the endpoint answered {answer.status}")
        raise NotTaken(f"the endpoint answered {answer.status}", retry_after=self._after(answer))

    def _after(self, answer: Answer) -> float | None:
        given = answer.headers.get("retry-after", "")
        if given.isascii() and given.isdigit():
            seconds = float(given[:9])
        else:
            try:
                seconds = (parsedate_to_datetime(given) - self._now()).total_seconds()
            except (ValueError, TypeError):
                return None
        return min(max(seconds, 0.0), MAX_RETRY_AFTER)

    def close(self) -> None:
        self._http.close()


def _confirms(body: bytes) -> bool:
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        return False
    return isinstance(told, dict) and told.get("status") == "confirmed"
