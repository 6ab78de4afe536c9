"""Lists tried on sampled traffic: told what a loop would tell, and judged again once."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from hashmatch import app, clock
from hashmatch.audit.ledger import Ledger
from hashmatch.config import Settings
from hashmatch.errors import Malformed, Refused, Unavailable
from hashmatch.index.recipe import load_recipes
from hashmatch.lists.keeper import ListKeeper
from hashmatch.store.lists import ListStore
from hashmatch.store.traffic import Sample, Traffic
from hashmatch.trials import Trials
from hashmatch.types import Fingerprint
from hashmatch.v1 import common_pb2, lists_pb2
from hashmatch.v1.store_pb2 import TrafficRecord

NOW = datetime.now(UTC)
ITEMS = 120


def value(number: int, moved: int = 0) -> bytes:
    """A number's PDQ value, some bits off."""
    rng = np.random.default_rng(number)
    bits = rng.permutation(np.repeat(np.array([0, 1], np.uint8), 128))
    bits[rng.choice(256, moved, replace=False)] ^= 1
    return np.packbits(bits).tobytes()


def distance(a: bytes, b: bytes) -> int:
    return (int.from_bytes(a, "big") ^ int.from_bytes(b, "big")).bit_count()


def item(number: int) -> TrafficRecord:
    record = TrafficRecord(verdict_id=f"v{number}")
    record.at.FromDatetime(NOW)
    record.subject.uploader_id = f"user-{number % 7}"
    record.subject.content_id = f"content-{number}"
    record.subject.surface = ("chat", "feed")[number % 2]
    for variant, moved in (("", number % 60), ("flip", 0)):
        fingerprint = common_pb2.Fingerprint(hash_type="pdq", value=value(number + (variant == "flip") * 500, moved))
        record.hashed.add(hash_type="pdq", fingerprint=fingerprint, variant=variant)
    return record


TRAFFIC = [item(number) for number in range(ITEMS)]


@pytest.fixture
def trials(tmp_path: Path) -> Iterator[Trials]:
    recipes = load_recipes()
    store, traffic, ledger = ListStore(tmp_path), Traffic(tmp_path), Ledger(tmp_path)
    keeper = ListKeeper(store, recipes)
    live = app.live_index(store, Settings(state=tmp_path), recipes, keeper.entry_ids)
    sample = Sample(traffic, items=1000, days=1)
    for record in TRAFFIC:
        sample.offer(lambda record=record: record, NOW)
    sample.close()
    yield Trials(keeper, store, live, traffic, ledger, {"hashmatch": "test"})
    for opened in (store, traffic, ledger):
        opened.close()


def stage(trials: Trials, numbers: range, *, activate: bool, **policy: object) -> int:
    keeper = trials.lists
    assert isinstance(keeper, ListKeeper)
    if not any(one.name == "ours" for one in keeper.all().lists):
        keeper.create("ours", policy=lists_pb2.Policy(disposition=common_pb2.DISPOSITION_BLOCK, **policy), by="t")
    text = "".join(f"{value(number).hex()}\n" for number in numbers)
    header = lists_pb2.ImportHeader(name="ours", format=lists_pb2.IMPORT_FORMAT_HEX, activate=activate)
    return keeper.stage(header, io.BytesIO(text.encode()), by="t").version


def expected(numbers: range, threshold: int, variants: tuple[str, ...] = ("",)) -> set[int]:
    """Which items a list of these would match, by a loop."""
    return {
        at
        for at, record in enumerate(TRAFFIC)
        for row in record.hashed
        for number in numbers
        if row.variant in variants and distance(row.fingerprint.value, value(number)) <= threshold
    }


@pytest.mark.parametrize("threshold", [0, 20, 31, 48])
@pytest.mark.parametrize("flips", [False, True])
def test_preflight_tells_what_a_loop_tells(trials: Trials, threshold: int, flips: bool) -> None:
    variants = ["flips"] if flips else []
    stage(trials, range(40), activate=True, thresholds={"pdq": 31}, variants=variants)
    staged = stage(trials, range(20, 90), activate=False)
    listed = range(20, 90)
    seen = ("", "flip") if flips else ("",)
    told = trials.preflight(lists_pb2.PreflightListRequest(name="ours", version=staged, thresholds={"pdq": threshold}))
    would = expected(listed, threshold, seen)
    assert (told.version, told.items) == (staged, ITEMS)
    assert told.would.items == len(would)
    assert told.would.uploaders == len({at % 7 for at in would})
    assert dict(told.would.surfaces) == {
        name: n for i, name in enumerate(("chat", "feed")) if (n := sum(at % 2 == i for at in would))
    }
    assert told.already.items == len(expected(range(40), 31, seen))
    assert sum(entry.items for entry in told.entries) == min(20, len(would))
    assert told.oldest == told.newest == TRAFFIC[0].at


def test_preflight_takes_what_is_staged_or_with_thresholds_what_is_active(trials: Trials) -> None:
    stage(trials, range(10), activate=True)
    with pytest.raises(Refused, match="nothing staged"):
        trials.preflight(lists_pb2.PreflightListRequest(name="ours"))
    assert trials.preflight(lists_pb2.PreflightListRequest(name="ours", thresholds={"pdq": 48})).version == 1
    for thresholds, field in (({"pdq": 49}, "thresholds[pdq]"), ({"md5": 0}, "thresholds[md5]")):
        with pytest.raises(Malformed) as refused:
            trials.preflight(lists_pb2.PreflightListRequest(name="ours", thresholds=thresholds))
        assert refused.value.field == field


def test_new_entries_are_matched_backwards_once(trials: Trials) -> None:
    stage(trials, range(10), activate=True)
    stage(trials, range(30), activate=True)
    added = expected(range(10, 30), 31)
    done = trials.retro_match(lists_pb2.RetroMatchListRequest(name="ours", reason="new"))
    assert (done.items, len(done.verdict_ids)) == (ITEMS, len(added))
    events = trials.ledger.events()
    assert [event.verdict.verdict_id for event in events] == list(done.verdict_ids)
    assert {event.verdict.subject.content_id for event in events} == {f"content-{at}" for at in added}
    for event in events:
        verdict = event.verdict
        assert (verdict.retro.list, verdict.retro.version, verdict.finding) == ("ours", 2, common_pb2.FINDING_MATCH)
        assert verdict.retro.first_judged_at == TRAFFIC[0].at
        assert verdict.disposition == common_pb2.DISPOSITION_BLOCK
    again = trials.retro_match(lists_pb2.RetroMatchListRequest(name="ours", reason="again"))
    assert (again.items, list(again.verdict_ids)) == (ITEMS, [])
    assert trials.ledger.last_sequence() == len(added)


def test_what_is_suppressed_is_not_matched_backwards(trials: Trials) -> None:
    stage(trials, range(30), activate=True)
    entry = trials.lists.entry_ids("ours", Fingerprint("pdq", value(5)))
    trials.lists.suppress(
        "ours", entry, reason="mistaken", approver="b", expires_at=clock.now() + timedelta(days=1), by="t"
    )
    done = trials.retro_match(lists_pb2.RetroMatchListRequest(name="ours", entry_id=entry))
    assert (done.items, list(done.verdict_ids)) == (ITEMS, [])


def test_one_entry_can_be_matched_backwards_alone(trials: Trials) -> None:
    stage(trials, range(30), activate=True)
    entry = trials.lists.entry_ids("ours", Fingerprint("pdq", value(5)))
    done = trials.retro_match(lists_pb2.RetroMatchListRequest(name="ours", entry_id=entry))
    assert len(done.verdict_ids) == len(expected(range(5, 6), 31)) == 1


def test_without_a_sample_it_is_said(trials: Trials) -> None:
    stage(trials, range(3), activate=True)
    with pytest.raises(Refused, match="traffic_sample is 0"):
        replace(trials, traffic=None).preflight(lists_pb2.PreflightListRequest(name="ours", version=1))


def test_a_stop_ends_what_is_under_way(trials: Trials) -> None:
    stage(trials, range(3), activate=True)
    trials.stop()
    for ask in (
        lambda: trials.preflight(lists_pb2.PreflightListRequest(name="ours", version=1)),
        lambda: trials.retro_match(lists_pb2.RetroMatchListRequest(name="ours")),
    ):
        with pytest.raises(Unavailable, match="stopping"):
            ask()
