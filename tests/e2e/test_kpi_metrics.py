"""The figures of the work at /metrics of a real server, of one process and of several."""

from __future__ import annotations

import json
import urllib.request

import pytest
from pictures import png

from hashmatch.types import Subject


def lines(deployment):
    address = deployment.line.rpartition("metrics on ")[2].strip()
    text = urllib.request.urlopen(f"http://{address}/metrics", timeout=10).read().decode()
    return [line for line in text.splitlines() if not line.startswith("#")]


@pytest.mark.parametrize("processes", ["1", "2"])
def test_they_are_those_of_the_verb_once_there_is_a_case(deployment, processes):
    deployment.list_known((1, "pdq"))
    deployment.environ["HASHMATCH_KPI_SECONDS"] = "1"
    deployment.serve("--processes", processes, "--workers", "2", "--metrics-listen", "127.0.0.1:0")
    deployment.wait_for(lambda: any(line.startswith("hashmatch_kpi_seconds ") for line in lines(deployment)))
    assert not any(line.startswith(("hashmatch_undecided", "hashmatch_reconciliation")) for line in lines(deployment))
    with deployment.client() as client:
        client.match(png(1), subject=Subject(content_id="c1", uploader_id="u1"))
    deployment.wait_for(lambda: "hashmatch_reconciliation_gap 0.0" in lines(deployment))
    ((tier, row),) = json.loads(deployment.run("kpi", "--json"))["backlog"].items()
    assert f'hashmatch_undecided_cases{{tier="{tier}"}} {row["cases"]:.1f}' in lines(deployment)
    assert deployment.stop() == 0
