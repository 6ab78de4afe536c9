"""Destroys the evidence of cases: never under a clock, always by two persons, with a certificate in the log.

The certificate is committed first, with a note of what is then to be destroyed; the vault is asked afterwards, and
asked again by whoever comes next where this process ends in between. So the log never misses a destruction, and what it
says is destroyed is soon gone.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from hashmatch import convert
from hashmatch.audit import tables
from hashmatch.audit.leaves import Appending
from hashmatch.audit.ledger import Ledger
from hashmatch.errors import Corrupt, HashmatchError, Malformed, NotFound, Refused
from hashmatch.store.env import Txn
from hashmatch.v1.audit_pb2 import Event
from hashmatch.v1.cases_pb2 import CASE_STATE_CLOSED, Case, CaseItem, CaseState, DueEvidence, InquiryRecord
from hashmatch.workflow import destruction
from hashmatch.workflow.case_steps import Kept
from hashmatch.workflow.casework import Casework
from hashmatch.workflow.destruction import DestroyRequest, Record
from hashmatch.workflow.hold_table import Part
from hashmatch.workflow.holding import hold_of
from hashmatch.workflow.inputs import spelling, text
from hashmatch.workflow.inquiries import Inquiries
from hashmatch.workflow.inquiry import Kind, State, another
from hashmatch.workflow.rows import Keys

AT_ONCE: Final = 100  # of what is gone by the log, destroyed in one go

trace = logging.getLogger(__name__)


class Orphan(Kept, Protocol):
    """What is sealed, and no case names."""

    @property
    def item_id(self) -> str:
        """The id of the verdict that it was sealed for."""


class Vault(Protocol):
    """Where evidence is kept sealed."""

    def describe(self, item_id: str) -> Kept | None:
        """What is kept of an item; None: it is not there."""

    def destroy(self, item_id: str) -> object:
        """Destroys an item's key, then the item; nothing where it is not there.

        Raises:
            StoreFailed: something is left of it.
        """


class Destroying:
    """Destroys what a ledger's cases keep in one vault. For any thread."""

    def __init__(
        self, ledger: Ledger, cases: Casework, inquiries: Inquiries, vault: Vault | None, retention: timedelta
    ) -> None:
        """`vault` None: nothing is kept here. `retention`: how long our own rule keeps evidence of a closed case."""
        self._ledger, self._cases, self._inquiries, self._vault = ledger, cases, inquiries, vault
        self._retention = retention
        self._gone, self._asked = Keys(ledger.env, tables.EVIDENCE[1]), Keys(ledger.env, tables.EVIDENCE[2])

    def destroy(self, log: Appending, case_id: str, *, by: str, ground: str, inquiry_id: str = "") -> tuple[Case, int]:
        """The case, and how many of its items are destroyed by this; none while another person has yet to agree.

        Raises:
            NotFound: no such case, or no such inquiry.
            Malformed: no ground.
            Refused: something keeps it, says what; nothing is kept; or the same person asked.
        """
        self._vault_of()
        before = self._cases.store.get(log.txn, case_id)
        case = Case()
        case.CopyFrom(before)
        items = [item for item in self._cases.store.items(log.txn, case_id) if _kept(item)]
        if not items:
            raise Refused("nothing is kept of this case")
        asked = case.destroy_asked_by
        other = (ground.strip(), inquiry_id) != (case.destroy_ground, case.destroy_inquiry_id)
        if asked and other and spelling(asked) == spelling(by):  # asks anew, on another ground
            asked = case.destroy_ground = ""
        if asked:
            another(by, asked)
        inquiry = case.destroy_inquiry_id if asked else inquiry_id  # what was asked for is what is agreed to
        # Both are tried alike, so that what could never be destroyed is refused to the first person.
        who = (asked or by, by if asked else "another person")
        certificate = self._certificate(log, case, items, text(case.destroy_ground or ground, "ground"), who, inquiry)
        if not asked:
            case.destroy_asked_by, case.destroy_ground, case.destroy_inquiry_id = by, ground.strip(), inquiry_id
            self._cases.store.put(log.txn, case, before)
            return case, 0
        self._write(log, case, items, certificate)
        for name in ("destroy_asked_by", "destroy_ground", "destroy_inquiry_id"):
            case.ClearField(name)
        self._cases.store.put(log.txn, case, before)
        return case, len(items)

    def destroy_orphans(self, log: Appending, orphans: Iterable[Orphan], *, by: str, ground: str) -> tuple[int, int]:
        """How many items that no case names are destroyed by this, and how many wait for another person to agree.

        `orphans`: as `upkeep.sweep` finds them. Whoever asks has ruled out that an older copy of the ledger was
        restored, whose cases would name them.

        Raises:
            Malformed: no ground.
            Refused: there are none; or the same person asked for all of them.
        """
        ground, agreed, waiting, askers, again = text(ground, "ground"), [], 0, [], 0
        for orphan in itertools.islice(orphans, destruction.MAX_KEYS):
            key = orphan.item_id.encode()
            if self._gone.get(log.txn, key) is not None:  # the log says so already, and the vault follows
                continue
            asked = self._asked.get(log.txn, key)
            if asked is None:
                self._asked.put(log.txn, key, by)
                waiting += 1
            elif spelling(asked) == spelling(by):
                again += 1
            else:
                askers.append(asked)
                agreed.append(orphan)
        if not agreed and not waiting:
            alone = f"{by} asked before: another person must agree"
            raise Refused(alone if again else "nothing is sealed that no case names")
        if not agreed:
            return 0, waiting
        event = Event()
        said = event.destroyed
        said.ground = f"{ground} (no case names it)"
        said.key_ids.extend(orphan.key_id for orphan in agreed)
        said.content_digests.extend(self._ledger.sealing.fingerprint_digest("sha256", one.sha256) for one in agreed)
        said.by.extend((*dict.fromkeys(askers), by))
        log.append(event)
        for orphan in agreed:
            self._asked.delete(log.txn, orphan.item_id.encode())
            self._gone.put(log.txn, orphan.item_id.encode())
        return len(agreed), waiting

    def _certificate(
        self, log: Appending, case: Case, items: list[CaseItem], ground: str, by: tuple[str, ...], inquiry_id: str
    ) -> destruction.Certificate:
        if case.state != CASE_STATE_CLOSED:
            raise Refused(f"case {case.id} is kept: the case is open")
        if self._cases.report_waits(log.txn, case.id):  # one that is finished after all is a duty to keep
            raise Refused(f"case {case.id} is kept: a report of it is on its way")
        request = self._request(log, case.id, inquiry_id) if inquiry_id else None
        keys = [kept.key_id.hex() for item in items if (kept := self._described(item)) is not None]
        return destruction.certificate(
            Record(case_id=case.id, part=Part.MEDIA, retain_until=self._retained(case)),
            [hold_of(record) for record in self._cases.store.holds(log.txn, case.id)], log.at,
            key_ids=keys, digests=[item.evidence for item in items], ground=ground, by=by, request=request,
            latest_seen=log.latest,
        )  # fmt: skip

    def _request(self, log: Appending, case_id: str, inquiry_id: str) -> DestroyRequest:
        row = self._inquiries.get(log.txn, inquiry_id)
        _refuse_other(row, case_id)
        return DestroyRequest(
            case_id=case_id, reference=row.reference, received_at=row.received_at.ToDatetime(UTC),
            verified_by=row.verified_by,
            approved_by_counsel=row.counsel if row.state in (State.APPROVED, State.FULFILLED) else "",
        )  # fmt: skip

    def _write(self, log: Appending, case: Case, items: list[CaseItem], certificate: destruction.Certificate) -> None:
        event = Event()
        said = event.destroyed
        said.case_id, said.ground = case.id, certificate.ground
        if certificate.request_reference:
            said.ground += f" (request {certificate.request_reference})"
        said.key_ids.extend(bytes.fromhex(key) for key in certificate.key_ids)
        keyed = (self._ledger.sealing.fingerprint_digest("sha256", digest) for digest in certificate.digests)
        said.content_digests.extend(keyed)
        said.by.extend(certificate.by)
        log.append(event)
        for item in items:
            item.destroyed_at.CopyFrom(convert.timestamp(log.at))
            self._gone.put(log.txn, item.verdict_id.encode())
        self._cases.store.put_items(log.txn, case.id, {item.verdict_id: item for item in items})

    def _described(self, item: CaseItem) -> Kept | None:
        with suppress(Corrupt):  # what is damaged must be destroyed all the same; its digest is known
            return self._vault_of().describe(item.verdict_id)
        return None

    def _vault_of(self) -> Vault:
        if self._vault is None:
            raise Refused("no vault is known here: name the workflow's file that the server uses, or ask the platform")
        return self._vault

    def carry_out(self) -> int:
        """Destroys what the log says is destroyed; how many there were.

        Raises:
            StoreFull, StoreFailed, Corrupt: what is left is tried again by the next call.
        """
        with self._ledger.env.read() as txn:
            due = [key for key, _ in zip((key for key, _ in self._gone.since(txn, b"")), range(AT_ONCE), strict=False)]
        if not due:
            return 0
        done, failure = [], None
        for key in due:
            try:
                self._vault_of().destroy(key.decode())
                done.append(key)
            except HashmatchError as e:  # one that cannot be destroyed now keeps no other
                failure = e
        with self._ledger.changing() as log:
            for key in done:
                self._gone.delete(log.txn, key)
        if failure is not None:
            raise failure
        return len(done)

    def due(
        self, txn: Txn, now: datetime, *, after: bytes = b"", limit: int = AT_ONCE
    ) -> tuple[list[DueEvidence], bytes]:
        """Closed cases whose evidence nothing keeps any more, for two persons to destroy: of the next `limit` closed
        ones, and where those end; b"" at the last."""
        page, after = self._cases.store.page(txn, states={CASE_STATE_CLOSED}, after=after, limit=limit)
        return [one for case in page if (one := self._due(txn, case, now)) is not None], after

    def keeps(self, verdict_id: str) -> bool:
        """Whether what was uploaded is to be there, by the ledger: it was sealed, and not destroyed since."""
        try:
            case_id = self._ledger.verdict(verdict_id).verdict.case_id
        except NotFound:
            return False
        with self._ledger.env.read() as txn:
            items = self._cases.store.items(txn, case_id) if case_id else iter(())
            return any(item.verdict_id == verdict_id and _kept(item) for item in items)

    def wanted(self) -> Iterator[str]:
        """The ids of all that is to be there."""
        after = b""
        while True:
            with self._ledger.env.read() as txn:
                page, after = self._cases.store.page(txn, states=set(CaseState.values()), after=after, limit=AT_ONCE)
                found = [item.verdict_id for c in page for item in self._cases.store.items(txn, c.id) if _kept(item)]
            yield from found
            if not after:
                return

    def _due(self, txn: Txn, case: Case, now: datetime) -> DueEvidence | None:
        kept = [item for item in self._cases.store.items(txn, case.id) if _kept(item)]
        record = Record(case_id=case.id, part=Part.MEDIA, retain_until=self._retained(case))
        holds = [hold_of(one) for one in self._cases.store.holds(txn, case.id)]
        if not kept or not destruction.destructible(record, holds, now).allowed:
            return None
        since, rule = destruction.freed(record, holds)
        due = DueEvidence(case=case, rule=rule, items=len(kept), bytes=sum(item.evidence_bytes for item in kept))
        if since is not None:
            due.since.CopyFrom(convert.timestamp(since))
        return due

    def _retained(self, case: Case) -> datetime:
        return case.closed_at.ToDatetime(UTC) + self._retention


def repeat(destroying: Destroying, pause: Callable[[float], bool], seconds: float = 5.0) -> None:
    """Carries out what is in the log, until `pause` says to stop."""
    while not pause(seconds):
        try:
            while destroying.carry_out():
                pass
        except HashmatchError as e:
            trace.error("evidence that is destroyed by the log is not gone yet: %s", e)
        except Exception:  # whatever it is, what is destroyed by the log must not stay
            trace.exception("unforeseen error while destroying")


def _kept(item: CaseItem) -> bool:
    return bool(item.evidence) and not item.HasField("destroyed_at")


def _refuse_other(row: InquiryRecord, case_id: str) -> None:
    if row.kind != Kind.LE_DESTROY:
        raise Malformed("not a request to destroy", field="inquiry_id")
    if case_id not in row.case_ids:
        raise Refused("the request to destroy is about another case")
