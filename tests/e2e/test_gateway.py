"""The HTTP gateway: the same verdicts, permissions and errors as over gRPC."""

from __future__ import annotations

import json

import httpx
import pytest
from openapi_spec_validator import validate
from pictures import png

LINE = "the HTTP gateway listens on "


@pytest.fixture(scope="module")
def gateway(shared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("listed")
    (folder / "1.png").write_bytes(png(1))
    shared.run("lists", "create", "known", "--disposition", "block")
    shared.run("lists", "import", "known", "-", "--activate", given=shared.run("hash", folder / "1.png"))
    shared.pdq = shared.run("hash", "--type", "pdq", folder / "1.png").split()[1]
    made = [("ann", "uploader", "detail"), ("eu", "uploader"), ("carl", "auditor"), ("few", "uploader")]
    shared.keys = {}
    for name, *roles in made:
        options = [part for role in roles for part in ("--role", role)]
        limit = ("--per-second", "1") if name == "few" else ()
        shared.keys[name] = shared.run("keys", "create", name, *options, *limit).strip()
    shared.serve("--http-listen", "127.0.0.1:0")
    trace = (shared.state.parent / "trace").read_text()
    shared.http = f"http://{trace.partition(LINE)[2].split()[0]}"
    return shared


@pytest.fixture
def http(gateway):
    def client(name="ann"):
        headers = {"authorization": f"Bearer {gateway.keys[name]}"} if name else {}
        return httpx.Client(base_url=gateway.http, headers=headers, timeout=20)

    return client


def test_media_as_a_form_and_as_bytes(http):
    with http() as client:
        asked = json.dumps({"request_id": "h1", "subject": {"content_id": "c1", "surface": "web"}})
        answer = client.post("/v1/match", files={"media": png(1)}, data={"request": asked})
        assert answer.status_code == 200, answer.text
        found = answer.json()
        assert (found["finding"], found["request_id"]) == ("FINDING_MATCH", "h1")
        assert found["matches"][0]["list"] == "known"
        assert answer.headers["x-content-type-options"] == "nosniff"
        again = client.post("/v1/match", content=png(1), headers={"content-type": "application/octet-stream"})
        assert again.json()["finding"] == "FINDING_MATCH"
        big = client.post("/v1/match", files={"media": png(2) + bytes(3 << 20)})  # longer than stays in memory
        assert big.json()["finding"] == "FINDING_NO_MATCH"


def test_fingerprints(http, gateway):
    with http() as client:
        answer = client.post("/v1/lookup", json={"fingerprints": [{"hash_type": "pdq", "value": gateway.pdq}]})
        assert answer.json()["finding"] == "FINDING_MATCH"


def test_permissions_are_those_of_grpc(http):
    for name, code in (("", 401), ("carl", 403), ("eu", 200)):
        with http(name) as client:
            answer = client.post("/v1/match", files={"media": png(1)})
            assert answer.status_code == code, name
            if code == 200:
                assert "matches" not in answer.json()
            if code == 401:
                assert answer.headers["www-authenticate"] == "Bearer"
    with http("few") as client:
        answers = [client.get("/v1/capabilities") for _ in range(5)]
        refused = [a for a in answers if a.status_code == 429]
        assert refused
        assert int(refused[0].headers["retry-after"]) >= 1


@pytest.mark.parametrize(
    ("path", "options", "code", "says"),
    [
        ("/v1/match", {"json": {}}, 400, "multipart"),
        ("/v1/match", {"content": b"", "headers": {"content-type": "application/octet-stream"}}, 400, "empty"),
        ("/v1/match", {"files": {"other": b"x"}}, 400, "media"),
        ("/v1/match", {"files": {"media": b"x"}, "data": {"request": "{"}}, 400, "not JSON"),
        ("/v1/match", {"files": {"media": b"x"}, "data": {"request": '{"nope": 1}'}}, 400, "MatchRequest"),
        ("/v1/match", {"files": {"media": b"x"}, "data": {"request": '{"lists": ["none"]}'}}, 404, "none"),
        ("/v1/match", {"content": b"x", "headers": {"content-type": "multipart/form-data"}}, 400, "boundary"),
        ("/v1/lookup", {"content": b"[" * 5000}, 400, "JSON"),
        ("/v1/lookup", {"json": []}, 400, "object"),
        ("/v1/lookup", {"json": {}}, 400, "fingerprints"),
        ("/v1/lookup", {"json": {"fingerprints": [{"hash_type": "pdq", "value": "zz"}]}}, 400, "hexadecimal"),
        ("/v1/lookup", {"json": {"fingerprints": [{"hash_type": "pdq", "value": "00"}]}}, 400, "want 32"),
        ("/v1/lookup", {"content": b"x" * (2 << 20)}, 400, "more than"),
        ("/v1/lookup", {"json": {}, "headers": {"x-timeout-seconds": "soon"}}, 400, ""),
        ("/elsewhere", {"json": {}}, 404, "openapi"),
    ],
)
def test_what_is_wrong_is_named(http, path, options, code, says):
    with http() as client:
        answer = client.post(path, **options)
        assert answer.status_code == code, answer.text
        assert says in answer.json()["message"]


def test_the_document_is_openapi_and_names_every_path(gateway):
    found = httpx.get(f"{gateway.http}/openapi.json").json()
    validate(found)
    assert set(found["paths"]) == {"/v1/match", "/v1/lookup", "/v1/capabilities"}
