"""Submissions that were counted and are not on disk yet, by minute, finding, surface and reason."""

from __future__ import annotations

import threading
from collections import Counter

MAX_SURFACES = 256  # counted apart in one process's life, so that a caller's invention cannot fill the disk
MAX_SURFACE_BYTES = 128  # of UTF-8, as long as a request id
OTHER_SURFACES = "(other)"  # where surfaces beyond those two bounds are counted

Counts = Counter[tuple[int, int, str, str]]
"""By minute, finding (the wire's number; 0: not scanned), surface, and why it is UNKNOWN or was not scanned."""


class Tally:
    """Counts until it is emptied. All methods may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards both below
        self._counts: Counts = Counter()
        self._surfaces: set[str] = set()

    def add(self, minute: int, finding: int, surface: str, reason: str = "") -> None:
        with self._lock:
            if surface not in self._surfaces:
                if len(self._surfaces) < MAX_SURFACES and len(surface.encode()) <= MAX_SURFACE_BYTES:
                    self._surfaces.add(surface)
                else:
                    surface = OTHER_SURFACES
            self._counts[minute, finding, surface, reason] += 1

    def take(self) -> Counts:
        """What was counted since the last time; it is the caller's now, to write down or to put back."""
        with self._lock:
            taken, self._counts = self._counts, Counter()
        return taken

    def put_back(self, taken: Counts) -> None:
        with self._lock:
            self._counts.update(taken)
