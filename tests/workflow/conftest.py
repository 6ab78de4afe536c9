"""A real ledger with cases in it, and the policy of the test."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from hashmatch import clock
from hashmatch.audit.ledger import Ledger
from hashmatch.v1 import common_pb2
from hashmatch.v1.audit_pb2 import VerdictRecord
from hashmatch.workflow import policy_file
from hashmatch.workflow.casework import Casework
from hashmatch.workflow.plan import Instruction, Plan

START = datetime(2026, 1, 1, tzinfo=UTC)


def plan_of(**changed):
    wanted = {
        "tier": 1, "instructions": (Instruction("restrict", "known"), Instruction("suspend", "known", deferred=True)),
        "acknowledge": timedelta(hours=1), "decide": timedelta(hours=4), "authority": "", "rules": ("known",),
        "version": "p1",
    }  # fmt: skip
    return Plan(**wanted | changed)


def match(uploader="u1", entry="e1", *, content="", shadow=False):
    record = VerdictRecord(verdict_id=clock.new_id("v"), finding=common_pb2.FINDING_MATCH)
    record.at.FromDatetime(START)
    record.subject.uploader_id = uploader
    record.subject.content_id = content or record.verdict_id[:12]
    record.matches.add(list="known", entry_id=entry, hash_type="pdq", threshold=31, shadow=shadow)
    return record


class Work:
    """A ledger whose matches become cases by `plan`, over a clock that the test moves."""

    def __init__(self, state):
        self.now = START
        self.plan = plan_of()
        self.destinations = ["platform"]
        self.reported, self.called_off, self.receipts = [], [], {}
        self.ledger = Ledger(state, now=lambda: self.now)
        self.cases = self.ledger.consequences = Casework(
            self.ledger.env, self.ledger.sealing, lambda _record, _now, first: self.plan,
            lambda verb: () if verb.endswith("suppress") else self.destinations, self,
            policy_file.load(None).clocks,
        )  # fmt: skip

    def queue(self, _log, case):
        """As `casework.Filing`: notes what is to be reported."""
        self.reported += [case.id] * (case.id not in self.reported)
        return not case.HasField("reported_at")

    def waits(self, _log, _case_id):
        return False

    def finished(self, _log, case_id):
        return self.receipts.get(case_id)

    def call_off(self, _log, case, by):
        self.called_off.append((case.id, by))

    def match(self, *args, **kwargs):
        """The case that a match opened or joined."""
        record = match(*args, **kwargs)
        self.ledger.append(record, log=True, remember=False).result()
        return self.get(record.case_id)

    def join(self, uploader, entries):
        """The case that one match of several entries opened or joined."""
        record = match(uploader, entries[0])
        for entry in entries[1:]:
            record.matches.add(list="known", entry_id=entry, hash_type="pdq", threshold=31)
        self.ledger.append(record, log=True, remember=False).result()
        return self.get(record.case_id)

    def get(self, case_id):
        with self.ledger.env.read() as txn:
            return self.cases.store.get(txn, case_id)

    def do(self, step, *args, **kwargs):
        with self.ledger.changing() as log:
            return getattr(self if step.endswith("_hold") else self.cases, step)(log, *args, **kwargs)

    def place_hold(self, log, case_id, **given):
        return self.cases.holding.place(log, case_id, **given)

    def release_hold(self, log, *args, **given):
        return self.cases.holding.release(log, *args, **given)

    def dispatches(self, case_id):
        with self.ledger.env.read() as txn:
            return list(self.cases.outbox.of_case(txn, case_id))

    def confirm(self, dispatch_id, **how):
        with self.ledger.changing() as log:
            how.setdefault("failed", False)
            return self.cases.dispatched(log, lambda outbox: outbox.confirm(log, dispatch_id, **how), dispatch_id)

    def confirm_all(self, case_id):
        for one in self.dispatches(case_id):
            self.confirm(one.id)

    def steps(self, case_id):
        found = [e.case_step for e in self.ledger.events(limit=10_000) if e.HasField("case_step")]
        return [step.step for step in found if step.case_id == case_id]


@pytest.fixture
def work(tmp_path):
    made = Work(tmp_path)
    with closing(made.ledger):
        yield made
