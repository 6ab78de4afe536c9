"""grpc.health.v1 that tells the truth: ready while verdicts may be given, live while a restart would cure nothing."""

from __future__ import annotations

from grpc_health.v1 import health, health_pb2

from hashmatch.v1 import cases_pb2, lists_pb2, log_pb2, match_pb2

SERVICES = (
    "",
    match_pb2.DESCRIPTOR.services_by_name["MatchService"].full_name,
    lists_pb2.DESCRIPTOR.services_by_name["ListService"].full_name,
    cases_pb2.DESCRIPTOR.services_by_name["CaseService"].full_name,
    log_pb2.DESCRIPTOR.services_by_name["AuditService"].full_name,
)
LIVE = "live"  # the service name under which liveness is asked for; all others are readiness


class Health:
    """The standard servicer, switched by readiness and liveness."""

    def __init__(self) -> None:
        self.servicer = health.aio.HealthServicer()
        self._told: dict[str, bool] = {}

    async def report(self, ready: bool, live: bool = True) -> None:
        """Tells every watcher whether verdicts may be given and whether the server lives, where that is news."""
        for name, well in (*((name, ready) for name in SERVICES), (LIVE, live)):
            if self._told.get(name) != well:
                self._told[name] = well
                serving = health_pb2.HealthCheckResponse.SERVING
                await self.servicer.set(name, serving if well else health_pb2.HealthCheckResponse.NOT_SERVING)
