"""Does serving hold: under load, over it, over streams, with several processes; and where does the server's time go?

    python benchmarks/serve.py                 about three minutes
    python benchmarks/serve.py --soak 1800     then half an hour at 80 % of what it sustains

A real server with 100 000 entries, reached over loopback by a client process of its own; client and server share the
machine. Overload is an open loop: questions are sent at their times whether or not earlier ones were answered, at
multiples of what a closed loop sustained, by processes of their own. Goodput counts verdicts alone. The server's CPU by
stage is from its own metrics and the system's accounts of its processes.
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
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil
from match import HASHMATCH, drive, load_list, lookup_questions, upload_questions, values
from measured import Report
from mix import uploads
from PIL import Image

from hashmatch.client import OPTIONS, AsyncClient, Finding, match_request, media_bytes, outcome_of
from hashmatch.v1 import match_pb2, match_pb2_grpc

ENTRIES = 100_000
SECONDS = 6.0  # of each measurement
SIZES_KB = (4, 64, 512)
TIMES_OVER = (1, 2, 4)  # of what a closed loop sustains
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


def open_loop(
    address: str, rate: float, seconds: float, media: list[bytes], seed: int, out: Any, hinted: bool = True
) -> None:
    """Sends at exponential intervals whatever happens; puts latencies of verdicts in ms, and counts by status."""

    async def run() -> tuple[list[float], Counter[str]]:
        rng = random.Random(seed)
        times: list[float] = []
        codes: Counter[str] = Counter()
        options = [*(o for o in OPTIONS if o[0] not in ("grpc.service_config", "grpc.enable_retries"))]
        async with grpc.aio.insecure_channel(address, options=[*options, ("grpc.enable_retries", 0)]) as channel:
            stub = match_pb2_grpc.MatchServiceStub(channel)

            async def one(request: match_pb2.MatchRequest) -> None:
                began = time.perf_counter()
                try:
                    await stub.Match(request, timeout=10, metadata=media_bytes(request) if hinted else ())
                except grpc.aio.AioRpcError as e:
                    codes[e.code().name] += 1
                else:
                    codes["OK"] += 1
                    times.append(1000 * (time.perf_counter() - began))

            asking = []
            due = began = time.perf_counter()
            while due - began < seconds:
                due += rng.expovariate(rate)
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                asking.append(asyncio.create_task(one(match_pb2.MatchRequest(media=rng.choice(media)))))
            await asyncio.gather(*asking)
        return times, codes

    out.put(asyncio.run(run()))


def overload(
    server: Server, media: list[bytes], sustained: float, unloaded_p99: float, hinted: bool
) -> list[dict[str, Any]]:
    rows = []
    spawn = multiprocessing.get_context("spawn")
    for times in TIMES_OVER:
        out = spawn.Queue()
        senders = [
            spawn.Process(
                target=open_loop, args=(server.address, times * sustained / 2, SECONDS, media, seed, out, hinted)
            )
            for seed in (1, 2)
        ]
        for sender in senders:
            sender.start()
        found = [out.get(timeout=SECONDS + 60) for _ in senders]
        for sender in senders:
            sender.join()
        latencies = sorted(t for one, _ in found for t in one)
        codes = sum((c for _, c in found), Counter())
        cut = statistics.quantiles(latencies, n=100)
        rows.append(
            {
                "offered × sustained": times, "offered per s": sum(codes.values()) / SECONDS,
                "verdicts per s": codes["OK"] / SECONDS, "refused per s": codes["RESOURCE_EXHAUSTED"] / SECONDS,
                "other errors": sum(codes.values()) - codes["OK"] - codes["RESOURCE_EXHAUSTED"],
                "p50 ms": cut[49], "p99 ms": cut[98], "p99 ÷ unloaded": cut[98] / unloaded_p99,
            }
        )  # fmt: skip
    return rows


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


def soak(server: Server, media: list[bytes], rate: float, seconds: float) -> list[dict[str, Any]]:
    """Open loop at `rate`, with one question in eight whose verdict is known to be MATCH asked beside it."""
    rows: list[dict[str, Any]] = []
    spawn = multiprocessing.get_context("spawn")
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        out = spawn.Queue()
        sender = spawn.Process(target=open_loop, args=(server.address, rate, 30.0, media, len(rows), out))
        sender.start()
        _, codes = out.get(timeout=120)
        sender.join()
        rows.append(
            {
                "minute": (len(rows) + 1) / 2, "verdicts": codes["OK"], "refused": codes["RESOURCE_EXHAUSTED"],
                "other": sum(codes.values()) - codes["OK"] - codes["RESOURCE_EXHAUSTED"], "MiB": server.memory(),
                "descriptors": server.descriptors(),
            }
        )  # fmt: skip
        print(rows[-1], file=sys.stderr)
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
        measure(report, state, media, soaking)
    report.write()


def measure(report: Report, state: Path, media: list[bytes], soaking: float) -> None:
    ask = upload_questions(media, Finding.FINDING_NO_MATCH)
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
        report.table("The server's time per upload, 4 in flight", by_stage(server, media))
        sustained = max(load.per_second for load in loads.values())
        unsaid = overload(server, media, sustained, loads[1].p99, hinted=False)
        report.table("Open loop, callers who do not say how much they send", unsaid)
        over = overload(server, media, sustained, loads[1].p99, hinted=True)
        report.table("Open loop, as our clients call", over)
        peak = max(row["verdicts per s"] for row in over)
        last = over[-1]
        report.table(
            "Limits",
            [
                {"figure": "goodput at 4× ÷ peak", "is": last["verdicts per s"] / peak, "asked": f">= {GOODPUT}"},
                {"figure": "p99 at 4× ÷ unloaded", "is": last["p99 ÷ unloaded"], "asked": f"<= {TAIL}"},
            ],
        )
        if soaking:
            report.table("Soak at 80 %", soak(server, media, 0.8 * sustained, soaking))
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
