"""kill -9 of a writer, two hundred times on one ledger: what was acknowledged is there, each time."""

from __future__ import annotations

import pickle
import random
import time
from pathlib import Path

KILLS = 200


def test_nothing_acknowledged_is_lost(tmp_path: Path, nursery) -> None:
    chance = random.Random(7)
    state, everything = tmp_path / "state", []
    latest: list[tuple[int, int]] = []
    for run in range(KILLS):
        child = nursery.start("write", str(state), latest, run * 100_000, chance.choice((1, 4, 16)))
        output = b""
        if run % 4:  # every fourth dies while it starts
            output = child.read_until(lambda found: b"open\n" in found)
        time.sleep(chance.uniform(0, 0.04))
        child.kill()
        output += child.output.readall()
        assert child.wait() == -9
        lines = output.decode().split("\n")[:-1]  # what follows the last line end was not printed whole
        if "open" in lines:
            assert lines[0] == "open", lines[0]
            latest = [tuple(map(int, line.split())) for line in lines[1:]]
            everything += latest
    assert len(everything) > KILLS
    (tmp_path / "acknowledged").write_bytes(pickle.dumps(everything))
    assert nursery.run("verify", str(state), str(tmp_path / "acknowledged")) == (0, ["", ""])
