"""Sends what is due in a process that kills itself at the boundary whose number it is given.

Each line of standard input is `STATE URL BOUNDARY LATER`: LATER is how many minutes later it is. For each a process is
forked while nothing is open and no thread runs. Boundaries are counted: before a transaction, in it before its commit,
after it, before a call and after a call. Each line of standard output is its exit code: 0 where there are not so many.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path

from hashmatch import clock
from hashmatch.audit.ledger import Ledger
from hashmatch.delivery.addresses import Egress
from hashmatch.delivery.guarded_http import GuardedHttp
from hashmatch.delivery.standard_webhooks import Secret
from hashmatch.delivery.webhook import Webhook
from hashmatch.workflow.casework import Casework
from hashmatch.workflow.sender import Line, Sender

SECRET = "whsec_" + "c2VjcmV0IG9mIHRoZSB0ZXN0cyBvbmx5ISE="


class Boundaries:
    def __init__(self, fatal: int) -> None:
        self.left = fatal

    def passed(self) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


class DyingLedger:
    """The ledger, whose transactions are boundaries."""

    def __init__(self, ledger: Ledger, boundaries: Boundaries) -> None:
        self._ledger, self._boundaries = ledger, boundaries
        self.env = ledger.env

    @contextmanager
    def changing(self):
        self._boundaries.passed()
        with self._ledger.changing() as log:
            yield log
            self._boundaries.passed()
        self._boundaries.passed()


class DyingWebhook:
    def __init__(self, webhook: Webhook, boundaries: Boundaries) -> None:
        self._webhook, self._boundaries = webhook, boundaries
        self.name = webhook.name

    def deliver(self, dispatch):
        self._boundaries.passed()
        receipt = self._webhook.deliver(dispatch)
        self._boundaries.passed()
        return receipt

    def close(self) -> None:
        self._webhook.close()


def run(state: str, url: str, fatal: int, later: int) -> None:
    now = clock.now() + timedelta(minutes=later)
    with closing(Ledger(Path(state), now=lambda: now)) as ledger:
        cases = Casework(ledger.env, ledger.sealing, lambda _record, _now, first: None, lambda _verb: ())
        boundaries = Boundaries(fatal)
        webhook = Webhook("platform", GuardedHttp(url, Egress(["127.0.0.0/8"])), [Secret(SECRET)])
        lines = {"platform": Line(DyingWebhook(webhook, boundaries))}
        sender = Sender(DyingLedger(ledger, boundaries), cases, lines, now=lambda: now)
        while sender.send("platform"):
            pass
        sender.close()


def main() -> None:
    for line in sys.stdin:
        state, url, fatal, later = line.split()
        child = os.fork()
        if not child:
            try:
                run(state, url, int(fatal), int(later))
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
