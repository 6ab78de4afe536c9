"""Builds the snapshots of one version, in a process of its own: `python -m hashmatch.builder`.

A server starts it at low priority, so that verdicts go on; whoever else does gets the same files. It reads the store in
short transactions, verifies every row on the way, and lets the snapshots appear only once all of them are whole and the
root digest was right. Two builders do not disturb each other: the second waits, and finds the work done.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from itertools import chain
from pathlib import Path

from hashmatch.errors import HashmatchError, NotFound
from hashmatch.index import snapshot
from hashmatch.index.recipe import Recipe, load_recipes
from hashmatch.index.wanted import Wanted, built, fits, identity, searched, snapshot_versions
from hashmatch.store.env import failure
from hashmatch.store.lists import ListStore, ListView
from hashmatch.v1.store_pb2 import ListRecord, VersionRecord

DIRECTORY = "snapshots"  # under the state directory
NICENESS = 10  # of 19: verdicts come first
KEPT_PER_BASE = 2  # snapshots: the one that is served, and the one before, until nobody serves it
_DRAFT = ".building-"

Latest = Mapping[bytes, bool]
"""Keys that a version's lineage edited, ascending, and whether each is listed now."""


def build(store: ListStore, recipes: Mapping[str, Recipe], list_number: int, version_number: int) -> None:
    """Makes the snapshots of a version of a list, unless they are there, and deletes those of no more use.

    Raises:
        NotFound: no such list or version.
        Corrupt: the store is damaged.
        StoreFull, StoreFailed: the disk refused; nothing of it stays.
    """
    to = store.state / DIRECTORY
    try:
        to.mkdir(exist_ok=True, mode=0o700)
        with open(to / "build.lock", "wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for left in to.glob(f"{_DRAFT}*"):  # its builder was killed: it would have the lock
                shutil.rmtree(left, ignore_errors=True)
            with store.view() as view:
                record = _record(view, list_number)
                version = view.version(list_number, version_number)
            _build(store, record, version, recipes, to)
            _sweep(store, recipes, to)
    except OSError as e:
        raise failure(to, e) from e


def _record(view: ListView, list_number: int) -> ListRecord:
    for record in view.lists():
        if record.list_number == list_number:
            return record
    raise NotFound(f"there is no list number {list_number}")


def _build(
    store: ListStore, record: ListRecord, version: VersionRecord, recipes: Mapping[str, Recipe], to: Path
) -> None:
    if built(to, record, version, recipes):
        return
    wanted = searched(record, version, recipes)
    draft = Path(tempfile.mkdtemp(prefix=_DRAFT, dir=to))
    try:
        # Types lie one after the other in the store. The last of them ends the verification of all.
        keys = store.base_keys(record.list_number, version)
        done: set[str] = set()
        head = next(keys, None)
        while head is not None:
            of_type = _OfType(head, keys)
            fits(wanted.get(head[0]), record, head[1])
            if head[0] in wanted:
                done.add(head[0])
                _publish(store, record, version, wanted[head[0]], of_type, draft)
            head = of_type.rest()
        for name in wanted.keys() - done:
            _publish(store, record, version, wanted[name], iter(()), draft)
        for made in sorted(draft.iterdir()):
            snapshot.put_in_place(made, to / made.name)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


class _OfType:
    """The keys of one hash type, out of those of all; `rest` is the first of the next type."""

    def __init__(self, head: tuple[str, list[bytes]], keys: Iterator[tuple[str, list[bytes]]]) -> None:
        self._head: tuple[str, list[bytes]] | None = head
        self._name, self._keys = head[0], keys

    def __iter__(self) -> Iterator[list[bytes]]:
        while self._head is not None and self._head[0] == self._name:
            yield self._head[1]
            self._head = next(self._keys, None)

    def rest(self) -> tuple[str, list[bytes]] | None:
        for _ in self:
            pass
        return self._head


def _publish(
    store: ListStore,
    record: ListRecord,
    version: VersionRecord,
    recipe: Recipe,
    base: Iterator[list[bytes]] | _OfType,
    draft: Path,
) -> None:
    with store.view() as view:
        edits = view.latest_edits(record.list_number, version, recipe.hash_type) if version.lineage_edits else ()
        latest = {key: payload is not None for key, payload in edits}
    snapshot.publish(
        draft,
        identity(record, version, recipe),
        recipe.key_bytes,
        recipe.ceiling,
        _chunks(iter(base), latest),
        revision=record.revision,
    )


def _chunks(base: Iterator[list[bytes]], latest: Latest) -> Iterator[bytes]:
    """The keys that a version lists, joined, in ascending order."""
    if not latest:
        yield from (b"".join(keys) for keys in base)
        return
    added = [key for key, listed in latest.items() if listed]
    at = 0
    for keys in chain(base, [[]]):
        kept = [key for key in keys if key not in latest]
        end = at
        while end < len(added) and (not keys or added[end] < keys[-1]):
            end += 1
        yield b"".join(sorted(chain(kept, added[at:end])))
        at = end


def _sweep(store: ListStore, recipes: Mapping[str, Recipe], to: Path) -> None:
    """Deletes the snapshots of bases that are neither active, nor were before, nor are staged last."""
    keep: list[snapshot.Identity] = []
    with store.view() as view:
        for record in view.lists():
            versions = {record.active_version, record.last_version}
            if record.active_version:
                versions.add(view.version(record.list_number, record.active_version).activated_after)
            bases = {view.version(record.list_number, number).base for number in versions if number}
            kept: dict[int, int] = {}
            for number in snapshot_versions(to, record.list_number):
                if not 0 < number <= record.last_version:
                    continue
                version = view.version(record.list_number, number)
                kept[version.base] = kept.get(version.base, 0) + 1
                if version.base in bases and kept[version.base] <= KEPT_PER_BASE:
                    keep += [identity(record, version, r) for r in searched(record, version, recipes).values()]
    snapshot.sweep(to, keep)


def command(state: Path, recipes: Path | None, wanted: Wanted) -> list[str]:
    """What runs this in a process of its own."""
    own = [sys.executable, "-m", "hashmatch.builder", "--state", str(state), "--list-number", str(wanted.list_number)]
    override = ["--recipes", str(recipes)] if recipes else []
    return [*own, "--version", str(wanted.version), *override]


def main() -> int:
    """Builds what the command line names; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m hashmatch.builder", description="Build a version's snapshots.")
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--recipes", type=Path)
    parser.add_argument("--list-number", type=int, required=True)
    parser.add_argument("--version", type=int, required=True)
    args = parser.parse_args()
    os.nice(NICENESS)
    try:
        with closing(ListStore(args.state, readonly=True)) as store:
            build(store, load_recipes(args.recipes), args.list_number, args.version)
    except HashmatchError as e:
        print(e, file=sys.stderr)
        return e.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
