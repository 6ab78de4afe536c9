"""What calls about cases have in common: a step is one transaction of the ledger, on a thread; who calls is known."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import grpc

from hashmatch.access.callers import CALLER
from hashmatch.app import Service
from hashmatch.audit.leaves import Appending
from hashmatch.errors import Malformed, Unauthenticated
from hashmatch.roles import ANONYMOUS
from hashmatch.server.threads import Threads
from hashmatch.store.env import Txn
from hashmatch.workflow.casework import Casework

Context = grpc.aio.ServicerContext[Any, Any]
PAGE, MAX_PAGE = 100, 1000
THREADS, MAX_CALLS, RETRY_SECONDS = 2, 64, 0.5

T = TypeVar("T")


class CaseCalls:
    """The office of one service, and the threads that its calls run on."""

    def __init__(self, service: Service) -> None:
        self._office, self._sandbox = service.office, service.sandbox
        self._ledger, self._cases = service.ledger, service.office.cases
        self._threads = Threads("calls about cases", THREADS, MAX_CALLS, RETRY_SECONDS)
        # Threads of their own: what may take seconds, such as fetching media from the platform or checking a policy,
        # keeps no case from being worked.
        self._fetching = Threads("looks at evidence and policies", THREADS, MAX_CALLS, RETRY_SECONDS)

    def close(self, seconds: float) -> bool:
        """Waits for the calls that have begun; False where one takes longer."""
        until = time.monotonic() + seconds
        done = self._threads.close(seconds)
        return self._fetching.close(max(0.0, until - time.monotonic())) and done

    def _blind(self, txn: Txn, case_id: str, caller: str) -> bool:
        """Whether somebody is asked for a second look at a case, and must not learn what the first decided."""
        return self._cases.is_blind(txn, case_id, caller)

    async def _step(self, step: Callable[[Appending, Casework], T]) -> T:
        def run() -> T:
            with self._ledger.changing() as log:
                return step(log, self._cases)

        return await self._threads.run(run)


def limit(asked: int) -> int:
    """How many rows a page has.

    Raises:
        Malformed: too many are asked for.
    """
    if asked > MAX_PAGE:
        raise Malformed(f"want at most {MAX_PAGE}", field="page_size")
    return asked or PAGE


def person() -> str:
    """Who works the case: somebody who is known, since two persons are told apart by name."""
    name = CALLER.get().name
    if name == ANONYMOUS:
        raise Unauthenticated("whoever works cases must be known: show a key", why="nothing shown")
    return name
