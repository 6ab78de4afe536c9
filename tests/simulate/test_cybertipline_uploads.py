"""Uploads to the imitated CyberTipline, byte for byte."""

from __future__ import annotations

import hashlib
import socket
import tracemalloc

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulate.clients import code, field

FORM = "multipart/form-data; boundary=b"
PART = b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\n'


@settings(max_examples=40, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=300),
        # What looks like a boundary, and the edges of the pieces that are read.
        st.lists(st.sampled_from([b"\r", b"\n", b"-", b"\r\n--bound", b"x"]), max_size=40).map(b"".join),
        st.integers((64 << 10) - 90, (64 << 10) + 10).map(lambda size: b"\r\n--boun" * (size // 8) + b"y" * (size % 8)),
    )
)
def test_bytes_are_counted_and_digested_as_they_are(client, open_report, data):
    headers = {"Content-Type": "multipart/form-data; boundary=boundary"}
    if b"\r\n--boundary" in data:
        return
    parts = {"id": (None, str(open_report)), "file": ('a".bin\r\n', data)}
    file_id = field(client.http.post("/upload", files=parts, headers=headers), "fileId")
    held = client.tipline.reports[open_report].file(file_id)
    assert (held.size, held.md5) == (len(data), hashlib.md5(data, usedforsecurity=False).hexdigest())


def test_a_large_upload_is_read_in_pieces(client):
    size, piece = 48 << 20, b"\r\n--" * (16 << 10)
    digest = hashlib.md5(usedforsecurity=False)

    def body(report_id):
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
        for _ in range(size // len(piece)):
            digest.update(piece)
            yield piece
        # The id may come last: nobody can know whose file it is before.
        yield f'\r\n--b\r\nContent-Disposition: form-data; name="id"\r\n\r\n{report_id}\r\n--b--\r\n'.encode()

    report_id = client.opened()
    headers = {"Content-Type": "multipart/form-data; boundary=b"}  # of no stated length: chunked
    tracemalloc.start()
    try:
        reply = client.http.post("/upload", content=body(report_id), headers=headers)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20  # of the client and the service together
    assert field(reply, "hash") == digest.hexdigest()
    assert client.tipline.reports[report_id].files[0].size == size


@pytest.mark.parametrize(
    ("body", "content_type", "expected"),
    [
        (b"id=1&file=x", "application/x-www-form-urlencoded", 4200),
        (b"x", "application/octet-stream", 4200),
        (b"x", "multipart/form-data", 4200),
        (b"", FORM, 4200),
        (b"--b--\r\n", FORM, 4200),
        (PART % b"id" + b"1\r\n--b--", FORM, 4200),
        (PART % b"file" + b"it ends before its boundary", FORM, 4200),
        (PART % b"file" + b"of which report?\r\n--b--", FORM, 4000),
        (b"--b\r\n" + b"A: b\r\n" * 9000, FORM, 4200),
        (b"--b" + b" " * 20_000, FORM, 4200),
    ],
)
def test_uploads_that_are_none(client, body, content_type, expected):
    reply = client.http.post("/upload", content=body, headers={"Content-Type": content_type})
    assert code(reply) == expected


def test_further_parts_and_a_preamble_are_passed_over(client):
    report_id = client.opened()
    disposition = b"\r\ncontent-disposition: form-data; name="
    body = (
        b"preamble\r\n--b  " + disposition + b"other\r\n\r\n" + b"z" * 200_000
        + b"\r\n--b" + disposition + b'"file"; filename="x"\r\nContent-Type: image/png\r\n\r\ndata'
        + b"\r\n--b" + disposition + b"id\r\n\r\n" + str(report_id).encode() + b"\r\n--b--epilogue"
    )  # fmt: skip
    headers = {"Content-Type": 'Multipart/Form-Data; boundary="b"'}
    reply = client.http.post("/upload", content=body, headers=headers)
    assert field(reply, "hash") == hashlib.md5(b"data", usedforsecurity=False).hexdigest()
    assert client.tipline.reports[report_id].files[0].size == 4


def test_an_upload_that_breaks_off_adds_no_file(client):
    report_id = client.opened()
    url = httpx.URL(client.tipline.url)
    head = (
        "POST /ispws/upload HTTP/1.1\r\nHost: x\r\nAuthorization: Basic dGVzdGVyOnRlc3Rlcg==\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\n"
    )
    part = (
        f'--b\r\nContent-Disposition: form-data; name="id"\r\n\r\n{report_id}\r\n--b\r\n'
        'Content-Disposition: form-data; name="file"\r\n\r\nhalf'
    )
    bodies = [
        f"Content-Length: 100000\r\n\r\n{part}",
        f"Transfer-Encoding: chunked\r\n\r\n{len(part):x}\r\n{part}\r\n",
        f"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n{part}",
        f"Content-Length: many\r\n\r\n{part}",
    ]
    for body in bodies:
        with socket.create_connection((url.host, url.port)) as connection:
            connection.sendall((head + body).encode())
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(1000) == b""
    assert client.tipline.reports[report_id].files == ()
