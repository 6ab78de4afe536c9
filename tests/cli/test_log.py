"""`hashmatch log`, `backup` and `check`, as they are typed."""

from __future__ import annotations

import base64
import csv
import json
import subprocess
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow.parquet
import pytest
from google.protobuf.json_format import Parse
from logs import match, write

from hashmatch import clock
from hashmatch.audit.ledger import Ledger
from hashmatch.cli.main import main
from hashmatch.v1 import common_pb2
from hashmatch.v1.audit_pb2 import Event, VerdictRecord

VALUE = bytes(range(32))  # a fingerprint that must not be seen unless asked for
EVENTS = 12


def record(number: int) -> VerdictRecord:
    made = VerdictRecord(
        verdict_id=f"v_{number}",
        request_id=f"request-{number}",
        question_digest=bytes(32),
        media_bytes=1234,
        media_type="image/gif",
        width=64,
        height=48,
        frames=3,
        finding=common_pb2.FINDING_MATCH,
        disposition=common_pb2.DISPOSITION_BLOCK,
        asked_lists=["drawn"],
    )
    made.at.FromJsonString("2026-03-01T12:00:00Z")
    made.subject.content_id = "content-7"
    made.subject.surface = "avatars\x1b[31m"
    made.subject.occurred_at.FromJsonString("2026-03-01T11:59:00Z")
    plain = made.hashed.add(hash_type="pdq", variant="flip", frame_ms=40)
    plain.fingerprint.value, plain.fingerprint.quality = VALUE, 93
    made.hashed.add(hash_type="phash", unhashable=common_pb2.UNHASHABLE_REASON_LOW_QUALITY)
    made.matches.add(
        list="drawn", entry_id="abcd2345", label="B2", hash_type="pdq", distance=12, threshold=31, variant="flip",
        frame_ms=40, disposition=common_pb2.DISPOSITION_BLOCK,
    )  # fmt: skip
    made.matches.add(list="trial", entry_id="e2", hash_type="md5", disposition=2, shadow=True)
    made.coverage.revision = 17
    made.coverage.entries["pdq"] = 1000
    drawn = made.coverage.lists.add(list="drawn", revision=16, version=4, entries=900)
    drawn.thresholds["pdq"] = 31
    made.coverage.lists.add(list="trial", revision=17, version=1, entries=100)
    made.coverage.versions["pdqhash"] = "0.2.8"
    made.policies["drawn"].disposition = common_pb2.DISPOSITION_BLOCK
    made.policies["drawn"].variants.append("flips")
    made.policies["trial"].shadow = True
    return made


@pytest.fixture
def state(tmp_path: Path) -> Path:
    ledger = Ledger(tmp_path / "state")
    for number in range(1, EVENTS + 1):
        ledger.append(record(number), log=True, remember=False)
    ledger.close()
    return tmp_path / "state"


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = main([str(word) for word in words])
    out, err = capsys.readouterr()
    return code, out, err


def test_tail(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "log", "tail", "-n", 3, "--state", state)
    lines = out.splitlines()
    assert code == 0
    assert [line.split()[0] for line in lines] == ["10", "11", "12"]
    assert lines[-1].split()[2:] == ["MATCH", "BLOCK", "v_12", "drawn", "pdq", "distance", "12"]


def test_tail_says_what_did_not_count_what_is_held_and_what_was_judged_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held, aside, again = record(1), record(2), record(3)
    held.matches[0].held = True
    aside.finding = common_pb2.FINDING_NO_MATCH
    aside.set_aside.add(match=aside.matches[0], reason=common_pb2.SET_ASIDE_REASON_SUPPRESSED, why="mistaken")
    aside.ClearField("matches")
    again.retro.version = 4
    again.ClearField("matches")
    ledger = Ledger(tmp_path)
    for made in (held, aside, again):
        ledger.append(made, log=True, remember=False)
    ledger.close()
    _, out, _ = run(capsys, "log", "tail", "--state", tmp_path)
    assert [" ".join(line.split()[5:]) for line in out.splitlines()] == [
        "drawn pdq distance 12, held",
        "drawn pdq distance 12, set aside: SUPPRESSED",
        "(judged again)",
    ]


@pytest.mark.parametrize(("number", "shown"), [(0, 0), (10, 10), (500, EVENTS)])
def test_tail_of_any_length(state: Path, capsys: pytest.CaptureFixture[str], number: int, shown: int) -> None:
    _, out, _ = run(capsys, "log", "tail", "-n", number, "--json", "--state", state)
    events = [json.loads(line) for line in out.splitlines()]
    assert [int(e["sequence"]) for e in events] == list(range(EVENTS - shown + 1, EVENTS + 1))


@pytest.mark.parametrize("number", ["-1", "many"])
def test_tail_of_no_length(state: Path, capsys: pytest.CaptureFixture[str], number: str) -> None:
    with pytest.raises(SystemExit) as e:
        main(["log", "tail", "-n", number])
    assert e.value.code == 2


def test_tail_follows(state: Path) -> None:
    command = [sys.executable, "-m", "hashmatch.cli.main", "log", "tail", "-n", "1", "--follow", "--state", str(state)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        assert following.stdout.readline().split()[0] == str(EVENTS)
        ledger = Ledger(state)
        ledger.append(record(EVENTS + 1), log=True, remember=False).result(10)
        began = time.monotonic()
        line = following.stdout.readline()
        following.terminate()
        assert line.split()[0] == str(EVENTS + 2)  # that the log is read was the one between
        assert time.monotonic() - began < 5
        ledger.close()


def test_show_explains(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "log", "show", "v_7", "--state", state)
    assert code == 0
    for words in (
        "event        7, written",
        "finding      MATCH",
        "disposition  BLOCK",
        "request      request-7",
        "content content-7",
        "image/gif, 1234 bytes, 64×48, 3 frames",
        "drawn: entry abcd2345 'B2', pdq distance 12 of at most 31, as flip, at 40 ms; the list asks for BLOCK",
        "trial: entry e2, md5 equal; the list asks for REVIEW in shadow, so it asks for nothing",
        "pdq: 0001…, quality 93, as flip, at 40 ms",
        "phash: none, LOW_QUALITY",
        "searched at revision 17, of the lists asked for: drawn",
        "pdq: 1000 entries",
        "drawn: version 4 of revision 16, 900 entries, pdq ≤ 31, asks for BLOCK, variants flips",
        "pdqhash 0.2.8",
    ):
        assert words in out
    assert "\x1b" not in out


def test_fingerprints_are_whole_only_where_asked_for(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    secret = base64.b64encode(VALUE).decode()
    for words in (["log", "show", "v_7"], ["log", "show", "v_7", "--json"], ["log", "tail"], ["log", "tail", "--json"]):
        _, out, _ = run(capsys, *words, "--state", state)
        assert VALUE.hex() not in out
        assert secret not in out
    _, out, _ = run(capsys, "log", "show", "v_7", "--fingerprints", "--state", state)
    assert VALUE.hex() in out
    _, out, _ = run(capsys, "log", "show", "v_7", "--fingerprints", "--json", "--state", state)
    assert Parse(out, Event()).verdict == record(7)


def test_show_of_nothing(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "log", "show", "v_99", "--state", state)
    assert (code, out) == (65, "")
    assert "no verdict of that id" in err


def test_export_verify_and_prove(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = tmp_path / "state"
    write(state, map(match, range(1, EVENTS + 1)))
    folder, key = tmp_path / "export", tmp_path / "log.vkey"
    code, out, _ = run(capsys, "log", "export", folder, "--json", "--state", state)
    assert (code, json.loads(out)) == (0, {"folder": str(folder), "events": EVENTS + 4})
    # Begun, counted, ended; and that it was read.
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.rglob("*") if path.is_file()} == {0o600}
    code, out, _ = run(capsys, "log", "checkpoint", "--verifier-key", "--state", state)
    key.write_text(out)
    code, out, _ = run(capsys, "log", "verify", folder, "--key", key)
    assert (code, out.splitlines()[-1].split(":")[0]) == (0, "sound")
    _, note, _ = run(capsys, "log", "checkpoint", "--state", state)
    (tmp_path / "kept.note").write_text(note)
    assert run(capsys, "log", "verify", folder, "--key", key, "--since", tmp_path / "kept.note")[0] == 3
    proof = tmp_path / "verdict.tlog-proof"
    proof.write_text(run(capsys, "log", "prove", "v_00000007", "--state", state)[1])
    code, out, _ = run(capsys, "log", "verify", proof, "--key", key, "--json")
    assert (code, json.loads(out)["first"]) == (0, 8)
    for bad in (proof.read_text().replace("index 7", "index 5"), "rubbish\n", proof.read_text()[:-9] + "AAAAAAA=\n"):
        proof.write_text(bad)
        assert run(capsys, "log", "verify", proof, "--key", key)[0] in (1, 4, 5)


def test_export_since(state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "log", "export", tmp_path / "part", "--since", 11, "--json", "--state", state)
    assert (code, json.loads(out)["events"]) == (0, 3)
    code, _, err = run(capsys, "log", "export", tmp_path / "none", "--since", 99, "--state", state)
    assert (code, "first: want 1.." in err) == (65, True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["part", "state"]


def test_export_never_overwrites(state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").touch()
    assert run(capsys, "log", "export", tmp_path / "there", "--state", state)[0] == 65
    assert run(capsys, "log", "export", tmp_path / "there" / "file" / "x", "--state", state)[0] == 74
    assert sorted(p.name for p in tmp_path.iterdir()) == ["state", "there"]


def test_reading_is_an_act(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "log", "show", "v_7", "--purpose", "appeal 12", "--state", state)
    run(capsys, "log", "query", "--uploader", "someone", "--state", state)
    _, out, _ = run(capsys, "log", "query", "--type", "log_read", "--json", "--state", state)
    reads = [Parse(line, Event()).log_read for line in out.splitlines()]
    assert [(r.how, r.filter, r.opened, r.purpose) for r in reads] == [
        ("log show", "verdict v_7", True, "appeal 12"),
        ("log query", "uploader_id given", True, ""),
        ("log query", "types log_read", False, ""),
    ]


def test_query_and_its_files(state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "log", "query", "--list", "drawn", "--distance", "12", "--json", "--state", state)
    assert len(out.splitlines()) == EVENTS
    assert run(capsys, "log", "query", "--distance", "13-", "--state", state)[1] == ""
    assert run(capsys, "log", "query", "--distance", "near", "--state", state)[0] == 65
    assert run(capsys, "log", "query", "--type", "nothing", "--state", state)[0] == 65
    assert run(capsys, "log", "query", "--finding", "match", "--csv", tmp_path / "all.csv", "--state", state)[0] == 0
    with open(tmp_path / "all.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["verdict_id"] for row in rows] == [f"v_{n}" for n in range(1, EVENTS + 1)]
    assert run(capsys, "log", "query", "--finding", "match", "--parquet", tmp_path / "p", "--state", state)[0] == 0
    table = pyarrow.parquet.read_table(tmp_path / "p")
    assert table.column("distance").to_pylist() == [12] * EVENTS
    assert str(table.schema.field("at").type) == "timestamp[us, tz=UTC]"


def test_summary(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "log", "summary", "--json", "--state", state)
    rows = [json.loads(line) for line in out.splitlines()]
    assert {row["list"]: row["matches"] for row in rows} == {"drawn": EVENTS, "trial": EVENTS}
    _, out, _ = run(capsys, "log", "summary", "--transparency", "--json", "--state", state)
    assert json.loads(out)["matches_by_list"] == {"drawn": EVENTS, "trial": EVENTS}
    assert "error_rate" in run(capsys, "log", "summary", "--transparency", "--state", state)[1]


def test_erase(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = tmp_path / "state"
    write(state, [match(1, "someone"), match(2, "another")])
    assert "content content-1" in run(capsys, "log", "show", "v_00000001", "--state", state)[1]
    words = ("--uploader", "someone", "--ground", "GDPR Art. 17", "--json", "--state", state)
    code, out, _ = run(capsys, "log", "erase", *words)
    assert (code, json.loads(out)) == (0, {"keys": 1})
    assert json.loads(run(capsys, "log", "erase", *words)[1]) == {"keys": 0}
    after = run(capsys, "log", "show", "v_00000001", "--state", state)[1]
    assert "content-1" not in after
    assert "finding      MATCH" in after
    assert "content content-2" in run(capsys, "log", "show", "v_00000002", "--state", state)[1]
    assert run(capsys, "check", "--state", state)[0] == 0
    key = tmp_path / "log.vkey"
    key.write_text(run(capsys, "log", "checkpoint", "--verifier-key", "--state", state)[1])
    run(capsys, "log", "export", tmp_path / "export", "--state", state)
    assert run(capsys, "log", "verify", tmp_path / "export", "--key", key)[0] == 0
    code, out, _ = run(capsys, "log", "replay", "v_00000001", "--state", state)
    assert (code, "erased" in out) == (1, True)
    code, _, err = run(capsys, "log", "erase", "--uploader", "x", "--ground", " ", "--state", state)
    assert (code, "ground" in err) == (65, True)
    code, _, err = run(capsys, "log", "erase", "--verdicts-older-than", 3, "--ground", "x", "--state", state)
    assert (code, "31 days" in err) == (65, True)


def test_rotating_the_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = tmp_path / "state"
    write(state, map(match, range(3)))
    key = tmp_path / "old.vkey"
    key.write_text(run(capsys, "log", "checkpoint", "--verifier-key", "--state", state)[1])
    new = run(capsys, "log", "rotate-key", "--reason", "yearly", "--state", state)[1]
    assert run(capsys, "log", "checkpoint", "--verifier-key", "--state", state)[1] == new != key.read_text()
    run(capsys, "log", "export", tmp_path / "export", "--state", state)
    assert run(capsys, "log", "verify", tmp_path / "export", "--key", key)[0] == 0


def test_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    now = clock.now()
    ledger = Ledger(tmp_path)
    for surface, hours in (("avatars", 0), ("avatars", 1), ("feed\x1b[31m", 1), ("avatars", 30), ("feed", 60)):
        for _ in range(3):
            ledger.count(surface, common_pb2.FINDING_NO_MATCH, now - timedelta(hours=hours))
    ledger.close()
    code, out, _ = run(capsys, "log", "counts", "--state", tmp_path)
    assert code == 0
    assert [line.split() for line in out.splitlines()] == [
        ["surface", "finding", "reason", "count"],
        ["avatars", "NO_MATCH", "6"],
        ["feed\\x1b[31m", "NO_MATCH", "3"],
    ]
    since = (now - timedelta(hours=31)).isoformat()
    _, out, _ = run(capsys, "log", "counts", "--since", since, "--json", "--state", tmp_path)
    assert [json.loads(line) for line in out.splitlines()] == [
        {"surface": "avatars", "finding": "NO_MATCH", "reason": "", "count": 9},
        {"surface": "feed\x1b[31m", "finding": "NO_MATCH", "reason": "", "count": 3},
    ]
    _, out, _ = run(capsys, "log", "counts", "--since", "2026-01-01", "--by-minute", "--json", "--state", tmp_path)
    minutes = [json.loads(line) for line in out.splitlines()]
    assert [row["count"] for row in minutes] == [3] * 5
    assert [row["minute"] for row in minutes] == sorted(row["minute"] for row in minutes)
    assert datetime.fromisoformat(minutes[-1]["minute"]) == now.replace(second=0, microsecond=0)
    _, out, _ = run(capsys, "log", "counts", "--by-minute", "--state", tmp_path)
    assert out.splitlines()[0].split() == ["minute", "(UTC)", "surface", "finding", "reason", "count"]
    with pytest.raises(SystemExit) as e:
        main(["log", "counts", "--since", "yesterday"])
    assert e.value.code == 2


def test_backup_and_check(state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = tmp_path / "copy"
    code, out, _ = run(capsys, "backup", copy, "--json", "--state", state)
    assert code == 0
    assert json.loads(out)["blake2b-256"].keys() == {
        "keys/fingerprints.key", "keys/log.key", "keys/subjects.key", "keys/uploaders.key", "ledger/data.mdb",
    }  # fmt: skip
    code, out, _ = run(capsys, "check", "--state", copy)
    counted = f"4 keys, {EVENTS} events, 10 nodes, 1 checkpoints, 3 log, 1 subjects, 1 subject keys"
    counted += f", {EVENTS} verdict ids, 2 entry counts, 1 guard"
    assert (code, out) == (0, f"everything is as it was written: {counted}\n")
    assert run(capsys, "check", "--json", "--state", copy)[:2] == (0, "")
    assert run(capsys, "backup", copy, "--state", state)[0] == 65


def test_check_names_what_is_wrong(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = state / "ledger" / "data.mdb"
    content = data.read_bytes()
    at = content.index(b"image/gif")
    data.write_bytes(content[:at] + b"\xff" + content[at + 1 :])
    code, out, _ = run(capsys, "check", "--state", state)
    assert code == 70
    assert "is damaged" in out
    code, out, _ = run(capsys, "check", "--json", "--state", state)
    assert code == 70
    assert all(json.loads(line).keys() == {"environment", "table", "what"} for line in out.splitlines())
    assert VALUE.hex()[4:] not in out


@pytest.mark.parametrize(
    "words",
    [("log", "tail"), ("log", "show", "v"), ("log", "export", "x"), ("log", "counts"), ("check",), ("backup", "y")],
)
def test_no_state(tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]) -> None:
    code, out, err = run(capsys, *words, "--state", tmp_path / "nowhere")
    assert (code, out) == (78, "")
    assert "there is no st" in err
    assert list(tmp_path.iterdir()) == []
