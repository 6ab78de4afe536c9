"""One flipped bit anywhere in a ledger's file: what is read is what was written, or it is found."""

from __future__ import annotations

import random
from datetime import timedelta
from pathlib import Path

import pytest

FLIPS = 400
RECORDS = 100


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, tasks) -> Path:
    state = tmp_path_factory.mktemp("flipped")
    ledger = tasks.opened(state)
    for number in range(RECORDS):
        future = tasks.append(ledger, number)
        if number % 7 == 0:
            future.result(10)
        ledger.count(f"surface {number % 5}", 2, tasks.START + timedelta(minutes=number % 11))
    ledger.close()
    return state


def test_no_flip_is_silent(written: Path, nursery) -> None:
    chance = random.Random(3)
    data = written / "ledger" / "data.mdb"
    sound = bytearray(data.read_bytes())
    right = nursery.run("read_all", str(written), RECORDS)
    assert right[0] == 0
    assert right[1][0].startswith("read ")
    outcomes = {"harmless": 0, "found by reading": 0, "found by checking": 0}
    silent = []
    for _ in range(FLIPS):
        at, bit = chance.randrange(len(sound)), 1 << chance.randrange(8)
        sound[at] ^= bit
        data.write_bytes(sound)
        code, lines = nursery.run("read_all", str(written), RECORDS)
        if (code, lines) == right:
            outcomes["harmless"] += 1
        elif code == 0 and lines[0].startswith("raised"):
            outcomes["found by reading"] += 1
        else:
            code, problems = nursery.run("check", str(written))
            if code == 0 and any(problems):
                outcomes["found by checking"] += 1
            else:
                silent.append((at, bit, code, lines, problems))
        sound[at] ^= bit
    print(outcomes)
    assert silent == []
    assert outcomes["found by reading"] > FLIPS / 5  # the rest hit what is free, or only proofs read
