"""Media that comes in pieces: what it may hold, how long it may take, and what is given back."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager

import pytest

from hashmatch.errors import Malformed, Overloaded
from hashmatch.server import judge, upload
from hashmatch.server.admission import Admission
from hashmatch.server.spool import Spool
from hashmatch.server.upload import Upload, in_time


@contextmanager
def uploading(admission, directory, share="a", threshold=100):
    with (
        admission.admit(share=share) as hold,
        admission.spooled.part(share) as keep,
        Spool(directory, threshold) as spool,
    ):
        yield Upload(spool, lambda _size, _field: None, hold, keep)


@pytest.fixture
def admission():
    return Admission(most_bytes=2000, most_requests=10, most_spooled=1000)


def test_what_is_spooled_is_counted_on_the_disk_and_no_longer_in_memory(admission, tmp_path):
    async def run():
        with uploading(admission, tmp_path) as one:
            await one.receive(b"x" * 80, "chunk")
            assert (admission.held.total, admission.spooled.total) == (80, 0)
            await one.receive(b"y" * 80, "chunk")
            assert (admission.held.total, admission.spooled.total) == (0, 160)
            assert await one.media() == b"x" * 80 + b"y" * 80
            assert admission.held.total == 160
        assert (admission.held.total, admission.spooled.total) == (0, 0)

    asyncio.run(run())


def test_uploads_fill_the_disk_no_further_than_all_together_may(admission, tmp_path):
    async def run():
        with uploading(admission, tmp_path) as one, uploading(admission, tmp_path, "b") as other:
            await one.receive(b"x" * 600, "chunk")
            with pytest.raises(Overloaded, match="on the disk"):
                await other.receive(b"x" * 600, "chunk")
            await other.receive(b"x" * 300, "chunk")
        assert admission.spooled.total == 0

    asyncio.run(run())


async def drip(pause):
    while True:
        await asyncio.sleep(pause)
        yield b"x"


@pytest.mark.parametrize(("pause", "says"), [(10.0, "nothing came"), (0.01, "too long to come")])
def test_a_sender_who_is_silent_or_drips_is_not_waited_for(monkeypatch, pause, says):
    monkeypatch.setattr(upload, "PIECE_SECONDS", 0.1)
    monkeypatch.setattr(upload, "WHOLE_SECONDS", 0.3)

    async def run():
        async for _ in in_time(drip(pause), "chunk"):
            pass

    with pytest.raises(Malformed, match=says):
        asyncio.run(run())


def test_a_message_that_never_comes_whole_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(judge, "MESSAGE_SECONDS", 0.05)
    with pytest.raises(Malformed, match="did not come within"):
        asyncio.run(judge._one(drip(10.0)))
