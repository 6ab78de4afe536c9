"""What HTTP's status and the service's code come to. Pure.

The code is read whatever the status: only one pair of them is documented (400 with 4100), and refusals have been seen
under 200. The status has the last word where it is about the door and not about the report: 401, 403, 429, 3xx. A 401
has been seen with code 1000, which elsewhere means "later".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from hashmatch.delivery.cybertip.errors import (
    AlreadyFinished,
    AlreadyRetracted,
    Gone,
    RefusedForGood,
    ReplyLost,
    RetryLater,
    Undelivered,
)
from hashmatch.delivery.cybertip.xml import Answer

MAX_RETRY_AFTER = timedelta(hours=24)  # ours: who asks for more is asked again all the same

DONE = 0
SERVERS_FAULT = range(1000, 2000)
_BY_CODE: Mapping[int, type[Undelivered]] = {
    DONE: ReplyLost,  # under a status that says otherwise
    5001: Gone,  # the report
    5002: Gone,  # the file
    5101: AlreadyRetracted,
    5102: AlreadyFinished,
}

NOT_LET_IN = frozenset({401, 403})
TURNED_AWAY = frozenset({408, 503})  # without a word of the service's: not taken, RFC 9110 §15.5.9, §15.6.4
_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")


def request_id_of(headers: Mapping[str, str]) -> str:
    """What NCMEC's support asks for; "" where there is none, or none that may stand in a trace."""
    given = headers.get("Request-ID", "")
    return given if _REQUEST_ID.fullmatch(given) else ""


def judged(
    call: str, status: int, headers: Mapping[str, str], answer: Answer | None, *, request_id: str, now: datetime
) -> Answer:
    """The answer, where it says that the call was done.

    Args:
        status: HTTP's.
        answer: None where there is none that can be read.
        now: aware; for a Retry-After that is a date.

    Raises:
        Undelivered: the call was not done, or nobody knows.
    """
    if answer is not None and answer.code == DONE and 200 <= status < 300:
        return answer
    kind = _kind(status, answer)
    said = "no answer" if answer is None else f"code {answer.code}"
    after = _retry_after(headers, now) if kind is RetryLater else None
    raise kind(f"{call}: HTTP {status}, {said}", answer=answer, request_id=request_id, retry_after=after)


def _kind(status: int, answer: Answer | None) -> type[Undelivered]:
    if status in NOT_LET_IN or 300 <= status < 400:
        return RefusedForGood
    if status == 429:
        return RetryLater
    if answer is None:
        if status in TURNED_AWAY:
            return RetryLater
        # A gateway's 502 or 504 says nothing of what was done behind it; neither does half an answer.
        return RefusedForGood if 400 <= status < 500 else ReplyLost
    if answer.code in SERVERS_FAULT:
        return RetryLater
    # NCMEC calls its list of codes incomplete: what is not known is for a person.
    return _BY_CODE.get(answer.code, RefusedForGood)


def _retry_after(headers: Mapping[str, str], now: datetime) -> timedelta | None:
    """RFC 9110 §10.2.3: seconds, or a date."""
    given = headers.get("Retry-After", "").strip()
    if given.isascii() and given.isdigit():
        return min(timedelta(seconds=int(given[:9])), MAX_RETRY_AFTER)
    try:
        at = parsedate_to_datetime(given)
    except ValueError:
        return None
    at = at.replace(tzinfo=UTC) if at.utcoffset() is None else at
    return min(max(at - now, timedelta()), MAX_RETRY_AFTER)
