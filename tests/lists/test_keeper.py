"""What can be done with lists, and what is refused."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path

import pytest

from hashmatch.errors import Conflict, Corrupt, Malformed, NotFound, Refused
from hashmatch.examine import examine
from hashmatch.lists import staging
from hashmatch.lists.canary import MIN_QUALITY, SIDE, draw
from hashmatch.lists.keeper import ListKeeper
from hashmatch.store.lists import ListStore
from hashmatch.types import Fingerprint, Revision, Wanted
from hashmatch.v1 import common_pb2, lists_pb2
from hashmatch.v1.lists_pb2 import VERSION_STATE_ACTIVE, VERSION_STATE_KEPT, VERSION_STATE_STAGED

EMPTY_MD5 = "d41d8cd98f00b204e9800998ecf8427e"


def states(one: lists_pb2.HashList) -> dict[int, lists_pb2.VersionState.ValueType]:
    return {version.version: version.state for version in one.versions}


# ── lists and policies ──────────────────────────────────────────────────────────────────────────────────────────────


def test_create(keeper: ListKeeper) -> None:
    made = keeper.create(
        "iwf.images-2",
        operator=" IWF \n ",
        purpose="hotline",
        policy=lists_pb2.Policy(thresholds={"pdq": 48, "md5": 0}, variants=["nn512", "flips", "flips"]),
        by="ann",
    )
    assert (made.operator, made.purpose, made.revision, made.active_version) == ("IWF", "hotline", 1, 0)
    assert made.policy.disposition == common_pb2.DISPOSITION_REVIEW
    assert made.policy.variants == ["flips", "nn512"]
    assert keeper.get("iwf.images-2") == made
    assert list(keeper.all().lists) == [made]
    with pytest.raises(Conflict):
        keeper.create("iwf.images-2", by="bob")
    assert keeper.all().revision == 1


@pytest.mark.parametrize("name", ["", "A", "-a", ".a", "a" * 64, "a b", "ä", "a/b", "a\n", "a\0"])
def test_names_that_are_refused(keeper: ListKeeper, name: str) -> None:
    with pytest.raises(Malformed) as refused:
        keeper.create(name, by="tests")
    assert refused.value.field == "name"


@pytest.mark.parametrize(
    ("policy", "field"),
    [
        (lists_pb2.Policy(thresholds={"pdq": 49}), "policy.thresholds[pdq]"),
        (lists_pb2.Policy(thresholds={"md5": 1}), "policy.thresholds[md5]"),
        (lists_pb2.Policy(thresholds={"phash": 1}), "policy.thresholds[phash]"),
        (lists_pb2.Policy(thresholds={"crc": 0}), "policy.thresholds[crc]"),
        (lists_pb2.Policy(variants=["mirrors"]), "policy.variants"),
        (lists_pb2.Policy(disposition=9), "policy.disposition"),
    ],
)
def test_policies_that_are_refused(keeper: ListKeeper, ours: object, policy: lists_pb2.Policy, field: str) -> None:
    for change in (
        lambda: keeper.create("new", policy=policy, by="t"),
        lambda: keeper.set_policy("ours", policy, by="t"),
    ):
        with pytest.raises(Malformed) as refused:
            change()
        assert refused.value.field == field
    assert keeper.all().revision == 1


@pytest.mark.parametrize("field", ["operator", "purpose"])
@pytest.mark.parametrize("text", ["x" * 501, "bell\a", "\x1b[2J", "half \ud800"])
def test_texts_that_are_refused(keeper: ListKeeper, field: str, text: str) -> None:
    with pytest.raises(Malformed) as refused:
        keeper.create("new", **{field: text}, by="tests")
    assert refused.value.field == field


def test_set_policy(keeper: ListKeeper, store: ListStore, ours: object) -> None:
    policy = lists_pb2.Policy(thresholds={"pdq": 8}, disposition=common_pb2.DISPOSITION_BLOCK, shadow=True)
    changed = keeper.set_policy("ours", policy, reason="trial", by="ann")
    assert changed.policy == policy
    with store.view() as view:
        change = view.changes(Revision(1), 10)[0]
    assert (change.revision, change.list, change.by, change.reason, change.policy) == (
        2,
        "ours",
        "ann",
        "trial",
        policy,
    )


def test_unknown_lists(keeper: ListKeeper, stage) -> None:
    for call in (
        lambda: keeper.get("none"),
        lambda: keeper.diff("none"),
        lambda: keeper.export("none"),
        lambda: keeper.activate("none", by="t"),
        lambda: keeper.roll_back("none", by="t"),
        lambda: keeper.set_policy("none", lists_pb2.Policy(), by="t"),
        lambda: keeper.remove("none", "a" * 16, reason="r", by="t"),
        lambda: stage("", name="none"),
    ):
        with pytest.raises(NotFound):
            call()


# ── the canary ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_list_has_a_canary_of_its_own(keeper: ListKeeper, store: ListStore) -> None:
    for name in ("one", "two"):
        keeper.create(name, by="tests")
    with store.view() as view:
        one, two = view.lists()
    assert one.canary_media != two.canary_media
    assert dict(one.canary_fingerprints).keys() == {"pdq", "md5", "sha1", "sha256"}
    assert one.canary_fingerprints["sha256"] == hashlib.sha256(one.canary_media).digest()
    assert one.canary_fingerprints["pdq"] != two.canary_fingerprints["pdq"]


def test_canaries_hash_well() -> None:
    for seed in range(20):
        found = examine(draw(bytes([seed] * 32)), Wanted(("pdq", "phash", "dhash", "ahash", "whash", "colorhash")))
        assert (found.media_type, found.width, found.height) == ("image/png", SIDE, SIDE)
        assert not [u for u in found.unhashable if u.hash_type != "colorhash"]
        (pdq,) = [h for h in found.hashed if h.fingerprint.hash_type == "pdq"]
        assert pdq.quality is not None
        assert pdq.quality >= MIN_QUALITY


def test_the_canary_is_in_every_base_and_in_no_answer(
    keeper: ListKeeper, store: ListStore, ours: object, stage, hex_file, fingerprint, held
) -> None:
    with store.view() as view:
        record = view.list("ours")
    canary = {Fingerprint(t, value) for t, value in record.canary_fingerprints.items()}
    entries = [fingerprint(i) for i in range(50)]
    answer = stage(hex_file(entries), activate=True)
    keeper.add("ours", fingerprint(99), reason="r", by="t")
    merge = stage(hex_file([fingerprint(100, "md5")]), merge=True, activate=True)
    assert (answer.diff.added, merge.diff.unchanged, merge.diff.added) == (50, 51, 1)
    assert sum(keeper.get("ours").versions[-1].entries.values()) == 52
    assert not canary & held().keys()
    with store.view() as view:
        versions = [view.version(record.list_number, number) for number in (1, 2, 3)]
        for version in versions:
            for hash_type, value in record.canary_fingerprints.items():
                assert view.entry(record.list_number, version, hash_type, value).canary
    keys = {(hash_type, key) for hash_type, some in store.base_keys(record.list_number, versions[0]) for key in some}
    assert set(record.canary_fingerprints.items()) <= keys
    for one in canary:
        assert not keeper.look_up(one).entries
        with pytest.raises(NotFound):
            keeper.remove("ours", one, reason="r", by="t")
        with pytest.raises(NotFound):
            keeper.remove("ours", keeper.entry_ids("ours", one), reason="r", by="t")
        with pytest.raises(Conflict):
            keeper.add("ours", one, reason="r", by="t")
    rejected = stage(hex_file([*canary, fingerprint(1)]), dry_run=True)
    assert (rejected.accepted, rejected.rejected) == (1, 4)
    assert "canary" in rejected.rejects[0].why


# ── imports ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_import_stages_and_activation_swaps(
    keeper: ListKeeper, ours: object, stage, hex_file, fingerprint, held
) -> None:
    answer = stage(hex_file(fingerprint(i) for i in range(5)), origin="a.hex")
    assert (answer.version, answer.lines, answer.accepted, answer.activated, answer.revision) == (1, 5, 5, False, 2)
    assert states(keeper.get("ours")) == {1: VERSION_STATE_STAGED}
    with pytest.raises(Refused, match="no version"):
        keeper.export("ours")
    assert keeper.diff("ours").diff == lists_pb2.Diff(added=5)
    assert keeper.activate("ours", reason="checked", by="bob").active_version == 1
    assert held().keys() == {fingerprint(i) for i in range(5)}
    second = stage(hex_file(fingerprint(i) for i in range(3, 9)), activate=True)
    assert second.diff == lists_pb2.Diff(added=4, removed=3, unchanged=2)
    assert states(keeper.get("ours")) == {1: VERSION_STATE_KEPT, 2: VERSION_STATE_ACTIVE}
    assert keeper.diff("ours", 2, 1).diff == lists_pb2.Diff(added=3, removed=4, unchanged=2)
    assert held(version=1).keys() == {fingerprint(i) for i in range(5)}


def test_a_dry_run_keeps_nothing(
    keeper: ListKeeper, store: ListStore, ours: object, stage, hex_file, fingerprint
) -> None:
    mark = store.mark()
    answer = stage(hex_file([fingerprint(1)]), dry_run=True, activate=True)
    assert (answer.accepted, answer.diff.added, answer.version, answer.revision, answer.activated) == (
        1,
        1,
        0,
        0,
        False,
    )
    assert store.mark() == mark


def test_rejects_stop_activation_and_not_staging(
    keeper: ListKeeper, ours: object, stage, hex_file, fingerprint
) -> None:
    text = hex_file([fingerprint(1)]) + b"\nzz\n" + b"md5 " + EMPTY_MD5.encode() + b"\nphash 5555555555555555\nmd6 00\n"
    answer = stage(text, activate=True)
    assert [(reject.line, reject.why) for reject in answer.rejects] == [
        (3, "pdq: not hexadecimal, want 64 hexadecimal digits"),
        (4, "md5: the digest of the empty file, which would match every empty file"),
        (5, "phash: switched off in its recipe"),
        (6, "unknown hash type"),
    ]
    assert (answer.version, answer.accepted, answer.rejected, answer.activated) == (1, 1, 4, False)
    assert keeper.get("ours").active_version == 0
    assert stage(text, activate=True, allow_rejects=True).activated
    assert keeper.get("ours").active_version == 2


def test_a_file_of_nothing_stages_nothing(keeper: ListKeeper, store: ListStore, ours: object, stage) -> None:
    mark = store.mark()
    for text in ("", "# nothing\n", "zz\n"):
        answer = stage(text, activate=True, allow_rejects=True)
        assert (answer.version, answer.activated, answer.revision) == (0, False, 0)
    assert store.mark() == mark


def test_only_the_first_rejects_are_told(ours: object, stage) -> None:
    answer = stage("zz\n" * 1500, dry_run=True)
    assert (answer.rejected, len(answer.rejects), answer.rejects[-1].line) == (1500, 1000, 1000)


def test_the_first_of_equal_rows_wins(ours: object, stage, fingerprint, held, keeper: ListKeeper) -> None:
    value = fingerprint(1, "md5").value.hex()
    rows = f"md5,label\n{value},first\n{value.upper()},second\n{fingerprint(2, 'md5').value.hex()},\n{value},third\n"
    answer = stage(rows, form="csv", activate=True)
    assert (answer.accepted, answer.duplicates) == (2, 2)
    (entry,) = keeper.look_up(fingerprint(1, "md5")).entries
    assert (entry.entry.label, entry.entry.line) == ("first", 2)


def test_quality_and_labels_of_rows(ours: object, stage, fingerprint) -> None:
    rows = [
        (fingerprint(i).value.hex(), *rest)
        for i, rest in enumerate(((100, "ok"), (49, ""), ("x", ""), (80, "y" * 201)))
    ]
    text = "pdq,quality,label\n" + "".join(f"{value},{quality},{label}\n" for value, quality, label in rows)
    answer = stage(text, form="csv", dry_run=True)
    assert [(reject.line, reject.why) for reject in answer.rejects] == [
        (3, "pdq: quality 49, want at least 50"),
        (4, "pdq: quality is not a whole number 0..100"),
        (5, "label: 201 characters, at most 200"),
    ]
    bad = f"md5,label\n{fingerprint(1, 'md5').value.hex()},".encode() + b"caf\xe9\n"
    assert stage(bad, form="csv", dry_run=True).rejects[0].why == "label: holds bytes that are not text"


def test_rejects_never_repeat_a_fingerprint(ours: object, stage, fingerprint) -> None:
    value = fingerprint(5).value.hex()
    for text in (
        value[:-1],
        value + "00",
        f"{value} pdq",
        f"{value} {value} {value}",
        f"pdq {value}x",
        "x" + value[1:],
    ):
        answer = stage(text, dry_run=True)
        assert answer.rejected == 1
        assert value[2:12] not in str(answer)


@pytest.mark.parametrize(
    ("header", "field"),
    [
        ({"hash_type": "md6"}, "hash_type"),
        ({"columns": {"a": "md5"}}, "columns"),
        ({"origin": "x" * 501}, "origin"),
    ],
)
def test_headers_that_are_refused(ours: object, stage, header: dict, field: str) -> None:
    with pytest.raises(Malformed) as refused:
        stage("00", **header)
    assert refused.value.field == field


def test_a_format_must_be_named(keeper: ListKeeper, ours: object) -> None:
    with pytest.raises(Malformed) as refused:
        keeper.stage(lists_pb2.ImportHeader(name="ours"), None, by="t")
    assert refused.value.field == "format"


def test_merge_adds_and_relabels(keeper: ListKeeper, ours: object, stage, fingerprint, held) -> None:
    def rows(*labelled: tuple[int, str]) -> str:
        return "md5,label\n" + "".join(f"{fingerprint(i, 'md5').value.hex()},{label}\n" for i, label in labelled)

    stage(rows((1, "A"), (2, "B"), (3, "")), form="csv", activate=True, origin="first")
    answer = stage(rows((1, ""), (2, "C"), (3, "D"), (4, "")), form="csv", merge=True, activate=True, origin="second")
    assert answer.diff == lists_pb2.Diff(added=1, changed=2, unchanged=1)
    assert {f.value: label for f, (label, _) in held().items()} == {
        fingerprint(i, "md5").value: label for i, label in ((1, "A"), (2, "C"), (3, "D"), (4, ""))
    }
    assert keeper.get("ours").versions[-1].entries == {"md5": 4}


def test_merged_entries_keep_who_added_them(
    keeper: ListKeeper, store: ListStore, ours: object, stage, hex_file, fingerprint
) -> None:
    stage(hex_file([fingerprint(1)]), activate=True)
    keeper.add("ours", fingerprint(2), reason="case 7", by="ann")
    first = keeper.look_up(fingerprint(1)).entries[0].entry
    added = keeper.look_up(fingerprint(2)).entries[0].entry
    for _ in range(2):
        stage(hex_file([fingerprint(3), fingerprint(2)]), merge=True, activate=True)
        assert keeper.look_up(fingerprint(1)).entries[0].entry == first
        assert keeper.look_up(fingerprint(2)).entries[0].entry == added
    assert (added.added_by, added.reason, added.line) == ("ann", "case 7", 0)
    assert (first.added_by, first.line) == ("tests", 1)


def test_a_merge_onto_what_is_no_longer_active_is_refused(
    keeper: ListKeeper, ours: object, stage, hex_file, fingerprint, held
) -> None:
    stage(hex_file([fingerprint(1)]), activate=True)
    stage(hex_file([fingerprint(2)]), merge=True)
    keeper.add("ours", fingerprint(3), reason="urgent", by="ann")
    with pytest.raises(Refused, match="merged onto version 1"):
        keeper.activate("ours", 2, by="t")
    assert held().keys() == {fingerprint(1), fingerprint(3)}
    keeper.roll_back("ours", by="t")
    keeper.activate("ours", 2, by="t")
    assert held().keys() == {fingerprint(1), fingerprint(2)}


def test_a_merge_onto_nothing_is_not_a_replacement(
    keeper: ListKeeper, ours: object, stage, hex_file, fingerprint, held
) -> None:
    stage(hex_file([fingerprint(1)]), merge=True)
    stage(hex_file([fingerprint(2)]), merge=True)
    assert keeper.activate("ours", 1, by="t").active_version == 1
    keeper.add("ours", fingerprint(3), reason="urgent", by="ann")
    with pytest.raises(Refused, match="merged onto an empty list, and version 3 is active now"):
        keeper.activate("ours", 2, by="t")
    assert held().keys() == {fingerprint(1), fingerprint(3)}
    keeper.roll_back("ours", 1, by="t")
    assert held().keys() == {fingerprint(1)}


# ── activation and rolling back ─────────────────────────────────────────────────────────────────────────────────────


def test_rolling_back_steps_back(keeper: ListKeeper, ours: object, stage, hex_file, fingerprint) -> None:
    for i in range(3):
        stage(hex_file([fingerprint(i)]), activate=True)
    assert [keeper.roll_back("ours", by="t").active_version for _ in range(2)] == [2, 1]
    with pytest.raises(Refused, match="no version active before"):
        keeper.roll_back("ours", by="t")
    assert keeper.roll_back("ours", 3, by="t").active_version == 3
    with pytest.raises(Refused, match="active already"):
        keeper.roll_back("ours", 3, by="t")
    stage(hex_file([fingerprint(9)]))
    with pytest.raises(Refused, match="never active"):
        keeper.roll_back("ours", 4, by="t")
    with pytest.raises(NotFound):
        keeper.roll_back("ours", 5, by="t")


def test_what_was_staged_before_the_active_version_must_be_named(
    keeper: ListKeeper, ours: object, stage, hex_file, fingerprint
) -> None:
    stage(hex_file([fingerprint(1)]))
    stage(hex_file([fingerprint(2)]), activate=True)
    for call in (lambda: keeper.activate("ours", by="t"), lambda: keeper.diff("ours")):
        with pytest.raises(Refused, match="nothing staged since version 2"):
            call()
    assert keeper.activate("ours", 1, by="t").active_version == 1


def test_an_empty_list_has_nothing_to_roll_back(keeper: ListKeeper, ours: object) -> None:
    with pytest.raises(Refused):
        keeper.roll_back("ours", by="t")
    with pytest.raises(Refused):
        keeper.activate("ours", by="t")


# ── single entries ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_add_and_remove(keeper: ListKeeper, store: ListStore, ours: object, fingerprint, held) -> None:
    first = keeper.add("ours", fingerprint(1), label="A", source_id="s1", reason="case 1", by="ann")
    second = keeper.add("ours", fingerprint(2), reason="case 2", by="bob")
    assert (first.revision, second.revision) == (2, 3)
    assert (first.entry.label, first.entry.source_id, first.entry.reason, first.entry.added_by) == (
        "A",
        "s1",
        "case 1",
        "ann",
    )
    assert keeper.look_up(fingerprint(1)).entries[0].entry == first.entry
    with pytest.raises(Conflict, match=first.entry.entry_id):
        keeper.add("ours", fingerprint(1), reason="again", by="ann")
    removed = keeper.remove("ours", first.entry.entry_id, reason="false positive", by="bob")
    assert removed.entry == first.entry
    assert held() == {fingerprint(2): ("", "")}
    assert not keeper.look_up(fingerprint(1)).entries
    with pytest.raises(NotFound):
        keeper.remove("ours", fingerprint(1), reason="again", by="t")
    keeper.roll_back("ours", by="t")
    assert held().keys() == {fingerprint(1), fingerprint(2)}
    with store.view() as view:
        kinds = [(change.WhichOneof("change"), change.by) for change in view.changes(Revision(0), 10)]
    assert kinds == [
        ("created", "tests"),
        ("activated", "ann"),
        ("edited", "bob"),
        ("edited", "bob"),
        ("activated", "t"),
    ]


def test_an_entry_of_poor_quality_is_refused_as_an_import_of_it_is(
    keeper: ListKeeper, ours: object, fingerprint
) -> None:
    for quality, why in ((49, "quality 49, want at least 50"), (101, "want 0..100")):
        with pytest.raises(Malformed, match=why) as e:
            keeper.add("ours", fingerprint(1), quality=quality, reason="r", by="t")
        assert e.value.field == "fingerprint.quality"
    keeper.add("ours", fingerprint(1), quality=50, reason="r", by="t")
    keeper.add("ours", fingerprint(2, "md5"), quality=3, reason="md5 has none", by="t")


def test_single_entries_that_are_refused(keeper: ListKeeper, ours: object, fingerprint) -> None:
    for given, field in (
        (Fingerprint("pdq", b"\0" * 32), "fingerprint.value"),
        (Fingerprint("pdq", b"\x55" * 31), "fingerprint.value"),
        (Fingerprint("md5", bytes.fromhex(EMPTY_MD5)), "fingerprint.value"),
        (Fingerprint("phash", b"\x55" * 8), "fingerprint.value"),
        (Fingerprint("md6", b""), "fingerprint.hash_type"),
    ):
        with pytest.raises(Malformed) as refused:
            keeper.add("ours", given, reason="r", by="t")
        assert refused.value.field == field
    for call in (
        lambda: keeper.add("ours", fingerprint(1), reason=" ", by="t"),
        lambda: keeper.remove("ours", fingerprint(1), reason="", by="t"),
    ):
        with pytest.raises(Malformed) as refused:
            call()
        assert refused.value.field == "reason"
    for entry_id in ("", "short", "a" * 17, "1" * 16, "é" * 16):
        with pytest.raises(Malformed) as refused:
            keeper.remove("ours", entry_id, reason="r", by="t")
        assert refused.value.field == "entry_id"
    with pytest.raises(Malformed):
        keeper.look_up(Fingerprint("pdq", b"x" * 1000))


def test_edits_pile_up_to_a_new_base(
    keeper: ListKeeper, store: ListStore, ours: object, fingerprint, stage, hex_file, monkeypatch
) -> None:
    monkeypatch.setattr(staging, "FEW_EDITS", 3)
    stage(hex_file([fingerprint(i) for i in range(8)]), activate=True)
    for i in range(100, 104):
        keeper.add("ours", fingerprint(i), reason="r", by="t")

    def bases() -> list[int]:
        with store.view() as view:
            return [version.base for version in view.versions(view.list("ours"))][::-1]

    assert bases() == [1] * 5
    stage(hex_file([fingerprint(9)]), merge=True, activate=True)  # one edit more would still have its room
    assert bases() == [1] * 6
    stage(hex_file([fingerprint(i) for i in range(200, 203)]), merge=True, activate=True)
    assert bases() == [1] * 6 + [7]


def test_look_up_sees_every_active_list(keeper: ListKeeper, fingerprint, stage, hex_file) -> None:
    for name in ("one", "two", "three"):
        keeper.create(name, by="t")
    stage(hex_file([fingerprint(1), fingerprint(2)]), name="one", activate=True)
    stage(hex_file([fingerprint(1)]), name="two")
    keeper.add("three", fingerprint(1), label="L", reason="r", by="t")
    found = keeper.look_up(fingerprint(1))
    assert [(one.list, one.entry.label) for one in found.entries] == [("one", ""), ("three", "L")]
    assert found.revision == keeper.all().revision
    assert not keeper.look_up(fingerprint(3)).entries


# ── entry ids ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_ids_stay_and_tell_nothing(keeper: ListKeeper, store: ListStore, recipes, ours: object, fingerprint) -> None:
    one = keeper.add("ours", fingerprint(1), reason="r", by="t").entry.entry_id
    keeper.remove("ours", fingerprint(1), reason="r", by="t")
    assert keeper.add("ours", fingerprint(1), reason="r", by="t").entry.entry_id == one
    assert ListKeeper(store, recipes).entry_ids("ours", fingerprint(1)) == one
    assert len(one) == 16
    assert set(one) <= set("abcdefghijklmnopqrstuvwxyz234567")
    assert keeper.entry_ids("other", fingerprint(1)) != one
    key = store.state / "keys" / "entry-id.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert list(key.parent.iterdir()) == [key]


def test_another_key_is_found(store: ListStore, recipes, keeper: ListKeeper, ours: object, tmp_path: Path) -> None:
    key = store.state / "keys" / "entry-id.key"
    key.rename(tmp_path / "moved")
    with pytest.raises(Corrupt, match="restore it from a backup"):
        ListKeeper(store, recipes)
    assert not key.exists()
    key.write_bytes(b"x" * 32)
    with pytest.raises(Corrupt, match="not this state's"):
        ListKeeper(store, recipes)
    key.write_bytes(b"short")
    with pytest.raises(Corrupt, match="5 bytes"):
        ListKeeper(store, recipes)
    (tmp_path / "moved").rename(key)
    ListKeeper(store, recipes)


def test_exports_read_in_pages(
    keeper: ListKeeper, ours: object, stage, hex_file, fingerprint, monkeypatch, held
) -> None:
    monkeypatch.setattr("hashmatch.store.lists.PAGE_ROWS", 7)
    everything = {fingerprint(i, hash_type) for i in range(21) for hash_type in ("pdq", "md5")}
    stage(hex_file(everything), activate=True)
    for i in (3, 30):
        keeper.add("ours", fingerprint(100 + i), reason="r", by="t")
        keeper.remove("ours", fingerprint(i % 21), reason="r", by="t")
    exported = [e.fingerprint for e in keeper.export("ours")]
    assert held().keys() == (everything - {fingerprint(3), fingerprint(9)}) | {fingerprint(103), fingerprint(130)}
    assert exported == sorted(exported, key=lambda f: (f.hash_type, f.value))
