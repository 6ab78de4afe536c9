"""Packages for authorities: OpenSSL opens them and finds what was put in, and nobody else does."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import stat
import subprocess
import zipfile
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, pkcs7
from hypothesis import given, settings
from hypothesis import strategies as st

from hashmatch.errors import Conflict, Corrupt, Malformed, Refused
from hashmatch.evidence import package
from hashmatch.evidence.package import Part, read_package, read_recipient, write_package

AT = datetime(2026, 1, 2, tzinfo=UTC)
KEY, OTHER = (rsa.generate_private_key(65537, 2048) for _ in range(2))
ABOUT = {"order": "§ 12/34", "by": ["ada", "bob"]}


def certificate(key, *, extension=None, serial=7):
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "An authority")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), serial)
    builder = builder.not_valid_before(AT - timedelta(1)).not_valid_after(AT + timedelta(1))
    if extension is not None:
        builder = builder.add_extension(extension, critical=True)
    return builder.sign(key, hashes.SHA256())


RECIPIENT = certificate(KEY)
PARTS = [
    Part("media/v_1.jpg", bytes(range(256)) * 300, "the media as it was uploaded", "image/jpeg"),
    Part("account.json", io.BytesIO(b"{}"), "what is known of the account", "application/json"),
    Part("empty", b"", "nothing"),
]


def written(parts, about=ABOUT, recipient=RECIPIENT):
    target = io.BytesIO()
    made = write_package(target, parts, manifest=about, recipient=recipient)
    return made, target.getvalue()


def test_openssl_opens_it(tmp_path):
    if not shutil.which("openssl"):
        pytest.skip("no openssl here")
    path = tmp_path / "package.p7m"
    PARTS[1].media.seek(0)
    made = write_package(path, PARTS, manifest=ABOUT, recipient=RECIPIENT)
    assert (stat.S_IMODE(path.stat().st_mode), path.stat().st_size, made.files) == (0o600, made.size, 3)
    assert hashlib.sha256(path.read_bytes()).digest() == made.digest
    assert RECIPIENT.fingerprint(hashes.SHA256()) == made.recipient
    assert b"account" not in path.read_bytes()
    (tmp_path / "c.pem").write_bytes(RECIPIENT.public_bytes(Encoding.PEM))
    (tmp_path / "k.pem").write_bytes(KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    command = "openssl cms -decrypt -binary -inform DER -in package.p7m -recip c.pem -inkey k.pem -out package.zip"
    subprocess.run(command.split(), cwd=tmp_path, check=True, capture_output=True, timeout=30)
    with zipfile.ZipFile(tmp_path / "package.zip") as archive:
        assert archive.testzip() is None
        found = {name: archive.read(name) for name in archive.namelist()}
    text = found.pop("manifest.json")
    assert hashlib.sha256(text).digest() == made.manifest_digest
    said = json.loads(text)
    assert (said["format"], said["about"]) == (1, ABOUT)
    assert found == {"media/v_1.jpg": bytes(range(256)) * 300, "account.json": b"{}", "empty": b""}
    for part, one in zip(PARTS, said["parts"], strict=True):
        media = found[part.name]
        wanted = {name: hashlib.new(name, media).hexdigest() for name in ("sha256", "sha1", "md5")}
        wanted |= {"name": part.name, "what": part.what, "media_type": part.media_type, "size": len(media)}
        assert one == wanted


@settings(max_examples=20)
@given(st.dictionaries(st.from_regex(r"[a-z0-9_-]{1,9}\.[a-z]{1,3}", fullmatch=True), st.binary(max_size=300)))
def test_what_was_put_in_comes_out(parts):
    made, sealed = written([Part(name, media, "") for name, media in parts.items()])
    opened = read_package(sealed, RECIPIENT, KEY)
    assert (opened.parts, opened.manifest_digest) == (parts, made.manifest_digest)


def test_no_other_key_opens_it():
    _, sealed = written([])
    for recipient, key in ((certificate(OTHER), OTHER), (certificate(OTHER, serial=8), OTHER)):
        with pytest.raises(Corrupt):
            read_package(sealed, recipient, key)


def test_a_changed_package_never_gives_other_parts():
    _, sealed = written([Part("a", b"media", "")])
    for at in range(0, len(sealed), 9):
        changed = sealed[:at] + bytes([sealed[at] ^ 0x11]) + sealed[at + 1 :]
        try:
            found = read_package(changed, RECIPIENT, KEY)
        except Corrupt:
            continue
        assert found.parts == {"a": b"media"}
    for at in (0, 100, len(sealed) - 17, len(sealed) - 1):
        with pytest.raises(Corrupt):
            read_package(sealed[:at], RECIPIENT, KEY)


def test_parts_that_the_manifest_does_not_list_are_found():
    _, sealed = written([Part("a", b"media", "")])
    packed = io.BytesIO(pkcs7.pkcs7_decrypt_der(sealed, RECIPIENT, KEY, []))
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr("b", b"more")
    builder = pkcs7.PKCS7EnvelopeBuilder().set_data(packed.getvalue()).add_recipient(RECIPIENT)
    with pytest.raises(Corrupt, match="not what its manifest says"):
        read_package(builder.encrypt(Encoding.DER, [pkcs7.PKCS7Options.Binary]), RECIPIENT, KEY)


@pytest.mark.parametrize(
    "names",
    [["../a"], ["/a"], [""], ["a/"], ["a//b"], [".a"], ["a\\b"], ["é"], ["a\n"], ["x" * 201], ["a", "A"],
     ["manifest.json"], ["Manifest.JSON"], ["a", "a/b"], ["a/b", "A"], ["manifest.json/a"]],
)  # fmt: skip
def test_names_that_lead_elsewhere_or_clash_are_refused(names):
    with pytest.raises(Malformed, match=r"parts\.name"):
        written([Part(name, b"", "") for name in names])


def test_what_is_too_much_is_refused(monkeypatch):
    monkeypatch.setattr(package, "MAX_PACKAGE_BYTES", 10)
    monkeypatch.setattr(package, "MAX_PARTS", 2)
    written([Part("a", bytes(4), ""), Part("b", io.BytesIO(bytes(6)), "")])
    for parts in ([Part("a", bytes(4), ""), Part("b", io.BytesIO(bytes(7)), "")], [Part(n, b"", "") for n in "abc"]):
        with pytest.raises(Refused, match="make several packages"):
            written(parts)


def test_a_manifest_must_be_json():
    with pytest.raises(Malformed, match="manifest"):
        written([], about={"at": AT})


def test_nothing_is_written_over_or_by_half(tmp_path):
    path = tmp_path / "package.p7m"
    with pytest.raises(Malformed):
        write_package(path, [Part("..", b"", "")], manifest={}, recipient=RECIPIENT)
    assert list(tmp_path.iterdir()) == []
    path.write_bytes(b"before")
    with pytest.raises(Conflict):
        write_package(path, [], manifest={}, recipient=RECIPIENT)
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [("package.p7m", b"before")]


def usage(**allowed):
    names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
             "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")  # fmt: skip
    return x509.KeyUsage(**(dict.fromkeys(names, False) | allowed))


def test_a_recipient_is_read():
    for form in (Encoding.PEM, Encoding.DER):
        assert read_recipient(RECIPIENT.public_bytes(form), AT) == RECIPIENT
    fit = certificate(KEY, extension=usage(key_encipherment=True))
    assert read_recipient(fit.public_bytes(Encoding.PEM), AT) == fit


@pytest.mark.parametrize(
    ("made", "at", "why"),
    [
        (lambda: RECIPIENT, AT + timedelta(2), "valid from 2026-01-01 to 2026-01-03"),
        (lambda: RECIPIENT, AT - timedelta(2), "valid from"),
        (lambda: certificate(KEY, extension=usage(digital_signature=True)), AT, "not for encryption"),
        (lambda: certificate(ec.generate_private_key(ec.SECP256R1())), AT, "RSA key of at least 2048"),
        (lambda: certificate(rsa.generate_private_key(65537, 1024)), AT, "RSA key of at least 2048"),  # noqa: S505
    ],
)
def test_a_certificate_that_cannot_be_sealed_to_is_refused(made, at, why):
    with pytest.raises(Malformed, match=why):
        read_recipient(made().public_bytes(Encoding.PEM), at)


@pytest.mark.parametrize("stored", [b"", b"x", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_what_is_no_certificate_is_refused(stored):
    with pytest.raises(Malformed, match=r"want an X\.509 certificate"):
        read_recipient(stored, AT)
