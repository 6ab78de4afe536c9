"""Whom to page now, and when to ask again. Pure: the time is an argument, sending is the caller's.

    RAISED → TOLD → ALL_TOLD → ACKNOWLEDGED → OVER        and OVER from each, once the case is decided

The primary is told at once; whoever has been told has a while to acknowledge; then the next seat is told as well, and
after the last one all of them again and again. What is urgent and acknowledged is sent again until it is decided. The
times run from when the page was raised, so that whoever sends late catches up. `pages` says what to send, the caller
sends it, and `sent` takes in what went out: what did not stays due.

A page says a tier and a case's id; never what the case is about, nor whose it is. A clock that goes back makes a page
go out once too often and never leaves one unsent. The states are in paging_table.py, who is on call in rota.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from hashmatch.errors import Malformed, Refused
from hashmatch.workflow.inputs import MAX_NAME, moment, text
from hashmatch.workflow.paging_table import NEXT, TIERS, State, Step, TierRule
from hashmatch.workflow.rota import Rota, Seat, on_call, quiet_until

_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SLEW: Final = timedelta(minutes=1)  # further back a clock was set, rather than adjusted


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A call for somebody to look at a case, now."""

    id: str
    case_id: str
    tier: int  # 0..3
    raised_at: datetime
    drill: bool = False
    after_decision: bool = False  # its case was decided before: it is over once somebody takes it
    state: State = State.RAISED
    told: frozenset[Seat] = frozenset()
    paged: frozenset[str] = frozenset()  # names of all who were told, so far
    timer_at: datetime | None = None  # of the last send or acknowledgement: the next wait runs from here
    acknowledged_at: datetime | None = None  # first
    acknowledged_by: str = ""  # who has it
    decided_at: datetime | None = None

    def __repr__(self) -> str:
        return f"<{'drill' if self.drill else 'page'} {self.id}, T{self.tier}, {self.state}>"


@dataclass(frozen=True, slots=True)
class Send:
    """One message to one person."""

    page_id: str
    seats: tuple[Seat, ...]  # more than one where one person sits in several
    to: str
    text: str

    def __repr__(self) -> str:
        return f"<send {self.page_id} to the {self.seats[0]}>"


@dataclass(frozen=True, slots=True)
class Due:
    """What to send now."""

    sends: tuple[Send, ...]
    next_at: datetime | None  # when to ask again, once these went out; None: nothing will be due by itself


def raise_page(page_id: str, case_id: str, tier: int, now: datetime, *, after_decision: bool = False) -> Page:
    """A page that nobody has been told of.

    Raises:
        Malformed: names the field. Ids hold nothing but letters, digits, - and _: they are all that a page says.
    """
    for field, given in (("page_id", page_id), ("case_id", case_id)):
        if not _ID.fullmatch(given):
            raise Malformed("want 1 to 64 letters, digits, - and _", field=field)
    if tier not in TIERS:
        raise Malformed("want 0 to 3", field="tier")
    return Page(id=page_id, case_id=case_id, tier=tier, raised_at=moment(now, "now"), after_decision=after_decision)


def drill(page_id: str, case_id: str, now: datetime, *, tier: int = 0) -> Page:
    """A page about a drill, which says so, and goes the way of any other; as `raise_page`."""
    return replace(raise_page(page_id, case_id, tier, now), drill=True)


def wording(page: Page) -> str:
    """All that a page says."""
    drill = "DRILL, nothing has happened: " if page.drill else ""
    return f"{drill}T{page.tier} case {page.case_id} wants somebody now (page {page.id})"


def pages(page: Page, rota: Rota, now: datetime, *, tiers: Mapping[int, TierRule] = TIERS) -> Due:
    """What to send now, to whom, and when to ask again. Nobody is told who is not on the rota."""
    at, rule = moment(now, "now"), tiers[page.tier]
    seats, next_at = _due(page, rule, at)
    if seats and rule.heeds_quiet and (end := quiet_until(rota, at)) is not None:
        return Due((), end)
    if not seats:
        return Due((), next_at)
    now_on = on_call(rota, at)
    names: dict[str, tuple[Seat, ...]] = {}  # whoever sits in two seats is told once
    for seat in seats:
        names[now_on.of(seat)] = (*names.get(now_on.of(seat), ()), seat)
    sends = tuple(Send(page.id, sits, to, wording(page)) for to, sits in names.items())
    return Due(sends, _due(_told(page, seats, at, rule), rule, at)[1])


def sent(page: Page, sends: Iterable[Send], now: datetime, *, tiers: Mapping[int, TierRule] = TIERS) -> Page:
    """The page once these went out, those of one answer of `pages`; leave out what did not.

    Raises:
        Malformed: nothing went out, or what went out is of another page.
        Refused: it is over.
    """
    went = list(sends)
    if not went or any(one.page_id != page.id for one in went):
        raise Malformed("want what went out of this page", field="sends")
    at, rule = moment(now, "now"), tiers[page.tier]
    seats = {seat for one in went for seat in one.seats}
    return replace(_told(page, seats, at, rule), paged=page.paged | {one.to for one in went})


def acknowledge(page: Page, by: str, now: datetime) -> Page:
    """The page, which one who was told of it has taken. Whoever comes second takes it over.

    Raises:
        Refused: nobody was told, this person was not, or it is over.
    """
    at = moment(now, "now")
    state = _after(page, Step.ACKNOWLEDGE)
    if by not in page.paged:
        raise Refused("only who was paged can acknowledge a page")
    return replace(page, state=state, acknowledged_at=page.acknowledged_at or at, acknowledged_by=by, timer_at=at)


def decided(page: Page, now: datetime) -> Page:
    """The page, over: its case has been decided, or the drill is.

    Raises:
        Refused: it is over already.
    """
    return replace(page, state=_after(page, Step.DECIDE), decided_at=moment(now, "now"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Handover:
    """One who was on call leaves what is open to another."""

    at: datetime
    giver: str
    taker: str
    note: str
    open: tuple[Page, ...]  # every page that is not over, the most urgent first, as they are from now on

    def __repr__(self) -> str:
        return f"<handover of {len(self.open)} pages>"


def hand_over(pages_: Iterable[Page], rota: Rota, *, giver: str, taker: str, note: str, now: datetime) -> Handover:
    """What is open, in the taker's hands where it was in the giver's. A page that waits for an answer goes on waiting.

    Raises:
        Refused: the taker is not on the rota, or is the giver.
        Malformed: no note.
    """
    at = moment(now, "now")
    giver, taker = text(giver, "giver", MAX_NAME), text(taker, "taker", MAX_NAME)
    if taker == giver or taker not in rota.people:
        raise Refused("want somebody else who is on the rota")
    found = []
    for page in pages_:
        if page.state is State.ACKNOWLEDGED and page.acknowledged_by == giver:
            state = _after(page, Step.HAND_OVER)
            found.append(replace(page, state=state, acknowledged_by=taker, paged=page.paged | {taker}))
        elif page.state is not State.OVER:
            found.append(page)
    found.sort(key=lambda page: (page.drill, page.tier, page.raised_at, page.id))
    return Handover(at=at, giver=giver, taker=taker, note=text(note, "note"), open=tuple(found))


def _after(page: Page, step: Step) -> State:
    found = NEXT.get((page.state, step))
    if found is None:
        raise Refused(f"{step} is not possible while the page is {page.state}")
    return found


def _due(page: Page, rule: TierRule, at: datetime) -> tuple[list[Seat], datetime | None]:
    """The seats to tell now; where there are none, when there will be."""
    if page.state is State.OVER:
        return [], None
    if page.state in (State.RAISED, State.TOLD):
        # None is left only where the chain was shortened meanwhile; then its last is told, and the page goes on.
        untold = [seat for seat in rule.chain if seat not in page.told] or [rule.chain[-1]]
        waits = {seat: rule.acknowledge * rule.chain.index(seat) for seat in untold}
        base = page.raised_at
        if rule.heeds_quiet:  # in quiet hours nobody could have answered: one at a time, from the last send
            base = page.timer_at or page.raised_at
            waits = {untold[0]: rule.acknowledge if page.timer_at else timedelta(0)}
        due = [seat for seat, wait in waits.items() if not wait or _passed(base, wait, at)]
        return due, None if due else base + min(waits.values())
    wait = rule.repeat if page.state is State.ACKNOWLEDGED else rule.again
    base = page.timer_at or page.raised_at
    if wait is None:
        return [], None
    return (list(rule.chain), None) if _passed(base, wait, at) else ([], base + wait)


def _told(page: Page, seats: Iterable[Seat], at: datetime, rule: TierRule) -> Page:
    told = page.told | set(seats)
    step = Step.REPEAT
    if page.state in (State.RAISED, State.TOLD):
        step = Step.TELL_LAST if told >= set(rule.chain) else Step.TELL
    return replace(page, state=_after(page, step), told=told, timer_at=at)


def _passed(since: datetime, wait: timedelta, at: datetime) -> bool:
    # Where the clock was set back nobody knows how long it has been: too long, then.
    return at >= since + wait or at < since - _SLEW
