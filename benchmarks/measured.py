"""What every benchmark shares: medians, a table for people, and the same as JSON with where it was measured.

JSON goes to benchmarks/results/NAME.json: commit, machine, versions, corpus, tables. Timings of a shared machine are
worth comparing within one run only, so runs interleave what they compare and report medians and ratios.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
PACKAGES = (
    "hashmatch",
    "pdqhash",
    "ImageHash",
    "numpy",
    "pillow",
    "pi_heif",
    "faiss-cpu",
    "grpcio",
    "lmdb",
    "protobuf",
)


def interleaved(ways: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median milliseconds of each way, taken in turns so that a noisy moment hits all of them; one round warms up."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for i in range(rounds + 1):
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            if i:
                taken[name].append(1000 * (time.perf_counter() - began))
    return {name: statistics.median(times) for name, times in taken.items()}


def versions() -> dict[str, str]:
    """Versions of Python and of what does the work."""
    return {"python": platform.python_version()} | {package: version(package) for package in PACKAGES}


class Report:
    """The tables of one benchmark, printed as they come and written together."""

    def __init__(self, name: str, corpus: str) -> None:
        self.name = name
        self.content: dict[str, Any] = {
            "benchmark": name,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "commit": _commit(),
            "machine": {"cpu": _cpu(), "cores": os.cpu_count(), "system": f"{platform.system()} {platform.machine()}"},
            "versions": versions(),
            "corpus": corpus,
            "tables": {},
        }
        print(f"{name}: commit {self.content['commit']}, {_cpu()} × {os.cpu_count()}\n{corpus}")

    def table(self, title: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Prints rows of one shape under a title, and keeps them."""
        self.content["tables"][title] = list(rows)
        if not rows:
            return
        cells = [list(rows[0]), *([_shown(value) for value in row.values()] for row in rows)]
        widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
        print(f"\n{title}")
        for line in cells:
            print("  " + "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))

    def write(self) -> Path:
        """The file that the report was written to."""
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{self.name}.json"
        path.write_text(json.dumps(self.content, indent=2, ensure_ascii=False) + "\n")
        print(f"\nwritten: {path.relative_to(Path(__file__).parent.parent)}")
        return path


def _shown(value: Any) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _commit() -> str:
    """The commit that is checked out, with + where the work tree differs from it."""
    here = Path(__file__).parent
    done = subprocess.run(
        ["git", "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"],
        cwd=here, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout.strip() or "unknown"


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
