"""Instructions as messages of a NATS JetStream stream.

Each is the CloudEvent that a webhook would get, in structured mode, under the header `Nats-Msg-Id`: what the stream saw
under that id within its window of duplicates (2 min, where it says nothing else) is not kept again. Beyond that window
it may be there twice: who reads it tells by the event's id. A window of an hour or more would also hide what is asked
for again because nobody confirmed it. Only the stream's PubAck is a receipt.

nats-py lives in an event loop, so one thread with a loop is owned here; it begins with the first instruction. It never
reconnects by itself, since then it would go wherever a server says: a connection is opened when an instruction needs
one, to the very addresses that were checked, one after another until one takes it.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import threading
from collections.abc import Coroutine, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import nats.errors
from nats.aio.client import Client
from nats.js.errors import APIError, NoStreamResponseError

from hashmatch.delivery.addresses import Egress
from hashmatch.delivery.dispatch import CONTENT_TYPE, Dispatch, NotTaken, Receipt, RefusedForGood
from hashmatch.delivery.guarded_http import CALL_SECONDS, Resolve, Unreachable, resolve
from hashmatch.delivery.hosts import Host
from hashmatch.delivery.nats_login import Login
from hashmatch.errors import BadConfig, Malformed

PORT: Final = 4222
CONNECT_SECONDS: Final = 5  # to one server, until it has taken the credentials
CLOSE_SECONDS: Final = 0.25  # for a connection to end in good order
GRACE_SECONDS: Final = 1.0  # after which whoever waits believes no more that the loop keeps to its time
PING_SECONDS: Final = 20  # two unanswered ones end a connection
TOO_LARGE, OTHER_STREAM = 10054, 10060  # JetStream's JSStreamMessageExceedsMaximumErr, JSStreamNotMatchErr

_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Server:
    """One server. `clear`: it is spoken to without TLS, if it wants none."""

    host: Host
    clear: bool

    @classmethod
    def parse(cls, url: str) -> Self:
        """
        Raises:
            Malformed: it is neither tls://HOST:PORT nor nats://HOST:PORT.
        """
        scheme, _, rest = url.partition("://")
        if scheme not in ("tls", "nats") or not rest:
            raise Malformed(f"{url[:100]}: want tls://HOST:PORT, or nats://HOST:PORT for one without TLS")
        return cls(Host.parse(rest, port=PORT), scheme == "nats")


class JetStream:
    """One stream. For any thread; owns one."""

    def __init__(
        self, name: str, servers: Sequence[Server], egress: Egress, *, stream: str, subject: str,
        login: Login | None = None, ca: Path | None = None, resolver: Resolve = resolve, seconds: float = CALL_SECONDS,
    ) -> None:  # fmt: skip
        """Reaches nothing yet.

        Args:
            servers: of one cluster; the first that can be reached is taken.
            stream: that must be the one which has the subject.
            subject: {verb} in it is the instruction's.
            ca: PEM of an authority beside the system's.
            seconds: for one instruction, whatever happens.

        Raises:
            Malformed: `stream` or `subject` cannot be such a name.
            BadConfig: `ca` cannot be read.
        """
        if not _TOKEN.fullmatch(stream):
            raise Malformed("want letters, digits, - and _", field="stream")
        if not all(_TOKEN.fullmatch(one) for one in subject.replace("{verb}", "verb").split(".")):
            raise Malformed("want words with dots between, such as hashmatch.{verb}", field="subject")
        self.name = name
        self._servers, self._egress, self._stream, self._subject = tuple(servers), egress, stream, subject
        self._login, self._resolver, self._seconds = login or Login(), resolver, seconds
        self._tls = ssl.create_default_context()
        if ca is not None:
            try:
                self._tls.load_verify_locations(ca)
            except (OSError, ssl.SSLError) as e:
                raise BadConfig(f"cannot read the authority {ca}: {e}") from e
        self._lock = threading.Lock()  # over the next three
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closed = False
        # Of the loop's thread alone, from here on.
        self._client: Client | None = None
        self._opening: asyncio.Task[Client] | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._heard = ""  # what a server last complained of

    def deliver(self, dispatch: Dispatch) -> Receipt:
        """As `Destination.deliver`."""
        subject = self._subject.replace("{verb}", dispatch.verb)
        waiting = self._submitted(subject, dispatch.key, dispatch.body())
        try:
            waiting.result(self._seconds + GRACE_SECONDS)
        except CancelledError as e:
            raise NotTaken("it was closed meanwhile") from e
        except TimeoutError as e:
            waiting.cancel()
            raise NotTaken("JetStream did not answer in time") from e
        return Receipt()

    def close(self) -> None:
        """Ends the connection and the thread; what waits is not taken."""
        with self._lock:
            self._closed, loop, self._loop = True, self._loop, None
        if loop is None or self._thread is None:
            return
        asyncio.run_coroutine_threadsafe(self._end(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        self._thread.join()
        loop.close()

    def _submitted(self, subject: str, key: str, body: bytes) -> Future[None]:
        with self._lock:
            if self._closed:
                raise NotTaken("it was closed")
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name=f"nats-{self.name}", daemon=True)
                self._thread.start()
            return asyncio.run_coroutine_threadsafe(self._publish(subject, key, body), self._loop)

    # ── in the loop ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def _publish(self, subject: str, key: str, body: bytes) -> None:
        client: Client | None = None
        try:
            async with asyncio.timeout(self._seconds):
                client = await self._connected()
                await client.jetstream().publish(
                    subject, body, timeout=self._seconds, stream=self._stream,
                    headers={"Nats-Msg-Id": key, "content-type": CONTENT_TYPE},
                )  # fmt: skip
        except TimeoutError as e:
            if client is not None and client is self._client:  # whoever is silent gets a new connection
                self._client = None
                self._later(_shut(client))
            raise NotTaken(f"JetStream did not answer in time{self._heard}") from e
        except NoStreamResponseError as e:
            raise NotTaken(f"there is no JetStream stream that has the subject {subject}") from e
        except nats.errors.MaxPayloadError as e:
            raise RefusedForGood("it is larger than the server takes") from e
        except APIError as e:
            if e.err_code == TOO_LARGE:
                raise RefusedForGood("it is larger than the stream takes") from e
            if e.err_code == OTHER_STREAM:
                raise NotTaken(f"another stream than {self._stream} has the subject {subject}") from e
            raise NotTaken(f"JetStream did not take it: {e.code}, its error {e.err_code}") from e
        except (nats.errors.Error, Unreachable, OSError) as e:
            raise NotTaken(_plain(e)) from e
        except (ValueError, TypeError, LookupError, AttributeError) as e:
            raise NotTaken(f"what has the subject {subject} does not answer as JetStream does") from e

    async def _connected(self) -> Client:
        """The connection; where there is none, the one attempt at it that all who want it wait for."""
        if self._client is not None and self._client.is_connected:
            return self._client
        if self._opening is None:
            self._opening = asyncio.create_task(self._open())
            self._opening.add_done_callback(self._opened)
        return await asyncio.shield(self._opening)

    def _opened(self, opening: asyncio.Task[Client]) -> None:
        self._opening = None
        if not opening.cancelled() and opening.exception() is None:
            self._client = opening.result()

    async def _open(self) -> Client:
        problem: Exception = Unreachable("no server is named")
        self._heard = ""
        for server in self._servers:
            try:
                return await self._connect(server)
            except (nats.errors.Error, Unreachable, OSError) as e:
                problem = e
        raise problem

    async def _connect(self, server: Server) -> Client:
        """A connection to the first of its addresses that takes one, within the time for one server."""
        ends = asyncio.get_running_loop().time() + CONNECT_SECONDS
        async with asyncio.timeout_at(ends):
            found = await asyncio.to_thread(server.host.addresses, self._egress, self._resolver, clear=server.clear)
        problem: Exception = Unreachable(f"{server.host.name} has no address")
        for number, address in enumerate(found):
            left = ends - asyncio.get_running_loop().time()
            try:  # one that swallows everything leaves time for the others
                async with asyncio.timeout(left / (len(found) - number)):
                    return await self._connect_to(server, address)
            except (nats.errors.Error, Unreachable, OSError) as e:
                problem = e
        raise problem

    async def _connect_to(self, server: Server, address: str) -> Client:
        client, login = Client(), self._login
        if login.seed and not login.jwt:  # nats-py has no other way to say it without libraries of its own
            client._public_nkey = login.public
        try:
            shaken = self._tls.session_stats()["connect_good"]
            await client.connect(
                f"nats://{Host(address, server.host.port)}", name="hashmatch", error_cb=self._hear,
                tls=self._tls, tls_hostname=server.host.name, connect_timeout=CONNECT_SECONDS,
                allow_reconnect=False, max_reconnect_attempts=1, reconnect_time_wait=0, ping_interval=PING_SECONDS,
                user_jwt_cb=(lambda: bytearray(login.jwt.encode())) if login.jwt else None,
                signature_cb=login.signed if login.seed else None,
            )  # fmt: skip
            # The server says, in clear, whether it wants TLS, and nats-py goes by that. So it is counted whether there
            # was any before an instruction is sent; the signature that was sent by then is of that one nonce.
            if not server.clear and self._tls.session_stats()["connect_good"] == shaken:
                raise Unreachable(f"{server.host.name} offers no TLS")
        except BaseException:
            self._later(_shut(client))
            raise
        return client

    async def _hear(self, error: Exception) -> None:
        if "permissions violation" in str(error).lower():
            self._heard = ": these credentials may not publish there, or not read the answer"

    def _later(self, ending: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(ending)
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _end(self) -> None:
        if self._client is not None:
            await _shut(self._client)
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks - self._ending:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*self._ending, return_exceptions=True)  # what they left behind


async def _shut(client: Client) -> None:
    with suppress(Exception):
        async with asyncio.timeout(CLOSE_SECONDS):
            await client.close()


def _plain(error: Exception) -> str:
    """What may be told of an error: never more than what we, or the system, said."""
    if "authorization" in str(error).lower() or "authentication" in str(error).lower():
        return "the server refuses the credentials"
    if isinstance(error, nats.errors.Error):
        return f"the server cannot be reached: {type(error).__name__}"
    return f"{type(error).__name__}: {error}"[:150]
