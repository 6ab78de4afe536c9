"""The server's certificate, read anew when its files change, and who it lets in.

gRPC asks for the certificate at every handshake, so a renewed one is used from the next connection on; connections
that stand are not touched. A pair of files that does not fit together (one of two was replaced yet) is passed over,
said so once, and tried again once a file has changed.
"""

from __future__ import annotations

import logging
import ssl
import threading
import time
from pathlib import Path

import grpc
from cryptography import x509

from hashmatch.config import Settings
from hashmatch.errors import BadConfig

trace = logging.getLogger(__name__)


class Certificate:
    """The files of one server's certificate. gRPC's threads call it."""

    def __init__(self, settings: Settings) -> None:
        """Reads the files.

        Raises:
            BadConfig: a file cannot be read, is no PEM, or key and certificate do not fit.
        """
        if settings.tls_certificate is None or settings.tls_key is None:
            raise BadConfig("tls_certificate and tls_key are not set")
        self._chain, self._key, self._ca = settings.tls_certificate, settings.tls_key, settings.tls_client_ca
        self._lock = threading.Lock()  # guards the three below
        self._mark = self._marked()
        self._failed: tuple[object, ...] | None = None  # the state of the files that could not be used
        self.expires_at = 0.0  # seconds since 1970
        self._loaded = self._handed = self._load()  # what is next handed to gRPC, and what it has

    @property
    def mutual(self) -> bool:
        """Whether every caller must have a certificate too."""
        return self._ca is not None

    def credentials(self) -> grpc.ServerCredentials:
        """What a secure port is opened with."""
        return grpc.dynamic_ssl_server_credentials(
            self._loaded,
            self._changed,  # type: ignore[arg-type]  # None: nothing new, as gRPC documents
            require_client_authentication=self.mutual,
        )

    def reload(self) -> str:
        """Takes the files over where they have changed: "reloaded", "unchanged", or "failed", which is traced."""
        with self._lock:
            mark = self._marked()
            if mark in (self._mark, self._failed):
                return "unchanged"
            try:
                self._loaded = self._load()
            except BadConfig as e:
                self._failed = mark  # said once; tried again when a file is another
                trace.error("the certificate was not reloaded, the old one stays: %s", e)
                return "failed"
            self._mark = mark
        trace.info("the certificate was reloaded; it expires on %s", time.strftime("%F", time.gmtime(self.expires_at)))
        return "reloaded"

    def _changed(self) -> grpc.ServerCertificateConfiguration | None:
        """For gRPC, on a thread of its own: the new configuration where `reload` took one over."""
        if self._loaded is self._handed:
            return None
        self._handed = self._loaded
        return self._handed

    def _marked(self) -> tuple[object, ...]:
        marks: list[object] = []
        for path in (self._chain, self._key, self._ca):
            try:
                stat = path.stat() if path else None
            except OSError:
                stat = None
            marks.append((stat.st_ctime_ns, stat.st_ino, stat.st_size) if stat else None)
        return tuple(marks)

    def _load(self) -> grpc.ServerCertificateConfiguration:
        key, chain = _read(self._key, "tls_key"), _read(self._chain, "tls_certificate")
        ca = _read(self._ca, "tls_client_ca") if self._ca else None
        fits = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            fits.load_cert_chain(self._chain, self._key, password=lambda: "")
        except (ssl.SSLError, OSError, ValueError) as e:
            raise BadConfig(f"{self._chain} and {self._key} are not a certificate and its key: {e}") from e
        if self._ca:
            try:
                fits.load_verify_locations(self._ca)
            except (ssl.SSLError, OSError) as e:
                raise BadConfig(f"{self._ca} holds no certificate authority: {e}") from e
        self.expires_at = _expiry(chain)
        return grpc.ssl_server_certificate_configuration([(key, chain)], ca)


def _read(path: Path, setting: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as e:
        raise BadConfig(f"{setting}: cannot read {path}: {e.strerror}") from e


def _expiry(chain: bytes) -> float:
    """When the first certificate of a PEM chain expires, in seconds since 1970."""
    return x509.load_pem_x509_certificates(chain)[0].not_valid_after_utc.timestamp()
