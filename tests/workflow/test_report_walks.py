"""Every walk of a report: over all outcomes, and against a service that loses replies."""

import random
from dataclasses import dataclass, field
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st
from workflow.reports import (
    FAILURES,
    FINISHED_BEFORE,
    GONE,
    LOST,
    RETRACTED_BEFORE,
    RETRY,
    T0,
    TEST,
    hours,
    queued,
    success,
)

from hashmatch.delivery.cybertip.outcomes import Detailed, Failed, Finished, Opened, Retracted, Uploaded
from hashmatch.delivery.cybertip.terms import ReportId
from hashmatch.workflow.report import (
    MAX_RETRIES,
    Call,
    State,
    after,
    difference,
    next_step,
    resume,
    table,
    withdraw,
)
from hashmatch.workflow.report_record import OVER

CHOICES = ["done", *FAILURES, "withdraw", "resume", "later"]


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 3), st.lists(st.sampled_from(CHOICES) | st.just("done"), max_size=60), st.integers(0, 2**32))
def test_every_walk_stays_on_the_table(files, choices, seed):
    draw, record, now = random.Random(seed), queued(files), T0
    legal = {(row.state, row.call, row.result): row.to for row in table()}
    receipts, opened = 0, 0
    for choice in choices:
        before, step = record, next_step(record, now)
        assert (step.call is Call.NOTHING) == (record.state in OVER)
        if choice == "later" or step.call is Call.WAIT:
            now = max(now + timedelta(days=draw.random() * 2), step.until or now)
        elif choice == "withdraw" and record.state not in OVER:
            record = withdraw(record, now)
        elif step.call is Call.ASK_A_PERSON:
            assert choice != "resume" or next_step(resume(record, now), now).call is not Call.ASK_A_PERSON
            record = resume(record, now) if choice == "resume" else record
        elif step.call is not Call.NOTHING:
            opened += step.call is Call.SUBMIT
            outcome = choice if isinstance(choice, Failed) else success(step, number=opened)
            record = after(record, step, outcome, now, jitter=draw.random())
            allowed = {to for (state, call, _), to in legal.items() if (state, call) == (before.state, step.call)}
            assert record.state in allowed | {State.FAILED}
        receipts += record.receipt is not None and record.receipt is not before.receipt
        assert before.state not in OVER or record == before
        assert (record.attempts <= MAX_RETRIES) or record.state is State.FAILED
    assert receipts <= 1


@dataclass
class Service:
    """The service as the documentation has it: what it holds, and when it forgets."""

    files: dict = field(default_factory=dict)  # by report: uploaded
    told_of: dict = field(default_factory=dict)
    expiry: dict = field(default_factory=dict)
    finished: list = field(default_factory=list)
    retracted: list = field(default_factory=list)

    def call(self, record, step, now):
        if step.call is Call.SUBMIT:
            number = len(self.files) + 1
            self.files[number], self.told_of[number], self.expiry[number] = [], [], now + hours(24)
            return Opened(ReportId(number, TEST))
        number = record.report_id.number
        if number in self.finished:
            return Finished(b"", None) if step.call is Call.FINISH else FINISHED_BEFORE
        if number in self.retracted:
            return RETRACTED_BEFORE
        if now >= self.expiry[number]:
            return GONE
        if step.call is Call.RETRACT:
            self.retracted.append(number)
            return Retracted()
        if step.call is Call.FINISH:
            self.finished.append(number)
            return Finished(b"", tuple(self.files[number]))
        self.expiry[number] = max(self.expiry[number], now + hours(1))
        if step.call is Call.DETAIL:
            self.told_of[number].append(record.files[step.file].file_id)
            return Detailed()
        self.files[number].append(f"{number}-{len(self.files[number])}-{step.file}")
        return Uploaded(self.files[number][-1], b"")


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 3), st.randoms(use_true_random=False), st.floats(0, 0.6))
def test_whatever_the_network_does_a_report_is_filed_once_and_whole(files, draw, trouble):
    """Calls are lost before or after they were done; hours pass; in the end there is one report, or a person looks."""
    service, record, now = Service(), queued(files), T0
    for _ in range(3000):
        step = next_step(record, now)
        if step.call in (Call.NOTHING, Call.ASK_A_PERSON):
            break
        if step.call is Call.WAIT:
            now = step.until
            continue
        now += hours(draw.choice([0.01, 0.1, 1, 9]) if draw.random() < trouble else 0.01)
        luck = draw.random()
        if luck < trouble / 2:
            outcome = draw.choice([RETRY, LOST])  # never done
        else:
            outcome = service.call(record, step, now)
            outcome = LOST if luck < trouble else outcome  # done, and nobody heard
        record = after(record, step, outcome, now, jitter=draw.random())
    assert step.call is (Call.NOTHING if record.state in OVER else Call.ASK_A_PERSON)
    assert len(service.finished) <= 1
    if record.state is State.FINISHED:
        (number,) = service.finished
        ours = [file.file_id for file in record.files]
        assert (record.report_id.number, service.files[number], service.told_of[number]) == (number, ours, ours)
        assert len(ours) == files
        assert not difference(record) or record.receipt.file_ids is None
    if trouble == 0:
        assert record.state is State.FINISHED
