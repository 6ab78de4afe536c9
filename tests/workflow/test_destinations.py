"""The file of destinations: what is wrong is named, and no secret is repeated."""

from __future__ import annotations

import pytest

from hashmatch.delivery.cybertip.terms import Environment
from hashmatch.delivery.standard_webhooks import new_secret
from hashmatch.errors import BadConfig
from hashmatch.workflow.destinations import Routes, load


@pytest.fixture
def write(tmp_path):
    for name, text in (("secrets", new_secret()), ("ncmec", "user\nhunter2")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o600)

    def written(text):
        file = tmp_path / "workflow.toml"
        file.write_text(text.replace("HERE", str(tmp_path)))
        return file

    return written


PLATFORM = '[[destination]]\nname = "platform"\nurl = "https://platform.example/"\nsecrets = "HERE/secrets"\n'
REPORTING = '[reporting]\ncredentials = "HERE/ncmec"\ncompany = "Example"\nemail = "reports@example.com"\n'


def test_without_a_file_nothing_is_sent():
    assert load(None).routes == Routes({})


def test_what_is_written_is_what_goes_where(write):
    other = PLATFORM.replace('"platform"', '"pages"') + 'verbs = ["page"]\n'
    found = load(write(PLATFORM + other + REPORTING))
    assert list(found.routes.route("page")) == ["platform", "pages"]
    assert list(found.routes.route("restrict")) == ["platform"]
    assert found.routes.environment is Environment.TEST
    assert Routes.from_json(found.routes.to_json()) == found.routes
    assert Routes.from_json(b"") == Routes({})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("= =", "workflow.toml"),
        ("[[destinations]]", "unknown: destinations"),
        (PLATFORM + 'color = "red"\n', "destination platform: color: unknown"),
        (PLATFORM + PLATFORM, "two destinations have one name"),
        (PLATFORM.replace('"platform"', '"lists"'), "hashmatch's own"),
        (PLATFORM.replace('"platform"', '"a b"'), "name: want letters"),
        (PLATFORM.replace("https", "ftp"), "url: want an https URL"),
        (PLATFORM.replace("HERE/secrets", "HERE/none"), "secrets: cannot read"),
        (PLATFORM + 'verbs = ["explode"]\n', "verbs: want some of restrict"),
        (PLATFORM + 'allow = ["10.0.0.1/8"]\n', "such as 10.1.0.0/16"),
        (PLATFORM + 'confirms = "yes"\n', "confirms: want true or false"),
        (REPORTING + 'environment = "live"\n', "reporting: environment: want test or production"),
        (REPORTING + 'environment = "production"\nurl = "http://127.0.0.1/"\n', "only the test environment"),
        (REPORTING.replace("HERE/ncmec", "HERE/secrets"), "credentials: want two lines"),
        (REPORTING.replace("reports@example.com", "nobody"), "email"),
        (REPORTING + "surprise = 1\n", "reporting: surprise: unknown"),
    ],
)
def test_what_is_wrong_is_named(write, tmp_path, text, says):
    with pytest.raises(BadConfig) as refused:
        load(write(text))
    assert says in str(refused.value)
    assert (tmp_path / "secrets").read_text() not in str(refused.value)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(("name", "text"), [("secrets", PLATFORM), ("ncmec", REPORTING)])
def test_secrets_that_others_may_read_are_refused(write, tmp_path, name, text):
    (tmp_path / name).chmod(0o644)
    with pytest.raises(BadConfig, match="chmod 600"):
        load(write(text))
