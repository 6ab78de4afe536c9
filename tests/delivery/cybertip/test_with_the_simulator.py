"""The client and a report's state machine against an imitation of the service that others wrote from its documents."""

from __future__ import annotations

import hashlib
import io
import random
from dataclasses import replace
from datetime import timedelta

import pytest
from delivery.cybertip.drawing import consistent, drawn, well_formed
from delivery.cybertip.samples import TEST, batched, full_details, maximal, minimal, viewed
from hypothesis import HealthCheck, given, settings

from hashmatch import clock
from hashmatch.delivery.cybertip.client import CyberTipline
from hashmatch.delivery.cybertip.errors import RefusedForGood, failed
from hashmatch.delivery.cybertip.files import FileDetails
from hashmatch.delivery.cybertip.report import Report
from hashmatch.delivery.cybertip.service import Credentials, Timeouts
from hashmatch.delivery.cybertip.terms import FileAnnotation
from hashmatch.errors import HashmatchError
from hashmatch.simulate.cybertipline import Settings, serving
from hashmatch.simulate.state import Stage
from hashmatch.workflow.report import Call, ReportRecord, State, after, difference, next_step

FILES = [random.Random(n).randbytes(100_000 + n) for n in range(2)]
KNOWN = Settings(known_reports=frozenset({123, 124}))


def client(tipline, **timeouts):
    credentials = Credentials(TEST, tipline.settings.user, tipline.settings.password)
    return CyberTipline(credentials, base_url=tipline.url, timeouts=Timeouts(**timeouts), now=tipline.clock.now)


def filed(tipline, one, report, details):
    """What becomes of a report whose every step is taken; the service's clock goes forward with ours."""
    record = ReportRecord.queued("rep", environment=TEST, files=len(details), decided_at=clock.now())
    for _ in range(100):
        now = tipline.clock.now()
        step = next_step(record, now)
        if step.call in (Call.NOTHING, Call.ASK_A_PERSON):
            return record
        if step.call is Call.WAIT:
            tipline.clock.advance(step.until - now)
            continue
        try:
            match step.call:
                case Call.SUBMIT:
                    outcome = one.submit(report, details)
                case Call.UPLOAD:
                    file = FILES[step.file]
                    outcome = one.upload(record.report_id, io.BytesIO(file), size=len(file))
                case Call.DETAIL:
                    outcome = one.detail(record.report_id, record.files[step.file].file_id, details[step.file])
                case Call.FINISH:
                    outcome = one.finish(record.report_id)
                case Call.RETRACT:
                    outcome = one.retract(record.report_id)
        except HashmatchError as e:
            outcome = failed(e)
        record = after(record, step, outcome, now, jitter=0.5)
    raise AssertionError(f"still {record.state.value}")


@pytest.mark.parametrize(
    ("report", "details"),
    [
        (minimal(), []),
        (maximal(), [full_details(), viewed()]),
        (batched(), [viewed(file_annotations=frozenset({FileAnnotation.VIRAL}))]),
    ],
)
def test_a_report_is_filed(report, details):
    with serving(settings=KNOWN) as tipline, client(tipline) as one:
        one.status()
        record = filed(tipline, one, report, details)
    assert (record.state, record.restarts) == (State.FINISHED, 0)
    assert not difference(record)
    (held,) = tipline.reports.values()
    assert (held.stage, held.report_id) == (Stage.FINISHED, record.report_id.number)
    assert [file.md5 for file in held.files] == [
        hashlib.md5(file, usedforsecurity=False).hexdigest() for file in FILES[: len(details)]
    ]
    assert all(len(file.details) == 1 for file in held.files)


@pytest.mark.parametrize(
    ("faults", "restarts"),
    [
        ("submit:lost-reply@1", 0),
        ("upload:lost-reply@2", 1),
        ("fileinfo:lost-reply@1", 1),
        ("finish:lost-reply@1", 0),
        ("upload:lost-reply@1;retract:lost-reply@1", 1),
        ("upload:wrong-md5@2", 1),
        ("upload:dropped@1", 1),
        ("*:500@1", 0),
        ("*:503@1", 0),
        ("*:429=30@1", 0),
        ("*:code=1100@2", 0),
        ("*:latin1", 0),
        ("submit:truncated@1;finish:truncated@1", 0),
        ("fileinfo:rubbish@1", 1),
        ("submit:slow=0.9@1;upload:slow=0.9@1", 1),
        ("finish:huge=8@1", 0),
        ("upload:code=5001@2", 1),
        ("fileinfo:code=5002@1", 1),
    ],
)
def test_a_report_is_filed_once_and_whole_in_spite_of(faults, restarts):
    patience = 0.5 if "slow" in faults else 30
    with serving(settings=KNOWN, faults=faults) as tipline, client(tipline, first_byte=patience) as one:
        record = filed(tipline, one, maximal(), [full_details(), viewed()])
    assert (record.state, record.restarts) == (State.FINISHED, restarts)
    finished = [held for held in tipline.reports.values() if held.stage is Stage.FINISHED]
    assert [held.report_id for held in finished] == [record.report_id.number]
    assert [file.file_id for file in finished[0].files] == [file.file_id for file in record.files]
    assert not difference(record) or record.receipt.file_ids is None


def test_a_file_that_is_missing_from_the_receipt_is_told():
    with serving(settings=KNOWN, faults="finish:missing-file@1") as tipline, client(tipline) as one:
        record = filed(tipline, one, maximal(), [full_details(), viewed()])
    assert record.state is State.FINISHED
    assert difference(record).missing == (record.files[1].file_id,)


@pytest.mark.parametrize("faults", ["*:401-empty", "*:401-xml", "*:redirect", "*:code=4100"])
def test_what_a_person_must_look_at_waits_for_one(faults):
    with serving(faults=faults) as tipline, client(tipline) as one:
        record = filed(tipline, one, minimal(), [viewed()])
    assert record.state is State.FAILED
    assert tipline.requests == {"submit": 1}  # nothing is tried again, nor anywhere else


def test_a_report_that_expires_is_opened_anew():
    with serving() as tipline, client(tipline) as one:
        opened = one.submit(minimal(), [viewed()])
        tipline.clock.advance(timedelta(hours=25))
        with pytest.raises(HashmatchError) as raised:
            one.finish(opened.report_id)
        record = ReportRecord.queued("rep", environment=TEST, files=0, decided_at=clock.now())
        step = next_step(record, clock.now())
        record = after(record, step, opened, clock.now(), jitter=0)
        record = after(record, next_step(record, clock.now()), failed(raised.value), clock.now(), jitter=0)
        assert (record.state, record.restarts) == (State.EXPIRED, 1)


def test_wrong_credentials_are_refused_for_good():
    with serving() as tipline:
        wrong = CyberTipline(Credentials(TEST, "tester", "wrong"), base_url=tipline.url)
        with wrong, pytest.raises(RefusedForGood):
            wrong.status()


@pytest.fixture(scope="module")
def standing():
    with serving() as tipline, client(tipline) as one:
        yield one


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(drawn(Report, well_formed).map(consistent), drawn(FileDetails, well_formed))
def test_whatever_has_no_problems_is_taken(standing, report, details):
    """Written twice from the same documents: what we let pass, another reading of them does not decline."""
    people = {
        name: tuple(
            replace(one, prior_ct_reports=(), **({} if name == "intended_recipients" else {"associated_accounts": ()}))
            for one in getattr(report, name)
        )
        for name in ("persons_or_users_reported", "intended_recipients", "victims")
    }
    opened = standing.submit(replace(report, **people), [details])  # prior reports would have to be there
    file = standing.upload(opened.report_id, io.BytesIO(FILES[0]), size=len(FILES[0]))
    standing.detail(opened.report_id, file.file_id, details)
    assert standing.finish(opened.report_id).file_ids == (file.file_id,)
