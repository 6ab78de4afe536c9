"""Several server processes over one state directory: one ledger, one address, and any of them may die."""

from __future__ import annotations

import concurrent.futures
import os
import signal
import time
import urllib.request

import psutil
import pytest
from pictures import png

from hashmatch import errors
from hashmatch.client import Finding

METRICS = "metrics on "


@pytest.fixture
def several(deployment):
    deployment.list_known((1, "pdq"))
    deployment.environ["HASHMATCH_WORKERS"] = "2"
    deployment.serve("--processes", "2", "--metrics-listen", "127.0.0.1:0")
    deployment.supervisor = psutil.Process(deployment.process.pid)
    return deployment


def servers(deployment):
    return [p for p in deployment.supervisor.children() if "hashmatch.server.child" in p.cmdline()]


def metric(deployment, name):
    address = deployment.line.rpartition(METRICS)[2].strip()
    text = urllib.request.urlopen(f"http://{address}/metrics", timeout=10).read().decode()
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name))


def test_they_share_the_work_the_ledger_and_the_metrics(several):
    clients = [several.client() for _ in range(12)]  # a connection each, which the kernel spreads
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda i: clients[i % 12].match(png(1), request_id=f"m{i}"), range(48)))
    for client in clients:
        client.close()
    assert {a.finding for a in answers} == {Finding.FINDING_MATCH}
    assert len({a.verdict_id for a in answers}) == 48
    assert len(several.recorded()) == 48
    assert metric(several, 'hashmatch_verdicts_total{finding="MATCH"}') == 48
    several.run("check")


def test_one_request_id_asked_of_all_at_once_has_one_verdict(several):
    clients = [several.client() for _ in range(8)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for round_ in range(10):
            same = list(pool.map(lambda c, r=round_: c.match(png(1), request_id=f"same-{r}"), clients))
            assert len({a.verdict_id for a in same}) == 1
    for client in clients:
        client.close()
    assert len(several.recorded()) == 10


def asked_until_answered(client, request_id, seconds=20):
    """1 once it is answered. As a platform does it: what is UNAVAILABLE is asked again, under the same id."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            client.match(png(1), request_id=request_id)
            return 1
        except errors.Unavailable:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_a_process_that_is_killed_is_replaced_and_loses_nothing(several):
    asked = answered = 0
    with several.client() as client:
        for round_ in range(3):
            victim = servers(several)[round_ % 2]
            victim.send_signal(signal.SIGKILL)
            for _ in range(5):
                asked += 1
                answered += asked_until_answered(client, f"k{asked}")
            deadline = time.monotonic() + 20
            while len(servers(several)) < 2 or victim.pid in {p.pid for p in servers(several)}:
                assert time.monotonic() < deadline
                time.sleep(0.05)
    assert answered == asked
    assert len(several.recorded()) == asked
    several.run("check")


def test_they_end_with_their_supervisor(several):
    tree = several.supervisor.children(recursive=True)
    several.stop(signal.SIGKILL)
    _gone, alive = psutil.wait_procs(tree, timeout=10)
    assert not alive
    several.serve("--processes", "2")  # and nothing of them is in the way
    with several.client() as client:
        assert client.match(png(1)).finding == Finding.FINDING_MATCH


def test_sigterm_ends_all_of_them_in_good_order(several):
    tree = several.supervisor.children(recursive=True)
    assert several.stop() == 0
    assert not psutil.wait_procs(tree, timeout=10)[1]


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_second_server_on_the_same_state_is_refused(several, processes):
    several.run("serve", "--listen", "127.0.0.1:0", "--processes", processes, expect=78)
    assert f"another server (process {several.process.pid}) serves" in several.stderr


def test_a_setting_that_cannot_be_is_told_once_and_ends_it(deployment, tmp_path):
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "pdq.toml").write_text("nonsense = 1\n")
    deployment.environ |= {"HASHMATCH_RECIPES": str(tmp_path / "recipes"), "HASHMATCH_WORKERS": "2"}
    deployment.run("serve", "--listen", "127.0.0.1:0", "--processes", "2", expect=78)
    assert "pdq.toml" in deployment.stderr
    assert os.listdir(deployment.state)
