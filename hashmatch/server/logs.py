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
from contextvars import ContextVar
from datetime import UTC, datetime

CALL: ContextVar[str] = ContextVar("call", default="")
"""The id of the call that is being answered."""

_PLAIN_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")  # what may be written to a trace as it is


def plain_id(given: str) -> str:
    """The caller's id where it may be written down; "" where not."""
    return given if _PLAIN_ID.fullmatch(given) else ""


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
