"""How often decisions are looked at twice, and by when, as the settings say it; and how old lists are."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from hashmatch.errors import HashmatchError
from hashmatch.store.lists import ListStore
from hashmatch.types import WHOLE
from hashmatch.workflow.blind import DEADLINE
from hashmatch.workflow.double_review import Sampling

HOURS: Final = "deadline_hours"

trace = logging.getLogger(__name__)


def of(given: Mapping[str, float], key: bytes) -> tuple[Sampling, timedelta]:
    """The sampling, and how long whoever is asked has.

    Args:
        given: as the setting `second_looks`: shares 0..1 and hours, by name; what is left out is built in.
        key: that cases are drawn by.
    """
    shares = {name.lower(): round(share * WHOLE) for name, share in given.items() if name != HOURS}
    deadline = timedelta(hours=given[HOURS]) if HOURS in given else DEADLINE
    return Sampling(key=key, **shares), deadline  # type: ignore[arg-type]  # whole numbers, by the names of shares


def since(lists: ListStore) -> Callable[[str], datetime | None]:
    """What tells when a list was made; None where it is not known, which stops no decision."""

    def made(name: str) -> datetime | None:
        try:
            with lists.view() as view:
                return view.list(name).created_at.ToDatetime(UTC)
        except HashmatchError as e:
            trace.warning("the age of list '%s' is not known: %s", name, e)
            return None

    return made
