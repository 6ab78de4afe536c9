"""What is wrong with a state directory's environments: everything is read, and every derived row is derived again.

First the file as pages and trees, by a walker in pure Python, since LMDB itself can be made to crash by damage there;
then, if that is sound, what the rows say. May run beside a server: transactions are short, and what they meet is whole.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import lmdb
from lmdb.verify import VerifyError, verify

from hashmatch.errors import Corrupt, HashmatchError
from hashmatch.store import backup
from hashmatch.store.env import DATA_FILE, Txn, open_engine
from hashmatch.store.list_tables import VERSION
from hashmatch.store.lists import ListStore
from hashmatch.types import Revision
from hashmatch.v1.store_pb2 import ListRecord

MAX_PROBLEMS = 1000  # reported; whoever has more restores a backup
FEED_CHUNK = 10_000  # changes read in one transaction: about 0.1 s


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is not what was written. Names no fingerprint."""

    environment: str  # "lists", "ledger", "keys", "backup"
    table: str
    what: str


@dataclass(slots=True)
class Report:
    """What a check has found, and how many rows of each kind it read."""

    problems: list[Problem] = field(default_factory=list)
    checked: dict[str, int] = field(default_factory=dict)

    def add(self, environment: str, table: str, what: str) -> None:
        """Notes a problem; those beyond MAX_PROBLEMS are dropped."""
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(Problem(environment, table, what))

    def count(self, what: str, number: int = 1) -> None:
        """Notes that so many more were read."""
        self.checked[what] = self.checked.get(what, 0) + number

    def attempt(self, environment: str, table: str, step: Callable[[], None]) -> bool:
        """Whether `step` found what it read to be whole; what it raises is noted."""
        try:
            step()
        except HashmatchError as e:
            self.add(environment, table, str(e))
            return False
        return True


def check_structure(report: Report, directory: Path) -> bool:
    """Whether the file of an environment is sound as pages and trees: about 2 s per million rows."""
    try:
        # An open reader keeps a running server from reusing the pages that the walker is about to read.
        with open_engine(directory, 0, readonly=True) as engine, engine.begin():
            found: list[str] = verify(directory)  # type: ignore[no-untyped-call]  # of the engine's own package
    except (Corrupt, VerifyError) as e:
        found = [str(e)]
    for what in found:
        report.add(directory.name, DATA_FILE, what)
    return not found


def check_lists(report: Report, state: Path) -> None:
    """Verifies the hash lists: records, chains of versions, bases, the change feed; no row may be left over."""
    if not check_structure(report, state / "lists"):
        return
    try:
        store = ListStore(state, readonly=True)
    except HashmatchError as e:
        report.add("lists", "meta", str(e))
        return
    with closing(store):
        check_rows(report, store)


def check_rows(report: Report, store: ListStore) -> None:
    """What `check_lists` does with a store that is open, once its file is known to be sound."""
    records: list[ListRecord] = []
    if report.attempt("lists", "lists", lambda: records.extend(_records(store))):
        report.count("lists", len(records))
        for record in records:
            _check_versions(report, store, record)
        report.attempt("lists", "changes", partial(_check_feed, report, store))
        report.attempt("lists", "entries", partial(_check_left_over, report, store, records))


def check_reaches(report: Report, state: Path, revision: int) -> None:
    """Notes lists that do not have a revision which verdicts name: older than the ledger beside them."""

    def reach() -> None:
        with closing(ListStore(state, readonly=True)) as store, store.view() as view:
            if view.revision < revision:
                raise Corrupt(
                    f"the ledger names revision {revision}, and the lists end at {view.revision}: "
                    f"they are older than the ledger"
                )

    report.attempt("lists", "changes", reach)


def _records(store: ListStore) -> list[ListRecord]:
    with store.view() as view:
        return list(view.lists())


def _check_versions(report: Report, store: ListStore, record: ListRecord) -> None:
    if record.active_version > record.last_version:
        report.add("lists", "lists", f"list '{record.name}' has an active version that it never had")
    for number in range(1, record.last_version + 1):
        report.attempt("lists", "versions", partial(_check_version, report, store, record, number))


def _check_version(report: Report, store: ListStore, record: ListRecord, number: int) -> None:
    with store.view() as view:
        version = view.version(record.list_number, number)
        named = f"version {number} of list '{record.name}'"
        if version.version != number:
            raise Corrupt(f"{named} calls itself {version.version}")
        if version.base == number:
            view.verify_base(record.list_number, version)
            report.count("entries", sum(version.entries.values()))
        elif not (version.parent < number and view.version(record.list_number, version.parent).base == version.base):
            raise Corrupt(f"{named} does not stand on its parent's base")
    report.count("versions")


def _check_feed(report: Report, store: ListStore) -> None:
    after = Revision(0)
    while True:
        with store.view() as view:
            changes = view.changes(after, FEED_CHUNK)
        if not changes:
            return
        report.count("changes", len(changes))
        after = Revision(changes[-1].revision)


def _check_left_over(report: Report, store: ListStore, records: list[ListRecord]) -> None:
    """Notes rows of `entries` and `versions` that no list accounts for."""
    last = {record.list_number: record.last_version for record in records}
    with store.view() as view, store.env.read() as txn:
        newer = {record.list_number: record.last_version for record in view.lists()}
        for table in ("entries", "versions"):
            for number, version in _prefixes(txn, store.env.table(table)):
                if not 0 < version <= max(last.get(number, 0), newer.get(number, 0)):
                    report.add("lists", table, f"rows of version {version} of list number {number}, which is not there")


def _prefixes(txn: Txn, table: lmdb._Database) -> Iterator[tuple[int, int]]:
    """Each list number and version that keys of a table begin with, once, skipping over all the rest."""
    with txn.cursor(db=table) as cursor:
        found = cursor.first()
        while found:
            number, version = VERSION.unpack_from(cursor.key())
            yield number, version
            found = cursor.set_range(VERSION.pack(number, version) + b"\xff" * 64)


def check_keys(report: Report, state: Path) -> None:
    """Notes keys that others than their owner may read."""
    for key in sorted((state / "keys").glob("*")):
        report.count("keys")
        if stat.S_IMODE(key.stat().st_mode) & 0o077:
            report.add("keys", key.name, "others than its owner may read it; chmod 600")


def check_backup(report: Report, state: Path) -> None:
    """Verifies a backup that has not been used since against its manifest's digests."""
    try:
        for name, what in backup.differences(state):
            report.add("backup", name, what)
    except HashmatchError as e:
        report.add("backup", backup.MANIFEST, str(e))
