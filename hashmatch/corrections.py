"""What a decision on a case means for the lists: entries that were wrong are set aside for a while, or no longer."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from hashmatch import clock, convert
from hashmatch.delivery.dispatch import Dispatch, Receipt, RefusedForGood
from hashmatch.errors import Malformed, NotFound, Refused
from hashmatch.lists.keeper import ListKeeper
from hashmatch.lists.proposals import Proposals
from hashmatch.v1 import lists_pb2
from hashmatch.workflow.destinations import OWN

NAME: Final = OWN

VERBS: Final = frozenset({"suppress", "unsuppress"})
LASTS: Final = timedelta(days=30)  # long enough to tell the list's owner; then it must be decided anew
BY: Final = "hashmatch"


class Corrections:
    """A destination: suppresses the entry that an instruction names, or lifts that. For any thread.

    Where the list wants two persons the suppression is a proposal, which waits for one of them.
    """

    name = NAME

    def __init__(self, keeper: ListKeeper, proposals: Proposals, *, now: Callable[[], datetime] = clock.now) -> None:
        self._keeper, self._proposals, self._now = keeper, proposals, now

    def deliver(self, dispatch: Dispatch) -> Receipt:
        """As `Destination.deliver`; it is done when it returns."""
        list_name, _, entry_id = dispatch.entry.partition("/")
        reason = f"case {dispatch.case_id} was {'cleared' if dispatch.verb == 'suppress' else 'confirmed after all'}"
        try:
            if dispatch.verb == "suppress":
                self._suppress(list_name, entry_id, reason, f"the reviewers of case {dispatch.case_id}")
            else:
                self._keeper.lift_suppression(list_name, entry_id, reason=reason, by=BY)
        except NotFound:
            return Receipt(confirmed=True)  # the list, the entry or the suppression is gone: nothing is left to do
        except (Refused, Malformed) as e:
            raise RefusedForGood(str(e)) from e
        return Receipt(confirmed=True)

    def _suppress(self, list_name: str, entry_id: str, reason: str, approver: str) -> None:
        change = lists_pb2.SuppressEntryRequest(name=list_name, entry_id=entry_id, reason=reason)
        change.expires_at.CopyFrom(convert.timestamp(self._now() + LASTS))
        if any(one.suppress.entry_id == entry_id for one in self._proposals.waiting(list_name)):
            return  # asked for already, by this instruction or another case's
        if self._proposals.propose(change, by=BY) is None:
            self._keeper.suppress(
                list_name, entry_id, reason=reason, approver=approver, by=BY, expires_at=self._now() + LASTS
            )

    def close(self) -> None:
        """Nothing is open."""
