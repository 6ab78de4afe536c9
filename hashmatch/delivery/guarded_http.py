"""HTTP to addresses that others name: to the public internet alone, and never for longer than said.

A host is resolved once for each connection, every address it has is checked, and the connection goes to the very
addresses that were checked, to one after another until one takes it, so that a name which changes between the look and
the call leads nowhere else. TLS still speaks to the name. No redirects, no proxies of the environment; of an answer
only its beginning is read, and its body is never traced. The time is for a whole call: who answers a byte at a time is
cut off.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpcore

from hashmatch.delivery.addresses import Egress
from hashmatch.errors import BadConfig, Unavailable

CALL_SECONDS = 20.0  # Standard Webhooks: 15 to 30 s
MAX_ANSWER_BYTES = 64 << 10
CONNECTIONS = 16  # to one endpoint

Resolve = Callable[[str, int], Iterable[str]]


class Unreachable(Unavailable):
    """Nothing was sent, or nobody knows whether it arrived; sending again is safe under the same id."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: the beginning of the body, which is never traced."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


def resolve(host: str, port: int) -> Iterable[str]:
    """The addresses of a host, as the system resolves them, in its order (RFC 6724): the best way first."""
    return list(dict.fromkeys(str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))


class GuardedHttp:
    """Calls one endpoint. For any thread; connections are kept and shared."""

    def __init__(
        self, url: str, egress: Egress, *, ca: Path | None = None, resolver: Resolve = resolve,
        seconds: float = CALL_SECONDS,
    ) -> None:  # fmt: skip
        """`ca`: PEM of an authority beside the system's.

        Raises:
            BadConfig: the URL is not https, or not one at all; `ca` cannot be read.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("https", "http") or not parts.hostname or parts.username or parts.fragment:
            raise BadConfig(f"{url[:100]}: want an https URL without a name and password in it")
        self._url, self._seconds = url, seconds
        context = ssl.create_default_context()
        if ca is not None:
            try:
                context.load_verify_locations(ca)
            except (OSError, ssl.SSLError) as e:
                raise BadConfig(f"cannot read the authority {ca}: {e}") from e
        self._deadline = threading.local()
        backend = _Backend(egress, resolver, plain=parts.scheme == "http", deadline=self._deadline)
        self._pool = httpcore.ConnectionPool(
            ssl_context=context, max_connections=CONNECTIONS, keepalive_expiry=30.0, network_backend=backend
        )

    def post(self, body: bytes, headers: Mapping[str, str], *, most: int = MAX_ANSWER_BYTES) -> Answer:
        """The answer to one POST, whatever its status; of its body no more than `most` bytes.

        Raises:
            Unreachable: there was none in time, or the address may not be reached.
        """
        self._deadline.at = until = time.monotonic() + self._seconds
        timeout = dict.fromkeys(("connect", "read", "write", "pool"), self._seconds)
        given: dict[bytes | str, bytes | str] = {"user-agent": "hashmatch", "accept-encoding": "identity"}
        given.update(headers)
        try:
            with self._pool.stream(
                "POST", self._url, headers=given, content=body, extensions={"timeout": timeout}
            ) as answer:
                read = bytearray()
                for piece in answer.iter_stream():
                    read += piece
                    if len(read) > most or time.monotonic() > until:
                        break
                heads = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in answer.headers}
                return Answer(answer.status, heads, bytes(read[:most]))
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, OSError) as e:
            raise Unreachable(f"{type(e).__name__}: {_plain(e)}") from e

    def close(self) -> None:
        self._pool.close()


def _plain(error: Exception) -> str:
    """What may be told of an error: never more than what we, or the system, said."""
    return str(error)[:120]


class _Backend(httpcore.NetworkBackend):
    def __init__(self, egress: Egress, resolver: Resolve, *, plain: bool, deadline: threading.local) -> None:
        self._egress, self._resolver, self._plain, self._deadline = egress, resolver, plain, deadline
        self._inner = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        addresses = list(self._resolved(host, port))
        # Every one of them: a name that has a private address beside a public one is somebody's trick.
        refused = [one for one in addresses if not self._egress.permits(one)]
        if not addresses or refused:
            raise httpcore.ConnectError(f"{host} has addresses that may not be reached")
        if self._plain and not all(self._egress.named_text(one) for one in addresses):
            raise httpcore.ConnectError("in clear only networks are reached that the settings allow by name")
        problem: Exception = httpcore.ConnectTimeout(f"{host} was not reached in time")
        for number, address in enumerate(addresses):
            left = float(self._deadline.at) - time.monotonic()
            if left <= 0:
                break
            share = left / (len(addresses) - number)  # one that swallows everything leaves time for the others
            try:
                stream = self._inner.connect_tcp(address, port, share, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as e:
                problem = e
            else:
                return _Stream(stream, self._deadline)
        raise problem

    def _resolved(self, host: str, port: int) -> Iterable[str]:
        """What the resolver says, within the time of the call: the system's own may take half a minute and more."""
        answer: Future[Iterable[str]] = Future()

        def ask() -> None:
            try:
                answer.set_result(self._resolver(host, port))
            except BaseException as e:
                answer.set_exception(e)

        threading.Thread(target=ask, name="resolve", daemon=True).start()
        try:
            return answer.result(float(self._deadline.at) - time.monotonic())
        except TimeoutError as e:
            raise httpcore.ConnectTimeout(f"{host} was not resolved in time") from e
        except OSError as e:
            raise httpcore.ConnectError(f"{host} cannot be resolved") from e


class _Stream(httpcore.NetworkStream):
    """A stream on which nothing lasts beyond the deadline of the call that uses it."""

    def __init__(self, inner: httpcore.NetworkStream, deadline: threading.local) -> None:
        self._inner, self._deadline = inner, deadline

    def _left(self) -> float:
        left = float(self._deadline.at) - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout("the call has taken too long")
        return left

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, self._left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, self._left())

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, self._left()), self._deadline)

    def get_extra_info(self, info: str) -> object:
        return self._inner.get_extra_info(info)
