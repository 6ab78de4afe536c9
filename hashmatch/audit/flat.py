"""Events as flat rows, one schema for all of them: for tables, CSV and Parquet, written atomically and in batches."""

from __future__ import annotations

import csv
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any

from hashmatch import convert
from hashmatch.audit import brief, explain
from hashmatch.errors import BadConfig
from hashmatch.store.env import failure, sync_directory
from hashmatch.v1.audit_pb2 import Event

BATCH = 10_000  # rows held at once: some 10 MB
NUMBERS = ("sequence", "distance", "threshold", "matches")
COLUMNS = (
    "sequence", "at", "type", "verdict_id", "case_id", "finding", "disposition", "surface", "region", "list",
    "entry_id", "hash_type", "distance", "threshold", "matches", "actor", "reason", "brief",
)  # fmt: skip
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would run: OWASP, "CSV Injection"


def row(event: Event) -> dict[str, Any]:
    """One event by COLUMNS; None where a column says nothing of it. Nothing personal, no fingerprint."""
    fact = event.WhichOneof("fact") or ""
    told = getattr(event, fact) if fact else event
    found: dict[str, Any] = dict.fromkeys(COLUMNS)
    found |= {
        "sequence": event.sequence,
        "at": convert.moment(event.at),
        "type": fact,
        "verdict_id": getattr(told, "verdict_id", "") or None,
        "case_id": getattr(told, "case_id", "") or None,
        "actor": brief.actor(event) or None,
        "brief": brief.brief(event),
    }
    for name in ("list", "entry_id", "hash_type", "reason"):
        found[name] = getattr(told, name, "") or None
    if event.HasField("verdict"):
        found |= _of_verdict(event)
    return found


def _of_verdict(event: Event) -> dict[str, Any]:
    verdict = event.verdict
    found: dict[str, Any] = {
        "finding": explain.finding(verdict.finding),
        "disposition": explain.disposition(verdict.disposition),
        "surface": verdict.subject.surface or None,
        "region": verdict.subject.region or None,
        "matches": verdict.matches_found,
    }
    nearest = next(iter(verdict.matches), None) or next((one.match for one in verdict.set_aside), None)
    if nearest is not None:
        found |= {name: getattr(nearest, name) for name in ("list", "entry_id", "hash_type", "distance", "threshold")}
    if verdict.set_aside and not verdict.matches:
        found["reason"] = explain.set_aside_reason(verdict.set_aside[0].reason)
    return found


def write_csv(events: Iterable[Event], to: Path, *, progress: Callable[[int], object] = lambda _: None) -> int:
    """Writes events to a CSV file, which appears whole or not at all; how many. What a spreadsheet would take for a
    formula has an apostrophe before it. `progress` is told how many more were written.

    Raises:
        StoreFull, StoreFailed: it cannot be written.
    """
    number = 0
    with _draft(to) as draft, open(draft, "w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(COLUMNS)
        for event in events:
            out.writerow([_cell(value) for value in row(event).values()])
            number += 1
            progress(1)
        file.flush()
        os.fsync(file.fileno())
    return number


def _cell(value: Any) -> str:
    text = "" if value is None else value.isoformat() if hasattr(value, "isoformat") else str(value)
    return f"'{text}" if text.startswith(_FORMULA) and isinstance(value, str) else text


def write_parquet(events: Iterable[Event], to: Path, *, progress: Callable[[int], object] = lambda _: None) -> int:
    """Writes events to a Parquet file, as `write_csv`: times in UTC, numbers as numbers, empty as null.

    Raises:
        BadConfig: pyarrow is not installed.
        StoreFull, StoreFailed: it cannot be written.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as e:
        raise BadConfig("Parquet needs pyarrow: pip install 'hashmatch[parquet]'") from e
    types: Mapping[str, Any] = {"at": pa.timestamp("us", tz="UTC")} | dict.fromkeys(NUMBERS, pa.int64())
    schema = pa.schema([(name, types.get(name, pa.string())) for name in COLUMNS])
    number, rows = 0, iter(map(row, events))
    with _draft(to) as draft, open(draft, "wb") as file:
        with pq.ParquetWriter(file, schema) as out:
            while some := list(islice(rows, BATCH)):
                out.write_table(pa.Table.from_pylist(some, schema=schema))
                number += len(some)
                progress(len(some))
        file.flush()
        os.fsync(file.fileno())
    return number


@contextmanager
def _draft(to: Path) -> Iterator[Path]:
    """A file beside `to` that takes its name, and may be read by nobody else, once the block ends well."""
    to = to.absolute()
    draft = to.with_name(f".{to.name}.{secrets.token_hex(8)}")
    try:
        os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        yield draft
        draft.replace(to)
        sync_directory(to.parent)
    except OSError as e:
        raise failure(to.parent, e) from e
    finally:
        with suppress(FileNotFoundError):
            draft.unlink()
