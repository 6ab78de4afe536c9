"""What is wrong with a ledger's cases: each is derived again from the log, its items and its instructions."""

from __future__ import annotations

from pathlib import Path

from hashmatch.audit.ledger import Ledger
from hashmatch.errors import HashmatchError
from hashmatch.store.check import Report
from hashmatch.v1.cases_pb2 import DISPATCH_STATE_CONFIRMED, CaseState
from hashmatch.workflow.case_facts import state_of
from hashmatch.workflow.case_steps import SERVICE
from hashmatch.workflow.case_store import CaseStore
from hashmatch.workflow.outbox import CONTAINING, Outbox

PAGE = 500  # events, cases read in one transaction


def check_cases(report: Report, state: Path) -> None:
    """Adds what is wrong to the report. A server may run meanwhile: what it changes during the check is not told."""
    if not (state / "ledger").is_dir():
        return
    ledger = Ledger(state, readonly=True)
    try:
        report.attempt("ledger", "cases", lambda: _check(report, ledger))
    finally:
        ledger.close()


def _check(report: Report, ledger: Ledger) -> None:
    told: dict[str, str] = {}  # the last state of each case, as the log has it
    after = 0
    while page := ledger.events(after=after, limit=PAGE, opened=False):
        told |= {event.case_step.case_id: event.case_step.state for event in page if event.HasField("case_step")}
        after = page[-1].sequence
    store, outbox = CaseStore(ledger.env, ledger.sealing), Outbox(ledger.env, ledger.sealing)
    seen, start = set(), b""
    while True:
        with ledger.env.read() as txn:
            cases, start = store.page(txn, states=set(CaseState.values()), after=start, limit=PAGE)
            for case in cases:
                seen.add(case.id)
                sent = list(outbox.of_case(txn, case.id))
                open_ = [one for one in sent if one.state != DISPATCH_STATE_CONFIRMED]
                wrong = {
                    "its state is not the log's": state_of(case).value != told.get(case.id, ""),
                    "its items are not as many as it says": case.items != sum(1 for _ in store.items(txn, case.id)),
                    "its instructions are not as many as it says": case.dispatches != len(sent),
                    "what is unsettled is not what it says": case.unsettled
                    != sum(not one.accepted_by for one in open_),
                    "what is uncontained is not what it says": case.uncontained
                    != sum(one.verb in CONTAINING and one.accepted_by != SERVICE for one in open_),
                }
                for what in (what for what, is_wrong in wrong.items() if is_wrong):
                    # A server may have written between the log's end and this look.
                    if ledger.last_sequence() == after:
                        report.add("ledger", "cases", f"case {case.id}: {what}")
                report.count("cases")
        if not start:
            break
    for case_id in told.keys() - seen:
        try:
            with ledger.env.read() as txn:
                store.get(txn, case_id)
        except HashmatchError:
            report.add("ledger", "cases", f"case {case_id} is in the log, and is not kept")
