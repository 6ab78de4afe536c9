"""An environment that opens is the one that was written; what it refuses, it refuses in our words."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

import lmdb
import pytest

from hashmatch.errors import BadConfig, Corrupt, StoreFailed, StoreFull
from hashmatch.store import codec, env
from hashmatch.store.env import Env
from hashmatch.v1.store_pb2 import FormatRecord

TABLES = ("first", "second")
META_TXNID = 16 + 24 + 2 * 48 + 8  # of MDB_meta's transaction number in a meta page, LMDB 0.9


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Env]:
    opened = Env(tmp_path / "env", TABLES)
    yield opened
    opened.close()


def put(opened: Env, key: bytes, value: bytes) -> None:
    with opened.write() as txn:
        txn.put(key, value, db=opened.table("first"))


def get(opened: Env, key: bytes) -> bytes | None:
    with opened.read() as txn:
        return txn.get(key, db=opened.table("first"))


def reopened(opened: Env, *, readonly: bool = False) -> Env:
    opened.close()
    return Env(opened.path, TABLES, readonly=readonly)


def test_what_is_written_is_there(opened: Env) -> None:
    put(opened, b"k", b"v")
    again = reopened(opened, readonly=True)
    assert get(again, b"k") == b"v"
    again.close()


def test_what_raises_is_undone(opened: Env) -> None:
    before = opened.last_transaction()
    with pytest.raises(KeyError), opened.write() as txn:
        txn.put(b"k", b"v", db=opened.table("first"))
        raise KeyError
    assert get(opened, b"k") is None
    assert opened.last_transaction() == before


def test_each_write_raises_the_transaction_number(opened: Env) -> None:
    before = opened.last_transaction()
    put(opened, b"k", b"v")
    assert opened.last_transaction() == before + 1
    get(opened, b"k")
    assert opened.last_transaction() == before + 1


def test_opening_again_writes_nothing(opened: Env) -> None:
    put(opened, b"k", b"v")
    content = (opened.path / "data.mdb").read_bytes()
    reopened(opened).close()
    assert (opened.path / "data.mdb").read_bytes() == content


def test_only_the_owner_may_read(opened: Env) -> None:
    assert opened.path.stat().st_mode & 0o777 == 0o700
    assert {f.stat().st_mode & 0o777 for f in opened.path.iterdir()} == {0o600}


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="files cannot be given their room beforehand")
def test_readers_have_their_room_on_disk(opened: Env) -> None:
    stat = (opened.path / "lock.mdb").stat()
    assert stat.st_size > env.MAX_READERS * 64
    assert stat.st_blocks * 512 >= stat.st_size


def test_a_new_table_is_added(opened: Env) -> None:
    put(opened, b"k", b"v")
    opened.close()
    more = Env(opened.path, (*TABLES, "third"))
    assert get(more, b"k") == b"v"
    with more.write() as txn:
        txn.put(b"k", b"v", db=more.table("third"))
    more.close()
    reopened(opened).close()


def test_copy_is_the_same_and_goes_on(opened: Env, tmp_path: Path) -> None:
    for n in range(100):
        put(opened, b"%d" % n, b"v" * 5000)
    opened.copy(tmp_path / "copy")
    copy = Env(tmp_path / "copy", TABLES)
    assert all(get(copy, b"%d" % n) == b"v" * 5000 for n in range(100))
    put(copy, b"more", b"v")
    reopened(copy).close()


def test_copy_onto_something_fails(opened: Env, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    with pytest.raises(StoreFailed):
        opened.copy(tmp_path / "copy")


def test_twice_in_one_process_is_refused(opened: Env) -> None:
    with pytest.raises(BadConfig, match="already open"):
        Env(opened.path, TABLES)


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="there is no store at"):
        Env(tmp_path / "env", TABLES, readonly=True)
    (tmp_path / "env").mkdir()
    with pytest.raises(BadConfig, match="there is no store at"):
        Env(tmp_path / "env", TABLES, readonly=True)


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "env").write_bytes(b"")
    with pytest.raises(BadConfig):
        Env(tmp_path / "env", TABLES)


def test_others_tables(opened: Env) -> None:
    opened.close()
    with pytest.raises(BadConfig, match="holds no store"):
        Env(opened.path, ("third",), readonly=True)


@pytest.mark.parametrize("content", [b"x" * 100, b"x" * 9000, bytes(9000)])
def test_not_an_environment(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "env").mkdir()
    (tmp_path / "env" / "data.mdb").write_bytes(content)
    with pytest.raises(Corrupt):
        Env(tmp_path / "env", TABLES)


def test_started_and_never_finished_is_started_again(tmp_path: Path) -> None:
    lmdb.open(str(tmp_path / "env"), max_dbs=3).close()  # a power cut before the first commit
    with pytest.raises(BadConfig, match="holds no store"):
        Env(tmp_path / "env", TABLES, readonly=True)
    Env(tmp_path / "env", TABLES).close()


@pytest.mark.parametrize("other", [-1, 1])
def test_another_format_is_refused_and_left_alone(opened: Env, other: int) -> None:
    with opened.write() as txn:
        record = FormatRecord(version=env.FORMAT + other, written_by="hashmatch 9")
        txn.put(b"format", codec.seal(b"format", record.SerializeToString()), db=opened.table("meta"))
    with pytest.raises(BadConfig, match="hashmatch 9"):
        reopened(opened)


@pytest.mark.parametrize("key", [b"format", b"commit"])
def test_missing_record_of_its_own(opened: Env, key: bytes) -> None:
    opened.close()
    with lmdb.open(str(opened.path), max_dbs=3) as raw, raw.begin(write=True) as txn:
        txn.delete(key, db=raw.open_db(b"meta", txn=txn))
    with pytest.raises(Corrupt):
        Env(opened.path, TABLES)


def test_writing_behind_its_back_is_found(opened: Env) -> None:
    opened.close()
    with lmdb.open(str(opened.path), max_dbs=3) as raw, raw.begin(write=True) as txn:
        txn.put(b"k", b"v", db=raw.open_db(b"first", txn=txn))
    with pytest.raises(Corrupt, match="rolled back or damaged"):
        Env(opened.path, TABLES)


def test_every_flip_of_a_transaction_number_is_found_or_harmless(opened: Env) -> None:
    """LMDB alone opens happily at the commit before the last, for any flip that makes the newer number smaller."""
    for n in range(9):
        put(opened, b"k", b"%d" % n)
    opened.close()
    data, harmless = opened.path / "data.mdb", 0
    sound = data.read_bytes()
    for page in (0, 4096):
        for bit in range(64):
            flipped = bytearray(sound)
            (number,) = struct.unpack_from("<Q", flipped, page + META_TXNID)
            struct.pack_into("<Q", flipped, page + META_TXNID, number ^ 1 << bit)
            data.write_bytes(flipped)
            try:
                again = Env(opened.path, TABLES)
            except Corrupt:
                continue
            assert get(again, b"k") == b"8"
            harmless += 1
            again.close()
    assert harmless < 8


@pytest.mark.parametrize("witness", [None, b"", b"torn", bytes(12)])
def test_a_witness_that_says_nothing_is_no_matter(opened: Env, witness: bytes | None) -> None:
    put(opened, b"k", b"v")
    opened.close()
    if witness is None:
        (opened.path / "last-commit").unlink()
    else:
        (opened.path / "last-commit").write_bytes(witness)
    again = Env(opened.path, TABLES)
    put(again, b"k", b"w")
    reopened(again).close()


def test_older_file_put_back_is_found(opened: Env) -> None:
    put(opened, b"k", b"v")
    opened.close()
    older = (opened.path / "data.mdb").read_bytes()
    again = Env(opened.path, TABLES)
    put(again, b"k", b"w")
    again.close()
    (opened.path / "data.mdb").write_bytes(older)
    with pytest.raises(Corrupt, match="rolled back"):
        Env(opened.path, TABLES)


def test_map_that_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(env, "MAP_BYTES", 1 << 20)
    opened = Env(tmp_path / "env", TABLES)
    put(opened, b"k", b"v")
    with pytest.raises(StoreFull):
        put(opened, b"large", b"v" * (2 << 20))
    assert get(opened, b"k") == b"v"
    put(opened, b"k", b"w")
    assert get(opened, b"k") == b"w"
    opened.close()


def test_sealed_row_knows_its_key_and_every_bit() -> None:
    sealed = codec.seal(b"key", b"payload")
    assert codec.unseal(b"key", sealed, "t") == b"payload"
    for bit in range(len(sealed) * 8):
        flipped = bytearray(sealed)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Corrupt, match="table 't' is damaged"):
            codec.unseal(b"key", bytes(flipped), "t")
    for key, row in ((b"kez", sealed), (b"key", b""), (b"key", sealed[:-1]), (b"key", sealed[:3])):
        with pytest.raises(Corrupt):
            codec.unseal(key, row, "t")


def test_row_of_another_kind_is_corrupt() -> None:
    with pytest.raises(Corrupt, match="FormatRecord"):
        codec.read(b"k", codec.seal(b"k", b"\xff\xff"), "t", FormatRecord)
