"""How a server is reached: what both clients are told, and what they make of it."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod

import grpc

from hashmatch.address import Address
from hashmatch.errors import BadConfig

Metadata = tuple[tuple[str, str], ...]

TIMEOUT = 10.0  # seconds for a whole call, retries included; the server answers within 5
MAX_MESSAGE_BYTES = 256 << 20  # ours; the server's own limit decides

SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": [{"service": "hashmatch.v1.MatchService"}],
            "retryPolicy": {
                "maxAttempts": 5,
                "initialBackoff": "0.1s",
                "maxBackoff": "2s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
            },
        }
    ],
    # Where most calls fail, retries only add to what they fail of: gRFC A6.
    "retryThrottling": {"maxTokens": 100, "tokenRatio": 0.1},
}
OPTIONS = (
    ("grpc.service_config", json.dumps(SERVICE_CONFIG)),
    ("grpc.enable_retries", 1),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
)


class Connected(ABC):
    """Holds a channel to a server, and what every call over it carries."""

    def __init__(
        self,
        address: str,
        *,
        timeout: float = TIMEOUT,
        key: str = "",
        ca: bytes = b"",
        certificate: bytes = b"",
        certificate_key: bytes = b"",
    ) -> None:
        """Connects when first used.

        Args:
            timeout: seconds for each call, retries included.
            key: the bearer key, where the server wants one.
            ca: PEM of the authority of the server's certificate; without it the channel is in clear.
            certificate, certificate_key: PEM of our own, where the server wants one.
        Raises:
            BadConfig: the key would be sent in clear beyond loopback.
        """
        self._timeout = timeout
        self._metadata: Metadata = (("authorization", f"Bearer {key}"),) if key else ()
        tls = None
        if key and not (ca or certificate or _stays_here(address)):
            raise BadConfig(f"the key would go to {address} in clear: give `ca`, the PEM of the server's authority")
        if ca or certificate:
            tls = grpc.ssl_channel_credentials(ca or None, certificate_key or None, certificate or None)
        self._open(address, tls)

    @abstractmethod
    def _open(self, address: str, tls: grpc.ChannelCredentials | None) -> None:
        """Makes the channel and its stubs; in clear without `tls`."""


def _stays_here(address: str) -> bool:
    """Whether what is sent to an address does not leave this machine."""
    if address.startswith("unix:"):
        return True
    try:
        return Address.parse(address).on_loopback
    except ValueError:  # a name that gRPC resolves
        return False
