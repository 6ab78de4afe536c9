"""What a policy makes of a verdict that was given: for whoever asks why, or tries another policy."""

from __future__ import annotations

from datetime import datetime

from hashmatch.audit.ledger import Ledger
from hashmatch.workflow import policy
from hashmatch.workflow.case_store import CaseStore
from hashmatch.workflow.facts import decision_on
from hashmatch.workflow.policy import Decision, Policy


def explained(ledger: Ledger, by: Policy, verdict_id: str, now: datetime) -> tuple[Decision, list[str]]:
    """What a policy decides on a verdict, and why, in lines for people.

    Raises:
        NotFound: there is no such verdict. Corrupt: it is damaged.
    """
    record = ledger.verdict(verdict_id).verdict
    with ledger.env.read() as txn:
        first = CaseStore(ledger.env, ledger.sealing).first_matched(txn, record)
    decision = decision_on(by, record, now, first=first)
    return decision, list(policy.explain(decision))
