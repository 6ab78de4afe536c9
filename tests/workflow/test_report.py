"""A report's way: the rules one by one."""

from dataclasses import replace
from datetime import timedelta

import pytest
from workflow.reports import (
    FINISH,
    FINISHED_BEFORE,
    GONE,
    LOST,
    REFUSED,
    RETRACT,
    RETRACTED_BEFORE,
    RETRY,
    SUBMIT,
    T0,
    TEST,
    detail,
    hours,
    queued,
    success,
    to,
    upload,
    went,
)

from hashmatch.delivery.cybertip.outcomes import Finished
from hashmatch.delivery.cybertip.terms import ReportId
from hashmatch.errors import Malformed, Refused
from hashmatch.workflow.report import (
    FIRST_WAIT,
    GIVE_UP_AFTER,
    LONGEST_WAIT,
    MAX_RESTARTS,
    MAX_RETRIES,
    Alert,
    Call,
    Difference,
    State,
    Step,
    after,
    alert,
    difference,
    expires_at,
    next_step,
    resume,
    withdraw,
)
from hashmatch.workflow.report_record import FileProgress, Receipt, Retraction

opened = pytest.mark.parametrize("state", [State.OPENED, State.UPLOADED, State.DETAILED])


# ── the straight way ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_report_goes_its_way():
    record, steps, states = queued(), [], [State.QUEUED]
    for n in range(6):
        now = T0 + timedelta(minutes=n)
        steps.append(next_step(record, now))
        record = after(record, steps[-1], success(steps[-1]), now, jitter=0)
        states.append(record.state)
    assert steps == [SUBMIT, upload(0), upload(1), detail(0), detail(1), FINISH]
    assert [one.value for one in states] == [
        "queued",
        "opened",
        "opened",
        "uploaded",
        "uploaded",
        "detailed",
        "finished",
    ]
    assert record.receipt == Receipt(T0 + timedelta(minutes=5), b"<receipt/>", ("file-0", "file-1"))
    assert (record.report_id, record.opened_at) == (ReportId(1, TEST), T0)
    assert record.last_touch_at == T0 + timedelta(minutes=4)
    assert record.files[1] == FileProgress("file-1", b"\x01" * 16, detailed=True)
    assert record.last_request_id == "r-1"
    assert next_step(record, T0) == Step(Call.NOTHING)


def test_a_report_without_files_is_opened_and_finished():
    record = went(queued(0), "done")
    assert record.state is State.DETAILED
    assert next_step(record, T0) == FINISH


# ── what goes wrong ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("state", [State.QUEUED, State.OPENED, State.UPLOADED, State.DETAILED])
def test_a_call_that_was_turned_away_is_repeated_later_and_later(state):
    record = to(state)
    step, now, waits = next_step(record, T0), T0, []
    for n in range(MAX_RETRIES):
        record = after(record, step, RETRY, now, jitter=1)
        assert (record.state, record.attempts, record.last_code) == (state, n + 1, 1000)
        assert next_step(record, now) == Step(Call.WAIT, until=record.next_attempt_at)
        waits.append(record.next_attempt_at - now)
        now = record.next_attempt_at
        assert next_step(record, now) == step
    assert waits[:4] == [FIRST_WAIT * n for n in (1, 2, 4, 8)]
    assert waits[-1] == LONGEST_WAIT
    assert after(record, step, success(step), now, jitter=1).attempts == 0
    record = after(record, step, RETRY, now, jitter=1)
    assert (record.state, record.failed_in) == (State.FAILED, state)
    assert next_step(record, now) == Step(Call.ASK_A_PERSON)


def test_the_service_may_ask_for_a_longer_wait_and_chance_for_a_shorter_one():
    asked = after(queued(), SUBMIT, replace(RETRY, retry_after=hours(2)), T0, jitter=0)
    assert asked.next_attempt_at == T0 + hours(2)
    half = after(queued(), SUBMIT, replace(RETRY, retry_after=timedelta(seconds=1)), T0, jitter=0)
    assert half.next_attempt_at == T0 + FIRST_WAIT / 2
    for jitter in (-0.1, 1.1, float("nan")):
        with pytest.raises(Malformed, match="jitter"):
            after(queued(), SUBMIT, RETRY, T0, jitter=jitter)


def test_a_lost_submit_is_submitted_again():
    record = went(queued(), LOST)
    assert (record.state, record.report_id, record.attempts) == (State.QUEUED, None, 1)
    assert next_step(record, record.next_attempt_at) == SUBMIT


@pytest.mark.parametrize("record", [went(to(State.OPENED), "done"), to(State.UPLOADED)])
def test_a_lost_upload_or_detail_is_retracted_and_begun_again(record):
    record = went(record, LOST)
    assert (record.retraction, record.report_id) == (Retraction.RESTART, ReportId(1, TEST))
    assert next_step(record, T0) == RETRACT
    for outcome in ("done", RETRACTED_BEFORE, GONE):
        again = went(record, LOST, RETRY, outcome)
        assert (again.state, again.report_id, again.files) == (State.QUEUED, None, queued().files)
        assert (again.opened_at, again.last_touch_at, again.restarts, again.retraction) == (None, None, 1, None)
        assert next_step(again, again.next_attempt_at) == SUBMIT
    assert went(again, *["done"] * 6).state is State.FINISHED


def test_a_lost_finish_is_finished_again():
    record = went(to(State.DETAILED), LOST)
    assert next_step(record, record.next_attempt_at) == FINISH
    repeated = went(record, Finished(b"<5102/>", None, "r"))
    assert (repeated.state, repeated.receipt.file_ids, repeated.receipt.body) == (State.FINISHED, None, b"<5102/>")
    assert went(record, FINISHED_BEFORE).state is State.FINISHED
    assert went(record, "done").receipt.file_ids == ("file-0", "file-1")


@opened
def test_an_expired_report_is_opened_anew_and_counted(state):
    record = went(to(state), GONE)
    assert (record.state, record.restarts, record.report_id, record.files) == (State.EXPIRED, 1, None, queued().files)
    assert expires_at(record) is None
    record = went(record, "done", GONE, "done")
    assert (record.state, record.restarts) == (State.OPENED, 2)
    assert went(record, *["done"] * 5).state is State.FINISHED


def test_a_report_that_expires_over_and_over_wants_a_person():
    record = to(State.OPENED)
    for _ in range(MAX_RESTARTS):
        record = went(record, GONE, "done")
    record = went(record, GONE)
    assert (record.state, record.failed_in) == (State.FAILED, State.EXPIRED)
    record = resume(record, T0)
    assert (record.state, record.restarts, next_step(record, T0)) == (State.EXPIRED, 0, SUBMIT)


@pytest.mark.parametrize("state", [State.QUEUED, State.OPENED, State.UPLOADED, State.DETAILED])
def test_what_is_refused_waits_for_a_person_who_sets_it_going_where_it_stopped(state):
    record = went(to(state), REFUSED)
    assert (record.state, record.failed_in, record.last_code) == (State.FAILED, state, 1000)
    assert next_step(record, T0 + hours(1)) == Step(Call.ASK_A_PERSON)
    assert resume(record, T0 + hours(1)) == replace(
        to(state), resumed_at=T0 + hours(1), next_attempt_at=T0 + hours(1), last_code=1000, last_request_id="r"
    )


@opened
def test_what_somebody_else_retracted_or_finished(state):
    assert went(to(state), RETRACTED_BEFORE).state is State.FAILED
    finished = went(to(state), FINISHED_BEFORE)
    assert (finished.state, finished.receipt) == (State.FINISHED, Receipt(T0, b"", None))
    assert difference(finished)


def test_after_thirty_days_a_person_decides():
    record = replace(queued(), attempts=1, next_attempt_at=T0 + GIVE_UP_AFTER)
    assert next_step(record, T0 + GIVE_UP_AFTER - timedelta(seconds=1)) == Step(Call.WAIT, until=T0 + GIVE_UP_AFTER)
    assert next_step(record, T0 + GIVE_UP_AFTER) == Step(Call.ASK_A_PERSON)
    late = replace(record, next_attempt_at=T0 + GIVE_UP_AFTER + hours(2))
    assert next_step(late, T0 + GIVE_UP_AFTER - hours(1)) == Step(Call.WAIT, until=T0 + GIVE_UP_AFTER)
    resumed = resume(record, T0 + GIVE_UP_AFTER)
    assert next_step(resumed, T0 + GIVE_UP_AFTER * 2 - timedelta(seconds=1)) == SUBMIT
    assert next_step(to(State.FINISHED), T0 + GIVE_UP_AFTER) == Step(Call.NOTHING)
    with pytest.raises(Refused):
        resume(resumed, T0 + GIVE_UP_AFTER)


# ── withdrawn ───────────────────────────────────────────────────────────────────────────────────────────────────────


@opened
@pytest.mark.parametrize("outcome", ["done", RETRACTED_BEFORE, GONE])
def test_an_open_report_is_withdrawn_by_a_call(state, outcome):
    record = withdraw(to(state), T0)
    assert next_step(record, T0) == RETRACT
    record = went(record, LOST, RETRY, outcome)
    assert (record.state, record.retraction) == (State.RETRACTED, None)
    assert next_step(record, T0) == Step(Call.NOTHING)


@pytest.mark.parametrize("record", [queued(), went(to(State.OPENED), GONE), went(queued(), REFUSED)])
def test_what_is_not_open_is_withdrawn_at_once(record):
    assert withdraw(record, T0).state is State.RETRACTED


def test_what_failed_while_it_was_open_is_still_to_be_retracted():
    record = withdraw(went(to(State.UPLOADED), REFUSED), T0)
    assert (record.state, next_step(record, T0)) == (State.UPLOADED, RETRACT)


@pytest.mark.parametrize("record", [to(State.FINISHED), withdraw(queued(), T0)])
def test_what_is_over_cannot_be_withdrawn(record):
    with pytest.raises(Refused):
        withdraw(record, T0)


def test_a_call_that_was_under_way_when_it_was_withdrawn_still_counts():
    assert after(withdraw(to(State.DETAILED), T0), FINISH, success(FINISH), T0, jitter=0).state is State.FINISHED
    assert went(withdraw(to(State.DETAILED), T0), FINISHED_BEFORE).state is State.FINISHED
    wanted = after(withdraw(to(State.OPENED), T0), upload(0), success(upload(0)), T0, jitter=0)
    assert (wanted.files[0].file_id, next_step(wanted, T0)) == ("file-0", RETRACT)
    lost = after(withdraw(to(State.OPENED), T0), upload(0), LOST, T0, jitter=0)
    assert lost.retraction is Retraction.WITHDRAW
    assert after(lost, upload(0), GONE, T0, jitter=0).state is State.RETRACTED


# ── clocks ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_report_expires_at_the_later_of_both():
    record = to(State.OPENED)
    assert expires_at(queued()) is None
    assert expires_at(record) == T0 + hours(24)
    assert expires_at(replace(record, last_touch_at=T0 + hours(22))) == T0 + hours(24)
    assert expires_at(replace(record, last_touch_at=T0 + hours(30))) == T0 + hours(31)
    assert expires_at(went(record, REFUSED)) == T0 + hours(24)
    assert expires_at(to(State.FINISHED)) is None


@pytest.mark.parametrize(
    ("after_hours", "want"),
    [(0, None), (17.99, None), (18, Alert.SOON), (21.59, Alert.SOON), (21.6, Alert.NOW), (24, Alert.OVER)],
)
def test_somebody_is_told_before_a_report_expires(after_hours, want):
    assert alert(to(State.OPENED), T0 + hours(after_hours)) is want
    assert alert(queued(), T0 + hours(after_hours)) is None


# ── receipts ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("filed", "want"),
    [
        (("file-1", "file-0"), Difference(True)),
        (("file-0",), Difference(True, missing=("file-1",))),
        (("file-0", "file-1", "x"), Difference(True, unknown=("x",))),
        (("file-0", "file-1", "file-1"), Difference(True, unknown=("file-1",))),
        ((), Difference(True, missing=("file-0", "file-1"))),
        (None, Difference(False)),
    ],
)
def test_what_was_filed_is_compared_with_what_was_uploaded(filed, want):
    record = went(to(State.DETAILED), Finished(b"", filed))
    assert difference(record) == want
    assert bool(want) is (want != Difference(True))
    with pytest.raises(Refused):
        difference(to(State.DETAILED))


def test_a_record_shows_neither_fingerprints_nor_receipts():
    record = replace(
        to(State.FINISHED), files=(FileProgress("f", b"secret-md5"),), receipt=Receipt(T0, b"secret", None)
    )
    assert "secret" not in repr(record)
