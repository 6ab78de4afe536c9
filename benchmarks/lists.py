"""How fast do lists come in, how soon do changes count, and how fast does a server start on large ones?

    python benchmarks/lists.py                      10 000 000 entries, some five minutes and 5 GB of disk
    python benchmarks/lists.py --entries 1000000

The real command line imports, the real server serves. Changes are committed by a process beside the server, while other
callers keep it busy with look-ups and an analyst's import runs; what is measured is the time from a commit to the first
verdict that shows it, with a question every two milliseconds.

What we ask of ourselves at 10 M: an import within 90 s and 1 GiB; a change in verdicts within 250 ms (p99); SERVING
within 3 s of starting from a valid snapshot.
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from measured import Report
from numpy.typing import NDArray

from hashmatch.client import Client, Finding, Fingerprint
from hashmatch.index.recipe import load_recipes
from hashmatch.lists.keeper import ListKeeper
from hashmatch.store.lists import ListStore

HASHMATCH = Path(sys.executable).parent / "hashmatch"
IMPORT_SECONDS, IMPORT_BYTES = 90.0, 1 << 30  # per 10 M lines
FRESH_MS, START_SECONDS = 250.0, 3.0
CHANGES = 60  # of each kind


def drawn(count: int, seed: int) -> Iterator[NDArray[np.uint8]]:
    rng = np.random.default_rng(seed)
    for at in range(0, count, 100_000):
        yield rng.integers(0, 256, (min(100_000, count - at), 32), dtype=np.uint8)


def write_hex(path: Path, count: int, seed: int, changed: int = 0) -> None:
    """A hex file; `changed` of its first lines are others than the same seed gives else."""
    with open(path, "w") as file:
        for part in drawn(count, seed):
            if changed:
                part[:changed] ^= 0x55
                changed = 0
            text = part.tobytes().hex()
            file.writelines(f"{text[at : at + 64]}\n" for at in range(0, len(text), 64))


def write_csv(path: Path, count: int, seed: int) -> None:
    with open(path, "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("PDQ", "Class", "Case"))
        number = 0
        for part in drawn(count, seed):
            text = part.tobytes().hex()
            for at in range(0, len(text), 64):
                number += 1
                rows.writerow((text[at : at + 64], "AB"[number % 2], f"case-{number % 1000}"))


def run(state: Path, *command: object) -> dict[str, Any]:
    """Seconds, peak memory and CPU of one command."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [HASHMATCH, *map(str, command)], env={**os.environ, "HASHMATCH_STATE": str(state)}, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command} ended with {process.returncode}")
    return {
        "seconds": time.perf_counter() - began,
        "cpu s": used.ru_utime + used.ru_stime,
        "peak MiB": used.ru_maxrss / 1024,
    }


class Server:
    """A server over a state directory."""

    def __init__(self, state: Path) -> None:
        began = time.perf_counter()
        self.process = subprocess.Popen(
            [HASHMATCH, "serve", "--state", state, "--listen", "127.0.0.1:0", "--workers", "2"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().split()[2].rstrip(":")
        self.seconds = time.perf_counter() - began

    def memory(self) -> dict[str, float]:
        text = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        fields = {line.split()[0]: int(line.split()[1]) / 1024 for line in text.splitlines()[1:]}
        return {"Rss MB": fields["Rss:"], "Pss MB": fields["Pss:"], "private MB": fields["Private_Dirty:"]}

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(60)


def _look_up(address: str, seed: int, stop: Any, counted: Any) -> None:
    """Keeps asking for values that are not listed."""
    rng = np.random.default_rng(seed)
    with Client(address) as client:
        while not stop.is_set():
            value = rng.integers(0, 256, 32, dtype=np.uint8).tobytes()
            client.match(fingerprints=[Fingerprint("pdq", value)])
            counted.value += 1


def _change(state: str, pipe: Any) -> None:
    """Commits what it is told to, and tells when."""
    store = ListStore(Path(state))
    keeper = ListKeeper(store, load_recipes())
    while (asked := pipe.recv()) is not None:
        kind, value = asked
        fingerprint = Fingerprint("pdq", value)
        if kind == "add":
            keeper.add("bench", fingerprint, reason="benchmark", by="benchmark")
        else:
            keeper.remove("bench", fingerprint, reason="benchmark", by="benchmark")
        pipe.send(time.monotonic())
    store.close()


def fresh(state: Path, address: str, busy: bool) -> list[dict[str, Any]]:
    """Milliseconds from a commit to its effect, of additions and removals."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    changer = context.Process(target=_change, args=(str(state), theirs))
    changer.start()
    stop, counted = context.Event(), context.Value("Q", 0)
    callers = [context.Process(target=_look_up, args=(address, 100, stop, counted))] if busy else []
    for caller in callers:
        caller.start()
    rng = np.random.default_rng(77)
    taken: dict[str, list[float]] = {"add": [], "remove": []}
    began = time.monotonic()
    with Client(address) as client:
        for _ in range(CHANGES):
            value = rng.integers(0, 256, 32, dtype=np.uint8).tobytes()
            for kind, wanted in (("add", Finding.FINDING_MATCH), ("remove", Finding.FINDING_NO_MATCH)):
                ours.send((kind, value))
                while client.match(fingerprints=[Fingerprint("pdq", value)]).finding != wanted:
                    time.sleep(0.002)
                seen = time.monotonic()
                # The question may have been answered before the committing process could say when it was done.
                taken[kind].append(max(0.0, 1000 * (seen - ours.recv())))
    seconds = time.monotonic() - began
    stop.set()
    ours.send(None)
    for process in (*callers, changer):
        process.join(30)
    return [
        {
            "change": kind,
            "load": f"{counted.value / seconds:.0f} look-ups/s" if busy else "none",
            "p50 ms": float(np.median(times)),
            "p99 ms": float(np.percentile(times, 99)),
            "max ms": max(times),
            "asked ≤ ms": FRESH_MS,
            "holds": float(np.percentile(times, 99)) <= FRESH_MS,
        }
        for kind, times in taken.items()
    ]


def imports(report: Report, folder: Path, state: Path, count: int) -> None:
    files = {"hex": folder / "a.hex", "csv": folder / "a.csv"}
    write_hex(files["hex"], count, 1)
    rows = []

    def measure(what: str, limit: float, *command: object) -> None:
        found = run(state, *command)
        rows.append(
            {
                "what": what,
                **found,
                "lines/s": count / found["seconds"],
                "asked ≤ s": limit,
                "holds": found["seconds"] <= limit and found["peak MiB"] <= IMPORT_BYTES >> 20,
            }
        )

    limit = IMPORT_SECONDS * count / 10_000_000
    run(state, "lists", "create", "bench", "--threshold", "pdq=31")
    measure("hex, a new list", limit, "lists", "import", "bench", files["hex"], "--activate")
    write_hex(files["hex"], count, 1, changed=1000)
    measure("hex again, 1 000 lines changed", limit, "lists", "import", "bench", files["hex"], "--activate")
    measure("roll back", 5.0, "lists", "rollback", "bench")
    files["hex"].unlink()
    few = folder / "few.hex"
    write_hex(few, 1000, 9)
    measure("1 000 lines merged", 5.0, "lists", "import", "bench", few, "--merge", "--activate")
    write_csv(files["csv"], count, 2)
    run(state, "lists", "create", "other", "--shadow", "--threshold", "pdq=0")
    measure(
        "csv with labels, a new list", limit,
        "lists", "import", "other", files["csv"], "--map", "PDQ=pdq", "--map", "Class=label", "--map", "Case=source_id",
    )  # fmt: skip
    report.table(f"imports of {count} lines", rows)


def starts(report: Report, state: Path, count: int) -> Server:
    """Starts without a snapshot, then with one; the last server goes on."""
    rows = []
    server = Server(state)
    rows.append({"snapshot": "none: built first", "SERVING after s": server.seconds, **server.memory()})
    server.stop()
    for _ in range(3):
        server = Server(state)
        rows.append({"snapshot": "valid", "SERVING after s": server.seconds, **server.memory()})
        server.stop()
    server = Server(state)
    best = sorted(row["SERVING after s"] for row in rows[1:])[1]
    report.table(f"starting on {count} entries", rows)
    report.table("asked of a start", [{"median s": best, "asked ≤ s": START_SECONDS, "holds": best <= START_SECONDS}])
    return server


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=10_000_000)
    args = parser.parse_args(argv)
    report = Report("lists", f"{args.entries} random PDQ-like values; seeds 1, 2, 9")
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "state"
        imports(report, Path(folder), state, args.entries)
        server = starts(report, state, args.entries)
        rows = fresh(state, server.address, busy=False)
        rows += fresh(state, server.address, busy=True)
        more = Path(folder) / "more.hex"
        write_hex(more, args.entries // 5, 33)
        run(state, "lists", "create", "more", "--shadow")
        loading = subprocess.Popen(
            [HASHMATCH, "lists", "import", "more", more, "--state", state], stdout=subprocess.DEVNULL
        )
        during = fresh(state, server.address, busy=True)
        still = loading.poll() is None
        loading.wait()
        for row in during:
            row["load"] += ", an import" + ("" if still else " for a part of it")
        report.table("from a commit to its effect", rows + during)
        server.stop()
    print(f"this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")
    report.write()


if __name__ == "__main__":
    main()
