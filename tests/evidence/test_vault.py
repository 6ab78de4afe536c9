"""The vault: what comes back, what is gone, and what is told when it is damaged, lost or another's."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import stat
import threading
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashmatch.errors import BadConfig, Conflict, Corrupt, HashmatchError, Malformed, NotFound
from hashmatch.evidence.master import FileMaster, create_master_file, rotate_master_file
from hashmatch.evidence.stream import CHUNK_BYTES
from hashmatch.evidence.upkeep import check, retire, sweep
from hashmatch.evidence.vault import Destroyed, Vault

AT = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
MARKER = b"a marker that must never be on a disk"


@pytest.fixture
def master(tmp_path):
    create_master_file(tmp_path / "master.key")
    return FileMaster(tmp_path / "master.key")


@pytest.fixture
def vault(tmp_path, master):
    return Vault(tmp_path / "vault", master)


def keep(vault, item_id="v_1", media=b"media"):
    return vault.seal(item_id, media, media_type="image/png", at=AT)


def media_of(vault, item_id="v_1"):
    opened, size = vault.open(item_id)
    with opened:
        media = opened.read()
    assert len(media) == size
    return media


def item_files(vault, item_id="v_1"):
    return sorted(vault.directory.rglob(f"{item_id}.*"))


# ── what is kept ────────────────────────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=30)
@given(
    item_id=st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True).filter(lambda i: not i.startswith("canary-")),
    media=st.binary(max_size=200) | st.sampled_from([bytes(CHUNK_BYTES + d) for d in (-1, 0, 1)]),
    from_file=st.booleans(),
)
def test_what_is_sealed_comes_back(tmp_path_factory, item_id, media, from_file):
    base = tmp_path_factory.getbasetemp() / "kept"
    base.mkdir(exist_ok=True)
    if not (base / "master.key").exists():
        create_master_file(base / "master.key")
    vault = Vault(base / "vault", FileMaster(base / "master.key"))
    sealed = vault.seal(item_id, io.BytesIO(media) if from_file else media, media_type="image/png", at=AT)
    assert (sealed.item_id, sealed.size, sealed.media_type, sealed.sealed_at) == (item_id, len(media), "image/png", AT)
    assert [sealed.sha256, sealed.md5] == [hashlib.new(name, media).digest() for name in ("sha256", "md5")]
    assert vault.describe(item_id) == sealed
    assert media_of(vault, item_id) == media
    assert list(vault.items()) == [item_id]
    assert vault.destroy(item_id) == Destroyed(sealed.key_id, sealed.sha256)
    assert list(vault.items()) == []


def test_nothing_on_the_disk_can_be_read_or_is_others_to_read(vault):
    sealed = keep(vault, media=MARKER * 100)
    for path in [vault.directory, *vault.directory.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)
        assert path.is_dir() or MARKER not in path.read_bytes()
    assert sealed.sha256.hex()[:8] not in repr(sealed)


def test_the_same_again_changes_nothing_and_something_else_is_refused(vault):
    sealed = keep(vault)
    before = {path: path.read_bytes() for path in item_files(vault)}
    assert keep(vault) == sealed
    assert vault.seal("v_1", io.BytesIO(b"media"), media_type="", at=AT + timedelta(1)) == sealed
    with pytest.raises(Conflict):
        keep(vault, media=b"medium")
    assert {path: path.read_bytes() for path in item_files(vault)} == before


def test_two_at_once_agree(vault):
    answers = []

    def once(media):
        try:
            answers.append(keep(vault, media=media).sha256)
        except Conflict:
            answers.append(None)

    threads = [threading.Thread(target=once, args=(media,)) for media in [b"a" * 100_000, b"b" * 100_000] * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(a is None for a in answers) == [False] * 4 + [True] * 4
    assert hashlib.sha256(media_of(vault)).digest() in answers


@pytest.mark.parametrize(
    "item_id",
    ["", "..", ".", "a/b", "../v_1", "/etc/passwd", "v_1\0", "v_1\n", "v.1", "é", "v" * 65, "canary-0123456789abcdef",
     "canary-", "v 1"],
)  # fmt: skip
def test_ids_that_lead_elsewhere_are_refused(vault, item_id):
    for act in (keep, Vault.describe, Vault.open, Vault.destroy, Vault.rewrap):
        with pytest.raises(Malformed):
            act(vault, item_id)
    assert not vault.directory.exists()


@pytest.mark.parametrize("given", [{"media_type": "x" * 128}, {"media_type": "a\nb"}, {"at": AT.replace(tzinfo=None)}])
def test_facts_that_cannot_be_kept_are_refused(vault, given):
    with pytest.raises(Malformed):
        vault.seal("v_1", b"", **({"media_type": "", "at": AT} | given))


def test_a_time_is_kept_in_utc(vault):
    at = datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=2)))
    assert str(vault.seal("v_1", b"", media_type="", at=at).sealed_at) == "2026-01-01 22:00:00+00:00"


def test_what_is_not_there_is_told(vault):
    assert (vault.describe("v_1"), vault.destroy("v_1"), list(vault.items())) == (None, None, [])
    for act in (vault.open, vault.rewrap):
        with pytest.raises(NotFound):
            act("v_1")


def test_what_fails_to_be_read_leaves_nothing(vault):
    class Broken(io.BytesIO):
        def read(self, size=-1):
            raise KeyError("the upload was abandoned")

    with pytest.raises(KeyError):
        keep(vault, media=Broken())
    assert item_files(vault) == []


# ── what is destroyed ───────────────────────────────────────────────────────────────────────────────────────────────


def test_the_key_is_overwritten_before_its_name_goes(vault):
    keep(vault)
    (key,) = vault.directory.rglob("v_1.key")
    with open(key, "rb") as held:
        stored = held.read()
        assert vault.destroy("v_1") is not None
        held.seek(0)
        assert held.read() == bytes(len(stored))
    assert item_files(vault) == []
    assert vault.destroy("v_1") is None


def test_what_is_damaged_is_destroyed_too(vault):
    keep(vault)
    (key,) = vault.directory.rglob("v_1.key")
    key.write_bytes(b"no record")
    assert vault.destroy("v_1") is None
    assert item_files(vault) == []


# ── damage ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("which", ["key", "sealed"])
def test_every_changed_or_missing_byte_is_found(vault, which):
    keep(vault)
    keep(vault, "v_2")
    (path,) = vault.directory.rglob(f"v_1.{which}")
    stored = path.read_bytes()
    changed = [
        stored[:at] + bytes([stored[at] ^ bit]) + stored[at + 1 :] for at in range(len(stored)) for bit in (1, 32)
    ]
    changed += [stored[:at] for at in range(0, len(stored), 1 if which == "sealed" else 7)]
    for one in [*changed, stored + b"\0", stored + b"\n", stored * 2]:
        path.write_bytes(one)
        with pytest.raises(Corrupt):
            media_of(vault)
    assert [damage.item_id for damage in check(vault)] == ["v_1"]
    path.unlink()
    assert [damage.item_id for damage in check(vault)] == (["v_1"] if which == "sealed" else [])
    path.write_bytes(stored)
    assert list(check(vault)) == []


def test_facts_are_bound_to_the_key(vault):
    """Whoever writes to the disk can make a key file's digest right, and still not change what it says."""
    keep(vault)
    (path,) = vault.directory.rglob("v_1.key")
    line = path.read_bytes().partition(b"\n")[0].replace(b"image/png", b"image/gif") + b"\n"
    path.write_bytes(line + hashlib.sha256(line).hexdigest().encode() + b"\n")
    assert vault.describe("v_1").media_type == "image/gif"
    with pytest.raises(Corrupt):
        vault.open("v_1")


def test_files_of_another_item_are_found(vault):
    keep(vault)
    keep(vault, "v_2", b"other")  # as long
    paths = {path.name: path for path in vault.directory.rglob("v_*")}
    shutil.copy(paths["v_2.sealed"], paths["v_1.sealed"])
    with pytest.raises(Corrupt):
        vault.open("v_1")
    shutil.copy(paths["v_2.key"], paths["v_1.key"])
    with pytest.raises(Corrupt, match="another item's"):
        vault.describe("v_1")


# ── master keys ─────────────────────────────────────────────────────────────────────────────────────────────────────


def other(tmp_path, name="other.key"):
    create_master_file(tmp_path / name)
    return FileMaster(tmp_path / name)


def test_a_lost_or_other_master_key_is_told_at_the_start(tmp_path, vault):
    vault.prove()
    vault.prove()
    Vault(vault.directory, vault.master).prove()
    stranger = Vault(vault.directory, other(tmp_path))
    for _ in range(2):  # and it is not taken for the vault's own afterwards
        for act in (stranger.prove, lambda: keep(stranger)):
            with pytest.raises(BadConfig, match=r"the vault's master key does not open it: key .* is not in"):
                act()
    assert list(stranger.items()) == []


def test_it_is_told_though_the_canary_is_gone(tmp_path, vault):
    keep(vault)
    shutil.rmtree(vault.directory / "canary")
    with pytest.raises(BadConfig, match="the vault's master key does not open it"):
        Vault(vault.directory, other(tmp_path)).prove()
    assert not (vault.directory / "canary").exists()
    Vault(vault.directory, vault.master).prove()
    assert len(list((vault.directory / "canary").glob("*.key"))) == 1


def test_a_damaged_canary_is_told(vault):
    vault.prove()
    (path,) = (vault.directory / "canary").glob("*.sealed")
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(Corrupt):
        Vault(vault.directory, vault.master).prove()


def test_a_rotated_master_key_takes_over(tmp_path, vault):
    first = keep(vault)
    keep(vault, "v_2", b"more")
    path = tmp_path / "master.key"
    rotate_master_file(path)
    rotated = Vault(vault.directory, FileMaster(path))
    rotated.prove()
    assert media_of(rotated) == b"media"
    (key,) = vault.directory.rglob("v_1.key")
    with open(key, "rb") as held:
        stored = held.read()
        assert [rotated.rewrap("v_1"), rotated.rewrap("v_1")] == [True, False]
        held.seek(0)
        assert held.read() == bytes(len(stored))  # what the former key had wrapped
    assert retire(rotated) == ()  # it still wraps v_2
    newest = tmp_path / "newest.key"
    create_master_file(newest)
    newest.write_text(path.read_text().splitlines()[0])
    with pytest.raises(BadConfig):
        Vault(vault.directory, FileMaster(newest)).prove()
    assert rotated.rewrap("v_2")
    assert retire(rotated) == (first.master_id,)
    alone = Vault(vault.directory, FileMaster(newest))
    alone.prove()
    sealed = alone.describe("v_1")
    assert (sealed.key_id, sealed.sha256, sealed.master_id) == (first.key_id, first.sha256, alone.master.id)
    assert [media_of(alone, item) for item in ("v_1", "v_2")] == [b"media", b"more"]
    assert list(check(alone)) == []


def test_a_server_that_runs_goes_over_to_a_new_master_key(tmp_path, vault):
    """Else it could not open what another process had wrapped anew, and would seal by a key that nobody checks."""
    first = keep(vault)
    path = tmp_path / "master.key"
    new_id = rotate_master_file(path)
    other_process = Vault(vault.directory, FileMaster(path))
    other_process.rewrap("v_1")
    assert retire(other_process) == (first.master_id,)
    assert media_of(vault) == b"media"
    assert keep(vault, "v_2").master_id == new_id
    newest = path.read_text().splitlines()[0]
    path.write_text(newest)
    Vault(vault.directory, FileMaster(path)).prove()
    for spoil in (lambda: path.write_text("not a key"), path.unlink):
        spoil()
        assert media_of(vault, "v_2") == b"media"
        keep(vault, "v_3")


def test_an_item_whose_master_key_is_gone_is_damage(tmp_path, vault):
    keep(vault)
    moved = Vault(vault.directory, other(tmp_path), former=[vault.master])
    keep(moved, "v_2")
    assert {moved.describe(item).master_id for item in moved.items()} == {vault.master.id, moved.master.id}
    assert list(check(moved)) == []
    assert [damage.item_id for damage in check(vault)] == ["v_2"]


# ── sweeping ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_sweep_takes_halves_away_and_only_names_orphans(vault):
    for number in range(4):
        keep(vault, f"v_{number}", bytes([number]))
    (whole,) = vault.directory.rglob("v_0.key")
    for item, suffix in (("v_0", ".key.new"), ("v_1", ".sealed.new")):
        (key,) = vault.directory.rglob(f"{item}.key")
        key.with_name(item + suffix).write_bytes(b"half")
    (key,) = vault.directory.rglob("v_2.key")
    key.unlink()
    (lost,) = vault.directory.rglob("v_3.key")
    kept = lost.read_bytes()
    lost.unlink()
    stranger = whole.with_name("README.key")  # another folder's item, or none
    stranger.write_bytes(b"")
    found = sweep(vault, {"v_0", "v_3"}.__contains__, AT + timedelta(microseconds=1))
    assert (found.mended, [one.item_id for one in found.orphans], found.lost) == (3, ["v_1"], ("v_3",))
    assert [damage.item_id for damage in check(vault, ["v_0", "v_3"])] == ["v_3"]
    assert sorted(vault.items()) == ["v_0", "v_1"]
    lost.write_bytes(kept)
    assert media_of(vault, "v_3") == bytes([3])
    assert [path.name for item in range(4) for path in item_files(vault, f"v_{item}")] == [
        "v_0.key", "v_0.sealed", "v_1.key", "v_1.sealed", "v_3.key", "v_3.sealed",
    ]  # fmt: skip
    assert sweep(vault, lambda _: False, AT).orphans == ()  # as old as that is not older
    assert sweep(vault, lambda _: False, AT).mended == 0
    assert list(check(vault)) == []


def test_a_folder_that_cannot_be_used_is_told(tmp_path, master):
    (tmp_path / "file").write_bytes(b"")
    vault = Vault(tmp_path / "file", master)
    for act in (vault.prove, lambda: keep(vault), lambda: vault.describe("v_1")):
        with pytest.raises(HashmatchError):
            act()


def test_nothing_stays_open(vault):
    keep(vault)
    before = len(os.listdir("/proc/self/fd"))
    for number in range(20):
        keep(vault, f"v_{number}")
        media_of(vault, f"v_{number}")
        vault.destroy(f"v_{number}")
    assert len(os.listdir("/proc/self/fd")) == before
