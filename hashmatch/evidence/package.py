"""What is handed to an authority: a ZIP with a manifest, sealed to the authority's certificate.

The outside is CMS EnvelopedData (RFC 5652 §6) in DER: AES-256-CBC, its key encrypted to an RSA certificate. Whoever has
the private key opens it with a tool that is everywhere:

    openssl cms -decrypt -binary -inform DER -in package.p7m -recip certificate.pem -inkey key.pem -out package.zip

AuthEnvelopedData with AES-GCM would also notice changes, but few tools read it. So that is the manifest's part: it has
the digests of every part, and its own digest is logged here, and to be told to the authority by another way.

It is made in memory, about four times its size: nothing that it holds is on a disk unsealed.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import secrets
import struct
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from hashmatch.errors import Conflict, Corrupt, Malformed, Refused
from hashmatch.evidence import durable, stream

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
MAX_PACKAGE_BYTES: Final = 256 << 20  # of all parts: 1 GiB of memory, or four of the largest media
MAX_PARTS: Final = 10_000
MAX_NAME: Final = 200  # characters; unpacked below a folder it stays under the 260 of Windows
MIN_RSA_BITS: Final = 2048  # NIST SP 800-131A
DIGESTS: Final = ("sha256", "sha1", "md5")  # the first counts; the others are what authorities' own lists have
_SEGMENT = r"[A-Za-z0-9_-][A-Za-z0-9_.-]*"  # nothing that leads out of a folder, or that some system cannot name
_NAME = re.compile(rf"{_SEGMENT}(/{_SEGMENT})*")


@dataclass(frozen=True, slots=True)
class Part:
    """One file of a package."""

    name: str  # "media/v_1.jpg": letters, digits, _ - . and /
    media: bytes | BinaryIO  # of a file: what it still has
    what: str  # for people: what it is
    media_type: str = "application/octet-stream"

    def __repr__(self) -> str:
        return f"<part {self.name}>"


@dataclass(frozen=True, slots=True)
class Package:
    """A package that was written. Nothing of it tells what it holds, so it may be logged."""

    manifest_digest: bytes  # SHA-256 of manifest.json
    digest: bytes  # SHA-256 of the sealed package
    recipient: bytes  # SHA-256 of the certificate's DER
    files: int  # without the manifest
    size: int  # bytes, sealed


@dataclass(frozen=True, slots=True)
class Opened:
    """A package that was opened, and is what its manifest says."""

    manifest: Mapping[str, Any]
    manifest_digest: bytes
    parts: Mapping[str, bytes]

    def __repr__(self) -> str:
        return f"<package of {len(self.parts)} parts>"


def read_recipient(stored: bytes, at: datetime) -> x509.Certificate:
    """The certificate that a package is to be sealed to, PEM or DER. Whose it is must be known otherwise.

    Raises:
        Malformed: it is none, nothing can be sealed to it, or it is not valid at that time.
    """
    try:
        pem = b"-----BEGIN" in stored
        found = x509.load_pem_x509_certificate(stored) if pem else x509.load_der_x509_certificate(stored)
        key = found.public_key()
        usage = next((e.value for e in found.extensions if isinstance(e.value, x509.KeyUsage)), None)
    except ValueError as e:
        raise Malformed("want an X.509 certificate", field="recipient") from e
    if not isinstance(key, RSAPublicKey) or key.key_size < MIN_RSA_BITS:
        raise Malformed(f"want a certificate with an RSA key of at least {MIN_RSA_BITS} bits", field="recipient")
    if usage is not None and not usage.key_encipherment:
        raise Malformed("the certificate's key is not for encryption", field="recipient")
    first, last = found.not_valid_before_utc, found.not_valid_after_utc
    if not first <= at <= last:
        raise Malformed(f"the certificate is valid from {first:%Y-%m-%d} to {last:%Y-%m-%d}", field="recipient")
    return found


def write_package(
    target: Path | BinaryIO, parts: Iterable[Part], *, manifest: Mapping[str, Any], recipient: x509.Certificate
) -> Package:
    """Writes a package; a file is on disk when this returns, and only its owner may read it.

    Args:
        manifest: what else the manifest is to say, as JSON: for which order, by whom, when.
        recipient: as `read_recipient` gives it.
    Raises:
        Malformed: names the field.
        Refused: too much for one package; make several.
        Conflict: there is such a file already.
        StoreFull, StoreFailed: the disk refused; there is no such file.
        Whatever reading a part raises: nothing was written.
    """
    packed, text, files = _pack(parts, manifest)
    builder = pkcs7.PKCS7EnvelopeBuilder().set_data(packed).add_recipient(recipient)
    sealed = builder.set_content_encryption_algorithm(AES256).encrypt(Encoding.DER, [pkcs7.PKCS7Options.Binary])
    if isinstance(target, Path):
        _publish(target.absolute(), sealed)
    else:
        target.write(sealed)
    return Package(
        hashlib.sha256(text).digest(), hashlib.sha256(sealed).digest(),
        hashlib.sha256(recipient.public_bytes(Encoding.DER)).digest(), files, len(sealed),
    )  # fmt: skip


def read_package(sealed: bytes, certificate: x509.Certificate, key: RSAPrivateKey) -> Opened:
    """Opens a package and holds every part against the manifest.

    Raises:
        Corrupt: it is not a package, not for this key, or not what its manifest says.
    """
    try:
        packed = pkcs7.pkcs7_decrypt_der(sealed, certificate, key, [])
    except (ValueError, UnsupportedAlgorithm) as e:
        raise Corrupt("this does not open as a package with this key") from e
    try:
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
        text = parts.pop(MANIFEST)
        manifest = json.loads(text)
        listed = {part["name"]: {name: part[name] for name in ("size", *DIGESTS)} for part in manifest["parts"]}
    # What comes of changed bytes under CBC may be anything, and zipfile raises as much.
    except (ValueError, LookupError, TypeError, EOFError, OSError, RuntimeError, zipfile.BadZipFile, struct.error) as e:
        raise Corrupt("what is in the package is damaged") from e
    if listed != {name: _facts(part) for name, part in parts.items()}:
        raise Corrupt("the package is not what its manifest says")
    return Opened(manifest, hashlib.sha256(text).digest(), parts)


def _pack(parts: Iterable[Part], manifest: Mapping[str, Any]) -> tuple[bytes, bytes, int]:
    """The ZIP, its manifest, and how many parts there are beside that."""
    buffer, total = io.BytesIO(), 0
    listed: list[dict[str, Any]] = []
    taken, folders = {PurePosixPath(MANIFEST)}, set[PurePosixPath]()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for part in parts:
            if len(listed) == MAX_PARTS:
                raise Refused(f"more than {MAX_PARTS} parts; make several packages")
            if len(part.name) > MAX_NAME or not _NAME.fullmatch(part.name):
                raise Malformed(f"want at most {MAX_NAME} letters, digits, _ - . and /", field="parts.name")
            name = PurePosixPath(part.name.lower())  # as systems see it that do not tell A from a
            above = set(name.parents)
            if name in taken | folders or above & taken:
                raise Malformed(f"{part.name} is there twice, or as a folder too", field="parts.name")
            taken.add(name)
            folders |= above
            media = _whole(part.media, MAX_PACKAGE_BYTES - total)
            total += len(media)
            archive.writestr(zipfile.ZipInfo(part.name), media)  # with the time 1980-01-01: none that says anything
            listed.append({"name": part.name, "what": part.what, "media_type": part.media_type} | _facts(media))
        try:
            text = json.dumps({"format": FORMAT, "about": dict(manifest), "parts": listed}, indent=1).encode()
        except (TypeError, ValueError) as e:
            raise Malformed("want what JSON can say", field="manifest") from e
        archive.writestr(zipfile.ZipInfo(MANIFEST), text)
    return buffer.getvalue(), text, len(listed)


def _whole(media: bytes | BinaryIO, room: int) -> bytes:
    whole = bytearray()
    for piece in [media] if isinstance(media, bytes) else stream.chunks(media):
        if len(whole) + len(piece) > room:
            raise Refused(f"more than {MAX_PACKAGE_BYTES} bytes; make several packages")
        whole += piece
    return bytes(whole)


def _facts(media: bytes) -> dict[str, str | int]:
    """Size and digests, as the manifest has them."""
    found = {name: hashlib.new(name, media, usedforsecurity=False).hexdigest() for name in DIGESTS}
    return {"size": len(media)} | found


def _publish(path: Path, sealed: bytes) -> None:
    """Makes the file, which must not be there, whole or not at all."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    with durable.translated(path):
        durable.write(draft, [sealed])
        try:
            os.link(draft, path)
        except FileExistsError as e:
            raise Conflict(f"{path} is there already") from e
        finally:
            durable.remove(draft)
        durable.sync_directory(path.parent)
