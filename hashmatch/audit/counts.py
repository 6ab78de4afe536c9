"""Answers that were counted and not logged whole: minute by minute, or their sums."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from hashmatch.audit.ledger import Ledger
from hashmatch.v1.audit_pb2 import CountRecord
from hashmatch.v1.common_pb2 import Finding

CHUNK = timedelta(days=1)  # read in one transaction: some 1440 rows per surface


def counted(ledger: Ledger, since: datetime, until: datetime) -> Iterator[CountRecord]:
    """The counts on disk of the minutes from `since` to before `until`, in order, in short transactions.

    Raises:
        Corrupt: one of them is damaged.
    """
    while since < until:
        end = min(since + CHUNK, until)
        yield from ledger.counts(since, end)
        since = end


def summed(counts: Iterable[CountRecord]) -> Iterator[CountRecord]:
    """One count per surface and finding, in the order of both; `minute` is not set."""
    sums: Counter[tuple[str, Finding.ValueType]] = Counter()
    for one in counts:
        sums[one.surface, one.finding] += one.count
    for (surface, finding), count in sorted(sums.items()):
        yield CountRecord(surface=surface, finding=finding, count=count)
