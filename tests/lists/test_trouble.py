"""Kills, full disks and flipped bits: what is served is what was written, or nothing is."""

from __future__ import annotations

import ast
from pathlib import Path

KILLS = 50
FLIPS = 400


def test_a_killed_import_leaves_the_old_state_whole(processes, tmp_path: Path) -> None:
    code, lines = processes.run("kill", tmp_path / "state", KILLS)
    assert (code, lines) == (0, ["whole"] * KILLS)


def test_a_full_disk_changes_nothing_and_can_be_cured(processes, tmp_path: Path) -> None:
    code, lines = processes.run("full", tmp_path / "state")
    assert code == 0
    assert lines == ["full StoreFull", "full StoreFull", "unchanged True 1", "staged 20000", "verified 2"]


def test_no_flipped_bit_is_served(processes, tmp_path: Path) -> None:
    code, lines = processes.run("flip", tmp_path / "state", FLIPS)
    assert code == 0
    outcomes = ast.literal_eval(lines[0])
    print(outcomes)
    assert sum(outcomes.values()) == FLIPS
    assert outcomes["silent"] == 0
    assert outcomes["found"] > FLIPS / 4
