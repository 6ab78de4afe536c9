"""Changes that want two persons: one proposes, another approves, and only then something changes.

For lists whose policy says `two_person`: a change of the policy itself (thresholds and that rule included), a
suppression, the release of a held entry, and going back to a version that was active before. Activation has the rule in
the keeper, since its first person is whoever staged the version. A proposal is void once it expired, or once what it
was meant to replace has changed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol

from hashmatch import clock, convert
from hashmatch.errors import NotFound, Refused
from hashmatch.lists import terms
from hashmatch.lists.keeper import ListKeeper
from hashmatch.roles import ANONYMOUS
from hashmatch.store.lists import ListStore
from hashmatch.v1 import lists_pb2

LASTS = timedelta(days=7)  # long enough for a weekend and a leave, short enough that its reason still holds
MAX_OPEN = 1000  # of all lists, so that proposing in a loop cannot fill the disk
ID_PREFIX = "p"

trace = logging.getLogger(__name__)

Change = (
    lists_pb2.SetPolicyRequest
    | lists_pb2.SuppressEntryRequest
    | lists_pb2.ReleaseEntryRequest
    | lists_pb2.RollBackListRequest
)
_FIELD = {
    lists_pb2.SetPolicyRequest: "policy",
    lists_pb2.SuppressEntryRequest: "suppress",
    lists_pb2.ReleaseEntryRequest: "release",
    lists_pb2.RollBackListRequest: "roll_back",
}


class Release(Protocol):
    """Lets an entry act again that is held."""

    def __call__(self, name: str, entry_id: str, *, by: str, approver: str, reason: str) -> object: ...


class Proposals:
    """What waits for a second person. For any thread."""

    def __init__(
        self,
        store: ListStore,
        keeper: ListKeeper,
        *,
        release: Release,
        now: Callable[[], datetime] = clock.now,
    ) -> None:
        """`release` lets the entry of a list act again; called once a second person approved."""
        self._store, self._keeper, self._release, self._now = store, keeper, release, now

    def propose(self, change: Change, *, by: str) -> lists_pb2.Proposal | None:
        """The proposal that now waits, or None where one person will do: then the caller makes the change itself.

        Raises:
            NotFound: no such list.
            Malformed: the change could not be made; names the field.
            Refused: too much waits already.
        """
        with self._store.view() as view:
            policy = view.list(change.name).policy
        if not policy.two_person:
            return None
        terms.text(change.reason, "reason", required=True)
        proposal = lists_pb2.Proposal(id=clock.new_id(ID_PREFIX), list=change.name, by=by)
        getattr(proposal, _FIELD[type(change)]).CopyFrom(change)
        if isinstance(change, lists_pb2.SetPolicyRequest):
            self._keeper.check_policy(change.policy)
            proposal.policy_before.CopyFrom(policy)
        elif isinstance(change, lists_pb2.RollBackListRequest):
            # Named now: the one before the present one is another by the time it is approved.
            proposal.roll_back.version = self._keeper.version_before(change.name, change.version)
        else:
            self._keeper.entry_ids.parse(change.entry_id)
        now = self._now()
        proposal.at.CopyFrom(convert.timestamp(now))
        proposal.expires_at.CopyFrom(convert.timestamp(now + LASTS))
        with self._store.step() as step:
            open_ = 0
            for other in step.proposals():
                if convert.moment(other.expires_at) <= now:
                    step.drop_proposal(other.id)
                else:
                    open_ += 1
            if open_ >= MAX_OPEN:
                raise Refused(f"{open_} proposals wait already; approve or withdraw some")
            step.put_proposal(proposal)
        return proposal

    def waiting(self, name: str = "") -> list[lists_pb2.Proposal]:
        """What can still be approved, of one list or of every list, newest first."""
        now = self._now()
        with self._store.view() as view:
            if name:
                view.list(name)
            found = [p for p in view.proposals() if convert.moment(p.expires_at) > now]
        return [p for p in found if p.list == name or not name]

    def approve(self, proposal_id: str, *, by: str) -> lists_pb2.Proposal:
        """The proposal, done.

        Raises:
            NotFound: none of that id waits.
            Refused: it is the approver's own, or what it was to replace has changed.
        """
        proposal = self._find(proposal_id)
        if by == ANONYMOUS:
            raise Refused("whoever approves this must be known: show a key")
        if proposal.by == by:
            raise Refused(f"{by} proposed this: another person must approve it")
        name, kind = proposal.list, proposal.WhichOneof("change")
        if kind == "policy":
            self._keeper.set_policy(
                name, proposal.policy.policy, reason=proposal.policy.reason, by=proposal.by, approver=by,
                instead_of=proposal.policy_before,
            )  # fmt: skip
        elif kind == "suppress":
            asked = proposal.suppress
            self._keeper.suppress(
                name, asked.entry_id, reason=asked.reason, approver=by, by=proposal.by,
                expires_at=convert.moment(asked.expires_at) if asked.HasField("expires_at") else None,
            )  # fmt: skip
        elif kind == "roll_back":
            back = proposal.roll_back
            self._keeper.roll_back(name, back.version, reason=back.reason, by=proposal.by, approver=by)
        else:
            asked_release = proposal.release
            self._release(name, asked_release.entry_id, by=proposal.by, approver=by, reason=asked_release.reason)
        # Doing it twice is harmless and each is refused or the same; losing it is not. So it is dropped afterwards.
        self._drop(proposal_id)
        return proposal

    def withdraw(self, proposal_id: str, *, by: str) -> lists_pb2.Proposal:
        """The proposal, which no longer waits; who withdrew it is traced.

        Raises:
            NotFound: none of that id waits.
        """
        proposal = self._find(proposal_id)
        self._drop(proposal_id)
        trace.warning("proposal %s of %s on '%s' was withdrawn by %s", proposal_id, proposal.by, proposal.list, by)
        return proposal

    def _find(self, proposal_id: str) -> lists_pb2.Proposal:
        for proposal in self.waiting():
            if proposal.id == proposal_id:
                return proposal
        raise NotFound("no proposal of that id waits; it may have expired")

    def _drop(self, proposal_id: str) -> None:
        with self._store.step() as step:
            step.drop_proposal(proposal_id)
