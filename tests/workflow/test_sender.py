"""From the outbox to a real receiver and back: in order, at least once, done only when the platform says so."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from hashmatch.audit.ledger import Ledger
from hashmatch.delivery.addresses import Egress
from hashmatch.delivery.guarded_http import GuardedHttp
from hashmatch.delivery.standard_webhooks import Secret
from hashmatch.delivery.webhook import Webhook
from hashmatch.v1 import cases_pb2
from hashmatch.workflow.case import State
from hashmatch.workflow.case_facts import state_of
from hashmatch.workflow.casework import Casework
from hashmatch.workflow.outbox import state_of as dispatch_state
from hashmatch.workflow.plan import Instruction
from hashmatch.workflow.sender import Line, Sender

from .conftest import plan_of
from .receivers import SECRET, receiving

ALLOW = Egress(["127.0.0.0/8"])


def line(url, name="platform", confirms=True, seconds=2.0):
    return Line(Webhook(name, GuardedHttp(url, ALLOW, seconds=seconds), [Secret(SECRET)]), confirms)


@contextmanager
def sending(work, lines):
    sender = Sender(work.ledger, work.cases, lines, now=lambda: work.now)
    try:
        yield sender
    finally:
        sender.close()


@pytest.fixture
def receiver():
    with receiving() as found:
        yield found


def states(work, case_id):
    return [dispatch_state(one).value for one in work.dispatches(case_id)]


def drain(work, sender, name="platform", hours=40):
    """Sends, and lets time pass, until nothing is due for long."""
    until = work.now + timedelta(hours=hours)
    while work.now < until:
        if not sender.send(name):
            work.now += timedelta(minutes=3)


def test_what_is_asked_for_is_sent_signed_and_done_once_confirmed(work, receiver):
    case = work.match("u1", "the-entry", content="c1")
    with sending(work, {"platform": line(receiver.url)}) as sender:
        assert sender.send("platform") == 1
        assert states(work, case.id) == ["DELIVERED"]
        assert sender.send("platform") == 0
    (event,) = receiver.done.values()
    assert (event["specversion"], event["type"]) == ("1.0", "org.hashmatch.action.restrict.v1")
    assert (event["data"]["content_id"], event["data"]["case_id"], event["data"]["verb"]) == ("c1", case.id, "restrict")
    text = json.dumps(event)
    assert "the-entry" not in text  # no entry of a list
    assert state_of(work.get(case.id)) is State.NEW
    work.confirm(event["id"])
    assert states(work, case.id) == ["CONFIRMED"]
    assert state_of(work.get(case.id)) is State.CONTAINED
    told = [e.delivered.outcome for e in work.ledger.events(limit=100) if e.HasField("delivered")]
    assert told == ["DELIVERED", "CONFIRMED"]


def test_a_receiver_may_confirm_in_its_answer_and_one_that_never_does_can_be_believed(work, receiver):
    receiver.body = b'{"status": "confirmed"}'
    case = work.match()
    with sending(work, {"platform": line(receiver.url)}) as sender:
        sender.send("platform")
    assert states(work, case.id) == ["CONFIRMED"]
    receiver.body = b"<rubbish"
    case = work.match("u2")
    with sending(work, {"platform": line(receiver.url, confirms=False)}) as sender:
        sender.send("platform")
    assert states(work, case.id) == ["CONFIRMED"]


def test_those_of_one_subject_go_in_order_and_others_do_not_wait(work, receiver):
    first = work.match("u1", content="a")
    for content in "bc":
        work.match("u1", content=content)
    work.match("u2", content="z")
    refusals = iter([503])
    receiver.behave = lambda _number: next(refusals, 200) if receiver.calls[-1][2] == "a" else 200
    with sending(work, {"platform": line(receiver.url)}) as sender:
        assert sender.send("platform") == 2
        assert {content for _, _, content in receiver.calls} == {"a", "z"}
        assert sender.send("platform") == 0
        work.now += timedelta(seconds=10)
        while sender.send("platform"):
            pass
    assert [content for _, _, content in receiver.calls if content != "z"] == ["a", "a", "b", "c"]
    assert states(work, first.id) == ["DELIVERED"] * 3
    sequences = [one.sequence for one in work.dispatches(first.id)]
    assert sequences == sorted(set(sequences))


def test_what_is_never_taken_is_buried_paged_about_and_can_be_sent_again(work, receiver):
    receiver.behave = lambda _number: 500
    case = work.match("u1", content="a")
    began = work.now
    with sending(work, {"platform": line(receiver.url)}) as sender:
        while states(work, case.id)[0] == "REQUESTED":
            if not sender.send("platform"):
                work.now += timedelta(seconds=30)
        assert timedelta(hours=24) < work.now - began < timedelta(hours=48)
        (one, page) = work.dispatches(case.id)
        assert (dispatch_state(one).value, page.verb, one.problem) == ("BURIED", "page", "the endpoint answered 500")
        assert len({id_ for id_, verb, _ in receiver.calls if verb == "restrict"}) == 1
        receiver.behave = lambda _number: 200
        work.now += timedelta(hours=1)
        with work.ledger.changing() as log:
            work.cases.dispatched(log, lambda box: box.retry(log, one.id), one.id)
        drain(work, sender, hours=1)
    assert one.id in receiver.done
    assert states(work, case.id)[0] == "DELIVERED"


@pytest.mark.parametrize(
    ("status", "state"), [(400, "BURIED"), (422, "BURIED"), (404, "REQUESTED"), (301, "REQUESTED")]
)
def test_what_will_never_be_taken_is_not_tried_for_a_day(work, receiver, status, state):
    receiver.behave = lambda _number: status
    receiver.headers = {"location": "http://127.0.0.1:1/elsewhere"}
    case = work.match()
    with sending(work, {"platform": line(receiver.url)}) as sender:
        sender.send("platform")
    assert states(work, case.id)[0] == state


def test_an_endpoint_that_is_gone_is_asked_no_more(work, receiver):
    receiver.behave = lambda _number: 410
    work.match("u1")
    work.match("u2")
    with sending(work, {"platform": line(receiver.url)}) as sender:
        sender.send("platform")
        calls = len(receiver.calls)
        drain(work, sender)
    assert len(receiver.calls) == calls


def test_retry_after_is_a_floor(work, receiver):
    receiver.behave, receiver.headers = lambda _number: 429, {"retry-after": "600"}
    case = work.match()
    with sending(work, {"platform": line(receiver.url)}) as sender:
        sender.send("platform")
    due = work.dispatches(case.id)[0].due_at.ToDatetime(work.now.tzinfo)
    assert due >= work.now + timedelta(minutes=10)


def test_what_nobody_confirms_is_asked_for_again_and_then_a_person_is(work, receiver):
    case = work.match()
    with sending(work, {"platform": line(receiver.url)}) as sender:
        drain(work, sender, hours=8)
    (one, page) = work.dispatches(case.id)
    assert (dispatch_state(one).value, page.verb) == ("TIMED_OUT", "page")
    assert receiver.verbs().count("restrict") == 5
    assert len({id_ for id_, verb, _ in receiver.calls if verb == "restrict"}) == 1
    work.confirm(one.id)  # late, and still true
    assert states(work, case.id)[0] == "CONFIRMED"


def test_a_destination_that_hangs_holds_up_no_other(work, receiver):
    work.destinations = ["dead", "platform"]
    with receiving() as dead:
        dead.behave = lambda _number: "hang"
        with sending(work, {"dead": line(dead.url, "dead", seconds=1.0), "platform": line(receiver.url)}) as sender:
            sender.start()
            for number in range(5):
                work.match(f"u{number}")
            until = time.monotonic() + 10
            while len(receiver.done) < 5 and time.monotonic() < until:
                time.sleep(0.01)
            assert len(receiver.done) == 5


def test_a_breaker_opens_and_one_message_probes(work, receiver):
    receiver.behave = lambda _number: 500
    for number in range(40):
        work.match(f"u{number}")
    with sending(work, {"platform": line(receiver.url)}) as sender:
        assert sender.send("platform") == 32
        assert sender.send("platform") == 0
        work.now += timedelta(seconds=31)
        assert sender.send("platform") == 1
        receiver.behave = lambda _number: 200
        work.now += timedelta(seconds=61)
        assert sender.send("platform") == 1
        assert sender.send("platform") > 1


def test_faults_at_random_lose_nothing_and_double_nothing_for_who_knows_the_ids(work, receiver):
    draw = random.Random(7)
    receiver.behave = lambda _number: draw.choice([200, 200, 200, 200, 500, 503, "reset"])
    receiver.body = b'{"status": "confirmed"}'
    work.plan = plan_of(instructions=(Instruction("restrict", "r"), Instruction("preserve", "r")))
    cases = [work.match(f"u{number % 5}", content=f"c{number}").id for number in range(20)]
    with sending(work, {"platform": line(receiver.url)}) as sender:
        drain(work, sender, hours=24)
    wanted = {one.id for case_id in set(cases) for one in work.dispatches(case_id)}
    assert len(wanted) == 40
    assert set(receiver.done) == wanted
    for one in (one for case_id in set(cases) for one in work.dispatches(case_id)):
        assert one.state == cases_pb2.DISPATCH_STATE_CONFIRMED


@pytest.fixture
def driver():
    """Sends in processes that die: told where, says how they ended."""
    program = Path(__file__).with_name("dying_sender.py")
    with subprocess.Popen(
        [sys.executable, program], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:

        def run(*words):
            print(*words, file=process.stdin, flush=True)
            return int(process.stdout.readline())

        yield run
        process.stdin.close()


def test_a_kill_at_any_boundary_loses_nothing_and_doubles_nothing(work, receiver, driver, tmp_path):
    """Every boundary of two instructions to one subject, one after the other, each from the same beginning."""
    receiver.body = b'{"status": "confirmed"}'
    case = work.match("u1", content="a")
    work.match("u1", content="b")
    work.ledger.close()
    ids = [f"{case.id}.00000{number}" for number in (1, 2)]

    for fatal in range(1, 100):
        state = tmp_path / f"killed-{fatal}"
        shutil.copytree(tmp_path, state, ignore=lambda *_: [name.name for name in tmp_path.glob("killed-*")])
        receiver.done.clear()
        ended = driver(state, receiver.url, fatal, 0)
        assert ended in (0, -9)
        assert driver(state, receiver.url, 0, 60) == 0  # whoever comes after the lease
        with closing(Ledger(state)) as ledger:
            events = [e.delivered for e in ledger.events(limit=1000) if e.HasField("delivered")]
            with ledger.env.read() as txn:
                assert Casework(ledger.env, ledger.sealing, None).store.get(txn, case.id).unsettled == 0
        outcomes = sorted((e.dispatch_id, e.outcome) for e in events)
        assert outcomes == sorted((id_, state) for id_ in ids for state in ("DELIVERED", "CONFIRMED"))
        assert sorted(receiver.done) == ids
        if ended == 0:
            break
    assert fatal == 17  # eight boundaries for each, and the first without one
