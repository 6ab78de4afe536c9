"""PagerDuty, Opsgenie and webhooks, over real TLS: what they are told, and what their answers mean."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from delivery.paging.services import HERE, HOST, SECONDS, here, note, serving
from standardwebhooks import Webhook as Reference

from hashmatch.delivery.addresses import Egress
from hashmatch.delivery.dispatch import NotTaken, RefusedForGood
from hashmatch.delivery.guarded_http import GuardedHttp
from hashmatch.delivery.paging.opsgenie import Opsgenie
from hashmatch.delivery.paging.pagerduty import PagerDuty, routing_key
from hashmatch.delivery.paging.webhook import Hook, Webhook
from hashmatch.delivery.standard_webhooks import Secret
from hashmatch.errors import Malformed

ROUTING, BO_ROUTING = "R0" + "0123456789abcde" * 2, "b" * 32
GENIE = "0c0ffee0-1111-2222-3333-444455556666"
SIGNING = "whsec_" + "c2VjcmV0IG9mIHRoZSB0ZXN0cyBvbmx5ISE="
SECRETS = (ROUTING, GENIE, SIGNING.removeprefix("whsec_"))
NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


@pytest.fixture
def service(tls):
    with serving(tls) as found:
        yield found


def channel(kind, service, ca, **options):
    http = {"egress": HERE, "ca": ca, "resolver": here, "seconds": 5.0} | options.get("http", {})

    def opened(url):
        return GuardedHttp(url, **http)

    host = options.get("host", HOST)
    url, now = f"https://{host}:{service.port}", options.get("now", lambda: datetime.now(UTC))
    if kind == "pagerduty":
        return PagerDuty(opened(f"{url}/v2/enqueue"), {"ana": ROUTING, "bo": BO_ROUTING}, now=now)
    if kind == "opsgenie":
        return Opsgenie(opened, {"ana": GENIE, "bo": GENIE}, base=url, now=now)
    hooks = {person: Hook(opened(f"{url}/{person}"), [Secret(SIGNING)]) for person in ("ana", "bo")}
    return Webhook(hooks, now=now)


@pytest.fixture(params=["pagerduty", "opsgenie", "webhook"])
def kind(request):
    return request.param


def send(kind, service, ca, told=None, **options):
    found = channel(kind, service, ca, **options)
    try:
        found.send(told or note())
    finally:
        found.close()


def test_pagerduty_is_told_as_its_api_has_it(service, ca):
    found = channel("pagerduty", service, ca)
    found.send(note(tier=2, url="https://console.example/cases/c_1"))
    found.resolve(note(tier=2))
    found.close()
    (path, headers, opened), (_, _, closed) = service.asked
    assert path == "/v2/enqueue"
    assert headers["content-type"] == "application/json"
    assert opened == {
        "routing_key": ROUTING,
        "event_action": "trigger",
        "dedup_key": "pg_1",
        "payload": {
            "summary": "T0 case c_1",
            "severity": "warning",
            "source": "hashmatch",
            "custom_details": {"case_id": "c_1", "tier": 2, "drill": False},
        },
        "client": "hashmatch",
        "links": [{"href": "https://console.example/cases/c_1", "text": "the case"}],
    }
    assert closed == {"routing_key": ROUTING, "event_action": "resolve", "dedup_key": "pg_1"}


def test_opsgenie_is_told_as_its_api_has_it(service, ca):
    found = channel("opsgenie", service, ca)
    told = note(tier=1, text="T1 case " + "c" * 200, url="https://console.example/cases/c_1")
    found.send(told)
    found.resolve(told)
    found.close()
    (path, headers, opened), (closing, closing_headers, _) = service.asked
    assert (path, headers["authorization"]) == ("/v2/alerts", f"GenieKey {GENIE}")
    assert opened["message"] == told.text[:130]
    assert opened["description"] == f"{told.text}\nhttps://console.example/cases/c_1"
    assert opened["priority"] == "P2"
    assert closing == f"/v2/alerts/{opened['alias']}/close?identifierType=alias"
    assert closing_headers["authorization"] == f"GenieKey {GENIE}"


def test_a_webhook_is_signed_as_another_implementation_verifies(service, ca):
    send("webhook", service, ca, note(drill=True))
    path, headers, told = service.asked[0]
    assert path == "/ana"
    Reference(SIGNING).verify(json.dumps(told, separators=(",", ":")), {k.lower(): v for k, v in headers.items()})
    assert told == {
        "type": "hashmatch.page",
        "page_id": "pg_1",
        "case_id": "c_1",
        "tier": 0,
        "drill": True,
        "text": "T0 case c_1",
        "to": "ana",
    }


def test_a_repeat_is_told_by_the_same_key_and_another_person_by_another(kind, service, ca):
    """Opsgenie's aliases are of a whole account, and two persons may share an endpoint; PagerDuty's are of one key."""

    def key(number):
        _, headers, told = service.asked[number]
        if kind == "pagerduty":
            return told["routing_key"], told["dedup_key"]
        return told["alias"] if kind == "opsgenie" else headers["webhook-id"]

    for told in (note(), note(), note(to="bo"), note(page_id="pg_2")):
        send(kind, service, ca, told)
    assert key(0) == key(1)
    assert len({key(1), key(2), key(3)}) == 3


def test_what_differs_between_two_pages_is_their_ids(kind, service, ca):
    """The same request, once the ids of one page are put in place of the other's: nothing else goes in."""
    ids = {"page_id": "pg_first", "case_id": "c_first"}, {"page_id": "pg_other", "case_id": "c_other"}
    for one in ids:
        send(kind, service, ca, note(**one, text=f"T0 case {one['case_id']} (page {one['page_id']})"))
    first, other = (json.dumps(body) for body in service.told)
    if kind == "opsgenie":
        first, other = (text.replace(json.loads(text)["alias"], "ALIAS") for text in (first, other))
    for name in ("page_id", "case_id"):
        first = first.replace(ids[0][name], ids[1][name])
    assert first == other


@pytest.mark.parametrize(
    ("status", "headers", "kind_of_error", "after"),
    [
        (400, {}, RefusedForGood, None),
        (422, {}, RefusedForGood, None),
        (410, {}, RefusedForGood, None),
        (401, {}, NotTaken, None),  # somebody may put the key right
        (429, {"retry-after": "17"}, NotTaken, 17.0),
        (429, {"retry-after": format_datetime(NOW + timedelta(seconds=90))}, NotTaken, 90.0),
        (429, {"retry-after": "soon"}, NotTaken, None),
        (503, {"retry-after": "99999999999"}, NotTaken, 3600.0),
        (500, {}, NotTaken, None),
        (307, {"location": "https://elsewhere.example/"}, NotTaken, None),
    ],
)
def test_what_an_answer_means(kind, service, ca, status, headers, kind_of_error, after):
    service.status, service.headers, service.body = status, headers, ROUTING.encode()
    with pytest.raises(kind_of_error) as refused:
        send(kind, service, ca, now=lambda: NOW)
    assert str(refused.value) == f"answered {status}"
    assert getattr(refused.value, "retry_after", None) == after
    assert len(service.asked) == 1  # nothing was followed


@pytest.mark.parametrize("named", ["pagerduty", "opsgenie"])
def test_a_page_of_something_in_between_is_no_acceptance(named, service, ca):
    service.status, service.body = 200, b"<html>welcome to the network of this hotel</html>"
    with pytest.raises(NotTaken, match="answered 200"):
        send(named, service, ca)


def echo(handler, body):
    """Lies: what it was told, headers and all, where a status should be."""
    handler.wfile.write(body + str(handler.headers).replace("\n", " ").encode() + b"\r\n\r\n")


@pytest.mark.parametrize("lie", [echo, lambda handler, _body: handler.wfile.write(b"HTTP/1.1 202 \xff\xff")])
def test_what_a_liar_says_is_not_repeated(kind, service, ca, lie):
    service.raw = lie
    with pytest.raises(NotTaken) as refused:
        send(kind, service, ca)
    assert str(refused.value) == "what answers speaks no HTTP"
    assert not any(secret in str(refused.value) for secret in SECRETS)


def test_who_hangs_is_cut_off(kind, service, ca):
    service.raw, began = service.hang, time.monotonic()
    with pytest.raises(NotTaken, match="Timeout"):
        send(kind, service, ca, http={"seconds": SECONDS})
    assert time.monotonic() - began < 4 * SECONDS


@pytest.mark.parametrize(
    "options",
    [
        {"host": "other.example"},
        {"http": {"ca": None}},
        {"http": {"egress": Egress()}},
        {"http": {"resolver": lambda _host, _port: ["127.0.0.1", "192.168.0.1"]}},
    ],
    ids=["another's certificate", "an unknown authority", "a private address", "one private address of two"],
)
def test_nobody_else_is_told(kind, service, ca, options):
    with pytest.raises(NotTaken):
        send(kind, service, ca, **options)
    assert service.asked == []


def test_who_has_none_is_refused(kind, service, ca):
    with pytest.raises(RefusedForGood):
        send(kind, service, ca, note(to="zed"))
    assert service.asked == []


def test_a_key_that_is_none_is_not_repeated():
    with pytest.raises(Malformed) as refused:
        routing_key("hunter2\r\nx: y")
    assert "hunter2" not in str(refused.value)
