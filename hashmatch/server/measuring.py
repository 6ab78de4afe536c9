"""The figures of the work, computed beside a server at intervals, and told as metrics.

They take a reading of the whole ledger, so they are computed in a process of their own, at a lower priority: no scrape
waits for them, no verdict does, and their memory is given back. However large the ledger is, that process runs for at
most a tenth of the time.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import Any, Final

from prometheus_client import CollectorRegistry, generate_latest

from hashmatch.config import Settings
from hashmatch.errors import Unavailable
from hashmatch.server.computing import computed
from hashmatch.server.kpi_metrics import Figures

FIRST_SECONDS: Final = 10.0  # after the start at most: a server that starts has more urgent things to do
RETRY_SECONDS: Final = 5.0  # at least, after figures that could not be had
SHARE: Final = 0.1  # of the time, at most, that figures are being computed in

trace = logging.getLogger(__name__)


class Measuring:
    """Computes figures until closed. Owns its thread, and the process that it starts."""

    def __init__(self, settings: Settings) -> None:
        self._every = settings.kpi_seconds
        self._order = {
            "state": str(settings.state), "policy": str(settings.policy or ""), "parent": os.getpid(),
            "window_days": settings.kpi_window_days,
        }  # fmt: skip
        self._figures, self._registry = Figures(), CollectorRegistry()
        self._registry.register(self._figures)
        self._stopping = threading.Event()
        self._pid = 0  # written by the thread of `_run` alone
        self._thread = threading.Thread(target=self._run, name="measuring", daemon=True)
        if self._every:
            self._thread.start()

    @property
    def pid(self) -> int:
        """Of the process that computes now, or did last; 0 before the first."""
        return self._pid

    def text(self) -> bytes:
        """What was computed last, in Prometheus' text format."""
        return generate_latest(self._registry)

    def close(self) -> None:
        """Ends what is being computed."""
        self._stopping.set()
        if self._every:
            self._thread.join()

    def _run(self) -> None:
        pause = min(self._every, FIRST_SECONDS)
        while not self._stopping.wait(pause):
            began = time.monotonic()
            try:
                told = self._told()
            except Exception:  # whatever it is, the next attempt may work
                trace.exception("unforeseen error while the figures were computed")
                told = None
            took = time.monotonic() - began
            if told is not None:
                self._figures.take_in(told, took, time.time())
            least = self._every if told is not None else min(self._every, RETRY_SECONDS)
            pause = max(least, took * (1 / SHARE - 1))

    def _told(self) -> dict[str, Any] | None:
        """The figures as they are now; None where they cannot be had, or nobody waits for them any more."""
        try:
            return computed(self._order, self._stopping, self._began)
        except Unavailable as e:
            if not self._stopping.is_set():
                trace.warning("the figures for metrics could not be computed: %s", e)
            return None

    def _began(self, pid: int) -> None:
        self._pid = pid
