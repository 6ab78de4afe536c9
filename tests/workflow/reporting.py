"""An office that reports: a real ledger with cases, and an imitation of the CyberTipline over HTTP, to test with."""

from __future__ import annotations

import io
from contextlib import closing, contextmanager
from datetime import timedelta
from functools import cache

from hashmatch.audit.ledger import Ledger
from hashmatch.delivery.cybertip.client import CyberTipline
from hashmatch.delivery.cybertip.service import Credentials, Timeouts
from hashmatch.delivery.cybertip.terms import Environment
from hashmatch.errors import StoreFailed
from hashmatch.roles import Role
from hashmatch.simulate.cybertipline import Settings, serving
from hashmatch.simulate.state import Stage
from hashmatch.workflow.case_store import CaseStore
from hashmatch.workflow.casework import Casework
from hashmatch.workflow.report_content import Reporter
from hashmatch.workflow.report_record import OVER
from hashmatch.workflow.report_rows import state_of
from hashmatch.workflow.report_settings import Filing
from hashmatch.workflow.report_store import ReportStore
from hashmatch.workflow.reporting import Reporting

from .conftest import match, plan_of

REPORTER = Reporter(company="ExampleApp", email="ts@example.com")
LEAD = frozenset(Role)


class Shelf:
    """Evidence by the content's id: drawn bytes, or none."""

    def __init__(self, kept):
        self.kept, self.locked = kept, 0  # how often it cannot be read
        self.meanwhile = []  # what happens while it is being opened, once each

    def open(self, item):
        if self.meanwhile:
            self.meanwhile.pop()()
        if self.locked:
            self.locked -= 1
            raise StoreFailed("the shelf is locked")
        data = self.kept.get(item.subject.content_id)
        return None if data is None else (io.BytesIO(data), len(data))


def client_of(url, now, **timeouts):
    """One client of the test environment at that URL; of no other."""
    known = Settings()

    @cache
    def made(environment):
        return CyberTipline(
            Credentials(environment, known.user, known.password), environment=environment, base_url=url,
            timeouts=Timeouts(**timeouts), now=now,
        )  # fmt: skip

    return made


class Everything(Filing):
    """Files what goes to any authority, in the environment that the test sets."""

    def __init__(self, one):
        super().__init__(one.store, CaseStore(one.ledger.env, one.ledger.sealing), one.environment)
        self._office = one

    def queue(self, log, case):
        return state_of(self._office.queue(log, case)) not in OVER


class Office:
    """A ledger whose confirmed cases are reported; over a clock that the test sets forward."""

    def __init__(self, state, now, url, *, kept=None, environment=Environment.TEST, ledger=Ledger, **options):
        timeouts = options.pop("timeouts", {})
        self.now, self.environment = now, environment
        self.plan = plan_of(authority="NCMEC")
        self.ledger = ledger(state, now=now)
        self.store = ReportStore(self.ledger.env)
        filing = Everything(self)
        self.cases = self.ledger.consequences = Casework(
            self.ledger.env, self.ledger.sealing, lambda _record, _now, first: self.plan, filing=filing
        )
        self.shelf = Shelf({} if kept is None else kept)
        self.alerts = []
        self.client_of = options.pop("client_of", client_of(url, now, **timeouts))
        options.setdefault("casework_reported", self.cases.report_over)
        self.reporting = Reporting(
            self.ledger, self.store, client_of=lambda environment: self.client_of(environment), evidence=self.shelf,
            reporter=options.pop("reporter", REPORTER), now=now, jitter=lambda: 0.5,
            alerted=lambda _log, row, why: self.alerts.append((row.id, why.rpartition(" ")[2])), **options,
        )  # fmt: skip

    def queue(self, log, case):
        items = self.cases.store.items(log.txn, case.id)
        return self.store.queue(log, case, items, environment=self.environment, authority=case.authority)

    def call_off(self, log, case, by):
        self.store.call_off(log, case.id, by=by)

    def match(self, uploader="u1", content="", labels=(), **attributes):
        record = match(uploader, content=content)
        record.subject.attributes.update(attributes)
        record.subject.occurred_at.FromDatetime(record.at.ToDatetime())
        for number, label in enumerate(labels):
            record.matches.add(list="known", entry_id=f"l{number}", hash_type="pdq", threshold=31, label=label)
        self.ledger.append(record, log=True, remember=False).result()
        return record.case_id

    def confirm(self, case_id, by="ann"):
        with self.ledger.changing() as log:
            self.cases.claim(log, case_id, by=by)
        with self.ledger.changing() as log:
            self.cases.decide(log, case_id, confirm=True, by=by, roles=LEAD, reason_codes=["KNOWN"])
        return self.of_case(case_id)

    def of_case(self, case_id):
        with self.ledger.env.read() as txn:
            return self.store.of_case(txn, case_id)[-1]

    def row(self, report_id):
        with self.ledger.env.read() as txn:
            return self.store.get(txn, report_id)

    def case(self, case_id):
        with self.ledger.env.read() as txn:
            return self.cases.store.get(txn, case_id)

    def holds(self, case_id):
        with self.ledger.env.read() as txn:
            return self.cases.store.holds(txn, case_id)

    def do(self, step, *args, **kwargs):
        with self.ledger.changing() as log:
            return getattr(self.store, step)(log, *args, **kwargs)

    def wait(self):
        """How long until something is due; None where nothing will be."""
        with self.ledger.env.read() as txn:
            due = self.store.next_due(txn)
        return None if due is None else max(due - self.now(), timedelta())

    def drain(self, advance, steps=300):
        """Files, and lets time pass, until nothing is due any more."""
        for _ in range(steps):
            if self.reporting.run_due(1):
                continue
            if (wait := self.wait()) is None:
                return
            advance(wait + timedelta(milliseconds=1))
        raise AssertionError("it never ends")

    def events(self, report_id=None):
        found = [e.reported for e in self.ledger.events(limit=10_000) if e.HasField("reported")]
        return [one for one in found if report_id in (None, one.report_id)]

    def states(self, report_id):
        return [one.state for one in self.events(report_id)]

    def close(self):
        self.ledger.close()


@contextmanager
def office(state, faults="", kept=None, **options):
    """An office and the imitation that it reports to, whose clocks are one."""
    known = options.pop("known_reports", frozenset())
    with serving(faults=faults, settings=Settings(known_reports=known)) as tipline:
        one = Office(state, tipline.clock.now, tipline.url, kept=kept, **options)
        one.tipline = tipline
        with closing(one):
            yield one


def at(tipline, stage):
    return [held for held in tipline.reports.values() if held.stage is stage]


def filed(tipline):
    return at(tipline, Stage.FINISHED)


__all__ = ["LEAD", "REPORTER", "Office", "Shelf", "at", "client_of", "filed", "office", "state_of"]
