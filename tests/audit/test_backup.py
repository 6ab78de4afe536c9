"""A backup is whole or not there, is taken beside a writer, and is proved by a check."""

from __future__ import annotations

import json
import os
import stat
from contextlib import closing
from pathlib import Path

import pytest

from hashmatch.access.credentials import Credentials
from hashmatch.audit.check import check_state
from hashmatch.audit.ledger import Ledger
from hashmatch.errors import BadConfig, Refused
from hashmatch.store.backup import MANIFEST, back_up


@pytest.fixture
def state(tmp_path: Path, tasks) -> Path:
    state = tmp_path / "state"
    ledger = tasks.opened(state)
    for n in range(5):
        tasks.append(ledger, n).result(10)
    ledger.close()
    (state / "keys" / "entry-id.key").write_bytes(bytes(range(32)))
    (state / "keys" / "entry-id.key").chmod(0o600)
    return state


def test_copy_holds_everything_and_is_private(state: Path, tmp_path: Path, record, tasks) -> None:
    copy = tmp_path / "copy"
    manifest = back_up(state, copy)
    assert json.loads((copy / MANIFEST).read_bytes()) == manifest
    assert check_state(copy).problems == []
    assert sorted(manifest["blake2b-256"]) == [
        "keys/entry-id.key", "keys/fingerprints.key", "keys/log.key", "keys/subjects.key", "keys/uploaders.key",
        "ledger/data.mdb",
    ]  # fmt: skip
    files = [p for p in copy.rglob("*") if p.is_file() and p.name != "lock.mdb"]
    assert {stat.S_IMODE(p.stat().st_mode) for p in files} == {0o600}
    assert {stat.S_IMODE(p.stat().st_mode) for p in [copy, *copy.iterdir()] if p.is_dir()} == {0o700}
    restored = tasks.opened(copy)
    assert tasks.lost(restored, [(n, n + 1) for n in range(5)]) == []
    assert tasks.append(restored, 5).result(10) == 6
    restored.close()
    assert check_state(copy).problems == []  # used since: its digests no longer count, its rows do


def test_whoever_could_call_can_call_the_copy(state: Path, tmp_path: Path) -> None:
    with closing(Credentials(state)) as credentials:
        _, key = credentials.create("eu", ["uploader"], by="ann")
    manifest = back_up(state, tmp_path / "copy")
    assert "keys/access/data.mdb" in manifest["blake2b-256"]
    assert check_state(tmp_path / "copy").problems == []
    with closing(Credentials(tmp_path / "copy")) as restored:
        found, _ = restored.of_key(key)
    assert found is not None
    assert found.name == "eu"


def test_backup_beside_a_writer(tmp_path: Path, nursery) -> None:
    state = tmp_path / "state"
    child = nursery.start("write", str(state), [], 0, 16)
    child.read_until(lambda found: found.count(b"\n") > 20)
    for n in range(5):
        back_up(state, tmp_path / f"copy{n}")
    child.kill()
    child.wait()
    ends = []
    for n in range(5):
        assert check_state(tmp_path / f"copy{n}").problems == []
        copy = Ledger(tmp_path / f"copy{n}", readonly=True)
        ends.append(copy.last_sequence())
        copy.close()
    assert ends == sorted(ends)


def test_empty_directory_is_used_and_a_full_one_is_not(state: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    back_up(state, copy)
    before = sorted(p.name for p in copy.iterdir())
    with pytest.raises(Refused):
        back_up(state, copy)
    assert sorted(p.name for p in copy.iterdir()) == before
    with pytest.raises(Refused):
        back_up(state, copy / MANIFEST)


def test_nothing_to_back_up(tmp_path: Path) -> None:
    with pytest.raises(BadConfig):
        back_up(tmp_path / "nowhere", tmp_path / "copy")
    assert list(tmp_path.iterdir()) == []


def test_failure_leaves_nothing(state: Path, tmp_path: Path) -> None:
    (state / "ledger" / "data.mdb").write_bytes(b"x" * 9000)
    with pytest.raises(Exception, match="not a readable"):
        back_up(state, tmp_path / "copy")
    assert [p.name for p in tmp_path.iterdir()] == ["state"]


def test_any_changed_byte_of_a_copy_is_found(state: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    back_up(state, copy)
    for name in ("ledger/data.mdb", "keys/entry-id.key", "keys/uploaders.key"):
        sound = (copy / name).read_bytes()
        for at in range(0, len(sound), 1 + len(sound) // 40):
            (copy / name).write_bytes(sound[:at] + bytes([sound[at] ^ 1]) + sound[at + 1 :])
            assert check_state(copy).problems != [], (name, at)
        (copy / name).write_bytes(sound)
    assert check_state(copy).problems == []


def test_missing_file_is_found(state: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    back_up(state, copy)
    (copy / "keys" / "entry-id.key").unlink()
    assert [(p.table, p.what) for p in check_state(copy).problems] == [
        ("keys/entry-id.key", "is missing from the backup")
    ]


@pytest.mark.parametrize("manifest", [b"", b"[]", b"{}", b'{"commits": [], "blake2b-256": {}}', b"\xff"])
def test_broken_manifest_is_found(state: Path, tmp_path: Path, manifest: bytes) -> None:
    copy = tmp_path / "copy"
    back_up(state, copy)
    (copy / MANIFEST).write_bytes(manifest)
    assert [p.table for p in check_state(copy).problems] == [MANIFEST]


def test_relative_destination(state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    back_up(Path("state"), Path("deep/copy"))
    assert os.listdir("deep") == ["copy"]
    assert check_state(tmp_path / "deep" / "copy").problems == []
