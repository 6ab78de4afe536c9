"""The ledger's file grows a thousandfold while several processes write to it and read it.

LMDB's map does not grow: it is address space, reserved once (`env.MAP_BYTES`), and the file in it is as long as what
was written. That a map which is outgrown refuses in our words is shown in tests/store.
"""

from __future__ import annotations

import threading
import time

from pictures import png

from hashmatch.audit.ledger import Ledger
from hashmatch.client import Finding, Subject, match_request, outcome_of

GROWTH = 1000  # times what the file has at first
WRITING = 4  # streams
ROUND = 100  # verdicts of one stream
ATTRIBUTES = {f"name-{n}": "x" * 200 for n in range(32)}  # so that an event is some 7 KB, and kept twice


def test_nothing_is_lost_or_late_while_the_file_grows(deployment):
    [fingerprint] = deployment.list_known((1, "pdq"))
    deployment.serve("--processes", "2", "--workers", "2")
    data = deployment.state / "ledger" / "data.mdb"
    begun = data.stat().st_size
    acknowledged: dict[str, str] = {}
    grown = threading.Event()

    def write(number):
        asked = 0
        with deployment.client() as client:
            while not grown.is_set():
                requests = [
                    match_request(
                        None, [fingerprint], request_id=f"{number}-{n}",
                        subject=Subject(content_id=f"{number}-{n}", uploader_id="one", attributes=ATTRIBUTES),
                    )
                    for n in range(asked, asked + ROUND)
                ]  # fmt: skip
                asked += ROUND
                for answer in client.stream(requests):
                    acknowledged[answer.request_id] = outcome_of(answer).verdict_id

    writing = [threading.Thread(target=write, args=(number,), daemon=True) for number in range(WRITING)]
    for thread in writing:
        thread.start()
    latencies, read = [], 0
    ledger = Ledger(deployment.state, readonly=True)  # one more process that has the file mapped: this one
    with deployment.client(timeout=20) as client:
        while data.stat().st_size < GROWTH * begun or len(latencies) < 20:
            assert all(thread.is_alive() for thread in writing)
            began = time.monotonic()
            answer = client.match(png(1), request_id=f"media-{len(latencies)}")
            latencies.append(time.monotonic() - began)
            acknowledged[f"media-{len(latencies) - 1}"] = answer.verdict_id
            assert answer.finding == Finding.FINDING_MATCH
            page = ledger.events(after=read, limit=200)
            assert [event.sequence for event in page] == list(range(read + 1, read + 1 + len(page)))
            read += len(page)
    grown.set()
    for thread in writing:
        thread.join()
    assert max(latencies) < 5
    ledger.close()
    assert deployment.recorded() == acknowledged
    deployment.run("check")
