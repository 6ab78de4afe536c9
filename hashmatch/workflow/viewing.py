"""Who may look at evidence, and the record of every look. In the caller's transaction.

Greyscale and blurred, whoever has claimed a case may see its items. More takes a grant: one person asks, another
agrees, for one case, one person, one level and a while. Every look is an event that names its grant, written before the
picture is handed out; and what was seen well enough to say what it shows is told to the authority as viewed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

from hashmatch import clock, convert
from hashmatch.audit import tables
from hashmatch.audit.leaves import Appending
from hashmatch.errors import Forbidden, Malformed, NotFound, Refused
from hashmatch.media.levels import Level
from hashmatch.store.env import Env, Txn
from hashmatch.v1.audit_pb2 import Event
from hashmatch.v1.cases_pb2 import CaseItem, GrantRecord
from hashmatch.workflow.case_facts import holder
from hashmatch.workflow.case_steps import SERVICE
from hashmatch.workflow.case_store import CaseStore
from hashmatch.workflow.inputs import text
from hashmatch.workflow.inquiry import another
from hashmatch.workflow.rows import Messages

GRANTED_MINUTES: Final = 15  # where nothing else is asked for
MAX_MINUTES: Final = 8 * 60  # a shift
MAX_PURPOSE: Final = 200
SHOWN_SECONDS, MAX_SECONDS = 10, 300  # of one look; what is shown for longer is a new one
VIEWED: Final = frozenset({Level.GREY, Level.FULL})
"""Levels at which a person sees what a picture shows. A blurred one is not opened in the sense of the law: to say that
it was viewed would let police open unasked what nobody here has seen."""


class Viewing:
    """The grants and looks of a ledger. For any thread."""

    def __init__(self, env: Env, store: CaseStore, asked: Callable[[Txn, str, str], bool]) -> None:
        """`asked`: whether somebody is asked for a second look at a case, by their name."""
        self._grants = Messages(env, tables.EVIDENCE[0], GrantRecord)
        self._store, self._asked = store, asked

    def grants(self, txn: Txn, case_id: str) -> Iterator[GrantRecord]:
        """Those of a case, asked for and given, by their ids."""
        return (grant for _, grant in self._grants.under(txn, f"{case_id}\0".encode()))

    def ask(self, log: Appending, case_id: str, *, level: str, purpose: str, by: str, minutes: int = 0) -> GrantRecord:
        """A grant that waits for another person.

        Raises:
            NotFound: no such case.
            Malformed: no such level, no purpose, or for too long.
        """
        self._store.get(log.txn, case_id)
        if level not in (Level.GREY, Level.FULL):
            raise Malformed("want grey or full: blurred is what everybody sees who works the case", field="level")
        if not 0 <= minutes <= MAX_MINUTES:
            raise Malformed(f"want at most {MAX_MINUTES}", field="minutes")
        grant = GrantRecord(
            id=clock.new_id("g"), case_id=case_id, to=by, level=level, purpose=text(purpose, "purpose", MAX_PURPOSE),
            asked_at=convert.timestamp(log.at), minutes=minutes or GRANTED_MINUTES,
        )  # fmt: skip
        self._put(log.txn, grant)
        return grant

    def approve(self, log: Appending, case_id: str, grant_id: str, *, by: str) -> GrantRecord:
        """The grant, which runs from now.

        Raises:
            NotFound: there is none of that id.
            Refused: whoever asked for it agrees, or somebody has already.
        """
        grant = self._grants.get(log.txn, f"{case_id}\0{grant_id}".encode())
        if grant is None:
            raise NotFound("there is no grant of that id on that case")
        if grant.approver:
            raise Refused(f"{grant.approver} has agreed already; it runs until {grant.until.ToDatetime(UTC):%H:%M} UTC")
        another(by, grant.to)
        self._give(log, grant, by, timedelta(minutes=grant.minutes))
        return grant

    def may(self, txn: Txn, case_id: str, verdict_id: str, *, level: Level, by: str, now: datetime) -> CaseItem:
        """The item, where `by` may look at it now.

        Raises:
            NotFound: no such case, or no such item in it.
            Forbidden: not without a claim, or a grant.
        """
        self._leave(txn, now, case_id, level, by)
        return self._item(txn, case_id, verdict_id)

    def look(
        self, log: Appending, case_id: str, verdict_id: str, *, level: Level, by: str, seconds: int = 0,
        frame: int = 0, frames: int = 1, all_frames: bool = True,
    ) -> GrantRecord:  # fmt: skip
        """Notes a look of at most so many seconds at one of so many frames; the grant by which it is one.

        Whoever has seen every frame has viewed it; where its frames are a sample of more (`all_frames` False), nobody
        here has.

        Raises:
            As `may`. Malformed: for too long.
        """
        if not 0 <= seconds <= MAX_SECONDS:
            raise Malformed(f"want at most {MAX_SECONDS}", field="seconds")
        item = self._item(log.txn, case_id, verdict_id)
        grant = self._leave(log.txn, log.at, case_id, level, by) or self._by_claim(log, case_id, by)
        event = Event()
        said = event.revealed
        said.grant_id, said.case_id, said.by, said.level = grant.id, case_id, by, level
        said.purpose, said.verdict_id, said.seconds = grant.purpose, verdict_id, seconds or SHOWN_SECONDS
        said.frame, said.frames = frame, frames
        log.append(event)
        if level in VIEWED and by not in item.viewed_by:
            _seen(item, by, frame, frames, all_frames=all_frames)
            self._store.put_items(log.txn, case_id, {verdict_id: item})
        return grant

    def _item(self, txn: Txn, case_id: str, verdict_id: str) -> CaseItem:
        for item in self._store.items(txn, case_id):
            if item.verdict_id == verdict_id:
                if item.HasField("destroyed_at"):
                    raise NotFound(f"it was destroyed, {item.destroyed_at.ToDatetime(UTC):%Y-%m-%d %H:%M} UTC")
                return item
        raise NotFound("there is no such item in that case")

    def _leave(self, txn: Txn, now: datetime, case_id: str, level: Level, by: str) -> GrantRecord | None:
        """The grant in force; None where a claim will do."""
        case = self._store.get(txn, case_id)
        works = holder(case, now) == by or self._asked(txn, case_id, by)
        for grant in self.grants(txn, case_id):
            in_force = grant.approver and now <= grant.until.ToDatetime(UTC)
            if in_force and grant.to == by and grant.level == level and (works or grant.approver != SERVICE):
                return grant
        if level is not Level.BLURRED:
            raise Forbidden(f"to see it {level} takes a grant that another person agrees to")
        if not works:
            raise Forbidden("claim the case first: only who works it sees what is in it")
        return None

    def _by_claim(self, log: Appending, case_id: str, by: str) -> GrantRecord:
        case = self._store.get(log.txn, case_id)
        grant = GrantRecord(
            id=clock.new_id("g"),
            case_id=case_id,
            to=by,
            level=Level.BLURRED,
            asked_at=convert.timestamp(log.at),
        )
        claimed = holder(case, log.at) == by
        grant.purpose = "the claim on the case" if claimed else "a second look"
        lasts = case.lease_until.ToDatetime(UTC) - log.at if claimed else timedelta(minutes=GRANTED_MINUTES)
        self._give(log, grant, SERVICE, lasts)
        return grant

    def _give(self, log: Appending, grant: GrantRecord, by: str, lasts: timedelta) -> None:
        grant.approver = by
        grant.until.CopyFrom(convert.timestamp(log.at + lasts))
        event = Event()
        said = event.granted
        said.grant_id, said.case_id, said.to, said.level = grant.id, grant.case_id, grant.to, grant.level
        said.purpose = grant.purpose
        said.by.append(by)
        said.until.CopyFrom(grant.until)
        log.append(event)
        self._put(log.txn, grant)

    def _put(self, txn: Txn, grant: GrantRecord) -> None:
        self._grants.put(txn, f"{grant.case_id}\0{grant.id}".encode(), grant)


def _seen(item: CaseItem, by: str, frame: int, frames: int, *, all_frames: bool) -> None:
    """Notes a frame that somebody saw. NCMEC's fileViewedByEsp says that the entire contents were viewed."""
    seen = item.frames_seen[by]
    if frame not in seen.numbers:
        seen.numbers.append(frame)
    if all_frames and len(seen.numbers) >= frames:
        item.viewed_by.append(by)
        del item.frames_seen[by]
