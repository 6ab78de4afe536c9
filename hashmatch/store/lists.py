"""Hash lists as they are kept: views to read one moment of them, steps to write one change.

A version is immutable. It is either a base (rows in `entries`) or some edits on its parent (rows in `edits`), standing
on the same base; activating and rolling back swap the list's `active_version`. Every change is one transaction that
carries its own record in the change feed and the next revision, so whoever has applied the feed up to a revision has
everything. Only the rows of a base come before their version, many transactions of them, so that no other writer waits
long; until then they are a draft's, which nothing reads.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain, groupby, islice
from pathlib import Path

from hashmatch.errors import HashmatchError, Refused
from hashmatch.store.entry_view import Edit, ListView, Row
from hashmatch.store.env import Env, Txn
from hashmatch.store.list_step import CHUNK, ListStep
from hashmatch.store.list_tables import BASE_PREFIX, CODE, KEY_AT, TABLES, VERSION, root_digest
from hashmatch.store.list_view import damaged
from hashmatch.v1.store_pb2 import EntryRecord, VersionRecord

__all__ = ["Edit", "ListStep", "ListStore", "ListView", "Row"]

FORMAT = 2  # 1 kept single edits inside their versions
STEP_ROWS = 100_000  # of a draft in one transaction: a quarter of a second, which other writers wait for
PAGE_ROWS = 200_000  # of a base read in one transaction: a quarter of a second, so that pages are freed meanwhile
LOCK_SECONDS = 600.0  # that an import waits for another to be written


class ListStore:
    """The lists of one state directory. Safe to use from many threads; open it once per process."""

    def __init__(self, state: Path, *, readonly: bool = False) -> None:
        """Opens STATE/lists, making it where it is missing.

        Raises:
            BadConfig: the directory cannot be used, or is of another format.
            Corrupt: what is there is damaged.
        """
        self.state = state
        self.env = Env(state / "lists", TABLES, readonly=readonly, format=FORMAT)

    def close(self) -> None:
        self.env.close()

    def mark(self) -> int:
        """A number that changes whenever anything was written. About 1 µs."""
        return self.env.last_transaction()

    @contextmanager
    def view(self) -> Iterator[ListView]:
        """The lists as they are committed now, in one short read transaction."""
        with self.env.read() as txn:
            yield ListView(self.env, txn)

    @contextmanager
    def step(self) -> Iterator[ListStep]:
        """One change, synced when the block ends and undone when it raises. Waits for other writers.

        Raises:
            Corrupt: the lists are damaged.
            StoreFull, StoreFailed: the disk refused; nothing has changed.
        """
        with self.env.write() as txn:
            step = ListStep(self.env, txn)
            step.lists()  # nothing is built upon what is damaged
            yield step

    def entry(self, list_number: int, version: VersionRecord, hash_type: str, key: bytes) -> EntryRecord | None:
        """As `ListView.entry`; a version never changes, so any moment answers."""
        with self.view() as view:
            return view.entry(list_number, version, hash_type, key)

    def rows(self, list_number: int, version: VersionRecord, hash_type: str) -> Iterator[Row]:
        """As `ListView.rows`, in short transactions."""
        after: bytes | None = None
        while True:
            with self.view() as view:
                page = list(islice(view.rows(list_number, version, hash_type, after), PAGE_ROWS))
            yield from page
            if len(page) < PAGE_ROWS:
                return
            after = page[-1][0]

    def base_keys(self, list_number: int, version: VersionRecord) -> Iterator[tuple[str, list[bytes]]]:
        """The keys of a version's base, canaries included, by hash type and in order, some thousands at a time.

        Under a second per million. When the last one was given, every byte of every row was verified.

        Raises:
            Corrupt: at the end: a row, the root digest or a count is not what was written.
        """
        with self.view() as view:
            names = {view._codes[name]: name for name in view.hash_types()}
            canaries = next(r for r in view.lists() if r.list_number == list_number).canary_fingerprints
            base = view.base_version(list_number, version)
        counts: dict[str, int] = {}
        digest = root_digest()
        prefix = VERSION.pack(list_number, version.base)
        start: bytes | None = prefix
        while start is not None:
            with self.env.read() as txn:
                start = yield from _keys(txn, self.env, start, prefix, digest, names, counts)
        if digest.digest() != base.root_digest:
            raise damaged("the entries of a hash list do not have its root digest")
        listed = {hash_type: number - (hash_type in canaries) for hash_type, number in counts.items()}
        if {hash_type: number for hash_type, number in listed.items() if number} != dict(base.entries):
            raise damaged("the entries of a hash list do not add up")

    # ── drafts ──────────────────────────────────────────────────────────────────────────────────────────────────────

    @contextmanager
    def writing_a_base(self) -> Iterator[None]:
        """The right to write a draft, which one import has at a time. What broken-off ones left is deleted first.

        Raises:
            Refused: another import has had it for LOCK_SECONDS.
        """
        with open(self.env.path / "import.lock", "wb") as lock:
            give_up = time.monotonic() + LOCK_SECONDS
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > give_up:
                        raise Refused("another import is being written; try again when it is done") from None
                    time.sleep(0.05)
            with self.view() as view:
                left = view.drafts()
            for draft in left:
                self.discard(draft.list_number, draft.base)
            yield

    def write_base(
        self, list_number: int, rows: Mapping[str, Iterable[Row]], told: Callable[[int], None] = lambda _: None
    ) -> tuple[int, bytes]:
        """Writes the rows of a new base, canaries included, as a draft; its number and root digest.

        Rows of each hash type come in strictly ascending order of key, since writing at random is ten times slower.
        `told` is told how many more were written.

        Raises:
            StoreFull, StoreFailed: the disk refused; nothing of it stays but what the next import deletes.
        """
        with self.step() as step:
            codes = {hash_type: step.code_of(hash_type) for hash_type in sorted(rows)}
            base = step.open_draft(list_number)
        digest = root_digest()
        try:
            for hash_type in sorted(rows, key=codes.__getitem__):
                of_type = iter(rows[hash_type])
                while some := list(islice(of_type, STEP_ROWS)):
                    with self.step() as step:
                        told(step.put_rows(list_number, base, hash_type, some, digest))
        except BaseException:
            with contextlib.suppress(HashmatchError):  # the next import will
                self.discard(list_number, base)
            raise
        return base, digest.digest()

    def discard(self, list_number: int, base: int) -> None:
        """Deletes a draft and its rows."""
        more = True
        while more:
            with self.step() as step:
                more = step.delete_rows(list_number, base, STEP_ROWS // 4)
                if not more:
                    step.close_draft(list_number, base)


def _keys(
    txn: Txn,
    env: Env,
    start: bytes,
    prefix: bytes,
    digest: hashlib.blake2b,
    names: Mapping[int, str],
    counts: dict[str, int],
) -> Generator[tuple[str, list[bytes]], None, bytes | None]:
    """One page of `base_keys`; returns where the next begins, None after the last."""
    with txn.cursor(env.table("entries")) as cursor:
        if not cursor.set_range(start):
            return None
        rows = islice(cursor.iternext(), PAGE_ROWS)
        key = b""
        while some := list(islice(rows, CHUNK)):
            within = some if some[-1][0].startswith(prefix) else [row for row in some if row[0].startswith(prefix)]
            digest.update(b"".join(chain.from_iterable(within)))
            for code, of_code in groupby((key for key, _ in within), key=lambda key: key[BASE_PREFIX:KEY_AT]):
                name = names.get(CODE.unpack(code)[0])
                if name is None:
                    raise damaged("a hash type is missing")
                keys = [key[KEY_AT:] for key in of_code]
                counts[name] = counts.get(name, 0) + len(keys)
                yield name, keys
            if len(within) < len(some):
                return None
            key = some[-1][0]
    return key + b"\0" if key else None
