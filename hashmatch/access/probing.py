"""Patterns of somebody who uses the service to learn what is listed, told from those of somebody who uploads.

Whoever changes a picture bit by bit until it no longer matches sends many fingerprints close to one another, some of
which match and some of which do not. A picture that is spreading is sent many times too, but its copies all match or
all do not. So the alarm is for the mixture. And whoever has a list and wants to know whether it is ours asks about
one thing after another that matches: no uploads look like that.

Nothing is refused for a pattern: a platform's uploads come under one key, and a missed match is worse than a probe.
What bounds a prober is the key's budget; the alarm is how a person learns of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

RECENT = 512  # queries of one caller that are remembered
NEAR_BITS = 60  # of 256: about twice the usual threshold, where a prober's steps lie
MANY = 16  # near queries, that one among them, of which a share matched: noticed well before the twentieth
FEW = 3  # of either kind that make it a mixture
HITS_OF = 200  # queries over which the share of matches is looked at
HITS_SHARE = 0.5  # of those that is unlike any upload traffic
QUIET_SECONDS = 3600.0  # between two alarms of one kind for one caller
_TYPE, _BYTES = "pdq", 32


@dataclass(slots=True)
class Pattern:
    """What one caller asked lately. Guarded by its owner's lock."""

    _values: npt.NDArray[np.uint64] = field(default_factory=lambda: np.zeros((RECENT, _BYTES // 8), np.uint64))
    _matched: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros(RECENT, np.bool_))
    _count: int = 0  # of values ever remembered
    _asked: int = 0  # of the present HITS_OF
    _hits: int = 0
    _told: dict[str, float] = field(default_factory=dict)  # monotonic seconds, by alarm

    def add(self, fingerprints: Iterable[tuple[str, bytes]], matched: bool, at: float) -> list[tuple[str, str]]:
        """Adds one query's plain fingerprints; the alarms it raises, each with why. `at` is in monotonic seconds."""
        found: list[tuple[str, str]] = []
        self._asked += 1
        self._hits += matched
        if self._asked >= HITS_OF:
            if self._hits >= HITS_SHARE * self._asked:
                found.append(("hits", f"{self._hits} of {self._asked} queries matched"))
            self._asked = self._hits = 0
        for hash_type, value in fingerprints:
            if hash_type == _TYPE and len(value) == _BYTES:
                found += self._near(np.frombuffer(value, np.uint64), matched)
                break  # the first frame's: one per query keeps the cost at some 10 µs
        told = [(alarm, why) for alarm, why in found if at - self._told.get(alarm, -QUIET_SECONDS) >= QUIET_SECONDS]
        self._told.update({alarm: at for alarm, _ in told})
        return told

    def _near(self, value: npt.NDArray[np.uint64], matched: bool) -> list[tuple[str, str]]:
        kept = min(self._count, RECENT)
        distances = np.bitwise_count(self._values[:kept] ^ value).sum(axis=1)
        if (distances == 0).any():  # the same again teaches its sender nothing
            return []
        near = distances <= NEAR_BITS
        hits = int(self._matched[:kept][near].sum()) + matched
        many = int(near.sum()) + 1
        self._values[self._count % RECENT], self._matched[self._count % RECENT] = value, matched
        self._count += 1
        if many >= MANY and min(hits, many - hits) >= FEW:
            return [("probing", f"{many} queries within {NEAR_BITS} bits of one another, {hits} of which matched")]
        return []
