"""One mail handed to one server: over TLS alone, to an address that was checked, never for longer than said.

smtplib waits anew for every byte, and keeps whatever it is told. So the connection is made here and cut off when the
time is over, and what it may be told is bounded. Nothing that the server said is repeated: it may hold what we sent.
"""

from __future__ import annotations

import smtplib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from hashmatch.delivery.addresses import Egress
from hashmatch.delivery.dispatch import NotTaken, RefusedForGood
from hashmatch.delivery.guarded_http import CALL_SECONDS, MAX_ANSWER_BYTES, Resolve, resolve
from hashmatch.errors import BadConfig, Malformed

Login = tuple[str, str]  # user, password


class Smtp:
    """Hands mails to one server. Keeps no connection: pages are rare. For any thread."""

    def __init__(
        self, host: str, port: int, egress: Egress, *, implicit_tls: bool, hello: str, login: Login | None = None,
        ca: Path | None = None, resolver: Resolve = resolve, seconds: float = CALL_SECONDS,
    ) -> None:  # fmt: skip
        """`implicit_tls`: from the first byte, else by STARTTLS and never without it. `hello`: our name for EHLO.
        `ca`: PEM of an authority beside the system's.

        Raises:
            Malformed: the login is not of ASCII.
            BadConfig: `ca` cannot be read.
        """
        if login is not None and not all(one.isascii() and one.isprintable() for one in login):
            raise Malformed("want ASCII", field="login")
        self._host, self._port, self._egress, self._implicit = host, port, egress, implicit_tls
        self._hello, self._login, self._resolver, self._seconds = hello, login, resolver, seconds
        self._tls = ssl.create_default_context()
        if ca is not None:
            try:
                self._tls.load_verify_locations(ca)
            except (OSError, ssl.SSLError) as e:
                raise BadConfig(f"cannot read the authority {ca}: {e}") from e

    def hand_over(self, sender: str, to: str, mail: bytes) -> None:
        """Returns once the server has taken the mail.

        Raises:
            NotTaken: it may be taken later, or nobody knows whether it was.
            RefusedForGood: this mail, or this recipient, never.
        """
        until = time.monotonic() + self._seconds
        try:
            with self._connected() as raw, _cut_off(raw, until):
                self._talk(raw, sender, to, mail)
        except smtplib.SMTPRecipientsRefused as e:
            raise _refused("the recipient", next(iter(e.recipients.values()))[0]) from None
        except (smtplib.SMTPSenderRefused, smtplib.SMTPDataError) as e:
            raise _refused("the mail", e.smtp_code) from None
        except smtplib.SMTPResponseException as e:  # of the connection, not of this mail
            raise NotTaken(f"answered {e.smtp_code}") from None
        except ssl.SSLCertVerificationError as e:
            raise NotTaken(f"its certificate is not good: {e.verify_message}") from None
        except (OSError, ValueError) as e:  # every error of smtplib is an OSError; ValueError: a challenge of no sense
            late = time.monotonic() >= until
            raise NotTaken("the exchange has taken too long" if late else type(e).__name__) from None

    def _connected(self) -> socket.socket:
        try:
            addresses = sorted(self._resolver(self._host, self._port))
        except OSError:
            raise NotTaken(f"{self._host} cannot be resolved") from None
        # Every one of them, as for HTTP: a private address beside a public one is somebody's trick.
        if not addresses or not all(self._egress.permits(one) for one in addresses):
            raise NotTaken(f"{self._host} has addresses that may not be reached")
        return socket.create_connection((addresses[0], self._port), self._seconds)

    def _talk(self, raw: socket.socket, sender: str, to: str, mail: bytes) -> None:
        sock = self._tls.wrap_socket(raw, server_hostname=self._host) if self._implicit else raw
        with closing(_Client(sock, self._host, self._port, self._hello)) as client:
            if not self._implicit:
                client.starttls(context=self._tls)  # raises where the server does not offer it
            if self._login is not None:
                client.login(*self._login)
            client.sendmail(sender, [to], mail)
            with suppress(OSError):  # it is taken already: who does not hear the farewell may hang up
                client.putcmd("QUIT")


class _Client(smtplib.SMTP):
    """smtplib's client on a connection that is there, told no more than `MAX_ANSWER_BYTES`."""

    def __init__(self, sock: socket.socket, host: str, port: int, hello: str) -> None:
        self._given = sock
        super().__init__(host, port, local_hostname=hello)  # the name is what the certificate must be of

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        return self._given

    def getreply(self) -> tuple[int, bytes]:
        if self.file is None:
            self.file = _Bounded(self.sock.makefile("rb")) if self.sock else None
        return super().getreply()


class _Bounded:
    def __init__(self, inner: Any) -> None:
        self._inner, self._left = inner, MAX_ANSWER_BYTES

    def readline(self, limit: int) -> bytes:
        line = bytes(self._inner.readline(limit))
        self._left -= len(line)
        if self._left < 0:
            raise OSError("told too much")
        if line and not line.endswith(b"\n"):  # smtplib would take the beginning of an answer for all of it
            raise OSError("cut off, or a line too long")
        return line

    def close(self) -> None:
        self._inner.close()


@contextmanager
def _cut_off(connection: socket.socket, until: float) -> Iterator[None]:
    """Ends a connection when the time is over, whoever waits on it."""
    # A second handle: TLS takes the first one away. It shuts the connection, not a handle, so it ends the TLS one too,
    # which never falls back to sending in clear.
    with connection.dup() as second:

        def cut() -> None:
            with suppress(OSError):
                second.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(max(0.0, until - time.monotonic()), cut)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()


def _refused(what: str, code: int) -> NotTaken | RefusedForGood:
    if 500 <= code < 600:
        return RefusedForGood(f"{what} was refused with {code}")
    return NotTaken(f"{what} was not taken: {code}")
