"""The gRPC port: what a peer may do to it before a call is anybody's, and what is answered there."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import grpc
from grpc_reflection.v1alpha import reflection

from hashmatch.address import Address
from hashmatch.config import Settings
from hashmatch.errors import BadConfig
from hashmatch.server import lifecycle
from hashmatch.server.health import SERVICES

MESSAGE_SLACK = 1 << 20  # bytes of a message beside its media: ids, attributes, fingerprints
MAX_METADATA_BYTES = 16 << 10  # of a call's headers; a key and a trace's context take 300
MIN_PING_INTERVAL_MS = 5 * 60 * 1000  # gRPC's own default: more frequent pings are refused after two strikes
LOOKAHEAD_BYTES = 64 << 10  # the smallest window of HTTP/2; a message that is read widens its own
# Calls of one connection at once; a client holds more of them back by itself. Without a bound, calls that are opened
# and reset at once pile up until gRPC refuses everybody's; with it, gRPC holds such a connection back.
MAX_STREAMS = 128
KEEPALIVE_MS = 60 * 1000  # a peer that does not answer a ping for so long is gone, and its calls are cancelled
IDLE_MS = 30 * 60 * 1000  # a connection without calls is closed
AGE_MS = 60 * 60 * 1000  # a connection is closed gently, so that clients spread over servers that were added
AGE_GRACE_MS = 10 * 60_000  # that calls which are open then may still take; a stream goes on in another connection
HTTP_PART = 4  # of all connections, one in so many is for the gateway, where there is one
SPARE_DESCRIPTORS = 512  # for files, workers and pipes, beside those of connections

trace = logging.getLogger(__name__)


class Connections(NamedTuple):
    """How many may be held at once, by port."""

    grpc: int
    http: int


def connections(settings: Settings) -> Connections:
    """As many as the settings say, of which the gateway has a fourth, and no more than there are descriptors for."""
    descriptors = lifecycle.raise_file_limit()
    most = min(settings.connections, max(64, descriptors - SPARE_DESCRIPTORS))
    if most < settings.connections:
        trace.warning("at most %d connections: the system allows %d open files", most, descriptors)
    http = most // HTTP_PART if settings.http_listen else 0
    return Connections(most - http, http)


def listening(
    settings: Settings,
    gate: grpc.aio.ServerInterceptor,
    credentials: grpc.ServerCredentials | None,
    *,
    loaded: Mapping[Callable[[Any, grpc.aio.Server], None], Any],
    shared: bool,
) -> tuple[grpc.aio.Server, str]:
    """A server that holds its address and is not started yet, and the address.

    Args:
        gate: what every call passes.
        credentials: None: in clear.
        loaded: servicers, by the generated function that adds them.
        shared: other processes take the same address.
    Raises:
        BadConfig: the address cannot be used.
    """
    server = grpc.aio.server(
        interceptors=[gate],
        # gRPC holds a message before we see it, so calls are bounded too: media, look-ups, and those that watch.
        maximum_concurrent_rpcs=4 * settings.in_flight,
        options=[
            # Twice the media limit, so that media somewhat over it still get an answer that names the limit.
            ("grpc.max_receive_message_length", 2 * settings.max_media_bytes + MESSAGE_SLACK),
            ("grpc.max_send_message_length", 2 * settings.max_media_bytes + MESSAGE_SLACK),
            ("grpc.max_metadata_size", MAX_METADATA_BYTES),
            # What a call may send before its handler reads: a handler that refuses costs that much and no more.
            ("grpc.http2.lookahead_bytes", LOOKAHEAD_BYTES),
            ("grpc.http2.bdp_probe", 0),
            ("grpc.max_concurrent_streams", MAX_STREAMS),
            ("grpc.absolute_max_metadata_size", 2 * MAX_METADATA_BYTES),
            ("grpc.max_allowed_incoming_connections", connections(settings).grpc),
            ("grpc.so_reuseport", int(shared)),
            ("grpc.max_connection_idle_ms", IDLE_MS),
            ("grpc.max_connection_age_ms", AGE_MS),
            ("grpc.max_connection_age_grace_ms", AGE_GRACE_MS),
            ("grpc.keepalive_time_ms", KEEPALIVE_MS),
            ("grpc.keepalive_timeout_ms", KEEPALIVE_MS),
            ("grpc.http2.min_ping_interval_without_data_ms", MIN_PING_INTERVAL_MS),
        ],
        # Media does not compress; and a length that depends on what is in an answer tells of it.
        compression=grpc.Compression.NoCompression,
    )
    for add, servicer in loaded.items():
        add(servicer, server)
    reflection.enable_server_reflection((*SERVICES[1:], reflection.SERVICE_NAME, "grpc.health.v1.Health"), server)
    try:
        if credentials:
            number = server.add_secure_port(settings.listen, credentials)
        else:
            number = server.add_insecure_port(settings.listen)
    except RuntimeError as e:
        raise BadConfig(f"cannot listen on {settings.listen}: {e}") from e
    return server, str(Address.parse(settings.listen).at(number))
