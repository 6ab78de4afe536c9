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
from hashmatch.store.list_tables import BASE_PREFIX, CANARY, REVISION, TOTALS_KEY, VERSION, entry_prefix
from hashmatch.store.lists import ListStep, ListStore, Row
from hashmatch.types import Revision
from hashmatch.v1.store_pb2 import ChangeRecord, EditRecord, EntryRecord, ListRecord, VersionRecord


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
    """A base of these rows, each type's canary among them marked as such."""
    for hash_type, of_type in rows.items():
        for value, _ in (row for row in of_type if row[1] == CANARY):
            record.canary_fingerprints[hash_type] = value
    record.last_version += 1
    number = record.last_version
    entries = {t: sum(payload != CANARY for _, payload in of_type) for t, of_type in rows.items()}
    version = VersionRecord(version=number, base=number, entries={t: n for t, n in entries.items() if n})
    version.root_digest = step.put_base(record.list_number, number, rows)
    step.put_version(record.list_number, version)
    step.finish(record, ChangeRecord(list=record.name))
    return version


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
        assert view.entry(1, 1, "pdq", b"x") is None
        assert list(view.scan(1, 1, "pdq")) == []
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
            assert view.verify_base(list_number, version) == packed
            for hash_type in ("md5", "pdq", "sha1"):
                scanned = b"".join(value for value, _ in view.scan(list_number, version.base, hash_type))
                assert scanned == packed.get(hash_type, b"")
                for value in sorted(base.get(hash_type, ())):
                    assert view.entry(list_number, version.base, hash_type, value).label == value.hex()
                    after = [v for v, _ in view.scan(list_number, version.base, hash_type, value)]
                    assert after == sorted(v for v in base[hash_type] if v > value)
                assert view.entry(list_number, version.base, hash_type, b"none") is None
    report = checked(store)
    assert (report.problems, report.checked["versions"]) == ([], len(bases))
    assert store.entry(*numbers[0][:1], 1, "md5", b"none") is None
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
    with store.step() as step:
        record = made(step, "a")
        base = based(step, record, {"md5": [(b"x" * 16, payload())]})
        for number in (2, 3, 4):
            parent = {2: 1, 3: 2, 4: 2}[number]
            edit = EditRecord(hash_type="md5", value=bytes([number]) * 16)
            step.put_version(
                1, VersionRecord(version=number, base=1, parent=parent, edit=edit, root_digest=base.root_digest)
            )
        record.last_version = 4
        step.finish(record, ChangeRecord(list="a"))
    with store.view() as view:
        assert [edit.value[0] for edit in view.edits(1, 4)] == [2, 4]
        assert [edit.value[0] for edit in view.edits(1, 3)] == [2, 3]
        assert list(view.edits(1, 1)) == []
        assert [version.version for version in view.versions(record)] == [4, 3, 2, 1]
        assert view.verify_base(1, view.version(1, 4)) == {"md5": b"x" * 16}
        for number in (0, 5):
            with pytest.raises(NotFound):
                view.version(1, number)


# ── what is missing or stale, though every row that is there is sound ───────────────────────────────────────────────


@pytest.fixture
def furnished(store: ListStore) -> ListStore:
    for name in ("a", "b"):
        with store.step() as step:
            record = made(step, name)
            based(step, record, {"md5": [(bytes([i]) * 16, payload()) for i in range(9)] + [(b"\xff" * 16, CANARY)]})
    return store


def _without(table: str, key: bytes) -> Callable[[ListStep], None]:
    return lambda step: step._txn.delete(key, db=step._env.table(table))


MISSING = {
    "a list": _without("lists", b"a"),
    "a list's number": _without("numbers", b"\0\0\0\1"),
    "a version": _without("versions", VERSION.pack(1, 1)),
    "a hash type": _without("types", b"md5"),
    "an entry": _without("entries", entry_prefix(1, 1, 1) + b"\3" * 16),
    "a canary": _without("entries", entry_prefix(1, 1, 1) + b"\xff" * 16),
    "a change": _without("changes", REVISION.pack(2)),
    "the last change": _without("changes", REVISION.pack(4)),
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
    key = entry_prefix(1, 1, 1) + b"\x77" * 16
    with furnished.env.write() as txn:
        txn.put(key, codec.seal(key, payload()), db=furnished.env.table("entries"))
    with furnished.view() as view, pytest.raises(Corrupt, match="root digest"):
        view.verify_base(1, view.version(1, 1))


def test_a_count_that_is_wrong_is_noticed(furnished: ListStore) -> None:
    with furnished.step() as step:
        version = step.version(1, 1)
        version.entries["md5"] += 1
        step.put_version(1, version)
    with furnished.view() as view, pytest.raises(Corrupt, match="add up"):
        view.verify_base(1, view.version(1, 1))


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
        list(view.scan(2, 1, "md5"))
