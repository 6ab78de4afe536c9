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
from hashmatch.store.list_tables import NUMBER, VERSION, extended, spans
from hashmatch.store.lists import ListStore, ListView
from hashmatch.types import Revision
from hashmatch.v1.store_pb2 import ListRecord, VersionRecord

MAX_PROBLEMS = 1000  # reported; whoever has more restores a backup
FEED_CHUNK = 10_000  # changes read in one transaction: about 0.1 s


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is not what was written. Names no fingerprint."""

    environment: str  # "lists", "ledger", "access", "keys", "backup"
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
        report.attempt("lists", "entries", partial(_check_left_over, report, store))


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
        if version.version != number:
            raise Corrupt(f"version {number} of list '{record.name}' calls itself {version.version}")
        if version.parent:
            report.count("edits", _check_edits(view, record, version))
    if not version.parent:
        for _ in store.base_keys(record.list_number, version):
            pass
        report.count("entries", sum(version.entries.values()))
    report.count("versions")


def _check_edits(view: ListView, record: ListRecord, version: VersionRecord) -> int:
    """Verifies a version's edits, and derives again what stands on them; their number."""
    parent = view.version(record.list_number, version.parent)
    edits = view.edits(record.list_number, version)
    named = f"version {version.version} of list '{record.name}'"
    if not (version.parent < version.version and parent.base == version.base):
        raise Corrupt(f"{named} does not stand on its parent's base")
    if spans(version) != extended(spans(parent), version.version):
        raise Corrupt(f"{named} does not have its parent's lineage")
    if version.lineage_edits != parent.lineage_edits + version.edits:
        raise Corrupt(f"the edits of {named} do not add up")
    for edit in edits:
        if not view.touches(record.list_number, version, edit.hash_type, edit.key):
            raise Corrupt(f"an edit of {named} is missing from 'touched', so it would not be seen")
    return len(edits)


def _check_feed(report: Report, store: ListStore) -> None:
    after = Revision(0)
    while True:
        with store.view() as view:
            changes = view.changes(after, FEED_CHUNK)
        if not changes:
            return
        report.count("changes", len(changes))
        after = Revision(changes[-1].revision)


def _check_left_over(report: Report, store: ListStore) -> None:
    """Notes rows that no version accounts for, unless an import that was broken off left them: the next one will
    delete those."""
    with store.view() as view, store.env.read() as txn:
        bases: dict[int, set[int]] = {}
        versions: dict[int, int] = {}
        for record in view.lists():
            versions[record.list_number] = record.last_version
            bases[record.list_number] = {version.base for version in view.versions(record)}
        for draft in view.drafts():
            bases.setdefault(draft.list_number, set()).add(draft.base)
        for table in ("entries", "touched"):
            for number, base in _prefixes(txn, store.env.table(table)):
                if base not in bases.get(number, ()):
                    report.add("lists", table, f"rows of base {base} of list number {number}, which is not there")
        for table in ("versions", "edits"):
            for number, version in _prefixes(txn, store.env.table(table)):
                if not 0 < version <= versions.get(number, 0):
                    report.add("lists", table, f"rows of version {version} of list number {number}, which is not there")
        for number, base, touched in _touching(txn, store):
            if view.version(number, touched).base != base:
                report.add("lists", "touched", f"rows of version {touched} of list number {number} on another's base")


def _touching(txn: Txn, store: ListStore) -> Iterator[tuple[int, int, int]]:
    """List number, base and version of every row of `touched`, each once."""
    seen: set[tuple[int, int, int]] = set()
    with txn.cursor(db=store.env.table("touched")) as cursor:
        for key in cursor.iternext(values=False):
            found = (*VERSION.unpack_from(key), NUMBER.unpack(key[-NUMBER.size :])[0])
            if found not in seen:
                seen.add(found)
                yield found


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
