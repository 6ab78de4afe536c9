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
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest

from hashmatch.errors import BadConfig, DeadlinePassed, Overloaded, Unavailable
from hashmatch.media.sandbox import Sandbox
from hashmatch.types import Examination, Reason, Unhashable, Wanted

T = TypeVar("T")
PDQ = Wanted(("pdq",))
GOOD = b"good"

ANSWER_SECONDS = 0.05  # after a crash
NEXT_SECONDS = 0.25  # until the next good answer
LATE_SECONDS = 0.2  # after a deadline
NOISE_SECONDS = 1.0  # what a loaded machine may add to any single figure; medians get no allowance


@pytest.fixture(autouse=True)
def _job_in_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    importlib.import_module("faulty")


def sandboxed(use: Callable[[Sandbox], Awaitable[T]], **settings: Any) -> T:
    """What `use` makes of a running sandbox."""

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
    while sandbox.stats.idle < sandbox.workers + 1:
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("size", [0, 1, 65_536, 300_000, 5_000_000, 40_000_000])
def test_media_of_every_size_arrives_whole(size: int) -> None:
    media = b"good " + bytes(size)

    async def use(sandbox: Sandbox) -> None:
        assert_good(await sandbox.examine(media, PDQ), media)
        assert_good(await sandbox.examine(memoryview(media), PDQ), media)
        assert_good(await sandbox.examine(GOOD, PDQ))

    sandboxed(use)


def test_exact_digests_are_not_asked_of_the_job() -> None:
    async def use(sandbox: Sandbox) -> Examination:
        return await sandbox.examine(b"crash", Wanted(("sha256", "pdq", "pdq", "md5")))

    found = sandboxed(use)
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
        ("spin", Reason.TIMED_OUT),
        ("sleep 60", Reason.TIMED_OUT),
    ],
)
def test_what_media_does_to_a_worker_costs_one_unknown(act: str, reason: Reason) -> None:
    async def use(sandbox: Sandbox) -> Examination:
        found = await sandbox.examine(act.encode(), PDQ)
        assert_good(await sandbox.examine(GOOD, PDQ))
        return found

    found = sandboxed(use, memory_bytes=150 << 20, deadline=1.5)
    assert digests(found) == exact(act.encode())
    assert found.unhashable == (Unhashable("pdq", reason),)


def test_media_larger_than_memory_is_too_large() -> None:
    async def use(sandbox: Sandbox) -> Examination:
        return await sandbox.examine(bytes(200 << 20), PDQ)

    found = sandboxed(use, memory_bytes=100 << 20)
    assert found.unhashable == (Unhashable("pdq", Reason.TOO_LARGE),)
    assert digests(found) == exact(bytes(200 << 20))


def test_the_kernel_keeps_the_cpu_limit() -> None:
    async def use(sandbox: Sandbox) -> tuple[Examination, int, float]:
        began = time.monotonic()
        for _ in range(3):  # the limit is per submission: this is more than one may use
            assert_good(await sandbox.examine(b"spin 0.5", PDQ), b"spin 0.5")
        began = time.monotonic()
        found = await sandbox.examine(b"spin", PDQ)
        return found, sandbox.stats.timeouts, time.monotonic() - began

    found, timeouts, took = sandboxed(use, deadline=30, cpu_seconds=1)
    assert found.unhashable == (Unhashable("pdq", Reason.TIMED_OUT),)
    assert timeouts == 1
    assert took < 2 + 3 * NOISE_SECONDS  # CPU time is counted in whole seconds


def test_a_crash_is_answered_at_once_and_so_is_the_next() -> None:
    async def use(sandbox: Sandbox) -> tuple[list[float], list[float]]:
        answered, good = [], []
        for _ in range(9):
            began = time.monotonic()
            found = await sandbox.examine(b"crash", PDQ)
            answered.append(time.monotonic() - began)
            assert found.unhashable
            began = time.monotonic()
            assert_good(await sandbox.examine(GOOD, PDQ))
            good.append(time.monotonic() - began)
            await recovered(sandbox)
        return answered, good

    answered, good = sandboxed(use, workers=2)
    assert statistics.median(answered) <= ANSWER_SECONDS
    assert statistics.median(good) <= NEXT_SECONDS
    assert max(*answered, *good) <= NEXT_SECONDS + NOISE_SECONDS


def test_a_hang_is_answered_on_the_deadline() -> None:
    async def use(sandbox: Sandbox) -> list[float]:
        late = []
        for act in (b"spin", b"sleep 60", b"spin"):
            began = time.monotonic()
            found = await sandbox.examine(act, PDQ)
            late.append(time.monotonic() - began - 0.5)
            assert found.unhashable == (Unhashable("pdq", Reason.TIMED_OUT),)
            await recovered(sandbox)
        return late

    late = sandboxed(use, deadline=0.5)
    assert min(late) >= -0.01
    assert statistics.median(late) <= LATE_SECONDS


def test_a_storm_of_crashes_gives_no_wrong_answer_and_leaks_nothing() -> None:
    """A hundred crashes among three hundred submissions, eight at a time."""

    async def use(sandbox: Sandbox) -> None:
        me = psutil.Process()
        await sandbox.examine(b"crash", PDQ)  # the first trace message and the first thread are there for good
        assert_good(await sandbox.examine(GOOD, PDQ))
        await recovered(sandbox)
        before = me.num_fds(), len(me.children())
        gate = asyncio.Semaphore(8)

        async def one(number: int) -> None:
            media = b"crash %d" % number if number % 3 == 0 else b"good %d" % number
            async with gate:
                found = await sandbox.examine(media, PDQ)
            if number % 3 == 0:
                assert digests(found) == exact(media)
                assert found.unhashable == (Unhashable("pdq", Reason.UNDECODABLE),)
            else:
                assert_good(found, media)

        await asyncio.gather(*(one(number) for number in range(300)))
        await recovered(sandbox)
        assert (me.num_fds(), len(me.children())) == before
        assert sandbox.stats.crashes == 101
        assert sandbox.stats.restarts == 101
        assert sandbox.healthy

    sandboxed(use, workers=2)


def test_no_process_and_no_descriptor_is_left_behind() -> None:
    me = psutil.Process()
    before = me.num_fds()

    async def use(sandbox: Sandbox) -> None:
        await sandbox.examine(b"crash", PDQ)

    sandboxed(use, workers=2)
    assert me.num_fds() == before
    assert me.children() == []


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
def test_nonsense_is_a_crash(said: str) -> None:
    async def use(sandbox: Sandbox) -> None:
        media = b"say " + said.encode()
        found = await sandbox.examine(media, PDQ)
        if found.unhashable != (Unhashable("pdq", Reason.LOW_QUALITY),):
            assert found.unhashable == (Unhashable("pdq", Reason.UNDECODABLE),)
            assert digests(found) == exact(media)
            assert sandbox.stats.crashes == 1
        await asyncio.sleep(0.05)  # for what it said too much
        assert_good(await sandbox.examine(GOOD, PDQ))
        await recovered(sandbox)
        assert sandbox.stats.restarts == 1

    sandboxed(use, deadline=3)


def test_a_worker_that_floods_its_socket_is_sent_away() -> None:
    async def use(sandbox: Sandbox) -> None:
        assert (await sandbox.examine(b"flood", PDQ)).unhashable == (Unhashable("pdq", Reason.UNDECODABLE),)
        assert_good(await sandbox.examine(GOOD, PDQ))

    sandboxed(use)


def test_a_library_that_chatters_holds_nobody_up() -> None:
    async def use(sandbox: Sandbox) -> None:
        for _ in range(3):
            assert (await sandbox.examine(b"chatter", PDQ)).media_type == "chattered"
        assert sandbox.stats.crashes == 0

    sandboxed(use)


def test_a_full_queue_refuses_and_says_when_to_come_back() -> None:
    async def use(sandbox: Sandbox) -> None:
        running = [asyncio.create_task(sandbox.examine(b"sleep 0.5", PDQ)) for _ in range(3)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert (sandbox.stats.busy, sandbox.stats.waiting) == (1, 2)
        with pytest.raises(Overloaded) as refused:
            await sandbox.examine(GOOD, PDQ)
        assert refused.value.retry_after > 0
        assert all(not found.unhashable for found in await asyncio.gather(*running))
        assert (sandbox.stats.busy, sandbox.stats.waiting) == (0, 0)

    sandboxed(use, queue_limit=2)


def test_a_caller_whose_time_is_over_leaves_the_queue_and_the_worker() -> None:
    async def use(sandbox: Sandbox) -> None:
        running = asyncio.create_task(sandbox.examine(b"sleep 1", PDQ))
        await asyncio.sleep(0.05)
        began = time.monotonic()
        with pytest.raises(DeadlinePassed):
            await sandbox.examine(GOOD, PDQ, timeout=0.1)
        assert time.monotonic() - began < 0.1 + NOISE_SECONDS
        assert sandbox.stats.waiting == 0
        assert not (await running).unhashable
        with pytest.raises(DeadlinePassed):
            await sandbox.examine(b"sleep 60", PDQ, timeout=0.1)
        assert_good(await sandbox.examine(GOOD, PDQ))

    sandboxed(use)


def test_a_caller_that_leaves_frees_its_worker_within_a_tenth_of_a_second() -> None:
    async def use(sandbox: Sandbox) -> list[float]:
        took = []
        for _ in range(7):
            running = asyncio.create_task(sandbox.examine(b"spin 30", PDQ))
            await asyncio.sleep(0.05)
            running.cancel()
            began = time.monotonic()
            assert_good(await sandbox.examine(GOOD, PDQ))
            took.append(time.monotonic() - began)
            assert running.cancelled()
            await recovered(sandbox)
        return took

    assert statistics.median(sandboxed(use, deadline=60)) <= 0.1


def test_a_short_submission_whose_caller_left_costs_no_worker() -> None:
    async def use(sandbox: Sandbox) -> int:
        running = asyncio.create_task(sandbox.examine(b"sleep 0.01", PDQ))
        await asyncio.sleep(0.005)
        running.cancel()
        await asyncio.sleep(0.5)
        return sandbox.stats.restarts

    assert sandboxed(use) == 0


def test_callers_that_leave_the_queue_free_their_places() -> None:
    async def use(sandbox: Sandbox) -> None:
        running = asyncio.create_task(sandbox.examine(b"sleep 0.3", PDQ))
        await asyncio.sleep(0.05)
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

    sandboxed(use)


def test_cancellation_at_any_moment_loses_no_worker() -> None:
    async def use(sandbox: Sandbox) -> None:
        for step in range(120):
            tasks = [asyncio.create_task(sandbox.examine(b"good %d" % n, PDQ)) for n in range(4)]
            for _ in range(step % 12):
                await asyncio.sleep(0)
            await asyncio.sleep(step % 5 / 5000)
            for task in tasks[step % 4 :]:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        while sandbox.stats.busy:
            await asyncio.sleep(0.01)
        found = await asyncio.gather(*(sandbox.examine(b"good %d" % n, PDQ) for n in range(4)))
        for number, examination in enumerate(found):
            assert_good(examination, b"good %d" % number)
        assert sandbox.stats.waiting == 0

    sandboxed(use, workers=2)


def test_an_idle_worker_that_is_killed_costs_nothing() -> None:
    async def blocking(seconds: float) -> None:
        time.sleep(seconds)  # the loop cannot see the end before the next submission is there

    async def use(sandbox: Sandbox) -> None:
        for wait in (asyncio.sleep, blocking):
            for child in reversed(psutil.Process().children()):
                child.kill()
            await wait(0.1)
            assert_good(await sandbox.examine(GOOD, PDQ))
            await recovered(sandbox)
        assert sandbox.stats.crashes == 0

    sandboxed(use)


def test_a_worker_out_of_memory_for_the_kernel_is_too_large() -> None:
    async def use(sandbox: Sandbox) -> Examination:
        pid = (await sandbox.examine(GOOD, PDQ)).height
        running = asyncio.create_task(sandbox.examine(b"sleep 30", PDQ))
        await asyncio.sleep(0.05)
        os.kill(pid, signal.SIGKILL)
        return await running

    assert sandboxed(use, deadline=60).unhashable == (Unhashable("pdq", Reason.TOO_LARGE),)


def test_a_job_that_does_not_work_stops_the_start() -> None:
    for settings, why in (({"hash_types": {"broken": 32}}, "decoder does not work"), ({"job": "no_such"}, "no_such")):
        with pytest.raises(BadConfig, match=why):
            asyncio.run(Sandbox(**{"job": "faulty", "workers": 2, **settings}).start())
    assert psutil.Process().children() == []


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


def test_closing_answers_those_at_work_and_those_who_wait() -> None:
    async def main() -> None:
        sandbox = Sandbox(workers=1, job="faulty", deadline=60)
        await sandbox.start()
        tasks = [asyncio.create_task(sandbox.examine(b"sleep 60", PDQ)) for _ in range(3)]
        await asyncio.sleep(0.1)
        await sandbox.close()
        for task in tasks:
            with pytest.raises(Unavailable):
                await task
        with pytest.raises(Unavailable):
            await sandbox.examine(GOOD, PDQ)
        assert not sandbox.healthy
        assert psutil.Process().children() == []

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
