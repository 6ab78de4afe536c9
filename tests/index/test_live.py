"""What is served while lists change, snapshots are built, damaged and deleted."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from hashmatch.builder import DIRECTORY
from hashmatch.errors import BadConfig, Corrupt
from hashmatch.index import bases, snapshot
from hashmatch.lists import staging
from hashmatch.types import Fingerprint, Hashed


def test_nothing_is_served_before_every_list_can_be_searched(followed) -> None:
    followed.stage("large", range(200))
    followed.stage("other", range(300, 310))
    assert followed.refresh() is None
    assert (
        "list 'large' cannot be searched before the snapshot of version 1 (200 entries) is built"
        in followed.live.waiting()
    )
    followed.build()
    generation = followed.refresh()
    assert generation is not None
    assert generation.revision == followed.keeper.all().revision
    assert (followed.found(7, "large"), followed.found(305, "other"), followed.found(305, "large")) == (
        True,
        True,
        False,
    )
    assert followed.live.wanted == ()


def test_a_list_that_waits_is_served_as_it_was_and_holds_nobody_up(followed, monkeypatch) -> None:
    monkeypatch.setattr(staging, "FEW_EDITS", 5)
    followed.stage("large", range(100))
    followed.stage("other", range(300, 310))
    followed.refresh()
    followed.build()
    before = followed.refresh().revision
    followed.stage("large", range(1000, 1200))
    followed.keeper.add("other", followed.fingerprint(400), reason="r", by="t")
    generation = followed.refresh()
    # The other list has moved on; the revision has not, since one list is not there yet.
    assert (followed.found(7, "large"), followed.found(1007, "large"), followed.found(400, "other")) == (
        True,
        False,
        True,
    )
    assert generation.revision == before
    assert [wanted.name for wanted in followed.live.wanted] == ["large"]
    followed.build()
    generation = followed.refresh()
    assert (followed.found(7, "large"), followed.found(1007, "large")) == (False, True)
    assert generation.revision == followed.keeper.all().revision


def test_what_is_staged_is_built_before_it_is_activated(followed, monkeypatch) -> None:
    monkeypatch.setattr(staging, "FEW_EDITS", 5)
    followed.stage("large", range(100))
    followed.refresh()
    followed.build()
    followed.stage("large", range(1000, 1200), activate=False)
    followed.refresh()
    assert "can be activated at once after" in followed.live.wanted[0].why
    followed.build()
    followed.refresh()
    followed.keeper.activate("large", by="t")
    followed.refresh()
    assert followed.live.wanted == ()
    assert followed.found(1007, "large")
    followed.keeper.roll_back("large", by="t")
    followed.refresh()
    assert followed.live.wanted == ()  # the one before is kept
    assert followed.found(7, "large")


def test_edits_go_into_the_delta_and_hide_at_once(followed) -> None:
    followed.stage("large", range(200))
    followed.refresh()
    followed.build()
    followed.refresh()
    base = followed.live.generation.segments["large"].parts["pdq"].base
    followed.keeper.add("large", followed.fingerprint(900), reason="r", by="t")
    followed.keeper.remove("large", followed.fingerprint(3), reason="r", by="t")
    older = followed.live.generation
    followed.refresh()
    assert (followed.found(900, "large"), followed.found(3, "large")) == (True, False)
    assert followed.live.generation.segments["large"].parts["pdq"].base is base
    # A search that began before goes on in what it began with.
    segment = older.segments["large"]
    assert len(segment.parts["pdq"]) == 201
    followed.keeper.roll_back("large", by="t")
    followed.refresh()
    assert (followed.found(900, "large"), followed.found(3, "large")) == (True, True)


def test_a_grown_delta_is_folded_into_a_new_base(followed, monkeypatch) -> None:
    monkeypatch.setattr(bases, "FOLD_ROWS", 10)
    followed.stage("large", range(200))
    followed.refresh()
    followed.build()
    for number in range(900, 912):
        followed.keeper.add("large", followed.fingerprint(number), reason="r", by="t")
        followed.refresh()
    assert "is searched more slowly until" in followed.live.wanted[0].why
    followed.build()
    followed.refresh()
    part = followed.live.generation.segments["large"].parts["pdq"]
    assert (part.delta.size, len(part)) == (0, 213)
    assert followed.live.wanted == ()
    assert followed.found(905, "large")


@pytest.mark.parametrize("name", [snapshot.ROWS, snapshot.MANIFEST])
def test_a_damaged_snapshot_is_told_of_and_built_again(followed, name: str, caplog) -> None:
    followed.stage("large", range(200))
    followed.refresh()
    followed.build()
    followed.refresh()
    for file in (followed.state / DIRECTORY).glob(f"*-pdq-*/{name}"):
        content = bytearray(file.read_bytes())
        content[100] ^= 1
        file.unlink()
        file.write_bytes(content)
    followed.live = followed.opened()
    with caplog.at_level(logging.ERROR):
        assert followed.refresh() is None
    assert "a snapshot of list 'large' is not used and will be built again" in caplog.text
    assert followed.live.waiting()
    followed.build()
    followed.refresh()
    assert followed.found(7, "large")


def test_a_snapshot_of_older_recipes_is_not_used(followed) -> None:
    followed.stage("large", range(200))
    followed.refresh()
    followed.build()
    followed.refresh()
    followed.recipes = {**followed.recipes, "pdq": replace(followed.recipes["pdq"], ceiling=40)}
    followed.live = followed.opened()
    assert followed.refresh() is None
    followed.build()
    followed.refresh()
    assert followed.found(7, "large")


def test_a_snapshot_that_does_not_cover_its_list_is_never_served(followed, monkeypatch) -> None:
    followed.stage("large", range(200))
    followed.refresh()
    followed.build()

    def short(directory: Path, of: snapshot.Identity, **_: object) -> object:
        found = loaded(directory, of)
        if found is not None and of.hash_type == "pdq":
            found.rows = found.rows[:-1]
        return found

    loaded = snapshot.load
    monkeypatch.setattr(snapshot, "load", short)
    with pytest.raises(Corrupt, match=r"200 entries of pdq and 199|201"):
        followed.refresh()


def test_suppressions_and_expiry_come_with_the_generation(followed) -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    added = followed.keeper.add("other", followed.fingerprint(1), reason="r", expires_at=soon, by="t")
    entry_id = added.entry.entry_id
    followed.keeper.suppress("other", entry_id, reason="a logo", approver="bob", expires_at=soon, by="ann")
    generation = followed.refresh()
    assert generation.suppressions["other", entry_id].reason == "a logo"
    (candidate,), _ = generation.search([Hashed(followed.fingerprint(1))], [generation.segments["other"]])
    assert (candidate.entry_id, candidate.expires_at) == (entry_id, soon)
    followed.keeper.lift_suppression("other", entry_id, reason="it is one", by="ann")
    assert followed.refresh().suppressions == {}


def test_a_recipe_that_does_not_fit_what_was_imported_is_refused(followed) -> None:
    followed.keeper.add("other", Fingerprint("tmk", b"x" * 99), reason="r", by="t")
    followed.refresh()
    followed.recipes = {**followed.recipes, "tmk": replace(followed.recipes["tmk"], value_bytes=8)}
    followed.live = followed.opened()
    with pytest.raises(BadConfig, match="the recipe of tmk is about values of 8 bytes, and list 'other'"):
        followed.refresh()
