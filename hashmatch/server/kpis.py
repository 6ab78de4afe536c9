"""CaseService, of the figures of the work. They take a reading of the whole ledger, so a process of its own computes
them for each call: no verdict waits for them."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from typing import Any

from hashmatch import convert
from hashmatch.app import Service
from hashmatch.errors import Unavailable
from hashmatch.server.case_calls import CaseCalls, Context
from hashmatch.server.threads import Threads
from hashmatch.v1 import cases_pb2
from hashmatch.workflow import figures
from hashmatch.workflow.kpi_record import kpis

MAX_CALLS, RETRY_SECONDS = 4, 10.0  # one is computed, the others wait

trace = logging.getLogger(__name__)


class KpiCalls(CaseCalls):
    """Calls about the figures."""

    def __init__(self, service: Service) -> None:
        super().__init__(service)
        settings = service.settings
        self._order = {"state": str(settings.state), "policy": str(settings.policy or ""), "parent": os.getpid()}
        self._computing = Threads("readings of the figures", 1, MAX_CALLS, RETRY_SECONDS)

    def close(self, seconds: float) -> bool:
        until = time.monotonic() + seconds
        done = super().close(seconds)
        return self._computing.close(max(0.0, until - time.monotonic())) and done

    async def GetKpis(self, request: cases_pb2.GetKpisRequest, context: Context) -> cases_pb2.GetKpisResponse:
        convert.refuse_unknown_fields(request)
        since, until = convert.moment_in(request, "since"), convert.moment_in(request, "until")
        figures.refuse_no_period(since, until)
        named = (("since", since), ("until", until))
        order = self._order | {name: at.isoformat() for name, at in named if at is not None}
        return cases_pb2.GetKpisResponse(kpis=kpis(await self._computing.run(computed, order)))


def computed(order: dict[str, Any]) -> dict[str, Any]:
    """The figures that `measure` tells on an order.

    Raises:
        Unavailable: it could not.
    """
    command = [sys.executable, "-m", "hashmatch.server.measure", json.dumps(order)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    try:
        found: dict[str, Any] = json.loads(done.stdout)
    except ValueError as e:
        said = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        trace.error("the figures could not be computed: %s", said or f"ended ({done.returncode})")
        raise Unavailable("the figures could not be computed; the trace says why") from e
    return found
