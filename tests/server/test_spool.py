"""Uploads as they come: the bytes come back, their digests are right, and the disk holds nothing that can be read."""

from __future__ import annotations

import contextlib
import hashlib
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashmatch.errors import Malformed, StoreFailed
from hashmatch.server.forms import Form
from hashmatch.server.spool import Spool

MARKER = b"a marker that must never be on a disk"


@settings(max_examples=60)
@given(chunks=st.lists(st.binary(max_size=300), max_size=20), threshold=st.integers(0, 1000))
def test_what_was_written_comes_back(tmp_path_factory, chunks, threshold):
    media = b"".join(chunks)
    with Spool(tmp_path_factory.getbasetemp() / "spool", threshold) as spool:
        for chunk in chunks:
            spool.write(chunk)
            assert spool.in_memory <= threshold
        assert (spool.media(), spool.size) == (media, len(media))
        found = {d.fingerprint.hash_type: d.fingerprint.value for d in spool.digests()}
    wanted = {n: hashlib.new(n, media, usedforsecurity=False).digest() for n in ("md5", "sha1", "sha256")}
    assert found == wanted


def test_the_file_has_no_name_and_holds_no_media(tmp_path):
    with Spool(tmp_path, 10) as spool:
        spool.write(MARKER * 1000)
        assert list(tmp_path.iterdir()) == []
        spool._file.flush()
        with open(f"/proc/self/fd/{spool._file.fileno()}", "rb") as stored:
            assert MARKER not in stored.read()
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_refuses_is_told(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with Spool(tmp_path / "file", 0) as spool, pytest.raises(StoreFailed):
        spool.write(b"x")


def test_leaving_frees_the_descriptor(tmp_path):
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        with Spool(tmp_path, 0) as spool:
            spool.write(b"x" * 100)
    assert len(os.listdir("/proc/self/fd")) == before


BOUNDARY = "--------x1"


def form(*parts, end=True):
    text = b""
    for name, body in parts:
        text += f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode() + body + b"\r\n"
    return text + (f"--{BOUNDARY}--\r\n".encode() if end else b"")


def read(body, sizes=(1 << 20,)):
    got = bytearray()
    reading = Form(f"multipart/form-data; boundary={BOUNDARY}")
    at = 0
    for size in sizes:
        got += b"".join(reading.write(body[at : at + size]))
        at += size
    got += b"".join(reading.write(body[at:]))
    return reading.finish(), bytes(got)


@settings(max_examples=60)
@given(media=st.binary(max_size=2000), sizes=st.lists(st.integers(1, 60), max_size=30))
def test_a_form_reads_the_same_however_it_is_cut(media, sizes):
    assert read(form(("request", b"{}"), ("media", media)), sizes) == (b"{}", media)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nonsense",
        form(("media", b"x"), end=False),
        form(("media", b"x"), ("media", b"y")),
        form(("other", b"x")),
        form(("request", b"x" * (2 << 20))),
        f"--{BOUNDARY}\r\n".encode() + b"A: " + b"x" * 10_000 + b"\r\n\r\n\r\n",
    ],
)
def test_other_forms_are_refused(body):
    with pytest.raises(Malformed):
        read(body)


@settings(max_examples=200)
@given(st.binary(max_size=400))
def test_rubbish_is_refused_and_raises_nothing_else(body):
    with contextlib.suppress(Malformed):
        read(f"--{BOUNDARY}\r\n".encode() + body)


@pytest.mark.parametrize("content_type", ["multipart/form-data", "multipart/form-data; boundary=", ""])
def test_a_form_needs_a_boundary(content_type):
    with pytest.raises(Malformed):
        Form(content_type)
