"""Large lists and living ones, through a real server and the real command line."""

from __future__ import annotations

import time
from pathlib import Path

import grpc
import numpy as np
import psutil
import pytest

from hashmatch.client import Disposition, Finding, Fingerprint, Subject
from hashmatch.v1 import lists_pb2, lists_pb2_grpc
from hashmatch.v1.common_pb2 import SetAsideReason

LARGE = 60_000  # entries: over what is read from the store at every start


def values(count: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 32), dtype=np.uint8)


def hexes(rows: np.ndarray) -> str:
    return "".join(f"{row.tobytes().hex()}\n" for row in rows)


def asked(client, row: np.ndarray, **question):
    return client.match(fingerprints=[Fingerprint("pdq", row.tobytes())], **question)


@pytest.fixture(scope="module")
def large(shared):
    """A served list that has snapshots."""
    rows = values(LARGE)
    shared.run("lists", "create", "large", "--disposition", "block", "--threshold", "pdq=31")
    shared.run("lists", "import", "large", "-", "--activate", given=hexes(rows))
    shared.serve("--workers", "1")
    return shared, rows


def snapshots(deployment) -> list[Path]:
    return sorted(path for path in (deployment.state / "snapshots").iterdir() if path.is_dir())


def test_a_large_list_is_served_from_a_snapshot_and_changes_at_once(large) -> None:
    deployment, rows = large
    assert {path.name.split("-")[2] for path in snapshots(deployment)} == {"pdq", "md5", "sha1", "sha256"}
    with deployment.client() as client:
        for row in rows[::9_999]:
            moved = np.unpackbits(row)
            moved[np.random.default_rng(2).choice(256, 31, replace=False)] ^= 1
            found = asked(client, np.packbits(moved))
            assert [match.distance for match in found.matches] == [31]
        assert asked(client, values(1, 7)[0]).finding == Finding.FINDING_NO_MATCH
        (added,) = deployment.json("lists", "add", "large", "-", "--reason", "r", given=values(1, 7)[0].tobytes().hex())
        assert asked(client, values(1, 7)[0], min_revision=added["revision"]).finding == Finding.FINDING_MATCH
        gone = deployment.json("lists", "remove", "large", added["entry_id"], "--reason", "r")[0]
        assert asked(client, values(1, 7)[0], min_revision=gone["revision"]).finding == Finding.FINDING_NO_MATCH


def test_a_damaged_snapshot_is_said_and_built_again_before_anything_is_served(large) -> None:
    deployment, rows = large
    deployment.stop()
    (pdq,) = [path for path in snapshots(deployment) if "-pdq-" in path.name]
    content = bytearray((pdq / "ids.u4").read_bytes())
    content[len(content) // 2] ^= 4
    (pdq / "ids.u4").write_bytes(content)
    deployment.serve("--workers", "1")
    with deployment.client() as client:
        assert asked(client, rows[5]).finding == Finding.FINDING_MATCH
    trace = Path(deployment.trace.name).read_text()
    assert "a snapshot of list 'large' is not used and will be built again: ids.u4" in trace
    assert "cannot be searched before the snapshot of version" in trace


def test_server_processes_share_a_state_and_its_snapshots(large) -> None:
    deployment, rows = large
    deployment.stop()
    deployment.serve("--workers", "2", "--processes", "2")
    (added,) = deployment.json("lists", "add", "large", "-", "--reason", "r", given=hexes(values(1, 8)))
    for _ in range(8):  # a connection each, which the kernel spreads over both
        with deployment.client() as client:
            assert asked(client, rows[9]).finding == Finding.FINDING_MATCH
            found = asked(client, values(1, 8)[0], min_revision=added["revision"])
            assert found.finding == Finding.FINDING_MATCH
    servers = [p for p in psutil.Process(deployment.process.pid).children() if "hashmatch.server.child" in p.cmdline()]
    mapped = [Path(f"/proc/{one.pid}/maps").read_text() for one in servers]
    (pdq,) = [path for path in snapshots(deployment) if "-pdq-" in path.name]
    assert [str(pdq / "ids.u4") in maps for maps in mapped] == [True, True]
    deployment.stop()
    deployment.serve("--workers", "1")


def test_an_import_over_the_wire_goes_on_beside_verdicts(large) -> None:
    deployment, rows = large
    text = hexes(values(20_000, 3)).encode()
    with grpc.insecure_channel(deployment.address) as channel, deployment.client() as client:
        stub = lists_pb2_grpc.ListServiceStub(channel)
        stub.CreateList(lists_pb2.CreateListRequest(name="wired"))

        def parts():
            header = lists_pb2.ImportHeader(name="wired", format=lists_pb2.IMPORT_FORMAT_AUTO, activate=True)
            yield lists_pb2.ImportListRequest(header=header)
            for at in range(0, len(text), 100_000):
                assert asked(client, rows[at % LARGE]).finding == Finding.FINDING_MATCH
                yield lists_pb2.ImportListRequest(chunk=text[at : at + 100_000])

        done = stub.ImportList(parts(), timeout=60)
        assert (done.accepted, done.activated, done.format) == (20_000, True, lists_pb2.IMPORT_FORMAT_HEX)
        found = asked(client, values(20_000, 3)[77], min_revision=done.revision)
        assert [match.list for match in found.matches] == ["wired"]


def test_a_suppressed_entry_is_an_explained_non_match(deployment) -> None:
    row = values(1)[0]
    deployment.run("lists", "create", "ours", "--disposition", "block")
    (added,) = deployment.json("lists", "add", "ours", "-", "--reason", "r", given=row.tobytes().hex())
    deployment.serve("--workers", "1")
    with deployment.client() as client:
        assert asked(client, row).finding == Finding.FINDING_MATCH
        command = ("lists", "suppress", "ours", added["entry_id"], "--approver", "bob", "--expires", "1d")
        (done,) = deployment.json(*command, "--reason", "a logo")
        found = asked(client, row, min_revision=done["revision"])
        assert (found.finding, found.disposition) == (Finding.FINDING_NO_MATCH, Disposition.DISPOSITION_ALLOW)
        (aside,) = found.set_aside
        assert (aside.match.entry_id, aside.reason) == (
            added["entry_id"], SetAsideReason.SET_ASIDE_REASON_SUPPRESSED,
        )  # fmt: skip
        assert "a logo" in aside.why
        assert "a logo" in deployment.run("log", "show", found.verdict_id)  # logged whole, though it is no match
        (lifted,) = deployment.json("lists", "unsuppress", "ours", added["entry_id"], "--reason", "it is one")
        assert asked(client, row, min_revision=lifted["revision"]).finding == Finding.FINDING_MATCH
    (told,) = deployment.json("lists", "history", "ours", added["entry_id"])
    assert told["matches"]["matches"] == 2


def test_an_entry_that_matches_many_uploaders_is_held_until_it_is_released(deployment) -> None:
    row = values(1)[0]
    deployment.run("lists", "create", "ours", "--disposition", "block", "--collision", "5")
    (added,) = deployment.json("lists", "add", "ours", "-", "--reason", "r", given=row.tobytes().hex())
    deployment.serve("--workers", "1")
    with deployment.client() as client:
        answers = [asked(client, row, subject=Subject(uploader_id=f"user-{n}")) for n in range(8)]
        assert [answer.disposition for answer in answers[:4]] == [Disposition.DISPOSITION_BLOCK] * 4
        assert answers[-1].disposition == Disposition.DISPOSITION_REVIEW
        assert answers[-1].matches[0].held
        assert "held" in deployment.run("lists", "history", "ours", added["entry_id"])
        deployment.run("lists", "release", "ours", added["entry_id"], "--reason", "a viral case")
        deadline = time.monotonic() + 10
        while (again := asked(client, row, subject=Subject(uploader_id="user-9"))).matches[0].held:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert again.disposition == Disposition.DISPOSITION_BLOCK
    trace = Path(deployment.trace.name).read_text()
    assert added["entry_id"] in trace
    assert "user-" not in trace


def test_opaque_values_are_matched_for_equality(deployment) -> None:
    deployment.run("lists", "create", "ours")
    long = bytes(range(256)) * 20
    given = f"photodna {bytes(range(144)).hex()}\ntmk {long.hex()}\nnewhash 0102\n"
    deployment.run("lists", "import", "ours", "-", "--opaque", "--activate", given=given)
    deployment.serve("--workers", "1")
    with deployment.client() as client:
        for hash_type, value in (("photodna", bytes(range(144))), ("tmk", long), ("newhash", b"\1\2")):
            found = client.match(fingerprints=[Fingerprint(hash_type, value)])
            assert [(match.hash_type, match.distance) for match in found.matches] == [(hash_type, 0)]
            found = client.match(fingerprints=[Fingerprint(hash_type, value[:-1] + b"\xfe")])
            assert found.finding == Finding.FINDING_NO_MATCH
    exported = deployment.run("lists", "export", "ours")
    assert sorted(exported.splitlines()) == sorted(given.splitlines())


def test_a_list_is_tried_on_traffic_before_and_after(deployment) -> None:
    rows = values(30)
    deployment.run("lists", "create", "ours", "--disposition", "block")
    deployment.run("lists", "import", "ours", "-", "--activate", given=hexes(rows[:5]))
    deployment.serve("--workers", "1")
    with deployment.client() as client:
        for number, row in enumerate(rows[:20]):
            subject = Subject(uploader_id=f"u{number % 4}", content_id=f"c{number}", surface="chat")
            asked(client, row, subject=subject)
        time.sleep(1.5)  # the sample is written a second late
        deployment.run("lists", "import", "ours", "-", given=hexes(rows[3:12]))
        (told,) = deployment.json("lists", "preflight", "ours@staged")
        assert (told["items"], told["would"]["items"], told["already"]["items"]) == (20, 9, 5)
        assert told["would"]["surfaces"] == {"chat": 9}
        deployment.run("lists", "activate", "ours")
        (done,) = deployment.json("lists", "retro", "ours", "--reason", "new")
        assert len(done["verdict_ids"]) == 7
        assert "judged again" in deployment.run("log", "show", done["verdict_ids"][0])
        with grpc.insecure_channel(deployment.address) as channel:
            stub = lists_pb2_grpc.ListServiceStub(channel)
            again = stub.RetroMatchList(lists_pb2.RetroMatchListRequest(name="ours"))
            assert (again.items, list(again.verdict_ids)) == (20, [])
            reach = stub.PreflightList(lists_pb2.PreflightListRequest(name="ours", thresholds={"pdq": 48}))
            assert reach.would.items == 9
    assert deployment.run("check")


def test_a_second_person_is_asked_for(deployment) -> None:
    deployment.run("lists", "create", "ours", "--two-person")
    deployment.environ = {"LOGNAME": "ann"}
    deployment.run("lists", "import", "ours", "-", given=hexes(values(3)))
    deployment.run("lists", "activate", "ours", expect=65)
    assert "this list wants another person to activate it" in deployment.stderr
    deployment.environ = {"LOGNAME": "bob"}
    assert "version" in deployment.run("lists", "activate", "ours")


def test_a_snapshot_that_cannot_be_built_is_said_and_not_waited_for(deployment, tmp_path: Path) -> None:
    deployment.run("lists", "create", "large")
    deployment.run("lists", "import", "large", "-", "--activate", given=hexes(values(LARGE)))
    (deployment.state / "snapshots").write_text("in the way")
    picture = tmp_path / "any"
    picture.write_bytes(b"not a picture")
    deployment.run("match", picture, expect=69)
    assert "the snapshot of list 'large' could not be built" in deployment.stderr
    (deployment.state / "snapshots").unlink()
    deployment.run("match", picture, expect=3)
