"""Settings that change while a server runs."""

from __future__ import annotations

import dataclasses
import os
from datetime import timedelta

import pytest

from hashmatch import config
from hashmatch.errors import BadConfig
from hashmatch.server.reload import RELOADABLE, Reloader
from hashmatch.setting_values import SECOND_LOOKS
from hashmatch.workflow import second_looks
from hashmatch.workflow.blind import DEADLINE
from hashmatch.workflow.double_review import SHARES, Sampling


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "hashmatch.toml"
    path.write_text("queue = 5\n")
    return path


def follow(file):
    def load():
        return config.load(file, {}, {}).settings

    applied = []
    return Reloader(load(), load, file), applied


def test_what_can_change_in_place_does_and_the_rest_waits(file, caplog):
    reloader, applied = follow(file)
    assert not reloader.changed()
    file.write_text("queue = 9\nworkers = 1\n# longer\n")
    assert reloader.changed()
    assert reloader.reload(applied.append) == "reloaded"
    assert not reloader.changed()
    assert [settings.queue for settings in applied] == [9]
    if os.cpu_count() != 1:
        assert "waiting for a restart: workers" in caplog.text
        assert applied[0].workers == os.cpu_count()
    assert reloader.reload(applied.append) == "unchanged"


@pytest.mark.parametrize("text", ["queue = 0\n", "nonsense", "wrong = 1\n"])
def test_a_file_that_is_wrong_changes_nothing_and_is_told(file, caplog, text):
    reloader, applied = follow(file)
    file.write_text(text)
    assert reloader.reload(applied.append) == "failed"
    assert applied == []
    assert "the old ones stay" in caplog.text
    file.unlink()
    assert reloader.reload(applied.append) == "failed"


def test_every_setting_that_can_change_is_one():
    assert {f.name for f in dataclasses.fields(config.Settings)} >= RELOADABLE


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"tls_key": "k"}, "given together"),
        ({"tls_client_ca": "c"}, "needs tls_certificate"),
        ({"listen": "10.0.0.1:5", "auth": "required"}, "needs TLS"),
        ({"listen": "10.0.0.1:5", "tls_certificate": "c", "tls_key": "k"}, "needs TLS"),
        ({"processes": 3, "workers": 2}, "needs a worker"),
    ],
)
def test_what_does_not_fit_together_is_refused(given, says):
    with pytest.raises(BadConfig, match=says):
        config.load(None, {}, given)


def test_second_looks_are_set_by_share_and_deadline(tmp_path):
    file = tmp_path / "hashmatch.toml"
    file.write_text("[second_looks]\nbase = 0.05\nT0 = 1\ncleared = 0.001\ndeadline_hours = 24\n")
    found = config.load(file, {}, {}).settings.second_looks
    assert found == {"base": 0.05, "T0": 1.0, "cleared": 0.001, "deadline_hours": 24.0}
    sampling, deadline = second_looks.of(found, bytes(16))
    assert sampling == Sampling(key=bytes(16), base=50, t0=1000, cleared=1)
    assert deadline == timedelta(hours=24)
    given = config.load(None, {"HASHMATCH_SECOND_LOOKS": "base=0.05, T0=1"}, {}).settings.second_looks
    assert given == {"base": 0.05, "T0": 1.0}
    assert second_looks.of({}, bytes(16)) == (Sampling(key=bytes(16)), DEADLINE)
    assert {name.lower() for name in SECOND_LOOKS} == {*SHARES, "deadline_hours"}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("base = 1.001", "base: want 0..1"), ("T1 = -0.1", "T1: want 0..1"), ("new_list = nan", "new_list: want 0..1"),
        ("high_impact = 0.0005", "in thousandths"), ("share = 0.1", "unknown: share"), ("base = true", "want a table"),
        ("deadline_hours = 0", "want 1..8760"), ("deadline_hours = nan", "want 1..8760"), ("base = 'x'", "could not"),
    ],
)  # fmt: skip
def test_second_looks_that_cannot_be_are_refused(tmp_path, given, says):
    file = tmp_path / "hashmatch.toml"
    file.write_text(f"[second_looks]\n{given}\n")
    with pytest.raises(BadConfig, match=says):
        config.load(file, {}, {})


def test_accounts_and_what_callers_are_told_by():
    environ = {"HASHMATCH_ACCOUNTS": "ann=analyst+detail,bob=approver", "HASHMATCH_KEY_FILE": "x", "HASHMATCH_CA": "y"}
    accounts = config.load(None, environ, {}).settings.accounts
    assert accounts == {"ann": ("analyst", "detail"), "bob": ("approver",)}
    with pytest.raises(BadConfig, match="unknown role 'boss'"):
        config.load(None, {"HASHMATCH_ACCOUNTS": "ann=boss"}, {})
