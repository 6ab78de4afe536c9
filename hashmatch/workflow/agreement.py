"""How far two people who decided without knowing of each other agree, beyond what chance would do.

Cohen's kappa (Educ. Psychol. Meas. 20, 1960) with the large-sample error of Fleiss, Cohen and Everitt (Psychol. Bull.
72, 1969). It says little where nearly everything is of one kind: read it beside the raw agreement.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from hashmatch.audit.statistics import wilson

_Z: Final = 1.959964  # of a 95 % interval


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of pairs of decisions."""

    pairs: int
    agreed: int
    raw: float  # share that agreed
    raw_95: tuple[float, float]
    kappa: float | None  # None: both said the same of everything, so chance alone would agree
    kappa_95: tuple[float, float] | None


def agreement(pairs: Iterable[tuple[str, str]]) -> Agreement | None:
    """How far the first and the second of each pair agree; None of nothing."""
    cells = Counter(pairs)
    n = cells.total()
    raw_95 = wilson(agreed := sum(count for (a, b), count in cells.items() if a == b), n)
    if raw_95 is None:
        return None
    raw = agreed / n
    first: Counter[str] = Counter()
    second: Counter[str] = Counter()
    for (a, b), count in cells.items():
        first[a] += count
        second[b] += count
    # In whole numbers, since whether chance is 1 must not hang on rounding.
    by_chance = sum(first[kind] * second[kind] for kind in first)
    if by_chance == n * n:
        return Agreement(n, agreed, raw, raw_95, None, None)
    chance = by_chance / (n * n)
    kappa = (raw - chance) / (1 - chance)
    if agreed in (0, n):
        # The error below is 0 where all agree, however few they are; that of the raw agreement is not.
        low, high = ((edge - chance) / (1 - chance) for edge in raw_95)
        return Agreement(n, agreed, raw, raw_95, kappa, (max(-1.0, min(low, kappa)), min(1.0, max(high, kappa))))
    half = _Z * _error(cells, first, second, kappa, chance)
    return Agreement(n, agreed, raw, raw_95, kappa, (max(-1.0, kappa - half), min(1.0, kappa + half)))


def _error(
    cells: Counter[tuple[str, str]], first: Counter[str], second: Counter[str], kappa: float, chance: float
) -> float:
    """The standard error, by formula 13 of Fleiss, Cohen and Everitt."""
    n = cells.total()
    same = sum(
        count / n * (1 - (first[a] + second[a]) / n * (1 - kappa)) ** 2 for (a, b), count in cells.items() if a == b
    )
    other = sum(count / n * ((second[a] + first[b]) / n) ** 2 for (a, b), count in cells.items() if a != b)
    variance = same + (1 - kappa) ** 2 * other - (kappa - chance * (1 - kappa)) ** 2
    return math.sqrt(max(0.0, variance) / n) / (1 - chance)
