"""One import in a process of its own: `python -m hashmatch.importer`, which a server starts for its callers.

A parser in Python would hold up every verdict of the process it runs in, so it runs here, at low priority. On standard
input come frames, each behind its length (4 bytes, big-endian): the ImportHeader, then the file in parts, and an empty
one. Without that the file is not whole, whoever ended, and nothing of it is imported. On standard output goes the
ImportListResponse, or where the exit code is not 0 the error as JSON. Killed before its input ended it has changed
nothing.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import struct
import sys
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO

from hashmatch import errors
from hashmatch.errors import HashmatchError, Malformed, Unavailable
from hashmatch.index.recipe import load_recipes
from hashmatch.lists.keeper import ListKeeper
from hashmatch.store.lists import ListStore
from hashmatch.v1 import lists_pb2

LENGTH = struct.Struct(">I")
NICENESS = 10  # of 19: verdicts come first
_READ_BYTES = 1 << 20


def command(state: Path, recipes: Path | None, by: str) -> list[str]:
    """What runs this; `by` is who imports."""
    override = ["--recipes", str(recipes)] if recipes else []
    return [sys.executable, "-m", "hashmatch.importer", "--state", str(state), "--by", by, *override]


def framed(part: bytes) -> bytes:
    """A part as it goes to standard input; b"" ends the file."""
    return LENGTH.pack(len(part)) + part


def told(output: bytes, exit_code: int) -> lists_pb2.ImportListResponse:
    """What standard output says.

    Raises:
        HashmatchError: what the import raised.
    """
    if not exit_code:
        return lists_pb2.ImportListResponse.FromString(output)
    if exit_code < 0:
        raise Unavailable(f"the import was ended by signal {-exit_code}; see what the list has before another try")
    try:
        said = json.loads(output)
        kind = getattr(errors, said["error"])
    except (ValueError, KeyError, AttributeError) as e:
        raise HashmatchError(f"the import ended with {exit_code} and did not say why; see the trace") from e
    raise Malformed(said["problem"], field=said["field"]) if kind is Malformed else kind(said["problem"])


def _import(args: argparse.Namespace, given: BinaryIO) -> lists_pb2.ImportListResponse:
    parts = _Parts(given)
    header = lists_pb2.ImportHeader.FromString(parts.next())
    file = io.BufferedReader(parts, _READ_BYTES)
    with closing(ListStore(args.state)) as store:
        keeper = ListKeeper(store, load_recipes(args.recipes))
        return keeper.stage(header, file, by=args.by, allow_rejects=header.allow_rejects)


class _Parts(io.RawIOBase):
    """The file in the parts of standard input."""

    def __init__(self, given: BinaryIO) -> None:
        super().__init__()
        self._given = given
        self._part = memoryview(b"")
        self._ended = False

    def next(self) -> bytes:
        """The next part; b"" at the end.

        Raises:
            Unavailable: it ended before its end.
        """
        length = self._given.read(LENGTH.size)
        size = LENGTH.unpack(length)[0] if len(length) == LENGTH.size else -1
        part = self._given.read(max(0, size))
        if len(part) != size:
            raise Unavailable("the server that received the file is gone; nothing was imported")
        return part

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._part and not self._ended:
            self._part = memoryview(self.next())
            self._ended = not self._part
        size = min(len(buffer), len(self._part))
        buffer[:size], self._part = self._part[:size], self._part[size:]
        return size


def main() -> int:
    """Imports what comes on standard input; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m hashmatch.importer", description="Import one list file.")
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--recipes", type=Path)
    parser.add_argument("--by", required=True)
    args = parser.parse_args()
    os.nice(NICENESS)
    try:
        with open(sys.stdin.fileno(), "rb", buffering=_READ_BYTES) as given:
            answer = _import(args, given)
    except HashmatchError as e:
        problem, field = (e.problem, e.field) if isinstance(e, Malformed) else (str(e), "")
        print(json.dumps({"error": type(e).__name__, "problem": problem, "field": field}))
        return e.exit_code
    sys.stdout.buffer.write(answer.SerializeToString())
    sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
