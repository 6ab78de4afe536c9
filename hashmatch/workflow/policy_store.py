"""Which policy is in force: kept in the ledger, changed by two, with an event of its own; and every one that ever was.

The first that a server is started with is taken over as it is. From then on a change is proposed by one person and
agreed to by another, and counts from the next verdict on, in every process. What is in force does not change because
a file does, or because another version of hashmatch comes with other rules.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from typing import Final, overload

from hashmatch.audit import tables
from hashmatch.audit.leaves import Appending
from hashmatch.errors import BadConfig, HashmatchError, Malformed, NotFound, Refused
from hashmatch.store.env import Env, Txn
from hashmatch.v1.audit_pb2 import Event, VerdictRecord
from hashmatch.v1.cases_pb2 import POLICY_STATE_FORMER, POLICY_STATE_IN_FORCE, PolicyRecord
from hashmatch.workflow import policy_file
from hashmatch.workflow.facts import plan_by
from hashmatch.workflow.inputs import text
from hashmatch.workflow.inquiry import another
from hashmatch.workflow.plan import Clocks, Jurisdiction, Plan
from hashmatch.workflow.policy import Policy, reports_to
from hashmatch.workflow.policy_rows import Proposal, Shown, record
from hashmatch.workflow.rows import Keys

_PERSONS: Final = b"persons"  # → how many must agree
_ACTIVE: Final = b"active"  # → version
_PROPOSED: Final = b"proposed"  # → version, who and why, as JSON
_TEXT: Final = b"text\0"  # + version → the file's text
_CHANGE: Final = b"change\0"  # + number from 1 → how a version came into force, as JSON
MIN_DIGITS: Final = 8  # of a version, by which it is named

trace = logging.getLogger(__name__)


class PolicyStore:
    """The policies of a ledger, inside transactions that the caller opened. For any thread."""

    def __init__(self, env: Env) -> None:
        self._rows = Keys(env, tables.POLICIES)

    def active(self, txn: Txn) -> str:
        """The version that is in force; "" before a server was ever started."""
        return self._rows.get(txn, _ACTIVE) or ""

    def text(self, txn: Txn, version: str) -> str:
        """A policy's text.

        Raises:
            NotFound: it was never in force, nor proposed.
        """
        found = self._rows.get(txn, _TEXT + version.encode()) if 0 < len(version) <= 64 else None
        if found is None:
            raise NotFound("no policy of that version was ever in force or proposed here")
        return found

    def persons(self, txn: Txn) -> int:
        """How many must agree to another policy, as the last server had it; 2 before there was one."""
        return int(self._rows.get(txn, _PERSONS) or "2")

    def keep_persons(self, txn: Txn, persons: int) -> None:
        """Keeps that, for those who work on the state with settings of their own."""
        self._rows.put(txn, _PERSONS, str(persons))

    def proposal(self, txn: Txn) -> Proposal | None:
        """What waits for a second person."""
        found = self._rows.get(txn, _PROPOSED)
        return Proposal(**json.loads(found)) if found else None

    def adopt(self, log: Appending, given: str, *, by: str, approver: str = "", reason: str = "") -> Policy:
        """Puts a policy into force by what its caller knows.

        Raises:
            Malformed, BadConfig: it is none, or has an error.
        """
        policy = policy_file.accepted(given)
        self._log(log, policy.version, by, reason, approver=approver)
        self._rows.put(log.txn, _TEXT + policy.version.encode(), given)
        self._rows.put(log.txn, _ACTIVE, policy.version)
        self._rows.delete(log.txn, _PROPOSED)
        change = {"version": policy.version, "by": by, "approver": approver, "reason": reason}
        self._rows.put(log.txn, self._next(log.txn), json.dumps(change | {"at": log.at.isoformat()}))
        return policy

    def _log(self, log: Appending, version: str, by: str, reason: str, *, approver: str = "", step: str = "") -> None:
        event = Event()
        said = event.policy_changed
        said.version, said.previous, said.by = version, self.active(log.txn), by
        said.approver, said.reason, said.step = approver, reason, step
        log.append(event)

    def _next(self, txn: Txn) -> bytes:
        last = self._rows.last(txn, _CHANGE)
        number = int.from_bytes(last.removeprefix(_CHANGE), "big") if last else 0
        return _CHANGE + (number + 1).to_bytes(8, "big")

    def change(self, log: Appending, given: str, *, by: str, reason: str) -> PolicyRecord:
        """Proposes a policy; or puts it into force, where one person is enough, as the last server had it.

        Raises:
            As `propose`.
        """
        if self.persons(log.txn) != 1:
            return self.propose(log, given, by=by, reason=reason).record()
        self.adopt(log, given, by=by, reason=text(reason, "reason"))
        return next(self.records(log.txn))

    def records(self, txn: Txn) -> Iterator[PolicyRecord]:
        """What is proposed, and then every policy that came into force here, the newest first."""
        if (waits := self.proposal(txn)) is not None:
            yield waits.record()
        state = POLICY_STATE_IN_FORCE
        for _, row in reversed(list(self._rows.since(txn, _CHANGE, _CHANGE))):
            change = json.loads(row)
            yield record(state, change, change.pop("at"))
            state = POLICY_STATE_FORMER

    def shown(self, txn: Txn, version: str = "", *, proposed: bool = False, otherwise: str = "") -> Shown:
        """A policy by its version, or the beginning of it; "": the one in force, or `otherwise` before there is one.

        Raises:
            Malformed: too few digits to tell versions apart, or a version and `proposed`.
            NotFound: nothing is proposed, or no such policy was ever.
        """
        waits = self.proposal(txn)
        if proposed and version:
            raise Malformed("want a version, or what is proposed", field="version")
        if proposed and waits is None:
            raise NotFound("no policy is proposed")
        version = waits.version if proposed and waits else self._whole(txn, version) if version else self.active(txn)
        found = self.text(txn, version) if version else otherwise
        try:
            read = policy_file.parse(found)
        except Malformed:
            return Shown(found, version, "", waits)
        return Shown(found, read.version, read.meaning, waits)

    def _whole(self, txn: Txn, version: str) -> str:
        if len(version) < MIN_DIGITS:
            raise Malformed(f"want {MIN_DIGITS} digits of it at least", field="version")
        found = self._rows.first(txn, _TEXT + version[:64].encode())
        return found[0].removeprefix(_TEXT).decode() if found else version

    def propose(self, log: Appending, given: str, *, by: str, reason: str) -> Proposal:
        """A policy that waits for another person; it takes the place of one that waited.

        Raises:
            Malformed, BadConfig: it is none, or has an error. Refused: it is in force.
        """
        policy = policy_file.accepted(given)
        if policy.version == self.active(log.txn):
            raise Refused("this very policy is in force")
        proposal = Proposal(policy.version, by, text(reason, "reason"), log.at.isoformat())
        self._rows.put(log.txn, _TEXT + policy.version.encode(), given)
        self._rows.put(log.txn, _PROPOSED, json.dumps(asdict(proposal)))
        self._log(log, policy.version, by, proposal.reason, step="PROPOSED")
        return proposal

    def approve(self, log: Appending, version: str, *, by: str) -> Policy:
        """Puts into force what another person proposed.

        Args:
            version: of the proposal, or its beginning: what was looked at.
        Raises:
            NotFound: nothing is proposed, or something else. Refused: the same person proposed it.
        """
        proposal = self.proposal(log.txn)
        if proposal is None or len(version) < MIN_DIGITS or not proposal.version.startswith(version):
            raise NotFound("no policy of that version is proposed; `hashmatch policy show --proposed` shows what is")
        another(by, proposal.by)
        given = self.text(log.txn, proposal.version)
        return self.adopt(log, given, by=proposal.by, approver=by, reason=proposal.reason)

    def withdraw(self, log: Appending, version: str = "", *, by: str) -> Proposal:
        """Takes back what was proposed: this version, by its beginning, or "" whatever it is.

        Raises:
            NotFound: nothing is, or something else.
        """
        proposal = self.proposal(log.txn)
        if proposal is None or (version and (len(version) < MIN_DIGITS or not proposal.version.startswith(version))):
            raise NotFound("no policy is proposed" if not version else "no policy of that version is proposed")
        self._rows.delete(log.txn, _PROPOSED)
        self._log(log, proposal.version, by, proposal.reason, step="WITHDRAWN")
        return proposal


class PolicyInForce:
    """The policy of a ledger as it is now. For any thread."""

    def __init__(self, env: Env, otherwise: Policy) -> None:
        """`otherwise`: before one was ever in force."""
        self._env, self._store, self._known = env, PolicyStore(env), otherwise  # replaced whole
        self._broken = ""

    @property
    def now(self) -> Policy:
        """What is in force. One that this version of hashmatch cannot read leaves the one before in force, and is
        told."""
        with self._env.read() as txn:
            version = self._store.active(txn)
            if version in ("", self._known.version, self._broken):
                return self._known
            given = self._store.text(txn, version)
        try:
            self._known = policy_file.parse(given)  # it was held against all rules before it came into force
        except HashmatchError as e:
            self._broken = version
            trace.error("policy %s cannot be read by this version; %s stays: %s", version, self._known.version, e)
        return self._known

    def __call__(self, record: VerdictRecord, now: datetime, *, first: Collection[tuple[str, str]] = ()) -> Plan | None:
        """As `case_steps.Planning`."""
        return plan_by(self.now, record, now, first=first)

    def reports_to(self, region: str) -> tuple[str, Jurisdiction | None]:
        """Whom the first rule that reports names, and by which row: of what a person told of, nobody knows more."""
        return reports_to(self.now, region)


class ClocksInForce(Sequence[Clocks]):
    """The clocks of T0..T3, as they are now."""

    def __init__(self, policy: PolicyInForce) -> None:
        self._policy = policy

    def __len__(self) -> int:
        return len(self._policy.now.clocks)

    @overload
    def __getitem__(self, tier: int) -> Clocks: ...
    @overload
    def __getitem__(self, tier: slice) -> Sequence[Clocks]: ...
    def __getitem__(self, tier: int | slice) -> Clocks | Sequence[Clocks]:
        return self._policy.now.clocks[tier]


def check_proposed(env: Env) -> None:
    """Checks what is proposed before `approve` does, in whose transaction verdicts wait: that may take seconds.

    Raises:
        BadConfig: it has an error.
    """
    store = PolicyStore(env)
    with env.read() as txn:
        proposal = store.proposal(txn)
        given = store.text(txn, proposal.version) if proposal is not None else None
    if given is not None:
        policy_file.accepted(given)


def check_in_force(env: Env) -> None:
    """Checks what is in force before `start` does, as `check_proposed`; what is wrong with it `start` says."""
    store = PolicyStore(env)
    with suppress(NotFound, BadConfig):
        with env.read() as txn:
            given = store.text(txn, store.active(txn))
        policy_file.accepted(given)


def start(log: Appending, store: PolicyStore, wanted: str, *, named: bool, alone: bool) -> None:
    """Takes over the policy that a server is started with, where none is in force yet, or where one person may.

    Args:
        wanted: the text of the settings' file, or of what comes with hashmatch.
        named: the settings name a file.
        alone: one person may change the policy.
    Raises:
        BadConfig: the settings name another than is in force, and two must agree to that.
    """
    active, given = store.active(log.txn), policy_file.accepted(wanted)
    if active and (active == given.version or not named):
        try:
            policy_file.accepted(store.text(log.txn, active))
        except (BadConfig, NotFound) as e:
            raise BadConfig(
                f"policy: this version cannot read what is in force ({active[:12]}): {e}; propose one that it can "
                "read with the version before"
            ) from e
        return
    if active and not alone:
        raise BadConfig(
            f"policy: the file is not what is in force ({active[:12]}): `hashmatch policy propose FILE`, and another "
            "person approves it; or start without the setting"
        )
    store.adopt(log, wanted, by="settings", reason="as the server was started")
