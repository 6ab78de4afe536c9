"""NSRL's RDSv3: a SQLite database with a table or view FILE(sha256, sha1, md5, crc32, file_name, …), known software.

The database is a stranger's: it is copied to a private file, opened for reading as it is, with nothing in its schema
trusted, and only the three digests are asked of it. Source: NIST's "RDSv3 Database Schema".
"""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

from hashmatch.errors import Malformed
from hashmatch.lists.formats import Raw, Reject
from hashmatch.lists.formats.ahead import Ahead

MAGIC = b"SQLite format 3\x00"
DIGESTS = ("sha256", "sha1", "md5")
SOURCE = "NSRL"
_COPY_BYTES = 1 << 20


class Rds:
    """Reads a database. For one pass."""

    def __init__(self, file: Ahead, hash_types: tuple[str, ...]) -> None:
        self._file = file
        self._wanted = tuple(name for name in DIGESTS if name in hash_types)
        self.number = 0  # rows so far
        self.bytes = 0

    def __iter__(self) -> Iterator[Raw | Reject]:
        """The digests of every file.

        Raises:
            Malformed: it is not such a database, or damaged; nothing is to be kept of it.
        """
        with tempfile.TemporaryDirectory(prefix="hashmatch-rds-") as folder:  # only its owner may look into it
            copy = Path(folder) / "rds.db"
            with open(copy, "wb") as out:
                while some := self._file.read(_COPY_BYTES):
                    self.bytes += len(some)
                    out.write(some)
            try:
                with contextlib.closing(sqlite3.connect(f"file:{copy}?mode=ro&immutable=1", uri=True)) as database:
                    yield from self._rows(database)
            except sqlite3.Error as e:
                raise Malformed(f"not a sound SQLite database of NSRL's: {e}", field="chunk") from e

    def _rows(self, database: sqlite3.Connection) -> Iterator[Raw | Reject]:
        database.execute("PRAGMA trusted_schema = OFF")
        database.execute("PRAGMA query_only = ON")
        database.text_factory = lambda text: text.decode("latin-1")
        there = {str(row[1]).casefold() for row in database.execute("PRAGMA table_info('FILE')")}
        columns = [name for name in self._wanted if name in there]
        if not columns:
            raise Malformed(f"no table FILE with a column of {', '.join(DIGESTS)}", field="chunk")
        for row in database.execute(f"SELECT {', '.join(columns)} FROM FILE"):  # noqa: S608 - names from DIGESTS
            self.number += 1
            found = False
            for name, text in zip(columns, row, strict=True):
                if text:
                    found = True
                    yield Raw(self.number, name, str(text), label="known software", source=SOURCE)
            if not found:
                yield Reject(self.number, "no digest in this row")
