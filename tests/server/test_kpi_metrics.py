"""Figures as gauges: what is known of a ledger is told, what is not has no series, and labels are bounded."""

from __future__ import annotations

import re
import time
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from workflow.conftest import Work, plan_of

from hashmatch.config import Settings
from hashmatch.roles import Role
from hashmatch.server.kpi_metrics import GAUGES, MAX_PRECISION, Figures
from hashmatch.server.measuring import Measuring
from hashmatch.server.metrics import METRICS
from hashmatch.workflow import figures, policy_file
from hashmatch.workflow.plan import Instruction


@pytest.fixture
def work(tmp_path):
    made = Work(tmp_path)
    with closing(made.ledger):
        yield made


def told(work, **since):
    return figures.told(figures.figures(work.ledger, policy_file.load(None), work.now, **since))


def series(told_):
    """Value by name and labels."""
    shown, registry = Figures(), CollectorRegistry()
    registry.register(shown)
    shown.take_in(told_, 0.5, 1e9)
    return parsed(generate_latest(registry))


def parsed(text):
    families = text_string_to_metric_families(text.decode())
    samples = [one for family in families for one in family.samples]
    return {(one.name, *(one.labels[label] for label in GAUGES[one.name])): one.value for one in samples}


def test_what_is_not_known_has_no_series(work):
    assert series(told(work)) == {("hashmatch_kpi_seconds",): 0.5, ("hashmatch_kpi_timestamp_seconds",): 1e9}
    registry = CollectorRegistry()
    registry.register(Figures())
    text = generate_latest(registry)
    assert parsed(text) == {}
    assert all(f"# HELP {name} " in text.decode() for name in GAUGES)


def test_an_open_case_is_told_by_its_age_and_by_the_clocks_that_passed(work):
    work.match("u1")
    work.now += timedelta(hours=5)
    found = series(told(work))
    assert found["hashmatch_undecided_cases", "T1"] == 1
    assert found["hashmatch_undecided_oldest_seconds", "T1"] == 5 * 3600
    assert found["hashmatch_clock_attainment_ratio", "decide", "T1"] == 0
    assert found["hashmatch_clock_breaches", "decide", "T1"] == 1
    assert not [key for key in found if key[0] == "hashmatch_case_quantile_seconds"]  # not reached: not known
    assert ("hashmatch_clock_attainment_ratio", "decide", "T0") not in found
    assert found["hashmatch_outbox_backlog",] == 1
    assert found["hashmatch_reconciliation_gap",] == 0
    assert found["hashmatch_exposure_minutes",] == 0


def decided(work, uploader, confirm):
    case = work.match(uploader, entry=uploader)
    work.now += timedelta(minutes=10)
    work.do("claim", case.id, by="ann")
    work.do("decide", case.id, confirm=confirm, by="ann", roles=frozenset(Role), reason_codes=["SEEN"])
    work.confirm_all(case.id)


def test_decided_cases_are_told_by_times_precision_and_reversals(work):
    work.plan = plan_of(instructions=(Instruction("restrict", "known"),))
    decided(work, "u1", True)
    decided(work, "u2", False)
    found = series(told(work))
    for milestone in ("acknowledged", "decided"):
        assert found["hashmatch_case_quantile_seconds", milestone, "T1", "0.95"] == 600
    assert found["hashmatch_clock_attainment_ratio", "acknowledge", "T1"] == 1
    assert found["hashmatch_clock_breaches", "acknowledge", "T1"] == 0
    assert found["hashmatch_precision_ratio", "known", "pdq", "0"] == 0.5
    assert found["hashmatch_precision_decisions", "known", "pdq", "0"] == 2
    assert found["hashmatch_precision_left_out",] == 0
    assert found["hashmatch_reversal_ratio",] == 0.5
    assert ("hashmatch_undecided_cases", "T1") not in found
    assert {key[0] for key in found} <= GAUGES.keys()


def test_times_are_those_of_the_window_and_of_what_is_still_open(work):
    work.plan = plan_of(instructions=())
    decided(work, "u1", True)
    work.now += timedelta(days=40)
    since = work.now - timedelta(days=30)
    assert told(work, since=since)["time_to"]["decided"] == {}
    assert told(work)["time_to"]["decided"]["T1"]["cases"] == 1
    work.match("u2")
    work.now += timedelta(days=40)
    assert told(work, since=work.now - timedelta(days=30))["time_to"]["decided"]["T1"]["still"] == 1


def test_no_more_series_of_precision_than_are_bounded(work):
    row = {"hash_type": "pdq", "band": "0", "hits": 1, "share": 1.0, "interval": None}
    many = [{**row, "list": f"l{number}", "of": number} for number in range(1, MAX_PRECISION + 8)]
    found = series({**told(work), "precision": many})
    assert sum(key[0] == "hashmatch_precision_ratio" for key in found) == MAX_PRECISION
    assert ("hashmatch_precision_ratio", "l1", "pdq", "0") not in found
    assert found["hashmatch_precision_left_out",] == 7


def wait_for(text, seconds=30):
    end = time.monotonic() + seconds
    while not (found := parsed(text())):
        assert time.monotonic() < end
        time.sleep(0.05)
    return found


def test_they_are_computed_beside_the_server_from_the_ledger_as_it_is(work, tmp_path):
    work.match("u1")
    with closing(Measuring(Settings(state=tmp_path, kpi_seconds=1.0))) as measuring:
        found = wait_for(measuring.text)
    assert found["hashmatch_undecided_cases", "T1"] == 1
    assert found["hashmatch_kpi_seconds",] > 0
    assert abs(found["hashmatch_kpi_timestamp_seconds",] - time.time()) < 60


def test_figures_that_cannot_be_had_are_not_told_and_stop_nothing(tmp_path, caplog):
    with closing(Measuring(Settings(state=tmp_path / "none", kpi_seconds=1.0))) as measuring:
        end = time.monotonic() + 30
        while "could not be computed" not in caplog.text:
            assert time.monotonic() < end
            time.sleep(0.05)
        assert parsed(measuring.text()) == {}


def test_nothing_is_computed_where_nobody_wants_it(work, tmp_path):
    with closing(Measuring(Settings(state=tmp_path, kpi_seconds=0.0))) as measuring:
        assert (measuring.pid, parsed(measuring.text())) == (0, {})


def test_the_docs_name_every_metric_and_its_labels():
    text = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text("utf-8")
    rows = re.findall(r"^\| `(hashmatch_\w+)` \| (.*?) \|", text, re.MULTILINE)
    assert {name: tuple(re.findall(r"`(\w+)`", labels)) for name, labels in rows} == METRICS
