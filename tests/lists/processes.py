"""Tasks that are killed, starved of disk or given damaged files, so they run in processes of their own.

Each forks its children before anything is opened: LMDB must be opened after a fork, and once per process.
"""

from __future__ import annotations

import io
import os
import random
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from hashmatch.errors import Corrupt, HashmatchError, StoreFull
from hashmatch.index.recipe import load_recipes
from hashmatch.lists.keeper import ListKeeper
from hashmatch.store.check import Report, check_rows
from hashmatch.store.lists import ListStore, ListView
from hashmatch.types import Fingerprint, Revision
from hashmatch.v1 import lists_pb2

SIZES = {"few": 2_000, "many": 5_000}  # entries of the two files that replace each other


@cache
def value(number: int) -> bytes:
    """A number's MD5-like value."""
    return random.Random(number).randbytes(16)


def file(name: str) -> bytes:
    return "".join(f"md5 {value(number).hex()}\n" for number in range(SIZES[name])).encode()


def opened(state: Path) -> ListKeeper:
    return ListKeeper(ListStore(state), load_recipes())


def stage(keeper: ListKeeper, name: str, text: bytes, **how: bool) -> lists_pb2.ImportListResponse:
    header = lists_pb2.ImportHeader(name="ours", format=lists_pb2.IMPORT_FORMAT_HEX, origin=name, activate=True, **how)
    return keeper.stage(header, io.BytesIO(text), by="tests")


def check(store: ListStore) -> int:
    """The number of versions, once everything was read.

    Raises:
        Corrupt: something is not what was written.
    """
    report = Report()
    check_rows(report, store)
    if report.problems:
        raise Corrupt(str(report.problems))
    return report.checked["versions"]


def forked(work: Callable[[int], None]) -> tuple[int, int]:
    """A child that does `work` with the end of a pipe to write to; its id, and the end to read from."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(ours)
        code = 1
        try:
            work(theirs)
            code = 0
        finally:
            sys.stderr.flush()
            os._exit(code)
    os.close(theirs)
    return pid, ours


def told(reading: int) -> bytes:
    with os.fdopen(reading, "rb") as pipe:
        return pipe.read()


def exit_code(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


# ── kill -9 in the middle of an import ──────────────────────────────────────────────────────────────────────────────


def kill(state: Path, times: int) -> None:
    """Prints "whole" for every kill after which the list is exactly what was last acknowledged, or one step further."""
    files = {name: file(name) for name in SIZES}

    def begin(pipe: int) -> None:
        opened(state).create("ours", by="tests")

    pid, reading = forked(begin)
    told(reading)
    assert exit_code(pid) == 0
    chance = random.Random(5)
    revision = 1
    for _ in range(times):

        def work(pipe: int) -> None:
            keeper = opened(state)
            while True:
                for name, text in files.items():
                    done = stage(keeper, name, text)
                    os.write(pipe, done.revision.to_bytes(8, "big"))
                    if done.version % 3 == 0:
                        back = keeper.roll_back("ours", by="tests")
                        os.write(pipe, back.revision.to_bytes(8, "big"))

        pid, reading = forked(work)
        first = os.read(reading, 8)  # it is at work now
        time.sleep(chance.uniform(0, 0.15))
        os.kill(pid, signal.SIGKILL)
        acknowledged = first + told(reading)
        assert exit_code(pid) == -signal.SIGKILL

        def look(pipe: int) -> None:
            os.write(pipe, whole(state).encode())

        revision = int.from_bytes(acknowledged[len(acknowledged) // 8 * 8 - 8 : len(acknowledged) // 8 * 8], "big")
        pid, reading = forked(look)
        found = told(reading).decode().split()
        assert exit_code(pid) == 0
        print("whole" if int(found[0]) - revision in (0, 1) and found[1] == "True" else (revision, found))


def whole(state: Path) -> str:
    """The revision, and whether the active version is the file that it came from and everything verifies."""
    store = ListStore(state)
    check(store)
    with store.view() as view:
        record = view.list("ours")
        version = view.version(record.list_number, record.active_version)
        held = [key for key, _ in view.rows(record.list_number, version, "md5")]
    expected = {value(number) for number in range(SIZES[version.origin])}
    return f"{record.revision} {set(held) == expected and len(held) == len(expected)}"


# ── a disk that is full ─────────────────────────────────────────────────────────────────────────────────────────────


def full(state: Path) -> None:
    """Prints what an import, an addition and a look-up do without room, and then with room again."""
    keeper = opened(state)
    keeper.create("ours", by="tests")
    stage(keeper, "few", file("few"))
    data = state / "lists" / "data.mdb"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (data.stat().st_size + 4096, hard))
    before = keeper.get("ours")
    text = "".join(f"md5 {value(number).hex()}\n" for number in range(20_000)).encode()
    for _ in range(2):
        try:
            print("staged", stage(keeper, "big", text).version)
        except StoreFull as e:
            print("full", type(e).__name__)
    print("unchanged", keeper.get("ours") == before, len(keeper.look_up(Fingerprint("md5", value(7))).entries))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    print("staged", stage(keeper, "big", text).accepted)
    print("verified", check(keeper._store))


# ── one flipped bit ─────────────────────────────────────────────────────────────────────────────────────────────────


def furnish(state: Path) -> None:
    """A store with two lists, some versions, edits and changes."""
    keeper = opened(state)
    for name in ("ours", "theirs"):
        keeper.create(name, operator="op", by="tests")
    stage(keeper, "few", file("few"))
    stage(keeper, "few", file("few")[: 37 * 700])
    for number in range(10_000, 10_006):
        keeper.add("ours", Fingerprint("md5", value(number)), label="L", reason="r", by="tests")
    keeper.remove("ours", Fingerprint("md5", value(10_003)), reason="r", by="tests")
    keeper.add("theirs", Fingerprint("md5", value(3)), reason="r", by="tests")
    keeper.set_policy("theirs", lists_pb2.Policy(shadow=True), by="tests")
    until = datetime.now(UTC) + timedelta(days=1)
    entry = next(keeper.export("ours")).entry_id
    keeper.suppress("ours", entry, reason="r", approver="a", expires_at=until, by="tests")


def everything(store: ListStore, view: ListView) -> list[object]:
    """All that can be read of a store."""
    found: list[object] = [view.revision]
    for record in view.lists():
        found.append(record.SerializeToString(deterministic=True))
        for version in view.versions(record):
            found.append(version.SerializeToString(deterministic=True))
            found.append(view.edits(record.list_number, version))
            if not version.parent:
                found.append(list(store.base_keys(record.list_number, version)))
            found.append(list(view.rows(record.list_number, version, "md5")))
            found.extend(
                view.entry(record.list_number, version, "md5", value(n)) is not None for n in (0, 699, 1999, 10_003)
            )
        found.append(view.tombstones(record.list_number, "md5"))
        found.append([one.SerializeToString(deterministic=True) for one in view.suppressions(record.list_number)])
    found.extend(change.SerializeToString(deterministic=True) for change in view.changes(Revision(0), 1000))
    return found


def flip(state: Path, times: int) -> None:
    """Prints how many of so many one-bit flips had no effect, were found, crashed LMDB, or were served in silence."""
    pid, reading = forked(lambda pipe: furnish(state))
    told(reading)
    assert exit_code(pid) == 0
    data = state / "lists" / "data.mdb"
    sound = data.read_bytes()
    right: list[object] = []
    copy = state.with_name("flipped")
    shutil.copytree(state, copy)
    chance = random.Random(11)
    flips = [(chance.randrange(len(sound)), 1 << chance.randrange(8)) for _ in range(times)]
    outcomes = {"no effect": 0, "found": 0, "crashed": 0, "silent": 0}

    def look(pipe: int) -> None:
        nonlocal right
        store = ListStore(state, readonly=True)
        with store.view() as view:
            right = everything(store, view)
        store.close()
        with open(copy / "lists" / "data.mdb", "r+b", buffering=0) as damaged:
            while flips:
                at, bit = flips.pop()
                damaged.seek(at)
                damaged.write(bytes([sound[at] ^ bit]))
                os.write(pipe, outcome(copy, right))
                damaged.seek(at)
                damaged.write(sound[at : at + 1])

    while flips:
        pid, reading = forked(look)
        seen = told(reading)
        code = exit_code(pid)
        for one in seen:
            outcomes[{ord("n"): "no effect", ord("f"): "found", ord("s"): "silent"}[one]] += 1
        del flips[len(flips) - len(seen) :]
        if code != 0:  # the flip after the last one told
            outcomes["crashed"] += 1
            (copy / "lists" / "data.mdb").write_bytes(sound)
            flips.pop()
    print(outcomes)


def outcome(state: Path, right: list[object]) -> bytes:
    signal.alarm(10)  # a loop in a damaged tree ends as a crash
    try:
        store = ListStore(state, readonly=True)
        try:
            with store.view() as view:
                return b"n" if everything(store, view) == right else b"s"
        finally:
            store.close()
    except HashmatchError:
        return b"f"
    finally:
        signal.alarm(0)


if __name__ == "__main__":
    task, state = sys.argv[1], Path(sys.argv[2])
    {"kill": kill, "full": full, "flip": flip}[task](state, *map(int, sys.argv[3:]))
