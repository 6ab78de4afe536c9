"""Submissions as they were counted, scanned or not: minute by minute, or their sums."""

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
    """One count per surface, finding and reason, in their order; `minute` is not set."""
    sums: Counter[tuple[str, Finding.ValueType, str]] = Counter()
    for one in counts:
        sums[one.surface, one.finding, one.reason] += one.count
    for (surface, finding, reason), count in sorted(sums.items()):
        yield CountRecord(surface=surface, finding=finding, reason=reason, count=count)
