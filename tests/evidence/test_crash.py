"""Processes that die and disks that refuse, at every step: an item is whole or not there, and what is told is true."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

DYING = Path(__file__).with_name("dying.py")


def run(kind: str, how: str, directory: Path) -> list[str]:
    done = subprocess.run(
        [sys.executable, DYING, kind, how, directory], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.mark.parametrize("how", ["die", "refuse"])
@pytest.mark.parametrize(("kind", "least"), [("sealing", 8), ("destroying", 6), ("swept", 6), ("rewrapping", 5)])
def test_every_step(tmp_path, kind, least, how):
    (steps,) = run(kind, how, tmp_path)
    assert int(steps.removeprefix("steps ")) >= least


def test_names_last_only_after_what_they_name(tmp_path):
    sealed, destroyed = run("order", "", tmp_path)
    assert sealed == (
        "fsync folder, "  # the vault, of the folder's name
        "fsync .sealed.new, fsync .key.new, replace .sealed.new, fsync folder, replace .key.new, fsync folder"
    )
    assert destroyed == (
        "replace .key, fsync folder, fsync .gone, unlink .gone, fsync folder, "
        "unlink .sealed.new, unlink .sealed, fsync folder"
    )


def test_a_full_disk_keeps_nothing_by_half(tmp_path):
    assert run("full", "", tmp_path) == ["StoreFull [] True", "StoreFull [] True", f"{3 << 20} True"]
