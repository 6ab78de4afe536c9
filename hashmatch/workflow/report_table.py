"""The states of a report and what leads from one to another, as a table. What is not in it is illegal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from hashmatch.workflow.report_record import State


class Call(Enum):
    """What is to be done. The last three call nobody."""

    SUBMIT = "submit"
    UPLOAD = "upload"
    DETAIL = "detail"
    FINISH = "finish"
    RETRACT = "retract"
    WAIT = "wait"
    ASK_A_PERSON = "ask a person"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do."""

    call: Call
    file: int | None = None  # for UPLOAD and DETAIL, counted from 0
    until: datetime | None = None  # for WAIT


class Result(Enum):
    """What a step came to. LAST is a success after which nothing of its kind remains."""

    DONE = "done"
    LAST = "done, the last of its kind"
    RETRY = "turned away for now"
    LOST = "reply lost"
    REFUSED = "refused for good"
    GONE = "report or file unknown"
    ALREADY_FINISHED = "already finished"
    ALREADY_RETRACTED = "already retracted"


_S, _R = State, Result
_UNFIT = {  # what a call on an open report may meet, whichever call it is
    _R.REFUSED: _S.FAILED,
    _R.GONE: _S.EXPIRED,
    _R.ALREADY_FINISHED: _S.FINISHED,
    _R.ALREADY_RETRACTED: _S.FAILED,
}
_RETRACTING = {
    _R.DONE: _S.QUEUED,
    _R.LAST: _S.RETRACTED,
    _R.REFUSED: _S.FAILED,
    _R.ALREADY_FINISHED: _S.FINISHED,
}
_OPENING = {
    _R.DONE: _S.OPENED,
    _R.LAST: _S.DETAILED,
    **dict.fromkeys((_R.REFUSED, _R.GONE, _R.ALREADY_FINISHED, _R.ALREADY_RETRACTED), _S.FAILED),
}
_ROWS: tuple[tuple[State, Call, Mapping[Result, State]], ...] = (
    # RETRY and LOST leave the state as it is, everywhere.
    (_S.QUEUED, Call.SUBMIT, _OPENING),
    (_S.OPENED, Call.UPLOAD, {_R.DONE: _S.OPENED, _R.LAST: _S.UPLOADED, **_UNFIT}),
    (_S.UPLOADED, Call.DETAIL, {_R.DONE: _S.UPLOADED, _R.LAST: _S.DETAILED, **_UNFIT}),
    (_S.DETAILED, Call.FINISH, {_R.LAST: _S.FINISHED, **_UNFIT}),
    (_S.OPENED, Call.RETRACT, _RETRACTING),
    (_S.UPLOADED, Call.RETRACT, _RETRACTING),
    (_S.DETAILED, Call.RETRACT, _RETRACTING),
    (_S.EXPIRED, Call.SUBMIT, _OPENING),
)
NEXT: Mapping[tuple[State, Call, Result], State] = {
    (state, call, result): to
    for state, call, results in _ROWS
    for result, to in {_R.RETRY: state, _R.LOST: state, **results}.items()
}
"""What is not in it is illegal."""

_NOTES: Mapping[tuple[Call, Result], str] = {
    (Call.SUBMIT, _R.LAST): "a report without files",
    (Call.SUBMIT, _R.LOST): "submitted again; what may have been opened expires by itself",
    (Call.UPLOAD, _R.LOST): "retracted and begun again",
    (Call.DETAIL, _R.LOST): "retracted and begun again",
    (Call.FINISH, _R.LOST): "finished again",
    (Call.FINISH, _R.ALREADY_FINISHED): "a success whose reply was lost",
    (Call.RETRACT, _R.DONE): "to begin again; also where it is retracted or gone already",
    (Call.RETRACT, _R.LAST): "withdrawn; also where it is retracted or gone already",
    (Call.RETRACT, _R.LOST): "retracted again",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    state: State
    call: Call
    result: Result
    to: State
    note: str


def table() -> Iterator[Row]:
    """The whole machine, for documents and the console."""
    for (state, call, result), to in NEXT.items():
        yield Row(state, call, result, to, _NOTES.get((call, result), ""))
