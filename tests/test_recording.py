"""What is sealed and what the log names are the same, however a submission ends: a real vault and a real ledger."""

from __future__ import annotations

import asyncio
import io
import threading
from contextlib import asynccontextmanager

import pytest
from pictures import png

from hashmatch import app
from hashmatch.audit import writer
from hashmatch.config import Settings
from hashmatch.errors import Overloaded
from hashmatch.evidence.master import create_master_file
from hashmatch.types import Revision, Subject, Submission, Wanted
from hashmatch.v1 import lists_pb2

MEDIA = png(1)


@asynccontextmanager
async def serving(tmp_path, watch=None):
    """A service with a vault, over one list that holds MEDIA."""
    create_master_file(tmp_path / "master")
    workflow = tmp_path / "workflow.toml"
    workflow.write_text(f'[evidence]\nvault = true\nmaster = "{tmp_path / "master"}"\n')
    settings = Settings(state=tmp_path / "state", workers=1, poll_ms=5, workflow=workflow)
    async with app.running(settings, watch=watch) as service:
        await service.follower.ready()
        hashed = (await service.pipeline.hash(MEDIA, Wanted(("pdq",), frozenset()))).hashed
        pdq = next(one.fingerprint.value for one in hashed if one.fingerprint.hash_type == "pdq")
        service.keeper.create("known", by="tests")
        header = lists_pb2.ImportHeader(name="known", format=lists_pb2.IMPORT_FORMAT_HEX, activate=True)
        revision = service.keeper.stage(header, io.BytesIO(pdq.hex().encode()), by="tests").revision
        assert await service.follower.reach(Revision(revision), 10)
        yield service


def judging(service, number):
    subject = Subject(content_id=f"c{number}", uploader_id=f"u{number}")
    return asyncio.create_task(service.pipeline.judge(Submission(f"r{number}", media=MEDIA, subject=subject)))


def named(service):
    """The verdicts whose media is to be there, by the log."""
    return {event.evidence_kept.verdict_id for event in service.ledger.events() if event.HasField("evidence_kept")}


def sealed(service):
    return set(service.office.vault.items())


def test_what_is_refused_is_not_kept(tmp_path, monkeypatch):
    async def conversation():
        async with serving(tmp_path) as service:
            monkeypatch.setattr(writer, "MAX_QUEUED", 1)
            held, release = threading.Event(), threading.Event()

            def hold():
                with service.ledger.changing():
                    held.set()
                    release.wait(30)

            holding = asyncio.create_task(asyncio.to_thread(hold))
            await asyncio.to_thread(held.wait, 30)
            waiting = [judging(service, number) for number in range(5)]
            (refused, *_), _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            with pytest.raises(Overloaded):
                refused.result()
            release.set()
            answers = await asyncio.gather(*waiting, return_exceptions=True)
            await holding
            answered = {answer.verdict_id for answer in answers if not isinstance(answer, Overloaded)}
            assert 0 < len(answered) < len(answers)
            assert sealed(service) == named(service) == answered

    asyncio.run(conversation())


@pytest.mark.parametrize("stage", ["", "search", "seal", "record"])
def test_who_leaves_parts_nothing_sealed_from_its_verdict(tmp_path, stage):
    """Whoever leaves once a stage is passed; "": at once. After "search" it is sealed without them."""
    leaving = None

    def passed(name, _seconds):
        if leaving is not None and name == stage:
            leaving.cancel()

    async def conversation():
        nonlocal leaving
        async with serving(tmp_path, app.Watch(stage=passed)) as service:
            for number in range(5):
                leaving = judging(service, number)
                await asyncio.sleep(0)
                if not stage:
                    leaving.cancel()
                await asyncio.gather(leaving, return_exceptions=True)
                if stage:
                    await until(lambda least=number: len(named(service)) > least)
            leaving = None
            await judging(service, 5)
            await until(lambda: sealed(service) == named(service))
            assert len(named(service)) == (6 if stage else 1)

    asyncio.run(conversation())


async def until(done):
    for _ in range(1500):
        if done():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("half a minute was not enough")
