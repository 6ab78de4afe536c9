"""Hash types beyond PDQ, switched on by a recipe alone: hashed behind the walls, listed, matched, covered."""

from __future__ import annotations

from pathlib import Path

import pytest
from pictures import draw, encoded, jpeg, png

from hashmatch.client import Finding

PACKAGED = Path(__file__).parents[2] / "indexes"
TYPES = ("phash", "dhash", "ahash", "whash", "colorhash")


@pytest.fixture(scope="module")
def server(shared, tmp_path_factory):
    """A server whose recipes switch every imagehash type on, over one list of picture 1."""
    recipes = tmp_path_factory.mktemp("recipes")
    for name in TYPES:
        text = (PACKAGED / f"{name}.toml").read_text()
        assert "enabled = false" in text
        (recipes / f"{name}.toml").write_text(text.replace("enabled = false", "enabled = true"))
    shared.environ["HASHMATCH_RECIPES"] = str(recipes)
    listed = tmp_path_factory.mktemp("listed") / "1.png"
    listed.write_bytes(png(1))
    lines = shared.run("hash", "--type", ",".join(TYPES), listed)
    assert {line.split()[0] for line in lines.splitlines()} == set(TYPES)
    shared.run("lists", "create", "known", "--threshold", "phash=6")
    shared.run("lists", "import", "known", "-", "--activate", given=lines)
    shared.serve("--workers", "1")
    return shared


def test_an_edited_copy_matches_by_every_type_and_a_stranger_by_none(server):
    with server.client(timeout=30) as client:
        copy = client.match(png(1))
        assert {m.hash_type for m in copy.matches} == set(TYPES)
        assert copy.coverage.entries == dict.fromkeys(TYPES, 1)
        edited = client.match(jpeg(1, quality=85))
        assert {"phash", "dhash"} <= {m.hash_type for m in edited.matches}
        assert next(m.threshold for m in edited.matches if m.hash_type == "phash") == 6
        stranger = client.match(encoded(draw(77), "WEBP"))
        assert stranger.finding == Finding.FINDING_NO_MATCH or {m.hash_type for m in stranger.matches} == {"colorhash"}


def test_a_hash_type_that_is_switched_off_is_refused_by_name(server):
    del server.environ["HASHMATCH_RECIPES"]
    server.run("lists", "create", "other", "--threshold", "phash=6", expect=65)
    assert "policy.thresholds[phash]" in server.stderr
