"""The figures as the wire has them: of what `figures.told` says, so that nothing is told one way and not the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hashmatch.v1.kpis_pb2 import (
    KpiAgreement,
    KpiBacklog,
    KpiInterval,
    KpiLateLook,
    KpiMilestone,
    KpiOutbox,
    KpiPrecision,
    KpiReconciliation,
    KpiReportCompleteness,
    Kpis,
    KpiSecondLooks,
    KpiShare,
    KpiTimes,
    KpiWithinClock,
)

Told = Mapping[str, Any]


def kpis(told: Told) -> Kpis:
    """What was told, typed."""
    return Kpis(
        cases=told["cases"],
        time_to=[
            KpiTimes(milestone=_milestone(one), tier=_tier(tier), **row)
            for one, rows in told["time_to"].items()
            for tier, row in rows.items()
        ],
        within_clock=[
            KpiWithinClock(milestone=_milestone(one), tier=_tier(tier), share=_share(row))
            for one, rows in told["within_clock"].items()
            for tier, row in rows.items()
        ],
        backlog=[KpiBacklog(tier=_tier(tier), **row) for tier, row in told["backlog"].items()],
        precision=[
            KpiPrecision(list=row["list"], hash_type=row["hash_type"], band=row["band"], share=_share(row))
            for row in told["precision"]
        ],
        reversal_rate=_share(told["reversal_rate"]), copies=_share(told["copies"]),
        reconciliation=KpiReconciliation(**told["reconciliation"]),
        agreement=_agreement(told["agreement"]), blind_agreement=_agreement(told["blind_agreement"]),
        report_completeness=KpiReportCompleteness(
            **{name: _share(row) for name, row in told["report_completeness"].items()}
        ),
        looks=told["looks"], instructions=told["instructions"], outbox=KpiOutbox(**told["outbox"]),
        exposure_minutes=told["exposure_minutes"], second_looks=_second_looks(told["second_looks"]),
    )  # fmt: skip


def _second_looks(row: Told) -> KpiSecondLooks:
    late = [KpiLateLook(**one) for one in row["late"]]
    return KpiSecondLooks(waiting=row["waiting"], overdue=row["overdue"], late=late)


def _milestone(name: str) -> KpiMilestone.ValueType:
    return KpiMilestone.Value(f"KPI_MILESTONE_{name.upper()}")


def _tier(name: str) -> int:
    return int(name.removeprefix("T"))


def _share(row: Told) -> KpiShare:
    return KpiShare(hits=row["hits"], of=row["of"], share=row["share"], interval=_interval(row["interval"]))


def _interval(edges: tuple[float, float] | None) -> KpiInterval | None:
    return KpiInterval(low=edges[0], high=edges[1]) if edges is not None else None


def _agreement(found: Told | None) -> KpiAgreement | None:
    if found is None:
        return None
    return KpiAgreement(
        pairs=found["pairs"], raw=found["raw"], kappa=found["kappa"], interval=_interval(found["interval"])
    )
