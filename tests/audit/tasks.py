"""What the tests do to a ledger in processes of their own, and the records that they write."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import io
import os
import pickle
import resource
import sys
import threading
import time
from concurrent.futures import Future
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from hashmatch.audit.check import check_state
from hashmatch.audit.ledger import Ledger
from hashmatch.errors import HashmatchError, StoreFailed, StoreFull
from hashmatch.index.recipe import load_recipes
from hashmatch.lists.keeper import ListKeeper
from hashmatch.store import env
from hashmatch.store.lists import ListStore
from hashmatch.types import Fingerprint
from hashmatch.v1 import common_pb2
from hashmatch.v1.audit_pb2 import VerdictRecord
from hashmatch.v1.lists_pb2 import IMPORT_FORMAT_HEX, ImportHeader
from hashmatch.v1.store_pb2 import RequestRecord

START = datetime(2026, 1, 1, tzinfo=UTC)


def opened(state: str) -> Ledger:
    """A ledger whose clock stands where the records were made, so that no request id is old enough to be forgotten."""
    return Ledger(Path(state), now=lambda: START)


def record(number: int) -> VerdictRecord:
    """A number's verdict record, about as large as real ones: always the same."""
    seed = hashlib.sha256(number.to_bytes(8, "big")).digest()
    made = VerdictRecord(
        verdict_id=f"v_{seed[:16].hex()}",
        request_id=f"request-{number}",
        question_digest=seed,
        media_bytes=1000 + number,
        media_type="image/png",
        width=640,
        height=480,
        frames=1,
        finding=common_pb2.FINDING_MATCH,
        disposition=common_pb2.DISPOSITION_BLOCK,
        asked_lists=["drawn"],
    )
    made.at.FromDatetime(START + timedelta(seconds=number))
    made.subject.content_id = f"content-{number}"
    made.subject.surface = "avatars"
    made.hashed.add(hash_type="sha256").fingerprint.value = seed
    made.hashed.add(hash_type="phash", unhashable=common_pb2.UNHASHABLE_REASON_LOW_QUALITY)
    made.matches.add(list="drawn", entry_id="abcd", label="x", hash_type="sha256", disposition=4)
    made.matches.add(list="drawn", entry_id=f"e{number % 7}", label="y", hash_type="pdq", distance=3, threshold=31)
    made.coverage.revision = number
    made.coverage.entries["sha256"] = number + 1
    made.coverage.lists.add(list="drawn", revision=number, version=1, entries=number + 1)
    made.coverage.versions["hashmatch"] = "0"
    made.policies["drawn"].disposition = common_pb2.DISPOSITION_BLOCK
    return made


def lost(ledger: Ledger, acknowledged: list[tuple[int, int]]) -> list[str]:
    """What is wrong with records that were acknowledged: number and sequence of each."""
    found = []
    for number, sequence in acknowledged:
        want = record(number)
        event, remembered = ledger.verdict(want.verdict_id), recalled(ledger, want.request_id)
        if event.sequence != sequence or event.verdict != want:
            found.append(f"event {sequence} is not what was acknowledged")
        if remembered is None or remembered.verdict != want:
            found.append(f"request {number} is not what was acknowledged")
    return found


def recalled(ledger: Ledger, request_id: str) -> RequestRecord | None:
    """What a request id was answered."""
    remembered = ledger.remembered(request_id)
    return remembered.record if remembered else None


def append(ledger: Ledger, number: int) -> Future[int]:
    return ledger.append(record(number), log=True, remember=True)


def write(state: str, acknowledged: list[tuple[int, int]], first: int, in_flight: int) -> None:
    """Prints what was lost of records acknowledged earlier, then a line for each new record on disk, until killed."""
    ledger = opened(state)
    os.write(1, ("\n".join([*lost(ledger, acknowledged), "open"]) + "\n").encode())
    room = threading.Semaphore(in_flight)

    def written(number: int, future: Future[int]) -> None:
        os.write(1, f"{number} {future.result()}\n".encode())
        room.release()

    number = first
    while True:
        room.acquire()
        append(ledger, number).add_done_callback(partial(written, number))
        number += 1


def verify(state: str, acknowledged_file: str) -> None:
    """Prints all that is wrong with a state directory and the records acknowledged in it."""
    with open(acknowledged_file, "rb") as file:
        acknowledged = pickle.load(file)  # noqa: S301 - written by the test itself
    try:
        with closing(opened(state)) as ledger:
            print(*lost(ledger, acknowledged), sep="\n")
    except HashmatchError as e:
        print(f"{type(e).__name__}: {e}")
    print(*check_state(Path(state)).problems, sep="\n")


def watch(state: str, trace_file: str, records: int, sync: bool) -> None:
    """Appends records while every write and sync is recorded: pickles the file as it was before and what happened.

    What happens is ("write", offset, data, synced by itself), ("sync",), ("witness", content) or ("ack", number,
    sequence), in order. With `sync` false LMDB runs without syncs, as a mistake would have it.
    """
    import lmdb_calls

    opened(state).close()
    directory = Path(state) / "ledger"
    before, witness = (directory / "data.mdb").read_bytes(), (directory / "last-commit").read_bytes()
    happened: list[tuple[object, ...]] = []

    def after(call: str, fd: int, offset: int, data: bytes) -> None:
        synced = bool(os.O_DSYNC & fcntl_flags(fd))
        happened.append(("write", offset, data, synced) if call == "write" else ("sync",))

    def written(number: int, future: Future[int]) -> None:
        happened.append(("witness", (directory / "last-commit").read_bytes()))
        happened.append(("ack", number, future.result()))

    lmdb_calls.install(lambda *_: 0, after)
    env.lmdb.open = partial(env.lmdb.open, sync=sync)
    ledger = opened(state)
    number = 0
    while number < records:
        group = range(number, min(records, number + 1 + number % 5))
        futures = [append(ledger, n) for n in group]
        for n, future in zip(group, futures, strict=True):
            future.add_done_callback(partial(written, n))
        for future in futures:
            future.result(10)
        ledger.count("avatars", common_pb2.FINDING_NO_MATCH, START + timedelta(minutes=number))
        number = group.stop
    ledger.close()
    with open(trace_file, "wb") as file:
        pickle.dump((before, witness, happened), file)


def watch_lists(state: str, trace_file: str, steps: int, sync: bool) -> None:
    """As `watch`, while hash lists are imported and edited; what is acknowledged is each step's revision."""
    import lmdb_calls

    ListStore(Path(state)).close()
    directory = Path(state) / "lists"
    before, witness = (directory / "data.mdb").read_bytes(), (directory / "last-commit").read_bytes()
    happened: list[tuple[object, ...]] = []

    def after(call: str, fd: int, offset: int, data: bytes) -> None:
        synced = bool(os.O_DSYNC & fcntl_flags(fd))
        happened.append(("write", offset, data, synced) if call == "write" else ("sync",))

    def acknowledge(revision: int) -> None:
        happened.append(("witness", (directory / "last-commit").read_bytes()))
        happened.append(("ack", revision))

    lmdb_calls.install(lambda *_: 0, after)
    env.lmdb.open = partial(env.lmdb.open, sync=sync)
    keeper = ListKeeper(ListStore(Path(state)), load_recipes())
    acknowledge(keeper.create("ours", by="tests").revision)
    for step in range(steps):
        value = hashlib.md5(b"%d" % step, usedforsecurity=False).hexdigest()
        if step % 4:
            fingerprint = Fingerprint("md5", bytes.fromhex(value))
            acknowledge(keeper.add("ours", fingerprint, reason="drawn", by="tests").revision)
        else:
            header = ImportHeader(name="ours", format=IMPORT_FORMAT_HEX, hash_type="md5", merge=True, activate=True)
            acknowledge(keeper.stage(header, io.BytesIO(value.encode()), by="tests").revision)
    with open(trace_file, "wb") as file:
        pickle.dump((before, witness, happened), file)


def verify_lists(state: str, acknowledged_file: str) -> None:
    """Prints all that is wrong with the hash lists of a state directory and the steps acknowledged in it."""
    with open(acknowledged_file, "rb") as file:
        acknowledged = pickle.load(file)  # noqa: S301 - written by the test itself
    last = max((revision for (revision,) in acknowledged), default=0)
    try:
        with closing(ListStore(Path(state))) as store, store.view() as view:
            if view.revision not in (last, last + 1):
                print(f"the lists are at revision {view.revision}, and {last} was acknowledged")
    except HashmatchError as e:
        print(f"{type(e).__name__}: {e}")
    print(*check_state(Path(state)).problems, sep="\n")


def verify_cuts(verify: str, directory: str, environment: str, trace_file: str, first: int, cuts: int) -> None:
    """As `cuts.verified` does, by `verify` or `verify_lists`."""
    import cuts as power

    power.verified(globals()[verify], Path(directory), environment, Path(trace_file), first, cuts)


def fcntl_flags(fd: int) -> int:
    import fcntl

    return fcntl.fcntl(fd, fcntl.F_GETFL)


def read_all(state: str, records: int) -> None:
    """Prints a digest of everything that reading a ledger gives, or the error that it raises."""
    try:
        ledger = opened(state)
        digest = hashlib.sha256()
        for event in ledger.events(limit=10 * records):
            digest.update(event.SerializeToString(deterministic=True))
        for number in range(records):
            wanted = record(number)
            digest.update(ledger.verdict(wanted.verdict_id).SerializeToString(deterministic=True))
            remembered = recalled(ledger, wanted.request_id)
            digest.update(remembered.SerializeToString(deterministic=True) if remembered else b"-")
        for count in ledger.counts(START, START + timedelta(days=365)):
            digest.update(count.SerializeToString(deterministic=True))
        digest.update(b"%d" % ledger.last_sequence())
        print("read", digest.hexdigest())
    except HashmatchError as e:
        print("raised", type(e).__name__)
    sys.stdout.flush()
    os._exit(0)  # not closed: what a flush would write is not the question


def check(state: str) -> None:
    """Prints the problems that a check finds."""
    print(*check_state(Path(state)).problems, sep="\n")


def fill_disk(directory: str) -> None:
    """Fills the disk under a ledger and frees it again; prints how it went."""
    limited = limit_disk(Path(directory))
    state, filler = Path(directory) / "state", Path(directory) / "filler"
    if limited == "mount":
        filler.write_bytes(bytes(2 << 20))
    ledger = opened(str(state))
    acknowledged, number = [], 0
    try:
        while True:
            acknowledged.append((number, append(ledger, number).result(10)))
            number += 1
    except StoreFull as e:
        print("full", str(e).replace(directory, ""))
    print("healthy", ledger.healthy, bool(ledger.failure()))
    print("lost", lost(ledger, acknowledged), recalled(ledger, record(number).request_id))
    if limited == "mount":
        filler.unlink()
    else:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    deadline = time.monotonic() + 10
    while not ledger.healthy and time.monotonic() < deadline:
        time.sleep(0.05)
    print("healthy", ledger.healthy, bool(ledger.failure()))
    acknowledged.append((number, append(ledger, number).result(10)))
    print("contiguous", len({sequence for _, sequence in acknowledged}) == len(acknowledged) == number + 1)
    print("lost", lost(ledger, acknowledged), None)
    ledger.close()
    print("problems", check_state(state).problems)


def limit_disk(directory: Path) -> str:
    """Gives this process a disk of 4 MiB at `directory`; where it may not mount one, files of at most 2 MiB."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        new_mounts, new_user, private = 0x00020000, 0x10000000, 0x4000 | 0x40000
        if libc.unshare(new_mounts) == 0 or libc.unshare(new_mounts | new_user) == 0:
            libc.mount(None, b"/", None, private, None)
            if libc.mount(b"tmpfs", os.fsencode(directory), b"tmpfs", 0, b"size=4m") == 0:
                return "mount"
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 << 20, resource.RLIM_INFINITY))
    return "limit"


def fail_disk(state: str, call: str, number: str) -> None:
    """Makes the disk refuse one kind of call under a ledger, and lets it work again; prints how it went.

    `call` is "write", "sync", or "meta": the last write of a commit, synced by itself.
    """
    import lmdb_calls

    failing = False

    def before(name: str, fd: int, offset: int, data: bytes) -> int:
        meta = name == "write" and bool(os.O_DSYNC & fcntl_flags(fd))
        return getattr(errno, number) if failing and ("meta" if meta else name) == call else 0

    lmdb_calls.install(before, lambda *_: None)
    ledger = opened(state)
    acknowledged = [(n, append(ledger, n).result(10)) for n in range(5)]
    failing = True
    print("first", outcome(ledger, 5))
    failing = False
    print("healthy", ledger.healthy, bool(ledger.failure()))
    print("second", outcome(ledger, 6))
    ledger.close()
    ledger = opened(state)
    print("lost", lost(ledger, acknowledged), recalled(ledger, record(5).request_id))
    print("third", outcome(ledger, 7))
    ledger.close()
    print("problems", check_state(Path(state)).problems)


def outcome(ledger: Ledger, number: int) -> str:
    try:
        return f"acknowledged {append(ledger, number).result(10) > 0}"
    except StoreFailed as e:
        return type(e).__name__
