"""Which events are asked for, and finding them: by time, subject, list, entry, actor, case, kind, finding, distance.

Time is looked up, since events ascend in it; the rest is read through. Whose media it was is sealed, so a question
about that opens what it reads, which the log of reads says.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from hashmatch import convert
from hashmatch.audit import brief, explain
from hashmatch.audit.ledger import Ledger
from hashmatch.audit.reading import Log
from hashmatch.errors import Malformed
from hashmatch.v1.audit_pb2 import Event
from hashmatch.v1.common_pb2 import Finding
from hashmatch.v1.log_pb2 import ListEventsRequest

MAX_CHARS = 512  # of an id or a name, as of a subject's: what is asked for stays in the log
TYPES = tuple(field.name for field in Event.DESCRIPTOR.oneofs_by_name["fact"].fields)
CHUNK = 1000  # events read in one transaction: some 30 ms
SCANNED_AT_ONCE = 100_000  # events read for one page at most: some seconds, which a caller waits


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked for; what is empty does not matter."""

    since: datetime | None = None
    until: datetime | None = None
    content_id: str = ""
    uploader_id: str = ""
    list: str = ""
    entry_id: str = ""
    actor: str = ""
    case_id: str = ""
    types: frozenset[str] = frozenset()
    finding: Finding.ValueType = Finding.ValueType(0)
    least: int | None = None  # distance of the nearest match, of `list` and `entry_id` where given; inclusive
    most: int | None = None

    def __post_init__(self) -> None:
        """Raises Malformed: names the field."""
        for name in ("content_id", "uploader_id", "list", "entry_id", "actor", "case_id"):
            if len(getattr(self, name)) > MAX_CHARS:
                raise Malformed(f"want at most {MAX_CHARS} characters", field=name)
        if self.finding not in Finding.values():
            raise Malformed(f"unknown finding {self.finding}", field="finding")
        for name in self.types:
            if name not in TYPES:
                raise Malformed(f"unknown type '{name[:32]}'; known: {', '.join(TYPES)}", field="types")
        if self.least is not None and self.most is not None and self.least > self.most:
            raise Malformed("the least distance is more than the most", field="most_distance")

    @property
    def opens(self) -> bool:
        """Whether sealed fields are looked into."""
        return bool(self.content_id or self.uploader_id)

    def accepts(self, event: Event) -> bool:
        """Whether an event is asked for; one that may be about a subject is opened already."""
        fact = event.WhichOneof("fact") or ""
        if self.types and fact not in self.types:
            return False
        at = convert.moment(event.at)
        if (self.since and at < self.since) or (self.until and at >= self.until):
            return False
        verdict = event.verdict
        if self.finding and verdict.finding != self.finding:
            return False
        told = getattr(event, fact) if fact else event
        if self.content_id and verdict.subject.content_id != self.content_id:
            return False
        if self.uploader_id and verdict.subject.uploader_id != self.uploader_id:
            return False
        if self.actor and self.actor not in brief.actors(event):
            return False
        if self.case_id and getattr(told, "case_id", "") != self.case_id:
            return False
        if (self.least is not None or self.most is not None) and not self._near(event):
            return False
        aside = (one.match for one in verdict.set_aside)
        return not (self.list or self.entry_id) or any(map(self._of_entry, (*verdict.matches, *aside, told)))

    def _near(self, event: Event) -> bool:
        nearest = min((match.distance for match in event.verdict.matches if self._of_entry(match)), default=None)
        if nearest is None:
            return False
        return (self.least or 0) <= nearest and (self.most is None or nearest <= self.most)

    def _of_entry(self, one: object) -> bool:
        """Whether a match, or a fact about an entry, is of the list and the entry asked for."""
        return self.list in ("", getattr(one, "list", "")) and self.entry_id in ("", getattr(one, "entry_id", ""))

    def described(self) -> str:
        """What is asked for, for the log: without personal values."""
        parts = [f"since {self.since.isoformat()}"] if self.since else []
        parts += [f"until {self.until.isoformat()}"] if self.until else []
        parts += [f"{name} given" for name in ("content_id", "uploader_id") if getattr(self, name)]
        named = ("list", "entry_id", "actor", "case_id")
        parts += [f"{name} {getattr(self, name)}" for name in named if getattr(self, name)]
        parts += [f"types {'+'.join(sorted(self.types))}"] if self.types else []
        parts += [f"FINDING_{explain.finding(self.finding)}"] if self.finding else []
        if self.least is not None or self.most is not None:
            parts.append(f"distance {self.least or 0}-{'' if self.most is None else self.most}")
        return ", ".join(parts)


def band(text: str) -> tuple[int, int | None]:
    """Least and most distance of "25-31", "25" or, without an end, "25-".

    Raises:
        Malformed: it is none of these.
    """
    found = re.fullmatch(r"([0-9]{1,9})(-([0-9]{1,9})?)?", text)
    if found is None:
        raise Malformed(f"'{text[:32]}', want bits, as 25-31 or 25", field="distance")
    least = int(found[1])
    return least, int(found[3]) if found[3] else None if found[2] else least


def of_request(request: ListEventsRequest) -> Query:
    """The query of a request.

    Raises:
        Malformed: names the field.
    """
    return Query(
        since=_moment(request, "since"),
        until=_moment(request, "until"),
        content_id=request.content_id,
        uploader_id=request.uploader_id,
        list=request.list,
        entry_id=request.entry_id,
        actor=request.actor,
        case_id=request.case_id,
        types=frozenset(request.types),
        finding=request.finding,
        least=request.least_distance if request.HasField("least_distance") else None,
        most=request.most_distance if request.HasField("most_distance") else None,
    )


def _moment(request: ListEventsRequest, field: Literal["since", "until"]) -> datetime | None:
    if not request.HasField(field):
        return None
    try:
        return convert.moment(getattr(request, field))
    except (ValueError, OverflowError) as e:
        raise Malformed("not a time between the years 1 and 9999", field=field) from e


def page(ledger: Ledger, wanted: Query, after: int, limit: int) -> tuple[list[Event], int]:
    """At most `limit` events that are asked for, after a sequence; and the sequence to go on after, 0 at the end.

    They are as in the tree. A page may be short, or empty, since no more than SCANNED_AT_ONCE events are read for it.

    Raises:
        Corrupt: an event is damaged or missing.
    """
    found: list[Event] = []
    read = 0
    after = max(after, _begin(ledger, wanted))
    while read < SCANNED_AT_ONCE:
        with ledger.reading() as log:
            events = list(log.leaves(after, CHUNK))
            for event, _ in events:
                after, read = event.sequence, read + 1
                if _asked(log, wanted, event):
                    found.append(event)
                    if len(found) == limit:
                        return found, after
        if len(events) < CHUNK:
            return found, 0
    return found, after


def every(ledger: Ledger, wanted: Query, *, opened: bool = False) -> Iterator[Event]:
    """Every event that is asked for, in order, as in the tree or `opened`, in short transactions.

    Raises:
        Corrupt: one is damaged or missing.
    """
    after = _begin(ledger, wanted)
    while True:
        with ledger.reading() as log:
            events = [event for event, _ in log.leaves(after, CHUNK)]
            found = [event for event in events if _asked(log, wanted, event)]
            if opened:
                for event in found:
                    log.open(event)
        yield from found
        if len(events) < CHUNK:
            return
        after = events[-1].sequence


def _begin(ledger: Ledger, wanted: Query) -> int:
    """The sequence before the first event of its time."""
    if wanted.since is None:
        return 0
    with ledger.reading() as log:
        return log.first_since(int(wanted.since.timestamp() * 1_000_000)) - 1


def _asked(log: Log, wanted: Query, event: Event) -> bool:
    if not wanted.opens or not event.HasField("sealed"):
        return wanted.accepts(event)
    opened = Event()
    opened.CopyFrom(event)
    return log.open(opened) and wanted.accepts(opened)
