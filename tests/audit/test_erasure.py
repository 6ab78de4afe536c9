"""Erasing: keys are gone, the tree verifies, what is not concerned stays."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from logs import Clock, exported, match, opened

from hashmatch.audit import erasure
from hashmatch.audit.check import check_state
from hashmatch.errors import Malformed


class Nothing:
    """No case is here that could keep anything."""

    def why(self, _txn, _digest, _now):
        return ""

    def forget(self, _txn, _digest):
        pass


NOTHING = Nothing()


def readable(ledger, number: int) -> bool:
    verdict = ledger.verdict(f"v_{number:08}").verdict
    if verdict.subject.content_id:
        assert verdict.hashed[0].fingerprint.value == number.to_bytes(32)
        return True
    assert not verdict.hashed[0].fingerprint.value
    assert len(verdict.hashed[0].digest) == 16
    return False


def at(clock: Clock, month: int) -> None:
    clock.now = datetime(2026, month, 15, tzinfo=UTC)


def test_whole_months_are_forgotten(tmp_path: Path) -> None:
    clock = Clock()
    with closing(opened(tmp_path / "state", clock)) as ledger:
        for month in (1, 2, 3, 4):
            at(clock, month)
            for number in (10 * month, 10 * month + 1):
                ledger.append(match(number, f"uploader-{number % 2}"), log=True, remember=False).result(10)
        number = erasure.expire(ledger, days=31, now=clock.now, ground="retention", by="tests", kept=NOTHING)
        assert number == 4  # two uploaders, of January and of February: a key each month
        assert [readable(ledger, 10 * month) for month in (1, 2, 3, 4)] == [False, False, True, True]
        assert erasure.expire(ledger, days=31, now=clock.now, ground="retention", by="tests", kept=NOTHING) == 0
        (erased,) = [event.erased for event in ledger.events() if event.HasField("erased")]
        assert (len(erased.key_ids), erased.ground) == (4, "retention")
    assert check_state(tmp_path / "state").problems == []
    assert exported(tmp_path / "state", tmp_path / "export").report().problems == []


def test_one_of_many_is_forgotten_in_every_month_and_answer(tmp_path: Path) -> None:
    clock = Clock()
    with closing(opened(tmp_path / "state", clock)) as ledger:
        for month in (1, 2):
            at(clock, month)
            for number in (month, 10 + month):
                record = match(number, "gone" if number < 10 else "stays")
                record.request_id = f"r{number}"
                ledger.append(record, log=True, remember=True).result(10)
        subject = erasure.subject(uploader_id="gone")
        assert erasure.erase(ledger, subject, ground="GDPR Art. 17", by="tests", kept=NOTHING) == 2
        assert [readable(ledger, n) for n in (1, 2, 11, 12)] == [False, False, True, True]
        assert [ledger.remembered(f"r{n}") is not None for n in (1, 2, 11, 12)] == [False, False, True, True]
        again = match(3, "gone")
        ledger.append(again, log=True, remember=False).result(10)
        assert readable(ledger, 3)  # who comes again has a new key
    assert check_state(tmp_path / "state").problems == []
    assert exported(tmp_path / "state", tmp_path / "export").report().problems == []


@pytest.mark.parametrize(("uploader", "ground"), [("", "GDPR"), ("someone", " ")])
def test_what_cannot_be_erased(tmp_path: Path, uploader: str, ground: str) -> None:
    with closing(opened(tmp_path / "state", run=False)) as ledger, pytest.raises(Malformed):
        erasure.erase(ledger, erasure.subject(uploader_id=uploader), ground=ground, by="tests", kept=NOTHING)
