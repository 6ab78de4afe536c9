"""The lists as they were at any revision: what was active, under which policy, with what suppressed.

All of it is in the change feed, which is only ever appended to.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType

from hashmatch import convert
from hashmatch.store.lists import ListView
from hashmatch.types import Revision, Suppression
from hashmatch.v1 import lists_pb2
from hashmatch.v1.store_pb2 import ChangeRecord

_PAGE = 1_000  # changes read at once


@dataclass(frozen=True, slots=True)
class Was:
    """One list from one of its changes on."""

    revision: Revision  # of that change
    at: datetime
    policy: lists_pb2.Policy
    version: int = 0  # active; 0: nothing was
    suppressions: Mapping[str, Suppression] = field(default_factory=lambda: MappingProxyType({}))  # by entry id


class Lists:
    """What the change feed says, as far as it was read. For one thread at a time."""

    def __init__(self) -> None:
        self.revision = Revision(0)  # that the feed was read to
        self._of: dict[str, list[Was]] = {}

    def follow(self, view: ListView) -> None:
        """Reads what follows.

        Raises:
            Corrupt: a change is damaged or missing.
        """
        while self.revision < view.revision:
            for change in view.changes(self.revision, _PAGE):
                known = self._of.setdefault(change.list, [])
                known.append(_after(known[-1] if known else None, change))
                self.revision = Revision(change.revision)

    def at(self, name: str, revision: int) -> Was | None:
        """A list at a revision; None where it was not there yet."""
        known = self._of.get(name, [])
        i = bisect_right(known, revision, key=lambda was: was.revision)
        return known[i - 1] if i else None

    def after(self, name: str, revision: int) -> Iterator[Was]:
        """A list after each of its changes that follow a revision, in order."""
        known = self._of.get(name, [])
        yield from known[bisect_right(known, revision, key=lambda was: was.revision) :]

    def active(self, revision: int) -> dict[str, Was]:
        """Every list that had something active, by name."""
        found = ((name, self.at(name, revision)) for name in self._of)
        return {name: was for name, was in found if was is not None and was.version}


def _after(was: Was | None, change: ChangeRecord) -> Was:
    kind = change.WhichOneof("change")
    revision, at = Revision(change.revision), convert.moment(change.at)
    if was is None or kind == "created":
        return Was(revision, at, change.created.policy, change.created.active_version)
    now = replace(was, revision=revision, at=at)
    if kind == "policy":
        return replace(now, policy=change.policy)
    if kind == "activated":
        return replace(now, version=change.activated.version)
    if kind == "edited":
        return replace(now, version=change.edited.version)
    if kind == "suppressed":
        one = convert.suppression_from_wire(change.suppressed)
        return replace(now, suppressions={**was.suppressions, one.entry_id: one})
    if kind == "lifted":
        left = {entry_id: s for entry_id, s in was.suppressions.items() if entry_id != change.lifted.entry_id}
        return replace(now, suppressions=left)
    return now  # staged: nothing that is searched changed
