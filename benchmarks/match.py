"""How fast is a verdict, end to end, and where does the time go?

    python benchmarks/match.py                    100 000 and 1 000 000 entries, about three minutes
    python benchmarks/match.py --entries 100000

A real server process with its decode workers, reached over loopback by a client process of its own; a list of random
balanced PDQ values; uploads that miss, drawn in the field's usual mix of sizes. Closed loop: so many questions are kept
in flight. Client and server share the machine, so throughput is what is left beside the client.

The peer's figures come from another machine of this kind. So that they mean something on this one, the same run also
measures the hashing that the peer does (Pillow → RGB → pdqhash, one process per core and nothing else): on the machine
of its figures that made 23 pictures a second on two cores, and the whole peer 0.77 of that.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import multiprocessing
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pdqhash
import psutil
from measured import Report
from mix import MIX, uploads
from PIL import Image

from hashmatch.client import AsyncClient, Client, Finding, Fingerprint
from hashmatch.examine import digests, look
from hashmatch.index import hamming
from hashmatch.index.recipe import load_recipes
from hashmatch.lists.keeper import ListKeeper
from hashmatch.store.lists import ListStore
from hashmatch.types import Wanted
from hashmatch.v1 import lists_pb2

HASHMATCH = Path(sys.executable).parent / "hashmatch"
IN_FLIGHT = (1, 4, 16)
SECONDS = 8.0  # of each measurement
PEER_UPLOADS, PEER_P50_MS, PEER_LOOKUPS = 18.0, 67.0, 150.0  # HMA on this kind of machine, same mix: per s, ms, per s
TIMES_UPLOADS, TIMES_P50 = 15.0, 10.0  # what we ask of ourselves
PEER_OF_NAIVE = 0.77  # the peer's uploads per second, as a share of what naive hashing alone makes on all cores
PEER_P50_OF_NAIVE = 1.56  # the peer's p50 alone, in times naive hashing's of the commonest size (43 ms there)


@dataclass(frozen=True)
class Load:
    """What a closed loop of questions came to."""

    per_second: float
    p50: float  # milliseconds
    p95: float
    p99: float
    server_cpu: float  # milliseconds of the server process per question
    workers_cpu: float  # milliseconds of all decode workers per question


def values(count: int, seed: int) -> np.ndarray[Any, Any]:
    """Random values as PDQ makes them, half of the bits set: (count, 32) uint8."""
    rng = np.random.default_rng(seed)
    half = np.zeros(256, np.uint8)
    half[:128] = 1
    return np.concatenate(
        [np.packbits(rng.permuted(np.tile(half, (n, 1)), axis=1), axis=1) for n in _chunks(count, 50_000)]
    )


def _chunks(count: int, size: int) -> list[int]:
    return [min(size, count - start) for start in range(0, count, size)]


def load_list(state: Path, rows: np.ndarray[Any, Any]) -> float:
    """Imports and activates a list of these values; seconds taken."""
    store = ListStore(state)
    keeper = ListKeeper(store, load_recipes())
    policy = lists_pb2.Policy(thresholds={"pdq": 31})
    keeper.create("bench", policy=policy, by="benchmark")
    began = time.perf_counter()
    file = io.BytesIO("".join(f"{row.tobytes().hex()}\n" for row in rows).encode())
    header = lists_pb2.ImportHeader(name="bench", format=lists_pb2.IMPORT_FORMAT_HEX, activate=True)
    keeper.stage(header, file, by="benchmark")
    store.close()
    return time.perf_counter() - began


class Server:
    """A server process over a state directory."""

    def __init__(self, state: Path) -> None:
        began = time.perf_counter()
        self.process = subprocess.Popen(
            [HASHMATCH, "serve", "--state", state, "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE, text=True,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().split()[2].rstrip(":")
        self.start_seconds = time.perf_counter() - began
        self.seen = psutil.Process(self.process.pid)

    def cpu(self) -> tuple[float, float]:
        """Seconds of CPU so far: the server process, and its workers together."""
        workers = [worker.cpu_times() for worker in self.seen.children(recursive=True)]
        own = self.seen.cpu_times()
        return own.user + own.system, sum(w.user + w.system for w in workers)

    def memory(self) -> tuple[float, float]:
        """MiB resident: the server process, and its largest worker."""
        workers = [worker.memory_info().rss for worker in self.seen.children(recursive=True)]
        return self.seen.memory_info().rss / 2**20, max(workers, default=0) / 2**20

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)


async def drive(
    server: Server, in_flight: int, seconds: float, ask: Callable[[AsyncClient, int], Awaitable[None]]
) -> Load:
    """Keeps `in_flight` questions going for so many seconds."""
    times: list[float] = []
    asked = iter(range(10**9))
    async with AsyncClient(server.address, timeout=30) as client:
        await ask(client, 0)

        async def one_after_the_other(until: float) -> None:
            while time.perf_counter() < until:
                began = time.perf_counter()
                await ask(client, next(asked))
                times.append(1000 * (time.perf_counter() - began))

        before, began = server.cpu(), time.perf_counter()
        await asyncio.gather(*(one_after_the_other(began + seconds) for _ in range(in_flight)))
        took, after = time.perf_counter() - began, server.cpu()
    cut = statistics.quantiles(times, n=100)
    own, workers = (1000 * (b - a) / len(times) for a, b in zip(before, after, strict=True))
    return Load(len(times) / took, cut[49], cut[94], cut[98], own, workers)


def upload_questions(media: Sequence[bytes], finding: int) -> Callable[[AsyncClient, int], Awaitable[None]]:
    order = random.Random(5).choices(range(len(media)), k=4096)

    async def ask(client: AsyncClient, number: int) -> None:
        answer = await client.match(media[order[number % len(order)]])
        if answer.finding != finding:
            raise SystemExit(f"a verdict was {Finding.Name(answer.finding)}, not {Finding.Name(finding)}")

    return ask


def lookup_questions(rows: np.ndarray[Any, Any]) -> Callable[[AsyncClient, int], Awaitable[None]]:
    asked = [[Fingerprint("pdq", row.tobytes())] for row in rows]

    async def ask(client: AsyncClient, number: int) -> None:
        await client.match(fingerprints=asked[number % len(asked)])

    return ask


def row(entries: int, what: str, in_flight: int, load: Load) -> dict[str, Any]:
    return {
        "entries": entries, "questions": what, "in flight": in_flight, "per s": load.per_second, "p50 ms": load.p50,
        "p95 ms": load.p95, "p99 ms": load.p99, "server CPU ms": load.server_cpu, "workers CPU ms": load.workers_cpu,
    }  # fmt: skip


def stages(media: Sequence[bytes], listed: np.ndarray[Any, Any]) -> list[dict[str, Any]]:
    """Milliseconds of one thread per upload, stage by stage, each alone."""
    query = values(1, 99)
    wanted = Wanted()
    return [
        {"stage": "digests (worker)", "ms": _mean(lambda: [digests(m) for m in media], len(media))},
        {"stage": "decode and hash (worker)", "ms": _mean(lambda: [look(m, wanted) for m in media], len(media))},
        {"stage": f"search {len(listed)} entries (server)", "ms": _mean(lambda: hamming.within(query, listed, 31), 1)},
    ]


def _mean(work: Callable[[], Any], per: int) -> float:
    taken = []
    for _ in range(5):
        began = time.perf_counter()
        work()
        taken.append(1000 * (time.perf_counter() - began) / per)
    return statistics.median(taken)


def naive(media: bytes) -> float:
    """Milliseconds of the hashing that one writes first."""
    began = time.perf_counter()
    with Image.open(io.BytesIO(media)) as picture:
        pdqhash.compute(np.asarray(picture.convert("RGB")))
    return 1000 * (time.perf_counter() - began)


def naive_per_second(media: Sequence[bytes]) -> float:
    """Pictures per second of naive hashing on all cores."""
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(naive, media[:4]))
        began = time.perf_counter()
        list(pool.map(naive, media))
        return len(media) / (time.perf_counter() - began)


def measure(report: Report, entries: int, media: Sequence[bytes], state: Path) -> list[dict[str, Any]]:
    listed = values(entries, 1)
    imported = load_list(state, listed)
    server = Server(state)
    try:
        with Client(server.address) as client:
            versions = client.capabilities().versions
        report.content["server versions"] = dict(versions)
        table = []
        for in_flight in IN_FLIGHT:
            load = asyncio.run(drive(server, in_flight, SECONDS, upload_questions(media, Finding.FINDING_NO_MATCH)))
            table.append(row(entries, "uploads", in_flight, load))
        for in_flight in IN_FLIGHT:
            load = asyncio.run(drive(server, in_flight, SECONDS / 2, lookup_questions(values(512, 2))))
            table.append(row(entries, "look-ups that miss", in_flight, load))
        load = asyncio.run(drive(server, 16, SECONDS / 2, lookup_questions(listed[:512])))
        table.append(row(entries, "look-ups that match", 16, load))
        own, worker = server.memory()
    finally:
        server.stop()
    report.table(f"Verdicts against {entries} entries", table)
    report.table(f"One thread, stage by stage, {entries} entries", stages(media, listed))
    facts = {"import s": imported, "start to SERVING s": server.start_seconds}
    report.table(f"State and memory, {entries} entries", [facts | {"server MiB": own, "largest worker MiB": worker}])
    return table


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--entries", type=int, nargs="+", default=[100_000, 1_000_000])
    entries = arguments.parse_args().entries
    media = uploads(40)
    sizes = ", ".join(f"{share:.0%} {w}×{h}" for (w, h), share in MIX.items())
    mean = sum(map(len, media)) / len(media) / 1024
    report = Report("match", f"JPEG q85 uploads, {sizes}; {mean:.0f} KiB on average; random balanced PDQ entries")
    rate, p50 = naive_per_second(media), statistics.median(naive(m) for m in media)
    report.table("Naive hashing in this run", [{"per s, all cores": rate, "p50 ms, alone": p50}])
    for count in entries:
        with tempfile.TemporaryDirectory() as folder:
            table = measure(report, count, media, Path(folder) / "state")
        alone, full = table[0], table[len(IN_FLIGHT) - 1]
        lookups = table[2 * len(IN_FLIGHT) - 1]
        report.table(
            f"Against the peer, {count} entries",
            [
                _against("uploads per s, 16 in flight", full["per s"] / PEER_UPLOADS, TIMES_UPLOADS),
                _against("the same, peer scaled to this run", full["per s"] / (PEER_OF_NAIVE * rate), TIMES_UPLOADS),
                _against("p50 of an upload alone", PEER_P50_MS / alone["p50 ms"], TIMES_P50),
                _against("the same, peer scaled to this run", PEER_P50_OF_NAIVE * p50 / alone["p50 ms"], TIMES_P50),
                _against("look-ups per s, 16 in flight", lookups["per s"] / PEER_LOOKUPS, 1.0),
            ],
        )
    report.write()


def _against(what: str, times: float, limit: float) -> dict[str, Any]:
    return {"figure": what, "times the peer": times, "at least": limit, "holds": "yes" if times >= limit else "NO"}


if __name__ == "__main__":
    main()
