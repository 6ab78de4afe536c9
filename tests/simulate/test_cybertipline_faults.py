"""Everything that can be made to go wrong with the imitated CyberTipline."""

from __future__ import annotations

import hashlib
import time
from datetime import timedelta

import httpx
import pytest
from lxml import etree
from simulate.clients import code, field
from simulate.documents import (
    details,
)

from hashmatch.errors import BadConfig
from hashmatch.simulate.faults import Fault, Faults, Kind, parse, spec_of
from hashmatch.simulate.state import Stage

ENDPOINTS = ["status", "submit", "upload", "fileinfo", "finish", "retract"]


def call(client, name, report_id, file_id):
    match name:
        case "status":
            return client.get("status")
        case "submit":
            return client.submit()
        case "fileinfo":
            return client.fileinfo(details(report_id, file_id))
        case _:
            return getattr(client, name)(report_id)


def footprint(tipline):
    """All that a request can change."""
    return {
        one.report_id: (one.stage, tuple((f.file_id, len(f.details)) for f in one.files))
        for one in tipline.reports.values()
    }


@pytest.mark.parametrize("name", ENDPOINTS)
@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("500", 500),
        ("503", 503),
        ("429=7", 429),
        ("401-empty", 401),
        ("401-xml", 401),
        ("redirect", 307),
        ("code=3100", 200),
    ],
)
def test_faults_before_commit_change_nothing(ready, name, kind, status):
    client, report_id, file_id = ready
    before = footprint(client.tipline)
    client.tipline.faults.add(f"{name}:{kind}@1")
    reply = call(client, name, report_id, file_id)
    assert reply.status_code == status
    assert reply.headers["Request-ID"]
    assert footprint(client.tipline) == before
    match kind:
        case "500":
            assert code(reply) == 1000
        case "503":
            assert b"<" not in reply.content
        case "429=7":
            assert reply.headers["Retry-After"] == "7"
        case "401-empty":
            assert reply.content == b""
            assert "WWW-Authenticate" in reply.headers
        case "401-xml":
            assert code(reply) == 1000
            assert "WWW-Authenticate" in reply.headers
        case "code=3100":
            assert code(reply) == 3100
    assert code(call(client, name, report_id, file_id)) == 0  # that one call only


@pytest.mark.parametrize("name", ENDPOINTS)
def test_a_dropped_connection_changes_nothing(ready, name):
    client, report_id, file_id = ready
    before = footprint(client.tipline)
    client.tipline.faults.add(f"{name}:dropped@1")
    with pytest.raises(httpx.TransportError):
        call(client, name, report_id, file_id)
    assert footprint(client.tipline) == before
    assert code(call(client, name, report_id, file_id)) == 0


@pytest.mark.parametrize(
    ("name", "again"), [("submit", 0), ("upload", 0), ("fileinfo", 1300), ("finish", 5102), ("retract", 5101)]
)
def test_a_lost_reply_is_of_something_done(ready, name, again):
    client, report_id, file_id = ready
    before = footprint(client.tipline)
    client.tipline.faults.add(f"{name}:lost-reply@1")
    with pytest.raises(httpx.TransportError):
        call(client, name, report_id, file_id)
    assert footprint(client.tipline) != before
    assert code(call(client, name, report_id, file_id)) == again


@pytest.mark.parametrize("name", ENDPOINTS)
def test_truncated_xml_is_http_in_order(ready, name):
    client, report_id, file_id = ready
    client.tipline.faults.add(f"{name}:truncated")
    reply = call(client, name, report_id, file_id)
    assert reply.status_code == 200
    assert reply.content.startswith(b"<?xml")
    with pytest.raises(etree.XMLSyntaxError):
        etree.fromstring(reply.content)


@pytest.mark.parametrize("name", ENDPOINTS)
def test_rubbish_says_that_all_is_well(ready, name):
    client, report_id, file_id = ready
    client.tipline.faults.add(f"{name}:rubbish")
    reply = call(client, name, report_id, file_id)
    assert (reply.status_code, reply.headers["Content-Type"]) == (200, "text/html")
    with pytest.raises(etree.XMLSyntaxError):
        etree.fromstring(reply.content)


@pytest.mark.parametrize("name", ENDPOINTS)
def test_latin1_is_a_lie(ready, name):
    client, report_id, file_id = ready
    client.tipline.faults.add(f"{name}:latin1")
    reply = call(client, name, report_id, file_id)
    assert reply.headers["Content-Type"] == "application/xml;charset=ISO-8859-1"
    assert code(reply) == 0
    if name != "finish":  # whose answer has no description
        assert field(reply, "responseDescription") == "Success – ✓"
        assert "Success – ✓" not in reply.text  # which is decoded as HTTP says


@pytest.mark.parametrize("name", ["upload", "finish"])
def test_a_slow_reply_is_of_something_done(ready, name):
    client, report_id, _ = ready
    before = footprint(client.tipline)
    client.tipline.faults.add(f"{name}:slow=30s@1")
    with pytest.raises(httpx.ReadTimeout):
        client.http.post(f"/{name}", data={"id": report_id}, files={"file": b"x"}, timeout=0.3)
    for _ in range(100):  # a busy machine may be later than the client's patience
        if footprint(client.tipline) != before:
            return
        time.sleep(0.05)
    pytest.fail("nothing was done")


def test_a_slow_reply_comes_in_the_end(ready):
    client, *_ = ready
    client.tipline.faults.add("status:slow=0.2s")
    reply = client.get("status")
    assert code(reply) == 0
    assert reply.elapsed >= timedelta(seconds=0.2)


def test_a_wrong_md5_is_told_and_the_right_one_held(ready):
    client, report_id, _ = ready
    client.tipline.faults.add("upload:wrong-md5@1")
    right = hashlib.md5(b"benign", usedforsecurity=False).hexdigest()
    reply = client.upload(report_id)
    assert code(reply) == 0
    assert field(reply, "hash") != right
    assert client.tipline.reports[report_id].files[-1].md5 == right


def test_a_file_is_missing_from_the_receipt(ready):
    client, report_id, file_id = ready
    client.uploaded(report_id)
    client.tipline.faults.add("finish:missing-file")
    reply = client.finish(report_id)
    assert code(reply) == 0
    assert [one.text for one in etree.fromstring(reply.content).iterfind("files/fileId")] == [file_id]
    assert len(client.tipline.reports[report_id].files) == 2


def test_a_redirect_leads_to_another_host_that_would_take_everything(ready):
    client, report_id, _ = ready
    client.tipline.faults.add("finish:redirect")
    reply = client.finish(report_id)
    assert httpx.URL(reply.headers["Location"]).host != httpx.URL(client.tipline.url).host
    assert client.tipline.requests["elsewhere"] == 0
    followed = client.http.post("/finish", data={"id": str(report_id)}, follow_redirects=True)
    assert code(followed) == 0  # as if it were done
    assert client.tipline.requests["elsewhere"] == 1
    assert client.tipline.reports[report_id].stage is Stage.OPEN


@pytest.mark.parametrize("name", ["status", "finish"])
def test_a_huge_answer_is_whole_xml(ready, name):
    client, report_id, file_id = ready
    client.tipline.faults.add(f"{name}:huge=3MB")
    reply = call(client, name, report_id, file_id)
    assert len(reply.content) > 3 << 20
    assert code(reply) == 0


def test_a_client_that_hangs_up_on_a_huge_answer_harms_nobody(ready, capfd):
    client, *_ = ready
    client.tipline.faults.add("status:huge=64MB@1")
    with client.http.stream("GET", "/status") as reply:
        assert next(reply.iter_raw(1000))
    assert code(client.get("status")) == 0
    assert capfd.readouterr() == ("", "")


def test_a_fault_comes_before_credentials_are_looked_at(own):
    client = own(faults="status:503")
    assert httpx.get(f"{client.tipline.url}/status").status_code == 503


def test_counted_faults(own):
    client = own(faults="status:503x2;status:500@4;submit:500")
    assert [client.get("status").status_code for _ in range(6)] == [503, 503, 200, 500, 200, 200]
    assert [client.submit().status_code for _ in range(3)] == [500, 500, 500]
    client.tipline.faults.clear()
    assert client.submit().status_code == 200


def test_a_fault_of_any_endpoint_counts_all_calls(own):
    client = own(faults="*:503@2")
    assert [client.get("status").status_code, client.submit().status_code, client.get("status").status_code] == [
        200,
        503,
        200,
    ]


def test_calls_are_counted_from_when_a_fault_was_set():
    faults = Faults("status:503@2")
    assert faults.draw("status") is None
    faults.add("status:500@1")
    assert faults.draw("status").kind is Kind.UNAVAILABLE  # the first that was set; the other's call is over too
    assert faults.draw("status") is None


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("submit:lost-reply@1", [Fault("submit", Kind.LOST_REPLY, 1, 1)]),
        ("finish:500x2", [Fault("finish", Kind.SERVER_ERROR, 1, 2)]),
        ("upload:slow=2s", [Fault("upload", Kind.SLOW, 1, None, 2.0)]),
        ("upload:slow=0.5@3", [Fault("upload", Kind.SLOW, 3, 3, 0.5)]),
        ("status:401-empty", [Fault("status", Kind.UNAUTHORISED_EMPTY)]),
        ("*:401-xmlx3", [Fault("*", Kind.UNAUTHORISED_XML, 1, 3)]),
        ("status:429", [Fault("status", Kind.TOO_MANY, 1, None, 1.0)]),
        ("status:huge=5MBx1", [Fault("status", Kind.HUGE, 1, 1, 5.0)]),
        ("submit:code=3100", [Fault("submit", Kind.CODE, 1, None, 3100.0)]),
        ("upload:wrong-md5", [Fault("upload", Kind.WRONG_MD5)]),
        ("", []),
        (" ; \n# a comment; status:500\n;", []),
        ("xsd:503 ;\n retract:500 ", [Fault("xsd", Kind.UNAVAILABLE), Fault("retract", Kind.SERVER_ERROR)]),
    ],
)
def test_specs(spec, expected):
    assert parse(spec) == expected


@pytest.mark.parametrize(
    "spec",
    [
        "submit", "submit:", ":500", "nothing:500", "submit:nothing", "submit:500@", "submit:500@0", "submit:500x0",
        "submit:500@1x2", "submit:500=3", "submit:500=3s", "upload:slow=2MB", "upload:slow=", "upload:slow=-1s",
        "status:wrong-md5", "*:wrong-md5", "upload:missing-file", "status:huge=1s", "submit:code=1s", "submit 500",
    ],
)  # fmt: skip
def test_specs_that_are_none(spec):
    with pytest.raises(BadConfig, match=r"^faults: "):
        parse("status:500;" + spec)


def test_a_spec_that_is_none_sets_nothing():
    faults = Faults()
    with pytest.raises(BadConfig):
        faults.add("status:500;status:nothing")
    assert faults.draw("status") is None


def test_an_option_is_a_file_or_a_spec(tmp_path):
    (tmp_path / "faults").write_text("# at first\nstatus:500@1\n", encoding="utf-8")
    assert parse(spec_of(str(tmp_path / "faults"))) == [Fault("status", Kind.SERVER_ERROR, 1, 1)]
    assert spec_of("status:500@1") == "status:500@1"
    assert spec_of("status:500;" * 1000).startswith("status")  # longer than any name of a file
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(BadConfig):
        spec_of(str(tmp_path / "bytes"))
