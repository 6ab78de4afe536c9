"""One LMDB environment: opened once per process, its errors turned into ours, its format and its last commit checked.

Flags are LMDB's defaults on purpose: `sync` and `metasync` stay on (without them a power cut loses what was
acknowledged), `writemap` stays off (on a full disk it kills the process with SIGBUS). Local disks only, never NFS.
Read transactions are short, since an open one stops the file from reusing its pages.

LMDB believes the newer of two meta pages without a checksum, so one flipped bit there can silently roll the file back.
Hence two witnesses: every transaction carries its own number in table `meta`, which must be the number that LMDB opens
at; and after each commit that number goes into the file `last-commit`, which the environment must never fall behind.
That file is not synced: it is written after the commit is on disk, so it can lag behind the truth but never lead it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeAlias

import lmdb

import hashmatch
from hashmatch import clock
from hashmatch.errors import BadConfig, Corrupt, StoreFailed, StoreFull
from hashmatch.store import codec
from hashmatch.v1.store_pb2 import FormatRecord

MAP_BYTES = 1 << 40  # address space, not disk: the file grows as it is written; a smaller map fails when outgrown
MAX_READERS = 512  # read transactions at once, over all processes; far above the threads of a server and a few verbs
ENGINE_ERRORS: Final = (lmdb.Error, OSError)  # of the disk or the engine, inside a transaction
FORMAT = 1
DATA_FILE = "data.mdb"  # LMDB's name
_LOCK_FILE = "lock.mdb"  # LMDB's name
_READER_BYTES, _LOCK_HEAD_BYTES = 64, 4096  # of that file: a line of cache for each reader, and more than stands before
_WITNESS_FILE = "last-commit"
_FORMAT_KEY, _COMMIT_KEY = b"format", b"commit"
_COMMIT = struct.Struct(">Q")
_PROBE_BYTES = 1 << 20  # what must fit on a disk that has room; the largest usual transaction
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

Txn: TypeAlias = "lmdb.Transaction[bytes]"
"""A transaction of an environment: keys and values are bytes."""


class Env:
    """An LMDB environment with named tables.

    Open it after every fork and once per process: LMDB's locks do not survive either.
    """

    def __init__(
        self, path: Path, tables: tuple[str, ...], *, readonly: bool = False, format: int | None = FORMAT
    ) -> None:
        """Opens `path`; makes it where it is missing, unless `readonly`.

        Args:
            format: of its tables, the only one that is read; None: whatever it has, for copying.
        Raises:
            BadConfig: the directory cannot be used, or was written in another format.
            Corrupt: the file is not an LMDB environment, its first record is damaged, or it has been rolled back.
            StoreFull, StoreFailed: it could not be made.
        """
        self.path = path
        self._format = format
        self._names = (*tables, "meta")
        self._tables: dict[str, lmdb._Database] = {}
        self._lmdb = open_engine(path, len(self._names), readonly=readonly)
        try:
            with _translated(path):
                self._lmdb.reader_check()
            complete = self._find_tables()
            if not complete and readonly:
                raise BadConfig(f"{path} holds no store that this hashmatch can read")
            if not complete:
                self._make_tables()
            self._witness = -1 if readonly else os.open(path / _WITNESS_FILE, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as e:
            self._lmdb.close()
            raise failure(path, e) from e
        except BaseException:
            self._lmdb.close()
            raise

    def _find_tables(self) -> bool:
        """Whether all tables are there; opens those that are, once format and last commit are found right.

        Waits for a running writer, unless read-only: LMDB keeps only those handles that a write transaction opened.
        """
        witnessed = _witnessed(self.path)  # before the snapshot: another process may commit in between
        if not self._find_table("meta"):
            if witnessed or self.last_transaction():
                raise Corrupt(f"{self.path} has lost its tables; restore it from a backup")
            return False
        with self.read() as txn:
            self._check_format(txn)
            self._check_last_commit(txn, witnessed)
        return all(self._find_table(name) for name in self._names)

    def _find_table(self, name: str) -> bool:
        with _translated(self.path), contextlib.suppress(lmdb.NotFoundError):
            self._tables[name] = self._lmdb.open_db(name.encode(), create=False)
        return name in self._tables

    def _check_format(self, txn: Txn) -> None:
        stored = txn.get(_FORMAT_KEY, db=self._tables["meta"])
        if stored is None:
            raise Corrupt(f"{self.path} has no format record; restore it from a backup")
        found = codec.read(_FORMAT_KEY, stored, "meta", FormatRecord)
        if self._format not in (None, found.version):
            raise BadConfig(
                f"{self.path} has format {found.version} ({found.written_by}); this hashmatch reads {self._format}: "
                "export with that one, and import into a new state directory"
            )

    def _check_last_commit(self, txn: Txn, witnessed: int) -> None:
        stored = txn.get(_COMMIT_KEY, db=self._tables["meta"])
        if stored is None:
            raise Corrupt(f"{self.path} does not name its last commit; restore it from a backup")
        (carried,) = _COMMIT.unpack(codec.unseal(_COMMIT_KEY, stored, "meta"))
        if carried != txn.id() or carried < witnessed:
            raise Corrupt(
                f"{self.path} opens at commit {txn.id()}, which carries number {carried}, after commit {witnessed} was "
                f"acknowledged: it has been rolled back or damaged; restore it from a backup"
            )

    def _make_tables(self) -> None:
        record = FormatRecord(version=self._format or FORMAT, written_by=f"hashmatch {hashmatch.__version__}")
        record.created_at.FromDatetime(clock.now())
        with _translated(self.path), self._lmdb.begin(write=True) as txn:
            for name in self._names:
                self._tables[name] = self._lmdb.open_db(name.encode(), txn=txn)
            sealed = codec.seal(_FORMAT_KEY, record.SerializeToString())
            txn.put(_FORMAT_KEY, sealed, db=self._tables["meta"], overwrite=False)
            _carry_number(txn, self._tables["meta"])
        # A new file's name lasts only once its directory is synced, and so on upwards.
        for directory in (self.path, self.path.parent):
            sync_directory(directory)

    def table(self, name: str) -> lmdb._Database:
        """The handle to pass as `db=` to a transaction."""
        return self._tables[name]

    @contextmanager
    def read(self) -> Iterator[Txn]:
        """A snapshot for reading; keep it short."""
        with _translated(self.path), self._lmdb.begin(buffers=False) as txn:
            yield txn

    @contextmanager
    def write(self) -> Iterator[Txn]:
        """One transaction, synced when the block ends and undone when it raises. Waits for other writers.

        Raises:
            StoreFull: no room; nothing was written, and the next transaction may succeed.
            StoreFailed: the disk refused; nothing was acknowledged. Open the environment anew before writing again.
        """
        with _translated(self.path), self._lmdb.begin(write=True, buffers=False) as txn:
            number = txn.id()
            yield txn
            _carry_number(txn, self._tables["meta"])
        with contextlib.suppress(OSError):  # a witness that cannot be written only lags
            os.pwrite(self._witness, codec.seal(_COMMIT_KEY, _COMMIT.pack(number)), 0)

    def last_transaction(self) -> int:
        """Number of the last committed transaction: it changes whenever something was written. About 1 µs."""
        return int(self._lmdb.info()["last_txnid"])

    def refuse_full(self) -> None:
        """Does nothing while the disk has room for the largest usual transaction.

        That a transaction succeeds proves less: a small one fits into pages which the file has free.

        Raises:
            StoreFull: it has not.
        """
        if _lacks_room(self.path):
            raise StoreFull(f"no room left on the disk of {self.path}")

    def copy(self, to: Path) -> None:
        """Makes the directory `to` with a consistent, compacted and synced copy, while others write.

        Raises:
            StoreFull, StoreFailed: it could not be written; what is there of it is of no use.
        """
        try:
            to.mkdir(parents=True, mode=0o700)
            self._lmdb.copy(str(to), compact=True)
            (to / DATA_FILE).chmod(0o600)
            # A compacted file starts again at commit 1; so that it names its last commit truly, make it one more.
            with lmdb.open(str(to), map_size=MAP_BYTES, max_dbs=len(self._names), lock=False) as copied:
                meta = copied.open_db(b"meta", create=False)
                with copied.begin(write=True) as txn:
                    _carry_number(txn, meta)
            sync_directory(to)
        except (OSError, lmdb.Error) as e:
            raise failure(to, e) from e

    def check_readers(self) -> int:
        """Frees the slots of readers that died; returns how many."""
        return int(self._lmdb.reader_check())

    def close(self) -> None:
        """Closes it; afterwards nothing else may be called."""
        self._lmdb.close()
        if self._witness >= 0:
            os.close(self._witness)
            self._witness = -1


def _carry_number(txn: Txn, meta: lmdb._Database) -> None:
    txn.put(_COMMIT_KEY, codec.seal(_COMMIT_KEY, _COMMIT.pack(txn.id())), db=meta)


def sync_directory(path: Path) -> None:
    """Makes the names in a directory last: a new or renamed file is there after a power cut only then."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def open_engine(path: Path, tables: int, *, readonly: bool) -> lmdb.Environment:
    """LMDB's own environment, not looked into yet: reads no more of the file than the two meta pages.

    Raises:
        BadConfig: the directory cannot be used, or is open in this process already.
        Corrupt: the file is not an LMDB environment.
        StoreFull, StoreFailed: it could not be made.
    """
    try:
        if not readonly:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            _reserve_readers(path / _LOCK_FILE)
        return lmdb.open(
            str(path), map_size=MAP_BYTES, max_dbs=tables, max_readers=MAX_READERS, readonly=readonly, mode=0o600,
            create=not readonly, meminit=True,
        )  # fmt: skip
    except (lmdb.InvalidError, lmdb.CorruptedError, lmdb.VersionMismatchError) as e:
        raise Corrupt(f"{path} is not a readable LMDB environment: {e}") from e
    except (OSError, lmdb.Error) as e:
        if _errno(e) in _NO_ROOM:
            raise StoreFull(f"no room left on the disk of {path}") from e
        if _errno(e) == errno.EIO:
            raise StoreFailed(f"{path}: {e}") from e
        if readonly and not (path / DATA_FILE).exists():
            raise BadConfig(f"there is no store at {path}") from e
        raise BadConfig(f"cannot open {path}: {e}") from e


def _reserve_readers(file: Path) -> None:
    """Makes LMDB's table of readers with all its room on disk, where there is none yet.

    LMDB maps it and writes into it; a page without room would be SIGBUS, once the disk is full. One that is there is
    left alone: closing it here would give up the locks that this process may hold on it.
    """
    with contextlib.suppress(OSError, AttributeError):  # macOS has no such call, and LMDB makes the file itself
        fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.posix_fallocate(fd, 0, _LOCK_HEAD_BYTES + MAX_READERS * _READER_BYTES)
        finally:
            os.close(fd)


def _witnessed(path: Path) -> int:
    """The last commit that `last-commit` vouches for; 0 where there is no such file or a power cut tore it."""
    try:
        return int(_COMMIT.unpack(codec.unseal(_COMMIT_KEY, (path / _WITNESS_FILE).read_bytes(), _WITNESS_FILE))[0])
    except (FileNotFoundError, Corrupt):
        return 0


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except lmdb.MapFullError as e:
        raise StoreFull(f"{path} has reached its map size") from e
    except (lmdb.CorruptedError, lmdb.PageNotFoundError, lmdb.InvalidError, lmdb.VersionMismatchError) as e:
        raise Corrupt(f"{path} is damaged: {e}") from e
    except lmdb.Error as e:  # among them PanicError: a failed write of the meta page, fatal until opened anew
        raise failure(path, e) from e


def failure(path: Path, e: Exception) -> StoreFailed:
    """What a failed call on the files of `path` means to us."""
    if _is_full(path, _errno(e)):
        return StoreFull(f"no room left on the disk of {path}")
    return StoreFailed(f"{path}: {e}")


def _errno(e: Exception) -> int:
    """The system's error number; LMDB's own numbers are negative."""
    return (e.errno or 0) if isinstance(e, OSError) else int(getattr(e, "code", 0))


def _is_full(path: Path, number: int) -> bool:
    """Whether a failed call failed for want of room: disk, quota or file size limit.

    LMDB reports a write that found room for its first half only as EIO, so there the disk itself is asked.
    """
    return _lacks_room(path) if number == errno.EIO else number in _NO_ROOM


def _lacks_room(path: Path) -> bool:
    with contextlib.suppress(OSError):
        limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
        if limit != resource.RLIM_INFINITY and (path / DATA_FILE).stat().st_size + _PROBE_BYTES > limit:
            return True
    try:
        with tempfile.TemporaryFile(dir=path) as probe:
            probe.write(bytes(_PROBE_BYTES))
    except OSError as e:
        return e.errno in _NO_ROOM
    return False
