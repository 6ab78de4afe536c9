"""Pages as incidents of PagerDuty: the Events API v2, https://developer.pagerduty.com/docs/events-api-v2/overview/

The key of deduplication is the page's id. PagerDuty holds it against the events of one integration, so each person has
the key of an integration of their own, whose service pages them alone; what comes again joins the incident that is
open, and PagerDuty's own escalation goes on ringing. An event is taken with 202 and not done yet: what becomes of it
shows in PagerDuty alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

from hashmatch import clock
from hashmatch.delivery.dispatch import SOURCE, RefusedForGood
from hashmatch.delivery.guarded_http import GuardedHttp
from hashmatch.delivery.paging.answers import post
from hashmatch.delivery.paging.note import Note
from hashmatch.errors import Malformed

US: Final = "https://events.pagerduty.com/v2/enqueue"
EU: Final = "https://events.eu.pagerduty.com/v2/enqueue"
MAX_SUMMARY: Final = 1024  # characters, as the API has it
SEVERITY: Final = ("critical", "error", "warning", "info")  # by tier
_KEY: Final = re.compile(r"[A-Za-z0-9]{32}")


def routing_key(text: str) -> str:
    """The key of an integration.

    Raises:
        Malformed: it is none; the text is not repeated.
    """
    if not _KEY.fullmatch(text):
        raise Malformed("want the integration key of an Events API v2 integration: 32 letters and digits", field="key")
    return text


class PagerDuty:
    """Triggers and resolves incidents. `note.to` is a person's name, as `keys` has it. For any thread."""

    name: Final = "pagerduty"

    def __init__(
        self, http: GuardedHttp, keys: Mapping[str, str], *, now: Callable[[], datetime] = clock.now
    ) -> None:  # fmt: skip
        """`http`: of US or EU.

        Raises:
            Malformed: a key is none.
        """
        self._http, self._now = http, now
        self._keys = {person: routing_key(key) for person, key in keys.items()}

    def send(self, note: Note) -> None:
        """As `Channel.send`."""
        payload = {
            "summary": note.text[:MAX_SUMMARY], "severity": SEVERITY[note.tier], "source": SOURCE,
            "custom_details": {"case_id": note.case_id, "tier": note.tier, "drill": note.drill},
        }  # fmt: skip
        links = {"links": [{"href": note.url, "text": "the case"}]} if note.url else {}
        self._event(note, "trigger", {"payload": payload, "client": SOURCE, **links})

    def resolve(self, note: Note) -> None:
        """As `Channel.resolve`. PagerDuty takes it where nothing is open, too."""
        self._event(note, "resolve", {})

    def _event(self, note: Note, action: str, more: Mapping[str, object]) -> None:
        key = self._keys.get(note.to)
        if key is None:
            raise RefusedForGood("no key of theirs is known")
        event = {"routing_key": key, "event_action": action, "dedup_key": note.page_id, **more}
        post(self._http, json.dumps(event).encode(), {}, taken=(202,), now=self._now)

    def close(self) -> None:
        self._http.close()
