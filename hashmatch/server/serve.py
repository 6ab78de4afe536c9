"""The server process: starts, says when it is serving, stops in good order."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import signal
import sys
from collections.abc import Callable

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from hashmatch import app
from hashmatch.config import Settings
from hashmatch.errors import BadConfig
from hashmatch.server.errors import ErrorInterceptor
from hashmatch.server.health import SERVICES, Health
from hashmatch.server.lists import ListServicer
from hashmatch.server.service import MatchServicer
from hashmatch.v1 import lists_pb2_grpc, match_pb2_grpc

MESSAGE_SLACK = 1 << 20  # bytes of a message beside its media: ids, attributes, fingerprints
MIN_PING_INTERVAL_MS = 5 * 60 * 1000  # gRPC's own default: more frequent pings are refused after two strikes
HEALTH_SECONDS = 0.1  # how often health is brought to what is true
KEEPALIVE_MS = 60 * 1000  # a peer that does not answer a ping for so long is gone, and its calls are cancelled
IDLE_MS = 30 * 60 * 1000  # a connection without calls is closed

trace = logging.getLogger(__name__)


async def serve(settings: Settings, *, announce: Callable[[str], None]) -> None:
    """Serves until SIGTERM or SIGINT, then finishes what is in flight.

    Args:
        announce: called with one line once verdicts may be given.
    Raises:
        BadConfig: the address, the state directory, a recipe or a wall is not as it must be.
    """
    _keep_big_buffers()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    health = Health()
    await health.report(False)
    async with app.running(settings) as service:
        server = grpc.aio.server(
            interceptors=[ErrorInterceptor()],
            # gRPC holds a message before we see it, so calls are bounded too: ours, and as many again that only watch.
            maximum_concurrent_rpcs=2 * settings.in_flight,
            options=[
                # Twice the media limit, so that media somewhat over it still get an answer that names the limit.
                ("grpc.max_receive_message_length", 2 * settings.max_media_bytes + MESSAGE_SLACK),
                ("grpc.max_send_message_length", 2 * settings.max_media_bytes + MESSAGE_SLACK),
                ("grpc.so_reuseport", 0),
                ("grpc.max_connection_idle_ms", IDLE_MS),
                ("grpc.keepalive_time_ms", KEEPALIVE_MS),
                ("grpc.keepalive_timeout_ms", KEEPALIVE_MS),
                ("grpc.http2.min_ping_interval_without_data_ms", MIN_PING_INTERVAL_MS),
            ],
        )
        match_pb2_grpc.add_MatchServiceServicer_to_server(MatchServicer(service), server)
        lists = ListServicer(service.keeper, service.trials, state=settings.state, recipes=settings.recipes)
        lists_pb2_grpc.add_ListServiceServicer_to_server(lists, server)
        health_pb2_grpc.add_HealthServicer_to_server(health.servicer, server)
        reflection.enable_server_reflection((*SERVICES[1:], reflection.SERVICE_NAME, "grpc.health.v1.Health"), server)
        try:
            port = server.add_insecure_port(settings.listen)
        except RuntimeError as e:
            raise BadConfig(f"cannot listen on {settings.listen}: {e}") from e
        await server.start()
        address = f"{settings.listen.rpartition(':')[0]}:{port}"
        telling = asyncio.create_task(_tell(service, health, address, announce))
        await asyncio.wait((telling, asyncio.create_task(stopping.wait())), return_when=asyncio.FIRST_COMPLETED)
        telling.cancel()
        trace.info("stopping")
        await health.report(False)
        await server.stop(settings.drain_seconds)
        await lists.close()
        if not stopping.is_set():
            telling.result()  # raises what made it impossible to serve


async def _tell(service: app.Service, health: Health, address: str, announce: Callable[[str], None]) -> None:
    """Announces that verdicts may be given, and from then on keeps health at what is true.

    Raises:
        HashmatchError: why verdicts may not be given from the start.
    """
    await service.follower.ready()
    announce(_announcement(service, address))
    while True:
        await health.report(service.follower.serving and service.ledger.healthy and service.sandbox.healthy)
        await asyncio.sleep(HEALTH_SECONDS)


def _announcement(service: app.Service, address: str) -> str:
    generation = service.follower.generation()
    entries = sum(sum(s.state.entries.values()) for s in generation.segments.values())
    walls = ", ".join(service.sandbox.walls) or "no walls"
    return (
        f"SERVING on {address}: {len(generation.segments)} active lists, {entries} entries, revision "
        f"{generation.revision}, {service.settings.workers} workers behind {walls}"
    )


def _keep_big_buffers() -> None:
    """Lets glibc keep freed media buffers instead of returning and re-faulting their pages.

    Half of the server's cost per half-megabyte request was that page traffic.
    """
    if sys.platform != "linux":
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # musl has none, and does not need it
        return
    m_trim_threshold, m_mmap_threshold = -1, -3  # <malloc.h>
    mallopt(m_mmap_threshold, 32 << 20)  # its maximum on 64 bits
    mallopt(m_trim_threshold, 256 << 20)
