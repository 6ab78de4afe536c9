"""The ledger as a file: one JSON object per line, protobuf's JSON of Event, in the order of the sequence."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from google.protobuf.json_format import MessageToJson

from hashmatch.audit.ledger import Ledger
from hashmatch.store.env import failure, sync_directory
from hashmatch.v1.audit_pb2 import Event

CHUNK = 1000  # events read in one transaction: some 20 ms


def follow(ledger: Ledger, after: int = 0) -> Iterator[Event]:
    """Every event after a sequence that is on disk now, in order, in short transactions.

    Raises:
        Corrupt: one is damaged or missing.
    """
    while events := ledger.events(after=after, limit=CHUNK):
        yield from events
        after = events[-1].sequence


def export(ledger: Ledger, to: Path, *, since: int = 1, progress: Callable[[int], object] = lambda _: None) -> int:
    """Writes the events from sequence `since` on, and returns how many; `to` appears whole and synced, or not at all.

    The file holds fingerprints, so only its owner may read it. `progress` is told each sequence written.

    Raises:
        Corrupt: an event is damaged or missing.
        StoreFull, StoreFailed: the file cannot be written.
    """
    to = to.absolute()
    draft = to.with_name(f".{to.name}.{secrets.token_hex(8)}")
    number = 0
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            for event in follow(ledger, max(0, since - 1)):
                file.write(line(event) + "\n")
                number += 1
                progress(event.sequence)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(to)
        sync_directory(to.parent)
    except OSError as e:
        raise failure(to.parent, e) from e
    finally:
        with suppress(FileNotFoundError):
            draft.unlink()
    return number


def line(event: Event) -> str:
    """An event as one line of JSON; `google.protobuf.json_format.Parse` reads it back."""
    return MessageToJson(event, preserving_proto_field_name=True, indent=None, ensure_ascii=False)
