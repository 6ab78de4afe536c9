"""The pool of decode workers: what crashes, hangs and lies in a worker costs, and whom."""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest

from hashmatch.errors import BadConfig, DeadlinePassed, Overloaded, Unavailable
from hashmatch.media import protocol
from hashmatch.media.process import memory_kills, reason_of
from hashmatch.media.sandbox import LEAVING_SECONDS, Sandbox
from hashmatch.types import Examination, Reason, Unhashable, Wanted

T = TypeVar("T")
Use = Callable[[Sandbox], Awaitable[T]]
PDQ = Wanted(("pdq",))
GOOD = b"good"

DEADLINE = 1.0  # seconds, of the shared pools
QUEUE = 12
ANSWER_SECONDS = 0.05  # after a crash
NEXT_SECONDS = 0.25  # until the next good answer
LATE_SECONDS = 0.2  # after a deadline
FREE_SECONDS = 0.1  # after a caller has left
# These bound the median of several: what else the machine does may add to any single figure.


@pytest.fixture(scope="module", autouse=True)
def _job_in_reach() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))
        importlib.import_module("faulty")
        yield


class Pool:
    """A running sandbox that several tests share; each finds it complete."""

    def __init__(self, workers: int) -> None:
        self._sandbox = Sandbox(
            workers=workers, job="faulty", memory_bytes=150 << 20, deadline=DEADLINE, queue_limit=QUEUE
        )

    def __enter__(self) -> Pool:
        self._runner = asyncio.Runner()
        self._runner.run(self._sandbox.start())
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._sandbox.close())
        self._runner.close()

    def __call__(self, use: Use[T]) -> T:
        """What `use` makes of it."""

        async def main() -> T:
            await recovered(self._sandbox)
            return await use(self._sandbox)

        return self._runner.run(main())


@pytest.fixture(scope="module")
def single(_job_in_reach: None) -> Iterator[Pool]:
    """One worker and the spare."""
    with Pool(1) as pool:
        yield pool


@pytest.fixture(scope="module")
def double(_job_in_reach: None) -> Iterator[Pool]:
    """Two workers and the spare."""
    with Pool(2) as pool:
        yield pool


def sandboxed(use: Use[T], **settings: Any) -> T:
    """What `use` makes of a sandbox of its own."""

    async def main() -> T:
        async with Sandbox(job="faulty", **{"workers": 1, **settings}) as sandbox:
            return await use(sandbox)

    return asyncio.run(main())


def digests(examination: Examination) -> dict[str, bytes]:
    return {h.fingerprint.hash_type: h.fingerprint.value for h in examination.hashed}


def exact(media: bytes) -> dict[str, bytes]:
    return {name: hashlib.new(name, media).digest() for name in ("md5", "sha1", "sha256")}


def assert_good(examination: Examination, media: bytes = GOOD) -> None:
    assert digests(examination) == exact(media) | {"pdq": hashlib.sha512(media).digest()[:32]}
    assert examination.unhashable == ()


async def recovered(sandbox: Sandbox) -> None:
    """Waits until the spare stands again."""
    while sandbox.stats.idle < sandbox.workers + 1 or sandbox.stats.busy:
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("size", [0, 1, 65_536, 300_000, 5_000_000, 20_000_000])
def test_media_of_every_size_arrives_whole(single: Pool, size: int) -> None:
    media = b"good " + bytes(size)

    async def use(sandbox: Sandbox) -> None:
        assert_good(await sandbox.examine(media, PDQ), media)
        assert_good(await sandbox.examine(memoryview(media), PDQ), media)
        assert_good(await sandbox.examine(GOOD, PDQ))

    single(use)


def test_exact_digests_are_not_asked_of_the_job(single: Pool) -> None:
    async def use(sandbox: Sandbox) -> Examination:
        return await sandbox.examine(b"crash", Wanted(("sha256", "pdq", "pdq", "md5")))

    found = single(use)
    assert digests(found) == exact(b"crash")
    assert found.unhashable == (Unhashable("pdq", Reason.UNDECODABLE),)


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        ("crash", Reason.UNDECODABLE),
        ("abort", Reason.UNDECODABLE),
        ("raise", Reason.UNDECODABLE),
        ("leave 0", Reason.UNDECODABLE),
        ("leave 12", Reason.TOO_LARGE),  # how a worker says that not even the media fits
        ("early", Reason.UNDECODABLE),  # before the digests: the parent makes them
        ("bomb", Reason.TOO_LARGE),
        ("grow", Reason.TOO_LARGE),
    ],
)
def test_what_media_does_to_a_worker_costs_one_unknown(single: Pool, act: str, reason: Reason) -> None:
    async def use(sandbox: Sandbox) -> Examination:
        found = await sandbox.examine(act.encode(), PDQ)
        assert_good(await sandbox.examine(GOOD, PDQ))
        return found

    found = single(use)
    assert digests(found) == exact(act.encode())
    assert found.unhashable == (Unhashable("pdq", reason),)


def test_media_larger_than_memory_is_too_large(single: Pool) -> None:
    media = bytes(150 << 20)

    async def use(sandbox: Sandbox) -> Examination:
        return await sandbox.examine(media, PDQ)

    found = single(use)
    assert found.unhashable == (Unhashable("pdq", Reason.TOO_LARGE),)
    assert digests(found) == exact(media)


def test_the_kernel_keeps_the_cpu_limit() -> None:
    async def use(sandbox: Sandbox) -> tuple[Examination, int, float]:
        for _ in range(3):  # the limit is per submission: this is more than one may use, in whole seconds
            assert_good(await sandbox.examine(b"spin 0.8", PDQ), b"spin 0.8")
        began = time.monotonic()
        found = await sandbox.examine(b"spin", PDQ)
        return found, sandbox.stats.timeouts, time.monotonic() - began

    found, timeouts, took = sandboxed(use, deadline=60, cpu_seconds=1)
    assert found.unhashable == (Unhashable("pdq", Reason.TIMED_OUT),)
    assert timeouts == 1
    assert took < 60, "the deadline would have come later"


def test_a_crash_is_answered_at_once_and_so_is_the_next(single: Pool) -> None:
    async def use(sandbox: Sandbox) -> tuple[list[float], list[float]]:
        answered, good = [], []
        for _ in range(5):
            began = time.monotonic()
            found = await sandbox.examine(b"crash", PDQ)
            answered.append(time.monotonic() - began)
            assert found.unhashable
            began = time.monotonic()
            assert_good(await sandbox.examine(GOOD, PDQ))
            good.append(time.monotonic() - began)
            await recovered(sandbox)
        return answered, good

    answered, good = single(use)
    assert statistics.median(answered) <= ANSWER_SECONDS
    assert statistics.median(good) <= NEXT_SECONDS


def test_a_hang_is_answered_on_the_deadline(double: Pool) -> None:
    async def use(sandbox: Sandbox) -> list[float]:
        async def late(act: bytes) -> float:
            began = time.monotonic()
            found = await sandbox.examine(act, PDQ)
            took = time.monotonic() - began
            assert digests(found) == exact(act)
            assert found.unhashable == (Unhashable("pdq", Reason.TIMED_OUT),)
            return took - DEADLINE

        figures, timeouts = [], sandbox.stats.timeouts
        for _ in range(2):
            figures += await asyncio.gather(late(b"spin"), late(b"sleep 60"))
            assert_good(await sandbox.examine(GOOD, PDQ))
            await recovered(sandbox)
        assert sandbox.stats.timeouts == timeouts + 4
        return figures

    figures = double(use)
    assert min(figures) >= -0.01
    assert statistics.median(figures) <= LATE_SECONDS


def test_a_storm_of_crashes_gives_no_wrong_answer_and_leaks_nothing(double: Pool) -> None:
    """A quarter of a hundred submissions crash, eight at a time."""

    async def use(sandbox: Sandbox) -> None:
        me = psutil.Process()
        await sandbox.examine(b"crash", PDQ)  # the first trace message and the first thread are there for good
        await recovered(sandbox)
        before, held = sandbox.stats, (me.num_fds(), len(me.children()))
        gate = asyncio.Semaphore(8)

        async def one(number: int) -> None:
            media = b"crash %d" % number if number % 4 == 0 else b"good %d" % number
            async with gate:
                found = await sandbox.examine(media, PDQ)
            if number % 4 == 0:
                assert digests(found) == exact(media)
                assert found.unhashable == (Unhashable("pdq", Reason.UNDECODABLE),)
            else:
                assert_good(found, media)

        await asyncio.gather(*(one(number) for number in range(100)))
        await recovered(sandbox)
        assert (me.num_fds(), len(me.children())) == held
        assert sandbox.stats.crashes - before.crashes == 25
        assert sandbox.stats.restarts - before.restarts == 25
        assert sandbox.healthy

    double(use)


@pytest.mark.parametrize(
    "said",
    [
        "00",  # the start of a frame that never comes
        "04" + "7fffffff",  # a frame of two gigabytes
        "04" + "00000002" + b"{}".hex(),  # not the array expected
        "05" + "00000004" + b'"no"'.hex(),  # not a reason
        "01" + "00000007" + b"[[],[]]".hex(),  # of the wrong kind
        "04" + "00000026" + b'["x",1,1,1,[["pdq","00",1,"",0]],[]]  '.hex(),  # a value of the wrong length
        "04" + "00000020" + b'["",0,0,0,[],[["md5","low_quality"]]'.hex(),
        "05" + "00000010" + b'"low_quality"   '.hex(),  # a fine answer, with another behind it
    ],
)
def test_nonsense_is_a_crash(single: Pool, said: str) -> None:
    async def use(sandbox: Sandbox) -> None:
        media, before = b"say " + said.encode(), sandbox.stats
        found = await sandbox.examine(media, PDQ)
        if found.unhashable != (Unhashable("pdq", Reason.LOW_QUALITY),):
            assert found.unhashable == (Unhashable("pdq", Reason.UNDECODABLE),)
            assert digests(found) == exact(media)
            assert sandbox.stats.crashes == before.crashes + 1
        await asyncio.sleep(0.05)  # for what it said too much
        assert_good(await sandbox.examine(GOOD, PDQ))
        await recovered(sandbox)
        assert sandbox.stats.restarts == before.restarts + 1

    single(use)


def test_a_worker_that_floods_its_socket_is_sent_away(single: Pool) -> None:
    async def use(sandbox: Sandbox) -> None:
        assert (await sandbox.examine(b"flood", PDQ)).unhashable == (Unhashable("pdq", Reason.UNDECODABLE),)
        assert_good(await sandbox.examine(GOOD, PDQ))

    single(use)


def test_a_library_that_chatters_holds_nobody_up(single: Pool) -> None:
    async def use(sandbox: Sandbox) -> None:
        crashes = sandbox.stats.crashes
        for _ in range(3):
            assert (await sandbox.examine(b"chatter", PDQ)).media_type == "chattered"
        assert sandbox.stats.crashes == crashes

    single(use)


def test_a_full_queue_refuses_and_says_when_to_come_back(single: Pool) -> None:
    async def use(sandbox: Sandbox) -> None:
        acts = [b"sleep 0.2", *[GOOD] * QUEUE]
        running = [asyncio.create_task(sandbox.examine(act, PDQ)) for act in acts]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert (sandbox.stats.busy, sandbox.stats.waiting) == (1, QUEUE)
        with pytest.raises(Overloaded) as refused:
            await sandbox.examine(GOOD, PDQ)
        assert refused.value.retry_after > 0
        assert all(not found.unhashable for found in await asyncio.gather(*running))
        assert (sandbox.stats.busy, sandbox.stats.waiting) == (0, 0)

    single(use)


def test_a_caller_whose_time_is_over_leaves_the_queue_and_the_worker(single: Pool) -> None:
    async def use(sandbox: Sandbox) -> None:
        running = asyncio.create_task(sandbox.examine(b"sleep 0.4", PDQ))
        await asyncio.sleep(0)
        with pytest.raises(DeadlinePassed):
            await sandbox.examine(GOOD, PDQ, timeout=0.05)
        assert not running.done()
        assert sandbox.stats.waiting == 0
        assert not (await running).unhashable
        with pytest.raises(DeadlinePassed):
            await sandbox.examine(b"sleep 60", PDQ, timeout=0.05)
        assert_good(await sandbox.examine(GOOD, PDQ))

    single(use)


def test_a_caller_that_leaves_frees_its_worker(single: Pool) -> None:
    async def use(sandbox: Sandbox) -> list[float]:
        took = []
        for _ in range(5):
            running = asyncio.create_task(sandbox.examine(b"spin", PDQ))
            await asyncio.sleep(0.02)
            running.cancel()
            began = time.monotonic()
            assert_good(await sandbox.examine(GOOD, PDQ))
            took.append(time.monotonic() - began)
            assert running.cancelled()
            await recovered(sandbox)
        return took

    assert statistics.median(single(use)) <= FREE_SECONDS


def test_a_short_submission_whose_caller_left_costs_no_worker(single: Pool) -> None:
    async def use(sandbox: Sandbox) -> list[int]:
        costs = []
        for _ in range(5):
            restarts = sandbox.stats.restarts
            running = asyncio.create_task(sandbox.examine(b"sleep 0.01", PDQ))
            await asyncio.sleep(0.005)
            running.cancel()
            await asyncio.sleep(2 * LEAVING_SECONDS)
            await recovered(sandbox)
            costs.append(sandbox.stats.restarts - restarts)
        return costs

    assert statistics.median(single(use)) == 0  # a busy machine may make a short one long


def test_callers_that_leave_the_queue_free_their_places(single: Pool) -> None:
    async def use(sandbox: Sandbox) -> None:
        running = asyncio.create_task(sandbox.examine(b"sleep 0.2", PDQ))
        await asyncio.sleep(0)
        waiting = [asyncio.create_task(sandbox.examine(b"good %d" % n, PDQ)) for n in range(10)]
        await asyncio.sleep(0)
        for task in waiting[::2]:
            task.cancel()
        await asyncio.sleep(0)
        assert sandbox.stats.waiting == 5
        await running
        for number, task in enumerate(waiting):
            if number % 2:
                assert_good(await task, b"good %d" % number)
        assert (sandbox.stats.busy, sandbox.stats.waiting) == (0, 0)

    single(use)


def test_cancellation_at_any_moment_loses_no_worker(double: Pool) -> None:
    async def use(sandbox: Sandbox) -> None:
        for step in range(120):
            tasks = [asyncio.create_task(sandbox.examine(b"good %d" % n, PDQ)) for n in range(4)]
            for _ in range(step % 12):
                await asyncio.sleep(0)
            await asyncio.sleep(step % 5 / 5000)
            for task in tasks[step % 4 :]:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await recovered(sandbox)
        found = await asyncio.gather(*(sandbox.examine(b"good %d" % n, PDQ) for n in range(4)))
        for number, examination in enumerate(found):
            assert_good(examination, b"good %d" % number)
        assert sandbox.stats.waiting == 0

    double(use)


def test_an_idle_worker_that_is_killed_costs_nothing() -> None:
    others = psutil.Process().children()

    async def blocking(seconds: float) -> None:
        time.sleep(seconds)  # the loop cannot see the end before the next submission is there

    async def use(sandbox: Sandbox) -> None:
        for wait in (asyncio.sleep, blocking):
            for child in psutil.Process().children():
                if child not in others:
                    child.kill()
            await wait(0.1)
            assert_good(await sandbox.examine(GOOD, PDQ))
            await recovered(sandbox)
        assert sandbox.stats.crashes == 0

    sandboxed(use)


@pytest.mark.parametrize("moment", [0.0, 0.1])
def test_a_worker_that_somebody_else_kills_is_a_crash(single: Pool, moment: float) -> None:
    """Also where it is killed in the moment that it is handed the submission."""

    async def use(sandbox: Sandbox) -> None:
        pid = (await sandbox.examine(GOOD, PDQ)).height  # the last one back is the next one out
        crashes = sandbox.stats.crashes
        running = asyncio.create_task(sandbox.examine(b"sleep 30", PDQ))
        await asyncio.sleep(moment)
        os.kill(pid, signal.SIGKILL)
        found = await running
        assert digests(found) == exact(b"sleep 30")
        assert found.unhashable == (Unhashable("pdq", Reason.UNDECODABLE),)
        assert sandbox.stats.crashes == crashes + 1

    single(use)


@pytest.mark.parametrize("starved", [False, True])
def test_too_large_takes_evidence_of_memory(starved: bool) -> None:
    assert reason_of(-signal.SIGKILL, starved=starved) is (Reason.TOO_LARGE if starved else Reason.UNDECODABLE)
    assert reason_of(protocol.OUT_OF_MEMORY, starved=starved) is Reason.TOO_LARGE
    assert reason_of(-signal.SIGXCPU, starved=starved) is Reason.TIMED_OUT
    for status in (0, 1, -signal.SIGSEGV, -signal.SIGABRT, -signal.SIGTERM):
        assert reason_of(status, starved=starved) is Reason.UNDECODABLE


def test_the_kernel_is_asked_how_often_it_was_short_of_memory() -> None:
    told = dict(line.split() for line in Path("/proc/vmstat").read_text().splitlines())
    assert memory_kills() >= int(told["oom_kill"])


def test_a_job_that_does_not_work_stops_the_start() -> None:
    others = psutil.Process().children()
    for settings, why in (({"hash_types": {"broken": 32}}, "decoder does not work"), ({"job": "no_such"}, "no_such")):
        with pytest.raises(BadConfig, match=why):
            asyncio.run(Sandbox(**{"job": "faulty", "workers": 2, **settings}).start())
    assert psutil.Process().children() == others


def test_callers_are_told_when_workers_cannot_be_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = tmp_path / "vanishing.py"
    job.write_text("from faulty import *\nfrom faulty import digests, look, prepare\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    async def main() -> None:
        async with Sandbox(workers=1, job="vanishing") as sandbox:
            job.write_text("raise RuntimeError('the disk is gone')\n")
            for cached in tmp_path.rglob("*.pyc"):
                cached.unlink()
            first = await asyncio.gather(*(sandbox.examine(b"crash", PDQ) for _ in range(2)))
            assert [found.unhashable[0].reason for found in first] == [Reason.UNDECODABLE] * 2
            with pytest.raises(Unavailable):
                await asyncio.wait_for(sandbox.examine(GOOD, PDQ), 20)
            assert not sandbox.healthy
            job.write_text("from faulty import digests, look, prepare\n")
            while not sandbox.healthy:
                await asyncio.sleep(0.05)
            assert_good(await sandbox.examine(GOOD, PDQ))

    asyncio.run(main())


def test_closing_answers_those_who_wait_and_leaves_nothing_behind() -> None:
    me = psutil.Process()

    async def main() -> None:
        held = me.num_fds(), me.children()
        sandbox = Sandbox(workers=1, job="faulty", deadline=60)
        await sandbox.start()
        await sandbox.examine(b"crash", PDQ)
        tasks = [asyncio.create_task(sandbox.examine(b"sleep 60", PDQ)) for _ in range(3)]
        await asyncio.sleep(0.1)
        await sandbox.close()
        for task in tasks:
            with pytest.raises(Unavailable):
                await task
        with pytest.raises(Unavailable):
            await sandbox.examine(GOOD, PDQ)
        assert not sandbox.healthy
        assert (me.num_fds(), me.children()) == held

    asyncio.run(main())


def test_workers_die_with_the_server() -> None:
    script = (
        "import asyncio, sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from hashmatch.media.sandbox import Sandbox\n"
        "from hashmatch.types import Wanted\n"
        "async def main():\n"
        "    async with Sandbox(workers=1, job='faulty', deadline=60, cpu_seconds=60) as sandbox:\n"
        "        asyncio.create_task(sandbox.examine(b'spin', Wanted()))\n"
        "        await asyncio.sleep(0.1)\n"
        "        print('up', flush=True)\n"
        "        await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == b"up\n"
        workers = psutil.Process(server.pid).children()
        assert len(workers) == 2
        server.kill()
    _, alive = psutil.wait_procs(workers, timeout=2)
    assert alive == []


def test_a_worker_is_replaced_after_its_share_of_work() -> None:
    async def use(sandbox: Sandbox) -> list[int]:
        answers = [await sandbox.examine(GOOD, PDQ) for _ in range(9)]
        assert sandbox.stats.crashes == 0
        return [a.height for a in answers]

    processes = sandboxed(use, submissions_per_worker=4)
    assert processes[0] == processes[3]
    assert processes[0] != processes[4]
