"""The file of destinations: what is wrong is named, and no secret is repeated."""

from __future__ import annotations

import sys

import pytest
import trustme
from delivery.buses import credentials_file, user_key

from hashmatch.delivery.cybertip.terms import Environment
from hashmatch.delivery.standard_webhooks import new_secret
from hashmatch.errors import BadConfig
from hashmatch.workflow.destinations import Routes, load

SEED = user_key(1).seed


@pytest.fixture
def write(tmp_path):
    files = {
        "secrets": new_secret(), "ncmec": "user\nhunter2", "nkey": SEED, "creds": credentials_file("a.b.c", SEED),
        "key.pem": trustme.CA().issue_cert("hashmatch.example").private_key_and_cert_chain_pem.bytes().decode(),
    }  # fmt: skip
    for name, text in files.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o600)

    def written(text):
        file = tmp_path / "workflow.toml"
        file.write_text(text.replace("HERE", str(tmp_path)))
        return file

    return written


PLATFORM = '[[destination]]\nname = "platform"\nurl = "https://platform.example/"\nsecrets = "HERE/secrets"\n'
NATS = '[[destination]]\nname = "bus"\nkind = "nats"\nservers = ["tls://nats.example"]\nstream = "HASHMATCH"\n'
KAFKA = '[[destination]]\nname = "topic"\nkind = "kafka"\nbrokers = ["kafka.example:9093"]\ntopic = "hashmatch"\n'
SASL = 'sasl = "HERE/ncmec"\n'
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


def test_a_destination_is_confirmed_by_the_key_that_it_names(write):
    routes = load(write(PLATFORM + 'caller = "app"\n' + PLATFORM.replace('"platform"', '"other"'))).routes
    assert Routes.from_json(routes.to_json()).may_confirm("platform", "app")
    assert not routes.may_confirm("platform", "another")
    assert routes.may_confirm("other", "another")


def test_every_kind_of_destination_is_opened_as_it_was_written(write):
    nats = NATS + 'credentials = "HERE/creds"\nverbs = ["page"]\nsubject = "ours.{verb}"\n'
    kafka = KAFKA + SASL + 'cert = "HERE/key.pem"\nkey = "HERE/key.pem"\nconfirms = false\n'
    found = load(write(PLATFORM + nats + kafka)).endpoints
    assert [(one.name, one.confirms, len(one.verbs) == 1) for one in found] == [
        ("platform", True, False), ("bus", True, True), ("topic", False, False),
    ]  # fmt: skip
    assert SEED not in repr(found)
    assert "hunter2" not in repr(found)
    opened = [one.opened() for one in found]
    assert [(type(one).__name__, one.name) for one in opened] == [
        ("Webhook", "platform"), ("JetStream", "bus"), ("Kafka", "topic"),
    ]  # fmt: skip
    for one in opened:
        one.close()


@pytest.mark.parametrize(("library", "text"), [("nats", NATS), ("kafka", KAFKA)])
def test_a_kind_whose_library_is_missing_says_which_extra_has_it(write, monkeypatch, library, text):
    for name in ("nats.aio.client", "nats.errors", "confluent_kafka"):
        monkeypatch.setitem(sys.modules, name, None)
    for name in ("jetstream", "kafka"):
        monkeypatch.delitem(sys.modules, f"hashmatch.delivery.{name}", raising=False)
    with pytest.raises(BadConfig, match=rf"destination .*: kind {library} needs .*'hashmatch\[{library}\]'"):
        load(write(text))
    assert load(write(PLATFORM)).endpoints


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
        (PLATFORM + 'kind = "smoke"\n', "platform: kind: want one of webhook, nats, kafka"),
        (PLATFORM + 'topic = "t"\n', "platform: topic: unknown to a webhook"),
        (NATS + 'url = "https://platform.example/"\n', "bus: url: unknown to a nats; known: allow, ca, caller"),
        (NATS.replace("tls://", "http://"), "bus: servers: http://nats.example: want tls://HOST:PORT"),
        (NATS.replace('["tls://nats.example"]', "[]"), "bus: servers: must be given"),
        (NATS.replace("HASHMATCH", "H.M"), "bus: stream: want letters"),
        (NATS + 'subject = "all.>"\n', "bus: subject: want words"),
        (NATS + 'nkey = "HERE/ncmec"\n', "bus: nkey: want the seed of a user"),
        (NATS + 'credentials = "HERE/nkey"\n', "bus: credentials: want a credentials file"),
        (NATS + 'nkey = "HERE/nkey"\ncredentials = "HERE/creds"\n', "bus: nkey: want credentials or nkey"),
        (NATS + 'ca = "HERE/none.pem"\n', "bus: cannot read the authority"),
        (KAFKA + 'stream = "HASHMATCH"\n', "topic: stream: unknown to a kafka"),
        (KAFKA.replace("kafka.example:9093", "a,b"), "topic: brokers: a,b: want HOST:PORT"),
        (KAFKA.replace('"hashmatch"', '"a b"'), "topic: topic: want letters"),
        (KAFKA + SASL + 'mechanism = "GSSAPI"\n', "topic: mechanism: want one of SCRAM-SHA-512"),
        (KAFKA + 'mechanism = "PLAIN"\n', "topic: mechanism: only with sasl"),
        (KAFKA + SASL + 'mechanism = "PLAIN"\ntls = false\n', "topic: a password goes in clear with PLAIN"),
        (KAFKA + 'sasl = "HERE/secrets"\n', "topic: sasl: want two lines"),
        (KAFKA + 'cert = "HERE/key.pem"\n', "topic: cert: want cert and key"),
        (KAFKA + 'cert = "HERE/ncmec"\nkey = "HERE/ncmec"\n', "topic: cannot read the authority or the certificate"),
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
    assert SEED not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("secrets", PLATFORM), ("ncmec", REPORTING), ("nkey", NATS + 'nkey = "HERE/nkey"'),
        ("creds", NATS + 'credentials = "HERE/creds"'), ("ncmec", KAFKA + SASL),
        ("key.pem", KAFKA + 'cert = "HERE/key.pem"\nkey = "HERE/key.pem"'),
    ],
)  # fmt: skip
def test_secrets_that_others_may_read_are_refused(write, tmp_path, name, text):
    (tmp_path / name).chmod(0o644)
    with pytest.raises(BadConfig, match="chmod 600"):
        load(write(text))
