"""One LMDB environment: opened once per process, its errors turned into ours, its format checked.

Flags are LMDB's defaults on purpose: `sync` and `metasync` stay on (without them a power cut loses what was
acknowledged), `writemap` stays off (on a full disk it kills the process with SIGBUS). Local disks only, never NFS.
Read transactions are short, since an open one stops the file from reusing its pages.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb

from hashmatch import clock
from hashmatch.errors import BadConfig, Corrupt, StoreFailed, StoreFull
from hashmatch.store import codec
from hashmatch.v1.store_pb2 import FormatRecord

MAP_BYTES = 1 << 40  # address space, not disk: the file grows as it is written; a smaller map fails when outgrown
FORMAT = 1
_META_KEY = b"format"


class Env:
    """An LMDB environment with named tables.

    Open it after every fork and once per process: LMDB's locks do not survive either.
    """

    def __init__(self, path: Path, tables: tuple[str, ...], *, readonly: bool = False) -> None:
        """Opens `path`, making it where it is missing.

        Raises:
            BadConfig: the directory cannot be used, or was written by a newer hashmatch.
            Corrupt: the file is not an LMDB environment, or its first record is damaged.
        """
        self.path = path
        try:
            if not readonly:
                path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lmdb = lmdb.open(
                str(path), map_size=MAP_BYTES, max_dbs=len(tables) + 1, max_readers=512, readonly=readonly, mode=0o600,
                create=not readonly, meminit=True,
            )  # fmt: skip
        except (lmdb.InvalidError, lmdb.CorruptedError, lmdb.VersionMismatchError) as e:
            raise Corrupt(f"{path} is not a readable LMDB environment: {e}") from e
        except (OSError, lmdb.Error) as e:
            raise BadConfig(f"cannot open {path}: {e}") from e
        with _translated(path):
            self._lmdb.reader_check()
            self._tables = {name: self._lmdb.open_db(name.encode(), create=not readonly) for name in (*tables, "meta")}
        self._check_format(readonly)

    def _check_format(self, readonly: bool) -> None:
        with self.read() as txn:
            stored = txn.get(_META_KEY, db=self._tables["meta"])
        if stored is None:
            if readonly or self.last_transaction() > len(self._tables) + 1:
                raise Corrupt(f"{self.path} has no format record")
            from hashmatch import __version__

            record = FormatRecord(version=FORMAT, written_by=f"hashmatch {__version__}")
            record.created_at.FromDatetime(clock.now())
            with self.write() as txn:
                txn.put(_META_KEY, codec.seal(_META_KEY, record.SerializeToString()), db=self._tables["meta"])
            return
        found = codec.read(_META_KEY, stored, "meta", FormatRecord)
        if found.version > FORMAT:
            raise BadConfig(f"{self.path} has format {found.version} ({found.written_by}); this hashmatch reads {FORMAT}")

    def table(self, name: str) -> lmdb._Database:
        """The handle to pass as `db=` to a transaction."""
        return self._tables[name]

    @contextmanager
    def read(self) -> Iterator[lmdb.Transaction]:
        """A snapshot for reading; keep it short."""
        with _translated(self.path), self._lmdb.begin(buffers=False) as txn:
            yield txn

    @contextmanager
    def write(self) -> Iterator[lmdb.Transaction]:
        """One transaction, synced when the block ends and undone when it raises. Waits for other writers.

        Raises:
            StoreFull: no room; nothing was written.
            StoreFailed: the disk refused; nothing was acknowledged.
        """
        with _translated(self.path), self._lmdb.begin(write=True, buffers=False) as txn:
            yield txn

    def last_transaction(self) -> int:
        """Number of the last committed transaction: it changes exactly when something was written. About 1 µs."""
        return int(self._lmdb.info()["last_txnid"])

    def copy(self, to: Path) -> None:
        """A consistent, compacted copy, taken while others write."""
        with _translated(self.path):
            to.mkdir(parents=True, mode=0o700)
            self._lmdb.copy(str(to), compact=True)

    def check_readers(self) -> int:
        """Frees the slots of readers that died; returns how many."""
        return int(self._lmdb.reader_check())

    def close(self) -> None:
        self._lmdb.close()


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except lmdb.MapFullError as e:
        raise StoreFull(f"{path} has reached its map size") from e
    except lmdb.DiskError as e:  # pragma: no cover - by platform
        raise StoreFull(f"no room left on the disk of {path}") from e
    except (lmdb.CorruptedError, lmdb.PageNotFoundError, lmdb.PanicError) as e:
        raise Corrupt(f"{path} is damaged: {e}") from e
    except lmdb.Error as e:
        raise _failure(path, e) from e


def _failure(path: Path, e: lmdb.Error) -> StoreFailed:
    # LMDB reports a full disk as "Input/output error" (a short write), so ask the disk itself.
    disk = os.statvfs(path)
    if os.strerror(errno.ENOSPC) in str(e) or disk.f_bavail * disk.f_frsize < 1 << 20:
        return StoreFull(f"no room left on the disk of {path}")
    return StoreFailed(f"{path}: {e}")
