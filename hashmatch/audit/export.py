"""The log as a directory that verifies without us: docs/log-format.md. It appears whole and synced, or not at all.

It ends at a checkpoint, which is signed now where the newest does not cover all events, so that every leaf in it is
vouched for. Written in short transactions: the log only grows, and what is exported was there when it began.
"""

from __future__ import annotations

import importlib.resources
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO

from google.protobuf.json_format import MessageToJson

import hashmatch
from hashmatch import clock
from hashmatch.audit.ledger import Ledger
from hashmatch.errors import Malformed, Refused
from hashmatch.store.env import failure, sync_directory
from hashmatch.v1.audit_pb2 import Event

FORMAT = 1
FOLDERS = ("leaves", "checkpoints", "schema")
CHUNK = 1000  # events read in one transaction: some 20 ms
LEAVES_PER_FILE = 65_536
LENGTH_BYTES = 4  # big-endian, before each leaf

_README = """\
A range of a hashmatch log: every event as it was hashed, the checkpoints signed of it, and what verifies both.

    pip install cryptography
    python verify.py . --key KEYFILE

KEYFILE holds the log's verifier key, one line. Have it from the operator by another way than this directory.
`schema/` says how a leaf is read; verify.py says how everything fits together.
"""

Piece = tuple[str, bytes]
"""A file's path in the directory, and some of its bytes; pieces of one file follow one another."""


def follow(ledger: Ledger, after: int = 0, *, opened: bool = True) -> Iterator[Event]:
    """Every event after a sequence that is on disk now, in order, in short transactions.

    Raises:
        Corrupt: one is damaged or missing.
    """
    while events := ledger.events(after=after, limit=CHUNK, opened=opened):
        yield from events
        after = events[-1].sequence


def pieces(ledger: Ledger, first: int = 1) -> Iterator[Piece]:
    """The files of an export from an event on, in pieces of some hundred kilobytes.

    Raises:
        Malformed: the log has no such event.
        Refused: the log was never signed, and this ledger is open for reading only.
        Corrupt: an event or a checkpoint is damaged or missing.
    """
    with ledger.reading() as log:
        last = log.size
        if not 0 < first <= last:
            raise Malformed(f"want 1..{last}, the events there are" if last else "the log is empty", field="first")
        signed = ledger.checkpoints.size(log.txn)
    if signed < last and not ledger.readonly:
        last = ledger.sign()
    elif not signed >= first:
        raise Refused("no checkpoint covers that event, and this state cannot be written to sign one")
    else:
        last = signed
    yield "README.md", _README.encode()
    yield "verify.py", Path(__file__).with_name("verify.py").read_bytes()
    schema = importlib.resources.files("hashmatch.schema")
    for name in ("audit.proto", "common.proto", "lists.proto"):
        yield f"schema/{name}", (schema / name).read_bytes()
    yield from _leaves(ledger, first, last)
    yield from _checkpoints(ledger, first, last)
    yield "manifest.json", _manifest(ledger, first, last)


def _leaves(ledger: Ledger, first: int, last: int) -> Iterator[Piece]:
    sequence = first
    while sequence <= last:
        number, done = divmod(sequence - first, LEAVES_PER_FILE)
        limit = min(CHUNK, LEAVES_PER_FILE - done, last + 1 - sequence)
        with ledger.reading() as log:
            found = [leaf for _, leaf in log.leaves(sequence - 1, limit)]
        yield f"leaves/{number:08}.leaves", b"".join(len(leaf).to_bytes(LENGTH_BYTES) + leaf for leaf in found)
        sequence += len(found)


def _checkpoints(ledger: Ledger, first: int, last: int) -> Iterator[Piece]:
    after = first - 1
    while after < last:
        with ledger.reading() as log:
            notes = [(size, log.checkpoint(size)) for size in _some(log.checkpoint_sizes(after, last))]
        for size, note in notes:
            yield f"checkpoints/{size:020}.note", note
        after = notes[-1][0]


def _some(sizes: Iterator[int]) -> list[int]:
    return [size for size, _ in zip(sizes, range(CHUNK), strict=False)]


def _manifest(ledger: Ledger, first: int, last: int) -> bytes:
    with ledger.reading() as log:
        frontier = [root.hex() for root in log.frontier(first - 1)]
        origin, key = ledger.checkpoints.origin(log.txn), ledger.checkpoints.verifier_key(log.txn)
    told = {
        "format": FORMAT,
        "origin": origin,
        "first": first,
        "last": last,
        "frontier": frontier,
        "keys": [key],
        "written_by": f"hashmatch {hashmatch.__version__}",
        "at": clock.now().isoformat(),
    }
    return json.dumps(told, indent=2).encode() + b"\n"


def export(ledger: Ledger, to: Path, *, first: int = 1, progress: Callable[[int], object] = lambda _: None) -> int:
    """Makes the directory `to` with the events from `first` on, and returns how many.

    `progress` is told how many leaves of bytes were written. Sealed fields stay sealed; there is no fingerprint in it.

    Raises:
        Refused: `to` is there already; or as `pieces`.
        StoreFull, StoreFailed: it cannot be written; nothing stays of it.
    """
    return write(pieces(ledger, first), to, progress=progress)


def write(given: Iterator[Piece], to: Path, *, progress: Callable[[int], object] = lambda _: None) -> int:
    """Makes the directory `to` of pieces, whoever they come from; how many events it holds.

    Raises:
        Refused: `to` is there already.
        Malformed: a path leads out of the directory.
        StoreFull, StoreFailed: it cannot be written; nothing stays of it.
    """
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise Refused(f"{to} exists already; name a directory that is new or empty")
    to = to.absolute()
    draft = to.with_name(f".{to.name}.{secrets.token_hex(8)}")
    try:
        draft.mkdir(parents=True, mode=0o700)
        for path, of_file in groupby(given, key=itemgetter(0)):
            with _file(draft, path) as out:
                for _, piece in of_file:
                    out.write(piece)
                    progress(_leaves_in(path, piece))
                out.flush()
                os.fsync(out.fileno())
        manifest = json.loads((draft / "manifest.json").read_bytes())
        for folder in sorted({file.parent for file in draft.rglob("*")}):
            sync_directory(folder)
        draft.replace(to)
        sync_directory(to.parent)
    except OSError as e:
        raise failure(to.parent, e) from e
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return int(manifest["last"]) - int(manifest["first"]) + 1


def _file(folder: Path, path: str) -> BinaryIO:
    file = folder / path
    if file.parent not in (folder, *(folder / name for name in FOLDERS)) or file.name.startswith("."):
        raise Malformed("a piece is of a file outside the directory", field="path")
    file.parent.mkdir(exist_ok=True, mode=0o700)
    return open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _leaves_in(path: str, piece: bytes) -> int:
    if not path.startswith("leaves/"):
        return 0
    number = at = 0
    while at < len(piece):
        at += LENGTH_BYTES + int.from_bytes(piece[at : at + LENGTH_BYTES])
        number += 1
    return number


def line(event: Event) -> str:
    """An event as one line of JSON; `google.protobuf.json_format.Parse` reads it back."""
    return MessageToJson(event, preserving_proto_field_name=True, indent=None, ensure_ascii=False)
