"""The figures on the wire are those that the verb tells, of whatever period."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf.json_format import MessageToDict

from hashmatch.errors import Malformed
from hashmatch.roles import Role
from hashmatch.workflow import figures, policy_file
from hashmatch.workflow.blind import DEADLINE, Blind
from hashmatch.workflow.double_review import Sampling
from hashmatch.workflow.kpi_record import kpis

from .conftest import START

POLICY = policy_file.load(None)
EVERY = Sampling(key=bytes(16), base=1000)


def told(work, **period):
    return figures.told(figures.figures(work.ledger, POLICY, work.now, **period))


def untyped(record):
    """The typed figures, as the verb has them; absent is None."""
    found = MessageToDict(record, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)

    def share(row):
        edges = row.get("interval")
        return {
            "hits": int(row["hits"]), "of": int(row["of"]), "share": row.get("share"),
            "interval": [edges["low"], edges["high"]] if edges else None,
        }  # fmt: skip

    def numbers(row):
        return {name: int(value) if isinstance(value, str) else value for name, value in row.items()}

    def by_milestone(rows, of):
        names = ("contained", "acknowledged", "decided", "reported")
        return {
            name: {f"T{row['tier']}": of(row) for row in rows if row["milestone"] == f"KPI_MILESTONE_{name.upper()}"}
            for name in names
        }

    def times(row):
        return {name: int(row[name]) for name in ("cases", "still")} | {
            name: row.get(name) for name in ("p50", "p90", "p95", "longest")
        }

    def agreement(row):
        if row is None:
            return None
        edges = row.get("interval")
        interval = [edges["low"], edges["high"]] if edges else None
        return {"pairs": int(row["pairs"]), "raw": row["raw"], "kappa": row.get("kappa"), "interval": interval}

    return {
        "cases": int(found["cases"]),
        "time_to": by_milestone(found["time_to"], times),
        "within_clock": by_milestone(found["within_clock"], lambda row: share(row["share"])),
        "backlog": {f"T{row.pop('tier')}": numbers(row) for row in found["backlog"]},
        "precision": [
            {"list": row["list"], "hash_type": row["hash_type"], "band": row["band"], **share(row["share"])}
            for row in found["precision"]
        ],
        "reversal_rate": share(found["reversal_rate"]),
        "copies": share(found["copies"]),
        "reconciliation": numbers(found["reconciliation"]),
        "agreement": agreement(found.get("agreement")),
        "blind_agreement": agreement(found.get("blind_agreement")),
        "report_completeness": {name: share(row) for name, row in found["report_completeness"].items()},
        "looks": numbers(found["looks"]),
        "instructions": numbers(found["instructions"]),
        "outbox": numbers(found["outbox"]),
        "exposure_minutes": found["exposure_minutes"],
        "second_looks": {
            "waiting": int(found["second_looks"]["waiting"]),
            "overdue": int(found["second_looks"]["overdue"]),
            "late": found["second_looks"]["late"],
        },
    }


def decided(work, uploader, *, confirm):
    case = work.match(uploader)
    work.now += timedelta(minutes=7)
    work.do("claim", case.id, by="ann")
    work.do("decide", case.id, by="ann", confirm=confirm, roles=frozenset(Role), reason_codes=["SEEN"])
    return case


def test_nothing_is_lost_between_the_two(work):
    assert untyped(kpis(told(work))) == told(work)
    decided(work, "u1", confirm=True)
    decided(work, "u2", confirm=False)
    work.match("u3")
    work.match("u3", "e2")
    work.cases.blind = Blind(work.ledger.env, work.cases.store, EVERY, lambda: ["ann", "bob"])
    decided(work, "u4", confirm=True)
    work.now += DEADLINE
    plain = json.loads(json.dumps(told(work)))
    assert plain["cases"] == 4
    assert plain["second_looks"]["overdue"] == 1
    assert plain["precision"]
    assert untyped(kpis(plain)) == plain


def test_a_period_is_of_the_cases_detected_in_it_and_of_those_that_are_open(work):
    decided(work, "u1", confirm=False)
    work.confirm_all(work.match("u9").id)
    work.now = later = START + timedelta(days=5)
    decided(work, "u2", confirm=False)
    work.now = last = START + timedelta(days=9)
    work.match("u3")

    def cases(**period):
        rows = told(work, **period)["time_to"]["decided"]
        return sum(row["cases"] for row in rows.values())

    everything = cases()
    assert everything == 4
    assert cases(until=last) == everything - 1
    assert cases(until=START) == 0
    assert cases(since=later, until=last) == cases(since=later) - 1
    with pytest.raises(Malformed, match="until"):
        told(work, since=later, until=later)
    with pytest.raises(Malformed, match="since"):
        told(work, since=datetime(1, 1, 1, tzinfo=UTC), until=later)
