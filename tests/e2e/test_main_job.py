"""The main job through the public surface: a real server, real workers, the command line, the client."""

from __future__ import annotations

import hashlib
import time

import grpc
import pytest
from e2e.commands import HASHMATCH
from google.protobuf.descriptor_pool import DescriptorPool
from google.rpc import error_details_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_status import rpc_status
from pictures import black, draw, encoded, jpeg, png
from PIL import Image

from hashmatch import errors
from hashmatch.client import Disposition, Finding, Fingerprint, Subject
from hashmatch.v1 import common_pb2, match_pb2, match_pb2_grpc

MATCH, NO_MATCH, UNKNOWN = Finding.FINDING_MATCH, Finding.FINDING_NO_MATCH, Finding.FINDING_UNKNOWN


@pytest.fixture(scope="module")
def served(shared, tmp_path_factory):
    """A server over two lists: `known` (pictures 1 and 2, blocking, flips) and `watched` (picture 3, in shadow)."""
    folder = tmp_path_factory.mktemp("listed")
    for seed in (1, 2, 3):
        (folder / f"{seed}.png").write_bytes(png(seed))
    shared.serve("--workers", "2", fresh=True)
    shared.run("lists", "create", "known", "--operator", "tests", "--disposition", "block", "--variants", "flips")
    shared.run("lists", "create", "watched", "--operator", "tests", "--disposition", "block", "--shadow")
    known = shared.run("hash", "--type", "pdq,md5", folder / "1.png", folder / "2.png")
    shared.run("lists", "import", "known", "-", "--activate", given=known)
    shared.run("lists", "import", "watched", "-", "--activate", given=shared.run("hash", folder / "3.png"))
    shared.revision = max(row["revision"] for row in shared.json("status"))
    return shared


@pytest.fixture(scope="module")
def client(served):
    with served.client() as client:
        client.match(png(100), min_revision=served.revision)  # the server has seen every list from here on
        yield client


def test_an_exact_copy_matches_at_distance_0_by_every_listed_hash_type(client):
    answer = client.match(png(1), request_id="copy", subject=Subject(content_id="c1"))
    assert (answer.finding, answer.disposition) == (MATCH, Disposition.DISPOSITION_BLOCK)
    assert {(m.hash_type, m.distance) for m in answer.matches if not m.variant} == {("pdq", 0), ("md5", 0)}
    assert answer.verdict_id
    assert answer.request_id == "copy"
    assert answer.media_type == "image/png"


@pytest.mark.parametrize(
    "edited",
    [
        jpeg(1, quality=50),
        encoded(draw(1).resize((160, 120)), "WEBP"),
        encoded(draw(1).convert("L"), "PNG"),
        encoded(draw(1), "GIF"),
        encoded(draw(1), "AVIF"),
    ],
    ids=["recompressed", "half the size", "grey", "gif", "avif"],
)
def test_edited_copies_match_with_their_distance(client, edited):
    answer = client.match(edited)
    assert answer.finding == MATCH
    assert 0 <= answer.matches[0].distance <= answer.matches[0].threshold == 31


def test_a_mirrored_copy_matches_only_in_the_list_that_asks_for_flips(client):
    flop = client.match(encoded(draw(1).transpose(Image.Transpose.FLIP_LEFT_RIGHT)))
    assert flop.finding == MATCH
    assert flop.matches[0].variant == "flop"
    assert client.match(encoded(draw(3).transpose(Image.Transpose.FLIP_LEFT_RIGHT))).finding == NO_MATCH


def test_a_shadow_list_matches_and_allows(client):
    answer = client.match(png(3))
    assert (answer.finding, answer.disposition) == (MATCH, Disposition.DISPOSITION_ALLOW)
    assert answer.matches[0].shadow


def test_a_stranger_does_not_match_and_the_answer_says_what_was_searched(client):
    answer = client.match(jpeg(50))
    assert (answer.finding, answer.disposition) == (NO_MATCH, Disposition.DISPOSITION_ALLOW)
    assert answer.coverage.entries == {"pdq": 3, "md5": 2}
    assert {state.list: state.entries for state in answer.coverage.lists} == {"known": 4, "watched": 1}
    assert {state.thresholds["pdq"] for state in answer.coverage.lists} == {31}
    assert {"hashmatch", "pillow", "pdq"} <= answer.coverage.versions.keys()


@pytest.mark.parametrize(
    ("media", "reason"),
    [
        (jpeg(1)[:2000], common_pb2.UNHASHABLE_REASON_UNDECODABLE),
        (b"", common_pb2.UNHASHABLE_REASON_UNSUPPORTED_TYPE),
        (b"<html>photo.jpg</html>", common_pb2.UNHASHABLE_REASON_UNSUPPORTED_TYPE),
        (black(), common_pb2.UNHASHABLE_REASON_LOW_QUALITY),
    ],
    ids=["truncated", "empty", "a web page", "all black"],
)
def test_what_cannot_be_hashed_is_unknown_with_its_reason_and_still_has_digests(client, media, reason):
    answer = client.match(media)
    assert (answer.finding, answer.disposition) == (UNKNOWN, Disposition.DISPOSITION_REVIEW)
    reasons = {h.hash_type: h.unhashable for h in answer.hashed if h.unhashable}
    assert reasons.keys() == {"pdq"}
    assert reasons["pdq"] in (reason, common_pb2.UNHASHABLE_REASON_UNDECODABLE)
    assert {"md5", "sha1", "sha256"} <= {h.hash_type for h in answer.hashed if h.fingerprint.value}


def test_undecodable_media_still_match_by_their_digest(served, client):
    broken = jpeg(60)[:3000]
    served.run(
        "lists",
        "add",
        "known",
        hashlib.md5(broken, usedforsecurity=False).hexdigest(),
        "--type",
        "md5",
        "--reason",
        "seen before",
    )
    deadline = time.monotonic() + 5
    while (answer := client.match(broken)).finding != MATCH and time.monotonic() < deadline:
        time.sleep(0.02)
    assert answer.finding == MATCH
    assert answer.disposition == Disposition.DISPOSITION_BLOCK


def test_fingerprints_are_judged_without_media(client):
    value = next(h.fingerprint.value for h in client.hash(png(2)).hashed if h.hash_type == "pdq")
    near = bytes([value[0] ^ 0b111]) + value[1:]
    assert client.match(fingerprints=[Fingerprint("pdq", near)]).matches[0].distance == 3
    far = bytes(b ^ 0x0F for b in value)
    assert client.match(fingerprints=[Fingerprint("pdq", far)]).finding == NO_MATCH


def test_a_named_list_alone_is_searched(client):
    answer = client.match(png(1), lists=["watched"])
    assert answer.finding == NO_MATCH
    assert [state.list for state in answer.coverage.lists] == ["watched"]
    with pytest.raises(errors.NotFound, match="nobody"):
        client.match(png(1), lists=["nobody"])


def test_a_retry_gets_the_same_verdict_and_another_question_is_refused(client):
    first = client.match(png(1), request_id="once")
    again = client.match(png(1), request_id="once")
    assert again == first
    with pytest.raises(errors.Conflict, match="another question"):
        client.match(png(2), request_id="once")
    clean = client.match(png(70), request_id="clean")
    assert client.match(png(70), request_id="clean") == clean


def test_a_match_is_in_the_log_with_everything_that_explains_it(served, client):
    answer = client.match(png(1), subject=Subject(content_id="photo-9", uploader_id="u7", surface="chat"))
    [event] = served.json("log", "show", answer.verdict_id)
    verdict = event["verdict"]
    assert verdict["subject"] == {"content_id": "photo-9", "uploader_id": "u7", "surface": "chat"}
    assert verdict["finding"] == "FINDING_MATCH"
    assert verdict["matches"][0]["list"] == "known"
    assert {h["hash_type"] for h in verdict["hashed"]} == {"pdq", "md5", "sha1", "sha256"}
    assert verdict["policies"]["known"]["variants"] == ["flips"]
    assert verdict["coverage"]["versions"]["hashmatch"]
    assert answer.verdict_id in served.run("log", "show", answer.verdict_id)


def test_a_change_by_the_command_line_is_seen_without_a_restart(served, client):
    value = next(h.fingerprint.value for h in client.hash(png(80)).hashed if h.hash_type == "pdq")
    assert client.match(png(80)).finding == NO_MATCH
    served.run("lists", "add", "known", value.hex(), "--label", "new", "--reason", "reported")
    changed = time.monotonic()
    while client.match(png(80)).finding != MATCH:
        assert time.monotonic() - changed < 10  # a fraction of a second where the machine is not busy
    [removed] = served.json("lists", "remove", "known", value.hex(), "--reason", "a mistake")
    assert client.match(png(80), min_revision=int(removed["revision"])).finding == NO_MATCH


def test_a_revision_that_is_not_there_is_unavailable(client):
    with pytest.raises(errors.Unavailable, match="revision 999999"):
        client.match(png(1), min_revision=999_999)


def test_health_capabilities_and_reflection(served, client):
    assert client.serving()
    capabilities = client.capabilities()
    assert {"image/jpeg", "image/heic", "image/avif"} <= set(capabilities.media_types)
    assert {h.hash_type: h.ceiling for h in capabilities.hash_types}["pdq"] == 48
    with grpc.insecure_channel(served.address) as channel:
        found = ProtoReflectionDescriptorDatabase(channel)
        assert {"hashmatch.v1.MatchService", "hashmatch.v1.ListService"} <= set(found.get_services())
        pool = DescriptorPool(found)
        service = pool.FindServiceByName("hashmatch.v1.MatchService")
        assert {"Match", "Hash"} <= {method.name for method in service.methods}


def test_a_stream_answers_each_item_and_survives_a_bad_one(served):
    requests = [match_pb2.MatchRequest(request_id=f"s{i}", media=png(1 if i % 2 else 90)) for i in range(8)]
    requests.insert(3, match_pb2.MatchRequest(request_id="bad"))
    with grpc.insecure_channel(served.address) as channel:
        stub = match_pb2_grpc.MatchServiceStub(channel)
        answers = {a.request_id: a for a in stub.MatchStream(iter(requests), timeout=30)}
    assert answers.pop("bad").error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert {i: a.response.finding for i, a in answers.items()} == {
        f"s{i}": MATCH if i % 2 else NO_MATCH for i in range(8)
    }


def test_an_upload_in_chunks_is_one_question(served):
    media = png(1)
    parts = [match_pb2.MatchUploadRequest(header=match_pb2.MatchRequest(request_id="up"))]
    parts += [match_pb2.MatchUploadRequest(chunk=media[i : i + 7000]) for i in range(0, len(media), 7000)]
    with grpc.insecure_channel(served.address) as channel:
        assert match_pb2_grpc.MatchServiceStub(channel).MatchUpload(iter(parts), timeout=30).finding == MATCH


def unknown_field():
    return match_pb2.MatchRequest.FromString(match_pb2.MatchRequest(media=b"x").SerializeToString() + b"\xf8\x07\x01")


def fingerprint(hash_type="pdq", value=bytes(32), **more):
    one = common_pb2.Fingerprint(hash_type=hash_type, value=value, **more)
    return match_pb2.MatchRequest(fingerprints=common_pb2.FingerprintSet(fingerprints=[one]))


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (match_pb2.MatchRequest(), "input"),
        (unknown_field(), "request"),
        (match_pb2.MatchRequest(media=b"x", request_id="r" * (10 << 20)), "request_id"),
        (match_pb2.MatchRequest(media=bytes((32 << 20) + 1)), "media"),
        (match_pb2.MatchRequest(media=b"x", lists=["l"] * 300), "lists"),
        (match_pb2.MatchRequest(media=b"x", subject=common_pb2.Subject(surface="s" * 600)), "subject.surface"),
        (fingerprint(value=bytes(31)), "fingerprints.fingerprints[0].value"),
        (fingerprint(hash_type="nosuch"), "fingerprints.fingerprints[0].hash_type"),
        (fingerprint(quality=101), "fingerprints.fingerprints[0].quality"),
        (match_pb2.MatchRequest(fingerprints=common_pb2.FingerprintSet()), "fingerprints.fingerprints"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_callers_mistakes_are_invalid_arguments_that_name_the_field(served, request_, field):
    options = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(served.address, options) as channel:
        with pytest.raises(grpc.RpcError) as refused:
            match_pb2_grpc.MatchServiceStub(channel).Match(request_, timeout=30)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        status = rpc_status.from_call(refused.value)
        bad, info = error_details_pb2.BadRequest(), error_details_pb2.ErrorInfo()
        assert any(detail.Unpack(bad) for detail in status.details)
        assert any(detail.Unpack(info) for detail in status.details)
    assert [violation.field for violation in bad.field_violations] == [field]
    assert (info.domain, info.reason) == ("hashmatch", "MALFORMED")


def test_the_command_line_matches_with_and_without_a_server(served, tmp_path):
    (tmp_path / "copy.jpg").write_bytes(jpeg(1))
    (tmp_path / "stranger.png").write_bytes(png(95))
    (tmp_path / "broken.png").write_bytes(png(96)[:500])
    for where in (["--server", served.address], ["--state", served.state]):
        answers = served.json("match", "--recursive", tmp_path, *where, expect=1)
        found = {answer["path"].rpartition("/")[2]: answer["finding"] for answer in answers}
        assert found == {
            "copy.jpg": "FINDING_MATCH",
            "stranger.png": "FINDING_NO_MATCH",
            "broken.png": "FINDING_UNKNOWN",
        }
        served.run("match", tmp_path / "stranger.png", *where, expect=0)
        served.run("match", tmp_path / "stranger.png", tmp_path / "broken.png", *where, expect=3)
        lines = served.run("hash", "--type", "pdq", tmp_path / "copy.jpg")
        served.run("match", "--fingerprints", "-", *where, given=lines, expect=1)


def test_what_is_typed_says_what_the_forks_of_these_tests_say(served, tmp_path):
    (tmp_path / "1.png").write_bytes(png(1))
    served.program = [HASHMATCH]
    try:
        typed = said(served, tmp_path)
    finally:
        served.program = []
    assert typed == said(served, tmp_path)


def said(served, folder):
    hashed = served.run("hash", "--type", "pdq", folder / "1.png")
    served.run("lists", "show", "nobody", expect=65)
    return hashed, served.stderr
