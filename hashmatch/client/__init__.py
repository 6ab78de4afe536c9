"""A small typed client: `Client` for threads, `AsyncClient` for asyncio. Both speak the generated messages.

    with Client("127.0.0.1:50051") as client:
        answer = client.match(media=upload, subject=Subject(content_id="photo-17"))
        if answer.finding != Finding.FINDING_NO_MATCH:
            hold(upload)

Every request carries a request id (made here where none is given), so a retry after a lost answer gets the same
verdict. Retries follow the channel's service config; a call is never hedged.

The two are twins, call by call; what they have in common is in `channel.py` (how a server is reached), `requests.py`
(what is asked) and `errors.py` (what a refusal is here).
"""

from hashmatch.client.aio import AsyncClient
from hashmatch.client.channel import OPTIONS
from hashmatch.client.errors import outcome_of, translated
from hashmatch.client.requests import match_request, media_bytes
from hashmatch.client.threads import Client
from hashmatch.types import Fingerprint, Subject
from hashmatch.v1.common_pb2 import Disposition, Finding

__all__ = [
    "OPTIONS",
    "AsyncClient",
    "Client",
    "Disposition",
    "Finding",
    "Fingerprint",
    "Subject",
    "match_request",
    "media_bytes",
    "outcome_of",
    "translated",
]
