"""One tree of errors. Each knows its edge: a gRPC status and an exit code, so skins look up and never decide.

    HashmatchError
    ├── Malformed          INVALID_ARGUMENT      65   the caller's bytes or fields are wrong; names the field
    ├── NotFound           NOT_FOUND             65
    ├── Conflict           ALREADY_EXISTS        65   the name or request id is taken by something else
    │   └── AnsweredElsewhere                         by another server process, which was asked at the same time
    ├── Refused            FAILED_PRECONDITION   65   well-formed, and not to be done in this state
    ├── Unauthenticated    UNAUTHENTICATED       77   no identity was shown, or none that is known
    ├── Forbidden          PERMISSION_DENIED     77   the caller is known, and may not do this
    ├── Overloaded         RESOURCE_EXHAUSTED    75   try again after `retry_after` seconds
    │   └── OverBudget     RESOURCE_EXHAUSTED    75   the caller's own limit, not the server's
    ├── Unavailable        UNAVAILABLE           69   the server must not answer now
    ├── DeadlinePassed     DEADLINE_EXCEEDED     75   the caller's own deadline
    ├── StoreFailed        UNAVAILABLE           74   the disk refused; nothing half-written stays
    │   └── StoreFull      UNAVAILABLE           73   no room on the disk
    ├── Corrupt            DATA_LOSS             70   stored bytes are not what was written
    └── BadConfig          FAILED_PRECONDITION   78   settings, recipes, or a wall of the sandbox that is missing

Exit codes are those of sysexits.h. Messages are for people; none holds a fingerprint or a subject's id.
"""

from __future__ import annotations

from typing import ClassVar


class HashmatchError(Exception):
    """Something hashmatch itself refuses or cannot do."""

    status: ClassVar[str] = "INTERNAL"
    exit_code: ClassVar[int] = 70
    reason: ClassVar[str] = "INTERNAL"  # google.rpc.ErrorInfo.reason

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").splitlines()[0])


class Malformed(HashmatchError):
    """The caller's bytes are not what they claim to be."""

    status, exit_code, reason = "INVALID_ARGUMENT", 65, "MALFORMED"

    def __init__(self, message: str | None = None, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field  # path of the request's field, as BadRequest details name it
        self.problem = self.args[0]  # without the field

    def __str__(self) -> str:
        return f"{self.field}: {self.problem}" if self.field else str(self.problem)


class NotFound(HashmatchError):
    """There is nothing of that name."""

    status, exit_code, reason = "NOT_FOUND", 65, "NOT_FOUND"


class Conflict(HashmatchError):
    """The name or request id is taken by something else."""

    status, exit_code, reason = "ALREADY_EXISTS", 65, "CONFLICT"


class AnsweredElsewhere(Conflict):
    """The request id was answered by another process meanwhile."""


class Refused(HashmatchError):
    """Not to be done in the present state."""

    status, exit_code, reason = "FAILED_PRECONDITION", 65, "REFUSED"


class Unauthenticated(HashmatchError):
    """Show a key or a certificate that is known here, has not expired and was not revoked."""

    status, exit_code, reason = "UNAUTHENTICATED", 77, "UNAUTHENTICATED"

    def __init__(self, message: str | None = None, *, why: str = "") -> None:
        super().__init__(message)
        self.why = why  # for the trace: which of these it is would help whoever tries keys


class Forbidden(HashmatchError):
    """The caller is known, and may not do this."""

    status, exit_code, reason = "PERMISSION_DENIED", 77, "FORBIDDEN"


class Overloaded(HashmatchError):
    """More work than is admitted at once."""

    status, exit_code, reason = "RESOURCE_EXHAUSTED", 75, "OVERLOADED"

    def __init__(self, message: str | None = None, *, retry_after: float = 0.1) -> None:
        super().__init__(message)
        self.retry_after = retry_after  # seconds


class OverBudget(Overloaded):
    """The caller's own limit is used up."""

    reason = "OVER_BUDGET"


class Unavailable(HashmatchError):
    """The server must not answer now."""

    status, exit_code, reason = "UNAVAILABLE", 69, "UNAVAILABLE"


class DeadlinePassed(HashmatchError):
    """The caller's deadline passed before there was an answer."""

    status, exit_code, reason = "DEADLINE_EXCEEDED", 75, "DEADLINE"


class StoreFailed(HashmatchError):
    """The disk refused a read or a write; nothing half-written stays."""

    status, exit_code, reason = "UNAVAILABLE", 74, "STORE_FAILED"


class StoreFull(StoreFailed):
    """There is no room on the disk of the state directory; free some and try again."""

    status, exit_code, reason = "UNAVAILABLE", 73, "STORE_FULL"


class Corrupt(HashmatchError):
    """Stored bytes are not what was written; restore from a backup."""

    status, exit_code, reason = "DATA_LOSS", 70, "CORRUPT"


class BadConfig(HashmatchError):
    """The settings cannot work as they stand."""

    status, exit_code, reason = "FAILED_PRECONDITION", 78, "BAD_CONFIG"
