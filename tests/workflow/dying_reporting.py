"""Files what is due in a process that is killed at a boundary: before or after a call, before or after a commit.

Each line of standard input is `DIR URL BOUNDARY [AT_MOST]`, DIR a state directory whose reports are queued; with
AT_MOST they are filed in batches of at most so many. For each a process is forked while nothing is open and no thread
runs; it dies at the boundary of that number, counted from 1; 0 is never. Each line of standard output is `killed` or
`done N`, N the boundaries that there were.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path

import authorities
import httpcore  # noqa: F401 - httpx imports it with its first client, which is each fork's
from workflow.reporting import Office, client_of

from hashmatch import clock
from hashmatch.audit.ledger import Ledger
from hashmatch.workflow.report_batch import Batching

KEPT = {"a": b"benign a" * 100, "b": b"benign b" * 200}


class Boundaries:
    """Counts them, and dies at one: as by a power cut, without a word."""

    def __init__(self, fatal):
        self.fatal, self.passed = fatal, 0

    def cross(self):
        self.passed += 1
        if self.passed == self.fatal:
            os.kill(os.getpid(), signal.SIGKILL)


def counted_ledger(boundaries):
    class Counted(Ledger):
        """The real one; what is counted is where its own changes begin and end."""

        @contextmanager
        def changing(self, *, sign=False):
            boundaries.cross()
            with super().changing(sign=sign) as log:
                yield log
            boundaries.cross()

    return Counted


class CountedClient:
    """The real one; what is counted is where its calls begin and end."""

    def __init__(self, client, boundaries):
        self._client, self._boundaries = client, boundaries

    def __getattr__(self, name):
        call = getattr(self._client, name)

        def counted(*args, **kwargs):
            self._boundaries.cross()
            answer = call(*args, **kwargs)
            self._boundaries.cross()
            return answer

        return counted


class Ahead:
    """A clock that can be set forward."""

    def __init__(self):
        self.by = timedelta()

    def now(self):
        return clock.now() + self.by

    def advance(self, by):
        self.by += by


def run(state, url, fatal, at_most=None):
    """Files all that is due, or dies; how many boundaries there were."""
    boundaries, time = Boundaries(fatal), Ahead()
    real = client_of(url, time.now)
    made = Office(
        state, time.now, url, kept=KEPT, ledger=counted_ledger(boundaries),
        client_of=lambda environment: CountedClient(real(environment), boundaries),
        batch=None if at_most is None else Batching(at_least=2, at_most=at_most),
    )  # fmt: skip
    with closing(made):
        made.drain(time.advance)
    return boundaries.passed


def main():
    authorities.take()
    for line in sys.stdin:
        state, url, fatal, *at_most = line.split()
        receiving, sending = os.pipe()
        child = os.fork()
        if not child:
            passed = run(Path(state), url, int(fatal), *map(int, at_most))
            os.write(sending, str(passed).encode())
            os._exit(0)
        os.close(sending)
        _, status = os.waitpid(child, 0)
        said = os.read(receiving, 100).decode()
        os.close(receiving)
        died = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        print("killed" if died else f"done {said}", flush=True)


if __name__ == "__main__":
    main()
