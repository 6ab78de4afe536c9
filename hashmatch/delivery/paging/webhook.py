"""Pages as signed webhooks: to whatever rings a person's telephone, or writes into their chat."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from hashmatch import clock
from hashmatch.delivery import standard_webhooks
from hashmatch.delivery.dispatch import RefusedForGood
from hashmatch.delivery.guarded_http import GuardedHttp
from hashmatch.delivery.paging.answers import ANY_2XX, post
from hashmatch.delivery.paging.note import Note
from hashmatch.delivery.standard_webhooks import Secret

TYPE: Final = "hashmatch.page"


@dataclass(frozen=True, slots=True)
class Hook:
    """One person's endpoint."""

    http: GuardedHttp = field(repr=False)
    secrets: Iterable[Secret] = field(repr=False)


class Webhook:
    """Posts to the endpoint of whoever is told. `note.to` is a person's name, as `hooks` has it. For any thread."""

    name: Final = "webhook"

    def __init__(self, hooks: Mapping[str, Hook], *, now: Callable[[], datetime] = clock.now) -> None:
        self._hooks, self._now = dict(hooks), now

    def send(self, note: Note) -> None:
        """As `Channel.send`. The id is of a page, a person and a round: two persons may share one endpoint."""
        hook = self._hooks.get(note.to)
        if hook is None:
            raise RefusedForGood("no webhook of theirs is known")
        told = {
            "type": TYPE, "page_id": note.page_id, "case_id": note.case_id, "tier": note.tier, "drill": note.drill,
            "text": note.text, "to": note.to, **({"url": note.url} if note.url else {}),
        }  # fmt: skip
        body = json.dumps(told, separators=(",", ":")).encode()
        signed = standard_webhooks.headers(hook.secrets, id=note.message, at=self._now(), body=body)
        post(hook.http, body, signed, taken=ANY_2XX, now=self._now)

    def resolve(self, note: Note) -> None:
        """Nothing: what was told is told."""

    def close(self) -> None:
        for hook in self._hooks.values():
            hook.http.close()
