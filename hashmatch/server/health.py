"""grpc.health.v1 that tells the truth: SERVING only while verdicts may be given."""

from __future__ import annotations

from grpc_health.v1 import health, health_pb2

from hashmatch.v1 import lists_pb2, match_pb2

SERVICES = (
    "",
    match_pb2.DESCRIPTOR.services_by_name["MatchService"].full_name,
    lists_pb2.DESCRIPTOR.services_by_name["ListService"].full_name,
)


class Health:
    """The standard servicer, switched by readiness."""

    def __init__(self) -> None:
        self.servicer = health.aio.HealthServicer()
        self._told: bool | None = None

    async def report(self, ready: bool) -> None:
        """Tells every watcher whether verdicts may be given, where that is news."""
        if ready == self._told:
            return
        self._told = ready
        status = health_pb2.HealthCheckResponse.SERVING if ready else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in SERVICES:
            await self.servicer.set(name, status)
