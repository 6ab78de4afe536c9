"""The trace: diagnostics on standard error, as text for people or as one JSON object per line.

Each line that belongs to a call names it, so that a caller's id leads to what happened here. The id is the caller's
`x-request-id` where that is short and plain, else one made here. No line holds a fingerprint, a byte of media or a
subject's id: nothing that knows them is given to a logger, and tests search the trace for them.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime

CALL: ContextVar[str] = ContextVar("call", default="")
"""The id of the call that is being answered."""

_PLAIN_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")  # what may be written to a trace as it is


def plain_id(given: str) -> str:
    """The caller's id where it may be written down; "" where not."""
    return given if _PLAIN_ID.fullmatch(given) else ""


class Sparing(logging.Filter):
    """Passes so many lines of one kind a second, and says with the next how many were left out.

    For lines that whoever is outside can cause at will: who floods us must not fill the disk of the trace too.
    """

    def __init__(self, most: int = 10, *, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._most, self._now = most, now
        self._kinds: dict[str, tuple[int, int, int]] = {}  # by message: the second, lines in it, left out since

    def filter(self, record: logging.LogRecord) -> bool:
        kind, second = str(record.msg), int(self._now())
        began, lines, left_out = self._kinds.get(kind, (second, 0, 0))
        if began != second:
            began, lines = second, 0
        if lines >= self._most:
            self._kinds[kind] = (began, lines, left_out + 1)
            return False
        self._kinds[kind] = (began, lines + 1, 0)
        if left_out:
            record.msg, record.args = f"{record.getMessage()} ({left_out} more were left out)", ()
        return True


class Text(logging.Formatter):
    """For people."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        # A message may quote what came from outside; a line of the trace stays one line.
        text = super().format(record).replace("\r", "\\r")
        if not record.exc_info:
            text = text.replace("\n", "\\n")
        call = CALL.get()
        return f"{text} [call {call}]" if call else text


class Json(logging.Formatter):
    """For programs."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "process": record.process,
        }
        if call := CALL.get():
            line["call"] = call
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def start(form: str, level: str) -> None:
    """Sends the trace to standard error, in place of what was set before."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Json() if form == "json" else Text())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
