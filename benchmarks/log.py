"""What does a log that proves itself cost: appending, its share of a MATCH, proving, verifying?

    python benchmarks/log.py                        a million leaves, two minutes
    python benchmarks/log.py --leaves 10000000      ten million, a quarter of an hour, and 25 GB of disk

Appending is measured through the ledger as a server uses it: group commit, every record synced before its future is
done, beside a bare synced commit of as many bytes on the same disk. The large logs are then written in large groups by
the same code, signed every thousand leaves, exported, and verified by the stand-alone verifier in a process of its own.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import lmdb
from measured import Report

from hashmatch.audit import proofs, tree
from hashmatch.audit.export import export
from hashmatch.audit.ledger import Ledger
from hashmatch.v1 import common_pb2
from hashmatch.v1.audit_pb2 import Event, VerdictRecord

WAITING = (1, 16, 256)  # verdicts that wait at once
SECONDS = 4.0  # of each
GROUP = 1000
# A second; synced commits, the one of the fact itself and two that the log may add; s per million; ms.
APPENDS, COMMITS, VERIFY, PROVE = 2000.0, 3.0, 20.0, 1.0


def verdict(number: int) -> VerdictRecord:
    """A MATCH as a picture makes it: nine fingerprints, one match, two lists covered."""
    record = VerdictRecord(
        verdict_id=f"v_{number:032}", request_id=f"r-{number}", finding=common_pb2.FINDING_MATCH, disposition=4,
        media_bytes=270_000, media_type="image/jpeg", width=1024, height=768, frames=1, no_case=2,
    )  # fmt: skip
    record.at.FromDatetime(datetime.now(UTC))
    record.subject.uploader_id, record.subject.content_id = f"u{number % 5000}", f"c{number}"
    record.subject.surface, record.subject.region = "uploads", "EU"
    for hash_type, size in (("md5", 16), ("sha1", 20), ("sha256", 32), *((f"pdq{n}", 32) for n in range(6))):
        hashed = record.hashed.add(hash_type=hash_type.rstrip("0123456789") or hash_type)
        hashed.fingerprint.value = os.urandom(size)
    record.matches.add(list="known", entry_id="e" * 26, hash_type="pdq", distance=9, threshold=31, disposition=4)
    for name in ("known", "shadow"):
        record.coverage.lists.add(list=name, version=7, entries=1_000_000).thresholds["pdq"] = 31
        record.policies[name].disposition = 4
    record.coverage.versions.update({"hashmatch": "0.1.0", "pillow": "13.0.0", "pdq": "1"})
    return record


def appending(state: Path, waiting: int) -> dict[str, Any]:
    """Verdicts a second, and how long each waits to be on disk."""
    taken: list[float] = []
    with closing(Ledger(state)) as ledger:
        number, began = waiting * 10_000_000, time.perf_counter()
        pending: list[tuple[float, Any]] = []
        while time.perf_counter() - began < SECONDS:
            while len(pending) < waiting:
                number += 1
                pending.append((time.perf_counter(), ledger.append(verdict(number), log=True, remember=True)))
            asked, future = pending.pop(0)
            future.result()
            taken.append(time.perf_counter() - asked)
        per_second = len(taken) / (time.perf_counter() - began)
        for _, future in pending:
            future.result()
    return {"waiting at once": waiting, "per s": per_second, "p50 ms": 1000 * statistics.median(taken),
            "p99 ms": 1000 * sorted(taken)[int(0.99 * len(taken))]}  # fmt: skip


def bare_commit(folder: Path) -> float:
    """Milliseconds of one synced commit of as many bytes, median."""
    taken = []
    with lmdb.open(str(folder), map_size=1 << 30) as env:
        for number in range(300):
            began = time.perf_counter()
            with env.begin(write=True) as txn:
                txn.put(number.to_bytes(8, "big"), os.urandom(1200))
            taken.append(time.perf_counter() - began)
    return 1000 * statistics.median(taken)


def written(state: Path, leaves: int) -> float:
    """Seconds to write a log of so many leaves in large groups."""
    began = time.perf_counter()
    with closing(Ledger(state)) as ledger:
        number = 0
        while number < leaves:
            with ledger.changing() as log:
                for _ in range(min(GROUP, leaves - number)):
                    number += 1
                    record = verdict(number)
                    ledger.rows.put_verdict(log.txn, record.verdict_id, log.append(Event(verdict=record)))
        ledger.sign()
    return time.perf_counter() - began


def each(work: Callable[[int], object], size: int, rounds: int = 300) -> float:
    """Median milliseconds of one."""
    taken = []
    for n in range(rounds):
        began = time.perf_counter()
        work(1 + n * (size - 1) // rounds)
        taken.append(time.perf_counter() - began)
    return 1000 * statistics.median(taken)


def large(report: Report, folder: Path, leaves: int) -> None:
    seconds = written(folder / "state", leaves)
    with closing(Ledger(folder / "state")) as ledger:
        size = ledger.sign()
        prove = each(lambda n: proofs.prove(ledger, n, size), size)
        with ledger.reading() as log:
            consistent = each(lambda n: log.consistency(n, size), size)
            root, proof = log.root(size), proofs.prove(ledger, size // 3, size)
        check = each(
            lambda _: tree.verify_inclusion(tree.leaf_hash(proof.leaf), size // 3 - 1, size, proof.hashes, root), size
        )
        began = time.perf_counter()
        export(ledger, folder / "export")
        exporting = time.perf_counter() - began
        with ledger.reading() as log:
            (folder / "key").write_text(log.verifier_key)
    began = time.perf_counter()
    command = [sys.executable, "-I", "verify.py", ".", "--key", str(folder / "key")]
    told = subprocess.run(command, cwd=folder / "export", capture_output=True, text=True, check=True).stdout
    verifying = time.perf_counter() - began
    disk = sum(path.stat().st_size for path in (folder / "state" / "ledger").iterdir())
    report.table(
        f"A log of {size} leaves",
        [
            {"what": "written in large groups, leaves per s", "is": leaves / seconds, "asked": ""},
            {"what": "bytes on disk per leaf", "is": disk / size, "asked": ""},
            {"what": "inclusion proof, ms", "is": prove, "asked": f"<= {PROVE}"},
            {"what": "its verification, ms", "is": check, "asked": ""},
            {"what": "consistency proof, ms", "is": consistent, "asked": f"<= {PROVE}"},
            {"what": "export, s per million", "is": exporting * 1e6 / size, "asked": ""},
            {"what": "stand-alone verifier, s", "is": verifying, "asked": ""},
            {"what": "stand-alone verifier, s per million", "is": verifying * 1e6 / size, "asked": f"<= {VERIFY}"},
        ],
    )
    print(told.splitlines()[-1])


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--leaves", type=int, default=1_000_000)
    leaves = arguments.parse_args().leaves
    report = Report("log", "verdicts of 1.1 kB with nine fingerprints and one match, sealed")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        commit = bare_commit(folder / "bare")
        rows = [appending(folder / f"append{waiting}", waiting) for waiting in WAITING]
        report.table("Appended and synced, one at a time and together", rows)
        best = max(row["per s"] for row in rows)
        report.table(
            "Limits",
            [
                {"figure": "appended per s", "is": best, "asked": f">= {APPENDS}"},
                {"figure": "a bare synced commit, ms", "is": commit, "asked": ""},
                {
                    "figure": "p50 of one alone ÷ such a commit",
                    "is": rows[0]["p50 ms"] / commit,
                    "asked": f"<= {COMMITS}",
                },
            ],
        )
        large(report, folder, leaves)
    report.write()


if __name__ == "__main__":
    main()
