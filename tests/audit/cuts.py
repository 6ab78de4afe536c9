"""Power cuts of a run whose writes and syncs were recorded: the files as they may be found, and whether they are right.

Runs in the nursery's processes; tests import it for what both sides must agree on.
"""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import random
import shutil
from collections.abc import Callable
from pathlib import Path

SECTOR = 512  # bytes that a disk writes whole


def cut(before: bytes, witness: bytes, happened: list, chance: random.Random):
    """The file, the witness and the acknowledged records after the power went at a random moment."""
    moment = chance.randrange(len(happened) + 1)
    disk, unsynced, acknowledged, witnesses = bytearray(before), [], [], [witness]
    for what, *rest in happened[:moment]:
        if what == "sync":
            for offset, data in unsynced:
                put(disk, offset, data)
            unsynced = []
        elif what == "write":
            offset, data, synced = rest
            if synced:
                put(disk, offset, data)
            else:
                unsynced.append((offset, data))
        elif what == "witness":
            witnesses.append(rest[0])
        else:
            acknowledged.append(tuple(rest))
    if moment < len(happened) and happened[moment][0] == "write":
        unsynced.append(happened[moment][1:3])  # it was under way
    kept = chance.choice((0.0, 1.0, chance.random()))
    for offset, data in unsynced:
        for at in range(0, len(data), SECTOR):
            if chance.random() < kept:
                put(disk, offset + at, data[at : at + SECTOR])
    return bytes(disk), chance.choice(witnesses), acknowledged


def put(disk: bytearray, offset: int, data: bytes) -> None:
    disk.extend(bytes(max(0, offset + len(data) - len(disk))))
    disk[offset : offset + len(data)] = data


def verified(
    verify: Callable[[str, str], None], directory: Path, environment: str, trace_file: Path, first: int, cuts: int
) -> None:
    """Verifies one cut after the other, each in a directory of its own, until one is wrong; prints a dot for each that
    is right, and then what is wrong."""
    trace = pickle.loads(trace_file.read_bytes())  # noqa: S301 - written by the test
    for number in range(first, cuts):
        state, acknowledged_file = directory / f"cut-{number}", directory / "acknowledged"
        disk, witness, acknowledged = cut(*trace, random.Random(f"11 {number}"))
        (state / environment).mkdir(parents=True)
        if (directory / "keys").exists():
            shutil.copytree(directory / "keys", state / "keys")
        (state / environment / "data.mdb").write_bytes(disk)
        (state / environment / "last-commit").write_bytes(witness)
        acknowledged_file.write_bytes(pickle.dumps(acknowledged))
        with contextlib.redirect_stdout(io.StringIO()) as said:
            verify(str(state), str(acknowledged_file))
        if any(said.getvalue().splitlines()):
            print(said.getvalue())
            return
        os.write(1, b".\n")
        shutil.rmtree(state)
