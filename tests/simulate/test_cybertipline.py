"""The imitated CyberTipline over real HTTP: the way of a report, who may enter, what is XML, states, and its server."""

from __future__ import annotations

import hashlib
import threading
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from lxml import etree
from simulate.clients import UNKNOWN_ID, USER, XML, Client, code, field
from simulate.documents import (
    CP,
    MAXIMAL_REPORT,
    REPORT,
    changed,
    details,
    with_incident,
    with_person,
)

from hashmatch.errors import Unavailable
from hashmatch.simulate.cybertipline import serving
from hashmatch.simulate.state import FIRST_REPORT_ID, Clock, Stage

# ── the way of a report ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_report_from_submit_to_finish(client):
    submitted = client.submit()
    report_id = int(field(submitted, "reportId"))
    assert (submitted.status_code, code(submitted), field(submitted, "responseDescription")) == (200, 0, "Success")
    assert report_id >= FIRST_REPORT_ID > 1 << 32

    uploaded = client.upload(report_id, b"drawn in code")
    file_id = field(uploaded, "fileId")
    assert code(uploaded) == 0
    assert int(field(uploaded, "reportId")) == report_id
    assert len(bytes.fromhex(file_id)) == 16
    assert field(uploaded, "hash") == hashlib.md5(b"drawn in code", usedforsecurity=False).hexdigest()

    described = client.fileinfo(details(report_id, file_id))
    assert (code(described), field(described, "reportId"), field(described, "fileId")) == (0, str(report_id), file_id)

    second = client.uploaded(report_id, b"drawn in code")  # the same bytes are another file
    finished = client.finish(report_id)
    root = etree.fromstring(finished.content)
    assert root.tag == "reportDoneResponse"
    assert [child.tag for child in root] == ["responseCode", "reportId", "files"]
    assert [one.text for one in root.iterfind("files/fileId")] == [file_id, second]

    held = client.tipline.reports[report_id]
    assert held.stage is Stage.FINISHED
    assert held.xml == REPORT.encode()
    assert [(one.file_id, one.size) for one in held.files] == [(file_id, 13), (second, 13)]
    assert held.files[0].details == (details(report_id, file_id).encode(),)
    assert dict(held.requests) == {"submit": 1, "upload": 2, "fileinfo": 1, "finish": 1}
    assert "example" not in repr(held)


def test_a_report_without_files_is_finished_with_none(client):
    finished = client.finish(client.opened())
    assert b"<files/>" in finished.content


def test_ids_count_up_and_files_ids_differ(client):
    first, second = client.opened(), client.opened()
    assert second == first + 1
    assert client.uploaded(first) != client.uploaded(first)


def test_every_answer_fits_the_schema_and_has_an_id_of_its_own(client):
    schema = etree.XMLSchema(etree.fromstring(client.get("xsd").content))
    report_id = client.opened()
    replies = [
        client.get("status"), client.submit(), client.submit("<report/>"), client.submit("<rep"),
        client.upload(report_id), client.upload(UNKNOWN_ID), client.fileinfo(details(report_id, "ab")),
        client.finish(report_id), client.finish(report_id), client.retract(report_id), client.get("nothing"),
        client.get("submit"), client.http.get("/status", auth=("tester", "wrong")),
    ]  # fmt: skip
    for reply in replies:
        schema.assertValid(etree.fromstring(reply.content))
    assert len({reply.headers["Request-ID"] for reply in replies}) == len(replies)


def test_status_tells_who_asks_and_from_where(client):
    reply = client.get("status")
    assert code(reply) == 0
    assert field(reply, "responseDescription") == "Remote User : tester, Remote Ip : 127.0.0.1"
    assert field(reply, "reportId") is None


def test_requests_are_counted_by_endpoint(own):
    client = own()
    client.get("status")
    client.submit("<rep")
    client.submit()
    client.get("nothing")
    client.http.get("/status", auth=("tester", "wrong"))
    assert client.tipline.requests == {"status": 2, "submit": 2, "unknown": 1}


# ── who may enter, and what is asked ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "header",
    [None, "Basic dGVzdGVyOndyb25n", "Basic !!!", "Basic", "Bearer dGVzdGVyOnRlc3Rlcg==", "Basic dGVzdGVy", "Basic é"],
)
def test_wrong_credentials_are_challenged_and_get_no_further(client, header):
    headers = {"Authorization": header.encode("latin-1")} if header is not None else {}
    for name in ("status", "xsd", "nothing"):
        reply = httpx.get(f"{client.tipline.url}/{name}", headers=headers)
        assert reply.status_code == 401
        assert reply.headers["WWW-Authenticate"] == 'Basic realm="ESP Web Services"'
        assert (code(reply), field(reply, "responseDescription")) == (1000, "Authentication Required")
        assert reply.headers["Request-ID"]


def test_a_refused_submit_opens_nothing(own):
    client = own()
    reply = client.http.post("/submit", content=REPORT.encode(), headers=XML, auth=("tester", "wrong"))
    assert reply.status_code == 401
    assert client.tipline.reports == {}


def test_wrong_credentials_may_get_an_empty_body(own):
    reply = httpx.get(f"{own(empty_401=True).tipline.url}/status")
    assert (reply.status_code, reply.content) == (401, b"")
    assert "WWW-Authenticate" in reply.headers


def test_credentials_are_settings_and_never_shown(own):
    client = own(user="esp", password="pässword")  # noqa: S106
    assert client.get("status").status_code == 401
    assert client.http.get("/status", auth=("esp", "pässword")).status_code == 200
    assert "word" not in repr(client.tipline.settings).replace("password", "")


@pytest.mark.parametrize(("path", "status", "expected"), [("/nothing", 404, 1210), ("/submit", 405, 4000)])
def test_what_is_not_there(client, path, status, expected):
    reply = client.http.get(path)
    assert (reply.status_code, code(reply)) == (status, expected)


def test_only_paths_below_ispws_are_served(client):
    root = client.tipline.url.removesuffix("/ispws")
    for path in ("/status", "/", "/other/status"):
        reply = httpx.get(root + path, auth=USER)
        assert (reply.status_code, code(reply)) == (404, 1210)


def test_other_methods_get_an_id_too(client):
    reply = client.http.put("/submit", content=b"")
    assert reply.status_code == 501
    assert reply.headers["Request-ID"]


def test_documents_must_say_that_they_are_xml(client):
    reply = client.http.post("/submit", content=REPORT.encode(), headers={"Content-Type": "application/json"})
    assert (reply.status_code, code(reply)) == (415, 4000)
    reply = client.http.post("/submit", content=REPORT.encode(), headers={"Content-Type": "application/xml"})
    assert code(reply) == 0


def test_a_document_beyond_the_limit_is_refused_and_the_connection_lives_on(client):
    reply = client.submit(REPORT + " " * (17 << 20))
    assert code(reply) == 4000
    assert code(client.get("status")) == 0


# ── XML ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "document",
    [
        "",
        "report",
        REPORT[:-3],
        changed(REPORT, "<report>", "<report><report>"),
        "<!DOCTYPE report>" + REPORT,
        '<!DOCTYPE r [<!ENTITY e "ops@example.com">]>' + changed(REPORT, "ops@example.com", "&e;"),
        '<!DOCTYPE r [<!ENTITY e SYSTEM "file:///etc/hostname">]>' + changed(REPORT, "ops@example.com", "&e;"),
        '<?xml version="1.0" encoding="nonsense"?>' + REPORT,
    ],
)
def test_what_is_not_plain_xml_is_4110(client, document):
    assert code(client.submit(document)) == 4110
    assert code(client.fileinfo(document)) == 4110


@pytest.mark.parametrize(
    "document",
    [
        "<report/>",
        "<nothing/>",
        details(1, "ab"),  # valid, and no report
        changed(MAXIMAL_REPORT, "<sextortion/>", "<sextortion>false</sextortion>"),
        changed(REPORT, CP, "Something else"),
        changed(
            REPORT,
            "</incidentDateTime>",
            "</incidentDateTime><escalateToHighPriority>x</escalateToHighPriority>",
        ),
        with_person("<espIdentifier>u</espIdentifier>", "victim"),
        with_incident("<webPageIncident><thirdPartyHostedContent>true</thirdPartyHostedContent></webPageIncident>"),
    ],
)
def test_what_does_not_fit_the_schema_is_4100(client, document):
    assert code(client.submit(document)) == 4100


def test_refusals_name_the_place_and_never_the_value(client):
    reply = client.submit(changed(REPORT, "ops@example.com", "who is this"))
    assert code(reply) == 4100
    assert "reporter/reportingPerson/email" in field(reply, "responseDescription")
    assert "who" not in reply.text
    reply = client.submit(changed(REPORT, CP, "who is this"))
    assert "incidentType" in field(reply, "responseDescription")
    assert "who" not in reply.text


def test_refusals_come_with_the_status_of_the_settings(own):
    assert own().submit("<report/>").status_code == 200
    assert own(declined_status=400).submit("<report/>").status_code == 400


def test_any_encoding_that_the_prolog_declares_is_read(client):
    document = changed(REPORT, "</incidentType>", "</incidentType><platform>Größe</platform>")
    for encoding in ("utf-8", "iso-8859-1", "utf-16"):
        xml = f'<?xml version="1.0" encoding="{encoding}"?>{document}'.encode(encoding)
        assert code(client.http.post("/submit", content=xml, headers=XML)) == 0


# ── states ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("end", "expected"), [("finish", 5102), ("retract", 5101), ("expire", 5001), ("unknown", 5001)]
)
def test_what_is_over_stays_over(own, end, expected):
    client = own()
    report_id = client.opened()
    file_id = client.uploaded(report_id)
    match end:
        case "expire":
            client.tipline.clock.advance(timedelta(hours=24))
        case "unknown":
            report_id = UNKNOWN_ID
        case _:
            assert code(getattr(client, end)(report_id)) == 0
    before = client.tipline.reports.get(report_id)
    replies = [
        client.upload(report_id),
        client.fileinfo(details(report_id, file_id)),
        client.finish(report_id),
        client.retract(report_id),
    ]
    assert [code(reply) for reply in replies] == [expected] * 4
    after = client.tipline.reports.get(report_id)
    if before is not None:
        assert (after.stage, after.files) == (before.stage, before.files)


@pytest.mark.parametrize(
    ("touched_after", "lives"),
    [
        (None, timedelta(hours=24)),
        (timedelta(hours=1), timedelta(hours=24)),  # an hour after the upload is long over
        (timedelta(hours=23, minutes=30), timedelta(hours=24, minutes=30)),
    ],
)
@pytest.mark.parametrize("by", ["upload", "fileinfo"])
def test_an_open_report_is_deleted_at_the_later_deadline(own, touched_after, lives, by):
    at = datetime(2026, 6, 1, tzinfo=UTC)
    clock = Clock(lambda: at)
    client = own(clock=clock)
    report_id = client.opened()
    passed = timedelta()
    if touched_after is not None:
        file_id = client.uploaded(report_id) if by == "fileinfo" else ""
        clock.advance(passed := touched_after)
        touched = client.fileinfo(details(report_id, file_id)) if by == "fileinfo" else client.upload(report_id)
        assert code(touched) == 0
    assert client.tipline.reports[report_id].expires_at == at + lives
    clock.advance(lives - passed - timedelta(microseconds=1))
    assert client.tipline.reports[report_id].stage is Stage.OPEN
    clock.advance(timedelta(microseconds=1))
    assert client.tipline.reports[report_id].stage is Stage.EXPIRED
    assert code(client.finish(report_id)) == 5001


def test_uploads_keep_a_report_open_for_as_long_as_they_come(own):
    client = own()
    report_id = client.opened()
    for _ in range(60):
        client.tipline.clock.advance(timedelta(minutes=50))
        assert code(client.upload(report_id)) == 0
    assert code(client.finish(report_id)) == 0
    client.tipline.clock.advance(timedelta(days=365))
    assert code(client.finish(report_id)) == 5102


def test_ways_that_are_declined_extend_nothing(own):
    client = own()
    report_id = client.opened()
    client.tipline.clock.advance(timedelta(hours=23, minutes=30))
    assert code(client.fileinfo(details(report_id, "0" * 32))) == 5002
    client.tipline.clock.advance(timedelta(minutes=30))
    assert client.tipline.reports[report_id].stage is Stage.EXPIRED


@pytest.mark.parametrize("name", ["finish", "retract"])
def test_ids_come_in_either_form(client, name):
    urlencoded, multipart = str(client.opened()), str(client.opened())
    assert code(client.http.post(f"/{name}", data={"id": urlencoded})) == 0
    assert code(client.http.post(f"/{name}", files={"id": (None, multipart)})) == 0


@pytest.mark.parametrize("given_id", ["", "one", "-1", "1.5", "٣", "9" * 19, "9" * 5000, " 1"])
@pytest.mark.parametrize("name", ["finish", "retract", "upload"])
def test_ids_are_numbers(client, name, given_id):
    files = {"file": b"x"} if name == "upload" else None
    assert code(client.http.post(f"/{name}", data={"id": given_id}, files=files)) == 4000


@pytest.mark.parametrize("name", ["finish", "retract"])
def test_what_is_no_form_is_4000(client, name):
    for content_type in ("text/xml", "application/json", ""):
        headers = {"Content-Type": content_type}
        assert code(client.http.post(f"/{name}", content=b"id=1", headers=headers)) == 4000
    assert code(client.http.post(f"/{name}", data={"other": "1"})) == 4000
    assert code(client.http.post(f"/{name}", files={"other": (None, "1")})) == 4000


def test_of_many_who_finish_at_once_one_does(client):
    report_id = client.opened()
    codes = []

    def finish():
        reply = httpx.post(f"{client.tipline.url}/finish", data={"id": str(report_id)}, auth=USER)
        codes.append(code(reply))

    threads = [threading.Thread(target=finish) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == [0] + [5102] * 7


# ── the server ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_port_that_is_taken(tipline):
    with pytest.raises(Unavailable, match="port"), serving(port=httpx.URL(tipline.url).port):
        pass


def test_a_port_that_is_none():
    with pytest.raises(Unavailable, match="port"), serving(port=70_000):
        pass


def test_it_ends_with_its_connections_and_its_slow_answers():
    with serving(faults="status:slow=60s@2") as tipline:
        client = Client(tipline)
        assert code(client.get("status")) == 0
        ended = []

        def ask():
            try:
                client.get("status")
            except httpx.TransportError as e:
                ended.append(e)

        slow = threading.Thread(target=ask)
        slow.start()
        while tipline.requests["status"] < 2:
            pass
    slow.join(5)
    assert len(ended) == 1
    client.http.close()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{tipline.url}/status")


def test_services_do_not_share_anything(own):
    one, other = own(), own()
    report_id = one.opened()
    assert code(other.finish(report_id)) == 5001
    assert other.tipline.reports == {}
