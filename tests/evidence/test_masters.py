"""Master keys: a file and its rotation, and a command that asks a key service, here a real script."""

from __future__ import annotations

import base64
import stat
import sys
import time
from datetime import UTC, datetime

import pytest

from hashmatch.errors import BadConfig, Conflict, Corrupt, StoreFailed
from hashmatch.evidence.command import CommandMaster
from hashmatch.evidence.master import FileMaster, create_master_file, rotate_master_file
from hashmatch.evidence.vault import Vault

KEY = bytes(range(32))
AT = datetime(2026, 1, 2, tzinfo=UTC)
LINE = base64.b64encode(KEY).decode()


def keep(path, text, mode=0o600):
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_new_file_wraps_and_unwraps(tmp_path):
    path = tmp_path / "master.key"
    made = create_master_file(path)
    master = FileMaster(path)
    assert (master.id, stat.S_IMODE(path.stat().st_mode)) == (made, 0o600)
    wrapped = master.wrap(KEY, b"one")
    assert KEY not in wrapped
    assert wrapped != master.wrap(KEY, b"one")
    assert FileMaster(path).unwrap(wrapped, b"one") == KEY
    with pytest.raises(Corrupt):
        master.unwrap(wrapped, b"another")
    before = path.read_bytes()
    with pytest.raises(Conflict):
        create_master_file(path)
    assert path.read_bytes() == before


def test_every_changed_byte_of_a_wrapped_key_is_found(tmp_path):
    master = FileMaster(keep(tmp_path / "m", LINE))
    wrapped = master.wrap(KEY, b"c")
    for at in range(len(wrapped)):
        with pytest.raises((Corrupt, BadConfig)):
            master.unwrap(wrapped[:at] + bytes([wrapped[at] ^ 1]) + wrapped[at + 1 :], b"c")
    for length in range(len(wrapped)):
        with pytest.raises((Corrupt, BadConfig)):
            master.unwrap(wrapped[:length], b"c")


def test_rotation_keeps_what_older_keys_wrapped(tmp_path):
    path = tmp_path / "master.key"
    create_master_file(path)
    master = FileMaster(path)
    old_id, wrapped = master.id, master.wrap(KEY, b"c")
    (tmp_path / "before").mkdir()
    old = FileMaster(keep(tmp_path / "before" / "master.key", path.read_text()))
    new_id = rotate_master_file(path)
    new = FileMaster(path)
    assert (new.id, master.id, old.id) == (new_id, new_id, old_id)
    assert [one.unwrap(wrapped, b"c") for one in (new, master, old)] == [KEY] * 3
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(one.name for one in tmp_path.iterdir()) == ["before", "master.key"]
    with pytest.raises(BadConfig, match="is not in"):
        old.unwrap(new.wrap(KEY, b"c"), b"c")


@pytest.mark.parametrize(
    ("text", "mode", "why"),
    [
        (LINE, 0o640, "chmod 600"), (LINE, 0o604, "chmod 600"), ("", 0o600, "0 keys"), ("# remark\n", 0o600, "0 keys"),
        (LINE[:-4], 0o600, "line 1"), (f"{LINE}\n{LINE[:-8]}\n", 0o600, "line 2: 27 bytes"),
        (f"{LINE}\nsecret-and-not-base64\n", 0o600, "line 2 is not base64"), (f"{LINE}\n" * 65, 0o600, "65 keys"),
    ],
)  # fmt: skip
def test_a_file_that_is_not_one_is_refused(tmp_path, text, mode, why):
    with pytest.raises(BadConfig, match=why) as caught:
        FileMaster(keep(tmp_path / "m", text, mode))
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_lost_file_is_told(tmp_path):
    with pytest.raises(BadConfig, match="cannot read the master key"):
        FileMaster(tmp_path / "m")


SERVICE = f"""#!{sys.executable} -IS
import base64, hashlib, os, sys, time
verb, (mode,) = sys.argv[-1], sys.argv[1:-1]
given, context = base64.b64decode(sys.stdin.buffer.read()), os.environ["HASHMATCH_KEY_CONTEXT"].encode()
pad = hashlib.sha256(b"a key service's key" + context).digest()
tag = hashlib.sha256(pad + context).digest()[:8]
if mode == "refuse":
    print("one\\nkey was", base64.b64encode(given).decode(), "x" * 20, "denied by policy" * 9, file=sys.stderr)
    sys.exit(3)
if mode == "hang":
    if os.fork():
        time.sleep(60)
    time.sleep(60)
if mode in ("echo", "none", "text", "long"):
    said = {{"echo": given, "none": b"", "long": bytes(20000)}}.get(mode, b"")
    sys.stdout.write("no base64!" if mode == "text" else base64.b64encode(said).decode())
elif verb == "wrap":
    sys.stdout.buffer.write(base64.encodebytes(tag + bytes(a ^ b for a, b in zip(given, pad)) + bytes(60)))
elif verb == "unwrap" and given[:8] == tag:
    sys.stdout.buffer.write(base64.b64encode(bytes(a ^ b for a, b in zip(given[8:40], pad))))
else:
    sys.exit("not wrapped here")
"""


@pytest.fixture
def service(tmp_path):
    return str(keep(tmp_path / "kms", SERVICE, 0o700))


def test_a_command_wraps_and_unwraps(service):
    master = CommandMaster([service, "well"])
    wrapped = master.wrap(KEY, b"one")
    assert len(wrapped) == 100
    assert master.unwrap(wrapped, b"one") == KEY
    with pytest.raises(StoreFailed, match="unwrap: status 1: not wrapped here"):
        master.unwrap(wrapped, b"two")
    assert master.id == CommandMaster([service, "well"]).id != CommandMaster([service, "other"]).id


@pytest.mark.parametrize(
    ("mode", "why"),
    [("echo", "gave the key back"), ("none", "no answer"), ("text", "not base64"), ("long", "bytes of answer")],
)
def test_a_command_that_answers_badly_has_failed(service, mode, why):
    with pytest.raises(StoreFailed, match=why) as caught:
        CommandMaster([service, mode]).wrap(KEY, b"c")
    assert service in str(caught.value)


def test_a_command_that_refuses_shows_little_and_no_key(service):
    with pytest.raises(StoreFailed) as caught:
        CommandMaster([service, "refuse"]).wrap(KEY, b"c")
    said = str(caught.value)
    assert f"{service} wrap: status 3: key was … " in said
    assert LINE not in said
    assert "one" not in said
    assert len(said) < len(service) + 130


def test_a_command_that_hangs_is_ended_though_its_child_holds_the_pipe(service):
    before = time.monotonic()
    with pytest.raises(StoreFailed, match=r"no answer within 0\.3 s"):
        CommandMaster([service, "hang"], seconds=0.3).unwrap(KEY, b"c")
    assert time.monotonic() - before < 5


def test_a_vault_is_kept_by_a_command(service, tmp_path):
    vault = Vault(tmp_path / "vault", CommandMaster([service, "well"]))
    vault.seal("v_1", b"media", media_type="", at=AT)
    again = Vault(tmp_path / "vault", CommandMaster([service, "well"]))
    again.prove()
    with again.open("v_1")[0] as opened:
        assert opened.read() == b"media"
    refused = Vault(tmp_path / "vault", CommandMaster([service, "refuse"]))
    with pytest.raises(BadConfig, match=r"the vault's master key does not open it: .*kms unwrap: status 3"):
        refused.prove()
    empty = Vault(tmp_path / "empty", CommandMaster([service, "refuse"]))
    with pytest.raises(StoreFailed, match="denied by policy"):
        empty.seal("v_1", b"media", media_type="", at=AT)
    assert [path.name for path in empty.directory.rglob("*") if path.is_file()] == [".lock"]


@pytest.mark.parametrize("argv", [[], [""]])
def test_no_command_is_told(argv):
    with pytest.raises(BadConfig):
        CommandMaster(argv)


def test_a_command_that_is_not_there_is_told(tmp_path):
    with pytest.raises(StoreFailed, match="No such file"):
        CommandMaster([str(tmp_path / "kms")]).wrap(KEY, b"c")
