"""A platform as a destination, without a network: does each instruction once, and answers as a test wants it."""

from __future__ import annotations

from contextlib import contextmanager

from hashmatch.delivery.dispatch import NotTaken, Receipt
from hashmatch.workflow.sender import Line, Sender


class Platform:
    """What came, and what an idempotent receiver has done, each in order."""

    def __init__(self, name="platform"):
        self.name = name
        self.answer = lambda _dispatch: Receipt()  # may raise instead
        self.calls, self.done = [], []

    def deliver(self, dispatch):
        self.calls.append(dispatch)
        receipt = self.answer(dispatch)
        self.do(dispatch)
        return receipt

    def do(self, dispatch):
        if dispatch.key not in [one.key for one in self.done]:
            self.done.append(dispatch)

    def sent(self):
        return [one.key for one in self.calls]

    def close(self):
        pass


def down(_dispatch):
    raise NotTaken("it is down")


@contextmanager
def sending(work, *platforms, confirms=True):
    sender = Sender(work.ledger, work.cases, {one.name: Line(one, confirms) for one in platforms}, now=lambda: work.now)
    try:
        yield sender
    finally:
        sender.close()
