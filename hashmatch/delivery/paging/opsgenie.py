"""Pages as alerts of Opsgenie: the Alert API, https://docs.opsgenie.com/docs/alert-api

Opsgenie keeps one open alert for an alias, whoever made it. So the alias is of a page and a person: under the page's id
alone the second person's alert would only count up the first one's. An alert is taken with 202 and not made yet: what
becomes of it shows in Opsgenie alone. Atlassian ends Opsgenie on 2027-04-05; JSM speaks the same at another address.
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

US: Final = "https://api.opsgenie.com"
EU: Final = "https://api.eu.opsgenie.com"
JSM: Final = "https://api.atlassian.com/jsm/ops/integration"  # Jira Service Management
MAX_MESSAGE: Final = 130  # characters, as the API has it; the description holds 15000
PRIORITY: Final = ("P1", "P2", "P3", "P4")  # by tier
_KEY: Final = re.compile(r"[A-Za-z0-9-]{16,128}")


def genie_key(text: str) -> str:
    """The key of an API integration.

    Raises:
        Malformed: it is none; the text is not repeated.
    """
    if not _KEY.fullmatch(text):
        raise Malformed("want the key of an API integration", field="key")
    return text


class Opsgenie:
    """Makes and closes alerts. `note.to` is a person's name, as `keys` has it. For any thread."""

    name: Final = "opsgenie"

    def __init__(
        self, opened: Callable[[str], GuardedHttp], keys: Mapping[str, str], *, base: str = US,
        now: Callable[[], datetime] = clock.now,
    ) -> None:  # fmt: skip
        """`opened` makes a client of one URL: an alert is closed at an address of its own. `base`: US, EU or JSM.

        Raises:
            Malformed: a key is none.
        """
        self._opened, self._base, self._now = opened, base.rstrip("/"), now
        self._keys = {person: genie_key(key) for person, key in keys.items()}
        self._alerts = opened(f"{self._base}/v2/alerts")

    def send(self, note: Note) -> None:
        """As `Channel.send`."""
        alert = {
            "message": note.text[:MAX_MESSAGE], "description": f"{note.text}\n{note.url}".strip(),
            "alias": note.incident, "priority": PRIORITY[note.tier], "source": SOURCE,
            "tags": ["drill"] if note.drill else [], "details": {"case_id": note.case_id, "page_id": note.page_id},
        }  # fmt: skip
        self._post(self._alerts, note, alert)

    def resolve(self, note: Note) -> None:
        """As `Channel.resolve`. Opsgenie takes it where nothing is open, too."""
        # An alias holds nothing that a URL would have to quote.
        http = self._opened(f"{self._base}/v2/alerts/{note.incident}/close?identifierType=alias")
        try:
            self._post(http, note, {"source": SOURCE})
        finally:
            http.close()

    def _post(self, http: GuardedHttp, note: Note, told: Mapping[str, object]) -> None:
        key = self._keys.get(note.to)
        if key is None:
            raise RefusedForGood("no key of theirs is known")
        post(http, json.dumps(told).encode(), {"authorization": f"GenieKey {key}"}, taken=(202,), now=self._now)

    def close(self) -> None:
        self._alerts.close()
