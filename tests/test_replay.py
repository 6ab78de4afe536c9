"""Verdicts computed again: the same for as long as the lists are kept, whatever has changed since; and tampering."""

from __future__ import annotations

import asyncio
import io
import random
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from pictures import png

from hashmatch import app, builder, clock, convert
from hashmatch import preflight as trials
from hashmatch.convert import records
from hashmatch.errors import HashmatchError, Malformed
from hashmatch.examine import digests, examine
from hashmatch.index.live import LiveIndex
from hashmatch.index.recipe import load_recipes
from hashmatch.lists.keeper import ListKeeper
from hashmatch.pipeline import Pipeline
from hashmatch.replay import Replay, Replayed
from hashmatch.retro import Retro
from hashmatch.store.lists import ListStore
from hashmatch.types import Examination, Fingerprint, Hashed, Reason, Subject, Submission, Unhashable, Wanted
from hashmatch.v1 import common_pb2, lists_pb2
from hashmatch.v1.audit_pb2 import VerdictRecord
from hashmatch.v1.common_pb2 import Finding, SetAsideReason
from hashmatch.v1.store_pb2 import TrafficRecord

MATCH, NO_MATCH, UNKNOWN = Finding.FINDING_MATCH, Finding.FINDING_NO_MATCH, Finding.FINDING_UNKNOWN
RECIPES = load_recipes()
VERSIONS = {"hashmatch": "1", "pdq": "1"}


def value(number: int, moved: int = 0) -> bytes:
    """A number's PDQ value, some bits off."""
    rng = np.random.default_rng(number)
    bits = rng.permutation(np.repeat(np.array([0, 1], np.uint8), 128))
    bits[rng.permutation(256)[:moved]] ^= 1
    return np.packbits(bits).tobytes()


def pdq(number: int, moved: int = 0, **more: object) -> Hashed:
    return Hashed(Fingerprint("pdq", value(number, moved)), **more)  # type: ignore[arg-type]


class Desk:
    """Lists in a fresh state directory, judged by the real pipeline and replayed."""

    def __init__(self, state: Path, small: int = 50_000) -> None:
        self.store = ListStore(state)
        self.keeper = ListKeeper(self.store, RECIPES)
        self.state_of = lambda record, version: app.list_state(record, version, RECIPES)
        self.live = LiveIndex(
            self.store,
            recipes=RECIPES,
            snapshots=state / builder.DIRECTORY,
            state_of=self.state_of,
            name_entry=self.keeper.entry_ids,
            small=small,
        )
        self.guard: set[tuple[str, str]] = set()  # what is held
        self.examination: Examination | None = None  # what the next media turns out to be
        self.logged: list[VerdictRecord] = []
        self.replay = self.replayer()
        self._loop = asyncio.new_event_loop()
        self._pipeline = Pipeline(
            examiner=self, serving=self, ledger=self, recipes=RECIPES, versions=VERSIONS, log_no_match=True
        )  # type: ignore[arg-type]

    def replayer(self, **more: object) -> Replay:
        given = {"recipes": RECIPES, "versions": VERSIONS, "name_entry": self.keeper.entry_ids, **more}
        return Replay(self.store, state_of=self.state_of, **given)  # type: ignore[arg-type]

    def close(self) -> None:
        self._loop.close()
        self.store.close()

    def create(self, name: str, **policy: object) -> None:
        self.keeper.create(name, policy=lists_pb2.Policy(**policy), by="t")

    def rule(self, name: str, **policy: object) -> None:
        self.keeper.set_policy(name, lists_pb2.Policy(**policy), by="t")

    def load(self, name: str, numbers: range, *, activate: bool = True) -> int:
        header = lists_pb2.ImportHeader(name=name, format=lists_pb2.IMPORT_FORMAT_HEX, activate=activate)
        text = "".join(f"{value(number).hex()}\n" for number in numbers)
        return self.keeper.stage(header, io.BytesIO(text.encode()), by="t").version

    def add(self, name: str, number: int, **more: object) -> str:
        done = self.keeper.add(name, Fingerprint("pdq", value(number)), reason="seen", by="t", **more)
        return str(done.entry.entry_id)

    def remove(self, name: str, number: int) -> None:
        self.keeper.remove(name, Fingerprint("pdq", value(number)), reason="mistaken", by="t")

    def suppress(self, name: str, number: int) -> str:
        entry_id = self.entry(name, number)
        until = clock.now() + timedelta(days=1)
        self.keeper.suppress(name, entry_id, reason="mistaken", approver="b", expires_at=until, by="t")
        return entry_id

    def lift(self, name: str, number: int) -> None:
        self.keeper.lift_suppression(name, self.entry(name, number), reason="right after all", by="t")

    def entry(self, name: str, number: int) -> str:
        return self.keeper.entry_ids(name, Fingerprint("pdq", value(number)))

    def judge(self, *fingerprints: Hashed, subject: Subject = Subject(), **more: object) -> VerdictRecord:  # noqa: B008
        """The record of a verdict on fingerprints; on media where `media` is given."""
        asked = Submission("r", fingerprints=fingerprints, subject=subject, given_id=False, **more)  # type: ignore[arg-type]
        record = self._loop.run_until_complete(self._pipeline._judge(asked, None, ""))
        copy = VerdictRecord.FromString(record.SerializeToString())
        self.logged.append(copy)
        return copy

    def then(self, record: VerdictRecord, **more: object) -> Replayed:
        return self.replay.as_then(record, **more)  # type: ignore[arg-type]

    # what a pipeline is given

    def generation(self) -> object:
        new = self.live.refresh()
        if new is not None:
            self.live.publish(new)
        return self.live.generation

    async def examine(self, media: bytes, wanted: Wanted, **_: object) -> Examination:
        return self.examination or examine(media, wanted)

    def held(self) -> frozenset[tuple[str, str]]:
        return frozenset(self.guard)

    def append(self, record: VerdictRecord, **_: object) -> Future[int]:
        self.last = record
        done: Future[int] = Future()
        done.set_result(1)
        return done

    def count(self, *_: object) -> None:
        """Nothing is counted here."""


@contextmanager
def desk_at(state: Path, small: int = 50_000) -> Iterator[Desk]:
    desk = Desk(state, small)
    try:
        yield desk
    finally:
        desk.close()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with desk_at(tmp_path) as desk:
        yield desk


def same(replayed: Replayed) -> None:
    assert (replayed.unreplayable, replayed.differences) == ("", ())
    assert replayed.same


# ── as then ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_whatever_changes_afterwards_a_verdict_is_computed_as_it_was(desk: Desk) -> None:
    desk.create("ours", disposition=4)
    assert desk.judge(pdq(1)).finding == UNKNOWN  # nothing is active
    desk.load("ours", range(20))
    assert [desk.judge(pdq(n, moved)).finding for n, moved in ((1, 0), (2, 31), (2, 32), (99, 0))] == [
        MATCH, MATCH, NO_MATCH, NO_MATCH,
    ]  # fmt: skip
    desk.suppress("ours", 1)
    assert desk.judge(pdq(1)).set_aside[0].reason == SetAsideReason.SET_ASIDE_REASON_SUPPRESSED
    desk.lift("ours", 1)
    assert desk.judge(pdq(1)).finding == MATCH
    desk.rule("ours", disposition=2, thresholds={"pdq": 10})
    assert desk.judge(pdq(2, 31)).finding == NO_MATCH
    desk.add("ours", 50)
    desk.remove("ours", 3)
    assert [desk.judge(pdq(n)).finding for n in (50, 3)] == [MATCH, NO_MATCH]
    desk.load("ours", range(40, 60))
    assert [desk.judge(pdq(n)).finding for n in (50, 1)] == [MATCH, NO_MATCH]
    desk.keeper.roll_back("ours", 1, by="t")
    assert [desk.judge(pdq(n)).finding for n in (50, 1, 3)] == [NO_MATCH, MATCH, MATCH]
    desk.create("nsrl", benign=True)
    desk.load("nsrl", range(1, 2))
    assert desk.judge(pdq(1)).set_aside[0].reason == SetAsideReason.SET_ASIDE_REASON_BENIGN
    for record in [*desk.logged, *reversed(desk.logged)]:
        same(desk.then(record))
    assert desk.then(desk.logged[0]).record == desk.logged[0]


def test_what_was_not_searched_is_not_searched_again(desk: Desk) -> None:
    desk.create("ours")
    desk.load("ours", range(5))
    md5 = Hashed(Fingerprint("md5", bytes(16)))
    assert desk.judge(md5).finding == UNKNOWN
    low = desk.judge(pdq(1, quality=10), md5)
    assert {(row.hash_type, row.unhashable) for row in low.hashed if row.unhashable} == {("pdq", 2)}
    desk.examination = Examination("", 0, 0, 0, digests(b"broken"), (Unhashable("pdq", Reason.UNDECODABLE),))
    assert desk.judge(media=b"broken").finding == UNKNOWN
    for record in desk.logged:
        same(desk.then(record))
    assert any("low quality" in note for note in desk.then(low).notes)


def test_a_share_of_the_traffic_is_drawn_as_it_was(desk: Desk) -> None:
    desk.create("ours", rollout_permille=500, surfaces=["chat"])
    desk.load("ours", range(5))
    for n in range(12):
        desk.judge(pdq(1, n), subject=Subject(surface="chat"))
        desk.judge(pdq(1, n), subject=Subject(content_id=f"c{n}", surface="chat" if n % 3 else "mail"))
        desk.judge(media=png(n))
    assert {record.finding for record in desk.logged} == {MATCH, NO_MATCH}
    desk.rule("ours")
    for record in desk.logged:
        same(desk.then(record))
    # The digest of a caller's fingerprints was of all of them, and one is not in the record.
    desk.rule("ours", rollout_permille=500)
    assert "rolled out by the digest" in desk.then(desk.judge(pdq(1, quality=10), pdq(2))).unreplayable


def test_what_was_held_is_taken_from_the_record_and_the_log_is_heard(desk: Desk) -> None:
    desk.create("ours", disposition=4)
    desk.load("ours", range(5))
    before = desk.judge(pdq(1))
    desk.guard.add(("ours", desk.entry("ours", 1)))
    after = desk.judge(pdq(1))
    assert (before.disposition, after.disposition) == (4, 2)
    for record in (before, after):
        same(desk.then(record))
    assert desk.then(after, held=desk.guard).notes == ()
    assert any("logged as not held" in note for note in desk.then(before, held=desk.guard).notes)


def test_of_equally_near_readings_the_one_that_was_named_is_named_again(desk: Desk) -> None:
    desk.create("ours", variants=["flips"])
    desk.load("ours", range(5))
    # Two frames, and the second's plain reading is as near as the first's flip. A picture in an alpha channel gives two
    # of one time.
    listed_by = {("first", "flip"): 1, ("second", ""): 1}
    for ms in (0, 40):
        readings = [
            pdq(listed_by.get((frame, variant), 90), variant=variant, frame_ms=ms if frame == "second" else 0)
            for frame in ("first", "second")
            for variant in ("", "flip")
        ]
        desk.examination = Examination("image/png", 9, 9, 2, (*digests(b""), *readings))
        record = desk.judge(media=b"")
        assert (record.matches[0].variant, record.matches[0].frame_ms) == ("flip", 0)
        same(desk.then(record))


def test_hundreds_of_near_duplicates_are_counted_and_named_alike(desk: Desk) -> None:
    desk.create("ours", thresholds={"pdq": 48})
    values = [
        bytes(b ^ (n >> 8 * (i - 30) & 255 if i >= 30 else 0) for i, b in enumerate(value(7))) for n in range(600)
    ]
    header = lists_pb2.ImportHeader(name="ours", format=lists_pb2.IMPORT_FORMAT_HEX, activate=True)
    desk.keeper.stage(header, io.BytesIO("\n".join(one.hex() for one in values).encode()), by="t")
    record = desk.judge(pdq(7))
    assert (len(record.matches), record.matches_found) == (256, 600)
    same(desk.then(record))


def test_a_list_that_waited_for_its_snapshot_is_replayed_as_it_was_served(tmp_path: Path) -> None:
    with desk_at(tmp_path, small=0) as desk:
        desk.create("ours")
        desk.create("other")
        desk.load("ours", range(20))
        builder.build(desk.store, RECIPES, 1, 1)
        assert desk.judge(pdq(1)).finding == MATCH
        desk.load("ours", range(10, 1100))  # so many that they are a base, and nobody builds it
        served = desk.judge(pdq(1))
        assert (served.finding, served.coverage.revision) == (MATCH, desk.logged[0].coverage.revision)
        desk.suppress("ours", 1)
        suppressed = desk.judge(pdq(1))
        assert suppressed.finding == NO_MATCH
        assert suppressed.coverage == served.coverage
        desk.lift("ours", 1)
        assert desk.judge(pdq(1)).finding == MATCH
        desk.create("third")
        desk.load("third", range(5))
        builder.build(desk.store, RECIPES, 3, 1)
        newer = desk.judge(pdq(1))
        assert [one.list for one in newer.coverage.lists] == ["ours", "third"]
        for record in desk.logged:
            same(desk.then(record))
        assert desk.then(newer).notes == ("lists are newer than revision 3, which all were at: another was waiting",)
        assert any("waiting" in note for note in desk.then(suppressed).notes)
        assert desk.then(served).notes == ()


def test_random_histories_are_replayed(tmp_path: Path) -> None:
    for seed in range(6):
        with desk_at(tmp_path / str(seed)) as desk:
            history(desk, random.Random(seed))
            order = list(range(len(desk.logged)))
            random.Random(seed).shuffle(order)
            for at in order:
                same(desk.then(desk.logged[at]))
                assert desk.then(desk.logged[at]).record == desk.logged[at]
            now = [desk.replay.as_now(record) for record in desk.logged]
            for record, replayed in zip(list(desk.logged), now, strict=True):
                fresh = desk.judge(
                    *records.fingerprints(record),
                    subject=convert.subject_from_wire(record.subject),
                    lists=tuple(record.asked_lists),
                )
                again = replayed.record
                assert again is not None
                assert (again.finding, again.disposition, again.matches_found) == (
                    fresh.finding, fresh.disposition, fresh.matches_found,
                )  # fmt: skip
                assert (list(again.matches), list(again.set_aside)) == (list(fresh.matches), list(fresh.set_aside))
                assert again.coverage == fresh.coverage


def history(desk: Desk, chance: random.Random) -> None:
    """Some dozens of changes to three lists, and verdicts in between."""
    names = ("a", "b", "known")
    for name in names:
        desk.create(name, disposition=0 if name == "known" else chance.choice((2, 3, 4)), benign=name == "known")
        desk.load(name, range(chance.randrange(10), 12))

    def rule() -> None:
        name = chance.choice(names[:2])
        permille = chance.choice(({}, {"rollout_permille": 400}))
        surfaces = chance.choice(([], ["chat"]))
        bits = {"pdq": chance.randrange(48)}
        desk.rule(name, disposition=chance.choice((2, 3, 4)), thresholds=bits, surfaces=surfaces, **permille)

    changes: tuple[Callable[[], object], ...] = (
        rule,
        lambda: desk.load(chance.choice(names), range(chance.randrange(6), 14), activate=chance.random() < 0.7),
        lambda: desk.add(chance.choice(names), chance.randrange(20)),
        lambda: desk.remove(chance.choice(names), chance.randrange(14)),
        lambda: desk.keeper.roll_back(chance.choice(names), by="t"),
        lambda: desk.suppress(chance.choice(names), chance.randrange(14)),
        lambda: desk.lift(chance.choice(names), chance.randrange(14)),
    )
    for _ in range(25):
        with suppress(HashmatchError):
            chance.choice(changes)()
        for _ in range(2):
            subject = Subject(content_id=chance.choice(("", "c1", "c2")), surface=chance.choice(("", "chat", "mail")))
            lists = chance.choice(((), (), ("a",), ("b", "known")))
            desk.judge(
                *(pdq(chance.randrange(16), chance.randrange(50)) for _ in range(3)), subject=subject, lists=lists
            )


# ── verdicts in retrospect ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_verdict_in_retrospect_is_replayed_over_its_one_list(desk: Desk) -> None:
    for name in ("other", "ours"):
        desk.create(name, disposition=4)
        desk.load(name, range(5))
    item = TrafficRecord(verdict_id="v1")
    fingerprint = common_pb2.Fingerprint(hash_type="pdq", value=value(7, 3))
    item.hashed.add(hash_type="pdq", fingerprint=fingerprint)
    desk.load("ours", range(10))
    desk.generation()

    def judged() -> VerdictRecord:
        retro = Retro(desk.keeper, desk.store, desk.live, None, desk, VERSIONS)  # type: ignore[arg-type]
        with desk.store.view() as view:
            of_list = view.list("ours")
            version = view.version(of_list.list_number, of_list.active_version)
        segment = desk.live.segment(of_list, version)
        assert segment is not None
        fingerprints = trials.hashed(item)
        assert retro._judge(segment, item, fingerprints, list(trials.hits(segment, fingerprints)), {})
        return desk.last

    first = judged()
    desk.rule("ours", rollout_permille=999)
    by_share = judged()
    assert (first.retro.version, first.finding, first.matches[0].distance) == (2, MATCH, 3)
    desk.keeper.roll_back("ours", by="t")
    desk.rule("ours")
    same(desk.then(first))
    assert "rolled out" in desk.then(by_share).unreplayable
    now = desk.replay.as_now(first)
    assert now.differences[0] == "finding: logged MATCH, today NO_MATCH"


# ── tampering ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def judged(desk: Desk) -> VerdictRecord:
    """A MATCH with one entry set aside, by two of three lists."""
    for name in ("a", "b", "c"):
        desk.create(name, disposition=3)
        desk.load(name, range(5))
    desk.suppress("b", 1)
    return desk.judge(pdq(1, 4), subject=Subject("content", "uploader", "chat"), lists=("a", "b"))


def entry_of(record: VerdictRecord) -> str:
    return f"{record.matches[0].list}/{record.matches[0].entry_id}"


TAMPERED: list[tuple[Callable[[VerdictRecord], object], str]] = [
    (lambda r: setattr(r, "finding", NO_MATCH), "finding: logged NO_MATCH, recomputed MATCH"),
    (lambda r: setattr(r, "disposition", 1), "disposition: logged ALLOW, recomputed RESTRICT"),
    (lambda r: setattr(r, "matches_found", 2), "matches found: logged 2, recomputed 1"),
    (lambda r: setattr(r.matches[0], "distance", 5), "distance: logged 5, recomputed 4"),
    (lambda r: setattr(r.matches[0], "threshold", 5), "threshold: logged 5, recomputed 31"),
    (lambda r: setattr(r.matches[0], "entry_id", "abcd"), "match a/abcd by pdq: logged, recomputed not found"),
    (lambda r: setattr(r.matches[0], "label", "B"), "label: logged B, recomputed nothing"),
    (lambda r: setattr(r.matches[0], "variant", "flip"), "variant: logged flip, recomputed nothing"),
    (lambda r: r.ClearField("matches"), "not logged, recomputed found"),
    (lambda r: r.ClearField("set_aside"), "not logged, recomputed found"),
    (lambda r: setattr(r.set_aside[0], "why", "no"), "why: logged no, recomputed suppressed by t and b"),
    (lambda r: setattr(r.set_aside[0], "reason", 2), "reason: logged BENIGN, recomputed SUPPRESSED"),
    (lambda r: setattr(r.subject, "content_id", "other"), "question digest"),
    (lambda r: setattr(r.subject, "uploader_id", "other"), "question digest"),
    (lambda r: r.asked_lists.append("c"), "list c: to be searched at revision 7, and not logged as searched"),
    (lambda r: r.ClearField("asked_lists"), "list c: to be searched"),
    (lambda r: r.asked_lists.pop(), "list b: logged as searched, and not asked for"),
    (lambda r: setattr(r.hashed[0].fingerprint, "quality", 60), "question digest"),
    (lambda r: setattr(r.hashed[0].fingerprint, "value", value(1)), "distance: logged 4, recomputed 0"),
    (lambda r: r.hashed.add(hash_type="md5", unhashable=6), "not searched: md5, NOT_COVERED"),
    (lambda r: r.coverage.entries.update(pdq=11), "coverage: entries: logged pdq 11, recomputed pdq 10"),
    (lambda r: setattr(r.coverage.lists[0], "version", 2), "there is no version 2"),
    (lambda r: setattr(r.coverage.lists[0], "revision", 1), "list a: revision: logged 1, by the change feed 2"),
    (lambda r: setattr(r.coverage.lists[0], "entries", 4), "list a: entries: logged 4, recomputed 5"),
    (lambda r: setattr(r.coverage.lists[0], "benign", True), "list a: benign: logged yes, recomputed no"),
    (lambda r: r.coverage.lists[0].thresholds.update(pdq=3), "recomputed NO_MATCH"),
    (lambda r: r.coverage.lists[0].thresholds.update(pdq=257), "a threshold of 257 bits for pdq"),
    (lambda r: setattr(r.policies["a"], "disposition", 2), "list a: policy: disposition: logged REVIEW"),
    (lambda r: r.policies["a"].variants.append("no"), "unknown variant"),
    (lambda r: r.policies.pop("a"), "no policy of list 'a'"),
    (lambda r: setattr(r.coverage.lists[0], "list", "z"), "no hash list is named 'z'"),
    (lambda r: setattr(r.hashed[0].fingerprint, "value", b"x"), "a fingerprint of pdq has not 32 bytes"),
    (lambda r: r.hashed.add(hash_type="md5", unhashable=99), "not a reason"),
    (lambda r: r.hashed[0].fingerprint.ClearField("value"), "have been erased"),
    (lambda r: setattr(r.coverage, "revision", 99), "the lists here are at 7"),
]


@pytest.mark.parametrize(("tamper", "told"), TAMPERED, ids=[told[:40] for _, told in TAMPERED])
def test_a_tampered_record_is_reported(
    desk: Desk, judged: VerdictRecord, tamper: Callable[[VerdictRecord], object], told: str
) -> None:
    same(desk.then(judged))
    tamper(judged)
    replayed = desk.then(judged)
    assert not replayed.same
    assert told in "; ".join((*replayed.differences, replayed.unreplayable))
    assert value(1, 4).hex()[:8] not in str(replayed.differences)


def test_a_record_that_agrees_with_itself_is_held_against_the_change_feed(desk: Desk, judged: VerdictRecord) -> None:
    desk.rule("a", disposition=2)
    milder = desk.judge(pdq(1, 4), subject=Subject("content", "uploader", "chat"), lists=("a", "b"))
    milder.coverage.CopyFrom(judged.coverage)
    assert desk.then(milder).differences == ("list a: policy: disposition: logged REVIEW, by the change feed RESTRICT",)


# ── the media, the versions, what is gone ───────────────────────────────────────────────────────────────────────────


def test_media_that_is_there_is_hashed_again(desk: Desk) -> None:
    desk.create("ours", variants=["flips"])
    desk.load("ours", range(5))
    record = desk.judge(media=png(3))
    same(desk.then(record, media=png(3)))
    with pytest.raises(Malformed, match="not what was judged"):
        desk.then(record, media=png(4))
    turned = next(row for row in record.hashed if row.variant == "flip")
    turned.fingerprint.value = value(9)
    told = desk.then(record, media=png(3)).differences
    assert [one.partition(":")[0] for one in told] == ["fingerprint"] * 2
    assert "pdq, reading 'flip' at 0 ms" in told[0]


def test_other_versions_are_noted(desk: Desk) -> None:
    desk.create("ours")
    desk.load("ours", range(5))
    record = desk.judge(pdq(1))
    replayed = desk.replayer(versions={"hashmatch": "2", "pillow": "13"}).as_then(record)
    same(replayed)
    assert replayed.notes == (
        "version of hashmatch: 1 then, 2 here",
        "version of pdq: 1 then, none here",
        "version of pillow: none then, 13 here",
    )
    recipes = {**RECIPES, "pdq": replace(RECIPES["pdq"], default_threshold=20)}
    assert desk.replayer(recipes=recipes).as_then(record).notes == (
        "list ours: threshold of pdq: 31 then, from a recipe that says 20 now",
    )


# ── as now ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_todays_lists_say(desk: Desk) -> None:
    desk.create("ours", disposition=4)
    desk.load("ours", range(5))
    match, clean = desk.judge(pdq(1, 20)), desk.judge(pdq(9))
    asked = desk.judge(pdq(1, 20), lists=("ours",))
    assert desk.replay.as_now(match).same
    desk.guard.add(("ours", desk.entry("ours", 1)))
    held = desk.replay.as_now(match, held=desk.guard)
    assert held.differences[0] == "disposition: logged BLOCK, today REVIEW"
    desk.create("theirs", disposition=3)
    desk.load("theirs", range(8, 12))
    desk.rule("ours", disposition=4, thresholds={"pdq": 10}, variants=["flips"])
    desk.add("ours", 30)
    now = desk.replay.as_now(match)
    assert now.differences[:2] == ("finding: logged MATCH, today NO_MATCH", "disposition: logged BLOCK, today ALLOW")
    assert set(now.notes) == {
        "list ours: version: 1 then, 2 now",
        "list ours: entries: 5 then, 6 now",
        "list ours: threshold of pdq: 31 then, 10 now",
        "list ours: another policy now",
        "list theirs: not searched then, version 1 now",
    }
    assert desk.replay.as_now(clean).differences[0] == "finding: logged NO_MATCH, today MATCH"
    assert desk.replay.as_now(asked).record.coverage.lists[0].list == "ours"
    assert len(desk.replay.as_now(asked).record.coverage.lists) == 1
    same(desk.then(match))


def test_what_expires_counts_by_the_time_that_is_asked_for(desk: Desk) -> None:
    desk.create("ours")
    desk.load("ours", range(5))
    soon = clock.now() + timedelta(hours=1)
    desk.add("ours", 9, expires_at=soon)
    desk.suppress("ours", 1)
    expiring, suppressed = desk.judge(pdq(9)), desk.judge(pdq(1))
    later = clock.now() + timedelta(days=2)
    assert desk.replay.as_now(expiring).same
    assert desk.replay.as_now(suppressed).same
    assert desk.replay.as_now(expiring, at=later).record.set_aside[0].reason == SetAsideReason.SET_ASIDE_REASON_EXPIRED
    assert desk.replay.as_now(suppressed, at=later).record.finding == MATCH
    for record in desk.logged:
        same(desk.then(record))


def test_a_record_that_was_erased_cannot_be_replayed(desk: Desk) -> None:
    desk.create("ours")
    desk.load("ours", range(5))
    record = desk.judge(pdq(1))
    record.hashed[0].fingerprint.ClearField("value")
    record.hashed[0].digest = bytes(16)
    for replayed in (desk.then(record), desk.replay.as_now(record)):
        assert "erased" in replayed.unreplayable
        assert (replayed.same, replayed.record) == (False, None)
