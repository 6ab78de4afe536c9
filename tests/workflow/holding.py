"""Holds for tests: one of each kind, benign and made up."""

from datetime import UTC, datetime, timedelta

from hashmatch.workflow.hold import place
from hashmatch.workflow.hold_table import RULES, Basis, Kind

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
TWO = ("ana", "bo")
LAW = [kind for kind in Kind if RULES[kind].basis is Basis.LAW]


def days(number):
    return timedelta(days=number)


def placed(kind=Kind.US_REPORT, **changed):
    wanted = {
        "id": "h1", "case_id": "c1", "ground": "a report was finished", "placed_by": "cy", "now": START,
        "reference": "R-1", "since": START if kind in LAW else None,
        "jurisdiction": "" if RULES[kind].jurisdiction else "FR",
    }  # fmt: skip
    return place(kind, **wanted | changed)
