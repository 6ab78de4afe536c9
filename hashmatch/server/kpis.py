"""CaseService, of the figures of the work. They take a reading of the whole ledger, so a process of its own computes
them for each call: no verdict waits for them."""

from __future__ import annotations

import logging
import os
import threading
import time

from hashmatch import convert
from hashmatch.app import Service
from hashmatch.errors import Unavailable
from hashmatch.server.case_calls import CaseCalls, Context
from hashmatch.server.computing import computed
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
        self._ended = threading.Event()
        self._computing = Threads("readings of the figures", 1, MAX_CALLS, RETRY_SECONDS)

    def close(self, seconds: float) -> bool:
        self._ended.set()
        until = time.monotonic() + seconds
        done = super().close(seconds)
        return self._computing.close(max(0.0, until - time.monotonic())) and done

    async def GetKpis(self, request: cases_pb2.GetKpisRequest, context: Context) -> cases_pb2.GetKpisResponse:
        convert.refuse_unknown_fields(request)
        since, until = convert.moment_in(request, "since"), convert.moment_in(request, "until")
        figures.refuse_no_period(since, until)
        named = (("since", since), ("until", until))
        order = self._order | {name: at.isoformat() for name, at in named if at is not None}
        try:
            return cases_pb2.GetKpisResponse(kpis=kpis(await self._computing.run(computed, order, self._ended)))
        except Unavailable as e:
            trace.error("the figures could not be computed: %s", e)
            raise Unavailable("the figures could not be computed; the trace says why") from e
