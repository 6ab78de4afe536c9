"""The figures of a real server, over the wire and by the verb."""

from __future__ import annotations

import os
import signal
import threading
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from pictures import png

from hashmatch.errors import Unavailable
from hashmatch.server.computing import LONGEST_SECONDS, computed
from hashmatch.types import Subject
from hashmatch.v1 import cases_pb2, cases_pb2_grpc
from hashmatch.v1.kpis_pb2 import KPI_MILESTONE_DECIDED

PEOPLE = {"app": ("uploader",), "ann": ("reviewer",), "bob": ("reviewer", "lead")}


def test_a_lead_is_told_the_figures_that_the_verb_tells(deployment):
    deployment.list_known((1, "pdq"))
    keys = {name: deployment.key(name, *roles) for name, roles in PEOPLE.items()}
    deployment.serve("--workers", "1")
    with grpc.insecure_channel(deployment.address) as channel, deployment.client(key=keys["app"]) as client:
        stub = cases_pb2_grpc.CaseServiceStub(channel)

        def kpis(name, **fields):
            key = (("authorization", f"Bearer {keys[name]}"),) if name else ()
            return stub.GetKpis(cases_pb2.GetKpisRequest(**fields), metadata=key, timeout=60).kpis

        assert kpis("bob").cases == 0
        client.match(png(1), subject=Subject(content_id="c1", uploader_id="u1"))
        client.match(png(1), subject=Subject(content_id="c2", uploader_id="u2"))
        found, plain = kpis("bob"), deployment.json("kpi")[0]
        assert (found.cases, found.reconciliation.matches, found.reconciliation.gap) == (2, 2, 0)
        ((tier, waits),) = plain["backlog"].items()
        assert [(f"T{row.tier}", row.cases) for row in found.backlog] == [(tier, waits["cases"])]
        (row,) = [row for row in found.time_to if row.milestone == KPI_MILESTONE_DECIDED]
        assert (row.cases, row.still, row.HasField("p50")) == (2, 2, False)
        assert dict(found.instructions) == plain["instructions"]
        assert found.HasField("agreement") == (plain["agreement"] is not None)

        now = datetime.now(UTC)
        earlier = kpis("bob", until=now - timedelta(days=1))
        assert (earlier.cases, list(earlier.time_to)) == (2, [])
        for who, code in (("ann", "PERMISSION_DENIED"), ("app", "PERMISSION_DENIED"), ("", "UNAUTHENTICATED")):
            with pytest.raises(grpc.RpcError) as e:
                kpis(who)
            assert e.value.code().name == code
        for wrong in ({"since": now, "until": now}, {"since": {"seconds": 1 << 60}}):
            with pytest.raises(grpc.RpcError) as e:
                kpis("bob", **wrong)
            assert e.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert [row["cases"] for row in deployment.json("kpi", "--until", "2020-01-01", "--since", "2019-01-01")] == [2]
    deployment.run("kpi", "--until", "2020-01-01", "--since", "2020-01-01", expect=65)
    for days in ("0", "-3", "99999999999"):
        deployment.run("kpi", f"--days={days}", expect=65)


def test_figures_that_cannot_be_computed_are_no_figures(tmp_path):
    order = {"state": str(tmp_path), "policy": str(tmp_path / "none.toml"), "parent": os.getpid()}
    with pytest.raises(Unavailable, match="no store"):
        computed(order, threading.Event())


@pytest.mark.parametrize("why", ["nobody waits for it", "it takes too long"])
def test_a_reading_that_hangs_is_ended(tmp_path, why):
    stopping, began, longest = threading.Event(), [], LONGEST_SECONDS
    if why == "nobody waits for it":
        stopping.set()
    else:
        longest = 0.1
    order = {"state": str(tmp_path), "parent": os.getpid()}
    with pytest.raises(Unavailable, match="ended"):
        computed(order, stopping, lambda pid: began.append(halted(pid)), longest=longest)
    assert began == [True]


def halted(pid):
    """One that hangs."""
    os.kill(pid, signal.SIGSTOP)
    return True
