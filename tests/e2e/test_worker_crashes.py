"""kill -9 of a decode worker at every tenth submission: it costs the one that it hits an UNKNOWN, and nothing else.

SUBMISSIONS=3000 in the environment makes it three hundred kills, which takes some minutes.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import random

import psutil
from pictures import jpeg, png

from hashmatch import errors
from hashmatch.client import Finding
from hashmatch.v1.common_pb2 import UNHASHABLE_REASON_UNDECODABLE

SUBMISSIONS = int(os.environ.get("SUBMISSIONS", "80"))
KILLED = 10  # one of so many
ASKING = 4  # threads
NEAR, EXACT, OTHER = 1, 2, 3  # pictures: listed by PDQ, listed by SHA-256, not listed
RIGHT = {NEAR: Finding.FINDING_MATCH, EXACT: Finding.FINDING_MATCH, OTHER: Finding.FINDING_NO_MATCH}


def test_crashes_cost_who_is_hit_an_unknown_and_nobody_else_anything(deployment):
    deployment.list_known((NEAR, "pdq"), (EXACT, "sha256"))
    # Whoever waits for a new worker is not refused: here it is not overload that is asked about.
    deployment.environ["HASHMATCH_QUEUE_MS"] = "20000"
    deployment.serve("--workers", "2", fresh=True)
    server = psutil.Process(deployment.process.pid)
    seeded = random.Random(1)
    with deployment.client(timeout=30) as client:
        client.match(jpeg(NEAR))
        descriptors, memory, workers = server.num_fds(), server.memory_info().rss, len(deployment.workers())

        def ask(number):
            if number % KILLED == 0:
                seeded.choice(deployment.workers()).kill()  # at work, idle, or only just starting
            seed = (NEAR, EXACT, OTHER)[number % 3]
            return seed, client.match(png(EXACT) if seed == EXACT else jpeg(seed, 50 + number % 40))

        with concurrent.futures.ThreadPoolExecutor(ASKING) as pool:
            answers = list(pool.map(ask, range(SUBMISSIONS)))  # and none of them was an error
        wrong = [(seed, answer) for seed, answer in answers if answer.finding != RIGHT[seed]]
        assert len(wrong) <= SUBMISSIONS / KILLED
        for seed, answer in wrong:
            assert seed != EXACT  # its digests do not depend on the worker, so that it is found all the same
            assert answer.finding == Finding.FINDING_UNKNOWN
            [pdq] = [row for row in answer.hashed if row.hash_type == "pdq"]
            assert pdq.unhashable == UNHASHABLE_REASON_UNDECODABLE

        for _ in range(3):  # all of them at once, and their successors as they start
            for worker in deployment.workers():
                with contextlib.suppress(psutil.NoSuchProcess):  # it ended by itself meanwhile
                    worker.kill()
        deployment.wait_for(lambda: answered_right(client))
        deployment.wait_for(client.serving)
        deployment.wait_for(lambda: len(deployment.workers()) == workers)
        deployment.wait_for(lambda: server.num_fds() <= descriptors)  # those of the dead are closed
        assert server.memory_info().rss - memory < 100 << 20
    assert not any(child.status() == psutil.STATUS_ZOMBIE for child in server.children())


def answered_right(client):
    try:
        return client.match(png(NEAR)).finding == RIGHT[NEAR]
    except errors.Unavailable:  # while there is no worker at all
        return False
