"""How a call failed, by what may be done next. Each is one of the project's errors too, so that skins can look it up.

    Undelivered
    ├── RetryLater        Unavailable   turned away or never sent: the same call again, after `retry_after` if given
    ├── ReplyLost         Unavailable   sent, and no answer is known: never simply again where a call adds something
    ├── RefusedForGood    Refused       the same call will be refused again: a person looks
    ├── Gone              NotFound      5001, 5002: expired, or never there
    ├── AlreadyFinished   Refused       5102
    └── AlreadyRetracted  Refused       5101

Texts hold the call's name, HTTP's status and the service's code; never what was sent or answered.
"""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar

from hashmatch.delivery.cybertip.outcomes import Failed, Failure
from hashmatch.delivery.cybertip.xml import Answer
from hashmatch.errors import HashmatchError, NotFound, Refused, StoreFailed, Unavailable


class Undelivered(HashmatchError):
    """A call to the CyberTipline did not do what it was for."""

    failure: ClassVar[Failure]

    def __init__(
        self,
        message: str | None = None,
        *,
        answer: Answer | None = None,
        request_id: str = "",
        retry_after: timedelta | None = None,
    ) -> None:
        super().__init__(message)
        self.answer = answer  # for a person who may see reports
        self.request_id = request_id
        self.retry_after = retry_after

    @property
    def failed(self) -> Failed:
        """The same as a value."""
        code = None if self.answer is None else self.answer.code
        return Failed(self.failure, code, self.retry_after, self.request_id)


class RetryLater(Undelivered, Unavailable):
    """The CyberTipline cannot take it now."""

    failure = Failure.RETRY


class ReplyLost(Undelivered, Unavailable):
    """It was sent to the CyberTipline, and how it went is not known."""

    failure = Failure.LOST


class RefusedForGood(Undelivered, Refused):
    """The CyberTipline will not take it."""

    failure = Failure.REFUSED


class Gone(Undelivered, NotFound):
    """The CyberTipline does not know the report, or the file."""

    failure = Failure.GONE


class AlreadyFinished(Undelivered, Refused):
    """The report is finished already."""

    failure = Failure.ALREADY_FINISHED


class AlreadyRetracted(Undelivered, Refused):
    """The report is retracted already."""

    failure = Failure.ALREADY_RETRACTED


def failed(error: HashmatchError) -> Failed:
    """What any error of a call comes to. Our own disk may recover; what was never fit to be sent will not."""
    if isinstance(error, Undelivered):
        return error.failed
    return Failed(Failure.RETRY if isinstance(error, StoreFailed | Unavailable) else Failure.REFUSED)
