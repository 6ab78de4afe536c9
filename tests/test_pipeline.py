"""The way of a submission where callers leave, retry and collide: real workers, real lists, a real ledger."""

from __future__ import annotations

import asyncio
import io
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from pictures import png

from hashmatch import app, clock, convert
from hashmatch.audit.entry_counts import EXEMPT
from hashmatch.config import Settings
from hashmatch.errors import Conflict, NotFound, Unavailable
from hashmatch.pipeline import Pipeline
from hashmatch.types import Fingerprint, Hashed, Revision, Subject, Submission
from hashmatch.v1 import lists_pb2
from hashmatch.v1.common_pb2 import Finding, SetAsideReason

LISTED = Fingerprint("pdq", bytes([0b01010101] * 32))
FAR = Fingerprint("pdq", bytes([0b00110011] * 32))


@asynccontextmanager
async def serving(tmp_path):
    """A service over one list that holds LISTED."""
    async with app.running(Settings(state=tmp_path / "state", workers=1, poll_ms=5)) as service:
        await service.follower.ready()
        service.keeper.create("known", by="tests")
        header = lists_pb2.ImportHeader(name="known", format=lists_pb2.IMPORT_FORMAT_HEX, activate=True)
        file = io.BytesIO(LISTED.value.hex().encode())
        revision = service.keeper.stage(header, file, by="tests").revision
        assert await service.follower.reach(Revision(revision), 10)
        yield service


def asking(request_id, fingerprint=LISTED, **more):
    return Submission(request_id, fingerprints=(Hashed(fingerprint),), **more)


def run(tmp_path, conversation):
    async def talk():
        async with serving(tmp_path) as service:
            await conversation(service)

    asyncio.run(talk())


def verdicts(service):
    """What is in the log of verdicts."""
    return [event.verdict for event in service.ledger.events() if event.HasField("verdict")]


def test_those_who_ask_at_once_get_one_verdict(tmp_path):
    async def conversation(service):
        answers = await asyncio.gather(*(service.pipeline.judge(asking("same")) for _ in range(20)))
        assert {answer.verdict_id for answer in answers} == {answers[0].verdict_id}
        assert answers[0].finding == Finding.FINDING_MATCH
        assert len(verdicts(service)) == 1

    run(tmp_path, conversation)


def test_a_caller_who_leaves_at_any_moment_leaves_one_verdict_behind_at_most(tmp_path):
    async def conversation(service):
        for attempt in range(60):
            request_id = f"left-{attempt}"
            first = asyncio.create_task(service.pipeline.judge(asking(request_id)))
            waiting = asyncio.create_task(service.pipeline.judge(asking(request_id)))
            for _ in range(attempt % 12):
                await asyncio.sleep(0)
            first.cancel()
            second = await waiting
            third = await service.pipeline.judge(asking(request_id))
            assert second.verdict_id == third.verdict_id
        ids = [one.request_id for one in verdicts(service)]
        assert len(ids) == len(set(ids)) == 60

    run(tmp_path, conversation)


def test_what_makes_another_question(tmp_path):
    async def conversation(service):
        judge = service.pipeline.judge
        first = await judge(asking("q", subject=Subject(content_id="c", uploader_id="u", surface="chat")))
        same = asking("q", subject=Subject(content_id="c", uploader_id="u", surface="elsewhere"))
        assert await judge(same) == first
        for other in (
            asking("q", FAR, subject=same.subject),
            replace(same, subject=Subject(content_id="d", uploader_id="u")),
            replace(same, subject=Subject(content_id="c", uploader_id="v")),
            replace(same, lists=("known",)),
            replace(same, fingerprints=(Hashed(LISTED, quality=90),)),
            replace(same, fingerprints=(), media=png(1)),
        ):
            with pytest.raises(Conflict, match="another question"):
                await judge(other)
        with pytest.raises(Conflict, match="answered at revision"):
            await judge(replace(same, min_revision=Revision(99)))

    run(tmp_path, conversation)


def test_a_no_match_is_remembered_and_counted_but_not_logged(tmp_path):
    async def conversation(service):
        first = await service.pipeline.judge(asking("clean", FAR, subject=Subject(uploader_id="somebody-7")))
        assert first.finding == Finding.FINDING_NO_MATCH
        service.keeper.add("known", FAR, reason="seen", by="tests")
        for _ in range(200):
            if (await service.pipeline.judge(asking("fresh", FAR, given_id=False))).finding == Finding.FINDING_MATCH:
                break
            await asyncio.sleep(0.02)
        again = await service.pipeline.judge(asking("clean", FAR, subject=Subject(uploader_id="somebody-7")))
        assert (again.verdict_id, again.finding) == (first.verdict_id, Finding.FINDING_NO_MATCH)

    run(tmp_path, conversation)


async def ruled(service, **policy):
    """Gives the list another policy, and waits until it is served."""
    changed = service.keeper.set_policy("known", lists_pb2.Policy(**policy), by="tests")
    assert await service.follower.reach(Revision(changed.revision), 10)


@pytest.mark.parametrize("given_id", [True, False])
def test_what_was_set_aside_is_logged_whole_and_answered_again(tmp_path, given_id):
    async def conversation(service):
        await ruled(service, rollout_permille=0, disposition=4)
        question = asking("aside", subject=Subject(content_id="c", uploader_id="u"), given_id=given_id)
        answer = await service.pipeline.judge(question)
        assert (answer.finding, answer.disposition) == (Finding.FINDING_NO_MATCH, 1)
        assert [one.reason for one in answer.set_aside] == [SetAsideReason.SET_ASIDE_REASON_OUTSIDE_ROLLOUT]
        event = service.ledger.verdict(answer.verdict_id)
        assert event.verdict == answer
        assert event.verdict.subject.uploader_id == "u"
        assert event.verdict.policies["known"].rollout_permille == 0
        assert convert.record_to_response(answer).set_aside == answer.set_aside
        if given_id:
            assert await service.pipeline.judge(question) == answer
            assert len(verdicts(service)) == 1

    run(tmp_path, conversation)


def test_a_list_counts_where_its_policy_says(tmp_path):
    async def conversation(service):
        await ruled(service, surfaces=["mail"])
        for surface, finding in (("mail", Finding.FINDING_MATCH), ("chat", Finding.FINDING_NO_MATCH)):
            answer = await service.pipeline.judge(asking(surface, subject=Subject(surface=surface)))
            assert answer.finding == finding
            assert [one.out_of_scope for one in answer.coverage.lists] == [surface == "chat"]

    run(tmp_path, conversation)


def test_a_share_of_the_traffic_is_the_same_share_however_often_it_is_asked(tmp_path):
    async def conversation(service):
        await ruled(service, rollout_permille=500)
        for content in [f"content-{n}" for n in range(40)]:
            subject = Subject(content_id=content)
            answers = [await service.pipeline.judge(asking("x", subject=subject, given_id=False)) for _ in range(3)]
            assert len({answer.finding for answer in answers}) == 1
        findings = {one.finding for one in verdicts(service)}
        assert findings == {Finding.FINDING_MATCH, Finding.FINDING_NO_MATCH}

    run(tmp_path, conversation)


def test_an_entry_that_matches_too_many_uploaders_is_held_until_it_is_released(tmp_path):
    async def conversation(service):
        await ruled(service, disposition=4, collision_uploaders=3)

        async def ask(uploader, request_id):
            return await service.pipeline.judge(asking(request_id, subject=Subject(uploader_id=uploader)))

        for n in range(3):
            for _ in range(5):  # a retry is no other uploader, nor is one who comes again
                answer = await ask(f"u{n}", f"r{n}")
                assert (answer.disposition, answer.matches[0].held) == (4, False)
            assert (await ask(f"u{n}", f"again-{n}")).disposition == (4 if n < 2 else 2)
        answer = await ask("u9", "r9")
        assert (answer.finding, answer.disposition, answer.matches[0].held) == (Finding.FINDING_MATCH, 2, True)
        assert answer.matches[0].disposition == 4
        entry_id = answer.matches[0].entry_id
        assert service.ledger.entry_count("known", entry_id).matches == 7
        service.ledger.release("known", entry_id, clock.now() + EXEMPT, by="tests")
        for n in range(5):
            assert (await ask(f"w{n}", f"w{n}")).disposition == 4

    run(tmp_path, conversation)


def test_known_benign_media_sets_aside_what_looks_like_it(tmp_path):
    async def conversation(service):
        service.keeper.create("nsrl", by="tests", policy=lists_pb2.Policy(benign=True))
        added = service.keeper.add("nsrl", LISTED, reason="known", by="tests")
        answer = await service.pipeline.judge(asking("b", min_revision=Revision(added.revision)))
        assert (answer.finding, answer.disposition) == (Finding.FINDING_NO_MATCH, 1)
        assert [one.match.list for one in answer.set_aside] == ["known"]
        assert "nsrl" in answer.set_aside[0].why
        assert {one.list: one.benign for one in answer.coverage.lists} == {"known": False, "nsrl": True}

    run(tmp_path, conversation)


def test_a_revision_and_a_list_that_are_not_there(tmp_path):
    async def conversation(service):
        with pytest.raises(Unavailable, match="revision 50"):
            await service.pipeline.judge(asking("r", min_revision=Revision(50)), timeout=0.1)
        with pytest.raises(NotFound, match="nobody"):
            await service.pipeline.judge(asking("l", lists=("nobody",)))
        assert verdicts(service) == []

    run(tmp_path, conversation)


def test_thousands_of_near_duplicates_are_counted_and_the_nearest_named(tmp_path):
    async def conversation(service):
        rows = set()
        for i in range(64):
            for j in range(i):
                value = bytearray(LISTED.value)
                value[i // 2] ^= 0b01 << (i % 2)  # one bit set, one cleared: still balanced
                value[j // 2] ^= 0b0100 << (j % 2)
                rows.add(bytes(value))
        header = lists_pb2.ImportHeader(name="known", format=lists_pb2.IMPORT_FORMAT_HEX, activate=True, merge=True)
        file = io.BytesIO("\n".join(row.hex() for row in rows).encode())
        revision = service.keeper.stage(header, file, by="tests").revision
        answer = await service.pipeline.judge(asking("many", min_revision=Revision(revision)))
        assert answer.matches_found == len(rows | {LISTED.value})
        assert len(answer.matches) == 256
        assert [m.distance for m in answer.matches] == [0, *[2] * 255]

    run(tmp_path, conversation)


def test_a_policy_that_changes_while_media_is_hashed_is_not_claimed(tmp_path):
    async def conversation(service):
        class Slow:
            """The real workers, during whose work the list begins to ask for flips."""

            async def examine(self, media, wanted, **options):
                found = await service.sandbox.examine(media, wanted, **options)
                policy = lists_pb2.Policy(variants=["flips"])
                changed = service.keeper.set_policy("known", policy, by="tests")
                assert await service.follower.reach(Revision(changed.revision), 10)
                return found

        pipeline = Pipeline(
            examiner=Slow(),
            serving=service.follower,
            ledger=service.ledger,
            recipes=service.recipes,
            versions=service.versions,
            log_no_match=False,
        )
        before = service.follower.generation().revision
        answer = await pipeline.judge(Submission("slow", media=png(1)))
        assert list(answer.policies["known"].variants) == []
        assert answer.coverage.revision == before
        assert {row.variant for row in answer.hashed} == {""}

    run(tmp_path, conversation)
