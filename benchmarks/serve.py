"""Does serving hold: under load, over it, over streams, with several processes; and where does the server's time go?

    python benchmarks/serve.py                 about three minutes
    python benchmarks/serve.py --soak 1800     then half an hour at 80 % of what it sustains

A real server with 100 000 entries, reached over loopback by a client process of its own; client and server share the
machine. Overload is an open loop of `load.py`: questions are sent at their times whether or not earlier ones were
answered, at multiples of what is sustained. Goodput counts verdicts alone, and every one is held against the right one.
Latencies leave the first second out, in which a burst may still wait; its longest is told beside them. The server's CPU
by stage is from its own metrics and the system's accounts of its processes.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import random
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil
from load import Outcome, Question, open_loop
from match import HASHMATCH, drive, load_list, lookup_questions, upload_questions, values
from measured import Report
from mix import uploads
from PIL import Image

from hashmatch.client import OPTIONS, AsyncClient, Finding, Fingerprint, match_request, outcome_of
from hashmatch.examine import look
from hashmatch.types import Wanted
from hashmatch.v1 import match_pb2, match_pb2_grpc

ENTRIES = 100_000
SECONDS = 6.0  # of each measurement
SIZES_KB = (4, 64, 512)
TIMES_OVER = (
    0.8,
    1,
    2,
    4,
)  # of what is sustained: the verdicts of an open loop at half as much again as a closed one's
UNLOADED = 0.1  # of it
LISTED = 4  # uploads that are on a list, one in ten
GOODPUT, TAIL = 0.9, 3.0  # at 4 times: share of peak goodput, and times the unloaded p99, that are asked


class Server:
    """A server over a state directory, of one process or several."""

    def __init__(self, state: Path, processes: int, workers: int) -> None:
        self.process = subprocess.Popen(
            [HASHMATCH, "serve", "--state", state, "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0",
             "--processes", str(processes), "--workers", str(workers)],
            stdout=subprocess.PIPE, text=True, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        self.address = line.split()[2].rstrip(":")
        self.metrics = line.rpartition("metrics on ")[2].strip()
        self.seen = psutil.Process(self.process.pid)

    def _split(self) -> tuple[list[psutil.Process], list[psutil.Process]]:
        """Server processes, decode workers."""
        servers, workers = [self.seen], []
        for child in self.seen.children(recursive=True):
            line = " ".join(child.cmdline())
            (servers if "hashmatch.server.child" in line else workers).append(child)
        return servers, workers

    def cpu(self) -> tuple[float, float]:
        """Seconds of CPU so far: of the server processes, of the workers."""
        sums = [sum(sum(p.cpu_times()[:2]) for p in group) for group in self._split()]
        return sums[0], sums[1]

    def memory(self) -> float:
        """MiB resident of the server processes."""
        return sum(p.memory_info().rss for p in self._split()[0]) / 2**20

    def descriptors(self) -> int:
        return sum(p.num_fds() for p in self._split()[0])

    def stages(self) -> dict[str, float]:
        """Seconds so far by stage, and calls answered."""
        text = urllib.request.urlopen(f"http://{self.metrics}/metrics", timeout=10).read().decode()
        found: Counter[str] = Counter()
        for line in text.splitlines():
            name, _, value = line.rpartition(" ")
            if name.startswith("hashmatch_stage_seconds_sum"):
                found[name.split('"')[1]] += float(value)
            elif name.startswith("hashmatch_requests_total"):
                found["calls"] += float(value)
        return dict(found)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(60)


def list_known(state: Path, media: list[bytes]) -> None:
    """Puts these pictures on a list of their own."""
    hashes = [h.fingerprint.value.hex() for m in media for h in look(m, Wanted(("pdq",))).hashed if not h.variant]
    for words, given in (
        (("create", "known", "--disposition", "block"), ""),
        (("import", "known", "-", "--format", "hex", "--activate"), "\n".join(hashes)),
    ):
        subprocess.run([HASHMATCH, "lists", *words, "--state", state], input=given, text=True, check=True,
                       stdout=subprocess.DEVNULL)  # fmt: skip


def of_size(kilobytes: int) -> bytes:
    """A small JPEG made so long by bytes behind its end, which decoders pass over: the message counts, not decoding."""
    file = io.BytesIO()
    noise = np.random.default_rng(kilobytes).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((128, 128)).save(file, "JPEG", quality=60)
    return file.getvalue().ljust(kilobytes << 10, b"\0")


async def over_streams(
    address: str, media: list[bytes], seconds: float, streams: int, window: int
) -> tuple[int, float]:
    """Verdicts over so many streams, and the seconds they took."""
    began = time.perf_counter()

    async def one() -> int:
        async def requests() -> Any:
            i = 0
            while time.perf_counter() - began < seconds:
                yield match_request(media[i % len(media)])
                i += 1

        count = 0
        async with AsyncClient(address) as client:
            async for answer in client.stream(requests(), window=window):
                outcome_of(answer)
                count += 1
        return count

    counts = await asyncio.gather(*(one() for _ in range(streams)))
    return sum(counts), time.perf_counter() - began


async def over_connections(server: Server, media: list[bytes], seconds: float, connections: int) -> tuple[float, float]:
    """Verdicts a second over connections of their own, which the kernel spreads over processes; server CPU ms each."""
    until, before, counted = time.perf_counter() + seconds, server.cpu(), 0

    async def one(seed: int) -> None:
        nonlocal counted
        rng = random.Random(seed)
        options = [*OPTIONS, ("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(server.address, options=options) as channel:
            stub = match_pb2_grpc.MatchServiceStub(channel)
            while time.perf_counter() < until:
                await stub.Match(match_pb2.MatchRequest(media=rng.choice(media)), timeout=30)
                counted += 1

    await asyncio.gather(*(one(seed) for seed in range(connections)))
    return counted / seconds, 1000 * (server.cpu()[0] - before[0]) / counted


def questions(media: list[bytes], *, hinted: bool = True) -> list[Question]:
    """Uploads whose verdicts are known: the first LISTED are on a list, the others on none."""
    return [
        Question.of(
            match_pb2.MatchRequest(media=m),
            Finding.FINDING_MATCH if i < LISTED else Finding.FINDING_NO_MATCH,
            hinted=hinted,
        )
        for i, m in enumerate(media)
    ]


def told(times: float, found: Outcome, unloaded_p99: float) -> dict[str, Any]:
    return {
        "offered × sustained": times, "offered per s": found.asked / SECONDS,
        "verdicts per s": found.codes["OK"] / SECONDS, "refused per s": found.codes["RESOURCE_EXHAUSTED"] / SECONDS,
        "other errors": found.others, "wrong": found.wrong, "p50 ms": found.quantile(50), "p99 ms": found.quantile(99),
        "p99 ÷ unloaded": found.quantile(99) / unloaded_p99, "first second's longest ms": 1000 * max(found.onset),
    }  # fmt: skip


def overload(server: Server, asked: list[Question], sustained: float, unloaded: float) -> list[dict[str, Any]]:
    rows = []
    for times in TIMES_OVER:
        found = asyncio.run(open_loop(server.address, times * sustained, SECONDS, asked))
        rows.append(told(times, found, unloaded))
    return rows


async def beside(server: Server, asked: list[Question], rate: float) -> list[dict[str, Any]]:
    """Others while one caller sends far too much: another who sends little, and his own look-ups."""
    lookups = [
        Question.of(match_request(fingerprints=[Fingerprint("pdq", row.tobytes())]), Finding.FINDING_NO_MATCH)
        for row in values(64, 7)
    ]
    found = await asyncio.gather(
        open_loop(server.address, rate, SECONDS, asked),
        open_loop(server.address, 10, SECONDS, asked, seed=2, connections=1, source="127.0.0.2"),
        open_loop(server.address, 50, SECONDS, lookups, seed=3, connections=1),
    )
    names = ("uploads of who sends 4×", "uploads of another, 10 per s", "look-ups of the first")
    return [
        {"what": name, "answered %": 100 * one.codes["OK"] / one.asked, "p50 ms": one.quantile(50),
         "p99 ms": one.quantile(99)}
        for name, one in zip(names, found, strict=True)
    ]  # fmt: skip


def by_stage(server: Server, media: list[bytes]) -> list[dict[str, Any]]:
    before, cpu = server.stages(), server.cpu()
    asyncio.run(drive(server, 4, SECONDS, upload_questions(media, Finding.FINDING_NO_MATCH)))  # type: ignore[arg-type]
    after, later = server.stages(), server.cpu()
    calls = after["calls"] - before["calls"]
    per = {stage: 1000 * (after[stage] - before.get(stage, 0)) / calls for stage in after if stage != "calls"}
    own, workers = (1000 * (b - a) / calls for a, b in zip(cpu, later, strict=True))
    rows = [{"what": f"wall, {stage}", "ms per upload": ms} for stage, ms in sorted(per.items())]
    rows += [{"what": "CPU, decode workers", "ms per upload": workers}]
    rows += [{"what": "CPU, server processes, whole", "ms per upload": own}]
    rows += [{"what": "  of it searching", "ms per upload": per.get("search", 0.0)}]
    rows += [{"what": "  of it gRPC, pipes, gate, records", "ms per upload": own - per.get("search", 0.0)}]
    return rows


def soak(server: Server, asked: list[Question], rate: float, seconds: float) -> list[dict[str, Any]]:
    """Open loop at `rate`, every verdict held against the right one."""
    rows: list[dict[str, Any]] = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = asyncio.run(open_loop(server.address, rate, 60.0, asked, seed=len(rows)))
        rows.append(
            {
                "minute": len(rows) + 1, "verdicts": found.codes["OK"], "wrong": found.wrong,
                "refused": found.codes["RESOURCE_EXHAUSTED"], "other": found.others, "p50 ms": found.quantile(50),
                "p99 ms": found.quantile(99), "MiB": server.memory(), "descriptors": server.descriptors(),
            }
        )  # fmt: skip
        print(rows[-1], file=sys.stderr, flush=True)
    return rows


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--soak", type=float, default=0, metavar="SECONDS")
    soaking = arguments.parse_args().soak
    media = uploads(40)
    report = Report("serve", f"{ENTRIES} random PDQ entries; JPEG uploads in the usual mix of sizes")
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "state"
        load_list(state, values(ENTRIES, 1))
        list_known(state, media[:LISTED])
        measure(report, state, media, soaking)
    report.write()


def measure(report: Report, state: Path, media: list[bytes], soaking: float) -> None:
    unlisted = media[LISTED:]
    ask = upload_questions(unlisted, Finding.FINDING_NO_MATCH)
    server = Server(state, 1, 2)
    try:
        rows, loads = [], {}
        for in_flight in (1, 4, 8, 16):
            load = loads[in_flight] = asyncio.run(drive(server, in_flight, SECONDS, ask))  # type: ignore[arg-type]
            rows.append({"in flight": in_flight, "per s": load.per_second, "p50 ms": load.p50, "p99 ms": load.p99,
                         "server CPU ms": load.server_cpu, "workers CPU ms": load.workers_cpu})  # fmt: skip
        report.table("Uploads, closed loop", rows)
        sized = []
        for kilobytes in SIZES_KB:
            one = upload_questions([of_size(kilobytes)], Finding.FINDING_NO_MATCH)
            load = asyncio.run(drive(server, 8, SECONDS / 2, one))  # type: ignore[arg-type]
            sized.append({"KiB": kilobytes, "per s": load.per_second, "p50 ms": load.p50, "p99 ms": load.p99,
                          "server CPU ms": load.server_cpu})  # fmt: skip
        report.table("Message size, small picture, 8 in flight", sized)
        looked = asyncio.run(drive(server, 8, SECONDS / 2, lookup_questions(values(512, 2))))  # type: ignore[arg-type]
        small = [of_size(4)]
        unary = asyncio.run(drive(server, 16, SECONDS, upload_questions(small, Finding.FINDING_NO_MATCH)))  # type: ignore[arg-type]
        count, took = asyncio.run(over_streams(server.address, small, SECONDS, 1, 16))
        report.table(
            "Streams against calls, 4 KiB pictures, 16 under way",
            [{"way": "calls", "per s": unary.per_second}, {"way": "one stream", "per s": count / took},
             {"way": "stream ÷ calls", "per s": count / took / unary.per_second},
             {"way": "(look-ups, calls, 8 under way)", "per s": looked.per_second}],
        )  # fmt: skip
        report.table("The server's time per upload, 4 in flight", by_stage(server, unlisted))
        asked = questions(media)
        closed = max(load.per_second for load in loads.values())
        sustained = asyncio.run(open_loop(server.address, 1.5 * closed, SECONDS, asked)).codes["OK"] / SECONDS
        unloaded = asyncio.run(open_loop(server.address, UNLOADED * sustained, 3 * SECONDS, asked)).quantile(99)
        unsaid = overload(server, questions(media, hinted=False), sustained, unloaded)
        report.table("Open loop, callers who do not say how much they send", unsaid)
        over = overload(server, asked, sustained, unloaded)
        report.table("Open loop, as our clients call", over)
        report.table("Others at 4×", asyncio.run(beside(server, asked, 4 * sustained)))
        limits = [{"figure": "unloaded p99 ms", "is": unloaded, "asked": ""}]
        for who, rows in (("", over), (", unsaid", unsaid)):
            peak = max(row["verdicts per s"] for row in rows)
            limits += [
                {"figure": f"goodput at 4× ÷ peak{who}", "is": rows[-1]["verdicts per s"] / peak,
                 "asked": f">= {GOODPUT}"},
                {"figure": f"p99 at 4× ÷ unloaded{who}", "is": rows[-1]["p99 ÷ unloaded"], "asked": f"<= {TAIL}"},
            ]  # fmt: skip
        report.table("Limits", limits)
        if soaking:
            report.table("Soak at 80 %", soak(server, asked, 0.8 * sustained, soaking))
    finally:
        server.stop()
    scaled = []
    for processes, workers in ((1, 1), (1, 2), (2, 2)):
        server = Server(state, processes, workers)
        try:
            rate, cpu = asyncio.run(over_connections(server, media, SECONDS, 8))
            scaled.append({"processes": processes, "workers": workers, "per s": rate, "server CPU ms": cpu,
                           "MiB of servers": server.memory()})  # fmt: skip
        finally:
            server.stop()
    report.table("Processes and workers", scaled)


if __name__ == "__main__":
    main()
