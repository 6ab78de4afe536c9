"""What an answer over HTTP means for a page. Nothing that the other side said is repeated: it may hold what we sent."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Final

import httpcore

from hashmatch.delivery.dispatch import NotTaken, RefusedForGood
from hashmatch.delivery.guarded_http import GuardedHttp, Unreachable
from hashmatch.delivery.webhook import MAX_RETRY_AFTER, NEVER

ANY_2XX: Final = range(200, 300)
REFUSED: Final = NEVER | {410}  # the very same request will not be taken later either


def post(
    http: GuardedHttp, body: bytes, headers: Mapping[str, str], *, taken: Container[int], now: Callable[[], datetime]
) -> None:
    """Sends once; returns if the status is one of `taken`. What stands in between may answer 200 for another.

    Raises:
        NotTaken, RefusedForGood: as `Channel.send`.
    """
    try:
        answer = http.post(body, {"content-type": "application/json", **headers})
    except Unreachable as e:
        # Of what is no HTTP, h11 tells the bytes: the other side's, who may send back our key.
        broken = isinstance(e.__cause__, httpcore.ProtocolError)
        raise NotTaken("what answers speaks no HTTP" if broken else str(e)) from None
    if answer.status in taken:
        return
    if answer.status in REFUSED:
        raise RefusedForGood(f"answered {answer.status}")
    wait = _seconds(answer.headers.get("retry-after", ""), now())
    raise NotTaken(f"answered {answer.status}", retry_after=wait)


def _seconds(given: str, now: datetime) -> float | None:
    """How long a `Retry-After` asks to wait; None: it says nothing that is understood."""
    if given.isascii() and given.isdigit():
        seconds = float(given[:9])
    else:
        try:
            seconds = (parsedate_to_datetime(given) - now).total_seconds()
        except (ValueError, TypeError):
            return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER)
