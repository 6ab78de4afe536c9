"""The line before the decode workers: who waits, who is refused, and who makes room. A clock that stands still."""

from __future__ import annotations

import asyncio

import pytest

from hashmatch.errors import Overloaded, Unavailable
from hashmatch.media.waiting import ALWAYS, ALWAYS_SHORT, FADING_SECONDS, SHORT_SECONDS, TOO_MANY, Line

EACH = 0.004  # seconds of one use, as the line has seen them


class Desk:
    """A line before two desks, whose clock the test turns."""

    def __init__(self, limit=1000, seconds=0.1, each=EACH):
        self.time = 0.0
        self.given_back = []
        self.line = Line(2, limit, seconds, self.given_back.append, now=lambda: self.time)
        for _ in range(500):
            self.line.used(each)
        self.waiting = []

    async def come(self, share="a", **how):
        """Waits; a task that is in the line, or has been refused."""
        task = asyncio.ensure_future(self.line.wait(share, None, **how))
        await asyncio.sleep(0)
        self.waiting.append(task)
        return task

    async def fill(self, share="a"):
        """How many may wait."""
        for number in range(1000):
            task = await self.come(share)
            if task.done():
                with pytest.raises(Overloaded):
                    await task
                return number
        raise AssertionError("nobody was refused")

    async def overload(self):
        """So many are refused that the line is kept short."""
        for _ in range(int(TOO_MANY)):
            with pytest.raises(Overloaded):
                await (await self.come())


def test_a_burst_waits_and_a_standing_load_does_not():
    async def run():
        desk = Desk(seconds=0.1)
        assert await desk.fill() == pytest.approx(2 * 0.1 / EACH, abs=1)
        await desk.overload()
        while len(desk.line) > 2 * SHORT_SECONDS / EACH + 1:
            desk.line.serve(None)
        with pytest.raises(Overloaded):  # short by now, and there is more than that
            await (await desk.come())
        while len(desk.line):
            desk.line.serve(None)
        assert await desk.fill() == pytest.approx(2 * SHORT_SECONDS / EACH, abs=1)
        while len(desk.line):
            desk.line.serve(None)
        desk.time += 5 * FADING_SECONDS
        assert await desk.fill() == pytest.approx(2 * 0.1 / EACH, abs=1)

    asyncio.run(run())


def test_a_few_refusals_keep_no_line_short():
    async def run():
        desk = Desk(seconds=0.1)
        for _ in range(3):
            assert await desk.fill() == pytest.approx(2 * 0.1 / EACH, abs=1)
            while len(desk.line):
                desk.line.serve(None)

    asyncio.run(run())


def test_a_few_may_wait_for_each_however_slow_they_are():
    async def run():
        desk = Desk(seconds=0.1, each=3.0)
        assert await desk.fill() == 2 * ALWAYS
        await desk.overload()
        while len(desk.line):
            desk.line.serve(None)
        assert await desk.fill() == 2 * ALWAYS_SHORT

    asyncio.run(run())


def test_a_refusal_says_when_to_come_back():
    async def run():
        desk = Desk(limit=60, seconds=60)
        assert await desk.fill() == 60
        with pytest.raises(Overloaded) as refused:
            await (await desk.come())
        assert refused.value.retry_after == pytest.approx(61 * EACH / 2, rel=0.01)

    asyncio.run(run())


def test_who_could_not_be_served_before_the_deadline_is_refused_at_once():
    async def run():
        desk = Desk(seconds=60)
        for _ in range(20):
            await desk.come()
        with pytest.raises(Overloaded):
            await desk.line.wait("b", 10 * EACH)

    asyncio.run(run())


def test_who_sends_little_is_let_in_while_another_floods():
    async def run():
        desk = Desk()
        await desk.fill("flood")
        assert desk.line.full("flood")
        assert not desk.line.full("quiet")
        quiet = await desk.come("quiet")
        await asyncio.sleep(0)  # until who made room has been told
        assert not quiet.done()
        pushed_out = [task for task in desk.waiting if task.done() and isinstance(task.exception(), Overloaded)]
        assert len(pushed_out) == 2  # the flood's: the one refused to fill it, and the one that made room
        desk.line.serve("first")
        desk.line.serve("second")
        assert await quiet == "second"  # in turn with the other, however many of him wait

    asyncio.run(run())


def test_what_the_service_itself_must_know_goes_first():
    async def run():
        desk = Desk(limit=3)
        await desk.fill()
        own = await desk.come(first=True)
        desk.line.serve("now")
        assert await own == "now"

    asyncio.run(run())


def test_what_is_handed_to_one_who_has_left_comes_back():
    async def run():
        desk = Desk()
        gone, patient = await desk.come(), await desk.come()
        desk.line.serve("first")
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        assert desk.given_back == ["first"]
        left = await desk.come()
        left.cancel()
        assert desk.line.serve("second")
        assert await patient == "second"
        assert not desk.line.serve("third")

    asyncio.run(run())


def test_everyone_is_sent_away_with_a_reason():
    async def run():
        desk = Desk()
        tasks = [await desk.come(share) for share in "abc"]
        desk.line.dismiss(lambda: Unavailable("closed"))
        for task in tasks:
            with pytest.raises(Unavailable, match="closed"):
                await task
        assert not len(desk.line)

    asyncio.run(run())
