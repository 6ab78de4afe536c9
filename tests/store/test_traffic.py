"""The sample of traffic: uniform, bounded, never in the way, and erasable."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from hashmatch.errors import BadConfig, StoreFull
from hashmatch.store import traffic as module
from hashmatch.store.traffic import Sample, Traffic, place
from hashmatch.v1.store_pb2 import TrafficRecord

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


@pytest.fixture
def traffic(tmp_path: Path) -> Iterator[Traffic]:
    traffic = Traffic(tmp_path)
    yield traffic
    traffic.close()


def item(number: int, uploader: str = "") -> TrafficRecord:
    record = TrafficRecord(verdict_id=f"v{number}")
    record.subject.uploader_id = uploader
    return record


def kept(traffic: Traffic) -> list[str]:
    return [record.verdict_id for _, record in traffic.items()]


def test_every_item_of_a_day_is_kept_with_the_same_chance() -> None:
    draw, counted, rounds, items, room = random.Random(1), Counter[int](), 4000, 40, 10
    for _ in range(rounds):
        places: dict[int, int] = {}
        for number in range(1, items + 1):
            at = place(number, room, draw)
            if at is not None:
                places[at] = number
        assert sorted(places) == list(range(room))
        counted.update(places.values())
    expected = rounds * room / items
    # Chi-square with 39 degrees of freedom: above 73 once in a thousand seeds, and this seed is fixed.
    assert sum((counted[n] - expected) ** 2 / expected for n in range(1, items + 1)) < 73


def test_a_day_keeps_its_share_and_old_days_go(traffic: Traffic) -> None:
    sample = Sample(traffic, items=30, days=3, draw=random.Random(2))
    for day in range(5):
        for number in range(25):
            sample.offer(lambda number=100 * day + number: item(number), NOON + timedelta(days=day))
        sample.flush()
    sample.close()
    days = Counter(int(name[1:]) // 100 for name in kept(traffic))
    assert days == {2: 10, 3: 10, 4: 10}
    assert traffic.seen(int(NOON.timestamp()) // 86_400 + 4) == 25


def test_a_day_goes_on_after_a_restart(traffic: Traffic) -> None:
    for _ in range(2):
        sample = Sample(traffic, items=10, days=1, draw=random.Random(3))
        for number in range(50):
            sample.offer(lambda number=number: item(number), NOON)
        sample.close()
    assert traffic.seen(int(NOON.timestamp()) // 86_400) == 100
    assert len(kept(traffic)) == 10


def test_an_uploaders_items_are_found_and_erased(traffic: Traffic, tmp_path: Path) -> None:
    sample = Sample(traffic, items=100, days=1)
    for number in range(20):
        sample.offer(lambda number=number: item(number, f"user-{number % 3}"), NOON)
    sample.close()
    assert traffic.forget("user-1") == 7
    assert traffic.forget("user-1") == 0
    assert len(kept(traffic)) == 13
    with traffic.env.read() as txn:
        assert txn.stat(traffic.env.table("uploaders"))["entries"] == 13
        keys = b"".join(txn.cursor(db=traffic.env.table("uploaders")).iternext(values=False))
    assert b"user" not in keys


def test_offers_never_wait_and_failures_are_told_once(traffic: Traffic, monkeypatch, caplog) -> None:
    def full(*_: object) -> None:
        raise StoreFull

    monkeypatch.setattr(traffic, "write", full)
    monkeypatch.setattr(module, "MAX_WAITING", 10)
    sample = Sample(traffic, items=1000, days=1)
    began = time.perf_counter()
    for number in range(200):
        sample.offer(lambda number=number: item(number), NOON)
    assert time.perf_counter() - began < 0.5
    sample.flush()
    sample.offer(lambda: item(1), NOON)
    sample.close()
    assert caplog.text.count("cannot be written") == 1
    assert "were not taken into the sample" in caplog.text


def test_marks_stay_with_their_item(traffic: Traffic) -> None:
    sample = Sample(traffic, items=10, days=1)
    sample.offer(lambda: item(1), NOON)
    sample.close()
    ((slot, _),) = traffic.items()
    traffic.mark(slot, ["ours/abc"])
    traffic.mark((1, 1), ["ours/abc"])
    ((_, record),) = traffic.items()
    assert list(record.matched) == ["ours/abc"]


def test_there_is_nothing_to_read_before_it_was_written(tmp_path: Path) -> None:
    with pytest.raises(BadConfig):
        Traffic(tmp_path / "none", readonly=True)
