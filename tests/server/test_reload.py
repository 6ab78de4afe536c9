"""Settings that change while a server runs."""

from __future__ import annotations

import dataclasses
import os

import pytest

from hashmatch import config
from hashmatch.errors import BadConfig
from hashmatch.server.reload import RELOADABLE, Reloader


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


def test_accounts_and_what_callers_are_told_by():
    environ = {"HASHMATCH_ACCOUNTS": "ann=analyst+detail,bob=approver", "HASHMATCH_KEY_FILE": "x", "HASHMATCH_CA": "y"}
    accounts = config.load(None, environ, {}).settings.accounts
    assert accounts == {"ann": ("analyst", "detail"), "bob": ("approver",)}
    with pytest.raises(BadConfig, match="unknown role 'boss'"):
        config.load(None, {"HASHMATCH_ACCOUNTS": "ann=boss"}, {})
