"""Views and steps: what is read is what was written, whole."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashmatch.errors import BadConfig, Corrupt, NotFound, Refused
from hashmatch.store import codec
from hashmatch.store.check import Report, check_rows
from hashmatch.store.list_tables import (
    BASE_PREFIX,
    CANARY,
    REVISION,
    TOTALS_KEY,
    VERSION,
    entry_prefix,
    lineage,
)
from hashmatch.store.lists import Edit, ListStep, ListStore, Row
from hashmatch.types import Revision
from hashmatch.v1.store_pb2 import ChangeRecord, EntryRecord, ListRecord, TombstoneRecord, VersionRecord


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ListStore]:
    store = ListStore(tmp_path)
    yield store
    store.close()


def made(step: ListStep, name: str) -> ListRecord:
    record = ListRecord(name=name, list_number=step.new_list_number())
    change = ChangeRecord(list=name)
    change.created.CopyFrom(record)
    step.finish(record, change)
    return record


def based(step: ListStep, record: ListRecord, rows: dict[str, list[Row]]) -> VersionRecord:
    """A base of these rows, each type's canary among them marked as such, written in the step of its version."""
    for hash_type, of_type in rows.items():
        for value, _ in (row for row in of_type if row[1] == CANARY):
            record.canary_fingerprints[hash_type] = value
    record.last_version += 1
    number = record.last_version
    entries = {t: sum(payload != CANARY for _, payload in of_type) for t, of_type in rows.items()}
    version = VersionRecord(version=number, entries={t: n for t, n in entries.items() if n})
    version.base, version.root_digest = step.put_base(record.list_number, rows)
    step.put_version(record.list_number, version)
    step.finish(record, ChangeRecord(list=record.name))
    return version


def edited(step: ListStep, record: ListRecord, parent: VersionRecord, *edits: Edit) -> VersionRecord:
    """A version that is these edits on another."""
    record.last_version += 1
    version = VersionRecord(version=record.last_version, entries=parent.entries)
    step.put_edits(record.list_number, version, parent, edits)
    step.put_version(record.list_number, version)
    step.finish(record, ChangeRecord(list=record.name))
    return version


def keys(store: ListStore, list_number: int, version: VersionRecord) -> dict[str, bytes]:
    """The keys of a base, joined, once all of it was verified."""
    found: dict[str, bytes] = {}
    for hash_type, some in store.base_keys(list_number, version):
        found[hash_type] = found.get(hash_type, b"") + b"".join(some)
    return found


def checked(store: ListStore) -> Report:
    report = Report()
    check_rows(report, store)
    return report


def payload(label: str = "", line: int = 0) -> bytes:
    return EntryRecord(label=label, line=line).SerializeToString()


def test_an_empty_store(store: ListStore) -> None:
    with store.view() as view:
        assert (view.revision, view.lists(), view.changes(Revision(0), 10)) == (0, [], [])
        with pytest.raises(NotFound):
            view.list("none")
        assert view.entry(1, VersionRecord(base=1), "pdq", b"x") is None
        assert list(view.rows(1, VersionRecord(base=1), "pdq")) == []
        assert (view.drafts(), view.suppressions(1), view.hash_types()) == ([], [], frozenset())
    assert checked(store) == Report(checked={"lists": 0})


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(BadConfig):
        ListStore(tmp_path / "none", readonly=True)


def test_lists_and_changes(store: ListStore) -> None:
    mark = store.mark()
    for name in ("b", "a", "c"):
        with store.step() as step:
            made(step, name)
    assert store.mark() > mark
    with store.view() as view:
        assert [(r.name, r.list_number, r.revision) for r in view.lists()] == [("a", 2, 2), ("b", 1, 1), ("c", 3, 3)]
        assert [c.created.name for c in view.changes(Revision(0), 10)] == ["b", "a", "c"]
        assert [c.revision for c in view.changes(Revision(1), 1)] == [2]
        assert list(view.changes(Revision(3), 10)) == list(view.changes(Revision(9), 10)) == []


def test_a_step_that_raises_never_was(store: ListStore) -> None:
    with pytest.raises(RuntimeError), store.step() as step:
        record = made(step, "a")
        based(step, record, {"md5": [(b"x" * 16, b"")]})
        raise RuntimeError
    with store.view() as view:
        assert (view.revision, view.lists()) == (0, [])


def test_a_view_stays_as_it_is(store: ListStore) -> None:
    with store.step() as step:
        made(step, "a")
    with store.view() as view:
        with store.step() as step:
            made(step, "b")
        assert view.revision == 1
        assert [record.name for record in view.lists()] == ["a"]


def test_writers_wait_their_turn(store: ListStore) -> None:
    def work(number: int) -> None:
        for i in range(5):
            with store.step() as step:
                made(step, f"{number}.{i}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with store.view() as view:
        assert (view.revision, len(view.lists())) == (20, 20)


values = st.sets(st.binary(min_size=4, max_size=4), max_size=40)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(["md5", "pdq", "sha1"]), values, max_size=3), min_size=1, max_size=4))
def test_bases_hold_what_was_put(tmp_path_factory: pytest.TempPathFactory, bases: list[dict[str, set[bytes]]]) -> None:
    store = ListStore(tmp_path_factory.mktemp("state"))
    with store.step() as step:
        records = [made(step, "a"), made(step, "b")]
    numbers = []
    for i, base in enumerate(bases):  # in turn, so that later bases lie between earlier ones
        with store.step() as step:
            record = step.list("ab"[i % 2])
            rows = {t: [(v, payload(v.hex())) for v in sorted(of_type)] for t, of_type in base.items()}
            numbers.append((records[i % 2].list_number, based(step, record, rows)))
    with store.view() as view:
        for (list_number, version), base in zip(numbers, bases, strict=True):
            packed = {t: b"".join(sorted(of_type)) for t, of_type in base.items() if of_type}
            assert keys(store, list_number, version) == packed
            for hash_type in ("md5", "pdq", "sha1"):
                scanned = b"".join(value for value, _ in view.rows(list_number, version, hash_type))
                assert scanned == packed.get(hash_type, b"")
                for value in sorted(base.get(hash_type, ())):
                    assert view.entry(list_number, version, hash_type, value).label == value.hex()
                    after = [v for v, _ in view.rows(list_number, version, hash_type, value)]
                    assert after == sorted(v for v in base[hash_type] if v > value)
                assert view.entry(list_number, version, hash_type, b"none") is None
    report = checked(store)
    assert (report.problems, report.checked["versions"]) == ([], len(bases))
    assert store.entry(*numbers[0], "md5", b"none") is None
    store.close()


@pytest.mark.parametrize("rows", [[b"b", b"a"], [b"a", b"a"], [b"a", b"c", b"b"]])
def test_rows_out_of_order_are_refused(store: ListStore, rows: list[bytes]) -> None:
    with pytest.raises(Refused), store.step() as step:
        based(step, made(step, "a"), {"md5": [(value, b"") for value in rows]})
    with store.step() as step:
        first = made(step, "a")
        based(step, made(step, "b"), {"md5": [(b"z", b"")]})
    with pytest.raises(Refused), store.step() as step:
        based(step, first, {"md5": [(b"a", b""), (b"a", b"")]})


def test_edits_lead_from_the_base(store: ListStore) -> None:
    x, two, three, four = (bytes([number]) * 16 for number in (120, 2, 3, 4))
    with store.step() as step:
        record = made(step, "a")
        base = based(step, record, {"md5": [(x, payload("x"))]})
        second = edited(step, record, base, Edit("md5", two, payload("two")))
        third = edited(step, record, second, Edit("md5", three, payload()), Edit("md5", two, None))
        fourth = edited(step, record, second, Edit("md5", four, payload()), Edit("md5", x, payload("again")))
    with store.view() as view:
        held = {
            version.version: {key: EntryRecord.FromString(p).label for key, p in view.rows(1, version, "md5")}
            for version in (base, second, third, fourth)
        }
        assert held == {
            1: {x: "x"},
            2: {two: "two", x: "x"},
            3: {three: "", x: "x"},
            4: {two: "two", four: "", x: "again"},
        }
        for version in (base, second, third, fourth):
            for key in (x, two, three, four):
                entry = view.entry(1, version, "md5", key)
                assert (None if entry is None else entry.label) == held[version.version].get(key)
            assert view.base_version(1, version) == base
        assert [lineage(version) for version in (base, second, third, fourth)] == [[], [2], [2, 3], [2, 4]]
        assert view.edits(1, base) == []
        assert [(edit.key, edit.payload is None) for edit in view.edits(1, third)] == [(two, True), (three, False)]
        across = {edit.key: edit.payload is not None for edit in view.differing(1, third, fourth)}
        assert across == {two: True, three: False, four: True, x: True}
        assert [version.version for version in view.versions(record)] == [4, 3, 2, 1]
        for number in (0, 5):
            with pytest.raises(NotFound):
                view.version(1, number)
    assert keys(store, 1, fourth) == {"md5": x}
    report = checked(store)
    assert (report.problems, report.checked["edits"]) == ([], 5)


def test_a_draft_is_nobodys_until_it_is_a_version(store: ListStore) -> None:
    with store.step() as step:
        record = made(step, "a")
    rows = {"md5": [(number.to_bytes(16, "big"), payload()) for number in range(1000)]}
    told: list[int] = []
    with store.writing_a_base():
        base, _ = store.write_base(record.list_number, rows, told.append)
    assert sum(told) == 1000
    assert checked(store).problems == []  # the next import deletes it
    with store.view() as view:
        assert [(draft.list_number, draft.base) for draft in view.drafts()] == [(1, base)]
    with store.writing_a_base():
        with store.view() as view:
            assert view.drafts() == []
        assert store.env.table("entries") is not None
    with store.env.read() as txn:
        assert txn.stat(store.env.table("entries"))["entries"] == 0


def test_what_was_removed_by_hand_is_remembered(store: ListStore) -> None:
    with store.step() as step:
        record = made(step, "a")
        step.put_tombstone(1, "md5", b"x" * 16, TombstoneRecord(by="ann", reason="r"))
        step.put_tombstone(1, "pdq", b"y" * 32, TombstoneRecord(by="ann"))
        step.finish(record, ChangeRecord(list="a"))
    with store.view() as view:
        assert view.tombstone(1, "md5", b"x" * 16).reason == "r"
        assert (view.tombstones(1, "md5"), view.tombstones(2, "md5")) == ({b"x" * 16}, set())
    with store.step() as step:
        step.drop_tombstone(1, "md5", b"x" * 16)
    with store.view() as view:
        assert (view.tombstone(1, "md5", b"x" * 16), view.tombstones(1, "pdq")) == (None, {b"y" * 32})


# ── what is missing or stale, though every row that is there is sound ───────────────────────────────────────────────


@pytest.fixture
def furnished(store: ListStore) -> ListStore:
    for name in ("a", "b"):
        with store.step() as step:
            record = made(step, name)
            rows = [(bytes([i]) * 16, payload()) for i in range(9)] + [(b"\xff" * 16, CANARY)]
            base = based(step, record, {"md5": rows})
        with store.step() as step:
            edited(step, step.list(name), base, Edit("md5", b"\x77" * 16, payload()), Edit("md5", b"\3" * 16, None))
    return store


def first_version(store: ListStore) -> VersionRecord:
    with store.view() as view:
        return view.version(1, 1)


def _without(table: str, key: bytes) -> Callable[[ListStep], None]:
    return lambda step: step._txn.delete(key, db=step._env.table(table))


MISSING = {
    "a list": _without("lists", b"a"),
    "a list's number": _without("numbers", b"\0\0\0\1"),
    "a version": _without("versions", VERSION.pack(1, 1)),
    "a hash type": _without("types", b"md5"),
    "an entry": _without("entries", entry_prefix(1, 1, 1) + b"\3" * 16),
    "a canary": _without("entries", entry_prefix(1, 1, 1) + b"\xff" * 16),
    "an edit": _without("edits", entry_prefix(1, 2, 1) + b"\3" * 16),
    "what an edit touched": _without("touched", entry_prefix(1, 1, 1) + b"\3" * 16 + b"\0\0\0\2"),
    "a change": _without("changes", REVISION.pack(2)),
    "the last change": _without("changes", REVISION.pack(6)),
    "the totals": _without("totals", TOTALS_KEY),
}


@pytest.mark.parametrize("what", MISSING)
def test_a_missing_row_is_missed(furnished: ListStore, what: str) -> None:
    with furnished.step() as step:
        MISSING[what](step)
    assert checked(furnished).problems


@pytest.mark.parametrize("table", ["lists", "totals"])
def test_an_older_copy_of_a_table_is_noticed(furnished: ListStore, table: str) -> None:
    key = {"lists": b"b", "totals": TOTALS_KEY}[table]
    with furnished.env.read() as txn:
        old = txn.get(key, db=furnished.env.table(table))
    with furnished.step() as step:
        step.finish(step.list("b"), ChangeRecord(list="b"))
    with furnished.env.write() as txn:
        txn.put(key, old, db=furnished.env.table(table))
    assert checked(furnished).problems


def test_an_entry_too_many_is_noticed(furnished: ListStore) -> None:
    key = entry_prefix(1, 1, 1) + b"\x66" * 16
    with furnished.env.write() as txn:
        txn.put(key, codec.seal(key, payload()), db=furnished.env.table("entries"))
    with pytest.raises(Corrupt, match="root digest"):
        keys(furnished, 1, first_version(furnished))


def test_a_count_that_is_wrong_is_noticed(furnished: ListStore) -> None:
    with furnished.step() as step:
        version = step.version(1, 1)
        version.entries["md5"] += 1
        step.put_version(1, version)
    with pytest.raises(Corrupt, match="add up"):
        keys(furnished, 1, first_version(furnished))


def test_rows_of_another_base_are_not_taken(furnished: ListStore) -> None:
    chance = random.Random(1)
    with furnished.env.read() as txn:
        cursor = txn.cursor(furnished.env.table("entries"))
        pairs = list(cursor.iternext())
    key, value = chance.choice([(k, v) for k, v in pairs if k[:BASE_PREFIX] == VERSION.pack(1, 1)])
    moved = VERSION.pack(2, 1) + key[BASE_PREFIX:]
    with furnished.env.write() as txn:
        txn.put(moved, value, db=furnished.env.table("entries"))
    with furnished.view() as view, pytest.raises(Corrupt, match="damaged"):
        list(view.rows(2, VersionRecord(base=1), "md5"))
