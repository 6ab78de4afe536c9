"""Reaches people on call by the channels of the settings: as `pager.Calling`."""

from __future__ import annotations

import logging

from hashmatch.delivery.paging import reaching
from hashmatch.workflow.paging import Page, Send, wording
from hashmatch.workflow.paging_settings import PagingSettings

trace = logging.getLogger(__name__)


class Telephones:
    """The channels of everybody on the rota. For any thread."""

    def __init__(self, settings: PagingSettings) -> None:
        self._settings = settings

    def reach(self, send: Send, page: Page, round: int) -> tuple[bool, str]:
        """As `Calling.reach`. Where somebody may be in danger every channel is used at once."""
        note = self._settings.note(page, send, round=round)
        found = reaching.reach(self._settings.channels_of(send.to), note, every=page.tier == 0)
        return bool(found.by), "; ".join(found.problems)

    def resolve(self, page: Page) -> None:
        """As `Calling.resolve`."""
        for person in sorted(page.paged):
            note = self._settings.note(page, Send(page.id, (), person, wording(page)))
            for problem in reaching.resolve(self._settings.channels_of(person), note).problems:
                trace.warning("the alert of page %s was not ended: %s", page.id, problem)
