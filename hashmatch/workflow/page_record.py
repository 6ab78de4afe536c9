"""Pages as they are kept, and what the outbox calls them."""

from __future__ import annotations

from datetime import UTC, datetime

from hashmatch import convert
from hashmatch.v1.cases_pb2 import DispatchRecord, PageRecord
from hashmatch.workflow import paging
from hashmatch.workflow.paging import Page
from hashmatch.workflow.paging_table import State
from hashmatch.workflow.rota import Seat


def page_id_of(dispatch_id: str) -> str:
    """The id of the page that an instruction raises, where its case has none."""
    return "p_" + dispatch_id.replace(".", "_")


def page_to_come(asked: DispatchRecord) -> PageRecord:
    """The page of a drill, as it will be once the outbox has raised it."""
    at = asked.requested_at.ToDatetime(UTC)
    return page_to_record(paging.drill(page_id_of(asked.id), asked.case_id, at, tier=asked.tier - 1))


def page_of(row: PageRecord) -> Page:
    """A page, as the rules have it."""

    def at(name: str) -> datetime | None:
        found = getattr(row, name)
        return found.ToDatetime(UTC) if row.HasField(name) else None  # type: ignore[arg-type]

    return Page(
        id=row.id, case_id=row.case_id, tier=row.tier, raised_at=row.raised_at.ToDatetime(UTC), drill=row.drill,
        state=State(row.state), told=frozenset(Seat(seat) for seat in row.told), paged=frozenset(row.paged),
        timer_at=at("timer_at"), acknowledged_at=at("acknowledged_at"), acknowledged_by=row.acknowledged_by,
        decided_at=at("decided_at"), after_decision=row.after_decision,
    )  # fmt: skip


def page_to_record(page: Page) -> PageRecord:
    """A page as it is kept."""
    row = PageRecord(
        id=page.id, case_id=page.case_id, tier=page.tier, raised_at=convert.timestamp(page.raised_at),
        drill=page.drill, state=page.state, told=sorted(page.told), paged=sorted(page.paged),
        acknowledged_by=page.acknowledged_by, after_decision=page.after_decision,
    )  # fmt: skip
    for name in ("timer_at", "acknowledged_at", "decided_at"):
        if (found := getattr(page, name)) is not None:
            getattr(row, name).CopyFrom(convert.timestamp(found))
    return row
