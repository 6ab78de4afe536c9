"""A disk that fills up and gets room again, a real one: reading goes on, and so does writing, without a restart."""

from __future__ import annotations

from pathlib import Path


def test_full_disk(nursery, tmp_path: Path) -> None:
    code, lines = nursery.run("fill_disk", str(tmp_path))
    assert code == 0
    assert lines == [
        "full no room left on the disk of /state/ledger",
        "healthy False True",
        "lost [] None",
        "healthy True False",
        "contiguous True",
        "lost [] None",
        "problems []",
    ]
