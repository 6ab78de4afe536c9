"""The life of a list beyond import and activation: two persons, tombstones, suppressions, reports, pages, histories."""

from __future__ import annotations

import errno
import io
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from hashmatch.errors import Malformed, NotFound, Refused, StoreFull
from hashmatch.lists import sorting
from hashmatch.lists.keeper import ListKeeper
from hashmatch.lists.report import MAX_SAMPLE
from hashmatch.store.check import Report, check_rows
from hashmatch.store.lists import ListStore
from hashmatch.types import Fingerprint
from hashmatch.v1 import lists_pb2

SOON = datetime.now(UTC) + timedelta(days=1)


@pytest.fixture
def careful(keeper: ListKeeper) -> lists_pb2.HashList:
    """A list that wants two persons."""
    return keeper.create("ours", policy=lists_pb2.Policy(two_person=True), by="ann")


# ── two persons ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_one_person_stages_another_activates(keeper: ListKeeper, careful, stage, hex_file, fingerprint) -> None:
    done = stage(hex_file([fingerprint(1)]), activate=True)
    assert (done.activated, done.version) == (False, 1)
    with pytest.raises(Refused, match="made by tests: this list wants another person"):
        keeper.activate("ours", by="tests")
    active = keeper.activate("ours", by="bob")
    assert (active.active_version, active.versions[0].activated_by) == (1, "bob")


def test_single_edits_wait_for_a_second_person_too(keeper: ListKeeper, careful, fingerprint, held, store) -> None:
    first = keeper.add("ours", fingerprint(1), reason="r", by="ann")
    assert (first.staged_version, keeper.get("ours").active_version) == (1, 0)
    keeper.activate("ours", 1, by="bob")
    second = keeper.add("ours", fingerprint(2), reason="r", by="ann")
    assert second.staged_version == 2
    assert held().keys() == {fingerprint(1)}
    keeper.activate("ours", 2, by="bob")
    removed = keeper.remove("ours", fingerprint(1), reason="r", by="bob")
    assert removed.staged_version == 3
    with store.view() as view:
        assert view.tombstones(1, "pdq") == set()  # it is not removed yet
    with pytest.raises(Refused):
        keeper.activate("ours", 3, by="bob")
    keeper.activate("ours", 3, by="ann")
    assert held().keys() == {fingerprint(2)}
    with store.view() as view:
        assert view.tombstones(1, "pdq") == {fingerprint(1).value}
    back = keeper.roll_back("ours", by="bob", approver="ann")  # and so does going back
    assert back.active_version == 2


# ── tombstones ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_was_removed_by_hand_stays_out_of_imports(
    keeper: ListKeeper, ours, stage, hex_file, fingerprint, held
) -> None:
    text = hex_file([fingerprint(i) for i in range(5)])
    stage(text, activate=True)
    keeper.remove("ours", fingerprint(2), reason="a logo", by="t")
    for merge in (False, True):
        again = stage(text, activate=True, merge=merge)
        assert (again.accepted, again.held_back, again.activated) == (4, 1, True)
        assert fingerprint(2) not in held()
    keeper.add("ours", fingerprint(2), reason="it was one after all", by="t")
    assert stage(text, activate=True).held_back == 0
    assert fingerprint(2) in held()


# ── what an import tells ────────────────────────────────────────────────────────────────────────────────────────────


def test_too_many_rejects_are_not_activated_unless_allowed(
    keeper: ListKeeper, ours, stage, hex_file, fingerprint
) -> None:
    text = hex_file([fingerprint(i) for i in range(20)]).decode() + "pdq 00\n" * 3
    done = stage(text)
    assert "3 of 23 rows were rejected, more than 1 %" in done.refusal
    assert keeper.get("ours").versions[0].refusal == done.refusal
    with pytest.raises(Refused, match="3 of 23 rows"):
        keeper.activate("ours", by="t")
    assert keeper.activate("ours", allow_rejects=True, by="t").active_version == 1
    for header in ({"max_rejected_permille": 200}, {"allow_rejects": True}):
        assert stage(
            text + f"# {header}",
            activate=True,
            allow_rejects=True,
            **{key: value for key, value in header.items() if key != "allow_rejects"},
        ).activated
    assert not stage(text, max_rejected_permille=200).refusal


def test_a_report_is_kept_with_its_version(keeper: ListKeeper, ours, stage, hex_file, fingerprint) -> None:
    text = hex_file([fingerprint(1), fingerprint(1)]).decode() + f"md5 {'0' * 32}\nmd5 abc\n"
    done = stage(text)
    assert (done.accepted, done.duplicates, done.rejected, done.poison) == (1, 1, 2, 1)
    kept = keeper.report("ours")
    assert (kept.version, kept.rejects, kept.poison, kept.format) == (1, done.rejects, 1, lists_pb2.IMPORT_FORMAT_HEX)
    keeper.add("ours", fingerprint(5), reason="r", by="t")
    assert keeper.report("ours").version == 1
    with pytest.raises(NotFound, match="no import"):
        keeper.report("ours", 2)


def test_near_duplicates_are_counted_among_a_sample(keeper: ListKeeper, ours, stage, hex_file, fingerprint) -> None:
    def near(number: int, bits: int) -> Fingerprint:
        value = np.unpackbits(np.frombuffer(fingerprint(number).value, np.uint8))
        value[:bits] ^= 1
        return Fingerprint("pdq", np.packbits(value).tobytes())

    alone = [fingerprint(i) for i in range(50)]
    done = stage(hex_file([*alone, near(3, 20), near(7, 31), near(9, 32)]), dry_run=True)
    assert (done.near_duplicates, done.near_duplicates_sampled) == (4, 53)
    assert stage(hex_file([fingerprint(i) for i in range(700)]), dry_run=True).near_duplicates_sampled == MAX_SAMPLE


def test_what_contradicts_a_benign_list_is_told(keeper: ListKeeper, ours, stage, hex_file, fingerprint) -> None:
    keeper.create("known", policy=lists_pb2.Policy(benign=True), by="t")
    stage(hex_file([fingerprint(i, "sha256") for i in range(40)]), name="known", activate=True)
    done = stage(hex_file([fingerprint(i, "sha256") for i in (3, 39, 99)]))
    ids = [keeper.entry_ids("ours", fingerprint(i, "sha256")) for i in (3, 39)]
    assert (done.benign_conflicts, sorted(done.benign_conflict_ids)) == (2, sorted(ids))
    keeper.activate("ours", by="t")
    many = stage(hex_file([fingerprint(i, "sha256") for i in range(30, 60)]), name="known")
    assert many.benign_conflicts == 1  # the other way round


def test_entries_say_where_they_are_from(keeper: ListKeeper, ours, stage, fingerprint) -> None:
    text = (
        "pdq,label,source,first_seen,last_seen,expires_at,notes\n"
        f"{fingerprint(1).value.hex()},A,hotline,2026-01-02,2026-03-04T05:06:07Z,2030-01-01,seen twice\n"
        f"{fingerprint(2).value.hex()},B,,,,,\n"
        f"{fingerprint(3).value.hex()},C,,yesterday,,,\n"
    )
    done = stage(text, form="csv", source="upload", activate=True, allow_rejects=True)
    assert [(reject.line, reject.why) for reject in done.rejects] == [(4, "first_seen: not a time as ISO 8601 has it")]
    first, second = sorted(keeper.export("ours"), key=lambda entry: entry.label)
    assert (first.source, second.source, first.notes) == ("hotline", "upload", "seen twice")
    assert first.expires_at.ToJsonString() == "2030-01-01T00:00:00Z"
    assert first.last_seen.ToJsonString() == "2026-03-04T05:06:07Z"
    assert (second.HasField("expires_at"), second.line, second.added_by) == (False, 3, "tests")


# ── opaque hash types ───────────────────────────────────────────────────────────────────────────────────────────────


def test_opaque_values_are_kept_compared_and_found_as_they_are(
    keeper: ListKeeper, ours, stage, held, store: ListStore
) -> None:
    long, other = bytes(range(256)) * 1000, bytes(range(255, -1, -1)) * 7
    text = f"tmk {'ab' * 3}\nnetclean {other.hex()}\n"
    done = stage(text, activate=True)
    assert (done.accepted, done.rejected) == (2, 0)
    assert {(f.hash_type, f.value) for f in held()} == {("tmk", b"\xab" * 3), ("netclean", other)}
    keeper.add("ours", Fingerprint("tmk", long), label="L", reason="r", by="t")
    (found,) = keeper.look_up(Fingerprint("tmk", long)).entries
    assert (found.entry.fingerprint.value, found.entry.label) == (long, "L")
    assert not keeper.look_up(Fingerprint("tmk", long[:-1])).entries
    with pytest.raises(Malformed, match="has no distance"):
        keeper.look_up(Fingerprint("tmk", long), 3)
    keeper.remove("ours", Fingerprint("tmk", long), reason="r", by="t")
    assert not keeper.look_up(Fingerprint("tmk", long)).entries
    exported = "".join(f"{e.fingerprint.hash_type} {e.fingerprint.value.hex()}\n" for e in keeper.export("ours"))
    assert stage(exported, dry_run=True).diff == lists_pb2.Diff(unchanged=2)
    report = Report()
    check_rows(report, store)
    assert report.problems == []


def test_types_without_a_recipe_are_taken_where_that_is_asked_for(keeper: ListKeeper, ours, stage, held) -> None:
    text = "newhash abcdef\n" * 1 + "newhash 0102\n"
    assert stage(text).rejected == 2
    done = stage(text, opaque=True, activate=True)
    assert (done.accepted, done.activated) == (2, True)
    assert {(f.hash_type, f.value) for f in held()} == {("newhash", b"\xab\xcd\xef"), ("newhash", b"\1\2")}
    assert keeper.look_up(Fingerprint("newhash", b"\1\2")).entries
    with pytest.raises(Malformed, match="unknown hash type"):
        keeper.look_up(Fingerprint("otherhash", b"\1\2"))


# ── suppressions ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_suppressions(keeper: ListKeeper, ours, fingerprint) -> None:
    entry = keeper.add("ours", fingerprint(1), reason="r", by="t").entry.entry_id
    done = keeper.suppress("ours", entry, reason="a logo", approver="bob", expires_at=SOON, by="ann")
    assert keeper.suppressions("ours") == keeper.suppressions() == [done.suppression]
    assert keeper.history("ours", entry).suppressions == [done.suppression]
    lifted = keeper.lift_suppression("ours", entry, reason="it is one", by="ann")
    assert lifted.revision == done.revision + 1
    assert keeper.suppressions() == []
    with pytest.raises(NotFound):
        keeper.lift_suppression("ours", entry, reason="again", by="ann")


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"reason": ""}, "reason"),
        ({"approver": ""}, "approver"),
        ({"expires_at": None}, "expires_at"),
        ({"expires_at": datetime.now(UTC) - timedelta(seconds=1)}, "expires_at"),
        ({"entry_id": "no id"}, "entry_id"),
    ],
)
def test_suppressions_that_are_refused(keeper: ListKeeper, ours, given: dict, field: str) -> None:
    asked = {"reason": "r", "approver": "bob", "expires_at": SOON, "entry_id": "a" * 16} | given
    with pytest.raises(Malformed) as refused:
        keeper.suppress("ours", asked.pop("entry_id"), by="ann", **asked)
    assert refused.value.field == field


def test_nobody_approves_his_own_suppression_where_two_are_wanted(keeper: ListKeeper, careful) -> None:
    with pytest.raises(Refused):
        keeper.suppress("ours", "a" * 16, reason="r", approver="ann", expires_at=SOON, by="ann")
    keeper.suppress("ours", "a" * 16, reason="r", approver="bob", expires_at=SOON, by="ann")


# ── looking closely ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_look_up_within_a_distance_finds_what_a_loop_finds(keeper: ListKeeper, stage, hex_file, fingerprint) -> None:
    rows = {name: [fingerprint(i) for i in range(at, at + 60)] for at, name in ((0, "one"), (50, "two"))}
    for name, some in rows.items():
        keeper.create(name, policy=lists_pb2.Policy(thresholds={"pdq": 0}), by="t")
        stage(hex_file(some), name=name, activate=True)
    wanted = int.from_bytes(fingerprint(55).value, "big")
    for within in (0, 90, 110, 256):
        found = keeper.look_up(fingerprint(55), within).entries
        expected = sorted(
            ((wanted ^ int.from_bytes(f.value, "big")).bit_count(), name, f.value)
            for name, some in rows.items()
            for f in some
            if (wanted ^ int.from_bytes(f.value, "big")).bit_count() <= within
        )
        assert sorted((e.distance, e.list, e.entry.fingerprint.value) for e in found) == expected
        assert [e.distance for e in found] == sorted(e.distance for e in found)


def test_browse_pages_through_what_filters_leave(keeper: ListKeeper, ours, stage, fingerprint) -> None:
    text = "hash_type,fingerprint,label,source\n" + "".join(
        f"{t},{fingerprint(i, t).value.hex()},{'AB'[i % 2]},{'xyz'[i % 3]}\n" for t in ("pdq", "md5") for i in range(30)
    )
    stage(text, form="csv", activate=True)
    everything = list(keeper.export("ours"))

    def browsed(size: int, **filters: object) -> list[lists_pb2.Entry]:
        asked, found = lists_pb2.BrowseEntriesRequest(name="ours", page_size=size, **filters), []
        while True:
            page = keeper.browse(asked)
            assert len(page.entries) <= size
            found += page.entries
            if not page.next_page:
                return found
            asked.page = page.next_page

    for size in (1, 7, 1000):
        assert browsed(size) == everything
        assert browsed(size, label="A") == [e for e in everything if e.label == "A"]
        assert browsed(size, label="B", source="x", hash_type="md5") == [
            e for e in everything if (e.label, e.source, e.fingerprint.hash_type) == ("B", "x", "md5")
        ]
    later = lists_pb2.BrowseEntriesRequest(name="ours")
    later.added_from.FromDatetime(datetime.now(UTC) + timedelta(minutes=1))
    assert not keeper.browse(later).entries
    later.ClearField("added_from")
    later.added_before.FromDatetime(datetime.now(UTC) + timedelta(minutes=1))
    assert len(keeper.browse(later).entries) == 60


def test_history(keeper: ListKeeper, ours, stage, hex_file, fingerprint) -> None:
    one = fingerprint(1)
    stage(hex_file([one, fingerprint(2)]), activate=True, origin="a.hex")
    keeper.remove("ours", one, reason="mistake", by="ann")
    keeper.add("ours", one, label="L", reason="no mistake", by="bob")
    found = keeper.history("ours", keeper.entry_ids("ours", one))
    assert [(e.what, e.version, e.by, e.reason) for e in found.events] == [
        ("listed", 1, "tests", ""), ("removed", 2, "ann", "mistake"), ("listed", 3, "bob", "no mistake"),
    ]  # fmt: skip
    assert (found.active, found.entry.label) == (True, "L")
    assert keeper.history("ours", one).events == found.events
    keeper.roll_back("ours", by="t")
    assert not keeper.history("ours", one).active
    with pytest.raises(NotFound):
        keeper.history("ours", fingerprint(9))


def test_a_list_that_is_not_refreshed_is_stale(
    keeper: ListKeeper, ours, stage, hex_file, fingerprint, monkeypatch
) -> None:
    keeper.set_policy("ours", lists_pb2.Policy(refresh_seconds=60), by="t")
    stage(hex_file([fingerprint(1)]), activate=True)
    assert not keeper.get("ours").stale
    later = datetime.now(UTC) + timedelta(seconds=125)
    monkeypatch.setattr("hashmatch.clock.now", lambda: later)
    assert keeper.get("ours").stale
    stage(hex_file([fingerprint(1)]), activate=True)
    assert not keeper.get("ours").stale


def test_an_import_leaves_nothing_beside_the_lists(
    keeper: ListKeeper, ours, store: ListStore, fingerprint, hex_file
) -> None:
    class Breaking(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > 5_000:
                raise Malformed("the upload was broken off", field="chunk")
            return super().read(min(size or 0, 4_000))

    header = lists_pb2.ImportHeader(name="ours", format=lists_pb2.IMPORT_FORMAT_HEX)
    with pytest.raises(Malformed):
        keeper.stage(header, Breaking(hex_file([fingerprint(i) for i in range(200)])), by="t")
    assert list((store.state / "lists" / "drafts").iterdir()) == []
    assert keeper.get("ours").versions == []


def test_a_full_disk_while_sorting_is_a_clear_error(
    keeper: ListKeeper, ours, store, fingerprint, hex_file, monkeypatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sorting, "SPILL_ROWS", 10)
    monkeypatch.setattr(sorting.marshal, "dump", full)
    header = lists_pb2.ImportHeader(name="ours", format=lists_pb2.IMPORT_FORMAT_HEX)
    with pytest.raises(StoreFull):
        keeper.stage(header, io.BytesIO(hex_file([fingerprint(i) for i in range(200)])), by="tests")
    assert list((store.state / "lists" / "drafts").iterdir()) == []
    assert keeper.get("ours").versions == []


def test_a_second_import_waits_for_the_first_or_is_told(
    keeper: ListKeeper, ours, store, stage, hex_file, fingerprint, monkeypatch
) -> None:
    text = hex_file([fingerprint(i) for i in range(20)])
    monkeypatch.setattr("hashmatch.store.lists.LOCK_SECONDS", 0.2)
    with store.writing_a_base(), pytest.raises(Refused, match="another import is being written"):
        stage(text, activate=True)
    assert keeper.get("ours").versions == []
    monkeypatch.setattr("hashmatch.store.lists.LOCK_SECONDS", 30.0)
    with ThreadPoolExecutor(1) as other:
        with store.writing_a_base():
            waiting = other.submit(stage, text, activate=True)
            time.sleep(0.3)
            assert not waiting.done()
            keeper.create("more", by="t")  # other changes go on meanwhile
        assert waiting.result(30).activated
