"""What is measured of a server, for Prometheus: the names, and where they are counted.

Label values come from closed sets (methods, codes, hash types, reasons, stages) or from what operators name (lists):
never from a caller, so no caller can make series without end, and never a fingerprint or an id. With several server
processes prometheus-client keeps the values in files that they share, and whoever is asked adds them up.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
    multiprocess,
)

from hashmatch import __version__, clock
from hashmatch.app import Service
from hashmatch.lists import terms
from hashmatch.roles import RPCS
from hashmatch.server import kpi_metrics
from hashmatch.server.admission import Admission, Kind
from hashmatch.v1.audit_pb2 import VerdictRecord
from hashmatch.v1.cases_pb2 import Case
from hashmatch.v1.common_pb2 import Finding, UnhashableReason
from hashmatch.workflow.case import Step

disable_created_metrics()  # type: ignore[no-untyped-call]  # nobody asks when a counter began

MULTIPROCESS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Set before prometheus_client is imported where several processes count together (its own name for it)."""

_LATENCY = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10)  # seconds
_STAGE = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)
_WORK = (10, 60, 300, 900, 3600, 4 * 3600, 8 * 3600, 24 * 3600, 48 * 3600, 72 * 3600, 144 * 3600, 30 * 86_400)
_MILESTONES = {
    Step.CONTAIN: "contained", Step.CLAIM: "acknowledged", Step.CONFIRM: "decided", Step.CLEAR: "decided",
    Step.REPORT: "reported",
}  # fmt: skip
_FACTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
OTHER = "other"  # for what is in no table

_COUNTERS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "hashmatch_requests_total": ("Calls answered.", ("method", "code")),
    "hashmatch_refused_total": ("Calls and stream items refused for want of room or budget.", ("reason",)),
    "hashmatch_denied_total": ("Calls by callers who are unknown or may not do it.", ("reason",)),
    "hashmatch_alarms_total": ("Alarms on unusual use of a key.", ("alarm",)),
    "hashmatch_worker_restarts_total": ("Decode workers started to replace others.", ()),
    "hashmatch_worker_crashes_total": ("Submissions that ended their decode worker.", ()),
    "hashmatch_worker_timeouts_total": ("Submissions that were stopped for time.", ()),
    "hashmatch_verdicts_total": ("Verdicts given.", ("finding",)),
    "hashmatch_unhashable_total": ("Hash types that were not searched.", ("hash_type", "reason")),
    "hashmatch_list_matches_total": ("Verdicts that matched in a list.", ("list",)),
    "hashmatch_case_steps_total": ("Steps of cases; of BREACH, one for each clock.", ("step", "tier")),
    "hashmatch_clocks_missed_total": ("Clocks of cases that passed unmet.", ("clock", "tier")),
    "hashmatch_reloads_total": ("Attempts to take over changed settings or certificates.", ("outcome",)),
}
_HISTOGRAMS: Mapping[str, tuple[str, tuple[str, ...], tuple[float, ...]]] = {
    "hashmatch_request_seconds": ("Time to answer a call; of a stream, to its end.", ("method",), _LATENCY),
    "hashmatch_stage_seconds": ("Time of one stage of a submission.", ("stage",), _STAGE),
    "hashmatch_case_seconds": (
        "Time from the detection of a case to a milestone, once it is reached.",
        ("milestone", "tier"),
        _WORK,
    ),
    "hashmatch_ledger_commit_seconds": ("Time of one transaction of the ledger, its sync included.", (), _STAGE),
    "hashmatch_ledger_commit_facts": ("Facts in one transaction of the ledger.", (), _FACTS),
}
# What several processes say of one thing is the worst of them; what they hold is their sum.
_GAUGES: Mapping[str, tuple[str, tuple[str, ...], str]] = {
    "hashmatch_in_flight": ("Submissions admitted and not yet answered.", ("kind",), "livesum"),
    "hashmatch_in_flight_bytes": ("Media held for them, in bytes.", (), "livesum"),
    "hashmatch_workers": ("Decode workers idle and busy, and submissions waiting for one.", ("state",), "livesum"),
    "hashmatch_serving": ("1 while verdicts may be given.", (), "livemin"),
    "hashmatch_revision": ("Revision of the lists that is searched.", (), "livemin"),
    "hashmatch_list_entries": ("Entries searched.", ("list",), "livemin"),
    "hashmatch_list_revision": ("Revision of a list's last change.", ("list",), "livemin"),
    "hashmatch_list_refreshed_timestamp_seconds": ("When a list's last import was activated.", ("list",), "livemin"),
    "hashmatch_list_stale": ("1 where a list is not refreshed as its policy expects.", ("list",), "livemax"),
    "hashmatch_canary_timestamp_seconds": ("When every list's canary was last found.", (), "livemin"),
    "hashmatch_ledger_queue": ("Facts that wait to be written.", (), "livesum"),
    "hashmatch_ledger_healthy": ("1 while the ledger can be written.", (), "livemin"),
    "hashmatch_disk_free_bytes": ("Room on the disk of the state directory.", (), "livemin"),
    "hashmatch_disk_bytes": ("Size of the disk of the state directory.", (), "livemax"),
    "hashmatch_certificate_expiry_timestamp_seconds": ("When the server's certificate expires.", (), "livemin"),
    "hashmatch_open_cases": ("Cases that are not closed.", ("tier",), "livemax"),
    "hashmatch_undelivered": ("Instructions that the platform does not have yet.", (), "livemax"),
    "hashmatch_build_info": ("1, with the version that runs.", ("version",), "livemax"),
}

METRICS: Mapping[str, tuple[str, ...]] = {
    **{name: labels for name, (_, labels) in _COUNTERS.items()},
    **{name: labels for name, (_, labels, _) in _HISTOGRAMS.items()},
    **{name: labels for name, (_, labels, _) in _GAUGES.items()},
    **kpi_metrics.GAUGES,
}
"""Every metric with its labels."""


class Metrics:
    """Counts. Make one per process. `stage` and `committed` are for `app.Watch`."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._counters = {
            name: Counter(name.removesuffix("_total"), text, labels, registry=self._registry)
            for name, (text, labels) in _COUNTERS.items()
        }
        self._histograms = {
            name: Histogram(name, text, labels, buckets=buckets, registry=self._registry)
            for name, (text, labels, buckets) in _HISTOGRAMS.items()
        }
        self._gauges = {
            name: Gauge(name, text, labels, registry=self._registry, multiprocess_mode=mode)  # type: ignore[arg-type]
            for name, (text, labels, mode) in _GAUGES.items()
        }
        self._stages = {
            stage: self._histograms["hashmatch_stage_seconds"].labels(stage)
            for stage in ("queue", "examine", "search", "seal", "record")
        }
        self._methods = {
            method: self._histograms["hashmatch_request_seconds"].labels(_short(method)) for method in (*RPCS, OTHER)
        }
        self._codes: dict[tuple[str, str], Any] = {}
        self._verdicts = {
            finding: self._counters["hashmatch_verdicts_total"].labels(name.removeprefix("FINDING_"))
            for name, finding in Finding.items()
            if finding
        }
        # A series that starts at 1 is no increase to Prometheus, so those that alarms watch are there from the start.
        for alarm in ("probing", "hits", "daily"):
            self._counters["hashmatch_alarms_total"].labels(alarm)
        for reason in ("requests", "bytes", "share", "queue", "budget"):
            self._counters["hashmatch_refused_total"].labels(reason)
        for reason in ("nothing shown", "malformed", "unknown", "revoked", "expired", "permission"):
            self._counters["hashmatch_denied_total"].labels(reason)
        for outcome in ("reloaded", "unchanged", "failed"):
            self._counters["hashmatch_reloads_total"].labels(outcome)
        self._seen = (0, 0, 0)  # restarts, crashes, timeouts that are counted already
        self._gauges["hashmatch_build_info"].labels(__version__).set(1)

    # ── what happens ────────────────────────────────────────────────────────────────────────────────────────────────

    def stage(self, name: str, seconds: float) -> None:
        self._stages[name].observe(seconds)

    def committed(self, facts: int, seconds: float) -> None:
        self._histograms["hashmatch_ledger_commit_seconds"].observe(seconds)
        self._histograms["hashmatch_ledger_commit_facts"].observe(facts)

    def stepped(self, step: Step, case: Case, at: datetime, codes: Sequence[str]) -> None:
        """A step of a case; as `app.Watch`. Drills are not counted."""
        if case.drill:
            return
        tier = f"T{max(0, case.tier - 1)}"
        self._counters["hashmatch_case_steps_total"].labels(step.value, tier).inc()
        for missed in codes if step is Step.BREACH else ():
            self._counters["hashmatch_clocks_missed_total"].labels(missed.lower(), tier).inc()
        again = step is Step.CLAIM and case.HasField("acknowledged_at")
        if (milestone := _MILESTONES.get(step)) is not None and not again:
            seconds = (at - case.detected_at.ToDatetime(UTC)).total_seconds()
            self._histograms["hashmatch_case_seconds"].labels(milestone, tier).observe(max(0.0, seconds))

    def answered(self, method: str, code: str, seconds: float) -> None:
        """A call of a full method name, with the name of its status."""
        if method not in self._methods:
            method = OTHER
        self._methods[method].observe(seconds)
        counter = self._codes.get((method, code))
        if counter is None:
            counter = self._counters["hashmatch_requests_total"].labels(_short(method), code)
            self._codes[method, code] = counter
        counter.inc()

    def refused(self, reason: str) -> None:
        self._counters["hashmatch_refused_total"].labels(reason).inc()

    def denied(self, reason: str) -> None:
        self._counters["hashmatch_denied_total"].labels(reason).inc()

    def alarm(self, alarm: str) -> None:
        self._counters["hashmatch_alarms_total"].labels(alarm).inc()

    def reloaded(self, outcome: str) -> None:
        self._counters["hashmatch_reloads_total"].labels(outcome).inc()

    def judged(self, record: VerdictRecord) -> None:
        self._verdicts[record.finding].inc()
        for row in record.hashed:
            if row.unhashable:
                reason = UnhashableReason.Name(row.unhashable).removeprefix("UNHASHABLE_REASON_")
                self._counters["hashmatch_unhashable_total"].labels(row.hash_type, reason).inc()
        for name in {match.list for match in record.matches}:
            self._counters["hashmatch_list_matches_total"].labels(name).inc()

    # ── how things stand ────────────────────────────────────────────────────────────────────────────────────────────

    def look(self, service: Service, admission: Admission, *, serving: bool, certificate_expiry: float | None) -> None:
        """Brings the gauges to what is true now. Call it every second or so."""
        for kind in Kind:
            self._set("hashmatch_in_flight", admission.in_flight(kind), kind.value)
        self._set("hashmatch_in_flight_bytes", admission.held.total)
        self._look_at_workers(service)
        self._set("hashmatch_serving", serving)
        self._set("hashmatch_ledger_queue", service.ledger.queued)
        self._set("hashmatch_ledger_healthy", service.ledger.healthy)
        disk = shutil.disk_usage(service.settings.state)
        self._set("hashmatch_disk_free_bytes", disk.free)
        self._set("hashmatch_disk_bytes", disk.total)
        if certificate_expiry is not None:
            self._set("hashmatch_certificate_expiry_timestamp_seconds", certificate_expiry)
        self._look_at_lists(service)
        if service.sender is not None:
            standing = service.sender.standing
            for tier, number in standing.open_cases.items():
                self._set("hashmatch_open_cases", number, f"T{tier}")
            self._set("hashmatch_undelivered", standing.undelivered)

    def _look_at_workers(self, service: Service) -> None:
        stats = service.sandbox.stats
        for state in ("idle", "busy", "waiting"):
            self._set("hashmatch_workers", getattr(stats, state), state)
        seen = (stats.restarts, stats.crashes, stats.timeouts)
        for name, old, new in zip(("restarts", "crashes", "timeouts"), self._seen, seen, strict=True):
            self._counters[f"hashmatch_worker_{name}_total"].inc(new - old)
        self._seen = seen

    def _look_at_lists(self, service: Service) -> None:
        generation = service.live.generation
        if generation is None:
            return
        now = time.time()
        self._set("hashmatch_revision", generation.revision)
        if (proven := service.follower.proven_seconds_ago) is not None:
            self._set("hashmatch_canary_timestamp_seconds", now - proven)
        for name, segment in generation.segments.items():
            state = segment.state
            self._set("hashmatch_list_entries", sum(state.entries.values()), name)
            self._set("hashmatch_list_revision", state.revision, name)
            if state.refreshed_at is not None:
                self._set("hashmatch_list_refreshed_timestamp_seconds", state.refreshed_at.timestamp(), name)
                stale = terms.stale(state.policy.refresh_seconds, state.refreshed_at, clock.now())
                self._set("hashmatch_list_stale", stale, name)

    def _set(self, name: str, value: float, *labels: str) -> None:
        gauge = self._gauges[name]
        (gauge.labels(*labels) if labels else gauge).set(value)

    def text(self) -> bytes:
        """Everything in Prometheus' text format, of all processes where there are several."""
        return generate_latest(self._registry if MULTIPROCESS_VARIABLE not in os.environ else gathered())


def gathered() -> CollectorRegistry:
    """What all processes count together."""
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return registry


def _short(method: str) -> str:
    """`Match` of "/hashmatch.v1.MatchService/Match"."""
    return method.rpartition("/")[2]
