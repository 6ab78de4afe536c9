"""The table [paging]: everybody on the rota can be reached, and no secret is repeated."""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime

import pytest
from delivery.paging.services import posting, serving
from hypothesis import given, settings
from hypothesis import strategies as st

from hashmatch.delivery.paging.reaching import reach
from hashmatch.delivery.standard_webhooks import new_secret
from hashmatch.errors import BadConfig
from hashmatch.workflow.paging import drill, pages, raise_page, wording
from hashmatch.workflow.paging_settings import parse

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
SECRETS = {
    "pagerduty": "R0" + "0123456789abcde" * 2,
    "pagerduty-bo": "b" * 32,
    "opsgenie": "0c0ffee0-1111-2222-3333-444455556666",
    "opsgenie-bo": "0c0ffee0-1111-2222-3333-444455556667",
    "signing": "whsec_c2VjcmV0IG9mIHRoZSB0ZXN0cyBvbmx5ISE=",
    "smtp": "user\nhunter2",
}
TEXT = """
link = "https://console.example/cases/{case_id}"
[rota]
last_resort = "ana"
[[rota.shifts]]
name = "always"
begins = "00:00"
until = "00:00"
time_zone = "UTC"
primary = "ana"
secondary = "bo"
duty_manager = "cy"
[contacts.ana]
pagerduty_key_file = "HERE/pagerduty"
opsgenie_key_file = "HERE/opsgenie"
webhook = "https://localhost:WEB/ana"
webhook_secrets = "HERE/signing"
email = "ana@example.com"
[contacts.bo]
pagerduty_key_file = "HERE/pagerduty-bo"
[contacts.cy]
email = "cy@example.com"
[channels.email]
server = "localhost"
port = 25
from = "hashmatch@example.com"
login = "HERE/smtp"
allow = ["127.0.0.0/8", "::1/128"]
ca = "CA"
[channels.pagerduty]
url = "https://localhost:WEB/pagerduty"
allow = ["127.0.0.0/8", "::1/128"]
ca = "CA"
[channels.opsgenie]
url = "https://localhost:WEB/opsgenie"
allow = ["127.0.0.0/8", "::1/128"]
ca = "CA"
[channels.webhook]
allow = ["127.0.0.0/8", "::1/128"]
ca = "CA"
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    found = tmp_path_factory.mktemp("secrets")
    for name, text in SECRETS.items():
        (found / name).write_text(text + "\n")
        (found / name).chmod(0o600)
    (found / "open").write_text(SECRETS["pagerduty"])
    (found / "open").chmod(0o640)
    (found / "empty").write_text("\n")
    (found / "empty").chmod(0o600)
    return found


@pytest.fixture
def read(files, ca):
    def read_(text, web="443"):
        return tomllib.loads(text.replace("HERE", str(files)).replace("CA", str(ca)).replace("WEB", web))

    return read_


def test_everybody_is_reached_through_what_they_have(read, tls):
    with serving(tls) as service, posting(tls) as post:
        found = parse(read(TEXT.replace("port = 25", f"port = {post.port}"), str(service.port)))
        page = raise_page("pg_1", "c_1", 0, NOW)
        send = pages(page, found.rota, NOW).sends[0]
        assert reach(found.channels_of("ana"), found.note(page, send), every=True).by == (
            "pagerduty", "opsgenie", "webhook", "email",
        )  # fmt: skip
        assert reach(found.channels_of("bo"), found.note(page, send), every=True).by == ("pagerduty",)
        assert reach(found.channels_of("cy"), found.note(page, send), every=False).by == ("email",)
        found.close()
    assert {path for path, _, _ in service.asked} == {"/pagerduty", "/opsgenie/v2/alerts", "/ana"}
    assert len(post.mails) == 2
    assert all(wording(page).encode() in mail and b"https://console.example/cases/c_1" in mail for mail in post.mails)


def test_what_signs_a_webhook_is_exchanged_without_a_restart(read, files, tls):
    with serving(tls) as service, posting(tls) as post:
        exchanged = files / "exchanged"
        exchanged.touch(0o600)
        exchanged.write_text(new_secret())
        told = TEXT.replace("port = 25", f"port = {post.port}").replace("HERE/signing", "HERE/exchanged")
        found = parse(read(told, str(service.port)))
        page = raise_page("pg_1", "c_1", 0, NOW)
        send = pages(page, found.rota, NOW).sends[0]
        exchanged.write_text(f"{new_secret()}\n{new_secret()}\n")
        reach(found.channels_of("ana"), found.note(page, send), every=True)
        found.close()
    (signed,) = [headers for path, headers, _ in service.asked if path == "/ana"]
    signature = next(value for name, value in signed.items() if name.lower() == "webhook-signature")
    assert len(signature.split()) == 2


def test_a_note_is_the_page(read):
    found = parse(read(TEXT))
    for page in (raise_page("pg_1", "c_1", 1, NOW), drill("pg_2", "c_1", NOW)):
        for send in pages(page, found.rota, NOW).sends:
            note = found.note(page, send, round=2)
            assert (note.page_id, note.case_id, note.tier, note.drill) == (page.id, page.case_id, page.tier, page.drill)
            assert (note.text, note.round) == (wording(page), 2)
            assert note.url == "https://console.example/cases/c_1"
    found.close()


KINDS = {
    "pagerduty_key_file": "HERE/pagerduty",
    "opsgenie_key_file": "HERE/opsgenie",
    "webhook": "https://localhost/",
    "email": "x@example.com",
}
PEOPLE = ("ana", "bo", "cy", "dana")


@given(st.fixed_dictionaries({name: st.sets(st.sampled_from(sorted(KINDS)), max_size=2) for name in PEOPLE}))
@settings(max_examples=12, deadline=None)
def test_whoever_is_on_a_rota_that_was_read_has_a_channel(files, has):
    """Or the settings are refused, and name exactly those who have none."""
    contacts = {}
    for number, (person, kinds) in enumerate(has.items()):
        one = {kind: KINDS[kind].replace("HERE", str(files)) for kind in kinds}
        for kind in one.keys() & {"pagerduty_key_file", "opsgenie_key_file"}:  # nobody's is another's
            key = SECRETS[kind.removesuffix("_key_file")]
            file = files / f"{kind}-{number}"
            file.touch(0o600)
            file.write_text(key[:-1] + str(number))
            one[kind] = str(file)
        if "webhook" in one:
            one["webhook_secrets"] = str(files / "signing")
        contacts[person] = one
    rota = tomllib.loads(TEXT.replace('last_resort = "ana"', 'last_resort = "dana"'))["rota"]
    email = {"server": "localhost", "from": "hashmatch@example.com"}
    given_ = {"rota": rota, "contacts": contacts, "channels": {"email": email}}
    missing = sorted(person for person, kinds in has.items() if not kinds)
    if missing:
        with pytest.raises(BadConfig) as refused:
            parse(given_)
        assert str(refused.value) == f"contacts: nothing reaches {', '.join(missing)}"
        return
    found = parse(given_)
    order = ("pagerduty", "opsgenie", "webhook", "email")
    for person in found.rota.people:
        names = [channel.name for channel, _ in found.channels_of(person)]
        assert names == [name for name in order if {name, f"{name}_key_file"} & has[person]]
        assert names
    found.close()


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("link =", "lynk =", "lynk: unknown"),
        ("{case_id}", "{case}", "link: want an https URL"),
        ("https://console", "http://console", "link: want an https URL"),
        ("{case_id}", "{case_id}{case_id}", "link: want an https URL"),
        ("last_resort", "last_resource", "rota.last_resource: unknown"),
        ('last_resort = "ana"', 'last_resort = "dana"', "contacts: nothing reaches dana"),
        ("[contacts.bo]", "[contacts.bob]", "contacts: nothing reaches bo"),
        ("[contacts.cy]\nemail", "[contacts.cy]\ne-mail", "contacts.cy.e-mail: unknown"),
        ("cy@example.com", "cy@example.com, eve@example.com", "contacts.cy.email: want an address"),
        ("HERE/pagerduty-bo", "HERE/none", "contacts.bo.pagerduty_key_file: cannot read"),
        ("HERE/pagerduty-bo", "HERE/open", "chmod 600"),
        ("HERE/pagerduty-bo", "HERE/empty", "is empty"),
        ("HERE/pagerduty-bo", "HERE/smtp", "contacts.bo.pagerduty_key_file: want the integration key"),
        ("HERE/pagerduty-bo", "HERE/pagerduty", "contacts.bo.pagerduty_key_file: ana has the same key"),
        ("HERE/opsgenie", "HERE/smtp", "contacts.ana.opsgenie_key_file: want the key"),
        ("HERE/signing", "HERE/smtp", "contacts.ana.webhook_secrets: want whsec_"),
        ('webhook_secrets = "HERE/signing"', "", "contacts.ana.webhook: want both"),
        ("https://localhost:WEB/ana", "https://user:hunter2@localhost/", "contacts.ana.webhook: want an https URL"),
        ("https://localhost:WEB/ana", "http://localhost/hunter2", "contacts.ana.webhook: want an https URL"),
        ("https://localhost:WEB/ana", "https://[hunter2", "contacts.ana.webhook: want an https URL"),
        ('from = "hashmatch@example.com"', "", "channels.email.from: want a text"),
        ('server = "localhost"', 'server = "a b"', "channels.email.server: want the name of a host"),
        ("port = 25", "port = 0", "channels.email.port: want 1 to 65535"),
        ("port = 25", 'tls = "none"', "channels.email.tls: want starttls or implicit"),
        ("HERE/smtp", "HERE/signing", "channels.email.login: want two lines"),
        ("[channels.webhook]", '[channels.webhook]\nurl = "https://x.example"', "channels.webhook.url: unknown"),
        ("[channels.pagerduty]", "[channels.pigeon]", "channels.pigeon: unknown"),
        ('"127.0.0.0/8"', '"127.0.0.1/8"', "such as 10.1.0.0/16"),
        ('"CA"', '"HERE/none"', "cannot read the authority"),
    ],
)
def test_what_is_wrong_is_named_and_no_secret_is_repeated(read, old, new, says):
    with pytest.raises(BadConfig) as refused:
        parse(read(TEXT.replace(old, new)))
    assert says in str(refused.value)
    assert "hunter2" not in str(refused.value)
    assert not any(secret in str(refused.value) for secret in SECRETS.values())


def test_no_secret_is_shown(read):
    found = parse(read(TEXT))
    shown = repr(found) + "".join(repr(one) + repr(vars(one[0]).keys()) for one in found.channels_of("ana"))
    assert not any(secret in shown for secret in (*SECRETS.values(), "hunter2"))
    found.close()
