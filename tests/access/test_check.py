"""`hashmatch check` on credentials: every damaged or lost row is found, and named without a secret."""

from __future__ import annotations

from contextlib import closing

import pytest

from hashmatch.access.check import ENVIRONMENT, check_access
from hashmatch.access.credentials import TABLES, Credentials
from hashmatch.store.check import Report
from hashmatch.store.env import Env


@pytest.fixture
def state(tmp_path):
    with closing(Credentials(tmp_path)) as credentials:
        key, _ = credentials.create("ann", ["uploader"], by="tests")
        credentials.create("gateway", ["uploader"], by="tests", certificate="gateway.example.org")
        credentials.use({key.id: 3}, key.created_at.date())
    return tmp_path


def problems(state):
    report = Report()
    check_access(report, state)
    return report


def test_what_is_whole_is_counted(state):
    report = problems(state)
    assert not report.problems
    assert report.checked == {"credentials": 2, "certificates": 1, "usage": 1, "changes": 2}


def test_without_credentials_there_is_nothing_to_find(tmp_path):
    assert problems(tmp_path) == Report()


@pytest.mark.parametrize("table", ["credentials", "certificates", "usage", "changes"])
def test_a_row_that_was_changed_is_found(state, table):
    with closing(Env(state / "keys" / "access", TABLES)) as env, env.write() as txn, txn.cursor(env.table(table)) as at:
        at.first()
        value = bytearray(at.value())
        value[len(value) // 2] ^= 1
        txn.put(bytes(at.key()), bytes(value), db=env.table(table))
    found = problems(state).problems
    assert {(p.environment, p.table) for p in found} >= {(ENVIRONMENT, table)}


@pytest.mark.parametrize(("lost", "told"), [("certificates", "credentials"), ("credentials", "certificates")])
def test_a_row_that_is_gone_is_missed_by_the_one_that_leads_to_it(state, lost, told):
    with closing(Env(state / "keys" / "access", TABLES)) as env, env.write() as txn:
        for key in [bytes(key) for key, _ in txn.cursor(env.table(lost))]:
            txn.delete(key, db=env.table(lost))
    assert told in {p.table for p in problems(state).problems}
