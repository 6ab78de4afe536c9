"""Walks of instructions through the real outbox, sender and store, with whatever may happen to them on the way.

The platform answers well, badly, falsely or not at all, and says things late; processes die between any two lines of
the sender; people decide, send again and accept, while something is being sent, too; the clock is set. Whatever it was:
no illegal state, instructions of a subject in their order, none after what undid it, none lost, and no case that waits
for what nobody wants any more.
"""

from __future__ import annotations

import threading
import zlib
from contextlib import contextmanager, suppress
from datetime import timedelta

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hashmatch.delivery.dispatch import Gone, NotTaken, Receipt, RefusedForGood
from hashmatch.errors import Forbidden, Refused
from hashmatch.roles import Role
from hashmatch.store.check import Report
from hashmatch.workflow.case import State as CaseState
from hashmatch.workflow.case_facts import cleared
from hashmatch.workflow.case_facts import state_of as case_state
from hashmatch.workflow.case_steps import SERVICE
from hashmatch.workflow.check import check_cases
from hashmatch.workflow.outbox import ASKED_AGAIN, CONFIRM_WITHIN, GIVEN_UP, NEXT, State, state_of, undone
from hashmatch.workflow.plan import UNDO
from hashmatch.workflow.sender import Line, Sender

from .conftest import START, Work

ANSWERS = (
    "taken", "taken", "confirmed", "confirmed", "later", "later", "lost", "never", "lies", "dies", "dies late", "gone",
)  # fmt: skip
CLOCK = [timedelta(**by) for by in ({"seconds": 40}, {"hours": 1}, {"hours": 17}, {"days": 2}, {"hours": -1},
                                    {"days": -2})]  # fmt: skip
MEANWHILE = st.sampled_from(["nothing", "clear", "confirm", "reopen", "accept"])  # while something is being sent
STEPS = st.one_of(
    st.tuples(st.just("match"), st.integers(0, 1), st.integers(0, 2)),
    st.tuples(st.just("send"), st.integers(0, 2**16), st.integers(0, 7)),
    st.tuples(st.just("send"), st.integers(0, 2**16), st.just(0), MEANWHILE),
    st.tuples(st.just("ignored"), st.integers(1, ASKED_AGAIN + 2), MEANWHILE),
    st.tuples(st.just("say"), st.integers(0, 7), st.booleans()),
    st.tuples(st.sampled_from(["retry", "accept"]), st.integers(0, 7)),
    st.tuples(st.just("decide"), st.integers(0, 2), st.booleans()),
    st.tuples(st.just("reopen"), st.integers(0, 2)),
    st.tuples(st.just("clock"), st.sampled_from(CLOCK)),
)


class Died(BaseException):
    """The process is no more."""


class DyingLedger:
    """The ledger for a process that dies at a boundary: before a transaction, before its commit, or after it."""

    def __init__(self, ledger):
        self._ledger, self.env, self.left = ledger, ledger.env, 0

    def _passed(self):
        self.left -= 1
        if self.left == 0:
            raise Died

    @contextmanager
    def changing(self):
        self._passed()
        with self._ledger.changing() as log:
            yield log
            self._passed()
        self._passed()


class World:
    """One platform, and processes that come one after another to one state directory."""

    name = "platform"

    def __init__(self, state):
        self.state, self.now, self.seed, self.cases = state, START, None, []
        self.ignores, self.meanwhile, self.undone = False, "nothing", {}
        self.attempts, self.bodies, self.wrong, self.lock = {}, {}, [], threading.Lock()
        self.done = []  # the keys of what an idempotent receiver did
        self.start()

    def start(self):
        self.work = Work(self.state)
        self.work.now = self.now
        self.ledger = DyingLedger(self.work.ledger)
        self.sender = Sender(self.ledger, self.work.cases, {self.name: Line(self)}, now=lambda: self.now)

    def end(self):
        self.sender.close()
        self.work.ledger.close()

    def set(self, now):
        self.now = self.work.now = now

    def sent(self):
        return [one for case_id in self.cases for one in self.work.dispatches(case_id)]

    # ── a step ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def step(self, name, *given_):
        if name == "match":
            case = self.work.match(f"u{given_[0]}", content=f"c{given_[1]}").id
            self.cases += [case] if case not in self.cases else []
        elif name == "send":
            self.seed, self.ledger.left, *meanwhile = given_
            self.send(*meanwhile)
        elif name == "ignored":  # the platform takes everything, and says nothing
            self.ignores, self.ledger.left = True, 0
            for hour in range(given_[0]):
                self.send(given_[1] if hour == given_[0] - 1 else "nothing")
                self.set(self.now + CONFIRM_WITHIN)
            self.ignores = False
        elif name == "clock":
            self.set(self.now + given_[0])
        elif self.cases and name in ("decide", "reopen"):
            self.person(name, self.cases[given_[0] % len(self.cases)], *given_[1:])
        elif sent := self.sent():
            one = sent[given_[0] % len(sent)].id
            if name == "say":
                self.work.do("confirm", one, failed=given_[1])
            else:
                self.work.do(name, one, **({"by": "lea", "why": "x"} if name == "accept" else {}))

    def send(self, meanwhile="nothing"):
        self.meanwhile, self.undone = meanwhile, self.all_undone()
        try:
            self.sender.send(self.name)
        except Died:
            self.end()
            self.start()

    def act(self, dispatch):
        """What a person does while the first of what was taken is being sent."""
        meanwhile, self.meanwhile = self.meanwhile, "nothing"
        with suppress(Refused, Forbidden):
            if meanwhile in ("clear", "confirm"):
                self.person("decide", dispatch.case_id, meanwhile == "confirm")
            elif meanwhile == "reopen":
                self.person("reopen", dispatch.case_id)
            elif meanwhile == "accept":
                self.work.do("accept", dispatch.key, by="lea", why="x")

    def all_undone(self):
        return {id_: by for case_id in self.cases for id_, by in undone(self.work.dispatches(case_id)).items()}

    def person(self, name, case_id, *confirm):
        who = {"by": "lea", "roles": frozenset(Role), "reason_codes": ["X"]}
        if name == "reopen":
            self.work.do("reopen", case_id, **who)
        else:
            self.work.do("claim", case_id, by="lea")
            self.work.do("decide", case_id, confirm=confirm[0], **who)

    # ── the platform ────────────────────────────────────────────────────────────────────────────────────────────────

    def deliver(self, dispatch):
        with self.lock:
            number = self.attempts[dispatch.key] = self.attempts.get(dispatch.key, 0) + 1
            self.watch(dispatch)
            self.act(dispatch)
        said = "taken" if self.ignores else "confirmed"
        if self.seed is not None and not self.ignores:
            about = f"{dispatch.verb} {dispatch.content_id} {dispatch.key[-6:]} {number} {self.seed}"
            said = ANSWERS[zlib.crc32(about.encode()) % len(ANSWERS)]
        if said in ("taken", "confirmed", "lost", "dies late") and dispatch.key not in self.done:
            self.done.append(dispatch.key)
        if said.startswith("dies"):
            raise Died
        if said in ("later", "lost"):
            raise NotTaken(said)
        if said in ("never", "gone"):
            raise (Gone if said == "gone" else RefusedForGood)(said)
        return Receipt(confirmed=said != "taken")

    def close(self):
        pass

    def watch(self, dispatch):
        """Notes what must not be sent now, or not like this: here an assertion would be taken for a fault of ours."""
        sent = {one.id: one for one in self.sent()}
        one = sent[dispatch.key]
        if state_of(one) not in (State.REQUESTED, State.DELIVERED):
            self.wrong.append(f"{one.verb} is sent and is {state_of(one)}")
        if state_of(one) is State.REQUESTED and one.id != min(waiting(sent.values(), one), key=sequence).id:
            self.wrong.append(f"{one.verb} is sent out of turn")
        if one.id in self.undone:  # before it was taken
            self.wrong.append(f"{one.verb} is sent, and was undone")
        if self.bodies.setdefault((one.id, one.sequence), dispatch.body()) != dispatch.body():
            self.wrong.append(f"{one.verb} is another than before")

    # ── what holds ──────────────────────────────────────────────────────────────────────────────────────────────────

    def look(self):
        assert self.wrong == []
        sent = self.sent()
        for one in sent:
            first = state_of(one) is State.REQUESTED and one.id == min(waiting(sent, one), key=sequence).id
            # Whatever is not over is due some time, and at most one of a subject.
            assert one.HasField("due_at") == (first or state_of(one) is State.DELIVERED), one
        assert set(self.done) <= {one.id for one in sent}

    def look_back(self):
        """What the log tells of every instruction is a way through the table, and ends where it is."""
        at = dict.fromkeys((one.id for one in self.sent()), State.REQUESTED)
        for event in self.work.ledger.events(limit=10_000):
            if event.HasField("delivered") and event.delivered.outcome != "ACCEPTED":
                said = event.delivered
                assert State(said.outcome) in NEXT[at[said.dispatch_id]]
                at[said.dispatch_id] = State(said.outcome)
        assert {one.id: state_of(one) for one in self.sent()} == at

    def settle(self):
        """From now on all is well, for as long as anything could be put off."""
        self.end()
        self.start()
        self.seed = None
        for _ in range(3):
            self.undone = self.all_undone()
            while self.sender.send(self.name):
                self.undone = self.all_undone()
            self.set(self.now + timedelta(hours=17))
        sent = {one.id: one for one in self.sent()}
        assert {state_of(one) for one in sent.values()} <= {State.CONFIRMED, *GIVEN_UP}
        for one in (sent[id_] for id_ in self.all_undone()):
            assert one.accepted_by == SERVICE or state_of(one) is State.CONFIRMED
        for case_id in self.cases:
            self.closes(self.work.get(case_id))

    def closes(self, case):
        """A case that was cleared waits for a person only where something could not be undone, or be told."""
        open_ = [one for one in self.work.dispatches(case.id) if state_of(one) is not State.CONFIRMED]
        waits = {one.verb for one in open_ if not one.accepted_by}
        if cleared(case):
            assert case_state(case) is CaseState.CLOSED or waits
            assert not waits & {*UNDO}
            self.stands_not(case)

    def stands_not(self, case):
        """Nothing that was done stands in a case that was cleared, unless a person must look, or has."""
        standing = {}
        for one in self.work.dispatches(case.id):
            about = one.subject.content_id or one.verdict_id
            if one.verb in UNDO and state_of(one) is State.CONFIRMED:
                standing[UNDO[one.verb], about] = one
            elif one.verb in UNDO.values() and (state_of(one) is State.CONFIRMED or one.accepted_by != SERVICE):
                standing.pop((one.verb, about), None)
        assert not standing


def sequence(one):
    return one.sequence


def waiting(sent, one):
    """Those that wait in line with one of them, it included."""

    def line(other):
        return ("page", other.case_id) if other.verb == "page" else other.subject.uploader_id

    return [other for other in sent if state_of(other) is State.REQUESTED and line(other) == line(one)]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(STEPS, min_size=5, max_size=30))
@example([("ignored", ASKED_AGAIN + 2, "clear")])  # it is undone during its last re-ask
@example(
    [
        ("ignored", ASKED_AGAIN + 2, "nothing"),
        ("accept", 0),
        ("decide", 0, False),
        ("send", 0, 0, "nothing"),
        ("reopen", 0),
        ("decide", 0, True),
    ]
)  # a person accepts it before the service undoes it
def test_no_walk_loses_doubles_or_misorders_an_instruction(tmp_path_factory, steps):
    state = tmp_path_factory.mktemp("walk")
    world = World(state)
    try:
        world.step("match", 0, 0)
        for one in steps:
            with suppress(Refused, Forbidden):  # as they should be: what follows looks at what was done
                world.step(*one)
            world.look()
        world.settle()
        world.look()
        world.look_back()
    finally:
        world.end()
    report = Report()
    check_cases(report, state)
    assert report.problems == []
