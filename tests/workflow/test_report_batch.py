"""Which reports may be filed together, and what a batched report says."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashmatch.delivery.cybertip import schema
from hashmatch.delivery.cybertip.people import Account
from hashmatch.delivery.cybertip.report import BatchedReport, PersonOrUserReported
from hashmatch.delivery.cybertip.terms import Environment, FileAnnotation, IndustryClassification, ReportId
from hashmatch.delivery.cybertip.xml import details_element, document, report_element
from hashmatch.errors import BadConfig, Malformed, Refused
from hashmatch.simulate import rules
from hashmatch.v1.cases_pb2 import DECISION_CLEAR, DECISION_CONFIRM, TIER_T0, CaseItem
from hashmatch.v1.reports_pb2 import ReportEnvironment, ReportFile, ReportRow
from hashmatch.workflow.report import State, next_step
from hashmatch.workflow.report_batch import (
    AHEAD,
    Apart,
    Batching,
    Together,
    enough,
    filed_in,
    takes_in,
    together,
    waits_until,
    without,
)
from hashmatch.workflow.report_batch_content import Part, batch_content
from hashmatch.workflow.report_labels import FILE_ANNOTATIONS, INCIDENTS, REPORT_ANNOTATIONS
from hashmatch.workflow.report_record import Retraction
from hashmatch.workflow.report_rows import keep
from hashmatch.workflow.report_settings import parse

from .reports import T0, queued, to, went
from .test_reporting_content import FULL, NOW, REPORTER, TEST, case, item


def confirmed(*codes, decision=DECISION_CONFIRM, **fields):
    made = case(**fields)
    made.decided_at.FromDatetime(NOW - timedelta(minutes=5))
    made.reviews.add(by="ann", decision=decision, reason_codes=codes)
    return made


def viral(verdict="v1", *, labels=("Viral",), entries=("known/e1",), cluster=1, **attributes):
    made = item(verdict, labels=labels, **attributes)
    made.entries.extend(entries)
    made.cluster = cluster
    return made


def row_of(*items, record=None, **fields):
    given = {"id": "r_1.0", "case_id": "c_1", "authority": "NCMEC", "environment": 1} | fields
    row = ReportRow(**given, files=[ReportFile(verdict_id=one.verdict_id) for one in items])
    row.decided_at.FromDatetime(T0)
    keep(row, record or queued(len(items)))
    return row


def found(*items, row=None, others=(), about=None):
    row = row_of(*items) if row is None else row
    return together(row, [row, *others], about or confirmed(), items)


# ── which ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_a_list_or_a_reviewer_calls_viral_is_batched_by_its_entry():
    wanted = Together("NCMEC", TEST, "known/e1")
    assert found(viral()) == wanted
    assert found(viral("v1"), viral("v2", labels=["MEME", "known"], entries=("known/e1", "other/e9"))) == wanted
    assert found(viral(labels=["known"]), about=confirmed("KNOWN", "POTENTIAL_MEME")) == wanted


OTHER_LABELS = sorted({*INCIDENTS, *REPORT_ANNOTATIONS, *FILE_ANNOTATIONS} - {"viral", "meme", "potential_meme"})


@pytest.mark.parametrize("label", OTHER_LABELS)
def test_what_has_a_label_that_no_batch_could_tell_is_filed_by_itself(label):
    assert found(viral(labels=["viral", label])) == Apart("its labels say more than a batch may")


def test_everything_else_is_filed_by_itself():
    began, failed = went(queued(1), "done"), replace(queued(1), attempts=1)
    undecided, again = case(), confirmed("VIRAL")
    again.reviews_before = 1  # what was said in an earlier round is not what is said now
    apart = [
        ("urgent", found(viral(), about=confirmed(tier=TIER_T0))),
        ("confirmed", found(viral(), about=undecided)),
        ("confirmed", found(viral(), about=confirmed(decision=DECISION_CLEAR))),
        ("told of it", found(viral(), about=confirmed(told_by="i_1"))),
        ("nobody is named", found(CaseItem(verdict_id="v1", entries=["known/e1"]), about=confirmed(uploader=""))),
        ("one entry", found(viral("v1"), viral("v2", entries=("known/e2", "known/e1")))),
        ("one entry", found(viral("v1"), viral("v2", cluster=2))),
        ("one entry", found(viral(entries=()))),
        ("not about all", found(viral("v1"), viral("v2"), row=row_of(viral("v1")))),
        ("not all of it", found(viral("v1"), viral("v2", labels=["known"]))),
        ("not all of it", found(viral(labels=["known"]), about=again)),
        ("begun", found(viral(), row=row_of(viral(), record=began))),
        ("begun", found(viral(), row=row_of(viral(), record=failed))),
        ("given up", found(viral(), row=row_of(viral(), alone=True))),
        ("another report", found(viral(), others=[row_of(viral(), id="r_1.0-2")])),
    ]
    for why, one in apart:
        assert isinstance(one, Apart), why
        assert why in one.why


def test_another_entry_authority_or_environment_is_another_batch():
    rows = [
        row_of(viral(), authority=authority, environment=environment)
        for authority in ("NCMEC", "OTHER")
        for environment in ReportEnvironment.values()[1:]
    ]
    kinds = [found(viral(entries=(entry,)), row=row) for row in rows for entry in ("known/e1", "known/e2")]
    assert len({one.prefix for one in kinds}) == len(set(kinds)) == 8
    assert not any(one.entry in one.prefix for one in kinds)


def test_a_report_waits_for_the_window_but_not_past_its_cases_clock():
    batching, about = Batching(window=timedelta(hours=2)), confirmed()
    assert waits_until(about, batching, NOW) == NOW + timedelta(hours=2)
    about.report_by.FromDatetime(NOW + timedelta(hours=9))
    assert waits_until(about, batching, NOW) == NOW + timedelta(hours=2)
    about.report_by.FromDatetime(NOW + timedelta(hours=1))
    assert waits_until(about, batching, NOW) == NOW + timedelta(hours=1) - AHEAD


def test_a_batch_takes_in_until_it_is_full_or_over_or_begun():
    batching = Batching(at_least=2, at_most=3)
    waits = replace(queued(2), next_attempt_at=T0 + timedelta(hours=24))
    batch = row_of(viral("v1"), viral("v2"), record=waits)
    assert takes_in(batch, batching, T0)
    assert not takes_in(batch, batching, T0 + timedelta(hours=24))
    assert not takes_in(batch, Batching(at_least=2, at_most=2), T0)
    batch.calling.call = "SUBMIT"
    assert not takes_in(batch, batching, T0)
    tried = row_of(viral("v1"), viral("v2"), record=replace(waits, attempts=1))
    assert not takes_in(tried, batching, T0)
    ten = Batching()
    assert [enough(batch, count, ten) for count in (9, 10)] == [False, True]
    assert not enough(batch, 10, None)
    assert [enough(tried, count, ten) for count in (1, 2)] == [False, True]
    assert enough(tried, 2, None)


@pytest.mark.parametrize("state", [State.OPENED, State.UPLOADED, State.DETAILED])
def test_an_open_batch_is_retracted_to_be_begun_again(state):
    record = without(to(state), T0)
    assert (record.state, record.retraction) == (state, Retraction.RESTART)
    withdrawn = without(replace(record, retraction=Retraction.WITHDRAW), T0)
    assert withdrawn.retraction is Retraction.WITHDRAW
    assert went(record, "done").state is State.QUEUED


def test_what_is_filed_in_a_batch_has_its_receipt_and_nothing_else_is():
    batch, record = to(State.FINISHED), queued(1)
    filed = filed_in(batch, record)
    assert (filed.state, filed.report_id, filed.receipt) == (State.FINISHED, ReportId(1, TEST), batch.receipt)
    assert next_step(filed, T0).call.name == "NOTHING"
    other = replace(record, environment=Environment.PRODUCTION)
    for wrong in ((to(State.DETAILED), record), (batch, to(State.OPENED)), (batch, other)):
        with pytest.raises(Refused):
            filed_in(*wrong)
    with pytest.raises(Refused):
        without(batch, T0)


# ── what it says ────────────────────────────────────────────────────────────────────────────────────────────────────


def part(number, *items, **fields):
    return Part(confirmed("VIRAL", uploader=f"u-{number}", **fields), items or [viral(f"v{number}", **FULL)])


def said(parts, reporter=REPORTER, **more):
    file = more.pop("file", parts[0].items[0])
    return batch_content(parts, reporter, environment=TEST, now=NOW, file=file, **more)


def test_it_tells_of_each_uploader_the_id_of_one_file_that_it_is_viral_and_nothing_else():
    parts = [part(number, viral(f"v{number}", hours=number, **FULL)) for number in range(1, 13)]
    told = said([*parts, part(3)])
    assert told.problems == ()
    assert told.report.batched_report == BatchedReport()
    assert told.report.persons_or_users_reported == tuple(
        PersonOrUserReported(account=Account(esp_identifier=f"u-{number}")) for number in range(1, 13)
    )
    assert told.report.incident_summary.incident_date_time == NOW - timedelta(hours=12)
    (file,) = told.files
    assert file.file_annotations == {FileAnnotation.VIRAL}
    assert (file.file_viewed_by_esp, file.publicly_available) == (False, True)
    text = document(report_element(told.report)) + document(details_element(file, ReportId(1, TEST), "ab"))
    assert not any(value.encode() in text for name, value in FULL.items() if len(value) > 5)


@settings(max_examples=50)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=40), st.booleans(), st.booleans())
def test_whatever_is_batched_the_schema_and_the_service_take_it(numbers, viewed, sharing):
    parts = [part(number, viral("v1", labels=["meme", "B1"], viewed=["ann"] * viewed)) for number in numbers]
    told = said(parts, replace(REPORTER, hash_sharing=sharing))
    assert told.problems == ()
    (file,) = told.files
    assert file.file_viewed_by_esp is viewed
    assert file.industry_classification is (IndustryClassification.B1 if sharing else None)
    root, details = report_element(told.report), details_element(file, ReportId(1, TEST), "ab")
    schema.check(root)
    schema.check(details)
    assert rules.report(document(root), now=NOW, knows=lambda _: False)
    assert rules.file_details(document(details), now=NOW, batched=lambda _: True) == (1, "ab", True)


def test_without_a_file_or_with_somebody_who_cannot_be_named_it_is_not_to_be_sent():
    assert [one.path for one in said([part(1), part(2)], file=None).problems] == ["fileDetails"]
    paths = [one.path for one in said([part(1), part("x" * 300)]).problems]
    assert paths == ["report/personOrUserReported[2]/espIdentifier"]


# ── the settings ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def table(tmp_path):
    file = tmp_path / "credentials"
    file.write_text("user\npassword\n")
    file.chmod(0o600)
    return {"credentials": str(file), "company": "ExampleApp", "email": "ts@example.com"}


def test_nothing_is_batched_unless_it_is_asked_for(table):
    assert parse(table).batch is None
    assert parse(table | {"batch": {}}).batch == Batching(at_least=10, window=timedelta(hours=24), at_most=100)
    wanted = parse(table | {"batch": {"at_least": 3, "window": "90m", "at_most": 5}}).batch
    assert wanted == Batching(at_least=3, window=timedelta(minutes=90), at_most=5)


@pytest.mark.parametrize(
    "wrong",
    [
        True, {"after": 3}, {"at_least": True}, {"at_least": 1}, {"at_least": 101}, {"at_most": 501}, {"window": 24},
        {"window": "25h"}, {"window": "0m"}, {"window": "1d"},
    ],
)  # fmt: skip
def test_settings_that_cannot_be_are_refused(table, wrong):
    with pytest.raises((Malformed, BadConfig)):
        parse(table | {"batch": wrong})
