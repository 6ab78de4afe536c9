"""The figures of `hashmatch kpi` as gauges: the names, and what of the figures each says.

What nothing is known of has no series, since a 0 would be a figure that nobody found. Label values come from closed
sets and from the names of lists; of precision, whose labels multiply, no more than MAX_PRECISION series are told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

MAX_PRECISION: Final = 500  # lists x hash types x bands, those with most decisions; a hundred lists fill it
CLOCK_OF: Final = {"contained": "contain", "acknowledged": "acknowledge", "decided": "decide", "reported": "report"}
QUANTILES: Final = {"p50": "0.5", "p90": "0.9", "p95": "0.95"}

Told = Mapping[str, Any]  # as `figures.told`
Row = tuple[tuple[str, ...], float]  # label values, and the value


def _waiting(name: str) -> Callable[[Told], Iterator[Row]]:
    def rows(told: Told) -> Iterator[Row]:
        for tier, row in told["backlog"].items():
            yield (tier,), row[name]

    return rows


def _quantiles(told: Told) -> Iterator[Row]:
    for milestone, tiers in told["time_to"].items():
        for tier, row in tiers.items():
            for name, quantile in QUANTILES.items():
                if row[name] is not None:  # else too many are still going on to tell
                    yield (milestone, tier, quantile), row[name]


def _clocks(value: Callable[[Told], float]) -> Callable[[Told], Iterator[Row]]:
    def rows(told: Told) -> Iterator[Row]:
        for milestone, tiers in told["within_clock"].items():
            for tier, row in tiers.items():
                if row["of"]:
                    yield (CLOCK_OF[milestone], tier), value(row)

    return rows


def _most_decided(told: Told) -> list[Told]:
    return sorted(told["precision"], key=lambda row: -row["of"])[:MAX_PRECISION]


def _precision(name: str) -> Callable[[Told], Iterator[Row]]:
    def rows(told: Told) -> Iterator[Row]:
        for row in _most_decided(told):
            yield (row["list"], row["hash_type"], row["band"]), row[name]

    return rows


def _left_out(told: Told) -> Iterator[Row]:
    if told["precision"]:
        yield (), len(told["precision"]) - len(_most_decided(told))


def _reversed(told: Told) -> Iterator[Row]:
    if told["reversal_rate"]["of"]:
        yield (), told["reversal_rate"]["share"]


def _gap(told: Told) -> Iterator[Row]:
    if told["reconciliation"]["matches"]:
        yield (), told["reconciliation"]["gap"]


def _of_cases(*path: str) -> Callable[[Told], Iterator[Row]]:
    """What is counted once there are cases."""

    def rows(told: Told) -> Iterator[Row]:
        found: Any = told
        for name in path:
            found = found[name]
        if told["cases"]:
            yield (), found

    return rows


_FIGURES: Final[Mapping[str, tuple[str, tuple[str, ...], Callable[[Told], Iterable[Row]]]]] = {
    "hashmatch_undecided_cases": ("Cases that nobody has decided.", ("tier",), _waiting("cases")),
    "hashmatch_undecided_oldest_seconds": ("Age of the oldest of them.", ("tier",), _waiting("oldest")),
    "hashmatch_case_quantile_seconds": (
        "Time from detection to a milestone that a share of the window's cases take at most; open ones count.",
        ("milestone", "tier", "quantile"), _quantiles,
    ),
    "hashmatch_clock_attainment_ratio": (
        "Share of the window's cases that met a clock, of all that did or should have.", ("clock", "tier"),
        _clocks(lambda row: float(row["share"])),
    ),
    "hashmatch_clock_breaches": (
        "Cases of the window that did not meet a clock.", ("clock", "tier"),
        _clocks(lambda row: row["of"] - row["hits"]),
    ),
    "hashmatch_reversal_ratio": ("Share of the matches acted on whose actions were reversed.", (), _reversed),
    "hashmatch_precision_ratio": (
        "Share of decided matches that people confirmed.", ("list", "hash_type", "band"), _precision("share")
    ),
    "hashmatch_precision_decisions": (
        "Decided matches that the share is of.", ("list", "hash_type", "band"), _precision("of")
    ),
    "hashmatch_precision_left_out": ("Lists, hash types and bands that are not told, being too many.", (), _left_out),
    "hashmatch_reconciliation_gap": ("Matches of which nothing is known to have come; must be 0.", (), _gap),
    "hashmatch_outbox_backlog": (
        "Instructions that nobody has said are done, and that are not given up.", (), _of_cases("outbox", "waiting")
    ),
    "hashmatch_outbox_given_up": (
        "Instructions given up that wait for a person.", (), _of_cases("outbox", "given_up")
    ),
    "hashmatch_exposure_minutes": (
        "Minutes for which evidence was shown to anybody, at most.", (), _of_cases("exposure_minutes")
    ),
    "hashmatch_second_looks_waiting": (
        "Second looks that nobody has said yet.", (), _of_cases("second_looks", "waiting")
    ),
    "hashmatch_second_looks_overdue": (
        "Of them, those that were not said when they were first due.", (), _of_cases("second_looks", "overdue")
    ),
}  # fmt: skip
_OWN: Final[Mapping[str, str]] = {
    "hashmatch_kpi_seconds": "Time that it took to compute these figures.",
    "hashmatch_kpi_timestamp_seconds": "When they were computed last.",
}

GAUGES: Final[Mapping[str, tuple[str, ...]]] = {
    **{name: labels for name, (_, labels, _) in _FIGURES.items()},
    **dict.fromkeys(_OWN, ()),
}
"""Every gauge with its labels."""


class Figures(Collector):
    """The figures that were computed last; none before."""

    def __init__(self) -> None:
        self._now: tuple[Told, float, float] | None = None  # with the seconds they took, and when; replaced whole

    def take_in(self, told: Told, seconds: float, at: float) -> None:
        """Takes over figures, as `figures.told`; `at`: seconds since 1970."""
        self._now = told, seconds, at

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """As Prometheus' registry wants it."""
        now = self._now
        for name, (text, labels, rows) in _FIGURES.items():
            family = GaugeMetricFamily(name, text, labels=labels)
            for values, value in rows(now[0]) if now is not None else ():
                family.add_metric(values, value)
            yield family
        for place, (name, text) in enumerate(_OWN.items()):
            family = GaugeMetricFamily(name, text, labels=())
            if now is not None:
                family.add_metric((), now[1:][place])
            yield family
