"""Settings: which source wins, what is refused, and that every value knows where it came from."""

from __future__ import annotations

import dataclasses

import pytest

from hashmatch import config
from hashmatch.cli import main, options
from hashmatch.errors import BadConfig


@pytest.fixture
def file(tmp_path):
    def write(text):
        path = tmp_path / "hashmatch.toml"
        path.write_text(text)
        return path

    return write


def test_later_sources_win_and_each_value_says_where_it_came_from(file):
    path = file("workers = 3\nqueue = 5\npoll_ms = 50\n")
    loaded = config.load(path, {"HASHMATCH_QUEUE": "6", "HASHMATCH_POLL_MS": "60", "PATH": "x"}, {"poll_ms": 70})
    assert (loaded.settings.workers, loaded.settings.queue, loaded.settings.poll_ms) == (3, 6, 70)
    assert loaded.origins["workers"] == str(path)
    assert loaded.origins["queue"] == "HASHMATCH_QUEUE"
    assert loaded.origins["poll_ms"] == "--poll-ms"
    assert loaded.origins["listen"] == "built in"


@pytest.mark.parametrize(
    ("text", "environ", "says"),
    [
        ("wrokers = 3", {}, "unknown setting 'wrokers'"),
        ("", {"HASHMATCH_WROKERS": "3"}, "HASHMATCH_WROKERS: unknown setting"),
        ("workers = 0", {}, r"workers = 0: want a whole number 1\.\.256"),
        ("workers = true", {}, "workers = True"),
        ("workers = 2.5", {}, "workers = 2.5"),
        ("walls = 'some'", {}, "want one of required, available"),
        ("listen = '0.0.0.0:5'", {}, "needs TLS and authentication"),
        ("listen = 'example.org:5'", {}, "want an IP address or localhost"),
        ("listen = '127.0.0.1'", {}, "want HOST:PORT"),
        ("log_no_match = 'maybe'", {}, "want true or false"),
        ("workers = ", {}, "hashmatch.toml"),
    ],
)
def test_what_cannot_be_is_refused_with_its_name_and_source(file, text, environ, says):
    with pytest.raises(BadConfig, match=says):
        config.load(file(text), environ, {})


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(BadConfig, match=r"nothing\.toml: No such file"):
        config.load(tmp_path / "nothing.toml", {}, {})


def test_every_built_in_value_is_one_that_could_be_given():
    for field in dataclasses.fields(config.Settings):
        if field.default not in (None, dataclasses.MISSING):
            assert field.metadata["parse"](field.default) == field.default, field.name
        assert field.metadata["help"]


def test_every_verb_reads_the_file_that_a_variable_names(file, monkeypatch, tmp_path):
    named = file(f'state = "{tmp_path / "elsewhere"}"\n')
    monkeypatch.setenv("HASHMATCH_CONFIG", str(named))
    monkeypatch.delenv("HASHMATCH_STATE", raising=False)
    parsed = main.parser().parse_args(["status"])
    assert options.loaded(parsed).settings.state == tmp_path / "elsewhere"
    monkeypatch.setenv("HASHMATCH_CONFIG", str(tmp_path / "none.toml"))
    with pytest.raises(BadConfig, match=r"none\.toml"):
        options.loaded(parsed)
