"""Inquiries of users and agencies, worked: every step checked, written with what follows, and told in the log."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from hashmatch import clock, convert
from hashmatch.audit import tables
from hashmatch.audit.leaves import Appending
from hashmatch.errors import Malformed, NotFound, Refused
from hashmatch.store.env import Env, Txn
from hashmatch.v1.audit_pb2 import Event
from hashmatch.v1.cases_pb2 import InquiryRecord
from hashmatch.v1.common_pb2 import Subject
from hashmatch.workflow import inquiry as rules
from hashmatch.workflow.case import UNDECIDED
from hashmatch.workflow.case_facts import state_of, tier_of
from hashmatch.workflow.case_steps import SERVICE
from hashmatch.workflow.casework import Casework
from hashmatch.workflow.inputs import MAX_NAME, MAX_TEXT, text
from hashmatch.workflow.inquiry import OPEN, RULES, Kind, State, Step
from hashmatch.workflow.rows import Keys, Messages, after_time, time_key

MAX_CASES: Final = 50  # of one inquiry
MAX_HELD: Final = 1000  # cases held at once for one inquiry; verdicts wait meanwhile
URGENT: Final = "INQUIRY"  # reason code of a case that an inquiry makes more urgent
trace = logging.getLogger(__name__)

_FIELDS: Final = ("agency", "contact", "reference", "legal_basis", "jurisdiction", "scope")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Asked:
    """What somebody asks for, as it arrived. Texts are checked by `Inquiries.receive`."""

    kind: Kind
    agency: str = ""
    contact: str = ""
    reference: str = ""
    legal_basis: str = ""
    jurisdiction: str = ""
    scope: str = ""
    non_disclosure: bool = False
    imminent: bool = False  # somebody may be in danger now
    due_by: datetime | None = None  # the agency's own time
    case_ids: Collection[str] = ()
    subject: Subject | None = None  # where no case is named


class Inquiries:
    """The inquiries of a ledger, inside transactions that the caller opened. For any thread."""

    def __init__(self, env: Env, cases: Casework) -> None:
        self._rows = Messages(env, tables.INQUIRIES[0], InquiryRecord)
        self._due = Keys(env, tables.INQUIRIES[1])
        self._cases = cases

    def get(self, txn: Txn, inquiry_id: str) -> InquiryRecord:
        """An inquiry.

        Raises:
            NotFound: there is none of that id.
        """
        found = self._rows.get(txn, inquiry_id.encode())
        if found is None:
            raise NotFound("there is no inquiry of that id")
        return found

    def page(self, txn: Txn, *, every: bool, after: str, limit: int) -> tuple[list[InquiryRecord], str]:
        """Those that are open, the one that is due first before the others; or, `every`, all of them by id. And the
        token of the next page."""
        found: list[InquiryRecord] = []
        if every:
            rows = (row for key, row in self._rows.under(txn, b"", start=after.encode()) if key.decode() > after)
        else:
            start = bytes.fromhex(after)
            rows = (self.get(txn, after_time(key)) for key, _ in self._due.since(txn, start) if key > start)
        for row in rows:
            if len(found) == limit:
                last = found[-1]
                return found, last.id if every else _due_key(last).hex()
            found.append(row)
        return found, ""

    # ── steps ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def receive(self, log: Appending, asked: Asked, *, by: str) -> InquiryRecord:
        """Takes an inquiry in: the cases it is about are held or made urgent at once, and one is opened where none is
        named.

        Raises:
            Malformed: what its kind wants is not given; names the field.
            NotFound: a case that it names is not there. Refused: it is a drill.
        """
        rule = RULES[asked.kind]
        row = InquiryRecord(
            id=clock.new_id("q"), kind=asked.kind.value, state=State.RECEIVED.value, received_by=by,
            received_at=convert.timestamp(log.at), non_disclosure=asked.non_disclosure,
        )  # fmt: skip
        for name in _FIELDS:
            given = getattr(asked, name)
            if given or name in rule.wants:
                setattr(row, name, text(given, name, MAX_TEXT if name == "scope" else MAX_NAME))
        due = log.at + rule.within
        if asked.due_by is not None:
            if asked.due_by <= log.at:
                raise Malformed("already over", field="due_by")
            due = min(due, asked.due_by)
        row.due_by.CopyFrom(convert.timestamp(due))
        if len(asked.case_ids) > MAX_CASES:
            raise Malformed(f"want at most {MAX_CASES}", field="case_ids")
        tier = 0 if asked.imminent else rule.tier
        for case_id in dict.fromkeys(asked.case_ids):
            if self._cases.store.get(log.txn, case_id).drill:
                raise Refused(f"{case_id} is a drill: nobody can ask about it")
            row.case_ids.append(case_id)
            if tier is not None:
                self._urge(log, case_id, tier)
        if not row.case_ids:
            row.case_ids.append(self._case_of(log, asked, row.id, 2 if tier is None else tier))
        if rule.hold is not None:
            held, row.unheld_from = self._of_the_same(log.txn, row.case_ids)
            if row.unheld_from:
                trace.error("inquiry %s: case %s and others of its subject are not held", row.id, row.unheld_from)
            for case_id in held:
                placed = self._cases.holding.place(
                    log, case_id, kind=rule.hold, ground=f"inquiry {row.id}", by=by,
                    reference=row.reference or row.id, jurisdiction=row.jurisdiction,
                )  # fmt: skip
                row.hold_ids.append(placed.id)
        self._write(log, row, Step.RECEIVE, by)
        return row

    def _of_the_same(self, txn: Txn, case_ids: Sequence[str]) -> tuple[list[str], str]:
        """These cases and all others of the same subjects, since what an agency wants kept may lie in any; and the
        first that is one too many, which then is not among them nor are those before it."""
        found: dict[str, None] = {}
        subjects = [self._cases.store.get(txn, case_id).subject for case_id in case_ids]
        latest = [self._cases.store.latest_of(txn, subject) for subject in subjects]
        for case_id in [*case_ids, *(case.id for case in latest if case is not None)]:
            while case_id and case_id not in found:
                if len(found) == MAX_HELD:
                    return list(found), case_id
                found[case_id] = None
                case_id = self._cases.store.get(txn, case_id).prior_case_id
        return list(found), ""

    def _case_of(self, log: Appending, asked: Asked, inquiry_id: str, tier: int) -> str:
        about = asked.subject
        if about is None or not (about.uploader_id or about.content_id):
            raise Malformed("name the cases, or an uploader or content that it is about", field="case_ids")
        if asked.kind is Kind.LE_DESTROY:
            raise Malformed("name the cases whose media is to be destroyed", field="case_ids")
        return self._cases.tell(log, about, told_by=inquiry_id, tier=tier).id

    def _urge(self, log: Appending, case_id: str, tier: int) -> None:
        """Makes a case as urgent as the inquiry about it; one that is decided is at least paged about."""
        case = self._cases.store.get(log.txn, case_id)
        if state_of(case) in UNDECIDED and tier_of(tier) < case.tier:
            self._cases.escalate(log, case_id, by=SERVICE, reason_codes=[URGENT], tier=tier, claimed=True)
        elif tier == 0:
            self._cases.page(log, case_id, "an inquiry says that somebody is in danger", urgent=True)

    def verify(self, log: Appending, inquiry_id: str, *, by: str, how: str) -> InquiryRecord:
        """Somebody made sure of who asks. A user's word is not verified.

        Raises:
            NotFound, Refused, Malformed: as they say.
        """
        row = self.get(log.txn, inquiry_id)
        if row.kind == Kind.USER:
            raise Refused("a user's word is looked into by its case")
        self._move(row, Step.VERIFY)
        row.verified_by, row.verification = by, text(how, "text")
        self._write(log, row, Step.VERIFY, by)
        return row

    def approve(self, log: Appending, inquiry_id: str, *, by: str, counsel: str = "") -> InquiryRecord:
        """Another person agrees that it is to be answered. `counsel`: who said that a request to destroy binds.

        Raises:
            NotFound, Refused, Malformed: as they say.
        """
        row = self.get(log.txn, inquiry_id)
        if row.kind == Kind.LE_DESTROY:
            row.counsel = text(counsel, "counsel", MAX_NAME)
        rules.another(by, row.verified_by)
        self._move(row, Step.APPROVE)
        row.approved_by = by
        self._write(log, row, Step.APPROVE, by)
        return row

    def fulfil(self, log: Appending, inquiry_id: str, *, by: str, outcome: str) -> InquiryRecord:
        """It is answered. What is held for it stays held until two persons release it.

        Raises:
            NotFound, Refused, Malformed: as they say.
        """
        row = self.get(log.txn, inquiry_id)
        return self._close(log, row, Step.FULFIL, by, outcome)

    def refuse(self, log: Appending, inquiry_id: str, *, by: str, why: str) -> InquiryRecord:
        """It is not answered.

        Raises:
            NotFound, Refused, Malformed: as they say.
        """
        return self._close(log, self.get(log.txn, inquiry_id), Step.REFUSE, by, why)

    def _close(self, log: Appending, row: InquiryRecord, step: Step, by: str, outcome: str) -> InquiryRecord:
        self._move(row, step)
        row.closed_by, row.outcome = by, text(outcome, "text")
        row.closed_at.CopyFrom(convert.timestamp(log.at))
        self._write(log, row, step, by)
        return row

    def breaches(self, log: Appending, limit: int) -> int:
        """Notes what was not answered in time, and pages about it; how many there were."""
        late = self.late(log.txn, log.at, limit)
        for row in late:
            row.breached = True
            self._write(log, row, Step.BREACH, SERVICE)
            for case_id in row.case_ids:
                urgent = row.kind == Kind.LE_EMERGENCY
                self._cases.page(log, case_id, f"inquiry {row.id} was not answered in time", urgent=urgent)
        return len(late)

    def late(self, txn: Txn, now: datetime, limit: int) -> Sequence[InquiryRecord]:
        """Open ones whose time is over and of which nobody was told yet."""
        end = time_key(now)
        found: list[InquiryRecord] = []
        for key, _ in self._due.since(txn, b""):
            if key[:8] > end or len(found) == limit:
                break
            row = self.get(txn, after_time(key))
            if not row.breached:
                found.append(row)
        return found

    # ── rows ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _move(self, row: InquiryRecord, step: Step) -> None:
        row.state = rules.after(Kind(row.kind), State(row.state), step).value

    def _write(self, log: Appending, row: InquiryRecord, step: Step, by: str) -> None:
        event = Event()
        said = event.inquiry_step
        said.inquiry_id, said.kind, said.step, said.state, said.by = row.id, row.kind, step.value, row.state, by
        said.case_ids.extend(row.case_ids)
        log.append(event)
        self._rows.put(log.txn, row.id.encode(), row)
        self._due.delete(log.txn, _due_key(row))
        if row.state in OPEN:
            self._due.put(log.txn, _due_key(row))


def take(
    inquiries: Inquiries, log: Appending, inquiry_id: str, step: str, *, by: str, said: str, counsel: str = ""
) -> InquiryRecord:
    """The inquiry after a step that a person takes, by its name.

    Raises:
        Malformed: there is no such step for a person. Others as of the steps.
    """
    match step:
        case Step.VERIFY:
            return inquiries.verify(log, inquiry_id, by=by, how=said)
        case Step.APPROVE:
            return inquiries.approve(log, inquiry_id, by=by, counsel=counsel)
        case Step.FULFIL:
            return inquiries.fulfil(log, inquiry_id, by=by, outcome=said)
        case Step.REFUSE:
            return inquiries.refuse(log, inquiry_id, by=by, why=said)
    raise Malformed("want VERIFY, APPROVE, FULFIL or REFUSE", field="step")


def _due_key(row: InquiryRecord) -> bytes:
    return time_key(row.due_by.ToDatetime(UTC)) + row.id.encode()
