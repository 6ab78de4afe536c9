"""kill -9 of the server at random moments under load: whatever was acknowledged is in the log, and the state is sound.

KILLS=200 in the environment makes it two hundred times, which takes some minutes.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time

from pictures import png

from hashmatch import errors
from hashmatch.audit.ledger import Ledger
from hashmatch.client import Finding, Fingerprint

KILLS = int(os.environ.get("KILLS", "8"))
ASKING = 4  # threads


def listed(deployment, tmp_path):
    """A list that holds picture 1; its PDQ fingerprint."""
    (tmp_path / "1.png").write_bytes(png(1))
    [row] = deployment.json("hash", tmp_path / "1.png")
    deployment.run("lists", "create", "known")
    deployment.run("lists", "import", "known", "-", "--activate", given=row["fingerprint"])
    return Fingerprint("pdq", bytes.fromhex(row["fingerprint"]))


def test_every_acknowledged_match_survives(deployment, tmp_path):
    fingerprint = listed(deployment, tmp_path)
    seeded = random.Random(1)
    acknowledged: dict[str, str] = {}
    asking = []
    for kill in range(KILLS):
        deployment.serve("--workers", "1")
        stop = threading.Event()
        for n in range(ASKING):
            client = deployment.client(timeout=2)
            asking.append(threading.Thread(target=ask, args=(client, fingerprint, f"{kill}-{n}", acknowledged, stop)))
            asking[-1].start()
        begun = len(acknowledged)
        while len(acknowledged) == begun:
            time.sleep(0.002)
        time.sleep(seeded.uniform(0.0, 0.15))
        deployment.stop(signal.SIGKILL)
        stop.set()
    for thread in asking:  # only now: a call tries again for as long as it may, and the next server need not wait
        thread.join()
    assert len(acknowledged) > KILLS  # the load was real
    ledger = Ledger(deployment.state, readonly=True)
    recorded = {}
    read = 0
    while page := ledger.events(after=read):
        recorded |= {event.sequence: event.verdict for event in page if event.HasField("verdict")}
        read = page[-1].sequence
    by_request = {verdict.request_id: verdict.verdict_id for verdict in recorded.values()}
    ledger.close()
    assert acknowledged.items() <= by_request.items()
    assert len(by_request) == len(recorded)  # and none twice
    deployment.run("check")
    deployment.serve("--workers", "1")
    with deployment.client() as client:  # a retry after all those crashes still gets its own verdict
        for request_id in seeded.sample(sorted(acknowledged), 20):
            answer = question(client, fingerprint, request_id)
            assert answer.verdict_id == acknowledged[request_id]


def question(client, fingerprint, request_id):
    """The same question for the same id: every fourth has media."""
    if int(request_id.rpartition("-")[2]) % 4:
        return client.match(fingerprints=[fingerprint], request_id=request_id)
    return client.match(png(1), request_id=request_id)


def ask(client, fingerprint, prefix, acknowledged, stop):
    """Asks until the server is gone, and keeps what was acknowledged."""
    with client:
        number = 0
        while not stop.is_set():
            request_id = f"{prefix}-{number}"
            try:
                answer = question(client, fingerprint, request_id)
            except errors.HashmatchError:
                return
            assert answer.finding == Finding.FINDING_MATCH
            acknowledged[request_id] = answer.verdict_id
            number += 1
